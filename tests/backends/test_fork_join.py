"""The runtime of parallel loops by itself: each trip once, with a slot of one's own, whatever goes on around."""

from __future__ import annotations

import ctypes
import os
import random
import resource
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from te.backends.llvm import threads
from te.backends.llvm.fork_join import PATIENT_CALLS, RECORDS, has_native_workers
from tests.backends.fork_join_driver import drive

NEEDS_NATIVE = pytest.mark.skipif(not has_native_workers(), reason="needs a machine whose futex is known")
NATIVE = [pytest.param(True, id="native", marks=NEEDS_NATIVE), pytest.param(False, id="portable")]
PART = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)
PATIENCE = 20  # seconds to wait for what must happen at once


@pytest.fixture(autouse=True, params=NATIVE)
def runtime(request: pytest.FixtureRequest) -> Iterator[threads._Runtime]:
    before = threads.num_threads()
    threads.set_num_threads(4)
    yield threads._start(native=request.param)
    threads._start(native=has_native_workers())
    threads.set_num_threads(before)


def parallel_for(
    runtime: threads._Runtime,
    part: Callable[[int, int, int], None],
    extent: int,
    most: int = 64,
    work: float = 1e9,
) -> None:
    """`part(low, high, slot)` in Python, also in threads that Python did not start."""
    function = ctypes.CFUNCTYPE(None, PART, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_double)(
        runtime.parallel_for
    )
    function(PART(lambda _, low, high, slot: part(low, high, slot)), None, extent, most, work)


def at_once(works: list[Callable[[], None]]) -> None:
    workers = [threading.Thread(target=work) for work in works]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


@pytest.mark.parametrize("extent", [0, 1, 2, 3, 4, 5, 17, 1000])
def test_ranges_make_up_the_trips(runtime: threads._Runtime, extent: int) -> None:
    seen: list[tuple[int, int]] = []
    slots: set[int] = set()

    def part(low: int, high: int, slot: int) -> None:
        seen.append((low, high))
        slots.add(slot)

    parallel_for(runtime, part, extent)
    bounds = sorted(seen)
    assert [low for low, _ in bounds] + [extent] == [0] + [high for _, high in bounds]
    assert all(low < high for low, high in bounds) or extent == 0
    assert slots <= set(range(min(4, max(extent, 1))))


def test_no_more_threads_than_the_call_has_memory_for(runtime: threads._Runtime) -> None:
    slots: set[int] = set()
    for _ in range(100):
        parallel_for(runtime, lambda low, high, slot: slots.add(slot), 50, most=2)
    assert slots <= {0, 1}


def test_little_work_wakes_nobody(runtime: threads._Runtime) -> None:
    """But the last of many such calls does; the queue of Python threads is not worth it at all."""
    calls = []
    for _ in range(PATIENT_CALLS):
        time.sleep(0.01)
        ranges: list[int] = []
        parallel_for(runtime, lambda low, high, slot, ranges=ranges: ranges.append(low), 50, work=1e3)  # type: ignore[misc]  # a default
        calls.append(len(ranges))
    shared = [n for n in calls if n > 1]
    assert len(shared) == (1 if runtime.is_native else 0)


def test_helpers_work_at_the_same_time(runtime: threads._Runtime) -> None:
    """Four trips that wait for each other: four threads."""
    barrier = threading.Barrier(4)
    slots: list[int] = []

    def part(low: int, high: int, slot: int) -> None:
        barrier.wait(PATIENCE)
        slots.append(slot)

    for _ in range(20):
        parallel_for(runtime, part, 4)
    assert sorted(slots) == sorted([0, 1, 2, 3] * 20)


def test_calls_overlap_in_time(runtime: threads._Runtime) -> None:
    """Two calls that wait for each other, with one helper between them."""
    threads.set_num_threads(2)
    barrier = threading.Barrier(2)

    def call() -> None:
        is_first = True

        def part(low: int, high: int, slot: int) -> None:
            nonlocal is_first
            if low == 0 and is_first:
                is_first = False
                barrier.wait(PATIENCE)

        parallel_for(runtime, part, 8)

    for _ in range(10):
        at_once([call, call])


