"""Stages that write along one axis and read along another on GPUs: tiles in shared memory.

    Y[i, j] = X[j, i]

A block copies a tile of what it reads, row by row, and writes it row by row: neighbours in memory are on neighbouring
threads both times. A row of the tile takes one element more than it has: so the elements of a column, too, lie in
different banks.
"""

from __future__ import annotations

from collections.abc import Iterator

from te.ir.expr import Load, Var
from te.ir.tensor import Axis, Program, Stage
from te.ir.visit import variables
from te.schedule.auto.gpu.points import THREADS, WARP, bound, planes_on_blocks
from te.schedule.auto.transposes import axis_of_reads
from te.schedule.directives import Align, Bind, CacheRead, Reorder, Split, Unroll
from te.schedule.forms import Directive, Scope, TensorAxes
from te.schedule.nest import loop_name
from te.schedule.placement import reads_of
from te.target import Target

SIDE = WARP  # elements of a tile along both axes
ROWS = THREADS // SIDE  # that all threads move at once


def lines_for_transpose(stage: Stage, program: Program, target: Target) -> Iterator[list[Directive]]:
    """Lines for a stage that reads along another axis than it writes, if this is one."""
    axis = axis_of_reads(stage)
    if axis is None:
        return
    column = stage.axes[-1]
    reads = list(dict.fromkeys(reads_of(stage)))
    elsewhere = {
        a.buffer for a in reads for b in reads if a.buffer == b.buffer and a != b
    }  # no tile has all of that
    turned = [load for load in reads if _is_turned(load, axis, column) and load.buffer not in elsewhere]
    if not turned:
        return

    def loop(name: str) -> str:
        return loop_name(stage.name, name)

    others = [other.name for other in stage.axes[:-1] if other is not axis]
    lines: list[Directive] = [
        Split(loop(axis.name), by=SIDE, into=("block_y", "in_y")),
        Split(loop(column.name), by=SIDE, into=("block_x", "thread_x")),
        Split(loop("in_y"), by=ROWS, into=("own", "thread_y")),
        Reorder(tuple(map(loop, (*others, "block_y", "block_x", "thread_y", "thread_x", "own")))),
        Unroll((loop("own"),)),
    ]
    lines += planes_on_blocks(stage.name, others)
    for load in turned:
        lines += _copy(stage, load, column)
    yield [*lines, *bound(stage, "y"), *bound(stage, "x")]


def _is_turned(load: Load, axis: Axis, column: Axis) -> bool:
    """Whether neighbours along `axis` are neighbours in memory, and the column is an index by itself."""
    along = [i for i in load.index if variables(i) & {axis.name, column.name}]
    return along == [Var(column.name), Var(axis.name)] and load.index[-1] == Var(axis.name)


def _copy(stage: Stage, load: Load, column: Axis) -> list[Directive]:
    """Lines that copy a tile of a tensor to shared memory, all threads of the block together."""
    copy = f"{stage.name}_{load.buffer}"
    names = tuple(f"of_{position}" for position in range(len(load.index)))
    row, last = loop_name(copy, names[load.index.index(Var(column.name))]), loop_name(copy, names[-1])
    at = loop_name(stage.name, "block_x")
    return [
        CacheRead(TensorAxes(load.buffer, names), at, as_=copy, in_=Scope.SHARED),
        Align(copy, axis=len(names) - 1, by=SIDE + 1),
        Split(row, by=ROWS, into=("own", "thread_y")),
        Reorder((loop_name(copy, "thread_y"), last, loop_name(copy, "own"))),
        Unroll((loop_name(copy, "own"),)),
        Bind(loop_name(copy, "thread_y"), "thread.y"),
        Bind(last, "thread.x"),
    ]
