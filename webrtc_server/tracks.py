"""The two outgoing tracks of a session. Both ask the same clock, so what belongs together leaves together."""

from __future__ import annotations

import asyncio
import fractions
from collections import deque
from collections.abc import Callable
from typing import Final

import av
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack

from pipeline import audio
from pipeline.avatar_pipeline import AUDIO_TICK, AvatarPipeline
from pipeline.pacer import Pacer
from pipeline.playout import PlayoutClock

VIDEO_CLOCK_RATE: Final = 90_000
CATCH_UP: Final = 5
"""Packets of sound sent late after a stall, 100 ms; older ones are skipped."""


class AvatarAudioTrack(MediaStreamTrack):
    """The caller's own sound, one playout delay later: 20 ms frames, s16 stereo at 48 kHz."""

    kind = "audio"

    def __init__(self, pipeline: AvatarPipeline, clock: PlayoutClock, monotonic: Callable[[], float]) -> None:
        super().__init__()
        self._pipeline = pipeline
        self._monotonic = monotonic
        # A hole in the sound is worse than a few packets at once, which jitter buffers are made for.
        self._pacer = Pacer(fractions.Fraction(audio.RATE, AUDIO_TICK), clock.origin, catch_up=CATCH_UP)
        self.sent = 0

    @property
    def skipped(self) -> int:
        return self._pacer.skipped

    async def recv(self) -> av.AudioFrame:
        tick, wait = self._pacer.next(self._monotonic())
        await asyncio.sleep(wait)
        if self.readyState != "live":
            raise MediaStreamError
        frame = audio.frame_of(self._pipeline.audio_at(tick))
        frame.pts = tick * AUDIO_TICK
        frame.time_base = fractions.Fraction(1, audio.RATE)
        self.sent += 1
        return frame


class AvatarVideoTrack(MediaStreamTrack):
    """The avatar's face at a fixed rate. A late tick is skipped, never sent in a burst."""

    kind = "video"

    def __init__(
        self, pipeline: AvatarPipeline, clock: PlayoutClock, fps: int, monotonic: Callable[[], float]
    ) -> None:
        super().__init__()
        self._pipeline = pipeline
        self._monotonic = monotonic
        self._fps = fps
        self._pacer = Pacer(fps, clock.origin)
        self._times: deque[float] = deque(maxlen=2 * fps)
        self.sent = 0

    @property
    def skipped(self) -> int:
        return self._pacer.skipped

    def fps_at(self, now: float) -> float:
        """Pictures handed to the encoder per second, over the last one to two seconds."""
        times = [t for t in self._times if t > now - 2.0]
        return (len(times) - 1) / (times[-1] - times[0]) if len(times) > 1 else 0.0

    async def recv(self) -> av.VideoFrame:
        tick, wait = self._pacer.next(self._monotonic())
        await asyncio.sleep(wait)
        if self.readyState != "live":
            raise MediaStreamError
        now = self._monotonic()
        frame = av.VideoFrame.from_numpy_buffer(self._pipeline.frame_at(tick, now), "yuv420p")
        frame.pts = tick * VIDEO_CLOCK_RATE // self._fps
        frame.time_base = fractions.Fraction(1, VIDEO_CLOCK_RATE)
        self._times.append(now)
        self.sent += 1
        return frame