def test_more_calls_than_records(runtime: threads._Runtime) -> None:
    """All at the same time; those that find no record run alone."""
    count = RECORDS + 6
    barrier = threading.Barrier(count)
    trips = [0] * count

    def call(number: int) -> None:
        def part(low: int, high: int, slot: int) -> None:
            if low == 0:
                barrier.wait(PATIENCE)
            trips[number] += high - low

        parallel_for(runtime, part, 2)

    threads.set_num_threads(2)
    at_once([lambda number=number: call(number) for number in range(count)])  # type: ignore[misc]  # a default
    assert trips == [2] * count


def test_many_calls(runtime: threads._Runtime) -> None:
    """From several threads at once, while the number of threads changes."""
    end = time.monotonic() + 1
    mistakes = []

    def call(seed: int) -> None:
        rng = random.Random(seed)
        while time.monotonic() < end:
            calls, most = rng.choice([10, 100, 1000]), rng.choice([1, 2, 3, 17, 1000])
            mistakes.append(
                drive(runtime.parallel_for, calls, most, rng.getrandbits(30), rng.choice([1e3, 1e9]))
            )
            if rng.random() < 0.1:
                time.sleep(rng.choice([1e-5, 1e-4, 1e-3]))

    def change() -> None:
        rng = random.Random(0)
        while time.monotonic() < end:
            threads.set_num_threads(rng.choice([1, 2, 3, 4, 8]))
            time.sleep(rng.choice([1e-4, 1e-3, 1e-2, 0.1]))

    at_once([lambda: call(0), lambda: call(1), lambda: call(2), change])
    assert not any(mistakes)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_forks_in_the_middle_of_calls(runtime: threads._Runtime) -> None:
    drive(runtime.parallel_for, 1, 1)
    is_over = threading.Event()
    mistakes = []
    statuses = []

    def call(seed: int) -> None:
        while not is_over.is_set():
            mistakes.append(drive(runtime.parallel_for, 1000, 30, seed))

    def fork() -> None:
        for _ in range(8):
            child = os.fork()
            if child == 0:
                status = 1
                try:
                    own = threads._start(native=runtime.is_native)
                    status = 0 if own.workers == 3 and drive(own.parallel_for, 100, 100) == 0 else 1
                finally:
                    os._exit(status)
            statuses.append(os.waitpid(child, 0)[1])
        is_over.set()

    at_once([lambda: call(0), lambda: call(1), fork])
    assert not any(mistakes)
    assert statuses == [0] * 8


def test_helpers_that_do_not_exist(runtime: threads._Runtime) -> None:
    """What a fork leaves that Python does not know of. Calls end."""
    own = threads._Runtime(native=runtime.is_native)
    own.set_helpers(3)
    assert drive(own.parallel_for, 1000, 100) == 0


def test_threads_that_the_system_refuses(runtime: threads._Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    workers = runtime.workers
    monkeypatch.setattr(threads._Runtime, "_add_worker", lambda self: self.workers < workers + 1)
    runtime.use(workers + 10)
    assert runtime.workers == workers + 1
    runtime.workers = workers
    assert drive(runtime.parallel_for, 1000, 100) == 0


def test_idle_workers_sleep(runtime: threads._Runtime) -> None:
    drive(runtime.parallel_for, 100, 100)
    before = resource.getrusage(resource.RUSAGE_SELF)
    time.sleep(0.3)
    after = resource.getrusage(resource.RUSAGE_SELF)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.15


def test_workers_get_no_signals(runtime: threads._Runtime) -> None:
    """Interrupts are for the threads that Python knows; a fault in a worker is reported like any other."""
    if not runtime.is_native:
        pytest.skip("Python blocks nothing in its threads")
    blocked = []
    for task in Path("/proc/self/task").iterdir():
        if (task / "comm").read_text() == "te\n":
            (line,) = (x for x in (task / "status").read_text().splitlines() if x.startswith("SigBlk"))
            blocked.append(int(line.split()[1], 16))
    assert len(blocked) >= 3
    for mask in blocked:
        assert mask >> (signal.SIGINT - 1) & 1
        assert mask >> (signal.SIGTERM - 1) & 1
        assert not mask >> (signal.SIGSEGV - 1) & 1
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])
