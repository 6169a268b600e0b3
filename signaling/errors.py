"""What can be wrong with a request, each with the HTTP status and the problem type it is answered with."""

from __future__ import annotations

from typing import ClassVar


class SignalingError(Exception):
    """Answered as application/problem+json; `detail` is shown to the client, so it holds nothing internal."""

    status: ClassVar[int]
    slug: ClassVar[str]
    """Last part of the problem's type, for programs."""
    title: ClassVar[str]

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class InvalidOffer(SignalingError):
    """The request or its SDP cannot be understood."""

    status = 400
    slug = "invalid-offer"
    title = "Invalid offer"


class UnsupportedOffer(SignalingError):
    """The SDP is sound, but asks for what this server cannot serve."""

    status = 422
    slug = "unsupported-offer"
    title = "Unsupported offer"


class UnknownAvatar(SignalingError):
    status = 404
    slug = "unknown-avatar"
    title = "Unknown avatar"


class AvatarUnusable(SignalingError):
    """The avatar exists, but its folder cannot be loaded; the server's log says why."""

    status = 500
    slug = "avatar-unusable"
    title = "Avatar unusable"


class SessionNotFound(SignalingError):
    status = 404
    slug = "session-not-found"
    title = "Session not found"


class Unavailable(SignalingError):
    """Not now. `retry_after_s` goes into the Retry-After header."""

    status = 503
    slug = "unavailable"
    title = "Unavailable"

    def __init__(self, detail: str, retry_after_s: int) -> None:
        super().__init__(detail)
        self.retry_after_s = retry_after_s


class ServerFull(Unavailable):
    """Every session is taken, or the server is draining."""

    slug = "server-full"
    title = "Server full"


class NotReady(Unavailable):
    """The server is still loading, or on its way out."""

    slug = "not-ready"
    title = "Not ready"
