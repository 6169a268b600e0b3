"""Bounds of an outgoing bitrate."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class BitrateRange:
    """Bits per second; start lies between the two others."""

    start: int
    minimum: int
    maximum: int

    def clamp(self, bitrate: int) -> int:
        return max(self.minimum, min(bitrate, self.maximum))
