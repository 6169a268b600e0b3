"""What signaling needs of the server behind it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class Answer:
    """An accepted offer: the answer's SDP, all candidates in it, and the session it opened."""

    sdp: str
    session_id: str


@dataclass(frozen=True)
class AvatarCard:
    """What a client is shown of an avatar. Pixels and pictures per second are those of its background video."""

    name: str
    title: str
    description: str
    licence: str
    credit: str
    width: int
    height: int
    fps: int
    default: bool


class SessionService(Protocol):
    """Opens, closes and describes sessions. Errors are those of signaling.errors."""

    async def open(self, sdp: str, avatar: str | None) -> Answer:
        """Opens a session for an offer; None is the default avatar.

        If it raises, or is cancelled, nothing is left of the session.
        Raises InvalidOffer, UnsupportedOffer, UnknownAvatar, ServerFull.
        """

    async def close(self, session_id: str) -> None:
        """Closes a session; returns when it is gone. Raises SessionNotFound."""

    def stats(self, session_id: str) -> dict[str, object]:
        """Live figures of a session, ready for JSON: no NaN. Raises SessionNotFound."""

    def avatars(self) -> list[AvatarCard]:
        """Every avatar on offer."""

    def poster(self, name: str) -> Path:
        """The avatar's still picture, a JPEG file. Raises UnknownAvatar."""

    def not_ready_reason(self) -> str | None:
        """Why the server cannot take sessions yet, or None if it can."""
