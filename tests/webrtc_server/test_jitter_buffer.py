from __future__ import annotations

import numpy as np
import pytest
from aiortc.rtp import RtpPacket

from webrtc_server.jitter_buffer import ImmediateJitterBuffer


def packet(number: int) -> RtpPacket:
    packet = RtpPacket(sequence_number=number % 65536, timestamp=number * 960 % 2**32)
    packet._data = str(number).encode()  # type: ignore[attr-defined]  # set by aiortc's depayloading
    return packet


def through(buffer: ImmediateJitterBuffer, numbers: list[int]) -> list[int]:
    """The packets handed on, by number."""
    handed_on = []
    for number in numbers:
        key_frame_wanted, frame = buffer.add(packet(number))
        assert not key_frame_wanted
        if frame is not None:
            assert frame.timestamp == number * 960 % 2**32
            handed_on.append(int(frame.data))
    return handed_on


@pytest.fixture
def buffer() -> ImmediateJitterBuffer:
    return ImmediateJitterBuffer()


@pytest.mark.parametrize("first", [0, 4711, 65_530])
def test_packets_in_order_are_handed_on_at_once(buffer: ImmediateJitterBuffer, first: int) -> None:
    numbers = list(range(first, first + 50))
    assert through(buffer, numbers) == numbers
    assert (buffer.received, buffer.late) == (50, 0)


def test_a_loss_delays_nothing(buffer: ImmediateJitterBuffer) -> None:
    numbers = [1, 2, 3, 7, 8, 60, 61]
    assert through(buffer, numbers) == numbers
    assert buffer.late == 0


def test_a_packet_that_was_overtaken_is_dropped(buffer: ImmediateJitterBuffer) -> None:
    assert through(buffer, [1, 2, 4, 3, 5]) == [1, 2, 4, 5]
    assert (buffer.received, buffer.late) == (5, 1)


def test_a_packet_that_comes_twice_is_dropped(buffer: ImmediateJitterBuffer) -> None:
    assert through(buffer, [1, 2, 2, 1, 3]) == [1, 2, 3]
    assert buffer.late == 2


def test_sequence_numbers_go_round(buffer: ImmediateJitterBuffer) -> None:
    assert through(buffer, [65_534, 65_535, 65_537, 65_536, 65_535, 65_538]) == [65_534, 65_535, 65_537, 65_538]
    assert buffer.late == 2


def test_far_behind_is_a_new_stream(buffer: ImmediateJitterBuffer) -> None:
    restart = ImmediateJitterBuffer.RESTART
    assert through(buffer, [1000, 1001 - restart + 1, 1000 - restart, 1001 - restart]) == [
        1000,
        1000 - restart,
        1001 - restart,
    ]
    assert buffer.late == 1


def test_far_ahead_is_a_long_loss(buffer: ImmediateJitterBuffer) -> None:
    assert through(buffer, [1, 30_000, 30_001]) == [1, 30_000, 30_001]


@pytest.mark.parametrize("seed", range(5))
def test_however_they_are_shuffled_what_is_handed_on_ascends(buffer: ImmediateJitterBuffer, seed: int) -> None:
    rng = np.random.default_rng(seed)
    numbers = np.arange(65_000, 66_500)
    shuffled = [int(n) for n in numbers[np.argsort(numbers + rng.uniform(0, 30, len(numbers)))] if rng.random() > 0.1]
    handed_on = through(buffer, shuffled)
    assert handed_on == sorted(set(handed_on))
    assert len(handed_on) + buffer.late == buffer.received == len(shuffled)
