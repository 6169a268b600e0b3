from __future__ import annotations

import numpy as np
import pytest

from pipeline.features import (
    AHEAD,
    F_MAX_HZ,
    F_MIN_HZ,
    HOP,
    LOOKAHEAD_S,
    N_FFT,
    N_MELS,
    SAMPLE_RATE,
    SILENCE,
    WIN,
    WINDOW,
    FeatureExtractor,
    Float32,
    centre_of,
    log_mel,
    mel_filter_bank,
    windows_of,
)

FPS = [24, 25, 30, 50, 60]


def speechlike(seconds: float, seed: int = 0) -> Float32:
    """Noise in bursts, with digital silence between them."""
    rng = np.random.default_rng(seed)
    count = int(seconds * SAMPLE_RATE)
    loud = np.sin(np.arange(count) * 2 * np.pi * 1.5 / SAMPLE_RATE).clip(0.0)
    return (rng.normal(0.0, 0.2, count) * loud).astype(np.float32)


def all_of(extractor: FeatureExtractor) -> list[tuple[int, Float32]]:
    windows = []
    while (ready := extractor.next_window()) is not None:
        windows.append(ready)
    return windows


@pytest.mark.parametrize("fps", FPS)
@pytest.mark.parametrize("largest", [1, 7, 161, 480, 5000])
def test_streaming_equals_the_whole_recording(fps: int, largest: int) -> None:
    pcm = speechlike(0.5 if largest < 100 else 3.1, seed=fps)
    rng = np.random.default_rng(largest)
    extractor = FeatureExtractor(fps)
    windows, at = [], 0
    tail = np.zeros(int((LOOKAHEAD_S + 0.01) * SAMPLE_RATE), np.float32)
    whole = np.concatenate([pcm, tail])
    while at < len(whole):
        count = int(rng.integers(1, largest + 1))
        extractor.push(whole[at : at + count])
        windows += all_of(extractor)
        at += count
    wanted = windows_of(pcm, fps)
    assert [number for number, _ in windows[: len(wanted)]] == list(range(len(wanted)))
    streamed = np.stack([window for _, window in windows[: len(wanted)]])
    assert streamed.dtype == np.float32
    np.testing.assert_allclose(streamed, wanted, rtol=0, atol=1e-4)


