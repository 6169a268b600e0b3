"""The only place that knows when: the playout clock, where sound lands on it, and what waits for its turn."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

import numpy as np

from pipeline.audio import CHANNELS, RATE, Int16

T = TypeVar("T")


@dataclass(frozen=True)
class PlayoutClock:
    """A session's timeline: sample s (48 kHz) and video frame n leave at origin + s / 48000 and origin + n / fps.

    origin: seconds of the monotonic clock whose readings are passed in as `now`.
    """

    origin: float

    def sample_at(self, now: float) -> int:
        return int((now - self.origin) * RATE)

    def time_of(self, sample: int) -> float:
        return self.origin + sample / RATE


class PlayoutAnchor:
    """Maps the caller's audio timestamps to samples of the playout timeline, `delay` after they arrive.

    The fastest packets define the delay. When they drift away from it (another clock rate, a changed path), the
    mapping is moved: at once if it is far off or sound is being lost, else only while the caller is silent.
    All figures in 48 kHz samples; `arrival` is the timeline's sample at the moment of arrival.
    """

    SPAN: Final = 2 * RATE
    """Drift is judged over this much sound."""
    TOLERANCE: Final = RATE // 100
    """Drift corrected in silence: 10 ms."""
    LIMIT: Final = RATE // 20
    """Drift corrected even in speech: 50 ms."""
    JUMP: Final = RATE // 5
    """A timestamp this far ahead of its time (200 ms) is a new timeline, not jitter."""
    LATE: Final = RATE // 4
    """Sound that keeps arriving too late to be heard for this long (250 ms) has a slower path. What comes late all
    at once, after a stall, has not."""

    def __init__(self, delay: int) -> None:
        self.delay = delay
        self.moves: Counter[str] = Counter()
        self._offset: int | None = None
        self._best: int | None = None
        self._span = 0
        self._drift = 0
        self._late_since: int | None = None

    def place(self, timestamp: int, count: int, arrival: int, silent: bool) -> int:
        """The timeline sample at which `count` samples stamped `timestamp` begin. May lie in the past: drop them."""
        if self._offset is None:
            return self._anchor(timestamp, arrival)
        headroom = timestamp + self._offset - arrival
        if headroom > self.delay + self.JUMP:
            self.moves["timestamp_jump"] += 1
            return self._anchor(timestamp, arrival)
        if headroom >= 0:
            self._late_since = None
        elif self._late_since is None:
            self._late_since = arrival
        if self._late_since is not None and arrival + count - self._late_since >= self.LATE:
            self.moves["late_path"] += 1
            return self._anchor(timestamp, arrival)
        self._observe(headroom, count)
        if abs(self._drift) > (self.TOLERANCE if silent else self.LIMIT):
            self.moves["drift"] += 1
            self._offset -= self._drift
            # What was observed before the move says nothing about the mapping after it.
            self._best, self._span, self._drift = None, 0, 0
        return timestamp + self._offset

    def _observe(self, headroom: int, count: int) -> None:
        self._best = headroom if self._best is None else max(self._best, headroom)
        self._span += count
        if self._span >= self.SPAN:
            self._drift = self._best - self.delay
            self._best, self._span = None, 0

    def _anchor(self, timestamp: int, arrival: int) -> int:
        self._offset = arrival + self.delay - timestamp
        self._best, self._span, self._drift, self._late_since = None, 0, 0, None
        return arrival + self.delay


class SoundBuffer:
    """Sound waiting for its turn, addressed by timeline sample. Bounded; what was never written is silence."""

    def __init__(self, capacity: int) -> None:
        """capacity: 48 kHz samples kept."""
        self._ring = np.zeros((capacity, CHANNELS), np.int16)
        self._end = 0
        self._played = 0
        self.drops: Counter[str] = Counter()

    @property
    def end(self) -> int:
        """One past the last sample written."""
        return self._end

    def write(self, position: int, pcm: Int16, arrival: int) -> int:
        """Puts (n, 2) int16 at a timeline position; earlier sound is never overwritten, gaps become silence.

        arrival: the timeline's sample now. Drops (counted in samples): `late_sound` had its turn already,
        `overlapping_sound` lies under sound already here, `sound_overflow` is further ahead than the buffer holds.
        Returns the samples of silence put before it that are still to be played.
        """
        capacity, now = len(self._ring), max(arrival, self._played)
        for name, floor in (("late_sound", now), ("overlapping_sound", self._end)):
            if position < floor and len(pcm):
                cut = min(len(pcm), floor - position)
                self.drops[name] += cut
                pcm, position = pcm[cut:], position + cut
        room = max(0, now + capacity - position)
        if len(pcm) > room:
            self.drops["sound_overflow"] += len(pcm) - room
            pcm = pcm[:room]
        if not len(pcm):
            return 0
        silence = max(0, position - max(self._end, now))
        gap = position - max(self._end, position - capacity)
        self._store(position - gap, np.zeros((gap, CHANNELS), np.int16))
        self._store(position, pcm)
        self._end = position + len(pcm)
        return silence

    def read(self, position: int, count: int) -> tuple[Int16, int]:
        """(count, 2) int16 from a timeline position, and how many of them had not arrived (given as silence)."""
        self._played = position + count
        here = min(max(self._end - position, 0), count)
        if position < self._end - len(self._ring):
            here = 0
        out = np.zeros((count, CHANNELS), np.int16)
        out[:here] = self._ring.take(np.arange(position, position + here), axis=0, mode="wrap")
        return out, count - here

    def _store(self, position: int, pcm: Int16) -> None:
        start, size = position % len(self._ring), len(pcm)
        head = min(size, len(self._ring) - start)
        self._ring[start : start + head] = pcm[:head]
        self._ring[: size - head] = pcm[head:]


class PictureBuffer(Generic[T]):
    """Pictures (patches) waiting for their video frame, addressed by frame number. Bounded."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._waiting: dict[int, T] = {}
        self._next = 0
        self.drops: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, frame: int, picture: T) -> None:
        """Drops: `late_picture` came after its frame was shown, `picture_overflow` is the oldest of too many."""
        if frame < self._next:
            self.drops["late_picture"] += 1
            return
        self._waiting[frame] = picture
        if len(self._waiting) > self._capacity:
            del self._waiting[min(self._waiting)]
            self.drops["picture_overflow"] += 1

    def take(self, frame: int) -> T | None:
        """The picture of a video frame, or None. Earlier ones are dropped as `skipped_picture`."""
        self._next = frame + 1
        for old in [n for n in self._waiting if n < frame]:
            del self._waiting[old]
            self.drops["skipped_picture"] += 1
        return self._waiting.pop(frame, None)
