"""Launches of emitted kernels on arrays, and what is wrong with them.

>>> import numpy as np
>>> library = compile_source('''
... extern "C" __global__ void twice(const float* x, float* y, long long n) {
...     long long i = blockIdx.x * 32 + threadIdx.x;
...     if (i < n) y[i] = 2 * x[i];
... }
... ''')
>>> x, y = np.arange(5, dtype=np.float32), np.empty(5, np.float32)
>>> arrays = [Array.of("x", x, "input"), Array.of("y", y, "output")]
>>> run(library, arrays, [Call("twice", (1, 1, 1), (32, 1, 1), 0, ("x", "y", 5))])
[]
>>> y
array([0., 2., 4., 6., 8.], dtype=float32)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from te.backends.cuda.emulator.findings import Actor, Finding
from te.backends.cuda.emulator.lines import source_lines
from te.backends.cuda.emulator.process import ArrayRequest, Bytes, Request, emulator
from te.backends.cuda.emulator.toolchain import compile_kernels
from te.diagnostics import Span

__all__ = ["BACKWARD", "FORWARD", "Array", "Call", "Library", "Settings", "compile_source", "run"]

# Of every GPU since compute capability 2.0; of Hopper (the CUDA C++ Programming Guide's table of compute capabilities).
MOST_THREADS, MOST_ALONG, MOST_SHARED = 1024, (1024, 1024, 64), 227 << 10
FORWARD, BACKWARD = 0, 1  # orders of threads and blocks; any larger number shuffles them, each otherwise

Lines = Callable[[int], Span | None]


@dataclass(frozen=True, slots=True)
class Library:
    """Compiled kernels. `span_of` tells where in a `.te` file a line of their source comes from."""

    path: Path
    source: str
    is_checked: bool
    span_of: Lines


def compile_source(source: str, *, is_checked: bool = True, span_of: Lines = lambda line: None) -> Library:
    """Compile CUDA C++ for the emulator. Without `is_checked` it runs faster, and only crashes are found.

    Raises CudaUnavailable without g++, and ValueError for a text that it refuses.
    """
    (path,) = compile_kernels([source], is_checked=is_checked)
    return Library(path, source, is_checked, span_of)


@dataclass(frozen=True, slots=True)
class Array:
    """Memory of a call: an `input`, an `output`, a `workspace` (without data), or a `state` that is read and written.

    `shape` and `dtype` are for messages.
    """

    name: str
    role: str
    bytes: int
    data: Bytes | None = field(repr=False)
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @staticmethod
    def of(name: str, array: np.ndarray[Any, Any], role: str) -> Array:
        """A C-contiguous NumPy array; kernels work on a copy of it, which comes back unless it is an input."""
        data = array.reshape(-1).view(np.uint8)
        return Array(name, role, array.nbytes, data, array.shape, array.dtype)


@dataclass(frozen=True, slots=True)
class Call:
    """A launch with numbers for all that it depends on. Arguments are names of arrays, and integers."""

    symbol: str
    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    shared: int  # bytes
    arguments: tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Settings:
    """How launches run: in which order their threads, for how long at most, and how much is told."""

    order: int = FORWARD
    are_copies_late: bool = False  # asynchronous ones: made when they are waited for, else when they begin
    seconds: float = 60.0
    most_findings: int = 20


def run(
    library: Library, arrays: Sequence[Array], calls: Sequence[Call], settings: Settings | None = None
) -> list[Finding]:
    """Run launches one after the other, and say what is wrong with them.

    After an access out of bounds, a deadlock and the like, no launch goes on, and outputs hold what they then do.
    Raises CudaUnavailable without g++.
    """
    settings = settings or Settings()
    impossible = [
        Finding("impossible launch", c.symbol, None, None, None, None, 0, (), settings.order, reason)
        for c in calls
        if (reason := _why_impossible(c))
    ]
    if impossible:
        return impossible[:1]
    numbers = {a.name: n for n, a in enumerate(arrays)}
    request = Request(
        arrays=[ArrayRequest(a.role, a.bytes, a.data) for a in arrays],
        launches=[_launch_line(library, call, numbers) for call in calls],
        is_checked=library.is_checked,
        order=settings.order,
        are_copies_late=settings.are_copies_late,
        seconds=settings.seconds,
        most_findings=settings.most_findings,
    )
    answer = emulator().run(request)
    if not answer.is_done and not answer.findings:
        raise RuntimeError(f"the emulator failed: {answer.errors.strip() or 'it says nothing'}")
    return _findings(answer.findings, library, arrays, calls, settings)


def _why_impossible(call: Call) -> str:
    threads = prod(call.block)
    if not 0 < threads <= MOST_THREADS:
        return f"its blocks have {threads} threads, and a GPU's at most {MOST_THREADS}"
    for name, extent, most in zip("xyz", call.block, MOST_ALONG, strict=True):
        if extent > most:
            return f"its blocks have {extent} threads along {name}, and a GPU's at most {most}"
    if call.shared > MOST_SHARED:
        return f"its blocks have {call.shared} bytes of shared memory, and a GPU's at most {MOST_SHARED}"
    return ""


def _launch_line(library: Library, call: Call, numbers: Mapping[str, int]) -> str:
    arguments = [f"a{numbers[a]}" if isinstance(a, str) else str(a) for a in call.arguments]
    words = [library.path, call.symbol, *call.grid, *call.block, call.shared, len(arguments), *arguments]
    return " ".join(map(str, ["launch", *words]))


# ---------------------------------------------------------------- findings


def _findings(
    said: Sequence[dict[str, Any]],
    library: Library,
    arrays: Sequence[Array],
    calls: Sequence[Call],
    settings: Settings,
) -> list[Finding]:
    codes = sorted({actor["code"] for f in said for actor in f["actors"] if actor["code"]})
    lines = dict(zip(codes, source_lines(library.path, codes), strict=True))
    found = []
    for f in said:
        array = arrays[f["array"]] if f.get("space") == "array" else None
        found.append(
            Finding(
                kind=f["finding"],
                kernel=calls[f["launch"]].symbol if f["launch"] < len(calls) else "",
                array=array.name if array else None,
                index=_index(array, f["offset"]) if array else None,
                shape=array.shape if array else None,
                shared=f["offset"] if f.get("space") in ("shared", "static shared") else None,
                bytes=f.get("bytes", 0),
                actors=tuple(_actor(a, lines, library) for a in f["actors"]),
                order=settings.order,
            )
        )
    return found


def _index(array: Array, offset: int) -> tuple[int, ...]:
    """The element that lies there; for what lies outside, its number in row-major order."""
    number = offset // max(array.dtype.itemsize, 1)
    if not 0 <= number < np.prod(array.shape, dtype=np.int64):
        return (number,)
    return tuple(int(n) for n in np.unravel_index(number, array.shape))


def _actor(said: dict[str, Any], lines: Mapping[int, tuple[int, ...]], library: Library) -> Actor:
    """With the line of the source that has a line of a `.te` file: a helper function's caller, not the function."""
    candidates = lines.get(said["code"], ()) or ((said["line"],) if said["line"] else ())
    line = next((n for n in candidates if library.span_of(n)), candidates[0] if candidates else 0)
    x, y, z = said["thread"]
    bx, by, bz = said["block"]
    texts = library.source.splitlines()
    text = texts[line - 1].strip() if 0 < line <= len(texts) else ""
    return Actor(said["kind"], (bx, by, bz), (x, y, z), line, text, library.span_of(line) if line else None)
