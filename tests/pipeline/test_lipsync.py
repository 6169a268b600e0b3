from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.features import SILENCE
from pipeline.lipsync import FAMILIES, LipSyncInput, LogMelPatchModel
from tests.tiny_avatar import BOX, make_model


@pytest.fixture
def model(tiny_folder: Path) -> LogMelPatchModel:
    return LogMelPatchModel(tiny_folder / "lipsync.onnx", "cpu")


def window(level: float) -> np.ndarray:
    return np.full((32, 80), level, np.float32)


def test_the_family_of_the_manifest() -> None:
    assert FAMILIES["logmel_patch"] is LogMelPatchModel


def test_it_says_what_it_takes(model: LogMelPatchModel) -> None:
    assert (model.crop_width, model.crop_height) == (BOX, BOX)
    assert model.device == "cpu"
    assert model.max_batch_size == 1, "on a CPU a batch only makes its first one wait"


def test_one_patch_for_each_input_in_order(model: LogMelPatchModel) -> None:
    crop = np.zeros((BOX, BOX, 3), np.uint8)
    levels = [SILENCE, -0.25, 0.0, 0.25, 3.0]
    patches = model.infer([LipSyncInput(crop, window(level)) for level in levels])
    assert [(patch.shape, patch.dtype) for patch in patches] == [((BOX, BOX, 3), np.uint8)] * len(levels)
    assert [int(patch[0, 0, 0]) for patch in patches] == [0, 63, 127, 191, 255]


def test_a_crop_that_nobody_may_write_is_taken(model: LogMelPatchModel) -> None:
    crop = np.zeros((BOX, BOX, 3), np.uint8)
    crop.flags.writeable = False
    assert len(model.infer([LipSyncInput(crop, window(0.0))])) == 1


def test_a_net_of_another_shape_is_refused_by_name(tmp_path: Path) -> None:
    make_model(tmp_path / "other.onnx", mels=64)
    with pytest.raises(ValueError, match=r"other\.onnx: 'audio' has the shape"):
        LogMelPatchModel(tmp_path / "other.onnx", "cpu")
