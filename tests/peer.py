"""A caller for tests: a real aiortc peer that speaks at 1x and measures what it receives.

Video is decoded as soon as the RTP marker bit closes a frame (aiortc's own receiver waits for the next frame).
Times are seconds of time.monotonic.
"""

from __future__ import annotations

import asyncio
import fractions
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import av
import numpy as np
import numpy.typing as npt
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.jitterbuffer import JitterFrame
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack
from aiortc.utils import uint16_add

from webrtc_server import aiortc_hooks
from webrtc_server.jitter_buffer import ImmediateJitterBuffer

RATE = 48_000
PTIME = 960

Int16 = npt.NDArray[np.int16]


def read_sound(path: Path) -> Int16:
    """Any recording as (n, 2) int16 at 48 kHz."""
    resampler = av.AudioResampler(format="s16", layout="stereo", rate=RATE)
    with av.open(str(path)) as container:
        parts = [f.to_ndarray().reshape(-1, 2) for d in container.decode(audio=0) for f in resampler.resample(d)]
        parts += [f.to_ndarray().reshape(-1, 2) for f in resampler.resample(None)]
    return np.concatenate(parts)


class SpeechTrack(MediaStreamTrack):
    """Plays (n, 2) int16 in real time, then silence."""

    kind = "audio"

    def __init__(self, sound: Int16, *, loop: bool = False) -> None:
        super().__init__()
        self._sound = sound
        self._loop = loop
        self._tick = 0
        self.started: float | None = None

    async def recv(self) -> av.AudioFrame:
        if self.readyState != "live":
            raise MediaStreamError
        if self.started is None:
            self.started = time.monotonic()
        # A packet leaves when its last sample has been spoken.
        await asyncio.sleep(max(0.0, self.started + (self._tick + 1) * PTIME / RATE - time.monotonic()))
        at = self._tick * PTIME
        if self._loop:
            at %= len(self._sound) // PTIME * PTIME
        piece = self._sound[at : at + PTIME]
        piece = np.concatenate([piece, np.zeros((PTIME - len(piece), 2), np.int16)])
        frame = av.AudioFrame.from_ndarray(piece.reshape(1, -1), format="s16", layout="stereo")
        frame.sample_rate = RATE
        frame.pts = self._tick * PTIME
        frame.time_base = fractions.Fraction(1, RATE)
        self._tick += 1
        return frame


class MarkerJitterBuffer:
    """Video frames in order, each complete at its marker bit, with time for a lost packet to be sent again."""

    PATIENCE = 100
    """Packets that may come after a missing one before it is given up, and a key frame asked for."""

    def __init__(self) -> None:
        self._waiting: dict[int, Any] = {}
        self._next: int | None = None
        self._parts: list[bytes] = []
        self._frames: list[JitterFrame] = []

    def add(self, packet: Any) -> tuple[bool, JitterFrame | None]:
        if self._next is None:
            self._next = packet.sequence_number
        if uint16_add(packet.sequence_number, -self._next) < 32_768:
            self._waiting[packet.sequence_number] = packet
        lost = len(self._waiting) > self.PATIENCE
        if lost:
            self._parts = []
            self._next = min(self._waiting, key=lambda number: uint16_add(number, -self._next))
        while (packet := self._waiting.pop(self._next, None)) is not None:
            self._next = uint16_add(self._next, 1)
            self._parts.append(packet._data)
            if packet.marker:
                self._frames.append(JitterFrame(data=b"".join(self._parts), timestamp=packet.timestamp))
                self._parts = []
        return lost, self._frames.pop(0) if self._frames else None


