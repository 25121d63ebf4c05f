"""Registers of a tile that overhangs a tensor hold what overhangs, too.

    alloc C_tile[26, 64] in register:          alloc C_tile[32, 64] in register:
      for t < 8: for own < 4:            ->      for t < 8: for own < 4:
        if 4*t + own < 26: C_tile[4*t + own]       if 4*t + own < 26: C_tile[4*t + own]

The elements of a buffer that tells no thread apart from another can be spread over threads only if each has as many;
and without guards (`overhang.py`) all of them are computed. What more is held than a tensor of known size has is less
than it has itself, but for results of matrix instructions, which always compute whole tiles.
"""

from __future__ import annotations

from collections.abc import Iterator, Set
from dataclasses import replace

from te.ir.expr import Const, Expr, integer, sub
from te.ir.loop import Accumulate, Alloc, For, Kernel, Let, Stmt, Store, direct_exprs, rewrite_stmt, walk_stmt
from te.ir.simplify import simplify
from te.ir.visit import loads
from te.schedule.context import program_facts
from te.schedule.finalize.gpu.digits import reach_of
from te.schedule.names import Path


def hold_overhang(kernel: Kernel, results: Set[str]) -> Kernel:
    """The kernel with registers for all that its loops reach, whatever guards say; `results` are of instructions."""
    allocs = [s.buffer for s, _ in walk_stmt(kernel.body) if isinstance(s, Alloc)]
    tied = {b.like for b in allocs if b.like} | {b.name for b in allocs if b.like}
    registers = {b.name: b for b in allocs if b.scope == "register" and b.layout is None and b.fold is None}
    reaches: dict[str, list[int | None]] = {}
    for name, index, path in _accesses(kernel.body, registers.keys() - tied):
        found = [reach_at(i, axis, path, name, kernel) for axis, i in enumerate(index)]
        known = reaches.setdefault(name, found)
        reaches[name] = [
            None if a is None or b is None else max(a, b) for a, b in zip(known, found, strict=True)
        ]
    shapes: dict[str, tuple[Expr, ...]] = {}
    for name, most in reaches.items():
        shape = registers[name].shape
        shapes[name] = tuple(
            integer(reach + 1)
            if reach is not None and _is_more(reach + 1, extent, name in results)
            else extent
            for extent, reach in zip(shape, most, strict=True)
        )

    def wider(s: Stmt) -> Stmt:
        if isinstance(s, Alloc) and shapes.get(s.buffer.name, s.buffer.shape) != s.buffer.shape:
            return replace(s, buffer=replace(s.buffer, shape=shapes[s.buffer.name]))
        return s

    return replace(kernel, body=rewrite_stmt(kernel.body, wider))


def reach_at(index: Expr, axis: int, path: Path, buffer: str, kernel: Kernel) -> int | None:
    """The largest place along an axis of a buffer, allocated on `path`, that an index there may have without guards.

    None where it is not known.
    """
    alloc = next(s for s in reversed(path) if isinstance(s, Alloc) and s.buffer.name == buffer)
    extents = {s.var: s.extent for s in path if isinstance(s, For | Let)}
    origin = alloc.buffer.origin[axis] if alloc.buffer.origin else integer(0)
    facts = program_facts(kernel.program)
    return reach_of(simplify(sub(index, origin), facts), extents, facts)


def _accesses(body: Stmt, of: Set[str]) -> Iterator[tuple[str, tuple[Expr, ...], Path]]:
    for s, path in walk_stmt(body):
        if isinstance(s, Store | Accumulate) and s.buffer in of:
            yield s.buffer, s.index, path
        for e in direct_exprs(s):
            for load in loads(e):
                if load.buffer in of:
                    yield load.buffer, load.index, path


def _is_more(reached: int, extent: Expr, is_result: bool) -> bool:
    """Whether loops reach beyond an extent, and no farther than is to be held."""
    return isinstance(extent, Const) and extent.value < reached and (is_result or reached < 2 * extent.value)
