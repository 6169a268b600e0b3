"""The net that hears: a window of log-mel -> how far the mouth is from its rest."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn

from pipeline.features import N_MELS, WINDOW

MOUTH_SIZE: Final = 15
"""len(visemes.MOUTH_KEYS)."""


class _Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv1d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm1d(channels),
            nn.ReLU(),
            nn.Conv1d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm1d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.body(x))


def _down(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv1d(inputs, outputs, 4, stride=2, padding=1, bias=False), nn.BatchNorm1d(outputs), nn.ReLU()
    )


class AudioNet(nn.Module):
    """(B, 32, 80) float32 windows -> (B, 15) float32: MOUTH_KEYS values minus those of the resting mouth."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv1d(N_MELS, 80, 3, padding=1, bias=False), nn.BatchNorm1d(80), nn.ReLU(), _Residual(80)
        )
        self.body = nn.Sequential(_down(80, 96), _Residual(96), _down(96, 96), _Residual(96))
        self.head = nn.Sequential(
            nn.Conv1d(96, 32, 1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(32 * WINDOW // 4, 128),
            nn.ReLU(),
            nn.Dropout(0.1),
        )
        self.out = nn.Linear(128, MOUTH_SIZE)
        self.scale: Tensor
        self.register_buffer("scale", torch.ones(MOUTH_SIZE))

    def forward(self, audio: Tensor) -> Tensor:
        out: Tensor = self.out(self.head(self.body(self.stem(audio.transpose(1, 2)))))
        return out * self.scale
