from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pytest

from pipeline.batcher import LATENCY_BUCKETS_S, Batcher, BatchScheduler, PatchRequest
from pipeline.lipsync import LipSyncInput

UInt8 = npt.NDArray[np.uint8]
WAIT_S = 10.0
"""Long enough for any machine; only a failing test waits for it."""


class FakeModel:
    """Returns each input's first crop value. `gate`, where closed, holds every batch back."""

    crop_width = crop_height = 1
    device = "cpu"

    def __init__(self, max_batch_size: int = 1) -> None:
        self.max_batch_size = max_batch_size
        self.batches: list[list[int]] = []
        self.started = threading.Semaphore(0)
        self.gate = threading.Event()
        self.gate.set()
        self.error: Exception | None = None
        self.answers_missing = 0

    def infer(self, inputs: Sequence[LipSyncInput]) -> list[UInt8]:
        self.batches.append([int(i.crop[0, 0, 0]) for i in inputs])
        self.started.release()
        assert self.gate.wait(WAIT_S)
        if self.error is not None:
            raise self.error
        return [i.crop for i in inputs][: len(inputs) - self.answers_missing]


def request(
    model: FakeModel,
    deadline: float,
    number: int = 0,
    submitted: float = 0.0,
    done: Callable[[UInt8], None] = lambda patch: None,
    dropped: Callable[[str], None] = lambda name: None,
) -> PatchRequest:
    crop = np.full((1, 1, 3), number, np.uint8)
    return PatchRequest(model, LipSyncInput(crop, np.zeros((32, 80), np.float32)), deadline, submitted, done, dropped)


# BatchScheduler decides; no thread, no clock.


def deadlines(requests: Sequence[PatchRequest]) -> list[float]:
    return [r.deadline for r in requests]


def test_an_empty_queue_has_no_batch() -> None:
    assert BatchScheduler().next_batch(0.0) == ([], [])


def test_the_earliest_deadline_goes_first() -> None:
    scheduler, model = BatchScheduler(), FakeModel()
    for deadline in (5.0, 2.0, 9.0, 1.0, 4.0):
        assert scheduler.add(request(model, deadline)) is None
    order = [deadlines(scheduler.next_batch(0.0)[0]) for _ in range(5)]
    assert order == [[1.0], [2.0], [4.0], [5.0], [9.0]]
    assert len(scheduler) == 0


def test_equal_deadlines_go_in_order_of_arrival() -> None:
    scheduler, model = BatchScheduler(), FakeModel()
    requests = [request(model, 1.0, n) for n in range(5)]
    for r in requests:
        scheduler.add(r)
    assert [scheduler.next_batch(0.0)[0][0] for _ in range(5)] == requests


def test_what_is_too_late_leaves_first() -> None:
    scheduler, model = BatchScheduler(), FakeModel(max_batch_size=8)
    for deadline in (3.0, 1.0, 2.0, 4.0):
        scheduler.add(request(model, deadline))
    batch, expired = scheduler.next_batch(2.0)
    assert deadlines(expired) == [1.0, 2.0]
    assert deadlines(batch) == [3.0, 4.0]


def test_when_all_is_too_late_there_is_no_batch() -> None:
    scheduler, model = BatchScheduler(), FakeModel()
    for deadline in (1.0, 2.0):
        scheduler.add(request(model, deadline))
    batch, expired = scheduler.next_batch(3.0)
    assert batch == []
    assert deadlines(expired) == [1.0, 2.0]
    assert len(scheduler) == 0


def test_a_batch_takes_all_sessions_of_one_model_up_to_its_size() -> None:
    scheduler, model = BatchScheduler(), FakeModel(max_batch_size=3)
    for deadline in (1.0, 2.0, 3.0, 4.0):
        scheduler.add(request(model, deadline))
    assert deadlines(scheduler.next_batch(0.0)[0]) == [1.0, 2.0, 3.0]
    assert deadlines(scheduler.next_batch(0.0)[0]) == [4.0]


def test_models_are_not_mixed_and_the_others_keep_their_turn() -> None:
    scheduler = BatchScheduler()
    ada, bob = FakeModel(max_batch_size=4), FakeModel(max_batch_size=4)
    for deadline, model in [(1.0, ada), (2.0, bob), (3.0, ada), (2.5, bob), (5.0, ada), (4.0, bob)]:
        scheduler.add(request(model, deadline))
    batches = [scheduler.next_batch(0.0)[0] for _ in range(2)]
    assert [deadlines(batch) for batch in batches] == [[1.0, 3.0, 5.0], [2.0, 2.5, 4.0]]
    assert [{r.model for r in batch} for batch in batches] == [{ada}, {bob}]


def test_beyond_its_capacity_the_latest_deadline_leaves() -> None:
    scheduler, model = BatchScheduler(capacity=3), FakeModel()
    for deadline in (1.0, 2.0, 3.0):
        assert scheduler.add(request(model, deadline)) is None
    leaving = scheduler.add(request(model, 1.5))
    assert leaving is not None
    assert leaving.deadline == 3.0
    assert len(scheduler) == 3
    newest = request(model, 9.0)
    assert scheduler.add(newest) is newest
    assert [deadlines(scheduler.next_batch(0.0)[0]) for _ in range(3)] == [[1.0], [1.5], [2.0]]


