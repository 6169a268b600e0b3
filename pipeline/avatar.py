"""An avatar: its background frames, crop boxes and lip-sync model, loaded once and shared by all its sessions."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Final, Literal, cast

import av
import cv2
import numpy as np
import numpy.typing as npt
import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from pipeline.lipsync import FAMILIES, LipSyncInput, LipSyncModel
from pipeline.onnx import Device

UInt8 = npt.NDArray[np.uint8]
UInt16 = npt.NDArray[np.uint16]
Box = tuple[int, int, int, int]
"""x0, y0, x1, y1 in pixels, y down; even, so that chroma lines up."""

MANIFEST: Final = "avatar.yaml"


class AvatarError(Exception):
    """An avatar folder that cannot be used; the message names the file and what is wrong with it."""


def _inside(name: str) -> str:
    """An avatar's files lie in its folder: what is served over HTTP must not lead out of it."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise ValueError("must be a path inside the avatar's folder")
    return name


FileName = Annotated[str, AfterValidator(_inside)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class BackgroundEntry(_Strict):
    video: FileName
    order: Literal["circular", "pingpong"] = "circular"


class ModelEntry(_Strict):
    family: str
    file: FileName


class Manifest(_Strict):
    """The contents of avatar.yaml; paths are relative to its folder. See docs/avatar-format.md."""

    format: Literal[1]
    title: str
    description: str = ""
    licence: str = ""
    credit: str = ""
    poster: FileName = "poster.jpg"
    background: BackgroundEntry
    crops: FileName = "crops.json"
    model: ModelEntry
    feather_px: Annotated[int, Field(ge=0, le=64)] = 10


class _Crops(_Strict):
    size: tuple[int, int]
    boxes: list[Box]


def read_manifest(folder: Path) -> Manifest:
    """Reads avatar.yaml without loading the avatar. Raises AvatarError."""
    path = folder / MANIFEST
    try:
        return Manifest.model_validate(yaml.safe_load(path.read_text("utf-8")))
    except FileNotFoundError:
        raise AvatarError(f"{path}: not found; an avatar is a folder with an {MANIFEST}") from None
    except OSError as error:
        raise AvatarError(f"{path}: cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise AvatarError(f"{path}: not YAML: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise AvatarError(f"{path}: {where}: {first['msg']}") from error


@dataclass(frozen=True)
class AvatarSummary:
    """What can be said of an avatar without loading it."""

    manifest: Manifest
    width: int
    height: int
    fps: int


def summarise(folder: Path) -> AvatarSummary:
    """Reads avatar.yaml and the head of its video. Raises AvatarError."""
    manifest = read_manifest(folder)
    path = folder / manifest.background.video
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            return AvatarSummary(manifest, stream.width, stream.height, round(float(stream.average_rate or 0)))
    except (av.FFmpegError, OSError, IndexError) as error:
        raise AvatarError(f"{path}: cannot be read as a video: {error}") from error


def _read_boxes(path: Path) -> tuple[tuple[int, int], tuple[Box, ...]]:
    try:
        crops = _Crops.model_validate(json.loads(path.read_text("utf-8")))
    except (OSError, ValueError) as error:
        raise AvatarError(f"{path}: cannot be read as crop boxes: {error}") from error
    width, height = crops.size
    for index, (x0, y0, x1, y1) in enumerate(crops.boxes):
        if not (0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height):
            raise AvatarError(f"{path}: box {index} {[x0, y0, x1, y1]} lies outside the {width}x{height} picture")
        if (x0 | y0 | x1 | y1) & 1:
            raise AvatarError(f"{path}: box {index} {[x0, y0, x1, y1]} has an odd edge; all must be even")
    if len({(x1 - x0, y1 - y0) for x0, y0, x1, y1 in crops.boxes}) != 1:
        raise AvatarError(f"{path}: all boxes must have the same width and height")
    return (width, height), tuple(crops.boxes)


def _decode(path: Path) -> tuple[UInt8, int]:
    """All frames of a video as (n, h * 3 / 2, w) uint8 I420, and its frame rate."""
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            if stream.width % 2 or stream.height % 2:
                raise AvatarError(f"{path}: is {stream.width}x{stream.height}; both must be even")
            stream.thread_type = "AUTO"
            rate = stream.average_rate
            frames = [cast(UInt8, f.to_ndarray(format="yuv420p")) for f in container.decode(stream)]
    except (av.FFmpegError, OSError, IndexError) as error:
        raise AvatarError(f"{path}: cannot be decoded as a video: {error}") from error
    if not frames or not rate:
        raise AvatarError(f"{path}: holds no pictures")
    return np.stack(frames), round(float(rate))


def _crop(frame: UInt8, box: Box) -> UInt8:
    """A box of an I420 frame as (h, w, 3) uint8 RGB. Even edges make it equal to converting the whole frame."""
    x0, y0, x1, y1 = box
    height, width = frame.shape[0] * 2 // 3, frame.shape[1]
    chroma = frame[height:].reshape(2, height // 2, width // 2)[:, y0 // 2 : y1 // 2, x0 // 2 : x1 // 2]
    planes = np.concatenate([frame[y0:y1, x0:x1].reshape(-1), chroma.reshape(-1)])
    return cast(UInt8, cv2.cvtColor(planes.reshape(-1, x1 - x0), cv2.COLOR_YUV2RGB_I420))


def soft_edge(width: int, height: int, feather_px: int) -> UInt16:
    """Weights of a box's pixels, 0 at the border rising to 256 `feather_px` inside: (height, width) uint16."""
    x = np.minimum(np.arange(width), np.arange(width)[::-1])
    y = np.minimum(np.arange(height), np.arange(height)[::-1])
    ramp = np.clip((np.minimum(x[None], y[:, None]) + 0.5) / max(feather_px, 0.5), 0.0, 1.0)
    smooth = ramp * ramp * (3.0 - 2.0 * ramp)
    return cast(UInt16, np.rint(smooth * 256.0).astype(np.uint16))


@dataclass(frozen=True, eq=False)
class Avatar:
    """Everything sessions share. Never written after loading."""

    name: str
    manifest: Manifest
    fps: int
    """Frame rate of the backgrounds; sessions may run at another one."""
    width: int
    height: int
    backgrounds: UInt8
    """(n, height * 3 / 2, width) uint8, I420 (BT.601, limited range)."""
    boxes: tuple[Box, ...]
    """The mouth's box on every background frame."""
    crops: UInt8
    """(n, h, w, 3) uint8 RGB: each background inside its box, at the model's size."""
    edge: tuple[UInt16, UInt16]
    """Soft edge of a pasted patch for luma (box size) and chroma (half of it), 0 ... 256."""
    model: LipSyncModel

    @property
    def nbytes(self) -> int:
        return self.backgrounds.nbytes + self.crops.nbytes

    def background_index(self, seconds: float) -> int:
        """The background shown at an instant of a session's timeline: round the loop, or back and forth."""
        count = len(self.backgrounds)
        step = round(seconds * self.fps)
        if self.manifest.background.order == "circular" or count == 1:
            return step % count
        place = step % (2 * count - 2)
        return place if place < count else 2 * count - 2 - place

    def input_for(self, index: int, window: npt.NDArray[np.float32]) -> LipSyncInput:
        return LipSyncInput(self.crops[index], window)


def load_avatar(folder: Path, device: Device = "auto") -> Avatar:
    """Loads an avatar folder; blocking. Raises AvatarError, or DeviceUnavailable for the configured device."""
    manifest = read_manifest(folder)
    family = FAMILIES.get(manifest.model.family)
    if family is None:
        known = ", ".join(sorted(FAMILIES))
        raise AvatarError(f"{folder / MANIFEST}: model.family '{manifest.model.family}' is unknown (known: {known})")
    for name in (manifest.model.file, manifest.background.video, manifest.crops, manifest.poster):
        if not (folder / name).is_file():
            raise AvatarError(f"{folder / name}: not found, but {folder / MANIFEST} names it")
    try:
        model = family(folder / manifest.model.file, device)
    except ValueError as error:
        raise AvatarError(str(error)) from error
    crops_path, video_path = folder / manifest.crops, folder / manifest.background.video
    size, boxes = _read_boxes(crops_path)
    backgrounds, fps = _decode(video_path)
    height, width = backgrounds.shape[1] * 2 // 3, backgrounds.shape[2]
    if (width, height) != size:
        raise AvatarError(f"{video_path}: is {width}x{height}, but {crops_path} is for {size[0]}x{size[1]}")
    if len(boxes) != len(backgrounds):
        raise AvatarError(f"{video_path}: has {len(backgrounds)} frames, but {crops_path} has {len(boxes)} boxes")
    crops = np.empty((len(backgrounds), model.crop_height, model.crop_width, 3), np.uint8)
    for index, box in enumerate(boxes):
        rgb = _crop(backgrounds[index], box)
        if rgb.shape[:2] != crops.shape[1:3]:
            size = (model.crop_width, model.crop_height)
            rgb = cast(UInt8, cv2.resize(rgb, size, interpolation=cv2.INTER_AREA))
        crops[index] = rgb
    x0, y0, x1, y1 = boxes[0]
    luma = soft_edge(x1 - x0, y1 - y0, manifest.feather_px)
    chroma = np.ascontiguousarray(luma[::2, ::2])
    for array in (backgrounds, crops, luma, chroma):
        array.flags.writeable = False
    return Avatar(
        name=folder.name,
        manifest=manifest,
        fps=fps,
        width=width,
        height=height,
        backgrounds=backgrounds,
        boxes=boxes,
        crops=crops,
        edge=(luma, chroma),
        model=model,
    )
