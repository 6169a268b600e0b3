"""Reads a caller's SDP offer and decides whether it can be served, before anything is built for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from aiortc import sdp

from signaling.errors import InvalidOffer, UnsupportedOffer

Kind = Literal["audio", "video"]


@dataclass(frozen=True)
class Offer:
    sdp: str
    """Without mDNS candidates."""
    kinds: tuple[Kind, ...]
    """The media sections in their order: transceivers must be made in the same one."""


def without_mdns(text: str) -> str:
    """Drops `.local` candidates (draft-ietf-mmusic-mdns-ice-candidates).

    Browsers send them until they may use the microphone. Resolving one takes aioice over a second; the caller's
    own connectivity checks reach the server without it.
    """
    lines = text.splitlines(keepends=True)
    return "".join(line for line in lines if not (line.startswith("a=candidate:") and ".local " in line))


def parse_offer(text: str) -> Offer:
    """Raises InvalidOffer for what is not SDP, UnsupportedOffer for an offer that the server cannot serve whole."""
    text = without_mdns(text)
    try:
        description = sdp.SessionDescription.parse(text)
    except Exception as error:  # the parser raises whatever it trips over
        raise InvalidOffer("'sdp' is not a session description (RFC 8866)") from error
    if not text.startswith("v=0") or not description.media:
        raise InvalidOffer("'sdp' is not a session description with media sections (RFC 8866)")
    for media in description.media:
        if media.kind not in ("audio", "video", "application"):
            raise UnsupportedOffer(f"the offer has a media section of kind '{media.kind}', which is not served")
        if media.ice is None or not media.ice.usernameFragment or not media.ice.password:
            raise InvalidOffer(f"the {media.kind} section has no ice-ufrag and ice-pwd: not a WebRTC offer")
        if media.dtls is None or not media.dtls.fingerprints:
            raise InvalidOffer(f"the {media.kind} section has no DTLS fingerprint: not a WebRTC offer")
    _check(description, "audio", ("sendrecv", "sendonly"), "send sound (a microphone track, or any audio track)")
    _check(description, "video", ("sendrecv", "recvonly"), "receive video (a recvonly transceiver)")
    kinds: dict[str, Kind] = {"audio": "audio", "video": "video"}
    return Offer(text, tuple(kinds[media.kind] for media in description.media if media.kind in kinds))


def _check(description: sdp.SessionDescription, kind: Kind, directions: tuple[str, ...], wanted: str) -> None:
    sections = [media for media in description.media if media.kind == kind]
    if len(sections) != 1:
        raise UnsupportedOffer(f"the offer has {len(sections)} {kind} sections; it needs exactly one, to {wanted}")
    direction = "rejected (port 0)" if sections[0].port == 0 else sections[0].direction or "sendrecv"
    if direction not in directions:
        raise UnsupportedOffer(f"the offer's {kind} section is {direction}; it must {wanted}")
