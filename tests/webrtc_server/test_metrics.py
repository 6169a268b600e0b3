from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from pipeline.batcher import LATENCY_BUCKETS_S, BatcherStats
from webrtc_server.metrics import Metrics

NOW = 77.0


def session(state: str, **drops: int) -> Any:
    def drops_at(now: float) -> dict[str, int]:
        assert now == NOW
        return drops

    return SimpleNamespace(state=state, drops=drops_at)


@pytest.fixture
def manager() -> Any:
    return SimpleNamespace(
        sessions=[session("connected", late_sound=960, late_packet=2), session("connecting", late_packet=1)],
        max_sessions=4,
        opened=7,
        refused=Counter(ServerFull=3),
        ended=Counter({"deleted": 4, "the connection failed": 1}),
        retired_drops=Counter(late_packet=10, sound_overflow=5),
    )


@pytest.fixture
def batcher() -> Any:
    counts = tuple(range(1, len(LATENCY_BUCKETS_S) + 2))
    return SimpleNamespace(stats=lambda: BatcherStats(3, counts[-1], 5, 1.25, counts, 0.5))


def samples(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    body, content_type = metrics.render()
    assert content_type.startswith("text/plain")
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
    }


def value(found: dict[Any, float], metric: str, **labels: str) -> float:
    return found[(metric, tuple(sorted(labels.items())))]


@pytest.fixture
def found(manager: Any, batcher: Any) -> dict[Any, float]:
    return samples(Metrics(manager, batcher, lambda: NOW))


def test_sessions_by_state(found: dict[Any, float]) -> None:
    assert value(found, "avatar_sessions", state="connected") == 1
    assert value(found, "avatar_sessions", state="connecting") == 1
    assert value(found, "avatar_sessions", state="closing") == 0
    assert value(found, "avatar_sessions_limit") == 4


def test_how_sessions_began_and_ended(found: dict[Any, float]) -> None:
    assert value(found, "avatar_sessions_opened_total") == 7
    assert value(found, "avatar_offers_refused_total", error="ServerFull") == 3
    assert value(found, "avatar_sessions_ended_total", reason="deleted") == 4
    assert value(found, "avatar_sessions_ended_total", reason="the connection failed") == 1


def test_drops_count_the_living_and_the_gone(found: dict[Any, float]) -> None:
    assert value(found, "avatar_drops_total", name="late_packet") == 13
    assert value(found, "avatar_drops_total", name="late_sound") == 960
    assert value(found, "avatar_drops_total", name="sound_overflow") == 5


def test_inference(found: dict[Any, float]) -> None:
    windows = len(LATENCY_BUCKETS_S) + 1
    assert value(found, "avatar_inference_windows_total") == windows
    assert value(found, "avatar_inference_batches_total") == 5
    assert value(found, "avatar_inference_busy_seconds_total") == 1.25
    assert value(found, "avatar_inference_queued") == 3
    assert value(found, "avatar_inference_latency_seconds_bucket", le="0.005") == 1
    assert value(found, "avatar_inference_latency_seconds_bucket", le="+Inf") == windows
    assert value(found, "avatar_inference_latency_seconds_count") == windows
    assert value(found, "avatar_inference_latency_seconds_sum") == 0.5


def test_the_process_itself(found: dict[Any, float]) -> None:
    assert value(found, "process_resident_memory_bytes") > 0
    assert value(found, "process_open_fds") > 0


def test_a_server_that_has_seen_nobody(batcher: Any) -> None:
    manager = SimpleNamespace(
        sessions=[], max_sessions=1, opened=0, refused=Counter(), ended=Counter(), retired_drops=Counter()
    )
    found = samples(Metrics(manager, batcher, lambda: NOW))
    assert value(found, "avatar_sessions", state="connected") == 0
    assert value(found, "avatar_sessions_opened_total") == 0


def test_two_servers_in_one_process_do_not_mix(manager: Any, batcher: Any) -> None:
    first, second = Metrics(manager, batcher, lambda: NOW), Metrics(manager, batcher, lambda: NOW)
    assert samples(first).keys() == samples(second).keys()
