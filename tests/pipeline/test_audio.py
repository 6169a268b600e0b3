from __future__ import annotations

import av
import numpy as np
import numpy.typing as npt
import pytest

from pipeline.audio import NET_RATE, RATE, Int16, NetResampler, StereoConverter, frame_of, samples_of

PTIME = RATE // 50


def tone(seconds: float, rate: int, hz: float = 440.0) -> npt.NDArray[np.float64]:
    return 0.5 * np.sin(np.arange(int(seconds * rate)) * 2 * np.pi * hz / rate)


def frames(wave: npt.NDArray[np.float64], rate: int, layout: str, sample_format: str) -> list[av.AudioFrame]:
    """A wave as 20 ms frames, the same in every channel."""
    channels = av.AudioLayout(layout).nb_channels
    result = []
    for at in range(0, len(wave), rate // 50):
        piece = np.repeat(wave[None, at : at + rate // 50], channels, axis=0)
        match sample_format:
            case "s16":
                data = np.rint(piece * 32768).astype(np.int16).T.reshape(1, -1)
            case "s16p":
                data = np.rint(piece * 32768).astype(np.int16)
            case _:
                data = piece.astype(np.float32)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(data), format=sample_format, layout=layout)
        frame.sample_rate = rate
        result.append(frame)
    return result


@pytest.mark.parametrize(
    ("rate", "layout", "sample_format"),
    [
        (44_100, "mono", "s16"),
        (44_100, "stereo", "fltp"),
        (8_000, "mono", "s16"),
        (16_000, "mono", "fltp"),
        (48_000, "mono", "s16"),
        (48_000, "stereo", "fltp"),
        (48_000, "stereo", "s16p"),
        (96_000, "stereo", "fltp"),
    ],
)
def test_any_sound_becomes_48k_stereo_of_the_same_level_and_instants(
    rate: int, layout: str, sample_format: str
) -> None:
    converter = StereoConverter()
    parts = [converter.convert(frame) for frame in frames(tone(2.0, rate), rate, layout, sample_format)]
    pcm = np.concatenate(parts)
    assert pcm.dtype == np.int16
    assert pcm.shape[1] == 2
    # Nothing is lost but what the resampler still holds at the end.
    assert 2 * RATE - RATE // 400 <= len(pcm) <= 2 * RATE
    np.testing.assert_array_equal(pcm[:, 0], pcm[:, 1])
    wanted = tone(2.0, RATE)[: len(pcm)] * 32768
    settled = slice(RATE // 100, -RATE // 100)
    assert np.abs(pcm[settled, 0] - wanted[settled]).max() < 40


def test_surround_is_mixed_down() -> None:
    converter = StereoConverter()
    pcm = np.concatenate([converter.convert(f) for f in frames(tone(0.5, RATE), RATE, "5.1", "fltp")])
    assert pcm.shape == (RATE // 2, 2)
    assert np.abs(pcm).max() > 8_000


def test_opus_frames_pass_through_unchanged() -> None:
    pcm = np.random.default_rng(0).integers(-32768, 32768, (PTIME, 2), np.int16)
    np.testing.assert_array_equal(StereoConverter().convert(frame_of(pcm)), pcm)


def test_the_source_may_change_its_format() -> None:
    converter = StereoConverter()
    for rate, layout, sample_format in [(48_000, "stereo", "s16"), (8_000, "mono", "s16"), (44_100, "mono", "fltp")]:
        parts = [converter.convert(frame) for frame in frames(tone(0.5, rate), rate, layout, sample_format)]
        assert abs(sum(map(len, parts)) - RATE // 2) < RATE // 400


def test_a_frame_keeps_its_samples() -> None:
    pcm = np.arange(2 * PTIME, dtype=np.int16).reshape(PTIME, 2)
    frame = frame_of(pcm)
    assert (frame.format.name, frame.layout.name, frame.sample_rate, frame.samples) == ("s16", "stereo", RATE, PTIME)
    np.testing.assert_array_equal(samples_of(frame), pcm)
    assert frame_of(pcm[:, :1], 8_000).layout.name == "mono"


def test_a_frame_takes_any_slice() -> None:
    pcm = np.arange(4 * PTIME, dtype=np.int16).reshape(-1, 2)
    np.testing.assert_array_equal(samples_of(frame_of(pcm[::2])), pcm[::2])


def chirp(seconds: float) -> Int16:
    t = np.arange(int(seconds * RATE)) / RATE
    wave = 0.5 * np.sin(2 * np.pi * (200 * t + (3000 - 200) / (2 * seconds) * t**2))
    return np.repeat(np.rint(wave * 32767).astype(np.int16)[:, None], 2, axis=1)


def resampled(pcm: Int16, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    resampler, parts, at = NetResampler(), [], 0
    while at < len(pcm):
        count = int(rng.integers(1, 3000))
        parts.append(resampler.convert(pcm[at : at + count]))
        at += count
        heard = sum(map(len, parts))
        assert 0 <= min(at, len(pcm)) / 3 - heard < NET_RATE / 1000 + 1, "more than a millisecond is withheld"
    return np.concatenate(parts)


@pytest.mark.parametrize("at", [0, 9_600, 24_001, 100_002, 470_000])
def test_an_impulse_keeps_its_instant(at: int) -> None:
    pcm = np.zeros((10 * RATE, 2), np.int16)
    pcm[at] = 30_000
    out = resampled(pcm, np.random.default_rng(at))
    assert abs(int(np.abs(out).argmax()) / NET_RATE - at / RATE) < 0.0001


def test_a_chirp_does_not_drift_over_many_pieces() -> None:
    pcm = chirp(20.0)
    out = resampled(pcm, np.random.default_rng(1))
    wanted = pcm[: 3 * len(out) : 3, 0] / 32768
    settled = slice(100, -100)
    assert np.abs(out[settled] - wanted[settled]).max() < 0.02


def test_the_net_hears_the_mean_of_both_channels_at_full_level() -> None:
    pcm = chirp(0.5)
    both = resampled(pcm, np.random.default_rng(2))
    assert both.dtype == np.float32
    assert np.abs(both).max() == pytest.approx(0.5, abs=0.01)
    pcm[:, 1] = 0
    one = resampled(pcm, np.random.default_rng(2))
    np.testing.assert_allclose(one, both / 2, atol=1e-3)


def test_what_the_net_cannot_hear_is_filtered_out() -> None:
    t = np.arange(RATE) / RATE
    wave = np.rint(16_000 * np.sin(2 * np.pi * 12_000 * t)).astype(np.int16)
    out = resampled(np.repeat(wave[:, None], 2, axis=1), np.random.default_rng(3))
    assert np.abs(out[200:-200]).max() < 0.005


def test_no_sound_in_no_sound_out() -> None:
    assert len(NetResampler().convert(np.empty((0, 2), np.int16))) == 0
