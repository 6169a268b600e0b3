from __future__ import annotations

from collections import Counter

import numpy as np
import numpy.typing as npt
import pytest

from pipeline.audio import RATE, Int16
from pipeline.playout import PictureBuffer, PlayoutAnchor, PlayoutClock, SoundBuffer

DELAY = RATE // 5
PTIME = RATE // 50
MS = RATE // 1000


def test_the_clock_maps_moments_to_samples_and_back() -> None:
    clock = PlayoutClock(origin=1000.0)
    assert clock.sample_at(1000.0) == 0
    assert clock.sample_at(1002.5) == 120_000
    assert clock.time_of(120_000) == 1002.5


# PlayoutAnchor. `spoken` counts the caller's samples since his first one; timestamps start anywhere.

FIRST = 3_000_000_000


class Caller:
    """Sends packets of 20 ms into an anchor; every figure in samples."""

    def __init__(self, anchor: PlayoutAnchor, path: int = 20 * MS) -> None:
        self.anchor = anchor
        self.path = path
        self.spoken = 0
        self.placed: list[int] = []

    def send(self, packets: int = 1, *, jitter: int = 0, silent: bool = False, lost: bool = False) -> int:
        """Returns how long after its arrival the last packet will be played."""
        delay = 0
        for _ in range(packets):
            arrival = self.spoken + PTIME + self.path + jitter
            if not lost:
                position = self.anchor.place(FIRST + self.spoken, PTIME, arrival, silent)
                self.placed.append(position)
                delay = position - arrival
            self.spoken += PTIME
        return delay

    @property
    def gaps(self) -> Counter[int]:
        """Steps between packets on the timeline beyond their length."""
        return Counter(int(step) - PTIME for step in np.diff(self.placed) if step != PTIME)


@pytest.fixture
def caller() -> Caller:
    return Caller(PlayoutAnchor(DELAY))


def test_the_first_packet_is_played_one_delay_after_it_arrived(caller: Caller) -> None:
    assert caller.send() == DELAY


def test_steady_packets_lie_end_to_end(caller: Caller) -> None:
    caller.send(3000)
    assert not caller.gaps
    assert not caller.anchor.moves


def test_jitter_moves_nothing(caller: Caller) -> None:
    rng = np.random.default_rng(0)
    caller.send()
    for n in range(3000):
        # Now and then a packet takes the direct way: those define the delay.
        caller.send(jitter=0 if n % 20 == 0 else int(rng.integers(0, 80 * MS)), silent=n % 7 == 0)
    assert not caller.gaps
    assert not caller.anchor.moves


def test_a_lost_packet_leaves_its_place_empty(caller: Caller) -> None:
    caller.send(100)
    caller.send(3, lost=True)
    assert caller.send() == DELAY
    assert caller.gaps == {3 * PTIME: 1}
    assert not caller.anchor.moves


def test_a_pause_without_packets_keeps_the_mapping(caller: Caller) -> None:
    caller.send(100)
    caller.send(5000, lost=True)
    assert caller.send() == DELAY
    assert caller.gaps == {5000 * PTIME: 1}
    assert not caller.anchor.moves


@pytest.mark.parametrize("jump", [300 * MS, 10 * RATE, 2**31])
def test_a_timestamp_far_ahead_of_its_time_is_a_new_timeline(caller: Caller, jump: int) -> None:
    caller.send(100)
    arrival = caller.spoken + PTIME + caller.path
    assert caller.anchor.place(FIRST + caller.spoken + jump, PTIME, arrival, False) == arrival + DELAY
    assert caller.anchor.moves == {"timestamp_jump": 1}


@pytest.mark.parametrize("jump", [-10 * RATE, -(2**31)])
def test_timestamps_that_fall_back_are_a_new_timeline_after_a_quarter_second(caller: Caller, jump: int) -> None:
    caller.send(100)
    positions = []
    for n in range(100, 130):
        arrival = n * PTIME + PTIME + caller.path
        positions.append(caller.anchor.place(FIRST + n * PTIME + jump, PTIME, arrival, False) - arrival)
    late = sum(position < 0 for position in positions)
    assert PTIME * late <= PlayoutAnchor.LATE
    assert positions[late:] == [DELAY] * (30 - late)
    assert caller.anchor.moves == {"late_path": 1}


