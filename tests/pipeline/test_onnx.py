from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

from pipeline.onnx import DeviceUnavailable, OnnxModel


@pytest.fixture
def graph(tiny_folder: Path) -> Path:
    return tiny_folder / "lipsync.onnx"


def inputs(level: float, count: int = 1) -> dict[str, np.ndarray]:
    return {
        "crop": np.zeros((count, 16, 16, 3), np.uint8),
        "audio": np.full((count, 32, 80), level, np.float32),
    }


def test_it_tells_its_shapes(graph: Path) -> None:
    model = OnnxModel(graph, "cpu")
    assert model.device == "cpu"
    assert model.input_shapes == {"crop": ["batch", 16, 16, 3], "audio": ["batch", 32, 80]}
    assert model.output_shapes == {"patch": ["batch", 16, 16, 3]}


def test_it_runs_from_several_threads_at_once(graph: Path) -> None:
    model = OnnxModel(graph, "cpu")
    found: dict[int, set[int]] = {}

    def run(n: int) -> None:
        patches = [model.run("patch", inputs(n / 10)) for _ in range(50)]
        found[n] = {int(value) for patch in patches for value in np.unique(patch)}

    threads = [threading.Thread(target=run, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {n: {int(255 * (np.float32(n / 10) + np.float32(0.5)))} for n in range(4)}


def test_what_is_no_model_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    with pytest.raises(ValueError, match=r"net\.onnx"):
        OnnxModel(path, "cpu")
    path.write_bytes(b"\x08\x09garbage")
    with pytest.raises(ValueError, match=r"net\.onnx: not a model"):
        OnnxModel(path, "cpu")


def test_a_gpu_that_is_not_there_is_not_pretended(graph: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(DeviceUnavailable, match=r"inference\.device"):
        OnnxModel(graph, "cuda")
    assert OnnxModel(graph, "auto").device == "cpu"
