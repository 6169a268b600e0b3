"""Speech of espeak-ng with the time of every phone, through libespeak-ng's phoneme events."""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Final

import av
import numpy as np
import numpy.typing as npt

from pipeline.features import SAMPLE_RATE

Float32 = npt.NDArray[np.float32]
Phones = list[tuple[str, float, float]]

_SYNCHRONOUS: Final = 2
_PHONEME_EVENTS: Final = 1
_UTF8: Final = 1
_RATE, _PITCH, _RANGE = 1, 3, 4
_LIST_END, _PHONEME = 0, 7
_VOICELESS_STOPS: Final = "ptk"
_SOUNDLESS: Final = 1e-3
_STEP: Final = SAMPLE_RATE // 200
_LONGEST_CLOSURE: Final = SAMPLE_RATE // 10


class _Id(ctypes.Union):
    _fields_ = (("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8))


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _Id),
    )


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


@cache
def _library() -> tuple[ctypes.CDLL, int]:
    """The library, started, and the rate at which it speaks."""
    library = ctypes.CDLL("libespeak-ng.so.1")
    rate = library.espeak_Initialize(_SYNCHRONOUS, 0, None, _PHONEME_EVENTS)
    if rate <= 0:
        raise RuntimeError("libespeak-ng did not start")
    return library, int(rate)


def _resample(pcm: npt.NDArray[np.int16], rate: int) -> Float32:
    frame = av.AudioFrame.from_ndarray(pcm[None], format="s16", layout="mono")
    frame.sample_rate = rate
    resampler = av.AudioResampler(format="flt", layout="mono", rate=SAMPLE_RATE)
    parts = [part.to_ndarray()[0] for part in (*resampler.resample(frame), *resampler.resample(None))]
    return np.concatenate(parts).astype(np.float32)


def closure_start(pcm: Float32, earliest: int, start: int) -> int:
    """Where the soundless part that ends at sample `start` began; espeak counts it to the phone before the stop."""
    first = start
    while first - _STEP >= earliest and np.abs(pcm[first - _STEP : first]).max() < _SOUNDLESS:
        first -= _STEP
    return first


def speak(text: str, voice: str, words_a_minute: int, pitch: int, pitch_range: int) -> tuple[Float32, Phones]:
    """Sound at 16 kHz, and (phone as espeak names it, start, end) in seconds; a stop begins with its closure."""
    library, rate = _library()
    if library.espeak_SetVoiceByName(voice.encode()) != 0:
        raise ValueError(f"espeak-ng has no voice {voice}")
    for parameter, value in ((_RATE, words_a_minute), (_PITCH, pitch), (_RANGE, pitch_range)):
        library.espeak_SetParameter(parameter, value, 0)
    blocks: list[npt.NDArray[np.int16]] = []
    heads: list[tuple[str, float]] = []

    @_Callback
    def take(samples, count, events):  # type: ignore[no-untyped-def]
        if samples and count:
            blocks.append(np.ctypeslib.as_array(samples, (count,)).copy())
        i = 0
        while events[i].type != _LIST_END:
            if events[i].type == _PHONEME and events[i].id.string:
                heads.append((events[i].id.string.decode(), events[i].sample / rate))
            i += 1
        return 0

    library.espeak_SetSynthCallback(take)
    data = text.encode() + b"\0"
    if library.espeak_Synth(data, len(data), 0, 1, 0, _UTF8, None, None) != 0:
        raise RuntimeError(f"espeak-ng did not speak: {text}")
    pcm = _resample(np.concatenate(blocks), rate)
    starts: list[float] = []
    for name, at in heads:
        start = min(round(at * SAMPLE_RATE), len(pcm))
        if name[0] in _VOICELESS_STOPS:
            before = round(starts[-1] * SAMPLE_RATE) if starts else 0
            start = closure_start(pcm, max(before, start - _LONGEST_CLOSURE), start)
        starts.append(start / SAMPLE_RATE)
    ends = [*starts[1:], len(pcm) / SAMPLE_RATE]
    return pcm, [(h[0], s, e) for h, s, e in zip(heads, starts, ends, strict=True)]
