"""Every touch of aiortc's private names, so that an upgrade has one file to check.

Reached through the attributes of instances; the library itself is never patched. A name that has moved raises
HookMoved instead of silently doing nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from aiortc import RTCPeerConnection, RTCRtpReceiver, RTCRtpSender, RTCRtpTransceiver
from aiortc.codecs.base import Encoder
from aiortc.codecs.h264 import H264Encoder
from aiortc.codecs.vpx import Vp8Encoder

from webrtc_server.jitter_buffer import ImmediateJitterBuffer

LOOPBACK = "127.0.0.1"


class HookMoved(RuntimeError):
    """This version of aiortc no longer has a private name that the server relies on."""


def _get(owner: object, name: str) -> Any:
    try:
        return getattr(owner, name)
    except AttributeError:
        kind = owner if isinstance(owner, type) else type(owner)
        raise HookMoved(f"{kind.__name__}.{name} is gone from this version of aiortc") from None


def _set(owner: object, name: str, value: object) -> None:
    _get(owner, name)
    setattr(owner, name, value)


def use_jitter_buffer(receiver: RTCRtpReceiver, buffer: ImmediateJitterBuffer) -> None:
    _set(receiver, "_RTCRtpReceiver__jitter_buffer", buffer)


def use_encoder(sender: RTCRtpSender, encoder: Encoder) -> None:
    """Before the connection starts. Bitrate estimates arrive at the encoder's `target_bitrate`, if it has one."""
    _set(sender, "_RTCRtpSender__encoder", encoder)


def negotiated_codec(transceiver: RTCRtpTransceiver) -> str:
    """MIME type of the codec that will be sent, e.g. `video/H264`. After setRemoteDescription."""
    codecs = _get(transceiver, "_codecs")
    return str(codecs[0].mimeType)


def received_bytes(transceiver: RTCRtpTransceiver) -> int:
    """Bytes of RTP, RTCP and DTLS that have come from the peer on this transceiver's transport."""
    return int(_get(transceiver.receiver.transport, "_RTCDtlsTransport__rx_bytes"))


@dataclass(frozen=True)
class InboundStats:
    packets_received: int = 0
    packets_lost: int = 0
    jitter_s: float = 0.0


def inbound_stats(receiver: RTCRtpReceiver) -> InboundStats:
    """The receiver's RFC 3550 figures, without waiting for its asynchronous getStats."""
    streams = _get(receiver, "_RTCRtpReceiver__remote_streams").values()
    return InboundStats(
        packets_received=sum(s.packets_received for s in streams),
        packets_lost=sum(max(0, s.packets_lost) for s in streams),
        jitter_s=max((s.jitter / _get(s, "_clockrate") for s in streams), default=0.0),
    )


def offer_loopback(connection: RTCPeerConnection) -> None:
    """Lets a host whose only interface is the loopback one be reached on it: aioice leaves 127.0.0.1 out.

    After the transceivers exist and before candidates are gathered.
    """
    for transport in _get(connection, "_RTCPeerConnection__iceTransports"):
        ice = _get(transport, "_connection")
        gather = _get(ice, "get_component_candidates")

        def gather_with_loopback(
            component: int, addresses: list[str], timeout: int = 5, *, gather: Any = gather
        ) -> Any:
            return gather(component, addresses or [LOOPBACK], timeout)

        ice.get_component_candidates = gather_with_loopback


def packetize_h264(bitstream: bytes) -> list[bytes]:
    """Annex B -> RTP payloads (RFC 6184, packetization mode 1)."""
    return list(_get(H264Encoder, "_packetize")(_get(H264Encoder, "_split_bitstream")(bitstream)))


def packetize_vp8(frame: bytes, picture_id: int) -> list[bytes]:
    """One VP8 frame -> RTP payloads (RFC 7741)."""
    return list(_get(Vp8Encoder, "_packetize")(frame, picture_id))
