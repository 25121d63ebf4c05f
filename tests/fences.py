"""Kernels on memory that ends, or begins, at a page that nobody may touch, in a process of their own.

A kernel that reads or writes one byte outside its arguments, results, workspace or precomputed tables
raises a signal there. The process ends with it, and the test says which program it was:

    def work() -> None:
        with fenced_runtime(at_end=True) as fence:      # what the runtime allocates is fenced
            kernel(*fence.copies(arrays))               # and the arguments

    in_child(work)

Where there is no `fork` and `mprotect`, everything runs as usual and nothing is fenced.
"""

from __future__ import annotations

import ctypes
import faulthandler
import mmap
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, TypeAlias
from unittest import mock

import numpy as np
import pytest

Array: TypeAlias = np.ndarray[Any, Any]

HAS_FENCES = sys.platform == "linux"
NOTE_BYTES = 1 << 20


class Fence:
    """Memory between two pages that nobody may touch: an access beyond an array in it ends the process."""

    def __init__(self, *, at_end: bool = True) -> None:
        self.at_end = at_end
        self.maps: list[mmap.mmap] = []

    def array(self, values: Array, *, at_end: bool | None = None) -> Array:
        """A copy that ends (or begins) right at such a page."""
        copy = self.empty(values.shape, values.dtype, at_end=at_end)
        copy[...] = values
        return copy

    def empty(self, shape: Any, dtype: Any = np.float64, *, at_end: bool | None = None) -> Array:
        """What `np.empty` gives, there."""
        dtype = np.dtype(dtype)
        if not HAS_FENCES:
            return np.empty(shape, dtype)
        count = int(np.prod(shape, dtype=np.int64))
        size, page = count * dtype.itemsize, mmap.PAGESIZE
        inside = max(1, -(-size // page)) * page
        memory = mmap.mmap(-1, inside + 2 * page)
        self.maps.append(memory)
        start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        for edge in (start, start + page + inside):
            assert _mprotect()(edge, page, 0) == 0
        at_end = self.at_end if at_end is None else at_end
        offset = page + (inside - size if at_end else 0)
        return np.frombuffer(memory, dtype, count, offset).reshape(shape)

    def copies(self, arrays: Sequence[Any]) -> list[Any]:
        """Fenced copies of all arrays among the values."""
        return [self.array(a) if isinstance(a, np.ndarray) else a for a in arrays]


@contextmanager
def fenced_runtime(*, at_end: bool) -> Iterator[Fence]:
    """What te's runtime allocates for calls lies in the fence: results, workspaces, what is precomputed."""
    fence = Fence(at_end=at_end)
    with (
        mock.patch("te.runtime.kernel.Kernel._learn"),  # calls go the long way, which is patched here
        mock.patch("te.runtime.kernel.empty", fence.empty),
        mock.patch("te.runtime.kernel._empty", lambda called, shape, dtype: fence.empty(shape, dtype)),
    ):
        yield fence


@cache
def _mprotect() -> Any:
    function = ctypes.CDLL(None, use_errno=True).mprotect
    function.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    return function


# ---------------------------------------------------------------- a process of its own

_notes: mmap.mmap | None = None


def note(text: str) -> None:
    """What is about to run: the test's message, if it ends the process."""
    if _notes is not None:
        data = text.encode("utf-8", "replace")[: NOTE_BYTES - 8]
        _notes[: 8 + len(data)] = len(data).to_bytes(8, "little") + data


def in_child(work: Callable[[], None]) -> None:
    """Run `work` in a forked process. The test fails with what it raises, and where a signal ends it."""
    global _notes
    if not HAS_FENCES:
        work()
        return
    notes = mmap.mmap(-1, NOTE_BYTES)  # shared with the child
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        code = 1
        faulthandler.disable()  # the note says more than the stack of Python
        try:
            _notes = notes
            work()
            code = 0
        except (
            BaseException
        ):  # what pytest raises to fail or to skip is no Exception; nothing may leave the child
            note(traceback.format_exc())
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    status = None
    try:
        _, status = os.waitpid(child, 0)
    finally:
        if status is None:  # the time is up
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    text = notes[8 : 8 + int.from_bytes(notes[:8], "little")].decode("utf-8", "replace")
    if os.WIFSIGNALED(status):
        name = signal.Signals(os.WTERMSIG(status)).name
        pytest.fail(f"{name} ended the process. It was running:\n{text or '(no note)'}", pytrace=False)
    if os.WEXITSTATUS(status):
        pytest.fail(text or f"the process ended with status {os.WEXITSTATUS(status)}", pytrace=False)
