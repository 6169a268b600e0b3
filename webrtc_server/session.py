"""One caller's peer connection with its pipeline and tracks, from offer to end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import Final, Literal

import numpy as np
from aiortc import (
    RTCConfiguration,
    RTCIceServer,
    RTCPeerConnection,
    RTCRtpSender,
    RTCRtpTransceiver,
    RTCSessionDescription,
)
from aiortc.codecs.base import Encoder
from aiortc.mediastreams import MediaStreamTrack

from pipeline.avatar import Avatar
from pipeline.avatar_pipeline import AvatarPipeline
from pipeline.batcher import PatchRequest
from pipeline.config import Config
from pipeline.playout import PlayoutClock
from signaling.errors import UnsupportedOffer
from webrtc_server import aiortc_hooks
from webrtc_server.bitrate import BitrateRange
from webrtc_server.h264_encoder import H264Encoder
from webrtc_server.ingest import ingest
from webrtc_server.jitter_buffer import ImmediateJitterBuffer
from webrtc_server.liveness import Liveness
from webrtc_server.offer import Kind, Offer
from webrtc_server.opus_encoder import OpusEncoder
from webrtc_server.tracks import AvatarAudioTrack, AvatarVideoTrack
from webrtc_server.vp8_encoder import Vp8Encoder

logger = logging.getLogger(__name__)

State = Literal["connecting", "connected", "closing"]
CLOSE_TIMEOUT_S: Final = 5.0


class Session:
    """Owns one RTCPeerConnection. `on_end` is called once, with a reason, when the peer ends it."""

    def __init__(
        self,
        session_id: str,
        avatar: Avatar,
        config: Config,
        submit: Callable[[PatchRequest], None],
        monotonic: Callable[[], float],
        on_end: Callable[[str], None],
    ) -> None:
        now = monotonic()
        self.id = session_id
        self.avatar = avatar
        self.state: State = "connecting"
        self._monotonic = monotonic
        self._opened = now
        self._on_end = on_end
        self._fps = config.video.fps
        self._codecs = config.video.codecs
        self._bitrate = BitrateRange(
            config.video.bitrate_start_bps, config.video.bitrate_min_bps, config.video.bitrate_max_bps
        )
        self._liveness = Liveness(
            now,
            config.sessions.connect_timeout_s,
            config.sessions.silence_timeout_s,
            config.sessions.max_duration_s,
        )
        clock = PlayoutClock(now)
        self._pipeline = AvatarPipeline(
            avatar,
            clock,
            submit,
            monotonic,
            fps=self._fps,
            delay_ms=config.playout.delay_ms,
            max_buffer_ms=config.playout.max_buffer_ms,
        )
        self._audio = AvatarAudioTrack(self._pipeline, clock, monotonic)
        self._video = AvatarVideoTrack(self._pipeline, clock, self._fps, monotonic)
        self._jitter = ImmediateJitterBuffer()
        self._encoder: H264Encoder | Vp8Encoder | None = None
        self._codec = ""
        self._audio_transceiver: RTCRtpTransceiver | None = None
        self._ingest: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None
        servers = [
            RTCIceServer(urls=server.url, username=server.username, credential=server.credential)
            for server in config.ice.servers
        ]
        self._connection = RTCPeerConnection(RTCConfiguration(iceServers=servers))
        self._connection.on("connectionstatechange", self._on_connection_state)
        self._connection.on("track", self._on_track)

    async def answer(self, offer: Offer) -> str:
        """Negotiates and returns the answer's SDP with all candidates. Raises UnsupportedOffer."""
        tracks: dict[Kind, MediaStreamTrack] = {"audio": self._audio, "video": self._video}
        directions: dict[Kind, str] = {"audio": "sendrecv", "video": "sendonly"}
        transceivers = {kind: self._connection.addTransceiver(tracks[kind], directions[kind]) for kind in offer.kinds}
        self._prefer_codecs(transceivers["video"])
        try:
            await self._connection.setRemoteDescription(RTCSessionDescription(offer.sdp, "offer"))
        except Exception as error:  # aiortc raises whatever an unusual description trips it over
            logger.info("offer refused: %s: %s", type(error).__name__, error, extra={"session_id": self.id})
            raise UnsupportedOffer(
                f"the offer cannot be answered; it needs Opus sound and one of {', '.join(self._codecs)}"
            ) from error
        self._install(transceivers["audio"], transceivers["video"])
        aiortc_hooks.offer_loopback(self._connection)
        await self._connection.setLocalDescription(await self._connection.createAnswer())
        return self._connection.localDescription.sdp

    def _prefer_codecs(self, video: RTCRtpTransceiver) -> None:
        capabilities = RTCRtpSender.getCapabilities("video").codecs
        order = [f"video/{name}".lower() for name in self._codecs]
        chosen = [codec for mime in order for codec in capabilities if codec.mimeType.lower() == mime]
        retransmission = [codec for codec in capabilities if codec.mimeType.lower() == "video/rtx"]
        video.setCodecPreferences(chosen + retransmission)

    def _install(self, sound: RTCRtpTransceiver, picture: RTCRtpTransceiver) -> None:
        """Puts our own parts where aiortc would make its defaults at the connection's start."""
        self._audio_transceiver = sound
        aiortc_hooks.use_jitter_buffer(sound.receiver, self._jitter)
        if aiortc_hooks.negotiated_codec(sound).lower() == "audio/opus":
            aiortc_hooks.use_encoder(sound.sender, OpusEncoder())
        self._codec = aiortc_hooks.negotiated_codec(picture).removeprefix("video/")
        make = H264Encoder if self._codec.lower() == "h264" else Vp8Encoder
        self._encoder = make(self._bitrate, self._fps)
        encoder: Encoder = self._encoder
        aiortc_hooks.use_encoder(picture.sender, encoder)

    def _on_track(self, track: MediaStreamTrack) -> None:
        if track.kind == "audio" and self._ingest is None:
            self._ingest = asyncio.create_task(
                ingest(track, self._pipeline, self._monotonic), name=f"ingest {self.id}"
            )
            self._ingest.add_done_callback(self._on_ingest_done)

    def _on_ingest_done(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            logger.error("ingest failed", exc_info=task.exception(), extra={"session_id": self.id})
            self._end("the sound could not be processed")

    def _on_connection_state(self) -> None:
        state = self._connection.connectionState
        if state == "connected" and self.state == "connecting":
            self.state = "connected"
            now = self._monotonic()
            self._liveness.connected(now)
            logger.info("connected after %.2f s", now - self._opened, extra={"session_id": self.id})
        elif state == "closed":
            self._end("closed by the peer")
        elif state == "failed":
            self._end("the connection failed")

    def _end(self, reason: str) -> None:
        if self.state != "closing":
            self._on_end(reason)

    def verdict(self, now: float) -> str | None:
        """The reason to close this session now, or None."""
        if self.state == "closing":
            return None
        received = aiortc_hooks.received_bytes(self._audio_transceiver) if self._audio_transceiver else 0
        return self._liveness.verdict(received, now)

    @property
    def closed(self) -> bool:
        """Whether everything the session owned is gone."""
        return self._closing is not None and self._closing.done()

    async def aclose(self) -> None:
        """Ends everything the session owns; safe to call again, and from several places at once."""
        if self._closing is None:
            self.state = "closing"
            self._closing = asyncio.create_task(self._close(), name=f"close {self.id}")
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        self._audio.stop()
        self._video.stop()
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self._connection.close()
        except TimeoutError:
            logger.error("the connection did not close in %g s", CLOSE_TIMEOUT_S, extra={"session_id": self.id})
        if self._ingest is not None:
            self._ingest.cancel()
            await asyncio.gather(self._ingest, return_exceptions=True)

    def stats(self, now: float) -> dict[str, object]:
        """Live figures, ready for JSON. Times in ms, counts since the session's start."""
        pipeline = self._pipeline.stats(now)
        inbound = (
            aiortc_hooks.inbound_stats(self._audio_transceiver.receiver)
            if self._audio_transceiver
            else aiortc_hooks.InboundStats()
        )
        latency = 1000.0 * np.asarray(pipeline.latency_s)
        percentile = partial(np.percentile, latency) if len(latency) else lambda _: 0.0
        return {
            "session_id": self.id,
            "avatar": self.avatar.name,
            "state": self.state,
            "age_s": round(now - self._opened, 1),
            "speaking": pipeline.speaking,
            "video": {
                "fps": round(self._video.fps_at(now), 1),
                "frames_sent": self._video.sent,
                "frames_skipped": self._video.skipped,
                "codec": self._codec,
                "target_bitrate_bps": self._encoder.target_bitrate if self._encoder else 0,
                "width": self.avatar.width,
                "height": self.avatar.height,
            },
            "audio": {
                "packets_received": inbound.packets_received,
                "packets_lost": inbound.packets_lost,
                "packets_late": self._jitter.late,
                "jitter_ms": round(1000.0 * inbound.jitter_s, 1),
                "gap_ms_total": round(pipeline.gap_ms),
                "frames_sent": self._audio.sent,
                "frames_skipped": self._audio.skipped,
            },
            "playout": {
                "delay_ms": round(pipeline.delay_ms),
                "buffered_ms": round(pipeline.buffered_ms),
                "moves": pipeline.moves,
            },
            "inference": {
                "windows": pipeline.windows,
                "latency_ms_p50": round(float(percentile(50)), 1),
                "latency_ms_p95": round(float(percentile(95)), 1),
            },
            "drops": self.drops(now),
        }

    def drops(self, now: float) -> dict[str, int]:
        """Everything left out so far by name: samples where the name says `sound`, else packets or pictures."""
        return {
            **self._pipeline.stats(now).drops,
            "late_packet": self._jitter.late,
            "skipped_video_tick": self._video.skipped,
            "skipped_audio_tick": self._audio.skipped,
        }
