from __future__ import annotations

import asyncio
import fractions
from typing import Any

import av
import numpy as np
import pytest
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack

from pipeline.audio import frame_of
from webrtc_server.ingest import ingest


class FakePipeline:
    def __init__(self) -> None:
        self.pushed: list[tuple[int, int, float]] = []
        """(timestamp, samples, now)"""

    def push_audio(self, pcm: Any, timestamp: int, now: float) -> None:
        assert pcm.dtype == np.int16
        assert pcm.shape[1] == 2
        self.pushed.append((timestamp, len(pcm), now))


class Recorded(MediaStreamTrack):
    """Gives its frames, then ends."""

    kind = "audio"

    def __init__(self, frames: list[Any]) -> None:
        super().__init__()
        self._frames = iter(frames)

    async def recv(self) -> Any:
        frame = next(self._frames, None)
        if frame is None:
            raise MediaStreamError
        return frame


def sound(pts: int | None, rate: int = 48_000, channels: int = 2) -> av.AudioFrame:
    frame = frame_of(np.ones((rate // 50, channels), np.int16), rate)
    frame.pts, frame.time_base = pts, fractions.Fraction(1, rate)
    return frame


async def heard(frames: list[Any]) -> list[tuple[int, int, float]]:
    pipeline: Any = FakePipeline()
    times = iter(range(100))
    await ingest(Recorded(frames), pipeline, lambda: float(next(times)))
    pushed: list[tuple[int, int, float]] = pipeline.pushed
    return pushed


async def test_every_packet_is_pushed_with_its_timestamp_and_moment() -> None:
    assert await heard([sound(4_000_000_000), sound(4_000_000_960), sound(4_000_009_600)]) == [
        (4_000_000_000, 960, 0.0),
        (4_000_000_960, 960, 1.0),
        (4_000_009_600, 960, 2.0),
    ]


async def test_timestamps_of_another_clock_become_48k() -> None:
    pushed = await heard([sound(160 * n, rate=8_000, channels=1) for n in range(50)])
    assert [timestamp for timestamp, _, _ in pushed] == [960 * n for n in range(50)]
    assert sum(samples for _, samples, _ in pushed) == pytest.approx(48_000, abs=150)


async def test_what_is_no_sound_with_a_time_is_passed_over() -> None:
    picture = av.VideoFrame(16, 16, "yuv420p")
    assert await heard([picture, sound(None), sound(960)]) == [(960, 960, 0.0)]


async def test_it_can_be_cancelled_while_it_waits() -> None:
    class Silent(Recorded):
        async def recv(self) -> Any:
            await asyncio.Event().wait()

    pipeline: Any = FakePipeline()
    task = asyncio.create_task(ingest(Silent([]), pipeline, lambda: 0.0))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
