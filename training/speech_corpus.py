"""Spoken sentences with the mouth that belongs to every instant, and degraded copies of them as log-mel.

    python -m training.speech_corpus --work training/work

Needs the program flite, and libespeak-ng for --more-voices. Resumable: what exists is kept; the same seeds give the
same corpus.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import wave
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from multiprocessing import Pool
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from pipeline.features import HOP, SAMPLE_RATE, WINDOW
from training import augment, espeak
from training.sentences import FRENCH, GERMAN, HELD_OUT, SPANISH, training_sentences
from training.studio import visemes
from training.windows import dense_mel

Float32 = npt.NDArray[np.float32]
Phones = list[tuple[str, float, float]]

VOICES: Final = {"slt": 180.0, "rms": 105.0}
"""flite's voices that are trained on, and their pitch, Hz."""
MORE_VOICES: Final = {"kal16": 110.0}
ENGLISH: Final = ("gmw/en-US", "gmw/en", "gmw/en-GB-x-rp", "gmw/en-GB-scotland")
OTHER_LANGUAGES: Final = {"gmw/de": GERMAN, "roa/es": SPANISH, "roa/fr": FRENCH}
SPEAKERS: Final = (
    *(f"m{k}" for k in range(1, 9)),
    *(f"f{k}" for k in range(1, 6)),
    "Andy",
    "Annie",
    "Michael",
    "steph",
)
"""espeak-ng's variants of its languages' voices."""
HELD_OUT_VOICE: Final = "awb"
REST: Final = visemes.mouth_vector("rest").astype(np.float32)
FPS: Final = 30
"""Video frames for which a lip closure has to last."""
_GRID_HZ: Final = 200
_UTTERANCES_PER_CLIP: Final = 4
_CLIPS_PER_SHARD: Final = 25
_SILENT_SHARE: Final = 0.25


@dataclass(frozen=True)
class Utterance:
    """pcm: (n,) float32 at 16 kHz. phones: (name, start, end) in seconds."""

    pcm: Float32
    phones: Phones

    @property
    def seconds(self) -> float:
        return len(self.pcm) / SAMPLE_RATE


def speak(text: str, voice: str, stretch: float = 1.0, pitch_hz: float | None = None) -> Utterance:
    """Speaks a text with flite; raises CalledProcessError where flite does."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "speech.wav"
        command = ["flite", "-voice", voice, "-psdur", "--setf", f"duration_stretch={stretch:.3f}"]
        if pitch_hz is not None:
            command += ["--setf", f"int_f0_target_mean={pitch_hz:.1f}"]
        done = subprocess.run([*command, "-t", text, "-o", str(path)], check=True, capture_output=True, text=True)
        with wave.open(str(path)) as sound:
            if sound.getframerate() != SAMPLE_RATE:
                raise ValueError(f"voice {voice} speaks at {sound.getframerate()} Hz, not {SAMPLE_RATE}")
            pcm = np.frombuffer(sound.readframes(sound.getnframes()), np.int16).astype(np.float32) / 32768.0
    phones: Phones = []
    start = 0.0
    for item in done.stdout.split():
        name, end = item.rsplit(":", 1)
        phones.append((name, start, float(end)))
        start = float(end)
    return Utterance(pcm, phones)


def mouths(phones: Phones, count: int) -> Float32:
    """The mouth at `count` instants 10 ms apart, each in the middle of what one mel frame index stands for:
    (count, 15) float32, `visemes.MOUTH_KEYS` values; rest after the last phone."""
    track = visemes.mouth_track(phones, _GRID_HZ, frame=1.0 / FPS)
    index = np.arange(count) * (_GRID_HZ * HOP // SAMPLE_RATE) + 1
    out = np.tile(REST, (count, 1))
    inside = index < len(track)
    out[inside] = track[index[inside]]
    return out


def speak_espeak(text: str, voice: str, rng: np.random.Generator) -> Utterance:
    """Speaks a text with espeak-ng, at a random speed and pitch."""
    pcm, phones = espeak.speak(
        text, voice, int(rng.integers(125, 210)), int(rng.integers(30, 71)), int(rng.integers(30, 81))
    )
    spoken: Phones = []
    for name, start, end in phones:
        parts = visemes.ESPEAK[name].split()
        cuts = np.linspace(start, end, len(parts) + 1)
        spoken += [(part, float(s), float(e)) for part, s, e in zip(parts, cuts[:-1], cuts[1:], strict=True)]
    return Utterance(pcm, spoken)


def _cached(path: Path, text: str, make: Callable[[], Utterance]) -> Utterance:
    if not path.exists():
        spoken = make()
        part = path.with_suffix(".part.npz")
        pcm = np.clip(np.round(spoken.pcm * 32768.0), -32768, 32767).astype(np.int16)
        np.savez(part, pcm=pcm, phones=json.dumps(spoken.phones), text=text)
        part.rename(path)
    with np.load(path) as stored:
        pcm = stored["pcm"].astype(np.float32) / 32768.0
        return Utterance(pcm, [(n, s, e) for n, s, e in json.loads(str(stored["phones"]))])


def training_utterances(folder: Path, sentences: int, more: bool = False) -> list[Utterance]:
    """Every sentence by every training voice, each at its own speed and pitch. `more`: by MORE_VOICES and by two of
    espeak-ng's speakers too, and sentences of other languages by every speaker of espeak-ng."""
    folder.mkdir(parents=True, exist_ok=True)
    voices = VOICES | MORE_VOICES if more else VOICES
    out = []
    for i, text in enumerate(tqdm(training_sentences(sentences), desc="speech", unit="sentence")):
        for k, (voice, pitch) in enumerate(voices.items()):
            rng = np.random.default_rng([i, k])
            stretch = float(np.exp(rng.uniform(np.log(0.8), np.log(1.3))))
            hz = pitch * float(rng.uniform(0.75, 1.35))
            out.append(_cached(folder / f"{voice}_{i:05d}.npz", text, partial(speak, text, voice, stretch, hz)))
        for k in range(2 if more else 0):
            rng = np.random.default_rng([i, k, 1])
            voice = f"{rng.choice(ENGLISH)}+{rng.choice(SPEAKERS)}"
            out.append(_cached(folder / f"espeak{k}_{i:05d}.npz", text, partial(speak_espeak, text, voice, rng)))
    for n, (language, texts) in enumerate(OTHER_LANGUAGES.items() if more else ()):
        for i, text in enumerate(texts):
            for k, speaker in enumerate(SPEAKERS):
                rng = np.random.default_rng([i, k, n, 2])
                path = folder / f"{Path(language).name}_{speaker}_{i:05d}.npz"
                out.append(_cached(path, text, partial(speak_espeak, text, f"{language}+{speaker}", rng)))
    return out


