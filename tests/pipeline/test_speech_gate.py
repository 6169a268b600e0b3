from __future__ import annotations

import numpy as np
import pytest

from pipeline.features import SAMPLE_RATE, SILENCE, Float32, windows_of
from pipeline.speech_gate import SpeechGate

FPS = 30


def weights(pcm: Float32) -> list[float]:
    gate = SpeechGate()
    return [gate.weight(window) for window in windows_of(pcm, FPS)]


def tone(seconds: float, dbfs: float) -> Float32:
    t = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return (10 ** (dbfs / 20) * np.sin(2 * np.pi * 1000 * t)).astype(np.float32)


def silence(seconds: float) -> Float32:
    return np.zeros(int(seconds * SAMPLE_RATE), np.float32)


def test_silence_never_opens_it() -> None:
    assert set(weights(silence(2.0))) == {0.0}


def test_it_is_wholly_open_by_the_first_frame_of_the_sound() -> None:
    found = weights(np.concatenate([silence(1.0), tone(0.5, -20.0), silence(1.0)]))
    first = next(n for n, weight in enumerate(found) if weight > 0.0)
    assert FPS - 4 <= first < FPS
    assert found[FPS] >= 0.75
    assert found[FPS + 1] == 1.0


def test_it_closes_after_the_sound_has_left_the_window() -> None:
    found = weights(np.concatenate([silence(1.0), tone(0.5, -20.0), silence(1.0)]))
    end = int(1.5 * FPS)
    assert found[end + 6] == 1.0, "the net has had no time to shut the mouth"
    assert found[end + 12 :] == [0.0] * len(found[end + 12 :])


def test_it_fades_in_steps_without_a_jump() -> None:
    found = [0.0, *weights(np.concatenate([silence(1.0), tone(0.5, -20.0), silence(1.0)])), 0.0]
    assert np.abs(np.diff(found)).max() == SpeechGate.STEP


@pytest.mark.parametrize(("dbfs", "opens"), [(-20.0, True), (-50.0, True), (-62.0, True), (-85.0, False)])
def test_it_spares_the_net_only_what_nobody_hears(dbfs: float, opens: bool) -> None:
    assert (max(weights(tone(1.0, dbfs))) > 0.0) is opens


def test_a_word_at_the_end_of_a_fade_turns_it_round() -> None:
    gate = SpeechGate()
    quiet, loud = np.full((32, 80), SILENCE, np.float32), np.zeros((32, 80), np.float32)
    found = [gate.weight(window) for window in [loud] * 5 + [quiet] * 3 + [loud] * 4]
    assert found == [0.25, 0.5, 0.75, 1.0, 1.0, 0.75, 0.5, 0.25, 0.5, 0.75, 1.0, 1.0]
