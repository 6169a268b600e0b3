"""A session's pipeline on virtual time: a whole call of seconds takes milliseconds."""

from __future__ import annotations

import heapq
import itertools
import tracemalloc
from collections.abc import Callable, Iterable
from functools import partial
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pytest

from pipeline.audio import NET_RATE, RATE, Int16, NetResampler
from pipeline.avatar import Avatar
from pipeline.avatar_pipeline import AUDIO_TICK, INFERENCE_S, MAX_REPEATS, AvatarPipeline
from pipeline.batcher import PatchRequest
from pipeline.compositor import compose
from pipeline.features import LOOKAHEAD_S, SILENCE, windows_of
from pipeline.playout import PlayoutClock

UInt8 = npt.NDArray[np.uint8]

ORIGIN = 5000.0
DELAY_MS = 200
FIRST = 4_000_000_000
"""The caller's first timestamp."""


class Packet(NamedTuple):
    arrival: float
    """Seconds of the session's timeline."""
    timestamp: int
    pcm: Int16


class Call:
    """Drives a pipeline as a session would. Patches come `latency_s` after they were asked for."""

    def __init__(
        self,
        avatar: Avatar,
        *,
        fps: int = 30,
        delay_ms: int = DELAY_MS,
        latency_s: Callable[[PatchRequest], float] = lambda request: 0.0,
        answer: Callable[[PatchRequest], UInt8 | str] | None = None,
    ) -> None:
        """answer: the patch for a request, or the name under which it is dropped; by default the avatar's model."""
        self.avatar = avatar
        self.fps = fps
        self.now = ORIGIN
        self.latency_s = latency_s
        self.answer = answer or (lambda request: request.model.infer([request.input])[0])
        self.requests: list[PatchRequest] = []
        self.pictures: dict[int, UInt8] = {}
        self.sound = np.empty((0, 2), np.int16)
        self.blind: Callable[[int], bool] = lambda tick: False
        """Video ticks that the pacer skips."""
        self._patches: list[tuple[float, int, PatchRequest]] = []
        self._order = itertools.count()
        self._video_tick = 0
        self.pipeline = AvatarPipeline(
            avatar,
            PlayoutClock(ORIGIN),
            self._submit,
            lambda: self.now,
            fps=fps,
            delay_ms=delay_ms,
            max_buffer_ms=1000,
        )

    def _submit(self, request: PatchRequest) -> None:
        self.requests.append(request)
        latency = self.latency_s(request)
        if latency:
            heapq.heappush(self._patches, (self.now + latency, next(self._order), request))
        else:
            self._finish(request)

    def _finish(self, request: PatchRequest) -> None:
        patch = self.answer(request)
        if isinstance(patch, str):
            request.dropped(patch)
        else:
            request.done(patch)

    def run(self, packets: Iterable[Packet], until: float) -> None:
        """Goes on to a moment of the timeline; what is due at the same time happens in the order of the pipeline."""
        heard = range(len(self.sound) // AUDIO_TICK, round(until * RATE) // AUDIO_TICK)
        seen = range(self._video_tick, round(until * self.fps))
        events: list[tuple[float, int, int, Callable[[], None]]] = [
            *((packet.arrival, 0, n, partial(self._arrive, packet)) for n, packet in enumerate(packets)),
            *((tick * AUDIO_TICK / RATE, 1, tick, self._play) for tick in heard),
            *((tick / self.fps, 2, tick, partial(self._show, tick)) for tick in seen),
        ]
        self._video_tick = round(until * self.fps)
        for at, _, _, act in sorted(events, key=lambda event: event[:3]):
            while self._patches and self._patches[0][0] <= ORIGIN + at:
                self.now, _, request = heapq.heappop(self._patches)
                self._finish(request)
            self.now = ORIGIN + at
            act()

    def _arrive(self, packet: Packet) -> None:
        self.pipeline.push_audio(packet.pcm, packet.timestamp, self.now)

    def _play(self) -> None:
        self.sound = np.concatenate([self.sound, self.pipeline.audio_at(len(self.sound) // AUDIO_TICK)])

    def _show(self, tick: int) -> None:
        if not self.blind(tick):
            self.pictures[tick] = self.pipeline.frame_at(tick, self.now)

    @property
    def drops(self) -> dict[str, int]:
        return self.pipeline.stats(self.now).drops

    def idle(self, tick: int) -> UInt8:
        return compose(self.avatar, self.avatar.background_index(tick / self.fps), None)

    def is_idle(self, tick: int) -> bool:
        return bool(np.array_equal(self.pictures[tick], self.idle(tick)))

    def speaking_ticks(self) -> list[int]:
        return [tick for tick in self.pictures if not self.is_idle(tick)]

    def mouth(self, picture: UInt8, tick: int) -> float:
        """Luma in the middle of the box."""
        x0, y0, x1, y1 = self.avatar.boxes[self.avatar.background_index(tick / self.fps)]
        return float(picture[y0 + 4 : y1 - 4, x0 + 4 : x1 - 4].mean())


def packets_of(pcm: Int16, start: float = 0.0, path: float = 0.02, first: int = FIRST) -> list[Packet]:
    """Sound spoken from a moment on: 20 ms packets that leave when their last sample has been spoken."""
    return [
        Packet(start + (at + AUDIO_TICK) / RATE + path, first + at, pcm[at : at + AUDIO_TICK])
        for at in range(0, len(pcm) // AUDIO_TICK * AUDIO_TICK, AUDIO_TICK)
    ]


def silence(seconds: float) -> Int16:
    return np.zeros((int(seconds * RATE), 2), np.int16)


def speech(seconds: float, seed: int = 0) -> Int16:
    """Noise that swells, within what the tiny model can show. No sample is 0: what was played can be counted."""
    rng = np.random.default_rng(seed)
    count = int(seconds * RATE)
    loudness = 400.0 * 10 ** (0.4 * (1.0 - np.cos(np.arange(count) * 2 * np.pi * 1.3 / RATE)))
    noise = rng.uniform(0.2, 1.0, count) * np.where(rng.random(count) < 0.5, -1.0, 1.0)
    wave = np.rint(noise * loudness).astype(np.int16)
    return np.stack([wave, wave // 2 + np.sign(wave)], axis=1).astype(np.int16)


WHITE = np.full((16, 16, 3), 255, np.uint8)


def played_at(packet: Packet, delay_ms: int = DELAY_MS) -> int:
    """The timeline sample at which a packet begins that arrived as it should."""
    return PlayoutClock(ORIGIN).sample_at(ORIGIN + packet.arrival) + delay_ms * RATE // 1000


def expected_mouths(call: Call, sound: Int16 | None = None) -> npt.NDArray[np.float64]:
    """Luma of the tiny model's patch for every frame, computed from the sound that was played (or another)."""
    heard = NetResampler().convert(call.sound if sound is None else sound)
    level = np.clip(255 * (windows_of(heard, call.fps).mean(axis=(1, 2)) + 0.5), 0, 255)
    return np.asarray(16 + level * 219 / 255, np.float64)


def assert_in_sync(call: Call, ticks: Iterable[int], atol: float = 2.5, sound: Int16 | None = None) -> None:
    wanted = expected_mouths(call, sound)
    for tick in ticks:
        assert call.mouth(call.pictures[tick], tick) == pytest.approx(wanted[tick], abs=atol), f"frame {tick}"


@pytest.mark.parametrize("delay_ms", [160, 200, 350])
def test_sound_comes_out_one_delay_after_it_arrived_to_the_bit(tiny: Avatar, delay_ms: int) -> None:
    call, spoken = Call(tiny, delay_ms=delay_ms), speech(3.0)
    packets = packets_of(spoken, start=0.511)
    call.run(packets, 5.0)
    start = played_at(packets[0], delay_ms)
    np.testing.assert_array_equal(call.sound[:start], 0)
    np.testing.assert_array_equal(call.sound[start : start + len(spoken)], spoken)
    np.testing.assert_array_equal(call.sound[start + len(spoken) :], 0)
    assert call.drops == {}
    assert call.pipeline.stats(call.now).delay_ms == delay_ms


@pytest.mark.parametrize("fps", [5, 15, 24, 25, 30, 60])
@pytest.mark.parametrize("start", [0.0, 0.5113])
def test_every_picture_belongs_to_the_sound_of_its_own_instant(tiny: Avatar, fps: int, start: float) -> None:
    call = Call(tiny, fps=fps)
    packets = packets_of(speech(3.0), start=start)
    call.run(packets, 5.0)
    begin = played_at(packets[0]) / RATE
    ticks = range(int(begin * fps) + 5, int((begin + 2.9) * fps))
    wanted = expected_mouths(call)[list(ticks)]
    assert wanted.max() - wanted.min() > 60, "the test's own speech must move the mouth"
    # One frame off would show.
    assert np.abs(np.diff(wanted)).mean() > 2.0
    assert_in_sync(call, ticks)


@pytest.mark.parametrize("fps", [25, 30])
@pytest.mark.parametrize("start", [0.3, 0.317, 0.3333])
def test_a_click_reaches_the_frames_around_its_own_instant(tiny: Avatar, fps: int, start: float) -> None:
    call, spoken = Call(tiny, fps=fps, answer=lambda request: WHITE), silence(2.0)
    spoken[RATE : RATE + 24] = 30_000
    packets = packets_of(spoken, start=start)
    call.run(packets, 4.0)
    played = int(np.abs(call.sound[:, 0]).argmax()) / RATE
    assert played == (played_at(packets[0]) + RATE) / RATE
    speaking = call.speaking_ticks()
    # The net hears 105 ms ahead, less the edge of a mel frame's window, and 240 ms back, and then the patch fades.
    assert played - LOOKAHEAD_S - 1 / fps <= speaking[0] / fps <= played - LOOKAHEAD_S + 0.01 + 1 / fps
    last = played + 0.23 + 3 / fps
    assert last - 0.01 - 1 / fps <= speaking[-1] / fps <= last + 0.01 + 1 / fps


@pytest.mark.parametrize("fps", [25, 30])
def test_a_patch_is_made_for_the_background_it_is_shown_on(tiny: Avatar, fps: int) -> None:
    # A net that changes nothing: every background is of another grey, so a wrong one would show.
    call = Call(tiny, fps=fps, answer=lambda request: request.input.crop)
    call.run(packets_of(speech(2.0)), 3.0)
    assert len(call.requests) > 1.9 * fps
    for tick, picture in call.pictures.items():
        np.testing.assert_allclose(picture.astype(int), call.idle(tick), atol=1)


def test_sound_leaves_its_mark_on_the_net_in_time_for_the_deadline(tiny: Avatar) -> None:
    call = Call(tiny)
    call.run(packets_of(speech(2.0), path=0.03), 3.0)
    assert len(call.requests) > 60
    for request in call.requests:
        assert request.deadline - request.submitted >= INFERENCE_S - 0.002
        assert not request.input.crop.flags.writeable


def test_silence_shows_the_idle_loop_to_the_bit(tiny: Avatar) -> None:
    call = Call(tiny)
    call.run(packets_of(silence(3.0)), 4.0)
    assert call.speaking_ticks() == []
    assert call.requests == []
    assert not call.pipeline.speaking


def test_a_caller_who_never_sends_sees_the_idle_loop(tiny: Avatar) -> None:
    call = Call(tiny)
    call.run([], 2.0)
    assert call.speaking_ticks() == []
    np.testing.assert_array_equal(call.sound, 0)
    assert call.pipeline.stats(call.now).gap_ms == 0


def test_the_mouth_fades_in_before_the_sound_and_out_after_it(tiny: Avatar) -> None:
    call = Call(tiny, answer=lambda request: WHITE)
    packets = packets_of(np.concatenate([silence(1.0), speech(1.0), silence(1.0)]))
    call.run(packets, 4.0)
    weights = []
    for tick, picture in call.pictures.items():
        idle = call.mouth(call.idle(tick), tick)
        weights.append((call.mouth(picture, tick) - idle) / (235 - idle))
    steps = np.rint(4 * np.array(weights)) / 4
    np.testing.assert_allclose(weights, steps, atol=0.02)
    assert np.abs(np.diff(steps)).max() == 0.25
    assert np.count_nonzero(np.diff(steps)) == 8
    begin = played_at(packets[0]) / RATE + 1.0
    assert steps[int(begin * 30) + 1] == 1.0
    assert steps[int((begin + 1.0) * 30)] == 1.0
    assert np.all(steps[int((begin + 1.5) * 30) :] == 0.0)


def test_lost_packets_leave_silence_and_everything_else_in_its_place(tiny: Avatar) -> None:
    call, spoken = Call(tiny), speech(4.0)
    packets = packets_of(spoken)
    lost = {30, 60, 61, 62, *range(100, 115)}
    call.run([packet for n, packet in enumerate(packets) if n not in lost], 5.0)
    start = played_at(packets[0])
    wanted = spoken.copy()
    for n in lost:
        wanted[n * AUDIO_TICK : (n + 1) * AUDIO_TICK] = 0
    np.testing.assert_array_equal(call.sound[start : start + len(spoken)], wanted)
    begin = start / RATE
    # For the net, too, lost sound was silence, at the same instants.
    assert_in_sync(call, range(int((begin + 0.1) * 30), int((begin + 3.9) * 30)), atol=4.0)
    assert call.drops == {}


def test_packets_in_another_order_arrive_as_late_ones_did_or_not_at_all(tiny: Avatar) -> None:
    # The jitter buffer hands on nothing older than what it has handed on; the pipeline must survive it anyway.
    call, spoken = Call(tiny), speech(2.0)
    packets = packets_of(spoken)
    packets[40], packets[41] = (
        packets[40]._replace(arrival=packets[41].arrival),
        packets[41]._replace(arrival=packets[40].arrival),
    )
    call.run(sorted(packets, key=lambda packet: packet.arrival), 3.0)
    assert call.drops == {"overlapping_sound": AUDIO_TICK, "unheard_sound": AUDIO_TICK}


def test_jitter_within_the_delay_is_not_heard(tiny: Avatar) -> None:
    rng = np.random.default_rng(0)
    call, spoken = Call(tiny), speech(6.0)
    packets = packets_of(spoken)
    late = np.concatenate([[0.0], rng.uniform(0.0, 0.05, len(packets) - 1)])
    arrivals = np.maximum.accumulate([packet.arrival for packet in packets] + late)
    call.run([p._replace(arrival=at) for p, at in zip(packets, arrivals, strict=True)], 7.0)
    start = played_at(packets[0])
    np.testing.assert_array_equal(call.sound[start : start + len(spoken)], spoken)
    assert_in_sync(call, range(start * 30 // RATE + 3, start * 30 // RATE + 175))
    assert call.drops == {}


@pytest.mark.parametrize("stall_s", [0.075, 0.0811, 0.15])
def test_sound_too_late_for_the_net_is_played_all_the_same(tiny: Avatar, stall_s: float) -> None:
    call, spoken = Call(tiny), speech(3.0)
    packets = packets_of(spoken)
    until = packets[75].arrival + stall_s
    call.run([p._replace(arrival=max(p.arrival, until)) if n >= 75 else p for n, p in enumerate(packets)], 4.0)
    start = played_at(packets[0])
    np.testing.assert_array_equal(call.sound[start : start + len(spoken)], spoken)
    # The net went past some of it with silence, in the middle of a packet, and then went on in time.
    unheard = call.drops["unheard_sound"]
    assert call.drops == {"unheard_sound": unheard}
    assert unheard % AUDIO_TICK
    heard = call.sound.copy()
    heard[start + 75 * AUDIO_TICK :][:unheard] = 0
    assert_in_sync(call, range(start * 30 // RATE + 5, start * 30 // RATE + 85), sound=heard)


def test_lost_sound_is_counted_and_pauses_are_not(tiny: Avatar) -> None:
    call, packets = Call(tiny), packets_of(speech(3.0))
    lost = {30, 60, 61, 62, *range(100, 115)}
    call.run([packet for n, packet in enumerate(packets) if n not in lost], 3.0)
    assert call.pipeline.stats(call.now).gap_ms == 20 * len(lost)
    call.run([], 6.0)
    # Not knowing whether more comes, it counts the first second.
    before = call.pipeline.stats(call.now).gap_ms
    assert before <= 20 * len(lost) + 1000
    call.run(packets_of(speech(1.0), start=60.0, first=FIRST + 60 * RATE), 61.0)
    assert call.pipeline.stats(call.now).gap_ms == before


# Patches that come late, or never.


def test_a_patch_that_comes_just_in_time_is_shown(tiny: Avatar) -> None:
    prompt, slow = (
        Call(tiny, latency_s=lambda request, rest=rest: request.deadline - request.submitted - rest)
        for rest in (INFERENCE_S / 2, 1e-6)
    )
    for call in (prompt, slow):
        call.run(packets_of(speech(1.0)), 2.0)
    assert all(np.array_equal(prompt.pictures[tick], slow.pictures[tick]) for tick in prompt.pictures)
    assert slow.drops == {}


def test_latencies_are_those_of_the_patches(tiny: Avatar) -> None:
    call = Call(tiny, latency_s=lambda request: 0.0125)
    call.run(packets_of(speech(1.0)), 2.0)
    stats = call.pipeline.stats(call.now)
    assert stats.windows == len(call.requests) == len(stats.latency_s)
    np.testing.assert_allclose(stats.latency_s, 0.0125, atol=1e-6)


@pytest.mark.parametrize("late", [True, False], ids=["late", "dropped"])
@pytest.mark.parametrize("missing", [1, MAX_REPEATS])
def test_a_few_missing_patches_repeat_the_last_picture(tiny: Avatar, late: bool, missing: int) -> None:
    """A shut mouth for one frame in the middle of a word is worse than a mouth that rests for it."""
    gone = range(30, 30 + missing)

    def is_gone(request: PatchRequest) -> bool:
        return call.requests.index(request) in gone

    call = Call(
        tiny,
        latency_s=lambda request: 0.5 if late and is_gone(request) else 0.0,
        answer=lambda request: "inference_expired" if not late and is_gone(request) else WHITE,
    )
    call.run(packets_of(speech(2.0)), 3.0)
    first = round((call.requests[30].deadline + 0.005 - ORIGIN) * 30)
    for tick in range(first, first + missing):
        np.testing.assert_array_equal(call.pictures[tick], call.pictures[first - 1])
    assert not call.is_idle(first + missing)
    assert not np.array_equal(call.pictures[first + missing], call.pictures[first - 1])
    assert call.drops == {"picture_repeated": missing, "late_picture" if late else "inference_expired": missing}


@pytest.mark.parametrize("late", [True, False], ids=["late", "dropped"])
def test_when_no_more_patches_come_the_idle_loop_goes_on(tiny: Avatar, late: bool) -> None:
    call = Call(
        tiny,
        latency_s=lambda request: 0.5 if late and call.requests.index(request) >= 30 else 0.0,
        answer=lambda request: "inference_failed" if call.requests.index(request) >= 30 else WHITE,
    )
    call.run(packets_of(speech(2.0)), 4.0)
    first = round((call.requests[30].deadline + 0.005 - ORIGIN) * 30)
    for tick in range(first, first + MAX_REPEATS):
        np.testing.assert_array_equal(call.pictures[tick], call.pictures[first - 1])
    assert all(call.is_idle(tick) for tick in range(first + MAX_REPEATS, 120))
    assert call.drops["picture_repeated"] == MAX_REPEATS


def test_a_first_patch_that_is_late_does_not_stop_the_idle_loop_for_long(tiny: Avatar) -> None:
    call = Call(tiny, latency_s=lambda request: 10.0)
    call.run(packets_of(speech(2.0)), 4.0)
    stopped = [tick for tick in call.pictures if not call.is_idle(tick)]
    assert len(stopped) <= MAX_REPEATS


def test_skipped_video_ticks_cost_their_own_pictures_only(tiny: Avatar) -> None:
    call = Call(tiny)
    call.blind = lambda tick: 30 <= tick < 40
    call.run(packets_of(speech(2.0)), 2.5)
    assert_in_sync(call, [*range(12, 30), *range(40, 60)])
    assert call.drops == {"skipped_picture": 10}


# The caller stops, comes back, drifts, stalls.


@pytest.mark.parametrize("fps", [5, 15, 24, 25, 30, 50])
def test_a_caller_who_stops_in_the_middle_of_a_word_closes_the_mouth(tiny: Avatar, fps: int) -> None:
    call, spoken = Call(tiny, fps=fps, latency_s=lambda request: 0.008), speech(1.5)
    packets = packets_of(spoken)
    call.run(packets, 5.0)
    end = played_at(packets[0]) / RATE + 1.5
    speaking = call.speaking_ticks()
    assert end + 0.22 - 1 / fps <= speaking[-1] / fps <= end + 0.24 + 4 / fps
    assert_in_sync(call, range(int((end - 1.5) * fps) + 5, int((end + 0.2) * fps)))
    # The patches that close it are asked for in time, though no packet brings their sound.
    assert call.drops == {}
    assert not call.pipeline.speaking
    asked = len(call.requests)
    call.run([], 8.0)
    assert len(call.requests) == asked


def test_after_a_pause_everything_is_in_time_again(tiny: Avatar) -> None:
    call = Call(tiny)
    spoken = [speech(1.0, seed=n) for n in range(3)]
    starts = (0.2, 4.517, 7.9)
    packets = []
    for start, piece in zip(starts, spoken, strict=True):
        # As a browser that sends nothing while it is muted: timestamps count on.
        packets.append(packets_of(piece, start=start, first=FIRST + round((start - starts[0]) * RATE)))
    call.run(itertools.chain(*packets), 10.0)
    shift = played_at(packets[0][0]) - round(starts[0] * RATE)
    for start, piece in zip(starts, spoken, strict=True):
        begin = round(start * RATE) + shift
        np.testing.assert_array_equal(call.sound[begin : begin + len(piece)], piece)
        assert_in_sync(call, range(begin * 30 // RATE + 4, begin * 30 // RATE + 29))
    for tick in (*range(60, 120), *range(200, 228)):
        assert call.is_idle(tick)
    assert call.drops == {}


def test_a_stall_of_the_event_loop_costs_the_net_no_sound(tiny: Avatar) -> None:
    call, packets = Call(tiny), packets_of(speech(3.0), start=0.5)
    call.run([p for p in packets if p.arrival < 2.0], 2.0)
    # The loop wakes up 140 ms later: ticks first, then the packets that came meanwhile.
    call.now = ORIGIN + 2.14
    call.pipeline.frame_at(64, call.now)
    call.pipeline.audio_at(107)
    for packet in packets:
        if 2.0 <= packet.arrival < 2.14:
            call.pipeline.push_audio(packet.pcm, packet.timestamp, call.now)
    for tick in range(65, 75):
        now = ORIGIN + tick / 30
        for packet in packets:
            if call.now < ORIGIN + packet.arrival <= now:
                call.pipeline.push_audio(packet.pcm, packet.timestamp, now)
        call.now = now
        call.pipeline.frame_at(tick, now)
    assert "unheard_sound" not in call.drops
    assert "late_sound" not in call.drops


def test_the_caller_may_start_his_timestamps_anew(tiny: Avatar) -> None:
    call, spoken = Call(tiny), speech(1.0)
    packets = packets_of(speech(1.0)) + packets_of(spoken, start=3.0, first=17)
    call.run(packets, 6.0)
    # A quarter of a second passes before it is clear that these are not late packets.
    lost = call.drops["late_sound"]
    assert 0 < lost <= RATE // 4
    begin = played_at(packets[50]) + lost
    np.testing.assert_array_equal(call.sound[begin : begin + len(spoken) - lost], spoken[lost:])
    assert_in_sync(call, range(begin * 30 // RATE + 10, begin * 30 // RATE + 20))


@pytest.mark.parametrize("ppm", [-1000, 1000])
def test_a_caller_whose_clock_drifts_stays_in_time_and_in_sync(tiny: Avatar, ppm: int) -> None:
    phrase = np.concatenate([speech(2.5), silence(0.5)])
    pcm = np.concatenate([phrase] * 8)
    packets = packets_of(pcm)
    call = Call(tiny)
    call.run([p._replace(arrival=p.arrival * (1 + ppm * 1e-6)) for p in packets], len(pcm) / RATE)
    stats = call.pipeline.stats(call.now)
    assert 1 <= stats.moves["drift"] <= 3
    assert set(stats.moves) == {"drift"}
    assert set(call.drops) <= {"overlapping_sound", "unheard_sound"}
    last_phrase = 21.0 + 0.04 + DELAY_MS / 1000
    assert_in_sync(call, range(int((last_phrase + 0.2) * 30), int((last_phrase + 2.4) * 30)))
    # 24 s at 1000 ppm are 24 ms.
    assert abs(stats.buffered_ms - DELAY_MS) < 40


def test_after_a_stall_the_call_recovers_and_every_sample_is_accounted_for(tiny: Avatar) -> None:
    pcm = speech(10.0)
    packets = [p._replace(arrival=4.0) if 3.0 < p.arrival < 4.0 else p for p in packets_of(pcm)]
    call = Call(tiny)
    call.run(packets, 12.0)
    played = int(np.count_nonzero(call.sound[:, 0]))
    dropped = sum(count for name, count in call.drops.items() if name != "unheard_sound")
    assert played + dropped == len(pcm)
    assert set(call.drops) <= {"late_sound", "overlapping_sound", "sound_overflow", "unheard_sound"}
    # From three seconds after it on, all is as before.
    begin, end = 7 * RATE, 10 * RATE
    assert np.all(call.sound[begin:end, 0] != 0)
    assert_in_sync(call, range(7 * 30 + 10, 10 * 30))
    assert abs(call.pipeline.stats(ORIGIN + 9.0).delay_ms - DELAY_MS) < 1


def test_every_window_ends_as_a_picture_or_under_a_name(tiny: Avatar) -> None:
    rng = np.random.default_rng(7)
    call = Call(
        tiny,
        latency_s=lambda request: float(rng.choice([0.0, 0.01, 0.04, 0.2])),
        answer=lambda request: "inference_failed" if rng.random() < 0.05 else WHITE,
    )
    call.blind = lambda tick: tick % 11 == 0
    packets = [packet for packet in packets_of(speech(6.0)) if rng.random() > 0.03]
    call.run(packets, 8.0)
    drops = call.drops
    shown = len(call.speaking_ticks()) - drops["picture_repeated"]
    named = sum(drops[name] for name in ("late_picture", "skipped_picture", "inference_failed"))
    assert shown + named == call.pipeline.stats(call.now).windows


def test_nothing_piles_up_while_nobody_looks_or_listens(tiny: Avatar) -> None:
    turn = itertools.cycle(["inference_failed", WHITE])
    call = Call(tiny, answer=lambda request: next(turn))
    pcm = speech(2.0)
    for packet in packets_of(pcm):
        call.now = ORIGIN + packet.arrival
        call.pipeline.push_audio(packet.pcm, packet.timestamp, call.now)
    tracemalloc.start()
    try:
        for n in range(1, 20):
            for packet in packets_of(pcm, start=2.0 * n, first=FIRST + n * len(pcm)):
                call.now = ORIGIN + packet.arrival
                call.pipeline.push_audio(packet.pcm, packet.timestamp, call.now)
                call.requests.clear()
        assert tracemalloc.get_traced_memory()[0] < 1_000_000
    finally:
        tracemalloc.stop()
    stats = call.pipeline.stats(call.now)
    assert stats.buffered_ms <= 1000
    assert stats.drops["picture_overflow"] > 0


def test_a_long_pause_that_nobody_watched_costs_nothing(tiny: Avatar) -> None:
    call = Call(tiny)
    call.run(packets_of(speech(1.0)), 1.0)
    hour = 3600
    tracemalloc.start()
    try:
        for packet in packets_of(speech(1.0), start=float(hour), first=FIRST + hour * RATE):
            call.now = ORIGIN + packet.arrival
            call.pipeline.push_audio(packet.pcm, packet.timestamp, call.now)
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()
    tick = (hour + 1) * 30
    frame = call.pipeline.frame_at(tick, ORIGIN + tick / 30)
    assert not np.array_equal(frame, call.idle(tick))


# What it hands out.


def test_pictures_belong_to_the_caller(tiny: Avatar) -> None:
    call = Call(tiny)
    call.run(packets_of(speech(1.0)), 1.0)
    for tick in range(30, 40):
        picture = call.pipeline.frame_at(tick, ORIGIN + tick / 30)
        picture[...] = 0
    assert tiny.backgrounds.min(axis=(1, 2)).max() > 0


def test_stats_of_a_speaking_caller(tiny: Avatar) -> None:
    call = Call(tiny)
    call.run(packets_of(speech(1.46)), 1.5)
    stats = call.pipeline.stats(ORIGIN + 1.5)
    assert stats.speaking
    assert stats.windows == len(call.requests)
    assert stats.buffered_ms == pytest.approx(DELAY_MS, abs=20)
    assert stats.drops == {}
    assert stats.moves == {}


def test_the_net_hears_silence_as_silence(tiny: Avatar) -> None:
    call = Call(tiny)
    call.run(packets_of(np.concatenate([silence(0.5), speech(0.5), silence(0.5)])), 2.0)
    first = call.requests[0].input.window
    assert np.all(first[:25] == np.float32(SILENCE))
    assert first.shape == (32, 80)
    assert NET_RATE * 3 == RATE
