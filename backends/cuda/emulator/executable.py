"""`target="cuda-emulated"`: an artifact that is called as one of any other target is, and runs in the emulator.

Environment variables say how:

    TE_EMULATOR_ORDERS    orders of threads and blocks in which each call runs, one after the other: `forward` (the
                          default), `backward`, or numbers, each for another shuffling; with commas between them
    TE_EMULATOR_CHECKS    0: faster, and only crashes, deadlocks and divergent barriers are found
    TE_EMULATOR_SECONDS   the most that a call may take in each order (60)
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product

import numpy as np

from te.backends.cuda.artifact import CudaArtifact
from te.backends.cuda.emulator.findings import EmulationError, Finding
from te.backends.cuda.emulator.process import Bytes
from te.backends.cuda.emulator.run import (
    BACKWARD,
    FORWARD,
    Array,
    Call,
    Library,
    Settings,
    compile_source,
    run,
)
from te.backends.cuda.host import byte_count, sized_launches
from te.backends.cuda.launches import OUTPUT, Program
from te.diagnostics import Span
from te.ir.evaluate import evaluate
from te.ir.types import numpy_dtype

__all__ = ["EmulatedExecutable", "Emulation", "emulating", "emulation_asked_for"]


@dataclass(frozen=True, slots=True)
class Emulation:
    """How calls run: in each of the orders, from the same arrays."""

    orders: tuple[int, ...] = (FORWARD,)
    is_checked: bool = True
    seconds: float = 60.0


_given: ContextVar[Emulation | None] = ContextVar("emulation", default=None)


@contextmanager
def emulating(emulation: Emulation) -> Iterator[None]:
    """Run calls made meanwhile in this way, whatever the environment says."""
    token = _given.set(emulation)
    try:
        yield
    finally:
        _given.reset(token)


def emulation_asked_for() -> Emulation:
    """What the environment says. Raises ValueError for a variable that makes no sense."""
    orders = os.environ.get("TE_EMULATOR_ORDERS", "forward").split(",")
    checks = os.environ.get("TE_EMULATOR_CHECKS", "1")
    seconds = os.environ.get("TE_EMULATOR_SECONDS", "60")
    if checks not in ("0", "1"):
        raise ValueError(f"TE_EMULATOR_CHECKS is `{checks}`; it must be 0 or 1")
    try:
        limit = float(seconds)
    except ValueError:
        raise ValueError(f"TE_EMULATOR_SECONDS is `{seconds}`; it must be a number") from None
    return Emulation(tuple(map(_order, orders)), checks == "1", limit)


def _order(text: str) -> int:
    named = {"forward": FORWARD, "backward": BACKWARD}
    if text.strip() in named:
        return named[text.strip()]
    if not text.strip().isdecimal():
        raise ValueError(
            f"TE_EMULATOR_ORDERS has `{text}`; an order is `forward`, `backward` or a number from 2 on"
        )
    return int(text)


class EmulatedExecutable:
    """The kernels of an artifact. See `te.backends.base.Executable`. They are compiled at the first call."""

    def __init__(self, artifact: CudaArtifact):
        self.artifact = artifact
        self._libraries: dict[bool, Library] = {}

    @property
    def team(self) -> tuple[int, int]:
        return 1, 0

    @property
    def enter(self) -> Callable[[bytes], object] | None:
        return None

    def address(self, entry: int) -> int:
        return 0  # nobody enters it without `__call__`

    def __call__(self, block: int, entry: int = 0) -> None:
        """Run a kernel; raises `EmulationError` for what is found wrong."""
        program = self.artifact.programs[entry]
        count = len(program.arguments)
        words = list((ctypes.c_int64 * (count + 1 + len(program.sizes))).from_address(block))
        found = self.run(program, words[:count], words[count + 1 :])
        if found:
            raise EmulationError(found)

    def run(self, program: Program, addresses: Sequence[int], sizes: Sequence[int]) -> list[Finding]:
        """Run a program on arrays that lie at these addresses, and say what is wrong."""
        emulation = _given.get() or emulation_asked_for()
        library = self._library(emulation.is_checked)
        arrays = _arrays(program, addresses, sizes)
        calls = [
            Call(sized.launch.symbol, sized.grid, sized.launch.block, sized.launch.shared,
                 (*sized.launch.buffers, *sized.scalars))
            for sized in sized_launches(program, sizes)
        ]  # fmt: skip
        first: list[Array] = []
        for order, is_late in product(emulation.orders, self._times_of_copies):
            copies = [_copied(a) for a in arrays]
            found = run(library, copies, calls, Settings(order, is_late, emulation.seconds))
            if first and not found:
                found = _differences(first, copies, order, self._has_atomics)
            if found:
                return found
            first = first or copies
        for array, copy in zip(arrays, first, strict=True):
            if array.data is not None and copy.data is not None and copy.data is not array.data:
                array.data[:] = copy.data
        return []

    def _library(self, is_checked: bool) -> Library:
        known = self._libraries.get(is_checked)
        if known is None or not known.path.exists():
            made = compile_source(self.artifact.text, is_checked=is_checked, span_of=self._span_of)
            self._libraries[is_checked] = made
        return self._libraries[is_checked]

    def _span_of(self, line: int) -> Span | None:
        lines = self.artifact.lines
        return lines[line - 1] if 0 < line <= len(lines) else None

    @cached_property
    def _times_of_copies(self) -> tuple[bool, ...]:
        """Whether asynchronous copies are late, in each of the runs."""
        return (False, True) if "te_copy_async" in self.artifact.text else (False,)

    @cached_property
    def _has_atomics(self) -> bool:
        return "atomic" in self.artifact.text


def _arrays(program: Program, addresses: Sequence[int], sizes: Sequence[int]) -> list[Array]:
    values = dict(zip(program.sizes, sizes, strict=True))
    arrays = []
    for argument, address in zip(program.arguments, addresses, strict=True):
        size = byte_count(argument.shape, argument.dtype.bytes, values)
        shape = tuple(int(evaluate(extent, values)) for extent in argument.shape)
        data = _bytes_at(address, size)
        arrays.append(Array(argument.name, argument.role, size, data, shape, numpy_dtype(argument.dtype)))
    for part in program.workspace:
        size = max(0, int(evaluate(part.bytes, values)))
        shape = (size // part.dtype.bytes,)
        arrays.append(Array(part.name, "workspace", size, None, shape, numpy_dtype(part.dtype)))
    return arrays


def _bytes_at(address: int, size: int) -> Bytes:
    if not size:
        return np.empty(0, np.uint8)
    return np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address))


def _copied(array: Array) -> Array:
    """An array of its own for one run, where the run changes it."""
    if array.data is None or array.role == "input":
        return array
    data = np.empty_like(array.data) if array.role == OUTPUT else array.data.copy()
    return replace(array, data=data)


def _differences(
    one: Sequence[Array], other: Sequence[Array], order: int, has_atomics: bool
) -> list[Finding]:
    """Where two orders of the threads give other results. Sums by atomic operations may."""
    if has_atomics:
        return []
    for a, b in zip(one, other, strict=True):
        if a.data is None or b.data is None or np.array_equal(a.data, b.data):
            continue
        element = int(np.flatnonzero(a.data != b.data)[0]) // a.dtype.itemsize
        index = tuple(int(n) for n in np.unravel_index(element, a.shape))
        return [Finding("order", "", a.name, index, a.shape, None, a.dtype.itemsize, (), order)]
    return []
