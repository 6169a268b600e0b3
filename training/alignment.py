"""Phone times of real recordings, by forced alignment. Needs `pip install pocketsphinx`, whose wheel has a model."""

from __future__ import annotations

import re
import wave
from pathlib import Path

import numpy as np
from pocketsphinx import Decoder

from pipeline.features import SAMPLE_RATE
from training.speech_corpus import Phones, Utterance

_ALIGNER_HZ = 100
_SILENCES = {"sil": "pau", "+nsn+": "pau", "+spn+": "pau"}


def align(path: Path) -> Utterance:
    """A 16 kHz mono wav of English with its text beside it (same name, .txt)."""
    with wave.open(str(path)) as sound:
        if (sound.getframerate(), sound.getnchannels(), sound.getsampwidth()) != (SAMPLE_RATE, 1, 2):
            raise ValueError(f"{path}: not 16-bit mono at {SAMPLE_RATE} Hz")
        samples = sound.readframes(sound.getnframes())
    words = re.findall(r"[a-z']+", path.with_suffix(".txt").read_text().lower())
    decoder = Decoder(lm=None, loglevel="FATAL")
    decoder.set_align_text(" ".join(words))
    for phones_too in (False, True):
        if phones_too:
            decoder.set_alignment()
        decoder.start_utt()
        decoder.process_raw(samples, full_utt=True)
        decoder.end_utt()
    phones: Phones = []
    for word in decoder.get_alignment():
        for phone in word:
            name = phone.name.lower()
            end = (phone.start + phone.duration) / _ALIGNER_HZ
            phones.append((_SILENCES.get(name, name), phone.start / _ALIGNER_HZ, end))
    return Utterance(np.frombuffer(samples, np.int16).astype(np.float32) / 32768.0, phones)
