"""Kernels compiled for another machine, or for another way of running: their calls are noted, and run later at once.

    with elsewhere("llvm.neon") as machine:
        kernel = te.build(text)                      # for that target
        found = kernel(*arrays)                      # noted; `found` holds nothing yet
        machine.later(lambda: check(found))
    machine.run(folder, "aarch64-linux-gnu-gcc -static", "qemu-aarch64")

`run` links the objects of all kernels with `driver.c`, runs the program once, fills the results, and then checks
them. The runtime that binds arguments, allocates and precomputes is te's own.
"""

from __future__ import annotations

import ctypes
import struct
import subprocess
import sys
from bisect import bisect_right
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias
from unittest import mock

import numpy as np
import pytest

from te.backends.base import Entry
from te.runtime import arrays
from te.runtime.hidden import Hidden
from te.runtime.kernel import Kernel
from te.target import parse_target

Array: TypeAlias = np.ndarray[Any, Any]

DRIVER = Path(__file__).with_name("driver.c")
NUMBER, ADDRESS, WORKSPACE, PARALLEL_FOR = range(4)  # what a word of an argument block is, as in driver.c
WAITING = 1  # what the calling side takes for the address of `parallel_for`


@dataclass
class Region:
    """An array that calls use. `is_given`: it holds something before the first call; else it is not initialised."""

    number: int
    array: Array
    is_given: bool
    is_result: bool


@dataclass(frozen=True)
class Call:
    function: int
    words: tuple[tuple[int, int, int], ...]


class Machine:
    def __init__(self, target: str):
        self.target = replace(parse_target(target), is_native=True)
        self.regions: dict[int, Region] = {}  # by address
        self.objects: list[tuple[bytes, dict[str, str]]] = []  # and how its symbols are called here
        self.symbols: list[str] = []
        self.calls: list[Call] = []
        self.checks: list[Callable[[], None]] = []

    def later(self, check: Callable[[], None]) -> None:
        self.checks.append(check)

    def add(self, array: Array, *, is_given: bool, is_result: bool = False) -> Array:
        """An array whose memory calls use; the machine keeps it, so that no other gets its address."""
        if array.ctypes.data not in self.regions:
            self.regions[array.ctypes.data] = Region(len(self.regions), array, is_given, is_result)
        return array

    def empty(self, shape: Any, dtype: Any = np.float64) -> Array:
        return self.add(np.empty(shape, dtype), is_given=False, is_result=True)

    def allocated(self, called: str, shape: Any, dtype: Any) -> Array:
        is_result = called.endswith("a result")
        return self.add(np.empty(shape, dtype), is_given=False, is_result=is_result)

    def load(self, artifact: Any) -> Elsewhere:
        first = len(self.symbols)
        # Symbols are unique in an object, and get a number here.
        own = {entry.symbol: f"kernel{first + n}" for n, entry in enumerate(artifact.entries)}
        self.objects.append((artifact.code.object, own))
        self.symbols += own.values()
        return Elsewhere(self, artifact, first)

    def note(self, entry: Entry, function: int, block: int) -> None:
        pointers = len(entry.arguments)
        count = pointers + 1 + len(entry.sizes) + 2  # the number of threads, and `parallel_for`
        words = list((ctypes.c_int64 * count).from_address(block))
        kinds = [ADDRESS] * pointers + [WORKSPACE] + [NUMBER] * (len(entry.sizes) + 1) + [PARALLEL_FOR]
        self.calls.append(Call(function, tuple(self._word(k, w) for k, w in zip(kinds, words, strict=True))))

    def _word(self, kind: int, word: int) -> tuple[int, int, int]:
        if kind in (NUMBER, PARALLEL_FOR) or word == 0:
            return kind if kind == PARALLEL_FOR else NUMBER, word, 0
        starts = sorted(self.regions)
        start = starts[bisect_right(starts, word) - 1]
        region = self.regions[start]
        assert word <= start + region.array.nbytes, f"{word:x} is an address of no array that is known"
        return kind, region.number, word - start

    # ------------------------------------------------------------ running

    def run(self, folder: Path, compiler: str, runner: str, memory: str) -> str:
        """Run all calls, fill the results and check them. `memory`: `fenced` or `malloc`. Gives what it printed."""
        objects = []
        objcopy = compiler.split()[0].removesuffix("gcc") + "objcopy"
        for number, (code, names) in enumerate(self.objects):
            objects.append(folder / f"{number}.o")
            objects[-1].write_bytes(code)
            renamed = [f"--redefine-sym={old}={new}" for old, new in names.items()]
            _run([objcopy, *renamed, str(objects[-1])])
        table = ", ".join(self.symbols)
        source = f"{DRIVER.read_text()}\nextern kernel {table};\nkernel *const kernels[] = {{{table}}};\n"
        (folder / "driver.c").write_text(source)
        program, given, found = folder / "program", folder / "given", folder / "found"
        _run(
            [
                *compiler.split(),
                "-O1",
                "-g",
                "-o",
                str(program),
                str(folder / "driver.c"),
                *map(str, objects),
                "-lm",
            ]
        )
        given.write_bytes(b"".join(self._given()))
        done = _run([*runner.split(), str(program), str(given), str(found), memory])
        self._take(found.read_bytes())
        for check in self.checks:
            check()
        return done

    def _given(self) -> Iterator[bytes]:
        yield struct.pack("q", len(self.regions))
        for region in self.regions.values():
            yield struct.pack("3q", region.array.nbytes, region.is_given, region.is_result)
            if region.is_given:
                yield region.array.tobytes()
        yield struct.pack("q", len(self.calls))
        for call in self.calls:
            yield struct.pack("2q", call.function, len(call.words))
            for word in call.words:
                yield struct.pack("3q", *word)

    def _take(self, data: bytes) -> None:
        at = 0
        for region in self.regions.values():
            if region.is_result:
                array = region.array
                array[...] = np.frombuffer(data[at : at + array.nbytes], array.dtype).reshape(array.shape)
                at += array.nbytes
        assert at == len(data)


