"""`python -m bench.gpu`: the default avatar's net on CUDA, by batch size, beside one CPU core.

Prints a table for docs/performance.md. Needs onnxruntime-gpu and a GPU; says so where there is none.
"""

from __future__ import annotations

import datetime
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import onnxruntime

from pipeline import features
from pipeline.avatar import load_avatar
from pipeline.lipsync import LipSyncInput, LipSyncModel
from pipeline.onnx import DeviceUnavailable

ROOT = Path(__file__).resolve().parent.parent
BATCHES = (1, 2, 4, 8, 16, 32)
ROUNDS = 50


def main() -> int:
    folder = ROOT / "models" / "default"
    try:
        gpu = load_avatar(folder, "cuda")
    except DeviceUnavailable as error:
        print(f"bench.gpu: {error}", file=sys.stderr)
        return 1
    cpu = load_avatar(folder, "cpu")
    windows = np.random.default_rng(0).standard_normal((max(BATCHES), features.WINDOW, features.N_MELS)).astype("f4")
    inputs = [gpu.input_for(i, window) for i, window in enumerate(windows)]

    def median_ms(avatar_inputs: list[LipSyncInput], model: LipSyncModel) -> float:
        model.infer(avatar_inputs)
        times = []
        for _ in range(ROUNDS):
            started = time.perf_counter()
            model.infer(avatar_inputs)
            times.append(1000 * (time.perf_counter() - started))
        return statistics.median(times)

    one_core = median_ms(inputs[:1], cpu.model)
    today = f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}"
    print(f"{today}, onnxruntime {onnxruntime.__version__}, numpy {np.__version__}\n")
    print("| device | batch | ms a batch | ms a picture | sessions at 30 fps |\n|---|---|---|---|---|")
    print(f"| CPU, one core | 1 | {one_core:.2f} | {one_core:.2f} | {1000 / 30 / one_core:.0f} |")
    for batch in BATCHES:
        ms = median_ms(inputs[:batch], gpu.model)
        print(f"| CUDA | {batch} | {ms:.2f} | {ms / batch:.3f} | {1000 / 30 / (ms / batch):.0f} |")
    difference = max(
        int(np.abs(a.astype(int) - b.astype(int)).max())
        for a, b in zip(gpu.model.infer(inputs[:8]), [cpu.model.infer([i])[0] for i in inputs[:8]], strict=True)
    )
    print(f"\nLargest difference between CUDA and CPU: {difference} of 255")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
