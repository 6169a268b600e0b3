"""An audio jitter buffer that never waits."""

from __future__ import annotations

from typing import Final

from aiortc.jitterbuffer import JitterFrame
from aiortc.rtp import RtpPacket
from aiortc.utils import uint16_add


class ImmediateJitterBuffer:
    """Hands every audio packet on as it arrives; a packet older than one already handed on is dropped.

    One Opus packet is one frame, so nothing has to be assembled, and the playout buffer absorbs jitter later: it
    knows when the sound is due. aiortc's own buffer holds packets back by count and, after one loss, for ever
    longer (aiortc issue 543). Stands in for aiortc.jitterbuffer.JitterBuffer.
    """

    RESTART: Final = 100
    """A sequence number this far behind is a new stream, not a late packet (as in aiortc)."""

    def __init__(self) -> None:
        self._newest: int | None = None
        self.received = 0
        self.late = 0

    def add(self, packet: RtpPacket) -> tuple[bool, JitterFrame | None]:
        """Returns (False, the frame or None); the flag asks for a key frame, which sound has none of."""
        self.received += 1
        if self._newest is not None:
            behind = uint16_add(self._newest, -packet.sequence_number)
            if behind < self.RESTART:
                self.late += 1
                return False, None
        self._newest = packet.sequence_number
        return False, JitterFrame(data=packet._data, timestamp=packet.timestamp)  # type: ignore[attr-defined]
