"""Sound of any shape to the two shapes the pipeline works in: 48 kHz stereo to give back, 16 kHz mono to hear."""

from __future__ import annotations

from typing import Final, cast

import av
import numpy as np
import numpy.typing as npt

RATE: Final = 48_000
CHANNELS: Final = 2
NET_RATE: Final = 16_000

Int16 = npt.NDArray[np.int16]
Float32 = npt.NDArray[np.float32]


def samples_of(frame: av.AudioFrame) -> Int16:
    """Interleaved s16 frame -> (n, channels) int16, without a copy where the frame allows."""
    channels = frame.layout.nb_channels
    return cast(Int16, frame.to_ndarray().reshape(-1, channels))


def frame_of(pcm: Int16, rate: int = RATE) -> av.AudioFrame:
    """(n, 2) int16 -> packed s16 stereo frame; pts and time base are the caller's business."""
    frame = av.AudioFrame.from_ndarray(
        np.ascontiguousarray(pcm).reshape(1, -1),
        format="s16",
        layout="stereo" if pcm.shape[1] == 2 else "mono",
    )
    frame.sample_rate = rate
    return frame


class StereoConverter:
    """Decoded frames of any rate and layout -> (n, 2) int16 at 48 kHz. Opus already is that and passes through."""

    def __init__(self) -> None:
        self._resampler: av.AudioResampler | None = None
        self._source: tuple[str, str, int] | None = None

    def convert(self, frame: av.AudioFrame) -> Int16:
        source = (frame.format.name, frame.layout.name, frame.sample_rate)
        if source == ("s16", "stereo", RATE):
            return samples_of(frame)
        if source != self._source:
            # FFmpeg would spread one channel over two at -3 dB each; it is given to both as it is.
            layout = "mono" if frame.layout.nb_channels == 1 else "stereo"
            self._resampler = av.AudioResampler(format="s16", layout=layout, rate=RATE)
            self._source = source
        assert self._resampler is not None
        parts = [samples_of(f) for f in self._resampler.resample(frame)]
        pcm = np.concatenate(parts) if parts else np.empty((0, CHANNELS), np.int16)
        return np.repeat(pcm, CHANNELS, axis=1) if pcm.shape[1] == 1 else pcm


class NetResampler:
    """A gapless run of 48 kHz stereo -> 16 kHz mono float32 in [-1, 1], filtered against aliases.

    The filter withholds under a millisecond until the next call; the samples that come out keep their instants.
    """

    def __init__(self) -> None:
        self._resampler = av.AudioResampler(format="flt", layout="mono", rate=NET_RATE)

    def convert(self, pcm: Int16) -> Float32:
        """pcm: (n, 2) int16 at 48 kHz. Returns (about n / 3,) float32."""
        if not len(pcm):
            return np.empty(0, np.float32)
        # FFmpeg mixes two channels to 1.41 times their mean.
        mean = pcm.sum(axis=1, dtype=np.float32) * np.float32(0.5 / 32768)
        frame = av.AudioFrame.from_ndarray(mean.reshape(1, -1), format="flt", layout="mono")
        frame.sample_rate = RATE
        parts = [f.to_ndarray().reshape(-1) for f in self._resampler.resample(frame)]
        return cast(Float32, np.concatenate(parts)) if parts else np.empty(0, np.float32)
