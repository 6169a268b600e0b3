"""The net that paints: a background crop and a mouth -> the lower face with that mouth."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training.audio_net import MOUTH_SIZE
from training.studio.crop import CROP_H, CROP_W

BORDER: Final = 8
"""Pixels over which a patch fades into its crop at the edge of the box; the outermost ones are the crop's own."""
_ENCODER: Final = (24, 40, 64, 96)
_DECODER: Final = (32, 64, 96, 160)
"""Channels at 1/2, 1/4, 1/8 and 1/16 of the size."""
_CONDITION: Final = 128
_AT_REST: Final = 0.02
"""Distance from the resting mouth, in scaled parameters, at which half of the patch shows."""


class _InvertedResidual(nn.Module):
    """1x1 up, 3x3 depthwise, 1x1 down, added to its input."""

    def __init__(self, channels: int, expand: int = 2) -> None:
        super().__init__()
        wide = channels * expand
        self.body = nn.Sequential(
            nn.Conv2d(channels, wide, 1, bias=False),
            nn.BatchNorm2d(wide),
            nn.ReLU(),
            nn.Conv2d(wide, wide, 3, padding=1, groups=wide, bias=False),
            nn.BatchNorm2d(wide),
            nn.ReLU(),
            nn.Conv2d(wide, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.body(x)
        return out


class _Down(nn.Module):
    """Halves the picture: 3x3 depthwise with stride 2, then 1x1."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inputs, inputs, 3, stride=2, padding=1, groups=inputs, bias=False),
            nn.BatchNorm2d(inputs),
            nn.Conv2d(inputs, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.body(x)
        return out


def _reduce(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs))


class _Film(nn.Module):
    """Scale and shift of every channel by the mouth's embedding."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(_CONDITION, 2 * channels)
        nn.init.normal_(self.linear.weight, std=0.02)
        nn.init.zeros_(self.linear.bias)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        scale, shift = self.linear(condition)[:, :, None, None].chunk(2, dim=1)
        return x * (1.0 + scale) + shift


def border_window() -> Tensor:
    """(1, 1, 144, 176) float32: 0 at the edge of the box, 1 from BORDER pixels inwards."""
    y = torch.arange(CROP_H, dtype=torch.float32)
    x = torch.arange(CROP_W, dtype=torch.float32)
    edge = torch.minimum(torch.minimum(y, y.flip(0))[:, None], torch.minimum(x, x.flip(0))[None])
    ramp = (edge / BORDER).clamp(0, 1)
    return (ramp * ramp * (3 - 2 * ramp))[None, None]


class PatchNet(nn.Module):
    """A small U-Net. The picture goes down without knowing the mouth; the mouth enters at the lowest stages only."""

    def __init__(self) -> None:
        super().__init__()
        e, d = _ENCODER, _DECODER
        self.stem = nn.Sequential(
            nn.Conv2d(3, e[0], 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(e[0]), nn.ReLU()
        )
        self.downs = nn.ModuleList(_Down(e[k], e[k + 1]) for k in range(3))
        self.skips = nn.ModuleList(_reduce(e[k], d[k]) for k in range(4))
        self.mouth = nn.Sequential(
            nn.Linear(MOUTH_SIZE, 128),
            nn.ReLU(),
            nn.Linear(128, 128),
            nn.ReLU(),
            nn.Linear(128, _CONDITION),
            nn.ReLU(),
        )
        self.films = nn.ModuleList(_Film(d[k]) for k in (3, 3, 2, 2, 1, 1))
        self.blocks = nn.ModuleList(_InvertedResidual(d[k]) for k in (3, 3, 2, 2, 1, 1, 0))
        self.ups = nn.ModuleList(_reduce(d[k + 1], d[k]) for k in (2, 1, 0))
        self.head = nn.Sequential(nn.ReLU(), nn.Conv2d(d[0], 16, 3, padding=1), nn.PixelShuffle(2))
        self.scale: Tensor
        self.window: Tensor
        self.register_buffer("scale", torch.ones(MOUTH_SIZE))
        self.register_buffer("window", border_window())

    def forward(self, crop: Tensor, mouth: Tensor) -> Tensor:
        """crop: (B, 3, 144, 176) RGB 0..1; mouth: (B, 15), MOUTH_KEYS minus rest -> the crop with that mouth."""
        scaled = mouth / self.scale
        features = [self.stem(crop)]
        for down in self.downs:
            features.append(down(features[-1]))
        skips = [skip(f) for skip, f in zip(self.skips, features, strict=True)]
        condition = self.mouth(scaled)
        x = skips[3]
        x = self.blocks[0](self.films[0](x, condition))
        x = self.blocks[1](self.films[1](x, condition))
        x = F.interpolate(self.ups[0](x), scale_factor=2.0, mode="nearest") + skips[2]
        x = self.blocks[2](self.films[2](x, condition))
        x = self.blocks[3](self.films[3](x, condition))
        x = F.interpolate(self.ups[1](x), scale_factor=2.0, mode="nearest") + skips[1]
        x = self.blocks[4](self.films[4](x, condition))
        x = self.blocks[5](self.films[5](x, condition))
        x = F.interpolate(self.ups[2](x), scale_factor=2.0, mode="nearest") + skips[0]
        x = self.blocks[6](x)
        painted = self.head(x)
        distance = scaled.square().mean(dim=1)[:, None, None, None]
        gate = distance / (distance + _AT_REST**2)
        alpha = torch.sigmoid(painted[:, 3:]) * gate * self.window
        colour = torch.sigmoid(painted[:, :3])
        return crop + alpha * (colour - crop)
