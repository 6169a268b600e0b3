"""Lip-sync models: windows of sound and background crops in, mouth patches out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple, Protocol, cast

import numpy as np
import numpy.typing as npt

from pipeline import features
from pipeline.onnx import Device, OnnxModel

UInt8 = npt.NDArray[np.uint8]
Float32 = npt.NDArray[np.float32]


class LipSyncInput(NamedTuple):
    crop: UInt8
    """(h, w, 3) uint8 RGB: the background frame inside its box, at the model's size."""
    window: Float32
    """(32, 80) float32: see features.FeatureExtractor."""


class LipSyncModel(Protocol):
    """What a family of nets offers to the batcher and to the avatar that carries it."""

    @property
    def crop_width(self) -> int: ...
    @property
    def crop_height(self) -> int: ...
    @property
    def max_batch_size(self) -> int: ...
    @property
    def device(self) -> str: ...

    def infer(self, inputs: Sequence[LipSyncInput]) -> list[UInt8]:
        """One (h, w, 3) uint8 RGB patch per input, of the crop's size. Thread-safe, blocking."""
        ...


class LogMelPatchModel:
    """One graph: `crop` uint8 (B, h, w, 3) and `audio` float32 (B, 32, 80) to `patch` uint8 (B, h, w, 3), RGB."""

    def __init__(self, path: Path, device: Device) -> None:
        """Raises ValueError naming the file when the graph's inputs or output are of another shape or type."""
        self._model = OnnxModel(path, device)
        self.device = self._model.device
        # A CPU gains nothing from a batch; it only makes the first of it wait.
        self.max_batch_size = 16 if self.device == "cuda" else 1
        shapes = {**self._model.input_shapes, **self._model.output_shapes}
        crop = shapes.get("crop", [])
        expected: dict[str, list[int | str | None]] = {
            "crop": [None, *crop[1:3], 3],
            "audio": [None, features.WINDOW, features.N_MELS],
            "patch": [None, *crop[1:3], 3],
        }
        for name, want in expected.items():
            have = shapes.get(name)
            if have is None:
                raise ValueError(f"{path}: the graph has no input or output named '{name}'")
            if len(have) != len(want) or any(w is not None and h != w for h, w in zip(have, want, strict=True)):
                raise ValueError(f"{path}: '{name}' has the shape {have}, expected {want} (first: any batch)")
            if any(not isinstance(side, int) for side in have[1:]):
                raise ValueError(f"{path}: '{name}' has the shape {have}; only the batch may be dynamic")
        self.crop_height, self.crop_width = cast(int, crop[1]), cast(int, crop[2])
        self._try_out(path)

    def _try_out(self, path: Path) -> None:
        """Types, and shapes inside the graph, show only when it runs: better now than at every frame."""
        crop = np.zeros((self.crop_height, self.crop_width, 3), np.uint8)
        silence = np.full((features.WINDOW, features.N_MELS), features.SILENCE, np.float32)
        try:
            patches = self.infer([LipSyncInput(crop, silence)] * 2)
        except Exception as error:  # onnxruntime raises a type of its own per status code
            raise ValueError(f"{path}: cannot be run on a batch of two: {error}") from error
        if [(patch.shape, patch.dtype) for patch in patches] != [(crop.shape, crop.dtype)] * 2:
            raise ValueError(f"{path}: 'patch' must be uint8 and as large as 'crop'")

    def infer(self, inputs: Sequence[LipSyncInput]) -> list[UInt8]:
        crops = np.stack([i.crop for i in inputs])
        windows = np.stack([i.window for i in inputs])
        patches = self._model.run("patch", {"crop": crops, "audio": windows})
        return list(cast(UInt8, patches))


FAMILIES: Final[dict[str, Callable[[Path, Device], LipSyncModel]]] = {"logmel_patch": LogMelPatchModel}
"""Names usable as `model.family` in an avatar.yaml."""