def test_a_path_too_slow_for_the_delay_is_followed(caller: Caller) -> None:
    caller.send(100)
    caller.path += DELAY + 50 * MS
    late = 0
    while caller.send() < 0:
        late += 1
    assert PTIME * late <= PlayoutAnchor.LATE
    assert caller.send(500) == DELAY
    assert caller.anchor.moves == {"late_path": 1}


def test_a_burst_after_a_stall_is_late_sound_and_not_a_new_path(caller: Caller) -> None:
    caller.send(100)
    stall = 50
    # The network holds a second of sound back and then lets it go at once.
    for n in range(stall):
        caller.send(1, jitter=(stall - n) * PTIME)
    assert caller.send(100) == DELAY
    assert not caller.gaps
    assert not caller.anchor.moves


def test_single_late_packets_do_not_move_it(caller: Caller) -> None:
    for _ in range(100):
        caller.send(5)
        caller.send(1, jitter=DELAY + 30 * MS)
    assert not caller.anchor.moves
    assert not caller.gaps


def test_a_slow_first_packet_is_corrected_within_seconds(caller: Caller) -> None:
    caller.send(1, jitter=90 * MS)
    caller.send(150)
    assert caller.send() == DELAY
    assert caller.anchor.moves == {"drift": 1}


def test_a_small_error_waits_for_silence(caller: Caller) -> None:
    caller.send(1, jitter=30 * MS)
    assert caller.send(500) == DELAY + 30 * MS
    assert caller.send(1, silent=True) == DELAY
    assert caller.gaps == {-30 * MS: 1}


@pytest.mark.parametrize("error", [30 * MS, -30 * MS])
def test_a_correction_is_made_once(caller: Caller, error: int) -> None:
    caller.send(1, jitter=max(0, error))
    if error < 0:
        caller.path -= error
    # Seconds of speech after the judgement, so that the correction falls into the middle of the next span.
    caller.send(349)
    caller.send(1, silent=True)
    for _ in range(20):
        caller.send(100)
        caller.send(5, silent=True)
    assert caller.anchor.moves == {"drift": 1}
    assert caller.gaps == {-error: 1}
    assert caller.send() == DELAY


@pytest.mark.parametrize("ppm", [-200, -50, 0, 50, 200])
def test_half_an_hour_with_another_clock(ppm: int) -> None:
    """Speech of 4 s and silence of 1.5 s, in turns, over a path with jitter."""
    rng = np.random.default_rng(ppm + 1000)
    anchor, delays, lost_in_speech, end = PlayoutAnchor(DELAY), [], 0, 0
    packets = 30 * 60 * 50
    jitter = np.abs(rng.normal(0, 5 * MS, packets)).astype(int)
    for n in range(packets):
        silent = n % 275 >= 200
        sent = int((n + 1) * PTIME * (1 + ppm * 1e-6))
        arrival = sent + 20 * MS + int(jitter[n])
        position = anchor.place(FIRST + n * PTIME, PTIME, arrival, silent)
        delays.append(position - sent)
        if not silent and n % 275 > 5:
            lost_in_speech += position != end
        end = position + PTIME
    wanted = DELAY + 20 * MS
    assert max(abs(delay - wanted) for delay in delays) <= PlayoutAnchor.TOLERANCE + 10 * MS
    assert lost_in_speech == 0
    assert set(anchor.moves) <= {"drift"}
    if ppm:
        # No more is moved than the clocks drift apart.
        drifted = abs(ppm) * 1e-6 * 1800 * RATE
        assert anchor.moves["drift"] <= drifted / PlayoutAnchor.TOLERANCE + 1
    else:
        assert not anchor.moves


# SoundBuffer.


def numbered(start: int, count: int) -> Int16:
    """Sound that tells its own place: sample n is (n + 1, -n - 1), folded into int16."""
    places = (np.arange(start, start + count) % 30_000 + 1).astype(np.int16)
    return np.stack([places, -places], axis=1)