def held_out_utterances() -> list[Utterance]:
    """The held-out sentences by the held-out voice, as it speaks them."""
    return [speak(text, HELD_OUT_VOICE) for text in HELD_OUT]


def _gap(rng: np.random.Generator) -> float:
    return float(rng.uniform(0.05, 1.2))


def speech_clip(utterances: list[Utterance], rng: np.random.Generator) -> tuple[Float32, Float32]:
    """A few utterances with pauses, at one random speed, degraded: dense mel (m, 80) and mouths (m - 31, 15)."""
    rate = float(np.exp(rng.uniform(np.log(0.8), np.log(1.25))))
    pieces: list[Float32] = []
    phones: Phones = []
    at = 0
    for utterance in utterances:
        pause = np.zeros(int(_gap(rng) * SAMPLE_RATE), np.float32)
        pieces.append(pause)
        sound = augment.resample(utterance.pcm, rate)
        sound *= np.float32(augment.from_db(rng.uniform(-6, 3)))
        ratio = len(sound) / len(utterance.pcm)
        start = (at + len(pause)) / SAMPLE_RATE
        phones.append(("pau", at / SAMPLE_RATE, start))
        phones += [(name, start + s * ratio, start + e * ratio) for name, s, e in utterance.phones]
        pieces.append(sound)
        at += len(pause) + len(sound)
        phones.append(("pau", phones[-1][2], max(phones[-1][2], at / SAMPLE_RATE)))
    return _features(augment.degrade(np.concatenate(pieces), rng), phones)


def silent_clip(seconds: float, rng: np.random.Generator) -> tuple[Float32, Float32]:
    count = int(seconds * SAMPLE_RATE)
    return _features(augment.silence(count, rng), [("pau", 0.0, seconds)])


def _features(pcm: Float32, phones: Phones) -> tuple[Float32, Float32]:
    mel = dense_mel(pcm)
    count = len(pcm) // HOP
    mel = mel[: count + WINDOW - 1]
    return mel, mouths(phones, len(mel) - WINDOW + 1)


_utterances: list[Utterance] = []
"""What a process that makes shards draws from: sent once to it, not with every shard."""


def _make_shard(number: int, folder: Path) -> None:
    path = folder / f"shard_{number:04d}.npz"
    if path.exists():
        return
    rng = np.random.default_rng([7, number])
    mels, targets = [], []
    for _ in range(_CLIPS_PER_SHARD):
        if rng.random() < _SILENT_SHARE:
            mel, mouth = silent_clip(float(rng.uniform(4, 14)), rng)
        else:
            chosen = rng.choice(len(_utterances), _UTTERANCES_PER_CLIP, replace=False)
            mel, mouth = speech_clip([_utterances[i] for i in chosen], rng)
        mels.append(mel.astype(np.float16))
        # A clip's last rows have no window of their own: pad, so that mel and mouths share one index.
        targets.append(np.concatenate([mouth, np.full((WINDOW - 1, mouth.shape[1]), np.nan)]).astype(np.float16))
    part = path.with_suffix(".part.npz")
    np.savez(part, mel=np.concatenate(mels), mouth=np.concatenate(targets))
    part.rename(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("training/work"))
    parser.add_argument("--sentences", type=int, default=700)
    parser.add_argument("--shards", type=int, default=60, help="about 6 minutes of degraded sound each")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--more-voices", action="store_true", help="kal16 and espeak-ng too, in four languages")
    options = parser.parse_args()
    utterances = training_utterances(options.work / "speech", options.sentences, options.more_voices)
    folder = options.work / "features"
    folder.mkdir(parents=True, exist_ok=True)
    make = partial(_make_shard, folder=folder)
    with Pool(options.processes, _utterances.extend, (utterances,)) as pool:
        done = pool.imap_unordered(make, range(options.shards))
        for _ in tqdm(done, total=options.shards, desc="features", unit="shard"):
            pass


if __name__ == "__main__":
    main()
