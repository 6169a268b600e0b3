"""Puts a speaking mouth on a background frame, in I420."""

from __future__ import annotations

from typing import cast

import cv2
import numpy as np

from pipeline.avatar import Avatar, UInt8, UInt16


def _blend(region: UInt8, patch: UInt8, weight: UInt16) -> None:
    mixed = region * (256 - weight) + patch * weight + np.uint16(128)
    region[:] = mixed >> 8


def compose(avatar: Avatar, index: int, patch: UInt8 | None, weight: float = 1.0) -> UInt8:
    """A new frame: background `index` with the patch in its box.

    patch: (h, w, 3) uint8 RGB of the box's size, or None for the background alone; weight: 0 ... 1 fades it.
    Returns (height * 3 / 2, width) uint8, I420 (BT.601, limited range), owned by the caller.
    """
    frame: UInt8 = avatar.backgrounds[index].copy()
    if patch is None:
        return frame
    x0, y0, x1, y1 = avatar.boxes[index]
    if patch.shape[:2] != (y1 - y0, x1 - x0):
        patch = cast(UInt8, cv2.resize(patch, (x1 - x0, y1 - y0), interpolation=cv2.INTER_CUBIC))
    h, w = patch.shape[:2]
    i420 = cast(UInt8, cv2.cvtColor(patch, cv2.COLOR_RGB2YUV_I420))
    luma_weight, chroma_weight = avatar.edge
    if weight < 1.0:
        luma_weight = (luma_weight * np.float32(weight)).astype(np.uint16)
        chroma_weight = (chroma_weight * np.float32(weight)).astype(np.uint16)
    height, width = avatar.height, avatar.width
    _blend(frame[y0:y1, x0:x1], i420[:h], luma_weight)
    chroma = frame[height:].reshape(2, height // 2, width // 2)
    patch_chroma = i420[h:].reshape(2, h // 2, w // 2)
    _blend(chroma[:, y0 // 2 : y1 // 2, x0 // 2 : x1 // 2], patch_chroma, chroma_weight)
    return frame
