"""Entering a kernel with NumPy's array objects in the place of addresses: see `Executable.enter`.

A small native function, loaded once a process, reads where the data of each array lies. In Python
that takes 0.1 µs an array.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache

from te.target import parse_target

__all__ = ["enter"]

TEXT = """\
; Words: the kernel, how many arrays, how many words of the block, the offset of an array's data; the block.
define void @te_enter(ptr %given) #0 {
entry:
  %arrays.at = getelementptr i64, ptr %given, i64 1
  %words.at = getelementptr i64, ptr %given, i64 2
  %offset.at = getelementptr i64, ptr %given, i64 3
  %from = getelementptr i64, ptr %given, i64 4
  %kernel = load ptr, ptr %given, align 8
  %arrays = load i64, ptr %arrays.at, align 8
  %words = load i64, ptr %words.at, align 8
  %offset = load i64, ptr %offset.at, align 8
  %block = alloca i64, i64 %words, align 16
  br label %next
next:
  %i = phi i64 [ 0, %entry ], [ %i.next, %copied ]
  %is_end = icmp eq i64 %i, %words
  br i1 %is_end, label %run, label %word
word:
  %word.at = getelementptr i64, ptr %from, i64 %i
  %word.to = getelementptr i64, ptr %block, i64 %i
  %is_number = icmp ugt i64 %i, %arrays
  %plain = load i64, ptr %word.at, align 8
  %is_none = icmp eq i64 %plain, 0
  %is_copied = or i1 %is_number, %is_none
  br i1 %is_copied, label %copied, label %array
array:
  %object = inttoptr i64 %plain to ptr
  %data.at = getelementptr i8, ptr %object, i64 %offset
  %data = load i64, ptr %data.at, align 8
  %is_workspace = icmp eq i64 %i, %arrays
  %over = add i64 %data, 63
  %aligned = and i64 %over, -64
  %address = select i1 %is_workspace, i64 %aligned, i64 %data
  br label %copied
copied:
  %value = phi i64 [ %plain, %word ], [ %address, %array ]
  store i64 %value, ptr %word.to, align 8
  %i.next = add i64 %i, 1
  br label %next
run:
  call void %kernel(ptr %block)
  ret void
}

attributes #0 = { nounwind }
"""


_loaded: list[object] = []  # the engine that owns the code


@cache
def enter() -> Callable[[bytes], object]:
    """The function, for the words as `bytes`. Other threads may run meanwhile."""
    from te.backends.llvm.compile import compile_text
    from te.backends.llvm.jit import load_object

    engine = load_object(compile_text(TEXT, parse_target("llvm")))
    _loaded.append(engine)
    function: Callable[[bytes], object] = ctypes.CFUNCTYPE(None, ctypes.c_char_p)(
        engine.get_function_address("te_enter")
    )
    return function