def test_sound_comes_out_where_it_was_put() -> None:
    buffer = SoundBuffer(RATE)
    buffer.write(1000, numbered(1000, PTIME), 0)
    pcm, missing = buffer.read(960, PTIME)
    assert missing == 0
    np.testing.assert_array_equal(pcm[:40], 0)
    np.testing.assert_array_equal(pcm[40:], numbered(1000, 920))
    pcm, missing = buffer.read(1920, PTIME)
    assert missing == PTIME - 40
    np.testing.assert_array_equal(pcm[:40], numbered(1920, 40))
    np.testing.assert_array_equal(pcm[40:], 0)
    assert buffer.end == 1000 + PTIME
    assert not buffer.drops


def test_a_gap_is_silence_even_over_old_sound() -> None:
    buffer = SoundBuffer(4 * PTIME)
    for tick in range(8):
        buffer.write(tick * PTIME, numbered(tick * PTIME, PTIME), tick * PTIME)
        buffer.read(tick * PTIME, PTIME)
    buffer.write(10 * PTIME, numbered(10 * PTIME, PTIME), 8 * PTIME)
    for tick in (8, 9):
        pcm, missing = buffer.read(tick * PTIME, PTIME)
        assert missing == 0, "a gap that sound has followed is lost, not still to come"
        np.testing.assert_array_equal(pcm, 0)
    np.testing.assert_array_equal(buffer.read(10 * PTIME, PTIME)[0], numbered(10 * PTIME, PTIME))


def test_late_sound_is_cut_at_its_turn() -> None:
    buffer = SoundBuffer(RATE)
    buffer.write(0, numbered(0, PTIME), 400)
    assert buffer.drops == {"late_sound": 400}
    np.testing.assert_array_equal(buffer.read(0, PTIME)[0][400:], numbered(400, PTIME - 400))
    buffer.write(PTIME, numbered(PTIME, PTIME), 5 * PTIME)
    assert buffer.drops == {"late_sound": 400 + PTIME}


def test_sound_whose_tick_has_been_played_is_late() -> None:
    buffer = SoundBuffer(RATE)
    buffer.read(0, PTIME)
    buffer.write(0, numbered(0, 2 * PTIME), 100)
    assert buffer.drops == {"late_sound": PTIME}
    np.testing.assert_array_equal(buffer.read(PTIME, PTIME)[0], numbered(PTIME, PTIME))


