"""A recording to a video file: the live pipeline, run on virtual time."""

from __future__ import annotations

import contextlib
import fractions
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import av
import numpy as np

from pipeline import audio
from pipeline.audio import Int16
from pipeline.avatar import Avatar
from pipeline.avatar_pipeline import AUDIO_TICK, AvatarPipeline
from pipeline.batcher import PatchRequest
from pipeline.playout import PlayoutClock

DELAY_MS: Final = 1000
"""A whole second, so that sound and pictures of any frame rate start on a tick. It is cut off the result."""
TAIL_S: Final = 0.5
"""Shown after the sound: the mouth comes to rest."""


class CannotRender(Exception):
    """The message names the file and what is wrong with it."""


def packets_of(path: Path) -> Iterator[Int16]:
    """A recording's sound in (960, 2) int16 pieces at 48 kHz, the last one padded. Raises CannotRender."""
    try:
        with av.open(str(path)) as container:
            if not container.streams.audio:
                raise CannotRender(f"{path}: holds no sound")
            converter = audio.StereoConverter()
            rest = np.empty((0, audio.CHANNELS), np.int16)
            for frame in container.decode(container.streams.audio[0]):
                rest = np.concatenate([rest, converter.convert(frame)])
                while len(rest) >= AUDIO_TICK:
                    yield rest[:AUDIO_TICK]
                    rest = rest[AUDIO_TICK:]
    except (av.FFmpegError, OSError) as error:
        reason = error.strerror or str(error)
        raise CannotRender(f"{path}: cannot be read as sound: {reason}") from error
    if len(rest):
        yield np.concatenate([rest, np.zeros((AUDIO_TICK - len(rest), audio.CHANNELS), np.int16)])


def duration_of(path: Path) -> float | None:
    """Seconds of sound as the file's header tells, or None."""
    try:
        with av.open(str(path)) as container:
            return container.duration / av.time_base if container.duration else None
    except (av.FFmpegError, OSError):
        return None


def render(
    avatar: Avatar, source: Path, target: Path, *, fps: int, progress: Callable[[float], None] = lambda seconds: None
) -> float:
    """Writes `target` (H.264 and AAC; the suffix chooses the container) and returns its seconds.

    progress is called with the seconds done. Raises CannotRender. The file appears when it is whole; until then,
    and whatever goes wrong, what was there before stays.
    """
    pieces = packets_of(source)
    first = next(pieces, None)
    if first is None:
        raise CannotRender(f"{source}: holds no sound")
    unfinished = target.with_name(f".{target.stem}.unfinished{target.suffix}")
    try:
        with av.open(str(unfinished), "w") as container:
            seconds = _Rendering(avatar, container, fps, progress).run(first, pieces)
        unfinished.replace(target)
    except (av.FFmpegError, OSError) as error:
        raise CannotRender(f"{target}: cannot be written: {error.strerror or error}") from error
    except ValueError as error:
        raise CannotRender(f"{target}: cannot be written: no known kind of video file") from error
    finally:
        with contextlib.suppress(OSError):
            unfinished.unlink()
    return seconds


class _Rendering:
    def __init__(
        self,
        avatar: Avatar,
        container: av.container.OutputContainer,
        fps: int,
        progress: Callable[[float], None],
    ) -> None:
        self._container = container
        self._fps = fps
        self._progress = progress
        self._now = 0.0
        self._pipeline = AvatarPipeline(
            avatar,
            PlayoutClock(0.0),
            _infer_at_once,
            lambda: self._now,
            fps=fps,
            delay_ms=DELAY_MS,
            max_buffer_ms=2 * DELAY_MS,
        )
        self._video = container.add_stream("libx264", rate=fps)
        self._video.width, self._video.height = avatar.width, avatar.height
        self._video.pix_fmt = "yuv420p"
        self._video.options = {"crf": "16", "preset": "medium"}
        context = self._video.codec_context
        context.colorspace = context.color_primaries = context.color_trc = 6
        context.color_range = 1
        self._audio = container.add_stream("aac", rate=audio.RATE, layout="stereo")
        self._picture_tick = 0
        self._sound_tick = 0

    def run(self, first: Int16, pieces: Iterator[Int16]) -> float:
        count = 0
        for count, piece in enumerate(_chain(first, pieces), 1):
            self._now = (count - 1) * AUDIO_TICK / audio.RATE
            self._pipeline.push_audio(piece, (count - 1) * AUDIO_TICK, self._now)
            self._advance(count)
        length = count * AUDIO_TICK / audio.RATE
        for more in range(1, int((DELAY_MS / 1000 + TAIL_S) * audio.RATE / AUDIO_TICK) + 1):
            self._advance(count + more)
        for stream in (self._video, self._audio):
            self._container.mux(stream.encode(None))
        return length + TAIL_S

    def _advance(self, ticks: int) -> None:
        """Sends everything whose time comes before the end of sound tick `ticks`."""
        end = ticks * AUDIO_TICK / audio.RATE
        delay = DELAY_MS / 1000
        while self._picture_tick / self._fps < end:
            tick, self._picture_tick = self._picture_tick, self._picture_tick + 1
            picture = self._pipeline.frame_at(tick, tick / self._fps)
            if tick >= delay * self._fps:
                frame = av.VideoFrame.from_numpy_buffer(picture, "yuv420p")
                frame.pts = tick - round(delay * self._fps)
                frame.time_base = fractions.Fraction(1, self._fps)
                self._container.mux(self._video.encode(frame))
        while self._sound_tick < ticks:
            tick, self._sound_tick = self._sound_tick, self._sound_tick + 1
            pcm = self._pipeline.audio_at(tick)
            start = tick * AUDIO_TICK - int(delay * audio.RATE)
            if start >= 0:
                sound = audio.frame_of(pcm)
                sound.pts = start
                sound.time_base = fractions.Fraction(1, audio.RATE)
                self._container.mux(self._audio.encode(sound))
                self._progress(start / audio.RATE)


def _chain(first: Int16, rest: Iterator[Int16]) -> Iterator[Int16]:
    yield first
    yield from rest


def _infer_at_once(request: PatchRequest) -> None:
    request.done(request.model.infer([request.input])[0])