@pytest.mark.parametrize("seed", range(5))
def test_whatever_comes_every_request_leaves_once(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scheduler, models = BatchScheduler(capacity=20), [FakeModel(1), FakeModel(3), FakeModel(16)]
    added: list[PatchRequest] = []
    left: list[PatchRequest] = []
    now = 0.0
    while len(added) < 500 or len(scheduler):
        for _ in range(int(rng.integers(0, 12)) if len(added) < 500 else 0):
            added.append(request(models[rng.integers(3)], now + rng.normal(0.1, 0.1)))
            leaving = scheduler.add(added[-1])
            left += [leaving] if leaving else []
        assert len(scheduler) <= 20
        batch, expired = scheduler.next_batch(now)
        assert all(r.deadline <= now for r in expired)
        assert all(r.deadline > now for r in batch)
        assert len({r.model for r in batch}) <= 1
        assert not batch or len(batch) <= batch[0].model.max_batch_size
        left += batch + expired
        now += 0.02
    assert len(left) == len(added)
    assert {id(r) for r in left} == {id(r) for r in added}


# Batcher acts, on real threads; nothing here depends on how fast.


class Delivery:
    """Where results arrive, as (number, what)."""

    def __init__(self) -> None:
        self.arrived: queue.Queue[tuple[int, object]] = queue.Queue()
        self.threads: set[str] = set()

    def deliver(self, callback: Callable[[], None]) -> None:
        self.threads.add(threading.current_thread().name)
        callback()

    def request(self, model: FakeModel, deadline: float, number: int, submitted: float = 0.0) -> PatchRequest:
        return request(
            model,
            deadline,
            number,
            submitted,
            done=lambda patch: self.arrived.put((number, int(patch[0, 0, 0]))),
            dropped=lambda name: self.arrived.put((number, name)),
        )

    def next(self) -> tuple[int, object]:
        return self.arrived.get(timeout=WAIT_S)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def delivery() -> Delivery:
    return Delivery()


@pytest.fixture
def batcher(clock: Clock, delivery: Delivery) -> Iterator[Batcher]:
    batcher = Batcher(1, clock, delivery.deliver, BatchScheduler(capacity=3))
    yield batcher
    batcher.close()


def test_a_patch_comes_back_through_deliver(batcher: Batcher, delivery: Delivery) -> None:
    batcher.submit(delivery.request(FakeModel(), 1.0, 42))
    assert delivery.next() == (42, 42)
    assert delivery.threads == {"inference-0"}


def test_while_the_device_is_busy_a_batch_forms_by_itself(batcher: Batcher, delivery: Delivery) -> None:
    model = FakeModel(max_batch_size=8)
    model.gate.clear()
    batcher.submit(delivery.request(model, 9.0, 1))
    assert model.started.acquire(timeout=WAIT_S)
    for number, deadline in [(2, 3.0), (3, 1.0), (4, 2.0)]:
        batcher.submit(delivery.request(model, deadline, number))
    assert batcher.stats().queued == 3
    model.gate.set()
    assert [delivery.next() for _ in range(4)] == [(1, 1), (3, 3), (4, 4), (2, 2)]
    assert model.batches == [[1], [3, 4, 2]]


def test_expired_requests_are_told_and_never_run(batcher: Batcher, clock: Clock, delivery: Delivery) -> None:
    model = FakeModel()
    model.gate.clear()
    batcher.submit(delivery.request(model, 9.0, 1))
    assert model.started.acquire(timeout=WAIT_S)
    batcher.submit(delivery.request(model, 2.0, 2))
    batcher.submit(delivery.request(model, 4.0, 3))
    clock.now = 3.0
    model.gate.set()
    assert [delivery.next() for _ in range(3)] == [(1, 1), (2, "inference_expired"), (3, 3)]
    assert model.batches == [[1], [3]]


def test_a_full_queue_drops_the_latest_deadline(batcher: Batcher, delivery: Delivery) -> None:
    model = FakeModel()
    model.gate.clear()
    batcher.submit(delivery.request(model, 9.0, 1))
    assert model.started.acquire(timeout=WAIT_S)
    for number in (2, 3, 4, 5):
        batcher.submit(delivery.request(model, 10.0 - number, number))
    assert delivery.next() == (2, "inference_queue_full")
    model.gate.set()
    assert [delivery.next() for _ in range(4)] == [(1, 1), (5, 5), (4, 4), (3, 3)]


def test_a_failing_model_is_told_and_logged_and_the_thread_lives_on(
    batcher: Batcher, delivery: Delivery, caplog: pytest.LogCaptureFixture
) -> None:
    broken, sound = FakeModel(), FakeModel()
    broken.error = RuntimeError("out of memory")
    batcher.submit(delivery.request(broken, 1.0, 1))
    assert delivery.next() == (1, "inference_failed")
    batcher.submit(delivery.request(sound, 1.0, 2))
    assert delivery.next() == (2, 2)
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert batcher.stats().windows == 1


def test_a_model_that_answers_too_little_has_failed(
    batcher: Batcher, delivery: Delivery, caplog: pytest.LogCaptureFixture
) -> None:
    model = FakeModel()
    model.answers_missing = 1
    batcher.submit(delivery.request(model, 1.0, 1))
    assert delivery.next() == (1, "inference_failed")
    model.answers_missing = 0
    batcher.submit(delivery.request(model, 1.0, 2))
    assert delivery.next() == (2, 2)


def test_figures(batcher: Batcher, clock: Clock, delivery: Delivery) -> None:
    model = FakeModel(max_batch_size=2)
    model.gate.clear()
    clock.now = 1.0
    batcher.submit(delivery.request(model, 9.0, 1, submitted=0.985))
    assert model.started.acquire(timeout=WAIT_S)
    batcher.submit(delivery.request(model, 9.0, 2, submitted=1.0))
    batcher.submit(delivery.request(model, 9.0, 3, submitted=0.5))
    clock.now = 1.01
    model.gate.set()
    for _ in range(3):
        delivery.next()
    stats = batcher.stats()
    assert (stats.queued, stats.windows, stats.batches) == (0, 3, 2)
    assert stats.busy_s == pytest.approx(0.01)
    # 25 ms, 10 ms, 510 ms: cumulative, as Prometheus has them.
    assert stats.latency_sum_s == pytest.approx(0.545)
    counts = dict(zip((*LATENCY_BUCKETS_S, float("inf")), stats.latency_counts, strict=True))
    assert [counts[bound] for bound in (0.005, 0.02, 0.03, 0.2, float("inf"))] == [0, 1, 2, 2, 3]


def test_several_threads_run_at_once(clock: Clock, delivery: Delivery) -> None:
    batcher, model = Batcher(3, clock, delivery.deliver), FakeModel()
    model.gate.clear()
    for number in range(3):
        batcher.submit(delivery.request(model, 1.0, number))
    for _ in range(3):
        assert model.started.acquire(timeout=WAIT_S)
    model.gate.set()
    assert sorted(delivery.next() for _ in range(3)) == [(0, 0), (1, 1), (2, 2)]
    batcher.close()
    assert delivery.threads == {"inference-0", "inference-1", "inference-2"}


def test_closing_leaves_no_thread_and_tells_everyone(clock: Clock, delivery: Delivery) -> None:
    before = threading.active_count()
    batcher, model = Batcher(2, clock, delivery.deliver), FakeModel()
    model.gate.clear()
    for number in (1, 2, 3, 4):
        batcher.submit(delivery.request(model, float(number), number))
    for _ in range(2):
        assert model.started.acquire(timeout=WAIT_S)
    closer = threading.Thread(target=batcher.close)
    closer.start()
    # The batches in hand still run: closing waits for them, and whoever still waits is told at once.
    assert {delivery.next(), delivery.next()} == {(3, "inference_closed"), (4, "inference_closed")}
    assert closer.is_alive()
    model.gate.set()
    closer.join(WAIT_S)
    assert {delivery.next(), delivery.next()} == {(1, 1), (2, 2)}
    assert threading.active_count() == before
    batcher.submit(delivery.request(model, 9.0, 5))
    assert delivery.next() == (5, "inference_closed")
    batcher.close()


def test_closing_an_idle_one(clock: Clock, delivery: Delivery) -> None:
    before = threading.active_count()
    batcher = Batcher(4, clock, delivery.deliver)
    assert threading.active_count() == before
    batcher.close()
    assert delivery.arrived.empty()


@pytest.mark.parametrize(("device", "threads"), [("cpu", 4), ("cuda", 1)])
def test_a_thread_for_each_core_or_one_for_the_gpu(
    clock: Clock, delivery: Delivery, device: str, threads: int
) -> None:
    before = threading.active_count()
    batcher, model = Batcher(4, clock, delivery.deliver), FakeModel()
    model.device = device
    batcher.submit(delivery.request(model, 1.0, 1))
    assert threading.active_count() == before + threads
    assert delivery.next() == (1, 1)
    batcher.close()
    assert threading.active_count() == before


def test_many_submitters_and_threads_lose_nothing(clock: Clock, delivery: Delivery) -> None:
    batcher, models = Batcher(4, clock, delivery.deliver, BatchScheduler(10_000)), [FakeModel(1), FakeModel(5)]

    def submit(first: int) -> None:
        for number in range(first, first + 100):
            batcher.submit(delivery.request(models[number % 2], 1.0, number % 256))

    submitters = [threading.Thread(target=submit, args=(n * 100,)) for n in range(5)]
    for submitter in submitters:
        submitter.start()
    arrived = [delivery.next() for _ in range(500)]
    for submitter in submitters:
        submitter.join(WAIT_S)
    batcher.close()
    assert all(number == what for number, what in arrived)
    assert delivery.arrived.empty()
    assert batcher.stats().windows == 500
