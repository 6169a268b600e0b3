"""When a session's windows go through the net, and how strongly its patch shows."""

from __future__ import annotations

from typing import Final

from pipeline.features import Float32


class SpeechGate:
    """Opens while a window holds any sound, closes after; the patch fades in and out over a few frames.

    It only spares the net digital silence: what the mouth does is the net's decision. A window reaches 240 ms
    back and 105 ms ahead, so the gate opens before the sound's own frame and closes once the net has shut the
    mouth.
    """

    THRESHOLD: Final = -0.75
    """Scaled log-mel of a tone at about -70 dBFS (see features.log_mel)."""
    STEP: Final = 0.25

    def __init__(self) -> None:
        self._weight = 0.0

    @property
    def is_open(self) -> bool:
        return self._weight > 0.0

    def weight(self, window: Float32) -> float:
        """How much of the patch to show for the next window, 0 (none, skip the net) to 1. window: (32, 80)."""
        step = self.STEP if bool(window.max() > self.THRESHOLD) else -self.STEP
        self._weight = min(1.0, max(0.0, self._weight + step))
        return self._weight
