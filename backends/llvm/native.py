"""LLVM made ready, once a process, by whoever comes first: the compiler or the loader; and the lock around it."""

from __future__ import annotations

import os
import threading
from functools import cache

import llvmlite.binding as llvm

# LLVM's objects are not made for several threads. A fork waits for a thread that is in LLVM: in the child,
# where that thread is gone, LLVM's own locks would never be opened again.
lock = threading.RLock()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=lock.acquire, after_in_parent=lock.release, after_in_child=lock.release)


@cache
def initialize() -> None:
    with lock:
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()


@cache
def initialize_others() -> None:
    """For code that other machines run: all families of processors that this LLVM knows."""
    with lock:
        llvm.initialize_all_targets()
        llvm.initialize_all_asmprinters()
