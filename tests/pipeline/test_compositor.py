from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from pipeline.avatar import Avatar, Box, soft_edge
from pipeline.compositor import compose

UInt8 = npt.NDArray[np.uint8]

WIDTH, HEIGHT = 96, 64
BOX: Box = (20, 10, 68, 46)
FEATHER = 6


@pytest.fixture
def avatar(tiny: Avatar) -> Avatar:
    """One smooth, colourful background, wider than high."""
    noise = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    picture = cv2.GaussianBlur(noise, (0, 0), 6)
    picture = cv2.normalize(picture, None, 20, 235, cv2.NORM_MINMAX)
    background = cv2.cvtColor(picture, cv2.COLOR_RGB2YUV_I420)
    background.flags.writeable = False
    x0, y0, x1, y1 = BOX
    luma = soft_edge(x1 - x0, y1 - y0, FEATHER)
    crop = cv2.cvtColor(background, cv2.COLOR_YUV2RGB_I420)[y0:y1, x0:x1]
    return replace(
        tiny,
        width=WIDTH,
        height=HEIGHT,
        backgrounds=background[None],
        boxes=(BOX,),
        crops=crop[None],
        edge=(luma, luma[::2, ::2]),
    )


def planes(frame: UInt8) -> tuple[UInt8, UInt8, UInt8]:
    """Y, U and V of an I420 frame."""
    chroma = frame[HEIGHT:].reshape(2, HEIGHT // 2, WIDTH // 2)
    return frame[:HEIGHT], chroma[0], chroma[1]


def inside(scale: int) -> tuple[slice, slice]:
    x0, y0, x1, y1 = (side // scale for side in BOX)
    return slice(y0, y1), slice(x0, x1)


def solid(red: int, green: int, blue: int) -> UInt8:
    x0, y0, x1, y1 = BOX
    return np.full((y1 - y0, x1 - x0, 3), (red, green, blue), np.uint8)


def test_no_patch_is_the_background_to_the_bit(avatar: Avatar) -> None:
    frame = compose(avatar, 0, None)
    np.testing.assert_array_equal(frame, avatar.backgrounds[0])
    frame[...] = 0
    assert avatar.backgrounds[0].max() > 0


@pytest.mark.parametrize("weight", [1.0, 0.5])
def test_outside_the_box_nothing_changes(avatar: Avatar, weight: float) -> None:
    for changed, background, scale in zip(
        planes(compose(avatar, 0, solid(255, 0, 0), weight)), planes(avatar.backgrounds[0]), (1, 2, 2), strict=True
    ):
        changed, background = changed.copy(), background.copy()
        assert np.any(changed[inside(scale)] != background[inside(scale)])
        changed[inside(scale)] = background[inside(scale)] = 0
        np.testing.assert_array_equal(changed, background)


def test_weight_0_is_the_background_to_the_bit(avatar: Avatar) -> None:
    np.testing.assert_array_equal(compose(avatar, 0, solid(255, 255, 255), 0.0), avatar.backgrounds[0])


@pytest.mark.parametrize(
    ("rgb", "yuv"),
    [
        # ITU-R BT.601, limited range.
        ((255, 0, 0), (82, 90, 240)),
        ((0, 255, 0), (145, 54, 34)),
        ((0, 0, 255), (41, 240, 110)),
        ((255, 255, 255), (235, 128, 128)),
        ((0, 0, 0), (16, 128, 128)),
    ],
)
def test_weight_1_is_the_patch_inside_the_edge_in_every_plane(
    avatar: Avatar, rgb: tuple[int, int, int], yuv: tuple[int, int, int]
) -> None:
    frame = compose(avatar, 0, solid(*rgb))
    for plane, wanted, scale in zip(planes(frame), yuv, (1, 2, 2), strict=True):
        border = -(-FEATHER // scale)
        middle = plane[inside(scale)][border:-border, border:-border]
        np.testing.assert_allclose(middle.astype(int), wanted, atol=1)


def test_half_a_weight_is_half_way(avatar: Avatar) -> None:
    background = avatar.backgrounds[0].astype(int)
    whole = compose(avatar, 0, solid(255, 255, 255)).astype(int)
    half = compose(avatar, 0, solid(255, 255, 255), 0.5).astype(int)
    np.testing.assert_allclose(half, (background + whole) / 2, atol=1.5)


@pytest.mark.parametrize("weight", [0.25, 0.75, 1.0])
def test_blending_rounds_to_the_nearest(avatar: Avatar, weight: float) -> None:
    background = planes(avatar.backgrounds[0])[0][inside(1)].astype(float)
    blended = planes(compose(avatar, 0, solid(255, 255, 255), weight))[0][inside(1)]
    share = np.floor(avatar.edge[0] * weight) / 256
    assert np.abs(blended - (background + (235 - background) * share)).max() <= 0.5


def test_the_edge_is_soft(avatar: Avatar) -> None:
    change = planes(compose(avatar, 0, solid(255, 255, 255)))[0].astype(int) - planes(avatar.backgrounds[0])[0]
    x0, y0, x1, y1 = BOX
    possible = 235 - planes(avatar.backgrounds[0])[0].astype(int)
    share = (change / possible)[(y0 + y1) // 2, x0:x1]
    assert share[0] < 0.05
    assert share[-1] < 0.05
    assert np.all(np.diff(share[: FEATHER + 1]) > 0)
    np.testing.assert_allclose(share[FEATHER:-FEATHER], 1.0, atol=0.01)
    assert np.abs(np.diff(share)).max() < 0.35


def psnr(a: UInt8, b: UInt8) -> float:
    error = np.mean((a.astype(float) - b.astype(float)) ** 2)
    return float("inf") if error == 0 else 10 * np.log10(255**2 / error)


def test_the_backgrounds_own_crop_as_a_patch_shows_no_box(avatar: Avatar) -> None:
    frame = compose(avatar, 0, avatar.crops[0])
    for plane, background, scale in zip(planes(frame), planes(avatar.backgrounds[0]), (1, 2, 2), strict=True):
        assert psnr(plane[inside(scale)], background[inside(scale)]) >= 40.0


def test_a_patch_of_another_size_is_fitted_into_the_box(avatar: Avatar) -> None:
    x0, y0, x1, y1 = BOX
    small = cv2.resize(avatar.crops[0], ((x1 - x0) * 3 // 4, (y1 - y0) * 3 // 4), interpolation=cv2.INTER_AREA)
    frame = compose(avatar, 0, small)
    assert psnr(planes(frame)[0][inside(1)], planes(avatar.backgrounds[0])[0][inside(1)]) >= 35.0


def test_every_frame_has_its_own_box(tiny: Avatar) -> None:
    white = np.full((16, 16, 3), 255, np.uint8)
    for index, (x0, y0, x1, y1) in enumerate(tiny.boxes):
        changed = compose(tiny, index, white)[: tiny.height] != tiny.backgrounds[index][: tiny.height]
        rows, columns = np.nonzero(changed)
        assert x0 <= columns.min() <= columns.max() < x1
        assert y0 <= rows.min() <= rows.max() < y1
        assert len(rows) > 0.8 * 16 * 16


def test_the_callers_patch_is_left_alone(avatar: Avatar) -> None:
    patch = solid(1, 2, 3)
    patch.flags.writeable = False
    compose(avatar, 0, patch, 0.5)
