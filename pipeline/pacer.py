"""When the next tick of a fixed rate is due."""

from __future__ import annotations

from fractions import Fraction


class Pacer:
    """Ticks at origin + k / rate. A late caller skips the ticks it missed, or all but the latest of them.

    rate: ticks a second. origin and now: seconds of one monotonic clock. catch_up: missed ticks that are still
    served, at once; 0 for pictures, which must never burst.
    """

    def __init__(self, rate: Fraction | int, origin: float, *, catch_up: int = 0) -> None:
        self._period = float(1 / Fraction(rate))
        self._origin = origin
        self._catch_up = catch_up
        self._tick = -1
        self.skipped = 0

    def next(self, now: float) -> tuple[int, float]:
        """The next tick to serve and the seconds to wait for it (0 when it is due).

        A tick is missed once the one after it is due.
        """
        due = int((now - self._origin) / self._period + 1e-6)
        if self._tick < 0:
            tick = max(0, due)
        else:
            tick = max(self._tick + 1, due - self._catch_up)
            self.skipped += tick - self._tick - 1
        self._tick = tick
        return tick, max(0.0, self._origin + tick * self._period - now)