class Elsewhere:
    """An executable (`te.backends.base.Executable`) whose calls are noted."""

    team = (1, WAITING)
    parallel_for = WAITING

    def __init__(self, machine: Machine, artifact: Any, first: int):
        self.machine, self.artifact, self.first = machine, artifact, first

    def __call__(self, block: int, entry: int = 0) -> None:
        self.machine.note(self.artifact.entries[entry], self.first + entry, block)


@contextmanager
def elsewhere(target: str) -> Iterator[Machine]:
    """What is built in here is for the target; what is called in here is noted."""
    import te.build  # noqa: F401  (the module; `te.build` itself is the function)

    machine = Machine(target)

    def places(hidden: Hidden) -> Array:
        found = original(hidden)
        return machine.add(found, is_given=True, is_result=True) if len(found) else found

    def raise_failures(hidden: Hidden, places: Array, sizes: Any, way: int) -> None:
        machine.later(lambda: failures(hidden, places, sizes, way))

    def ready(array: Array, wanted: np.dtype[Any]) -> Array:
        return machine.add(make_ready(array, wanted), is_given=True)  # a number has become an array

    def run(kernel: Kernel, *arguments: Any) -> None:
        for table in kernel._hidden.arrays:
            machine.add(table, is_given=True)
        run_kernel(kernel, *arguments)

    run_kernel = Kernel._run
    original, failures, make_ready = Hidden.places, Hidden.raise_failures, arrays.ready
    with ExitStack() as patches:
        for patch in (
            mock.patch.object(sys.modules["te.build"], "parse_target", return_value=machine.target),
            mock.patch("te.backends.llvm.load", machine.load),
            mock.patch.object(Kernel, "_run", run),
            mock.patch(
                "te.runtime.kernel.Kernel._learn"
            ),  # calls go the long way, whose arrays are known here
            mock.patch("te.runtime.kernel.empty", machine.empty),
            mock.patch("te.runtime.kernel._empty", machine.allocated),
            mock.patch("te.runtime.kernel.ready", ready),
            mock.patch.object(Hidden, "places", places),
            mock.patch.object(Hidden, "raise_failures", raise_failures),
        ):
            patches.enter_context(patch)
        yield machine


def given(machine: Machine, values: list[Any]) -> list[Any]:
    """The arguments, with copies of the arrays among them whose memory the machine knows."""
    return [
        machine.add(np.array(value, order="C"), is_given=True)
        if isinstance(value, np.ndarray | np.generic)
        else value
        for value in values
    ]


def _run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=1800)
    if done.returncode:
        said = (done.stdout + done.stderr)[-6000:]
        pytest.fail(f"`{' '.join(command)[:300]}` ended with {done.returncode}:\n{said}", pytrace=False)
    return done.stdout + done.stderr