@pytest.mark.parametrize("fps", FPS)
@pytest.mark.parametrize("window", [0, 1, 2, 29, 997])
def test_after_a_reset_what_came_before_is_silence(fps: int, window: int) -> None:
    extractor = FeatureExtractor(fps)
    extractor.push(speechlike(0.7, seed=3))
    all_of(extractor)
    extractor.reset(window)
    position = extractor.position
    assert 0 <= window / fps - position / SAMPLE_RATE < 1 / SAMPLE_RATE
    pcm = speechlike(1.0, seed=4) + np.float32(0.01)
    extractor.push(pcm)
    windows = all_of(extractor)
    assert [number for number, _ in windows] == list(range(window, window + len(windows)))
    # The same on a short timeline: the same place on the grid of hops and frames, at most two seconds in.
    shift = window // fps * fps
    quiet = np.zeros(position - shift * SAMPLE_RATE // fps, np.float32)
    wanted = windows_of(np.concatenate([quiet, pcm]), fps)[window - shift :]
    assert len(windows) >= len(wanted) - LOOKAHEAD_S * fps - 1
    np.testing.assert_allclose(np.stack([w for _, w in windows]), wanted[: len(windows)], rtol=0, atol=1e-4)


@pytest.mark.parametrize("fps", FPS)
def test_a_window_comes_out_exactly_when_its_sound_is_in(fps: int) -> None:
    extractor = FeatureExtractor(fps)
    for number in range(2 * fps):
        needed = (centre_of(number, fps) + AHEAD) * HOP + WIN
        assert needed / SAMPLE_RATE - number / fps <= LOOKAHEAD_S + 1e-9
        extractor.push(np.zeros(needed - 1 - extractor.position, np.float32))
        assert extractor.next_window() is None
        extractor.push(np.zeros(1, np.float32))
        ready = extractor.next_window()
        assert ready is not None
        assert ready[0] == number


def test_the_lookahead_is_105_ms() -> None:
    assert pytest.approx(0.105) == LOOKAHEAD_S
    assert FeatureExtractor.lookahead_s == LOOKAHEAD_S


@pytest.mark.parametrize("fps", [25, 30])
def test_a_click_is_seen_by_the_windows_around_its_instant_only(fps: int) -> None:
    at = 1.0
    pcm = np.zeros(2 * SAMPLE_RATE, np.float32)
    pcm[int(at * SAMPLE_RATE)] = 1.0
    seen = [n for n, window in enumerate(windows_of(pcm, fps)) if window.max() > SILENCE + 0.1]
    # A mel frame's filter is silent at its edges, so up to 10 ms of the reach are lost on either side.
    first, last = seen[0] / fps, seen[-1] / fps
    assert at - LOOKAHEAD_S <= first <= at - LOOKAHEAD_S + 0.01 + 1 / fps
    back = (WINDOW - AHEAD - 1) * HOP / SAMPLE_RATE
    assert at + back - 0.01 - 1 / fps <= last <= at + back + 0.01 + 1 / fps
    assert seen == list(range(seen[0], seen[-1] + 1))


def test_silence_is_the_floor_to_the_bit() -> None:
    assert np.all(log_mel(np.zeros(SAMPLE_RATE, np.float32)) == np.float32(SILENCE))
    hiss = np.random.default_rng(0).normal(0.0, 10 ** (-100 / 20), SAMPLE_RATE).astype(np.float32)
    assert np.all(log_mel(hiss) == np.float32(SILENCE))


def test_loudness_moves_every_band_by_the_same_step() -> None:
    noise = np.random.default_rng(0).normal(0.0, 0.05, SAMPLE_RATE).astype(np.float32)
    step = log_mel(2 * noise) - log_mel(noise)
    np.testing.assert_allclose(step, np.log(4.0) / 4.0, atol=1e-4)


def test_full_scale_stays_within_the_stated_range() -> None:
    noise = np.random.default_rng(0).uniform(-1.0, 1.0, SAMPLE_RATE).astype(np.float32)
    sine = np.sin(np.arange(SAMPLE_RATE) * 2 * np.pi * 1000 / SAMPLE_RATE).astype(np.float32)
    for pcm in (noise, sine):
        mel = log_mel(pcm)
        assert mel.min() >= SILENCE
        assert mel.max() < 3.5


@pytest.mark.parametrize("samples", [0, 1, WIN - 1])
def test_less_than_a_mel_frame_gives_none(samples: int) -> None:
    assert log_mel(np.zeros(samples, np.float32)).shape == (0, N_MELS)


@pytest.mark.parametrize("extra", [0, HOP - 1, HOP])
def test_mel_frames_are_counted_by_hops(extra: int) -> None:
    assert len(log_mel(np.zeros(WIN + 3 * HOP + extra, np.float32))) == 4 + extra // HOP


def test_windows_of_nothing() -> None:
    assert windows_of(np.empty(0, np.float32), 30).shape == (0, WINDOW, N_MELS)


def test_the_filter_bank_covers_its_range_and_nothing_else() -> None:
    bank = mel_filter_bank()
    bins = np.fft.rfftfreq(N_FFT, 1 / SAMPLE_RATE)
    assert bank.shape == (N_MELS, N_FFT // 2 + 1)
    assert bank.dtype == np.float32
    assert bank.min() == 0.0
    assert bank.max() <= 1.0
    assert np.all(bank.sum(axis=1) > 0.0), "a filter that sees nothing"
    outside = (bins <= F_MIN_HZ) | (bins >= F_MAX_HZ)
    assert np.all(bank[:, outside] == 0.0)
    centres = (bank * bins).sum(axis=1) / bank.sum(axis=1)
    assert np.all(np.diff(centres) >= 0.0)


@pytest.mark.parametrize("hz", [150.0, 440.0, 1000.0, 2500.0, 6000.0])
def test_a_sine_is_loudest_in_the_band_of_its_pitch(hz: float) -> None:
    sine = (0.3 * np.sin(np.arange(SAMPLE_RATE) * 2 * np.pi * hz / SAMPLE_RATE)).astype(np.float32)
    loudest = int(log_mel(sine).mean(axis=0).argmax())

    def mel(f: float) -> float:
        return 2595.0 * np.log10(1.0 + f / 700.0)

    band = (mel(hz) - mel(F_MIN_HZ)) / (mel(F_MAX_HZ) - mel(F_MIN_HZ)) * (N_MELS + 1) - 1
    assert abs(loudest - band) <= 1.5
