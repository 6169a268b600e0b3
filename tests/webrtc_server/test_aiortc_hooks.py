"""The private names of aiortc that the server relies on: a test here fails when an upgrade has moved one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any

import pytest
from aiortc import RTCConfiguration, RTCPeerConnection, RTCRtpTransceiver
from aiortc.codecs.base import Encoder
from aiortc.codecs.h264 import H264Encoder
from aiortc.codecs.vpx import Vp8Encoder
from aiortc.jitterbuffer import JitterFrame
from aiortc.mediastreams import AudioStreamTrack
from aiortc.rtcrtpreceiver import StreamStatistics
from aiortc.rtp import RtpPacket

from webrtc_server import aiortc_hooks
from webrtc_server.aiortc_hooks import HookMoved
from webrtc_server.jitter_buffer import ImmediateJitterBuffer

WAIT_S = 20.0
"""Only a failing test waits for it."""


class Connections:
    """A caller who speaks and a server, both of this process."""

    def __init__(self) -> None:
        self.caller, self.server = (RTCPeerConnection(RTCConfiguration(iceServers=[])) for _ in range(2))
        self.caller.addTransceiver(AudioStreamTrack(), "sendrecv")
        self.caller.addTransceiver("video", "recvonly")
        self.connected = asyncio.Event()
        self.server.on("connectionstatechange", self._on_state)

    def _on_state(self) -> None:
        if self.server.connectionState == "connected":
            self.connected.set()

    async def offer(self) -> None:
        aiortc_hooks.offer_loopback(self.caller)
        await self.caller.setLocalDescription(await self.caller.createOffer())
        await self.server.setRemoteDescription(self.caller.localDescription)

    async def answer(self) -> None:
        aiortc_hooks.offer_loopback(self.server)
        await self.server.setLocalDescription(await self.server.createAnswer())
        await self.caller.setRemoteDescription(self.server.localDescription)
        await asyncio.wait_for(self.connected.wait(), WAIT_S)

    def transceiver(self, kind: str) -> RTCRtpTransceiver:
        return next(t for t in self.server.getTransceivers() if t.kind == kind)

    async def close(self) -> None:
        await asyncio.gather(self.caller.close(), self.server.close())


@pytest.fixture
async def connections() -> AsyncIterator[Connections]:
    connections = Connections()
    yield connections
    await connections.close()


class CountingBuffer(ImmediateJitterBuffer):
    def __init__(self) -> None:
        super().__init__()
        self.frames: asyncio.Queue[bytes] = asyncio.Queue()

    def add(self, packet: RtpPacket) -> tuple[bool, JitterFrame | None]:
        flag, frame = super().add(packet)
        if frame is not None:
            self.frames.put_nowait(frame.data)
        return flag, frame


class FakeEncoder(Encoder):
    """Says the same three bytes of Opus (silence) whatever the frame."""

    def __init__(self) -> None:
        self.called = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def encode(self, frame: Any, force_keyframe: bool = False) -> tuple[list[bytes], int]:
        self._loop.call_soon_threadsafe(self.called.set)
        return [b"\xf8\xff\xfe"], frame.pts

    def pack(self, packet: Any) -> tuple[list[bytes], int]:
        raise NotImplementedError


async def test_the_hooks_take_effect_in_a_real_connection(connections: Connections) -> None:
    buffer, encoder = CountingBuffer(), FakeEncoder()
    await connections.offer()
    sound, picture = connections.transceiver("audio"), connections.transceiver("video")
    sound.sender.replaceTrack(AudioStreamTrack())
    sound.direction = "sendrecv"
    aiortc_hooks.use_jitter_buffer(sound.receiver, buffer)
    aiortc_hooks.use_encoder(sound.sender, encoder)
    assert aiortc_hooks.negotiated_codec(sound) == "audio/opus"
    assert aiortc_hooks.negotiated_codec(picture) in ("video/VP8", "video/H264")
    assert aiortc_hooks.inbound_stats(sound.receiver) == aiortc_hooks.InboundStats()
    await connections.answer()
    async with asyncio.timeout(WAIT_S):
        await encoder.called.wait()
        for _ in range(3):
            assert await buffer.frames.get()
        before = aiortc_hooks.received_bytes(sound)
        assert before > 0
        for _ in range(3):
            await buffer.frames.get()
    assert aiortc_hooks.received_bytes(sound) > before
    stats = aiortc_hooks.inbound_stats(sound.receiver)
    assert stats.packets_received >= 6
    assert stats.packets_lost == 0
    assert stats.jitter_s >= 0.0


async def test_a_host_without_another_interface_offers_the_loopback_one(
    connections: Connections, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aioice.ice.get_host_addresses", lambda use_ipv4, use_ipv6: [])
    await connections.offer()
    assert " 127.0.0.1 " in connections.caller.localDescription.sdp
    await connections.answer()


async def test_a_host_with_an_interface_offers_only_that(
    connections: Connections, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aioice.ice.get_host_addresses", lambda use_ipv4, use_ipv6: ["127.0.0.2"])
    await connections.offer()
    candidates = [line for line in connections.caller.localDescription.sdp.splitlines() if "candidate:" in line]
    assert candidates
    assert all(" 127.0.0.2 " in line for line in candidates)


def statistics(numbers: list[int]) -> StreamStatistics:
    stream = StreamStatistics(clockrate=48_000)
    for number in numbers:
        stream.add(RtpPacket(sequence_number=number, timestamp=number * 960))
    return stream


def test_figures_of_several_streams_are_added_up() -> None:
    streams = {1: statistics([1, 2, 3, 6, 7]), 2: statistics([65_535, 1])}
    streams[1]._jitter_q4 = 480 << 4
    streams[2]._jitter_q4 = 96 << 4
    receiver: Any = SimpleNamespace(_RTCRtpReceiver__remote_streams=streams)
    assert aiortc_hooks.inbound_stats(receiver) == aiortc_hooks.InboundStats(
        packets_received=7, packets_lost=3, jitter_s=0.01
    )


def test_more_packets_than_expected_are_no_negative_loss() -> None:
    receiver: Any = SimpleNamespace(_RTCRtpReceiver__remote_streams={1: statistics([1, 2, 2, 2])})
    assert aiortc_hooks.inbound_stats(receiver).packets_lost == 0


def test_packetizers() -> None:
    picture = b"\0\0\0\1\x67sps" + b"\0\0\0\1\x65" + b"x" * 3000
    payloads = aiortc_hooks.packetize_h264(picture)
    assert len(payloads) == 4
    assert max(map(len, payloads)) <= 1300
    assert len(aiortc_hooks.packetize_vp8(b"x" * 3000, 77)) == 3
    assert aiortc_hooks.packetize_h264(b"") == []


EMPTY: Any = SimpleNamespace()


@pytest.mark.parametrize(
    ("touch", "name"),
    [
        (lambda: aiortc_hooks.use_jitter_buffer(EMPTY, ImmediateJitterBuffer()), "_RTCRtpReceiver__jitter_buffer"),
        (lambda: aiortc_hooks.use_encoder(EMPTY, EMPTY), "_RTCRtpSender__encoder"),
        (lambda: aiortc_hooks.negotiated_codec(EMPTY), "_codecs"),
        (
            lambda: aiortc_hooks.received_bytes(SimpleNamespace(receiver=SimpleNamespace(transport=EMPTY))),  # type: ignore[arg-type]
            "_RTCDtlsTransport__rx_bytes",
        ),
        (lambda: aiortc_hooks.inbound_stats(EMPTY), "_RTCRtpReceiver__remote_streams"),
        (lambda: aiortc_hooks.offer_loopback(EMPTY), "_RTCPeerConnection__iceTransports"),
    ],
    ids=["jitter_buffer", "encoder", "codecs", "rx_bytes", "remote_streams", "ice_transports"],
)
def test_a_name_that_has_moved_is_missed_by_name(touch: Callable[[], object], name: str) -> None:
    with pytest.raises(HookMoved, match=name):
        touch()
    assert vars(EMPTY) == {}


@pytest.mark.parametrize(
    ("owner", "name", "touch"),
    [
        (H264Encoder, "_packetize", lambda: aiortc_hooks.packetize_h264(b"")),
        (H264Encoder, "_split_bitstream", lambda: aiortc_hooks.packetize_h264(b"")),
        (Vp8Encoder, "_packetize", lambda: aiortc_hooks.packetize_vp8(b"x", 0)),
    ],
)
def test_a_packetizer_that_has_moved_is_missed_by_name(
    monkeypatch: pytest.MonkeyPatch, owner: type, name: str, touch: Callable[[], object]
) -> None:
    monkeypatch.delattr(owner, name)
    with pytest.raises(HookMoved, match=rf"{owner.__name__}\.{name} "):
        touch()
