"""Other voices, rooms and noises, drawn anew for every stretch of log-mel that is trained on."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from pipeline.features import FLOOR, N_MELS

# How pipeline.features scales log power.
_MEAN: Final = -4.0
_SCALE: Final = 0.25
_WARP: Final = 0.13
_KNOTS: Final = 7


def _uniform(shape: tuple[int, ...], low: float, high: float, generator: torch.Generator) -> Tensor:
    return low + (high - low) * torch.rand(shape, generator=generator)


def warp_formants(mel: Tensor, generator: torch.Generator) -> Tensor:
    """Stretches the mel axis by up to 13 %, as a longer or shorter vocal tract does. mel: (runs, frames, 80)."""
    factor = 1.0 + _uniform((len(mel), 1), -_WARP, _WARP, generator)
    position = (torch.arange(N_MELS)[None] * factor).clamp(0, N_MELS - 1.001)
    low = position.floor().long()
    share = (position - low)[:, None]
    index = low[:, None].expand(-1, mel.shape[1], -1)
    return mel.gather(2, index) * (1 - share) + mel.gather(2, index + 1) * share


def _smooth_curve(runs: int, spread_db: float, generator: torch.Generator) -> Tensor:
    """A random smooth curve over the mel axis, dB: (runs, 1, 80)."""
    knots = torch.randn(runs, 1, _KNOTS, generator=generator) * spread_db
    return torch.nn.functional.interpolate(knots, N_MELS, mode="linear", align_corners=True)


def add_noise(mel: Tensor, generator: torch.Generator) -> Tensor:
    """Steady noise of a random colour under half of the stretches, 0 to 30 dB below their mean power."""
    runs, frames, _ = mel.shape
    power = torch.exp(mel / _SCALE + _MEAN)
    level = power.mean(dim=(1, 2), keepdim=True) * 10.0 ** (-_uniform((runs, 1, 1), 0.0, 30.0, generator) / 10.0)
    shape = 10.0 ** (_smooth_curve(runs, 7.0, generator) / 10.0)
    draws = -torch.log(torch.rand(2, runs, frames, N_MELS, generator=generator) + 1e-9)
    noise = level * shape / shape.mean(2, keepdim=True) * draws.mean(0)
    noise = noise * (torch.rand(runs, 1, 1, generator=generator) < 0.5)
    return (torch.log((power + noise).clamp(min=FLOOR)) - _MEAN) * _SCALE


def colour(mel: Tensor, generator: torch.Generator) -> Tensor:
    """Another microphone: a smooth response and a level, not below the floor."""
    change = _smooth_curve(len(mel), 2.5, generator) + _uniform((len(mel), 1, 1), -4.0, 4.0, generator)
    floor = (torch.log(torch.tensor(FLOOR)) - _MEAN) * _SCALE
    return torch.maximum(mel + change * (torch.log(torch.tensor(10.0)) / 10.0) * _SCALE, floor)


def vary(mel: Tensor, generator: torch.Generator) -> Tensor:
    """All of it: (runs, frames, 80) float32 log-mel as pipeline.features scales it, the same shape back."""
    return add_noise(colour(warp_formants(mel, generator), generator), generator)
