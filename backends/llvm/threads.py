"""`parallel_for`: the trips of a parallel loop, shared between the caller and a pool of Python threads.

A small native runtime, loaded once a process, does the work:

- the caller cuts the loop into parts, puts the call into a queue once for each thread that may help,
  and starts taking parts itself;
- a helper, a Python thread that waits for the queue, takes parts as well;
- the caller returns when all parts are done. It never waits for a helper that has not taken one.

So a call ends whether or not anybody helps: after a fork (the child has no helpers until its next
call), while the interpreter shuts down, when all helpers serve others. Helpers that come late find
no part left and touch nothing but the call's record, which the last one frees.

No Python code runs in the calling thread, so no signal can raise an exception in the middle of a
call: the callback that fills the queue is `SimpleQueue.put` itself, which is written in C. The GIL is
taken for that moment only.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from queue import SimpleQueue
from typing import Any

from te.target import available_cores, parse_target

__all__ = ["num_threads", "set_num_threads", "start"]

# More parts than threads: the fast ones take over from the slow ones.
PARTS_PER_THREAD = 4

_YIELD = "SwitchToThread" if sys.platform == "win32" else "sched_yield"

RUNTIME = f"""\
; The record of a call: next part, parts done, references, function, closure, extent, parts.
%call = type {{ i64, i64, i64, ptr, ptr, i64, i64 }}

@te_helpers = global i64 0
@te_put = global ptr null

declare ptr @malloc(i64)
declare void @free(ptr)
declare i32 @{_YIELD}()

define void @te_parallel_for(ptr %part, ptr %closure, i64 %extent) #0 {{
entry:
  %available = load atomic i64, ptr @te_helpers acquire, align 8
  %is_alone = icmp eq i64 %available, 0
  br i1 %is_alone, label %alone, label %allocate
allocate:
  %call = call ptr @malloc(i64 64)
  %is_full = icmp eq ptr %call, null
  br i1 %is_full, label %alone, label %prepare
alone:
  call void %part(ptr %closure, i64 0, i64 %extent)
  ret void
prepare:
  %threads = add i64 %available, 1
  %wanted = mul i64 %threads, {PARTS_PER_THREAD}
  %is_short = icmp slt i64 %extent, %wanted
  %parts = select i1 %is_short, i64 %extent, i64 %wanted
  %others = sub i64 %parts, 1
  %is_few = icmp slt i64 %others, %available
  %helpers = select i1 %is_few, i64 %others, i64 %available
  %references = add i64 %helpers, 1
  %done.at = getelementptr %call, ptr %call, i64 0, i32 1
  %references.at = getelementptr %call, ptr %call, i64 0, i32 2
  %part.at = getelementptr %call, ptr %call, i64 0, i32 3
  %closure.at = getelementptr %call, ptr %call, i64 0, i32 4
  %extent.at = getelementptr %call, ptr %call, i64 0, i32 5
  %parts.at = getelementptr %call, ptr %call, i64 0, i32 6
  store i64 0, ptr %call
  store i64 0, ptr %done.at
  store i64 %references, ptr %references.at
  store ptr %part, ptr %part.at
  store ptr %closure, ptr %closure.at
  store i64 %extent, ptr %extent.at
  store i64 %parts, ptr %parts.at
  %put = load atomic ptr, ptr @te_put acquire, align 8
  br label %invite
invite:
  %i = phi i64 [ 0, %prepare ], [ %i.next, %ask ]
  %is_asked = icmp eq i64 %i, %helpers
  br i1 %is_asked, label %work, label %ask
ask:
  call void %put(ptr %call)
  %i.next = add i64 %i, 1
  br label %invite
work:
  call void @take_parts(ptr %call)
  br label %wait
wait:
  %done = load atomic i64, ptr %done.at acquire, align 8
  %is_done = icmp eq i64 %done, %parts
  br i1 %is_done, label %end, label %pause
pause:
  %ignored = call i32 @{_YIELD}()
  br label %wait
end:
  call void @release(ptr %call)
  ret void
}}

define void @te_help(ptr %call) #0 {{
  call void @take_parts(ptr %call)
  call void @release(ptr %call)
  ret void
}}

