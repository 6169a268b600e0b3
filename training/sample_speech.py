"""Makes the speech sample of the demo page and the held-out recording of the tests.

python -m training.sample_speech
"""

from __future__ import annotations

import wave
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from pipeline.features import SAMPLE_RATE
from training.sentences import HELD_OUT
from training.speech_corpus import HELD_OUT_VOICE, speak

Float32 = npt.NDArray[np.float32]

GREETING: Final = (
    ("Hello, and welcome! It is lovely to meet you.", 0.55),
    ("My lips follow every word, frame by frame.", 0.5),
    ("Turn on your microphone, and speak to me.", 0.65),
    ("How was your day?", 0.6),
)
"""Text, and the seconds of silence after it."""
_PEAK: Final = 0.7
_LEAD_S: Final = 0.4


def joined(lines: list[tuple[str, float]], voice: str, stretch: float = 1.0) -> Float32:
    """Lines spoken one after the other with their pauses: (n,) float32 at 16 kHz."""
    parts = [np.zeros(int(_LEAD_S * SAMPLE_RATE), np.float32)]
    for text, pause in lines:
        parts += [speak(text, voice, stretch).pcm, np.zeros(int(pause * SAMPLE_RATE), np.float32)]
    sound = np.concatenate(parts)
    return np.asarray(sound * np.float32(_PEAK / np.abs(sound).max()), np.float32)


def write(path: Path, pcm: Float32) -> None:
    """16-bit mono at 16 kHz."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(SAMPLE_RATE)
        sound.writeframes(np.round(pcm * 32767.0).astype("<i2").tobytes())
    print(f"{path}: {len(pcm) / SAMPLE_RATE:.1f} s, {path.stat().st_size / 1e3:.0f} kB")


def main() -> None:
    write(Path("static/speech-sample.wav"), joined(list(GREETING), "slt", stretch=1.08))
    held_out = [(HELD_OUT[2], 0.6), (HELD_OUT[6], 0.6)]
    write(Path("tests/data/speech-heldout.wav"), joined(held_out, HELD_OUT_VOICE))


if __name__ == "__main__":
    main()
