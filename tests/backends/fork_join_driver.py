"""Native code that calls `te_parallel_for` again and again, and checks that each trip ran once.

`drive(parallel_for, calls, most, seed)` makes calls of pseudo-random extents up to `most` and gives the
number of mistakes: trips that did not run exactly once, as seen after the call by plain loads, and slots
that two threads had at the same time. It runs without the GIL, so several Python threads may drive at
the same time.
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

from te.backends.llvm.compile import compile_text
from te.backends.llvm.jit import load_object
from te.target import parse_target

SLOTS = 64

_TEXT = """
; mistakes, slots in use, how often each trip ran
%closure = type { i64, [64 x i64], [0 x i64] }

define void @part(ptr %c, i64 %low, i64 %high, i64 %slot) {
entry:
  %slot.at = getelementptr %closure, ptr %c, i64 0, i32 1, i64 %slot
  %before = atomicrmw xchg ptr %slot.at, i64 1 monotonic
  %mistakes = atomicrmw add ptr %c, i64 %before monotonic
  br label %next
next:
  %i = phi i64 [ %low, %entry ], [ %i.next, %next ]
  %count.at = getelementptr %closure, ptr %c, i64 0, i32 2, i64 %i
  %count = load i64, ptr %count.at
  %more = add i64 %count, 1
  store i64 %more, ptr %count.at
  %i.next = add i64 %i, 1
  %is_done = icmp uge i64 %i.next, %high
  br i1 %is_done, label %done, label %next
done:
  store atomic i64 0, ptr %slot.at monotonic, align 8
  ret void
}

define i64 @drive(ptr %parallel_for, i64 %calls, i64 %most, i64 %seed, ptr %c, double %work) {
entry:
  br label %call
call:
  %n = phi i64 [ 0, %entry ], [ %n.next, %checked ]
  %random = phi i64 [ %seed, %entry ], [ %random.next, %checked ]
  %scaled = mul i64 %random, 6364136223846793005
  %random.next = add i64 %scaled, 1442695040888963407
  %high = lshr i64 %random.next, 33
  %rest = urem i64 %high, %most
  %extent = add i64 %rest, 1
  br label %clear
clear:
  %i = phi i64 [ 0, %call ], [ %i.next, %clear ]
  %clear.at = getelementptr %closure, ptr %c, i64 0, i32 2, i64 %i
  store i64 0, ptr %clear.at
  %i.next = add i64 %i, 1
  %is_clear = icmp uge i64 %i.next, %extent
  br i1 %is_clear, label %run, label %clear
run:
  call void %parallel_for(ptr @part, ptr %c, i64 %extent, i64 64, double %work)
  br label %check
check:
  %j = phi i64 [ 0, %run ], [ %j.next, %check ]
  %check.at = getelementptr %closure, ptr %c, i64 0, i32 2, i64 %j
  %count = load i64, ptr %check.at
  %is_wrong = icmp ne i64 %count, 1
  %wrong = zext i1 %is_wrong to i64
  %ignored = atomicrmw add ptr %c, i64 %wrong monotonic
  %j.next = add i64 %j, 1
  %is_checked = icmp uge i64 %j.next, %extent
  br i1 %is_checked, label %checked, label %check
checked:
  %n.next = add i64 %n, 1
  %is_done = icmp uge i64 %n.next, %calls
  br i1 %is_done, label %done, label %call
done:
  %mistakes = load atomic i64, ptr %c monotonic, align 8
  ret i64 %mistakes
}
"""


@cache
def _drive() -> Any:
    engine = load_object(compile_text(_TEXT, parse_target("llvm")))
    arguments = [
        ctypes.c_void_p,
        ctypes.c_int64,
        ctypes.c_int64,
        ctypes.c_int64,
        ctypes.c_void_p,
        ctypes.c_double,
    ]
    function = ctypes.CFUNCTYPE(ctypes.c_int64, *arguments)(engine.get_function_address("drive"))
    engine.detach()  # it stays loaded
    return function


def drive(parallel_for: int, calls: int, most: int, seed: int = 0, work: float = 1e9) -> int:
    """The number of mistakes in so many calls, which claim to be so many operations each."""
    closure = (ctypes.c_int64 * (1 + SLOTS + most))()
    return int(_drive()(parallel_for, calls, most, seed, ctypes.addressof(closure), work))
