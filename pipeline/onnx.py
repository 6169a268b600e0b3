"""ONNX Runtime sessions: which device, how many threads, and what the graph takes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, cast

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

Device = Literal["auto", "cpu", "cuda"]
AnyArray = npt.NDArray[np.generic]


class DeviceUnavailable(RuntimeError):
    """The configured inference device cannot be used here."""


class OnnxModel:
    """One loaded graph. `run` may be called from several threads at once and releases the GIL."""

    def __init__(self, path: Path, device: Device = "auto") -> None:
        """Raises DeviceUnavailable when `cuda` is asked for and no GPU can run the graph; ValueError when the
        file is not an ONNX model that this runtime can load."""
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
        # One thread per call: a worker per core beats one call spread over cores.
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        providers = ["CPUExecutionProvider"]
        if device != "cpu" and "CUDAExecutionProvider" in ort.get_available_providers():
            if hasattr(ort, "preload_dlls"):
                ort.preload_dlls()
            providers.insert(0, "CUDAExecutionProvider")
        try:
            self._session = ort.InferenceSession(str(path), options, providers=providers)
        except Exception as error:  # onnxruntime raises a type of its own per status code
            raise ValueError(f"{path}: not a model ONNX Runtime can load: {error}") from error
        # The list of available providers promises CUDA even without a GPU; the session tells the truth.
        self.device: Literal["cpu", "cuda"] = "cuda" if "CUDA" in self._session.get_providers()[0] else "cpu"
        if device == "cuda" and self.device != "cuda":
            raise DeviceUnavailable(
                "inference.device is cuda, but ONNX Runtime cannot use a GPU here: install the gpu extra and a "
                "driver for CUDA 13, or set inference.device to cpu"
            )
        self.input_shapes: dict[str, list[int | str | None]] = {
            i.name: list(i.shape) for i in self._session.get_inputs()
        }
        self.output_shapes: dict[str, list[int | str | None]] = {
            o.name: list(o.shape) for o in self._session.get_outputs()
        }

    def run(self, output: str, inputs: dict[str, AnyArray]) -> AnyArray:
        results = cast(Sequence[AnyArray], self._session.run([output], inputs))
        return results[0]