define internal void @take_parts(ptr %call) #0 {{
entry:
  %done.at = getelementptr %call, ptr %call, i64 0, i32 1
  %part.at = getelementptr %call, ptr %call, i64 0, i32 3
  %closure.at = getelementptr %call, ptr %call, i64 0, i32 4
  %extent.at = getelementptr %call, ptr %call, i64 0, i32 5
  %parts.at = getelementptr %call, ptr %call, i64 0, i32 6
  %part = load ptr, ptr %part.at
  %closure = load ptr, ptr %closure.at
  %extent = load i64, ptr %extent.at
  %parts = load i64, ptr %parts.at
  %size = udiv i64 %extent, %parts
  %rest = urem i64 %extent, %parts
  br label %next
next:
  %number = atomicrmw add ptr %call, i64 1 acq_rel
  %is_taken = icmp sge i64 %number, %parts
  br i1 %is_taken, label %end, label %run
run:
  ; The first `rest` parts are one trip longer.
  %longer = call i64 @llvm.umin.i64(i64 %number, i64 %rest)
  %start = mul i64 %number, %size
  %low = add i64 %start, %longer
  %is_longer = icmp ult i64 %number, %rest
  %extra = zext i1 %is_longer to i64
  %trips = add i64 %size, %extra
  %high = add i64 %low, %trips
  call void %part(ptr %closure, i64 %low, i64 %high)
  %ignored = atomicrmw add ptr %done.at, i64 1 acq_rel
  br label %next
end:
  ret void
}}

define internal void @release(ptr %call) #0 {{
entry:
  %references.at = getelementptr %call, ptr %call, i64 0, i32 2
  %before = atomicrmw sub ptr %references.at, i64 1 acq_rel
  %is_last = icmp eq i64 %before, 1
  br i1 %is_last, label %last, label %end
last:
  call void @free(ptr %call)
  br label %end
end:
  ret void
}}

declare i64 @llvm.umin.i64(i64, i64)

attributes #0 = {{ nounwind }}
"""

_POINTER_FUNCTION = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class _Runtime:
    """The native runtime: loaded once, never unloaded, because helpers may be in its code at any time."""

    def __init__(self) -> None:
        from te.backends.llvm.compile import compile_text
        from te.backends.llvm.jit import load_object

        self.engine = load_object(compile_text(RUNTIME, parse_target("llvm")))
        self.parallel_for: int = self.engine.get_function_address("te_parallel_for")
        self.help = _POINTER_FUNCTION(self.engine.get_function_address("te_help"))
        self.helpers = ctypes.c_int64.from_address(self.engine.get_global_value_address("te_helpers"))
        self.put = ctypes.c_void_p.from_address(self.engine.get_global_value_address("te_put"))


class _Pool:
    """Helper threads and the queue they wait for. Threads are added and never taken away."""

    def __init__(self, runtime: _Runtime):
        self.runtime = runtime
        self.queue: SimpleQueue[int] = SimpleQueue()
        self.callback = _POINTER_FUNCTION(self.queue.put)
        self.threads = 0

    def grow(self, count: int) -> int:
        """Start threads until there are `count`, or the system refuses; the number there is."""
        while self.threads < count:
            thread = threading.Thread(
                target=_serve, args=(self.queue, self.runtime.help), name=f"te-{self.threads}", daemon=True
            )
            try:
                thread.start()
            except RuntimeError:  # no more threads, or the interpreter is shutting down
                break
            self.threads += 1
        return self.threads


def _serve(queue: SimpleQueue[int], help: Any) -> None:
    while True:
        help(queue.get())


_lock = threading.Lock()
_runtime: _Runtime | None = None
_pool: _Pool | None = None
_wanted: int | None = None  # threads asked for by `set_num_threads`


def start() -> int:
    """Make the pool ready, if this process has none yet; the address of `parallel_for`."""
    if _pool is None:
        with _lock:
            _start()
    assert _runtime is not None
    return _runtime.parallel_for


def _start() -> None:
    global _runtime, _pool
    if _runtime is None:
        _runtime = _Runtime()
    if _pool is None:
        pool = _Pool(_runtime)
        _runtime.put.value = ctypes.cast(pool.callback, ctypes.c_void_p).value
        _pool = pool
    _runtime.helpers.value = min(_pool.grow(num_threads() - 1), num_threads() - 1)


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
        if _pool is not None:
            _start()


def _after_fork() -> None:
    """The child has the memory but none of the threads, and locks in any state."""
    global _lock, _pool
    _lock = threading.Lock()
    _pool = None
    if _runtime is not None:
        _runtime.helpers.value = 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
