"""Rendered mouths and the background crops they belong to."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from training.pack_background import read_loop, read_video
from training.studio.visemes import MOUTH_KEYS

UInt8 = npt.NDArray[np.uint8]
Float32 = npt.NDArray[np.float32]

_HELD_OUT_EVERY: Final = 20
"""One rendered mouth in so many is never trained on."""


@dataclass(frozen=True)
class MouthPairs:
    """backgrounds: (frames, 144, 176, 3) uint8 RGB, crops of the decoded idle loop.

    targets: (n, 144, 176, 3) uint8 RGB; frames: (n,) the background of each; mouths: (n, 15) float32, MOUTH_KEYS
    values minus those of that idle frame's own mouth, so that 0 is the background itself. held_out: (n,) bool.
    """

    backgrounds: UInt8
    targets: UInt8
    frames: npt.NDArray[np.int64]
    mouths: Float32
    held_out: npt.NDArray[np.bool_]


def background_crops(avatar: Path) -> UInt8:
    """What a server sees inside each frame's box of an avatar folder: (frames, 144, 176, 3) uint8 RGB."""
    boxes = json.loads((avatar / "crops.json").read_text())["boxes"]
    images = read_video(avatar / "idle.mp4")
    return np.stack([im[y0:y1, x0:x1] for im, (x0, y0, x1, y1) in zip(images, boxes, strict=True)])


def load_pairs(mouths: Path, loop: Path, avatar: Path) -> MouthPairs:
    """Reads those of the listed mouths that are rendered so far.

    mouths: folder with mouths.json and PNG files; loop: folder of loop.json; avatar: folder of idle.mp4.
    """
    own = [[frame["params"].get(key, 0.0) for key in MOUTH_KEYS] for frame in read_loop(loop)]
    crops = json.loads((mouths / "mouths.json").read_text())["crops"]
    found = [(n, crop) for n, crop in enumerate(crops) if (mouths / crop["file"]).exists()]
    if not found:
        raise FileNotFoundError(f"no rendered mouth in {mouths}")
    targets = [
        cv2.cvtColor(cv2.imread(str(mouths / crop["file"])), cv2.COLOR_BGR2RGB)
        for _, crop in tqdm(found, desc="mouths", unit="file", mininterval=2)
    ]
    frames = np.array([crop["frame"] % len(own) for _, crop in found], np.int64)
    values = np.array([crop["mouth"] for _, crop in found], np.float32)
    return MouthPairs(
        backgrounds=background_crops(avatar),
        targets=np.stack(targets).astype(np.uint8),
        frames=frames,
        mouths=values - np.array(own, np.float32)[frames],
        held_out=np.array([n % _HELD_OUT_EVERY == _HELD_OUT_EVERY - 1 for n, _ in found]),
    )
