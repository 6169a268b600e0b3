"""Prometheus figures, pulled: components count integers, this reads them when asked."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from pipeline.batcher import LATENCY_BUCKETS_S, Batcher
from webrtc_server.manager import SessionManager


class ServerCollector(Collector):
    """Reads sessions and the batcher at every scrape."""

    def __init__(self, manager: SessionManager, batcher: Batcher, monotonic: Callable[[], float]) -> None:
        self._manager = manager
        self._batcher = batcher
        self._monotonic = monotonic

    def collect(self) -> Iterator[Metric]:
        now = self._monotonic()
        manager, batcher = self._manager, self._batcher.stats()
        states = Counter(session.state for session in manager.sessions)
        sessions = GaugeMetricFamily("avatar_sessions", "Sessions now, by state.", labels=["state"])
        for state in ("connecting", "connected", "closing"):
            sessions.add_metric([state], states[state])
        yield sessions
        yield GaugeMetricFamily(
            "avatar_sessions_limit", "Sessions that may be open at once.", value=manager.max_sessions
        )
        yield CounterMetricFamily("avatar_sessions_opened", "Offers answered with a session.", value=manager.opened)
        refused = CounterMetricFamily("avatar_offers_refused", "Offers refused, by error.", labels=["error"])
        for error, count in sorted(manager.refused.items()):
            refused.add_metric([error], count)
        yield refused
        ended = CounterMetricFamily("avatar_sessions_ended", "Sessions ended, by reason.", labels=["reason"])
        for reason, count in sorted(manager.ended.items()):
            ended.add_metric([reason], count)
        yield ended
        drops = Counter(manager.retired_drops)
        for session in manager.sessions:
            drops.update(session.drops(now))
        dropped = CounterMetricFamily(
            "avatar_drops",
            "What was left out, by name. Names with `sound` count samples at 48 kHz, others packets or pictures.",
            labels=["name"],
        )
        for name, count in sorted(drops.items()):
            dropped.add_metric([name], count)
        yield dropped
        yield CounterMetricFamily("avatar_inference_windows", "Pictures inferred.", value=batcher.windows)
        yield CounterMetricFamily("avatar_inference_batches", "Batches run.", value=batcher.batches)
        yield CounterMetricFamily("avatar_inference_busy_seconds", "Time spent in the net.", value=batcher.busy_s)
        yield GaugeMetricFamily("avatar_inference_queued", "Windows waiting for the net.", value=batcher.queued)
        bounds = [str(bound) for bound in LATENCY_BUCKETS_S] + ["+Inf"]
        buckets = [(bound, float(count)) for bound, count in zip(bounds, batcher.latency_counts, strict=True)]
        yield HistogramMetricFamily(
            "avatar_inference_latency_seconds",
            "From a complete window of sound to its patch.",
            buckets=buckets,
            sum_value=batcher.latency_sum_s,
        )


class Metrics:
    """The text of GET /metrics."""

    def __init__(self, manager: SessionManager, batcher: Batcher, monotonic: Callable[[], float] = time.monotonic):
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        GCCollector(registry=self._registry)
        self._registry.register(ServerCollector(manager, batcher, monotonic))

    def render(self) -> tuple[bytes, str]:
        """Body and content type."""
        return generate_latest(self._registry), CONTENT_TYPE_LATEST
