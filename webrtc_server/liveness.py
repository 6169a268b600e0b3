"""When a session has come to its end without a word."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Liveness:
    """Judges by what the peer sends: a live one sends RTCP every second or so, even while its microphone is muted.

    All times in seconds of one monotonic clock; `max_duration_s` 0 means no limit.
    """

    opened: float
    connect_timeout_s: float
    silence_timeout_s: float
    max_duration_s: float

    def __post_init__(self) -> None:
        self._connected: float | None = None
        self._bytes = 0
        self._heard = self.opened

    def connected(self, now: float) -> None:
        self._connected = self._heard = now

    def verdict(self, received_bytes: int, now: float) -> str | None:
        """The reason to close the session now, or None. Ask about once a second."""
        if received_bytes != self._bytes:
            self._bytes, self._heard = received_bytes, now
        if self._connected is None:
            late = now - self.opened > self.connect_timeout_s
            return f"not connected after {self.connect_timeout_s:g} s" if late else None
        if now - self._heard > self.silence_timeout_s:
            return f"nothing from the peer for {self.silence_timeout_s:g} s"
        if self.max_duration_s and now - self.opened > self.max_duration_s:
            return f"open for {self.max_duration_s:g} s, the longest allowed"
        return None
