"""Runs an exported net on the CPU."""

from __future__ import annotations

from pathlib import Path

import onnxruntime


def cpu_session(path: Path) -> onnxruntime.InferenceSession:
    """As the server runs it on a CPU: one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
