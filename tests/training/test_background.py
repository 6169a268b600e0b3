"""Packing the idle loop: every frame, its colours and its box."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from training.pack_background import read_video, write_video
from training.studio.crop import snap


def test_a_video_gives_back_every_frame_in_order_with_its_colours(tmp_path: Path) -> None:
    shades = [(40 + 12 * n, 180 - 9 * n, 90 + 5 * n) for n in range(12)]
    frames = [np.full((64, 96, 3), shade, np.uint8) for shade in shades]
    path = tmp_path / "idle.mp4"
    write_video(frames, path)
    decoded = read_video(path)
    assert len(decoded) == len(frames)
    for frame, back in zip(frames, decoded, strict=True):
        assert np.abs(frame.astype(int) - back.astype(int)).max() <= 4
    with av.open(str(path)) as container:
        context = container.streams.video[0].codec_context
        assert (context.pix_fmt, context.has_b_frames) == ("yuv420p", 0)
        assert (int(context.colorspace), int(context.color_range)) == (6, 1)


@pytest.mark.parametrize("centre", [(255.3, 298.9), (256.0, 297.0), (254.99, 300.01)])
def test_a_box_is_even_and_of_one_size(centre: tuple[float, float]) -> None:
    x0, y0, x1, y1 = snap(*centre)
    assert (x1 - x0, y1 - y0) == (176, 144)
    assert x0 % 2 == 0
    assert y0 % 2 == 0
    assert abs((x0 + x1) / 2 - centre[0]) <= 1
