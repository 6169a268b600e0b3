"""Trains the patch net on rendered mouths.

    python -m training.train_patch --mouths training/work/mouths --loop training/work/idle

Writes patch_net.pt, and resumes from it until --steps is reached. Mouths rendered meanwhile join at the next start.
"""

from __future__ import annotations

import argparse
import copy
import math
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from training.averaging import follow
from training.mouth_pairs import MouthPairs, load_pairs
from training.patch_net import PatchNet
from training.studio.crop import CROP_H, CROP_W

MOUTH_BOX: Final = (36, 30, 140, 106)
"""x0, y0, x1, y1 inside the crop: lips, teeth and what moves most around them."""
_NEAR_REST: Final = 0.08
"""Scaled distance from rest up to which a mouth must still show the background as it is."""
_SAVE_EVERY: Final = 250


def pixel_weights(target: Tensor, background: Tensor) -> Tensor:
    """(B, 1, h, w): more for the mouth, and where a mouth differs from the resting one."""
    y, x = torch.meshgrid(torch.arange(CROP_H), torch.arange(CROP_W), indexing="ij")
    mouth = torch.exp(-(((x - 88.0) / 38.0) ** 2) - ((y - 66.0) / 28.0) ** 2)
    changed = (target - background).abs().amax(1, keepdim=True)
    return 0.5 + 2.5 * mouth + 2.5 * (4.0 * F.avg_pool2d(changed, 5, 1, 2)).clamp(max=1.0)


def loss_of(painted: Tensor, target: Tensor, background: Tensor) -> Tensor:
    """Weighted L1 of colour and of its differences at two sizes."""
    weights = pixel_weights(target, background)
    error = painted - target
    loss = (weights * error.abs()).mean()
    for size, share in ((1, 1.0), (2, 1.0)):
        e = F.avg_pool2d(error, size) if size > 1 else error
        w = F.avg_pool2d(weights, size) if size > 1 else weights
        loss = loss + share * (w[..., 1:] * e.diff(dim=3).abs()).mean()
        loss = loss + share * (w[..., 1:, :] * e.diff(dim=2).abs()).mean()
    return loss


def psnr(a: Tensor, b: Tensor) -> float:
    """In dB over everything given; values 0..1."""
    return float(-10.0 * torch.log10((a - b).square().mean() + 1e-10))


def _pictures(images: Tensor) -> Tensor:
    return images.permute(0, 3, 1, 2).float().div(255.0).contiguous(memory_format=torch.channels_last)


class Batches:
    """Random rendered pairs, and some near-rest mouths whose picture is the background."""

    def __init__(self, pairs: MouthPairs, scale: Tensor, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self._pairs = pairs
        self._scale = scale
        self._train = np.nonzero(~pairs.held_out)[0]
        self._queue = np.empty(0, np.int64)

    def next(self, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """backgrounds and targets (B, 3, h, w) 0..1, mouths (B, 15)."""
        while len(self._queue) < count:
            self._queue = np.concatenate([self._queue, self._rng.permutation(self._train)])
        index, self._queue = self._queue[:count], self._queue[count:]
        p = self._pairs
        backgrounds = p.backgrounds[p.frames[index]]
        targets = p.targets[index]
        mouths = torch.from_numpy(p.mouths[index])
        if self._rng.random() < 0.3:
            targets = targets.copy()
            targets[0] = backgrounds[0]
            small = self._rng.normal(size=mouths.shape[1]) * self._rng.uniform(0, _NEAR_REST)
            mouths[0] = torch.from_numpy(small.astype(np.float32)) * self._scale
        return _pictures(torch.from_numpy(backgrounds)), _pictures(torch.from_numpy(targets)), mouths


@torch.inference_mode()
def held_out_psnr(net: torch.nn.Module, pairs: MouthPairs) -> float:
    """PSNR in the mouth box over the held-out mouths, dB."""
    index = np.nonzero(pairs.held_out)[0]
    x0, y0, x1, y1 = MOUTH_BOX
    net.eval()
    painted, wanted = [], []
    for some in np.array_split(index, max(1, len(index) // 16)):
        crop = _pictures(torch.from_numpy(pairs.backgrounds[pairs.frames[some]]))
        painted.append(net(crop, torch.from_numpy(pairs.mouths[some]))[..., y0:y1, x0:x1])
        wanted.append(_pictures(torch.from_numpy(pairs.targets[some]))[..., y0:y1, x0:x1])
    net.train()
    return psnr(torch.cat(painted), torch.cat(wanted))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("training/work"))
    parser.add_argument("--mouths", type=Path, default=Path("training/work/mouths"))
    parser.add_argument("--loop", type=Path, default=Path("training/work/idle"))
    parser.add_argument("--avatar", type=Path, default=Path("models/default"))
    parser.add_argument("--steps", type=int, default=6500)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rate", type=float, default=3e-3)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    pairs = load_pairs(options.mouths, options.loop, options.avatar)
    net = PatchNet().to(memory_format=torch.channels_last)
    net.scale.copy_(torch.from_numpy(pairs.mouths.std(0)) + 0.02)
    average = copy.deepcopy(net)
    optimiser = torch.optim.AdamW(net.parameters(), lr=options.rate, weight_decay=1e-3)
    checkpoint = options.work / "patch_net.pt"
    step = 0
    if checkpoint.exists():
        state = torch.load(checkpoint)
        net.load_state_dict(state["net"])
        average.load_state_dict(state["average"])
        optimiser.load_state_dict(state["optimiser"])
        step = state["step"]
    batches = Batches(pairs, net.scale, step)
    print(f"{len(pairs.targets)} mouths, {int(pairs.held_out.sum())} of them held out")
    net.train()
    bar = tqdm(total=options.steps, initial=step, desc="patch net", unit="step", mininterval=5)
    smooth = None
    while step < options.steps:
        warm = min(1.0, (step + 1) / 100)
        rate = options.rate * warm * (0.5 + 0.5 * math.cos(math.pi * step / options.steps)) + 1e-6
        for group in optimiser.param_groups:
            group["lr"] = rate
        background, target, mouth = batches.next(options.batch)
        with torch.autocast("cpu", torch.bfloat16):
            painted = net(background, mouth)
        loss = loss_of(painted.float(), target, background)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        follow(average, net, step)
        step += 1
        smooth = loss.item() if smooth is None else 0.98 * smooth + 0.02 * loss.item()
        bar.update()
        bar.set_postfix(loss=f"{smooth:.4f}", refresh=False)
        if step % _SAVE_EVERY == 0 or step == options.steps:
            part = checkpoint.with_suffix(".part")
            torch.save(
                {
                    "net": net.state_dict(),
                    "average": average.state_dict(),
                    "optimiser": optimiser.state_dict(),
                    "step": step,
                },
                part,
            )
            part.replace(checkpoint)
            tqdm.write(f"step {step}: {held_out_psnr(average, pairs):.2f} dB held out, loss {smooth:.4f}")
    bar.close()


if __name__ == "__main__":
    main()
