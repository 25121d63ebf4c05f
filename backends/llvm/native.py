"""LLVM made ready, once a process, by whoever comes first: the compiler or the loader."""

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


@cache
def initialize_others() -> None:
    """For code that other machines run: all families of processors that this LLVM knows."""
    with _lock:
        llvm.initialize_all_targets()
        llvm.initialize_all_asmprinters()
