from __future__ import annotations

import pytest

from webrtc_server.liveness import Liveness

OPENED = 1000.0


@pytest.fixture
def liveness() -> Liveness:
    return Liveness(OPENED, connect_timeout_s=15, silence_timeout_s=10, max_duration_s=0)


def test_a_session_has_its_time_to_connect(liveness: Liveness) -> None:
    assert liveness.verdict(0, OPENED + 15) is None
    assert liveness.verdict(0, OPENED + 15.1) == "not connected after 15 s"


def test_packets_alone_are_no_connection(liveness: Liveness) -> None:
    for second in range(16):
        assert liveness.verdict(100 * second, OPENED + second) is None
    assert liveness.verdict(2000, OPENED + 15.5) == "not connected after 15 s"


def test_connecting_at_the_last_moment_is_in_time(liveness: Liveness) -> None:
    liveness.connected(OPENED + 14.9)
    assert liveness.verdict(0, OPENED + 20) is None


def test_a_peer_that_sends_lives(liveness: Liveness) -> None:
    liveness.connected(OPENED + 1)
    for second in range(1, 10_000, 9):
        assert liveness.verdict(second, OPENED + 1 + second) is None


def test_a_peer_that_falls_silent_is_gone(liveness: Liveness) -> None:
    liveness.connected(OPENED + 1)
    assert liveness.verdict(5000, OPENED + 20 - 10) is None
    assert liveness.verdict(5000, OPENED + 20) is None
    assert liveness.verdict(5000, OPENED + 20.1) == "nothing from the peer for 10 s"


def test_a_peer_that_never_sends_is_gone_as_well(liveness: Liveness) -> None:
    liveness.connected(OPENED + 3)
    assert liveness.verdict(0, OPENED + 13) is None
    assert liveness.verdict(0, OPENED + 13.5) == "nothing from the peer for 10 s"


def test_there_is_a_longest_session_where_one_is_configured() -> None:
    liveness = Liveness(OPENED, connect_timeout_s=15, silence_timeout_s=10, max_duration_s=60)
    liveness.connected(OPENED)
    for second in range(61):
        assert liveness.verdict(second + 1, OPENED + second) is None
    assert liveness.verdict(100, OPENED + 60.5) == "open for 60 s, the longest allowed"
