"""Writes avatar.yaml and checks that the avatar folder is whole.

python -m training.build_avatar --out models/default
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any, Final

import cv2
import yaml

from training.onnx_session import cpu_session
from training.pack_background import read_video
from training.studio.crop import CROP_H, CROP_W

DEFAULT_AVATAR: Final[dict[str, Any]] = {
    "format": 1,
    "title": "Ada",
    "description": "A presenter in an office. A synthetic face: nobody real is depicted.",
    "licence": "Apache-2.0",
    "credit": (
        "Face rendered from ICT-FaceKit Light, MIT, (c) 2020 USC Institute for Creative Technologies. "
        "Lip-sync net trained on speech of the CMU flite voices slt and rms, "
        "(c) Carnegie Mellon University."
    ),
    "poster": "poster.jpg",
    "background": {"video": "idle.mp4", "order": "circular"},
    "crops": "crops.json",
    "model": {"family": "logmel_patch", "file": "lipsync.onnx"},
    "feather_px": 10,
}


def check(folder: Path) -> int:
    """The number of background frames of a whole avatar folder; raises ValueError saying what does not fit."""
    frames = read_video(folder / "idle.mp4")
    crops = json.loads((folder / "crops.json").read_text())
    if len(frames) != len(crops["boxes"]):
        raise ValueError(f"{len(frames)} frames, {len(crops['boxes'])} boxes")
    height, width = frames[0].shape[:2]
    for x0, y0, x1, y1 in crops["boxes"]:
        inside = min(x0, y0) >= 0 and x1 <= width and y1 <= height
        if not inside or x0 % 2 or y0 % 2 or (x1 - x0, y1 - y0) != (CROP_W, CROP_H):
            raise ValueError(f"box {[x0, y0, x1, y1]} is odd, outside, or not {CROP_W}x{CROP_H}")
    if crops["size"] != [width, height]:
        raise ValueError(f"boxes for a picture of {crops['size']}, the video is {[width, height]}")
    session = cpu_session(folder / "lipsync.onnx")
    if [i.name for i in session.get_inputs()] != ["crop", "audio"]:
        raise ValueError("lipsync.onnx has other inputs than crop and audio")
    poster = cv2.imread(str(folder / "poster.jpg"))
    if poster is None or poster.shape[:2] != (height, width):
        raise ValueError(f"poster.jpg is not a picture of {width}x{height}")
    return len(frames)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("models/default"))
    options = parser.parse_args()
    text = yaml.safe_dump(DEFAULT_AVATAR, sort_keys=False, allow_unicode=True, width=100)
    (options.out / "avatar.yaml").write_text(text)
    print(f"{options.out}: {check(options.out)} background frames, whole")


if __name__ == "__main__":
    main()
