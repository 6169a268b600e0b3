"""The text, the mouths and the windows that training draws from."""

from __future__ import annotations

import numpy as np

from pipeline.features import WINDOW, centre_of, windows_of
from training import espeak
from training.sentences import HELD_OUT, training_sentences
from training.studio import visemes
from training.windows import dense_mel


def test_training_sentences_are_different_repeatable_and_none_is_held_out() -> None:
    sentences = training_sentences(300, seed=1)
    assert len(set(sentences)) == 300
    assert sentences == training_sentences(300, seed=1)
    assert not set(sentences) & set(HELD_OUT)


def test_dense_windows_equal_the_windows_the_server_makes() -> None:
    rng = np.random.default_rng(0)
    pcm = rng.normal(0, 0.1, 16_000 + 123).astype(np.float32)
    served = windows_of(pcm, 30)
    mel = dense_mel(pcm)
    for n, window in enumerate(served):
        start = centre_of(n, 30)
        np.testing.assert_array_equal(mel[start : start + WINDOW], window)


def test_bilabials_close_and_silence_rests() -> None:
    phones = [("pau", 0.0, 0.3), ("aa", 0.3, 0.5), ("p", 0.5, 0.58), ("aa", 0.58, 0.8), ("pau", 0.8, 1.2)]
    track = visemes.mouth_track(phones, 30)
    jaw = track[:, visemes.MOUTH_KEYS.index("jawOpen")]
    roll = track[:, visemes.MOUTH_KEYS.index("mouthRollUpper")]
    assert jaw[int(0.4 * 30)] > 0.2
    assert jaw[int(0.54 * 30)] < 0.02
    assert roll[int(0.54 * 30)] > 0.2
    np.testing.assert_allclose(track[-1], visemes.mouth_vector("rest"), atol=1e-6)


def test_a_finer_track_closes_for_as_long_as_a_video_frame_track() -> None:
    phones = [("aa", 0.0, 0.3), ("b", 0.3, 0.31), ("aa", 0.31, 0.6)]
    fine = visemes.mouth_track(phones, 200, frame=1 / 30)
    closed = fine[:, visemes.MOUTH_KEYS.index("mouthRollUpper")] > 0.21
    assert closed.sum() / 200 >= 1 / 30


def test_every_phone_of_espeak_has_a_mouth() -> None:
    assert {part for phones in visemes.ESPEAK.values() for part in phones.split()} <= set(visemes.PHONES)


def test_a_stop_of_espeak_begins_with_its_closure() -> None:
    vowel = 0.3 * np.sin(np.arange(3200, dtype=np.float32) / 5.0)
    pcm = np.concatenate([vowel, np.zeros(1120, np.float32), vowel])
    burst = 3200 + 1120
    assert espeak.closure_start(pcm, 0, burst) == 3200
    # Never before the phone in front of it, and no further than there is silence.
    assert espeak.closure_start(pcm, 4000, burst) == 4000
    assert espeak.closure_start(pcm, 0, 3000) == 3000
