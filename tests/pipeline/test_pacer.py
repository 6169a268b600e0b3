from __future__ import annotations

from fractions import Fraction

import pytest

from pipeline.pacer import Pacer

ORIGIN = 1234.5


def run(pacer: Pacer, now: float, until: float, busy: float = 0.0) -> list[tuple[int, float]]:
    """Serves ticks as a punctual owner would who needs `busy` seconds for each: (tick, when)."""
    served = []
    while True:
        tick, wait = pacer.next(now)
        now += wait
        if now >= until:
            return served
        served.append((tick, now))
        now += busy


@pytest.mark.parametrize("rate", [30, 50, Fraction(30_000, 1001), Fraction(48_000, 960), 7])
def test_ticks_leave_at_their_instants_for_an_hour(rate: Fraction | int) -> None:
    served = run(Pacer(rate, ORIGIN), ORIGIN, ORIGIN + (3600 if rate == 7 else 60))
    assert [tick for tick, _ in served] == list(range(len(served)))
    assert all(abs(when - (ORIGIN + tick / rate)) < 1e-6 for tick, when in served)


def test_a_busy_owner_who_keeps_up_misses_nothing() -> None:
    pacer = Pacer(30, ORIGIN)
    served = run(pacer, ORIGIN, ORIGIN + 10, busy=0.9 / 30)
    assert len(served) == 300
    assert pacer.skipped == 0


def test_a_late_tick_is_still_served_until_the_next_one_is_due() -> None:
    pacer = Pacer(50, ORIGIN)
    assert pacer.next(ORIGIN) == (0, 0.0)
    assert pacer.next(ORIGIN + 0.0399) == (1, 0.0)
    assert pacer.skipped == 0


def test_after_a_stall_it_skips_and_never_bursts() -> None:
    pacer = Pacer(50, ORIGIN)
    assert pacer.next(ORIGIN)[0] == 0
    # 1.01 s later ticks 1 to 49 are missed, and tick 50 is 10 ms late.
    assert pacer.next(ORIGIN + 1.01) == (50, 0.0)
    assert pacer.skipped == 49
    tick, wait = pacer.next(ORIGIN + 1.01)
    assert tick == 51
    assert wait == pytest.approx(0.01)
    assert pacer.skipped == 49


def test_sound_catches_up_with_the_latest_of_what_it_missed() -> None:
    pacer = Pacer(50, 0.0, catch_up=3)
    assert pacer.next(1.0) == (50, 0.0)
    # 200 ms later ten packets are due: the last four leave at once, then it is on time again.
    served = [pacer.next(1.2) for _ in range(4)]
    assert served == [(tick, 0.0) for tick in (57, 58, 59, 60)]
    assert pacer.next(1.2) == (61, pytest.approx(0.02))
    assert pacer.skipped == 6


def test_an_owner_too_slow_for_the_rate_never_catches_up_in_bursts() -> None:
    pacer, now, served = Pacer(30, ORIGIN), ORIGIN, []
    for _ in range(40):
        tick, wait = pacer.next(now)
        served.append(tick)
        now += wait + 1.5 / 30
    assert served == [n * 3 // 2 for n in range(40)]
    assert pacer.skipped == served[-1] + 1 - len(served)


def test_ticks_before_the_first_call_are_not_missed_ones() -> None:
    pacer = Pacer(30, ORIGIN)
    assert pacer.next(ORIGIN + 5.0) == (150, 0.0)
    assert pacer.skipped == 0


def test_before_the_origin_it_waits_for_tick_0() -> None:
    assert Pacer(30, ORIGIN).next(ORIGIN - 2.5) == (0, 2.5)


def test_the_same_moment_twice_gives_two_ticks() -> None:
    pacer = Pacer(30, ORIGIN)
    assert pacer.next(ORIGIN)[0] == 0
    tick, wait = pacer.next(ORIGIN)
    assert tick == 1
    assert wait == pytest.approx(1 / 30)


def test_rounding_never_loses_a_tick_that_is_just_due() -> None:
    # Waking at the very instant asked for must give that tick, however the floats round.
    for origin in (0.0, 0.1, 12_345.678, 1e6 + 1 / 3):
        pacer = Pacer(30, origin)
        now = origin
        for expected in range(1000):
            tick, wait = pacer.next(now)
            assert tick == expected
            now += wait
        assert pacer.skipped == 0
