"""The threads that help with parallel loops: how many, when they start, what a fork leaves of them.

How they share the work is written in `fork_join.py`, in LLVM IR, which is loaded once a process and never
unloaded: helpers may be in that code at any time, also while the interpreter ends. On Linux they are
threads that run native code only; elsewhere they are Python threads. They start with the first call of
code that has parallel loops, are added when more are wanted, and never taken away: one that is not
wanted sleeps.
"""

from __future__ import annotations

import ctypes
import os
import threading
import time
from queue import SimpleQueue
from typing import Any

from te.backends.llvm.fork_join import MAX_SEATS, has_native_workers, runtime_text
from te.target import available_cores, parse_target

__all__ = ["num_threads", "set_num_threads", "team"]

# How long a worker without work keeps its core before it sleeps, and a caller that waits for workers. To
# sleep and be woken takes 5 to 50 µs. Where there are more threads than cores, those keep others from working.
SPIN_SECONDS, PATIENCE_SECONDS = 50e-6, 1e-3
CROWDED_SECONDS = 1e-6

_TOKEN_FUNCTION = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class _Runtime:
    """The runtime in this process, and its workers."""

    def __init__(self, *, native: bool):
        from te.backends.llvm.compile import compile_text
        from te.backends.llvm.jit import load_object

        engine = load_object(compile_text(runtime_text(native=native), parse_target("llvm")))
        address = engine.get_function_address
        self.is_native = native
        self.parallel_for: int = address("te_parallel_for")
        self.help = ctypes.CFUNCTYPE(ctypes.c_bool)(address("te_help"))
        self.reset = ctypes.CFUNCTYPE(None)(address("te_reset"))
        self.set_helpers = ctypes.CFUNCTYPE(None, ctypes.c_int32)(address("te_set_helpers"))
        if native:
            self.add_native = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_int64)(address("te_add_worker"))
            self.set_spin = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_int64)(address("te_set_spin"))
            self.pause_seconds = _seconds_of_a_pause(
                ctypes.CFUNCTYPE(None, ctypes.c_int64)(address("te_pause"))
            )
        else:
            self.put = ctypes.c_void_p.from_address(engine.get_global_value_address("te_put"))
        engine.detach()  # from the object that would unload it
        self.forget_workers()

    def forget_workers(self) -> None:
        """There are none yet; or, in the child of a fork, none any more, and the queue's lock is in any state."""
        self.workers = 0
        self.team = (1, self.parallel_for)
        self.reset()
        if not self.is_native:
            self.queue: SimpleQueue[None] = SimpleQueue()
            self.callback = _TOKEN_FUNCTION(self.queue.put)
            self.put.value = ctypes.cast(self.callback, ctypes.c_void_p).value

    def use(self, threads: int) -> None:
        """Let so many threads work, those that call included, or as many as the system allows."""
        helpers = min(threads - 1, MAX_SEATS)
        while self.workers < helpers and self._add_worker():
            self.workers += 1
        if self.is_native:
            is_crowded = threads > available_cores()
            limits = (CROWDED_SECONDS,) * 2 if is_crowded else (SPIN_SECONDS, PATIENCE_SECONDS)
            self.set_spin(*(round(seconds / self.pause_seconds) for seconds in limits))
        helpers = min(helpers, self.workers)
        self.set_helpers(helpers)
        self.team = (helpers + 1, self.parallel_for)

    def _add_worker(self) -> bool:
        """False if the system refuses another thread, or the interpreter is shutting down."""
        if self.is_native:
            return bool(self.add_native(self.workers) == 0)
        thread = threading.Thread(
            target=_serve, args=(self.queue, self.help), name=f"te-{self.workers}", daemon=True
        )
        try:
            thread.start()
        except RuntimeError:
            return False
        return True


def _serve(queue: SimpleQueue[None], help: Any) -> None:
    while True:
        queue.get()
        help()


def _seconds_of_a_pause(pause: Any) -> float:
    """How long the CPU takes for one of the pauses that spinning is made of: 15 to 50 ns."""
    times = 1000
    best = float("inf")
    for _ in range(3):
        start = time.perf_counter()
        pause(times)
        best = min(best, time.perf_counter() - start)
    return max(best / times, 1e-9)


_lock = threading.Lock()
_runtimes: dict[bool, _Runtime] = {}  # native or not: tests use both
_runtime: _Runtime | None = None  # the one that is ready
_wanted: int | None = None  # threads asked for by `set_num_threads`


def team() -> tuple[int, int]:
    """How many threads a call may use, its own included, and the address of `te_parallel_for`.

    Makes the threads ready, if this process has none yet.
    """
    return (_runtime or _start(native=has_native_workers())).team


def _start(*, native: bool) -> _Runtime:
    global _runtime
    with _lock:
        if _runtime is None or _runtime.is_native != native:
            runtime = _runtimes.get(native)
            if runtime is None:
                runtime = _runtimes[native] = _Runtime(native=native)
            runtime.use(num_threads())
            _runtime = runtime
        return _runtime


def num_threads() -> int:
    """How many threads a parallel loop uses: what `set_num_threads` said, else the environment variable
    TE_NUM_THREADS, else the CPUs this process may use."""
    if _wanted is not None:
        return _wanted
    text = os.environ.get("TE_NUM_THREADS", "")
    if text:
        if not text.isdecimal() or int(text) < 1:
            raise ValueError(f"TE_NUM_THREADS is `{text}`; it must be an integer of at least 1")
        return int(text)
    return available_cores()


def set_num_threads(count: int) -> None:
    """Use `count` threads from now on, the caller's included: 1 runs parallel loops serially."""
    global _wanted
    if count < 1:
        raise ValueError(f"the number of threads must be at least 1, not {count}")
    with _lock:
        _wanted = count
        if _runtime is not None:
            _runtime.use(count)


def _after_fork() -> None:
    """The child has the memory but none of the threads, and locks in any state."""
    global _lock, _runtime
    _lock = threading.Lock()
    _runtime = None
    for runtime in _runtimes.values():
        runtime.forget_workers()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
