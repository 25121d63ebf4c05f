"""What a CUDA artifact asks its runtime to do: plain data, the same for a GPU and for the emulator.

A kernel of the loop IR becomes a `Program`: a tree of loops and conditions over sizes, run by the host,
whose leaves are launches, in the order of one stream. All kernels of an artifact share one source text.

A launched function takes one pointer for each of `Launch.buffers`, in that order, then one 64-bit integer
for each of `Launch.scalars`. Pointers are aligned to 16 bytes. Buffers are the program's arguments and its
workspace, which lives as long as the call and starts undefined.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

from te.ir.expr import Expr
from te.ir.types import DType


@dataclass(frozen=True, slots=True)
class Launch:
    """One launch of a `__global__` function.

    `grid` is over sizes and host variables; where one of its extents is 0 nothing is to be launched. The
    function covers what a larger grid would do when an extent is cut to the device's limit (`LIMITS`).
    `shared` is the size in bytes of the dynamic shared memory. So many blocks as `cluster` start together: the first
    extent is a multiple of it, whatever it is cut to.
    """

    symbol: str
    grid: tuple[Expr, Expr, Expr]
    block: tuple[int, int, int]
    shared: int
    buffers: tuple[str, ...]
    scalars: tuple[str, ...]
    cluster: int = 1


@dataclass(frozen=True, slots=True)
class HostFor:
    """The body once for each value of `var` from 0 to `extent - 1`."""

    var: str
    extent: Expr
    body: Host


@dataclass(frozen=True, slots=True)
class HostIf:
    condition: Expr
    body: Host
    otherwise: Host | None = None


@dataclass(frozen=True, slots=True)
class HostLet:
    var: str
    value: Expr
    body: Host


@dataclass(frozen=True, slots=True)
class HostSeq:
    items: tuple[Host, ...]


Host: TypeAlias = Launch | HostFor | HostIf | HostLet | HostSeq

LIMITS = ((1 << 31) - 1, 65535, 65535)  # of a grid's extents


@dataclass(frozen=True, slots=True)
class Workspace:
    """Memory of the device that a call needs for a buffer."""

    name: str
    dtype: DType
    bytes: Expr


INPUT, OUTPUT, STATE = "input", "output", "state"


@dataclass(frozen=True, slots=True)
class Argument:
    """An array that the caller gives: an `input` is read alone, an `output` holds nothing before and everything after.

    A `state` keeps what it holds where the kernel does not write: what a debug build finds.
    """

    name: str
    dtype: DType
    shape: tuple[Expr, ...]
    role: str


@dataclass(frozen=True, slots=True)
class Program:
    """One kernel of an artifact: its arguments, what its sizes are called, and what the host does."""

    name: str
    arguments: tuple[Argument, ...]
    sizes: tuple[str, ...]
    host: Host
    workspace: tuple[Workspace, ...]


def launches(host: Host) -> Iterator[Launch]:
    """Every launch, in the order of the text."""
    match host:
        case Launch():
            yield host
        case HostSeq(items):
            for item in items:
                yield from launches(item)
        case HostIf(_, body, otherwise):
            yield from launches(body)
            if otherwise is not None:
                yield from launches(otherwise)
        case HostFor(body=body) | HostLet(body=body):
            yield from launches(body)
