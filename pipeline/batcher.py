"""One queue of windows for all sessions, earliest deadline first, and the threads that run them."""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, TypeVar

from pipeline.lipsync import LipSyncInput, LipSyncModel, UInt8

logger = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class PatchRequest:
    """One video frame's mouth, wanted before `deadline` (seconds of the monotonic clock)."""

    model: LipSyncModel
    input: LipSyncInput
    deadline: float
    submitted: float
    done: Callable[[UInt8], None]
    """Called once with the patch, on the thread that the batcher delivers to; never for a dropped request."""
    dropped: Callable[[str], None]
    """Called once with the drop's name instead."""


@dataclass(order=True)
class _Entry:
    deadline: float
    order: int
    request: PatchRequest = field(compare=False)


class BatchScheduler:
    """Decides what runs next. Pure: no thread, no clock. Bounded: beyond `capacity` the latest deadline leaves."""

    def __init__(self, capacity: int = 256) -> None:
        self._capacity = capacity
        self._heap: list[_Entry] = []
        self._order = itertools.count()

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, request: PatchRequest) -> PatchRequest | None:
        """Queues a request; returns the one that has to leave when the queue is full."""
        heapq.heappush(self._heap, _Entry(request.deadline, next(self._order), request))
        if len(self._heap) <= self._capacity:
            return None
        last = max(self._heap)
        self._heap.remove(last)
        heapq.heapify(self._heap)
        return last.request

    def clear(self) -> list[PatchRequest]:
        """Empties the queue and returns what was in it, in no order."""
        requests = [entry.request for entry in self._heap]
        self._heap.clear()
        return requests

    def next_batch(self, now: float) -> tuple[list[PatchRequest], list[PatchRequest]]:
        """(batch, expired): the most urgent request and others of its model, and those already too late.

        A batch is filled with what is here; nobody waits for it to fill.
        """
        expired: list[PatchRequest] = []
        while self._heap and self._heap[0].deadline <= now:
            expired.append(heapq.heappop(self._heap).request)
        if not self._heap:
            return [], expired
        first = heapq.heappop(self._heap).request
        batch, others = [first], []
        while self._heap and len(batch) < first.model.max_batch_size:
            entry = heapq.heappop(self._heap)
            if entry.request.model is first.model:
                batch.append(entry.request)
            else:
                others.append(entry)
        for entry in others:
            heapq.heappush(self._heap, entry)
        return batch, expired


@dataclass(frozen=True)
class BatcherStats:
    queued: int
    windows: int
    batches: int
    busy_s: float
    latency_counts: tuple[int, ...]
    """Windows whose submission to patch took at most LATENCY_BUCKETS_S[i] seconds, then all of them."""
    latency_sum_s: float


LATENCY_BUCKETS_S: Final = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2)

COMPLAINT_INTERVAL_S: Final = 10.0


class Batcher:
    """Runs requests on its own threads and hands results to `deliver`, which brings them to their owner's thread.

    The threads start with the first request: only a loaded model knows whether it runs on a GPU, which one thread
    keeps busy with batches, or on the CPU, which takes a thread per core.
    """

    def __init__(
        self,
        cpu_threads: int,
        clock: Callable[[], float],
        deliver: Callable[[Callable[[], None]], None],
        scheduler: BatchScheduler | None = None,
    ) -> None:
        self._clock = clock
        self._deliver = deliver
        # An empty scheduler is false: its length is 0.
        self._scheduler = BatchScheduler() if scheduler is None else scheduler
        self._wake = threading.Condition()
        self._closed = False
        self._windows = self._batches = 0
        self._busy = 0.0
        self._latency_counts = [0] * (len(LATENCY_BUCKETS_S) + 1)
        self._latency_sum = 0.0
        self._quiet_until = float("-inf")
        self._cpu_threads = cpu_threads
        self._threads: list[threading.Thread] = []

    def submit(self, request: PatchRequest) -> None:
        with self._wake:
            if self._closed:
                request.dropped("inference_closed")
                return
            if not self._threads:
                self._start(1 if request.model.device == "cuda" else self._cpu_threads)
            leaving = self._scheduler.add(request)
            self._wake.notify()
        if leaving is not None:
            leaving.dropped("inference_queue_full")

    def stats(self) -> BatcherStats:
        with self._wake:
            return BatcherStats(
                queued=len(self._scheduler),
                windows=self._windows,
                batches=self._batches,
                busy_s=self._busy,
                latency_counts=tuple(self._latency_counts),
                latency_sum_s=self._latency_sum,
            )

    def close(self) -> None:
        """Stops the threads after the batch in hand; blocking. What still waits is dropped."""
        with self._wake:
            self._closed = True
            waiting = self._scheduler.clear()
            self._wake.notify_all()
        for request in waiting:
            self._tell(request.dropped, "inference_closed")
        for thread in self._threads:
            thread.join()

    def _start(self, threads: int) -> None:
        self._threads = [
            threading.Thread(target=self._run, name=f"inference-{i}", daemon=True) for i in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def _run(self) -> None:
        while True:
            with self._wake:
                while not self._closed and not len(self._scheduler):
                    self._wake.wait()
                if self._closed:
                    return
                started = self._clock()
                batch, expired = self._scheduler.next_batch(started)
            for request in expired:
                self._tell(request.dropped, "inference_expired")
            if batch:
                self._infer(batch, started)

    def _infer(self, batch: list[PatchRequest], started: float) -> None:
        try:
            patches = batch[0].model.infer([request.input for request in batch])
            answers = list(zip(batch, patches, strict=True))
        except Exception:
            if started >= self._quiet_until:
                self._quiet_until = started + COMPLAINT_INTERVAL_S
                logger.exception(
                    "inference failed; told once in %g s, counted as inference_failed", COMPLAINT_INTERVAL_S
                )
            for request in batch:
                self._tell(request.dropped, "inference_failed")
            return
        ended = self._clock()
        with self._wake:
            self._batches += 1
            self._windows += len(batch)
            self._busy += ended - started
            for request in batch:
                self._observe(ended - request.submitted)
        for request, patch in answers:
            self._tell(request.done, patch)

    def _observe(self, latency_s: float) -> None:
        self._latency_sum += latency_s
        for i, bound in enumerate((*LATENCY_BUCKETS_S, float("inf"))):
            if latency_s <= bound:
                self._latency_counts[i] += 1

    def _tell(self, callback: Callable[[T], None], value: T) -> None:
        self._deliver(lambda: callback(value))
