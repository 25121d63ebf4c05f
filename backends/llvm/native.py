"""LLVM made ready for this machine, once a process, by whoever comes first: the compiler or the loader."""

from __future__ import annotations

import threading
from functools import cache

import llvmlite.binding as llvm

_lock = threading.Lock()


@cache
def initialize() -> None:
    with _lock:
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
