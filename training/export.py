"""Joins the two trained nets into one lipsync.onnx, and checks and measures it.

    python -m training.export --work training/work --out models/default

inputs   crop   uint8   (B, 144, 176, 3) RGB, a background frame inside its box
         audio  float32 (B, 32, 80), a window of pipeline.features
output   patch  uint8   (B, 144, 176, 3) RGB, the crop with the mouth that was heard, already blended
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Final

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from pipeline.features import N_MELS, SILENCE, WINDOW
from training.audio_net import AudioNet
from training.mouth_pairs import background_crops
from training.onnx_session import cpu_session
from training.patch_net import PatchNet
from training.studio.crop import CROP_H, CROP_W

_OPSET: Final = 17
_SEED: Final = 0


class LipSync(nn.Module):
    """crop uint8 (B, 144, 176, 3) RGB, audio float32 (B, 32, 80) -> patch uint8 (B, 144, 176, 3) RGB."""

    def __init__(self, hear: AudioNet, paint: PatchNet) -> None:
        super().__init__()
        self.hear = hear
        self.paint = paint

    def forward(self, crop: Tensor, audio: Tensor) -> Tensor:
        picture = crop.to(torch.float32).permute(0, 3, 1, 2) * (1.0 / 255.0)
        painted = self.paint(picture, self.hear(audio))
        return torch.floor(painted.clamp(0.0, 1.0) * 255.0 + 0.5).permute(0, 2, 3, 1).to(torch.uint8)


def load_nets(work: Path) -> tuple[AudioNet, PatchNet]:
    """The trained nets of a work folder, ready to be used."""
    hear, paint = AudioNet(), PatchNet()
    hear.load_state_dict(torch.load(work / "audio_net.pt")["average"])
    paint.load_state_dict(torch.load(work / "patch_net.pt")["average"])
    return hear.eval(), paint.eval()


def write(net: LipSync, path: Path) -> None:
    crop = torch.zeros(1, CROP_H, CROP_W, 3, dtype=torch.uint8)
    audio = torch.full((1, WINDOW, N_MELS), SILENCE)
    part = path.with_suffix(".part.onnx")
    torch.onnx.export(
        net,
        (crop, audio),
        str(part),
        input_names=["crop", "audio"],
        output_names=["patch"],
        dynamic_axes={name: {0: "batch"} for name in ("crop", "audio", "patch")},
        opset_version=_OPSET,
        dynamo=False,
    )
    onnx.checker.check_model(str(part), full_check=True)
    part.replace(path)


def largest_difference(net: LipSync, path: Path, crops: np.ndarray) -> int:
    """Between ONNX Runtime and torch, in 8-bit steps, over random windows and batches of 1 and 3."""
    rng = np.random.default_rng(_SEED)
    session = cpu_session(path)
    worst = 0
    for batch in (1, 3):
        crop = crops[rng.integers(0, len(crops), batch)]
        audio = rng.normal(-1.0, 1.0, (batch, WINDOW, N_MELS)).astype(np.float32)
        (got,) = session.run(["patch"], {"crop": crop, "audio": audio})
        with torch.inference_mode():
            wanted = net(torch.from_numpy(crop), torch.from_numpy(audio)).numpy()
        worst = max(worst, int(np.abs(got.astype(int) - wanted.astype(int)).max()))
    return worst


def count_mmac(net: LipSync) -> float:
    """Multiply-adds of one frame, in millions: convolutions and linear layers."""
    total = 0

    def add(module: nn.Module, _: object, output: Tensor) -> None:
        nonlocal total
        if isinstance(module, nn.Conv1d | nn.Conv2d):
            total += output[0].numel() * module.weight[0].numel()
        elif isinstance(module, nn.Linear):
            total += module.weight.numel()

    hooks = [m.register_forward_hook(add) for m in net.modules()]
    with torch.inference_mode():
        net(torch.zeros(1, CROP_H, CROP_W, 3, dtype=torch.uint8), torch.zeros(1, WINDOW, N_MELS))
    for hook in hooks:
        hook.remove()
    return total / 1e6


def cpu_ms(path: Path, crops: np.ndarray, runs: int = 200) -> tuple[float, float]:
    """CPU time of one frame on one thread: median and 95th percentile, ms."""
    session = cpu_session(path)
    audio = np.full((1, WINDOW, N_MELS), SILENCE, np.float32)
    taken = []
    for n in range(runs + 10):
        start = time.thread_time()
        session.run(["patch"], {"crop": crops[n % len(crops)][None], "audio": audio})
        taken.append((time.thread_time() - start) * 1e3)
    return float(np.median(taken[10:])), float(np.percentile(taken[10:], 95))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("training/work"))
    parser.add_argument("--out", type=Path, default=Path("models/default"))
    options = parser.parse_args()
    net = LipSync(*load_nets(options.work)).eval()
    path = options.out / "lipsync.onnx"
    write(net, path)
    crops = background_crops(options.out)
    difference = largest_difference(net, path, crops)
    if difference > 1:
        raise RuntimeError(f"{path} differs from torch by {difference} of 255")
    median, late = cpu_ms(path, crops)
    weights = sum(p.numel() for p in net.parameters())
    print(f"{path}: {path.stat().st_size / 1e6:.2f} MB, {weights:,} weights, {count_mmac(net):.0f} MMAC a frame")
    print(f"ONNX Runtime equals torch within {difference} of 255; {median:.2f} ms CPU a frame (p95 {late:.2f})")


if __name__ == "__main__":
    main()
