"""Trains the audio net on the features that speech_corpus wrote.

    python -m training.train_audio --work training/work

Writes audio_net.pt, and resumes from it (with the optimiser's state) until --steps is reached.
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
from tqdm import tqdm

from pipeline.features import WINDOW
from training.audio_net import AudioNet
from training.averaging import follow
from training.mel_augment import vary
from training.speech_corpus import REST
from training.studio.visemes import MOUTH_KEYS

RUN: Final = 5
"""Successive video frames trained together, so that their movement counts too."""
FRAME_STEP: Final = (0, 3, 7, 10, 13)
"""Mel frames from the first to each of a run's video frames at 30 fps."""
_VELOCITY_WEIGHT: Final = 1.0
_LIPS_CLOSED: Final = ("mouthPress", "mouthRollUpper", "mouthRollLower", "jawOpen", "mouthLowerDown", "mouthUpperUp")
_SAVE_EVERY: Final = 250


class Corpus:
    """All shards in memory; a run's first window may begin at any of `starts`."""

    def __init__(self, folder: Path) -> None:
        files = sorted(folder.glob("shard_*.npz"))
        files = [f for f in files if not f.name.endswith(".part.npz")]
        if not files:
            raise FileNotFoundError(f"no shards in {folder}: run training.speech_corpus first")
        mels, mouths = [], []
        for path in tqdm(files, desc="load", unit="shard"):
            with np.load(path) as shard:
                mels.append(shard["mel"])
                mouths.append(shard["mouth"])
        self.mel = torch.from_numpy(np.concatenate(mels))
        self.mouth = torch.from_numpy(np.concatenate(mouths).astype(np.float32) - REST)
        valid = ~torch.isnan(self.mouth[:, 0])
        run = valid.clone()
        for step in FRAME_STEP[1:]:
            run[:-step] &= valid[step:]
            run[-step:] = False
        self.starts = torch.nonzero(run)[:, 0]
        self.spread = self.mouth[valid].std(0)

    def batch(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Varied windows (count * RUN, 32, 80) and mouths (count * RUN, 15), a run's frames next to each other."""
        first = self.starts[torch.randint(len(self.starts), (count,), generator=generator)]
        length = FRAME_STEP[-1] + WINDOW
        mel = vary(self.mel[first[:, None] + torch.arange(length)].float(), generator)
        windows = torch.stack([mel[:, step : step + WINDOW] for step in FRAME_STEP], dim=1)
        mouths = self.mouth[first[:, None] + torch.tensor(FRAME_STEP)]
        return windows.flatten(0, 1), mouths.flatten(0, 1)


def mouth_weights(spread: Tensor) -> Tensor:
    """What a unit of error costs in each parameter: what shows most counts most."""
    visible = {"jawOpen": 3.0, "mouthPucker": 2.0, "mouthFunnel": 2.0, "mouthPress": 1.5, "tongueUp": 0.3}
    visible |= {"tongueOut": 0.3, "mouthClose": 0.0, "mouthShrugLower": 0.7}
    wanted = torch.tensor([visible.get(key, 1.0) for key in MOUTH_KEYS])
    return wanted / (spread + 0.02)


def loss_of(predicted: Tensor, wanted: Tensor, weights: Tensor) -> Tensor:
    """Weighted Huber error of place and of movement, more where the lips are closed."""
    closed = [MOUTH_KEYS.index(k) for k in ("mouthRollUpper", "mouthRollLower")]
    closure = (wanted[:, closed].amax(1) / 0.25).clamp(0, 1)[:, None]
    lips = torch.tensor([1.0 if key in _LIPS_CLOSED else 0.0 for key in MOUTH_KEYS])
    per_value = weights * (1.0 + 2.0 * closure * lips)
    place = torch.nn.functional.smooth_l1_loss(predicted * per_value, wanted * per_value, beta=0.5)
    p, w = (v.view(-1, RUN, len(MOUTH_KEYS)).diff(dim=1) * weights for v in (predicted, wanted))
    movement = torch.nn.functional.smooth_l1_loss(p, w, beta=0.25)
    return place + _VELOCITY_WEIGHT * movement


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("training/work"))
    parser.add_argument("--steps", type=int, default=9000)
    parser.add_argument("--runs", type=int, default=64, help=f"runs of {RUN} frames in a batch")
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    corpus = Corpus(options.work / "features")
    net = AudioNet()
    net.scale.copy_(corpus.spread)
    average = copy.deepcopy(net)
    weights = mouth_weights(corpus.spread)
    optimiser = torch.optim.AdamW(net.parameters(), lr=options.rate, weight_decay=1e-2)
    checkpoint = options.work / "audio_net.pt"
    step = 0
    if checkpoint.exists():
        state = torch.load(checkpoint)
        net.load_state_dict(state["net"])
        average.load_state_dict(state["average"])
        optimiser.load_state_dict(state["optimiser"])
        step = state["step"]
    generator = torch.Generator().manual_seed(step)
    net.train()
    bar = tqdm(total=options.steps, initial=step, desc="audio net", unit="step", mininterval=5)
    smooth = None
    while step < options.steps:
        warm = min(1.0, (step + 1) / 200)
        rate = options.rate * warm * (0.5 + 0.5 * math.cos(math.pi * step / options.steps)) + 1e-6
        for group in optimiser.param_groups:
            group["lr"] = rate
        windows, wanted = corpus.batch(options.runs, generator)
        loss = loss_of(net(windows), wanted, weights)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        step += 1
        follow(average, net, step)
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
    bar.close()


if __name__ == "__main__":
    main()
