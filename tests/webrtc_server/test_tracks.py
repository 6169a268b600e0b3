from __future__ import annotations

import asyncio
import fractions
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from aiortc.mediastreams import MediaStreamError

from pipeline.avatar_pipeline import AUDIO_TICK
from pipeline.playout import PlayoutClock
from webrtc_server import tracks
from webrtc_server.tracks import AvatarAudioTrack, AvatarVideoTrack

ORIGIN = 500.0
WIDTH, HEIGHT = 32, 16


class FakePipeline:
    """Sound and pictures that tell their tick."""

    def __init__(self) -> None:
        self.heard: list[int] = []
        self.shown: list[tuple[int, float]] = []

    def audio_at(self, tick: int) -> Any:
        self.heard.append(tick)
        return np.full((AUDIO_TICK, 2), tick, np.int16)

    def frame_at(self, tick: int, now: float) -> Any:
        self.shown.append((tick, now))
        return np.full((HEIGHT * 3 // 2, WIDTH), tick % 256, np.uint8)


class VirtualTime:
    """A clock that jumps to where a track would have slept to, and `late_s` further."""

    def __init__(self) -> None:
        self.now = ORIGIN
        self.late_s = 0.0
        self.hold: asyncio.Event | None = None

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        assert seconds >= 0
        self.now += seconds + self.late_s
        if self.hold is not None:
            await self.hold.wait()


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> VirtualTime:
    time = VirtualTime()
    monkeypatch.setattr(tracks, "asyncio", SimpleNamespace(sleep=time.sleep))
    return time


@pytest.fixture
def pipeline() -> FakePipeline:
    return FakePipeline()


@pytest.fixture
def audio(pipeline: Any, time: VirtualTime) -> AvatarAudioTrack:
    return AvatarAudioTrack(pipeline, PlayoutClock(ORIGIN), time.monotonic)


@pytest.fixture
def video(pipeline: Any, time: VirtualTime) -> AvatarVideoTrack:
    return AvatarVideoTrack(pipeline, PlayoutClock(ORIGIN), 30, time.monotonic)


async def test_sound_leaves_every_20_ms_with_its_place_on_the_timeline(
    audio: AvatarAudioTrack, time: VirtualTime
) -> None:
    for tick in range(100):
        frame = await audio.recv()
        assert frame.pts == tick * 960
        assert frame.time_base == fractions.Fraction(1, 48_000)
        assert (frame.format.name, frame.layout.name, frame.sample_rate, frame.samples) == (
            "s16",
            "stereo",
            48_000,
            960,
        )
        assert np.all(frame.to_ndarray() == tick)
        assert time.now == pytest.approx(ORIGIN + tick * 0.02)
    assert (audio.sent, audio.skipped) == (100, 0)


async def test_pictures_leave_at_the_frame_rate_with_their_place_on_the_timeline(
    video: AvatarVideoTrack, time: VirtualTime, pipeline: FakePipeline
) -> None:
    for tick in range(90):
        frame = await video.recv()
        assert frame.pts == tick * 3000
        assert frame.time_base == fractions.Fraction(1, 90_000)
        assert (frame.format.name, frame.width, frame.height) == ("yuv420p", WIDTH, HEIGHT)
        assert np.all(frame.to_ndarray() == tick)
        assert time.now == pytest.approx(ORIGIN + tick / 30)
    assert (video.sent, video.skipped) == (90, 0)
    assert pipeline.shown[-1] == (89, time.now)


async def test_sound_and_picture_of_one_instant_leave_together(
    audio: AvatarAudioTrack, video: AvatarVideoTrack, time: VirtualTime
) -> None:
    for _ in range(10):
        sound = await audio.recv()
    heard = time.now
    time.now = ORIGIN
    for _ in range(7):
        picture = await video.recv()
    seconds = float((sound.pts or 0) * (sound.time_base or 0) - (picture.pts or 0) * (picture.time_base or 0))
    assert heard - time.now == pytest.approx(seconds)


async def test_a_track_that_starts_late_starts_at_the_present(
    audio: AvatarAudioTrack, video: AvatarVideoTrack, time: VirtualTime
) -> None:
    time.now = ORIGIN + 7.0
    assert (await audio.recv()).pts == 7 * 48_000
    assert (await video.recv()).pts == 7 * 90_000
    assert (audio.skipped, video.skipped) == (0, 0)


async def test_after_a_stall_pictures_are_skipped_and_sound_catches_up(
    audio: AvatarAudioTrack, video: AvatarVideoTrack, time: VirtualTime, pipeline: FakePipeline
) -> None:
    await audio.recv()
    await video.recv()
    time.now += 1.0
    # The last 100 ms of sound leave at once; a picture that is late is worth nothing.
    assert [(await audio.recv()).pts for _ in range(6)] == [tick * 960 for tick in range(45, 51)]
    assert (await video.recv()).pts == 90_000
    assert (audio.sent, audio.skipped) == (7, 44)
    assert (video.sent, video.skipped) == (2, 29)
    assert pipeline.heard == [0, *range(45, 51)]
    assert [tick for tick, _ in pipeline.shown] == [0, 30]


async def test_waking_late_is_caught_up_without_loss(audio: AvatarAudioTrack, time: VirtualTime) -> None:
    time.late_s = 0.008
    pts = [(await audio.recv()).pts for _ in range(50)]
    assert pts == [tick * 960 for tick in range(50)]
    assert audio.skipped == 0


async def test_a_picture_is_told_the_time_it_really_leaves(
    video: AvatarVideoTrack, time: VirtualTime, pipeline: FakePipeline
) -> None:
    time.late_s = 0.008
    await video.recv()
    assert pipeline.shown == [(0, ORIGIN + 0.008)]


async def test_a_stopped_track_ends(audio: AvatarAudioTrack, video: AvatarVideoTrack, pipeline: FakePipeline) -> None:
    for track in (audio, video):
        await track.recv()
        track.stop()
        with pytest.raises(MediaStreamError):
            await track.recv()
    assert len(pipeline.heard) == len(pipeline.shown) == 1


async def test_stopping_while_it_waits_ends_it_too(
    video: AvatarVideoTrack, time: VirtualTime, pipeline: FakePipeline
) -> None:
    time.hold = asyncio.Event()
    waiting = asyncio.ensure_future(video.recv())
    await asyncio.sleep(0)
    video.stop()
    time.hold.set()
    with pytest.raises(MediaStreamError):
        await waiting
    assert pipeline.shown == []


async def test_the_frame_rate_is_that_of_the_last_seconds(video: AvatarVideoTrack, time: VirtualTime) -> None:
    assert video.fps_at(time.now) == 0.0
    for _ in range(90):
        await video.recv()
    assert video.fps_at(time.now) == pytest.approx(30.0)
    for _ in range(30):
        await video.recv()
        time.now += 1.5 / 30
    assert video.fps_at(time.now) == pytest.approx(20.0, abs=3)
    assert video.fps_at(time.now + 10) == 0.0
