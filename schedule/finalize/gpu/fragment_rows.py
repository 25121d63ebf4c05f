"""Values of the rows of a tile, or of its columns, in registers: each lane knows those of its own elements.

    alloc m[16] in register:                             alloc m[2] in register of each lane:
      for ii < 16: m[ii] = ..                              lane for l < 32: for s < 2: m[s] = ..
      for ii < 16: for jj < 8:                     ->      lane for l < 32: for s0 < 2: for s1 < 2:
        C[ii, jj] = C[ii, jj] * m[ii]                        C[..] = C[..] * m[s0]

Of C[16, 8] (`te.schedule.fragments`) row `8*s + l // 4` is that of lane l: the four lanes of a row compute what
belongs to it each for itself. Which buffers are values of rows follows from the statements that use them along with
tiles, or with other values of rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from te.ir.expr import Const, Expr
from te.ir.loop import (
    Accumulate,
    Alloc,
    Buffer,
    Combine,
    For,
    If,
    Kernel,
    Stmt,
    Store,
    direct_exprs,
    walk_stmt,
)
from te.ir.visit import loads, variables
from te.schedule.finalize.gpu.fragment_axes import along, loops_inside, relative
from te.schedule.fragments import Fragment
from te.schedule.matrices import Placed
from te.schedule.names import Path

LANE = "lane"


def alike(kernel: Kernel, buffers: Mapping[str, Placed]) -> dict[str, Placed]:
    """The buffers that a schedule has said to be spread over lanes as others are (`distribute`)."""
    found = dict(buffers)
    for s, _ in walk_stmt(kernel.body):
        if not isinstance(s, Alloc) or s.buffer.like not in found or s.buffer.name in found:
            continue
        if s.buffer.layout is None and s.buffer.fold is None:
            found[s.buffer.name] = replace(found[s.buffer.like], buffer=replace(s.buffer, like=""))
    return found


def values_of_rows(kernel: Kernel, buffers: Mapping[str, Placed]) -> dict[str, Placed] | str:
    """Those buffers and the ones that hold values of their rows or columns; or why one cannot be spread so."""
    found = dict(buffers)
    before = -1
    while len(found) > before:
        before = len(found)
        for s, path in walk_stmt(kernel.body):
            if not isinstance(s, Store | Accumulate):
                continue
            for name, fragment, axis in _used_along(s, path, found):
                buffer = _registers(path, name)
                if buffer is None:
                    continue
                size = buffer.shape[axis]
                if not isinstance(size, Const) or int(size.value) % fragment.tile[0]:
                    return f"`{name}` does not have whole tiles of {fragment.tile[0]} along its axis {axis}"
                this = Placed(buffer, fragment, (axis,))
                if found.setdefault(name, this) != this:
                    return f"`{name}` would be spread over lanes in two ways"
    return found


def _used_along(
    s: Store | Accumulate, path: Path, buffers: Mapping[str, Placed]
) -> Iterator[tuple[str, Fragment, int]]:
    """What a statement uses in the loops of one axis of a tile: its name, those lanes, and which axis it has there."""
    asked = [load for x in path if isinstance(x, If) for load in loads(x.condition)]
    used = [*accesses(s), *((load.buffer, load.index) for load in asked)]
    for name, index in used:
        at = buffers.get(name)
        if at is None:
            continue
        own = [
            {loop.var for _, loop in (*run.inside, *run.across)}
            for axis, extent in zip(at.axes, at.fragment.tile, strict=True)
            for run in [along(relative(index[axis], axis, at, path), extent, loops_inside(path, name))]
        ]
        for other, places in used:
            if other in buffers:
                continue
            shared = [
                (n, axis)
                for n, names in enumerate(own)
                for axis, i in enumerate(places)
                if variables(i) & names
            ]
            if len(shared) == 1:
                ((n, axis),) = shared
                yield other, at.fragment.along(n), axis


def _registers(path: Path, name: str) -> Buffer | None:
    """A register buffer that is allocated outside of threads, and has no layout of its own."""
    for s in path:
        if isinstance(s, For) and s.kind in ("thread.x", "thread.y", "thread.z", LANE):
            return None
        if isinstance(s, Alloc) and s.buffer.name == name:
            b = s.buffer
            is_plain = b.layout is None and b.fold is None and not b.like and not b.private
            return b if b.scope == "register" and is_plain else None
    return None


def accesses(s: Store | Accumulate) -> Iterator[tuple[str, tuple[Expr, ...]]]:
    """What a statement writes, and what it reads."""
    yield s.buffer, s.index
    for e in direct_exprs(s):
        for load in loads(e):
            yield load.buffer, load.index


# ---------------------------------------------------------------- what threads do in the end


def of_each_lane(s: Stmt) -> frozenset[str]:
    """The buffers of which each lane has its own, and computes it itself."""
    private = {x.buffer.name for x, _ in walk_stmt(s) if isinstance(x, Alloc) and LANE in x.buffer.private}
    return frozenset(
        x.buffer
        for x, path in walk_stmt(s)
        if isinstance(x, Store | Accumulate) and x.buffer in private
        for lane in [next((p for p in path if isinstance(p, For) and p.kind == LANE), None)]
        if lane is not None and not (isinstance(x, Accumulate) and lane.var in x.over)
    )


def outside_of_lanes(s: Stmt, buffers: frozenset[str]) -> str | None:
    """One of these buffers that is used in no loop over lanes."""
    for x, path in walk_stmt(s):
        if isinstance(x, Combine | Alloc) or any(isinstance(p, For) and p.kind == LANE for p in path):
            continue
        used = {load.buffer for e in direct_exprs(x) for load in loads(e)}
        used |= {x.buffer} if isinstance(x, Store | Accumulate) else set()
        if used & buffers:
            return min(used & buffers)
    return None
