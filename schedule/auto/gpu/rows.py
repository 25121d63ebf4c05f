"""Rows: reductions over the last axis, and what is computed from them, in one launch.

    m[i]    = max[j](X[i, j])
    e[i, j] = exp(X[i, j] - m[i])
    Y[i, j] = e[i, j] / sum[k](e[i, k])

A block computes a row. Its threads share it, 16 bytes at a time, reduce it together, and all know the result. Where
rows are short, a warp has one, or a part of a warp, so that no thread waits for more than its warp. What several
stages read of a row is kept in the registers of its threads, each of which has the same elements of all stages.
Longer rows of known length are kept in shared memory. Any others are read again, and what stands between is computed
again: a row may have any length.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from te.ir.bounds import Facts, bounds
from te.ir.expr import Const, Expr, Load, Var, compare, floor_div, floor_mod, integer
from te.ir.tensor import Axis, Program, Stage
from te.ir.visit import variables
from te.schedule.auto.gpu.points import THREADS, WARP, fused
from te.schedule.auto.loops import as_in_memory, lanes_of, scattered_reads, vector_axis
from te.schedule.auto.rows import Rows, rows_of
from te.schedule.auto.tiles import size_of
from te.schedule.context import program_facts
from te.schedule.directives import (
    Bind,
    CacheRead,
    ComputeAt,
    Inline,
    SetLayout,
    SetScope,
    Split,
    Vectorize,
)
from te.schedule.forms import Directive, Layout, Scope, TensorAxes
from te.schedule.nest import loop_name
from te.schedule.placement import inline_obstacle, inlined, reads_of
from te.target import Target, shared_bytes

MOST_THREADS = 1024  # of a block
OF_WARP = 4  # accesses of a lane, up to which a row is a warp's
SHORT = 512  # elements of a row that a warp has where the call decides its length
EACH = 4  # accesses of a thread that are under way at once, where rows are longer
REGISTERS = 32 << 10  # of a block, 32 bits each: with as many, two blocks fit on a multiprocessor
REGISTERS_OF_THREAD = 64  # for elements of the row
SHARED_PART = 2  # blocks that share the shared memory of a multiprocessor


@dataclass(frozen=True, slots=True)
class _Sharing:
    """How threads share a row: how many they are, and how many neighbours of an access each has."""

    width: int
    lanes: int


def rows_at(program: Program, last: Stage, taken: set[str]) -> Rows | None:
    """The rows of a stage that the threads of a block reduce: with its members, or a reduction alone."""

    def axis_along(stage: Stage) -> Axis | None:
        return vector_axis(as_in_memory(stage, program))

    found = rows_of(program, last, taken, axis_along)
    if found and any(m.reduction and len(m.axes) > found.count for m in found.members):
        found = None  # those reduce columns
    if found is not None or last.reduction is None or not last.axes:
        return found
    recurring = {name for r in program.recurrences for name in r.stages}
    is_along = axis_along(last) in last.reduction.axes and last.name not in recurring
    return Rows(last, len(last.axes), ()) if is_along else None


def short_rows(rows: Rows) -> list[Expr]:
    """The conditions under which rows whose length the call decides are so short that a warp can have one."""
    axes = [_along(stage, rows.count) for stage in (*rows.members, rows.last)]
    unknown = [axis.extent for axis in axes if axis is not None and size_of(axis) is None]
    return [compare("<=", extent, integer(SHORT)) for extent in dict.fromkeys(unknown)]


def lines_for_rows(rows: Rows, program: Program, target: Target) -> Iterator[list[Directive]]:
    """Lines for a stage and those that are computed at each row of it, the best ones first."""
    stages = (*rows.members, rows.last)
    lanes = min((_lanes(as_in_memory(stage, program), rows.count, target) for stage in stages), default=1)
    names = _inlined(program, rows)
    again = _with_inlined(rows, names) if names else rows
    inlining = [Inline((name,)) for name in reversed(names)]
    for each in dict.fromkeys((lanes, 1)):
        sharing = _Sharing(_width(stages, rows.count, each, program_facts(program)), each)
        kept = _kept(rows, sharing, target)
        if kept is not None:
            yield _lines(rows, sharing, *kept)
        kept = _kept(again, sharing, target) if names else None
        if kept is not None:
            yield [*inlining, *_lines(again, sharing, *kept)]
        yield [*inlining, *_lines(again, sharing, [], Scope.REGISTER)]


# ---------------------------------------------------------------- threads


def _along(stage: Stage, count: int) -> Axis | None:
    """The axis of a stage along which threads share a row."""
    if len(stage.axes) > count:
        return stage.axes[-1]
    axes = stage.reduction.axes if stage.reduction else ()
    return next((axis for axis in reversed(axes) if size_of(axis) != 1), axes[-1] if axes else None)


def _lanes(stage: Stage, count: int, target: Target) -> int:
    """How many neighbours of a row a thread takes at once: as many as one access of memory moves."""
    axis = _along(stage, count)
    if axis is None:
        return target.vector_bits // 8
    lanes, size = lanes_of(stage, target), size_of(axis)
    if scattered_reads(stage, axis) > 0:
        return 1
    while size is not None and size % lanes and lanes > 1:
        lanes //= 2
    return lanes


def _width(stages: Sequence[Stage], count: int, lanes: int, facts: Facts) -> int:
    """How many threads share a row: a power of two."""
    axes = [axis for stage in stages if (axis := _along(stage, count)) is not None]
    sizes = [_most(axis, facts) for axis in axes]
    known = [size for size in sizes if size is not None]
    if len(known) < len(sizes):
        return THREADS
    accesses = -(-max(known, default=1) // lanes)
    if accesses <= OF_WARP * WARP:
        return min(WARP, _power_of_two(accesses))
    return min(MOST_THREADS, max(2 * WARP, _power_of_two(-(-accesses // EACH))))


def _most(axis: Axis, facts: Facts) -> int | None:
    """How many values an axis takes at most; None where nothing bounds what the call decides."""
    high = bounds(axis.extent, facts, variables(axis.extent))[1]
    return int(high.value) if isinstance(high, Const) else None


def _power_of_two(least: int) -> int:
    return 1 << max(0, least - 1).bit_length()


# ---------------------------------------------------------------- what is kept of a row


def _kept(rows: Rows, sharing: _Sharing, target: Target) -> tuple[list[tuple[str, int]], Scope] | None:
    """The inputs and where rows of them and of the members are kept; None where there is no place."""
    wide = [m for m in rows.members if len(m.axes) > rows.count]
    if any(len(m.axes) > rows.count + 1 or m.reduction for m in wide):
        return None
    inputs = _shared_inputs(rows)
    length = 0
    for stage in (*rows.members, rows.last):
        axis = _along(stage, rows.count)
        if axis is not None:
            size = size_of(axis)
            if size is None:
                return None
            length = max(length, size)
    if not wide and not inputs:
        return [], Scope.REGISTER
    bits = [m.tensor.dtype.bits for m in wide]
    bits += [load.dtype.bits for load in inputs]
    each = -(-length // (sharing.width * sharing.lanes)) * sharing.lanes
    words = each * sum(max(32, b) for b in bits) // 32
    names = [(load.buffer, len(load.index)) for load in inputs]
    if words <= min(REGISTERS_OF_THREAD, REGISTERS // max(THREADS // 2, sharing.width)):
        return names, Scope.REGISTER
    taken = length * sum(bits) // 8
    return (names, Scope.SHARED) if taken <= shared_bytes(target.name) // SHARED_PART else None


def _shared_inputs(rows: Rows) -> list[Load]:
    """What of other tensors several stages read along their own row: those reads are the same in all."""
    members = {m.name for m in rows.members}
    found: dict[str, tuple[Load, set[str]]] = {}
    spoilt: set[str] = set()
    for stage in (*rows.members, rows.last):
        axis = _along(stage, rows.count)
        own = tuple(Var(a.name) for a in stage.axes[: rows.count])
        for load in reads_of(stage):
            if load.buffer in members:
                continue
            if axis is None or load.index != (*own, Var(axis.name)):
                spoilt.add(load.buffer)
                continue
            found.setdefault(load.buffer, (load, set()))[1].add(stage.name)
    return [load for name, (load, readers) in found.items() if name not in spoilt and len(readers) > 1]


def _inlined(program: Program, rows: Rows) -> list[str]:
    """The members that have an element for each of the row: they are computed again where they are read."""
    return [m.name for m in rows.members if len(m.axes) > rows.count and not inline_obstacle(program, m)]


def _with_inlined(rows: Rows, names: Sequence[str]) -> Rows:
    """The rows without some members, whose values stand where they are read."""
    stages = [*rows.members, rows.last]
    for name in reversed(names):
        gone = next(stage for stage in stages if stage.name == name)
        stages = [_reading(stage, gone) for stage in stages if stage is not gone]
    *members, last = stages
    return Rows(last, rows.count, tuple(members))


def _reading(stage: Stage, gone: Stage) -> Stage:
    return inlined(stage, gone) if any(load.buffer == gone.name for load in reads_of(stage)) else stage


# ---------------------------------------------------------------- lines


def _lines(rows: Rows, sharing: _Sharing, inputs: Sequence[tuple[str, int]], scope: Scope) -> list[Directive]:
    """Lines that compute everything at its row; stages and copies of inputs that are as long as it lie in `scope`."""
    last = rows.last
    lines, at = _rows_on_blocks(rows, sharing)
    if rows.members:
        lines.append(ComputeAt(tuple(stage.name for stage in rows.members), at))
    copies = []
    for name, rank in inputs:
        copy, axes = f"{last.name}_{name}", tuple(f"of_{n}" for n in range(rank))
        copies.append((copy, axes))
        lines.append(CacheRead(TensorAxes(name, axes), at, as_=copy, in_=scope))
    for stage in rows.members:
        is_wide = len(stage.axes) > rows.count
        if is_wide:
            copies.append((stage.name, tuple(a.name for a in stage.axes)))
        lines.append(SetScope(stage.name, scope if is_wide else Scope.REGISTER))
    if scope is Scope.REGISTER:
        lines += [SetLayout(TensorAxes(name, axes), _digits(axes, sharing)) for name, axes in copies]
    for name, axes in copies[: len(inputs)]:
        lines += _shared_along(loop_name(name, axes[-1]), sharing)
    for stage in (*rows.members, last):
        axis = _along(stage, rows.count)
        if axis is not None:
            lines += _shared_along(loop_name(stage.name, axis.name), sharing)
    if sharing.width < THREADS // 2:
        lines.append(Bind(loop_name(last.name, "thread_y"), "thread.y"))
        lines.append(Bind(loop_name(last.name, "block"), "block.x"))
    else:
        lines.append(Bind(at, "block.x"))
    return lines


def _rows_on_blocks(rows: Rows, sharing: _Sharing) -> tuple[list[Directive], str]:
    """Lines that make a loop over rows, or over those of a block, and its name."""
    names = [axis.name for axis in rows.last.axes[: rows.count]]
    lines = fused(rows.last, names, "row")
    at = loop_name(rows.last.name, "row" if names[1:] else names[0])
    if sharing.width >= THREADS // 2:
        return lines, at
    lines.append(Split(at, by=THREADS // sharing.width, into=("block", "thread_y")))
    return lines, loop_name(rows.last.name, "thread_y")


def _shared_along(loop: str, sharing: _Sharing) -> list[Directive]:
    """Lines that give the threads of a row every so-many-th access along a loop."""
    stage = loop.rpartition(".")[0]
    lines: list[Directive] = []
    if sharing.lanes > 1:
        lines.append(Split(loop, by=sharing.lanes, into=("group", "lane")))
        loop = loop_name(stage, "group")
    lines.append(Split(loop, by=sharing.width, into=("trip", "thread")))
    if sharing.lanes > 1:
        lines.append(Vectorize((loop_name(stage, "lane"),)))
    return [*lines, Bind(loop_name(stage, "thread"), "thread.x")]


def _digits(axes: Sequence[str], sharing: _Sharing) -> Layout:
    """The layout of a row over trips and threads, so that each thread keeps one element of each trip's lanes."""
    part = integer(sharing.width * sharing.lanes)
    *outer, last = (Var(axis) for axis in axes)
    dims: list[Expr] = [*outer, floor_div(last, part), floor_mod(last, part)]
    return Layout(tuple(dims))