@dataclass
class Received:
    video_times: list[float] = field(default_factory=list)
    video_pts: list[int] = field(default_factory=list)
    pictures: list[npt.NDArray[np.float32]] = field(default_factory=list)
    """What `look` returned for each picture."""
    sound_times: list[float] = field(default_factory=list)
    sound_pts: list[int] = field(default_factory=list)
    sound: list[Int16] = field(default_factory=list)

    def sound_from(self, start: float) -> Int16:
        """The received sound from a moment on, mono: packets laid out by timestamp and their median arrival."""
        offset = float(np.median(np.array(self.sound_times) - np.array(self.sound_pts) / RATE))
        line = np.zeros(self.sound_pts[-1] + PTIME + RATE, np.int16)
        for pts, piece in zip(self.sound_pts, self.sound, strict=True):
            line[pts : pts + len(piece)] = piece[:, 0]
        skip = round((start - offset) * RATE)
        return line[skip:] if skip >= 0 else np.concatenate([np.zeros(-skip, np.int16), line])


class Peer:
    """`async with Peer(url, sound) as peer: await peer.speak(seconds)`."""

    def __init__(self, url: str, sound: Int16, *, loop: bool = False, avatar: str | None = None, look: Any = None):
        self._url = url
        self._avatar = avatar
        self._look = look
        self.track = SpeechTrack(sound, loop=loop)
        self.received = Received()
        self.connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self.session_url = ""
        self.answer_seconds = 0.0
        self.connected = asyncio.Event()
        self._readers: list[asyncio.Task[None]] = []

    async def offer(self) -> dict[str, str]:
        """Gathers and returns the body of POST /offer."""
        self.connection.addTransceiver(self.track, "sendrecv")
        self.connection.addTransceiver("video", "recvonly")
        self.connection.on("track", self._on_track)
        self.connection.on("connectionstatechange", self._on_state)
        aiortc_hooks.offer_loopback(self.connection)
        await self.connection.setLocalDescription(await self.connection.createOffer())
        body = {"sdp": self.connection.localDescription.sdp, "type": "offer"}
        if self._avatar:
            body["avatar"] = self._avatar
        return body

    async def connect(self) -> None:
        body = await self.offer()
        async with aiohttp.ClientSession() as http:
            asked = time.monotonic()
            async with http.post(f"{self._url}/offer", json=body) as response:
                answer = await response.json()
                assert response.status == 201, answer
            self.answer_seconds = time.monotonic() - asked
        self.session_url = self._url + answer["session_url"]
        for transceiver in self.connection.getTransceivers():
            buffer: Any = ImmediateJitterBuffer() if transceiver.kind == "audio" else MarkerJitterBuffer()
            aiortc_hooks.use_jitter_buffer(transceiver.receiver, buffer)
        await self.connection.setRemoteDescription(RTCSessionDescription(answer["sdp"], "answer"))
        await asyncio.wait_for(self.connected.wait(), 10)

    async def stats(self) -> dict[str, Any]:
        async with aiohttp.ClientSession() as http, http.get(self.session_url) as response:
            stats: dict[str, Any] = await response.json()
            return stats

    async def delete(self) -> int:
        async with aiohttp.ClientSession() as http, http.delete(self.session_url) as response:
            return response.status

    async def close(self) -> None:
        await self.connection.close()
        for reader in self._readers:
            reader.cancel()
        await asyncio.gather(*self._readers, return_exceptions=True)

    async def __aenter__(self) -> Peer:
        try:
            await self.connect()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    def _on_state(self) -> None:
        if self.connection.connectionState == "connected":
            self.connected.set()

    def _on_track(self, track: MediaStreamTrack) -> None:
        read = self._read_sound if track.kind == "audio" else self._read_video
        self._readers.append(asyncio.create_task(read(track)))

    async def _read_sound(self, track: MediaStreamTrack) -> None:
        got = self.received
        while True:
            try:
                frame = await track.recv()
            except MediaStreamError:
                return
            assert isinstance(frame, av.AudioFrame)
            got.sound_times.append(time.monotonic())
            got.sound_pts.append(int(frame.pts or 0))
            got.sound.append(frame.to_ndarray().reshape(-1, 2).copy())

    async def _read_video(self, track: MediaStreamTrack) -> None:
        got = self.received
        while True:
            try:
                frame = await track.recv()
            except MediaStreamError:
                return
            assert isinstance(frame, av.VideoFrame)
            got.video_times.append(time.monotonic())
            got.video_pts.append(int(frame.pts or 0))
            if self._look is not None:
                got.pictures.append(self._look(frame))
