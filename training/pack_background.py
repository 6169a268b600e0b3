"""Packs the rendered idle loop: idle.mp4, crops.json and poster.jpg of an avatar folder.

    python -m training.pack_background FRAMES_FOLDER --out models/default [--mouths training/work/mouths]

FRAMES_FOLDER holds frame_0000.jpg ... and loop.json, as training/studio/render_loop.py writes them.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any, Final

import av
import cv2
import numpy as np
import numpy.typing as npt
from av.video.reformatter import ColorRange
from tqdm import tqdm

from training.studio.crop import snap

Image = npt.NDArray[np.uint8]

FPS: Final = 30
_CRF: Final = 13
_POSTER_QUALITY: Final = 90
_SMPTE170M: Final = 6
"""Colour primaries, transfer and matrix of BT.601 in H.264."""


def read_loop(folder: Path) -> list[dict[str, Any]]:
    """The frames of loop.json in order; raises ValueError where the loop is not complete."""
    loop = json.loads((folder / "loop.json").read_text())
    frames = sorted(loop["frames"], key=lambda frame: int(frame["index"]))
    if [frame["index"] for frame in frames] != list(range(loop["frames_in_loop"])):
        raise ValueError(f"{folder}/loop.json describes {len(frames)} of {loop['frames_in_loop']} frames")
    return frames


def boxes_of(frames: list[dict[str, Any]], size: int) -> list[list[int]]:
    """The even lower-face box [x0, y0, x1, y1] of each frame."""
    return [snap(*frame["mouth_centre"], size) for frame in frames]


def check_boxes(boxes: list[list[int]], mouths: Path) -> int:
    """Compares with the boxes that mouths were rendered in; their number, or ValueError."""
    crops = json.loads((mouths / "mouths.json").read_text())["crops"]
    for crop in crops:
        if boxes[crop["frame"] % len(boxes)] != crop["box"]:
            raise ValueError(f"frame {crop['frame']}: {boxes[crop['frame']]} here, rendered in {crop['box']}")
    return len(crops)


def write_video(frames: list[Image], path: Path, fps: int = FPS) -> None:
    """H.264, yuv420p, BT.601 limited range. frames: (h, w, 3) uint8 RGB, even sizes."""
    height, width = frames[0].shape[:2]
    with av.open(str(path), "w", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream(
            "libx264",
            rate=fps,
            options={
                "crf": str(_CRF),
                "preset": "veryslow",
                "tune": "animation",
                "x264-params": "bframes=0:keyint=60:colorprim=smpte170m:transfer=smpte170m:colormatrix=smpte170m",
            },
        )
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.color_range = ColorRange.MPEG
        stream.codec_context.colorspace = _SMPTE170M
        stream.codec_context.color_primaries = _SMPTE170M
        stream.codec_context.color_trc = _SMPTE170M
        for n, image in enumerate(tqdm(frames, desc=path.name, unit="frame")):
            frame = av.VideoFrame.from_ndarray(cv2.cvtColor(image, cv2.COLOR_RGB2YUV_I420), format="yuv420p")
            frame.pts = n
            frame.colorspace, frame.color_range = _SMPTE170M, ColorRange.MPEG
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def read_video(path: Path) -> list[Image]:
    """Every frame, (h, w, 3) uint8 RGB, converted as BT.601 limited range."""
    with av.open(str(path)) as container:
        return [
            np.asarray(cv2.cvtColor(frame.to_ndarray(format="yuv420p"), cv2.COLOR_YUV2RGB_I420), np.uint8)
            for frame in container.decode(video=0)
        ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("frames", type=Path)
    parser.add_argument("--out", type=Path, default=Path("models/default"))
    parser.add_argument("--mouths", type=Path, help="rendered mouths whose boxes must be the same")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    frames = read_loop(options.frames)
    images = [cv2.cvtColor(cv2.imread(str(options.frames / f["file"])), cv2.COLOR_BGR2RGB) for f in frames]
    height, width = images[0].shape[:2]
    boxes = boxes_of(frames, width)
    if options.mouths:
        print(f"boxes equal those of {check_boxes(boxes, options.mouths)} rendered mouths")
    write_video(images, options.out / "idle.mp4")
    decoded = read_video(options.out / "idle.mp4")
    if len(decoded) != len(images):
        raise RuntimeError(f"idle.mp4 gives back {len(decoded)} of {len(images)} frames")
    error = np.mean([np.mean((a.astype(np.float32) - b) ** 2) for a, b in zip(images, decoded, strict=True)])
    (options.out / "crops.json").write_text(
        json.dumps({"size": [width, height], "boxes": boxes}, separators=(",", ":")) + "\n"
    )
    poster = cv2.cvtColor(images[0], cv2.COLOR_RGB2BGR)
    cv2.imwrite(str(options.out / "poster.jpg"), poster, [cv2.IMWRITE_JPEG_QUALITY, _POSTER_QUALITY])
    megabytes = (options.out / "idle.mp4").stat().st_size / 1e6
    print(f"{len(decoded)} frames {width}x{height}, {megabytes:.2f} MB, {10 * np.log10(255**2 / error):.1f} dB")


if __name__ == "__main__":
    main()