def test_overlapping_sound_does_not_overwrite() -> None:
    buffer = SoundBuffer(RATE)
    buffer.write(0, numbered(0, PTIME), 0)
    buffer.write(PTIME // 2, np.full((PTIME, 2), 7, np.int16), 0)
    assert buffer.drops == {"overlapping_sound": PTIME // 2}
    pcm, _ = buffer.read(0, 2 * PTIME)
    np.testing.assert_array_equal(pcm[:PTIME], numbered(0, PTIME))
    np.testing.assert_array_equal(pcm[PTIME : PTIME * 3 // 2], 7)


def test_what_is_further_ahead_than_it_holds_overflows() -> None:
    buffer = SoundBuffer(2 * PTIME)
    buffer.write(PTIME, numbered(PTIME, 3 * PTIME), 0)
    assert buffer.drops == {"sound_overflow": 2 * PTIME}
    buffer.write(100 * PTIME, numbered(0, PTIME), 0)
    assert buffer.drops == {"sound_overflow": 3 * PTIME}
    assert buffer.end == 2 * PTIME


def test_a_buffer_nobody_reads_stays_as_it_is() -> None:
    buffer = SoundBuffer(RATE)
    for tick in range(3000):
        buffer.write(tick * PTIME + DELAY, numbered(tick * PTIME + DELAY, PTIME), tick * PTIME)
    assert buffer.end - 3000 * PTIME == DELAY
    assert not buffer.drops
    at = 3000 * PTIME
    np.testing.assert_array_equal(buffer.read(at, PTIME)[0], numbered(at, PTIME))
    # A reader that far behind gets silence, never sound from another time.
    pcm, missing = buffer.read(0, PTIME)
    assert missing == PTIME
    np.testing.assert_array_equal(pcm, 0)


class PlainSoundBuffer:
    """What SoundBuffer promises, on an endless line."""

    def __init__(self, capacity: int, length: int) -> None:
        self.capacity = capacity
        self.line: npt.NDArray[np.int16] = np.zeros((length, 2), np.int16)
        self.end = self.played = 0
        self.drops: Counter[str] = Counter()

    def write(self, position: int, pcm: Int16, arrival: int) -> int:
        now, end = max(arrival, self.played), self.end
        for n in range(position, position + len(pcm)):
            if n < now:
                self.drops["late_sound"] += 1
            elif n < self.end:
                self.drops["overlapping_sound"] += 1
            elif n >= now + self.capacity:
                self.drops["sound_overflow"] += 1
            else:
                self.line[n] = pcm[n - position]
                self.end = n + 1
        return 0 if self.end == end else max(0, position - max(end, now))

    def read(self, position: int, count: int) -> tuple[Int16, int]:
        self.played = position + count
        if position < self.end - self.capacity:
            return np.zeros((count, 2), np.int16), count
        return self.line[position : position + count], max(0, min(count, position + count - self.end))


@pytest.mark.parametrize("seed", range(8))
def test_it_does_what_an_endless_line_would(seed: int) -> None:
    rng = np.random.default_rng(seed)
    capacity, ptime, steps = int(rng.integers(50, 300)), 20, 600
    buffer, plain = SoundBuffer(capacity), PlainSoundBuffer(capacity, steps * ptime + 4 * capacity)
    reading = 0
    for step in range(steps):
        arrival = step * ptime + int(rng.integers(0, ptime))
        for _ in range(int(rng.integers(0, 3))):
            position = max(0, arrival + int(rng.integers(-2 * ptime, capacity * 3 // 2)))
            pcm = rng.integers(-32768, 32768, (int(rng.integers(0, 3 * ptime)), 2), np.int16)
            assert buffer.write(position, pcm, arrival) == plain.write(position, pcm, arrival)
        if rng.random() < 0.05:
            continue
        # Mostly punctual, at times a stall that skips ticks.
        reading = max(reading, step - 1) if rng.random() < 0.9 else step
        got, missing = buffer.read(reading * ptime, ptime)
        wanted, wanted_missing = plain.read(reading * ptime, ptime)
        np.testing.assert_array_equal(got, wanted)
        assert missing == wanted_missing
        reading += 1
    assert buffer.end == plain.end
    assert buffer.drops == plain.drops
    assert min(buffer.drops[name] for name in ("late_sound", "overlapping_sound", "sound_overflow")) > 0


# PictureBuffer.


def test_a_picture_waits_for_its_frame() -> None:
    buffer: PictureBuffer[str] = PictureBuffer(4)
    buffer.put(3, "three")
    buffer.put(2, "two")
    assert [buffer.take(n) for n in range(5)] == [None, None, "two", "three", None]
    assert len(buffer) == 0
    assert not buffer.drops


def test_a_late_picture_is_dropped() -> None:
    buffer: PictureBuffer[str] = PictureBuffer(4)
    buffer.take(3)
    buffer.put(3, "three")
    buffer.put(4, "four")
    assert buffer.drops == {"late_picture": 1}
    assert buffer.take(4) == "four"


def test_skipped_frames_take_their_pictures_with_them() -> None:
    buffer: PictureBuffer[int] = PictureBuffer(8)
    for n in range(5):
        buffer.put(n, n)
    assert buffer.take(3) == 3
    assert buffer.drops == {"skipped_picture": 3}
    assert len(buffer) == 1


def test_of_too_many_pictures_the_oldest_leaves() -> None:
    buffer: PictureBuffer[int] = PictureBuffer(3)
    for n in range(10):
        buffer.put(n, n)
    assert len(buffer) == 3
    assert buffer.drops == {"picture_overflow": 7}
    assert buffer.take(7) == 7
