"""Pictures for encoders: something that moves and is grainy enough to fill any bitrate."""

from __future__ import annotations

import fractions
from collections.abc import Iterator

import av
import cv2
import numpy as np
import numpy.typing as npt

WIDTH, HEIGHT = 192, 160
FPS = 30
TICK = 90_000 // FPS

UInt8 = npt.NDArray[np.uint8]


def moving_picture(first_tick: int = 0, width: int = WIDTH, height: int = HEIGHT) -> Iterator[av.VideoFrame]:
    """Endless yuv420p frames with their pts in 1/90000."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (height + 64, width + 64, 3), np.uint8)
    scene = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 2), None, 30, 225, cv2.NORM_MINMAX)
    grain = rng.normal(0.0, 5.0, (8, height, width, 3))
    tick = first_tick
    while True:
        x, y = int(20 + 15 * np.sin(tick / 7)), int(20 + 15 * np.cos(tick / 9))
        rgb = np.clip(scene[y : y + height, x : x + width] + grain[tick % 8], 0, 255).astype(np.uint8)
        frame = av.VideoFrame.from_numpy_buffer(cv2.cvtColor(rgb, cv2.COLOR_RGB2YUV_I420), "yuv420p")
        frame.pts = tick * TICK
        frame.time_base = fractions.Fraction(1, 90_000)
        yield frame
        tick += 1


def luma_psnr(a: av.VideoFrame, b: av.VideoFrame) -> float:
    luma = [frame.to_ndarray(format="yuv420p")[: frame.height].astype(float) for frame in (a, b)]
    return float(10 * np.log10(255**2 / np.mean((luma[0] - luma[1]) ** 2)))
