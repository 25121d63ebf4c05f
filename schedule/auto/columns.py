"""Reductions over an axis other than the last: sums of columns, and the like.

    Y[j] = sum[i](X[i, j])

Vectors run along `j`, which is read and written contiguously. Eight rows are combined in registers
before they touch the result: that is read and written once for eight rows, and eight streams are read
at once. Where nothing but `i` and `j` is there to share among threads, chunks of rows have partial
results of their own (`rfactor`); few columns keep all threads busy, too.
"""

from __future__ import annotations

from collections.abc import Iterator

from te.ir.expr import Const, Load, Var
from te.ir.tensor import Axis, Program, Stage
from te.schedule.auto.loops import lanes_of, parallel_work
from te.schedule.directives import Fuse, Parallel, Reorder, Rfactor, Split, Unroll, Vectorize
from te.schedule.forms import Directive
from te.schedule.nest import loop_name
from te.schedule.placement import reads_of
from te.target import Target

ROWS = 8  # combined in registers
VECTORS = 2  # of a row at a time
CHUNK_ROWS, MOST_COLUMNS = 256, 4096  # for one thread at a time: 4 MiB of f32, 16 KiB of results


def lines_for_columns(stage: Stage, program: Program, target: Target) -> Iterator[list[Directive]]:
    """Lines for a reduction over an axis other than the last, the best ones first."""
    if not is_over_rows(stage):
        return
    is_alone = len(stage.axes) == 1 and stage.reduction is not None and len(stage.reduction.axes) == 1
    if is_alone and parallel_work(stage) and stage.name not in _recurring(program):
        yield _in_chunks(stage, target)
    yield _plain(stage, target)


def _recurring(program: Program) -> set[str]:
    return {name for recurrence in program.recurrences for name in recurrence.stages}


def is_over_rows(stage: Stage) -> bool:
    """Whether all reads are at plain indices, and one has the last axis last and a reduction axis before."""
    if stage.reduction is None or not stage.axes or not stage.reduction.axes:
        return False
    last, row = stage.axes[-1], stage.reduction.axes[-1]
    if isinstance(last.extent, Const) and last.extent.value < 2:
        return False
    if isinstance(row.extent, Const) and row.extent.value < 2:
        return False
    reads = list(reads_of(stage))
    names = [{i.name for i in load.index if isinstance(i, Var)} for load in reads]
    is_plain = all(len(found) == len(load.index) for found, load in zip(names, reads, strict=True))
    return is_plain and any(
        _runs_along(load, last) and row.name in found for found, load in zip(names, reads, strict=True)
    )


def _runs_along(load: Load, axis: Axis) -> bool:
    return bool(load.index) and load.index[-1] == Var(axis.name)


def _width(stage: Stage, target: Target) -> int:
    width = VECTORS * lanes_of(stage, target)
    extent = stage.axes[-1].extent
    while isinstance(extent, Const) and width > extent.value and width > 2:
        width //= 2
    return width


def _chunk(column: Axis, width: int) -> int:
    """How many columns are for one thread at a time; in equal shares, for threads wait for the last one."""
    if not isinstance(column.extent, Const):
        return MOST_COLUMNS
    size = int(column.extent.value)
    share = -(-size // -(-size // MOST_COLUMNS))
    return -(-share // width) * width


def _plain(stage: Stage, target: Target) -> list[Directive]:
    """Rows outside columns; threads share the axes around, or the columns."""
    assert stage.reduction is not None
    column, row = stage.axes[-1], stage.reduction.axes[-1]

    def loop(axis: Axis, part: str = "") -> str:
        return loop_name(stage.name, axis.name + part)

    around = [loop(axis) for axis in stage.axes[:-1]]
    rows = [*map(loop, stage.reduction.axes[:-1]), loop(row, "o")]
    lines: list[Directive] = [Split(loop(row), by=ROWS)]
    tail: list[str] = []
    if parallel_work(stage) and not around:
        lines.append(Split(loop(column), by=_chunk(column, _width(stage, target))))
        lines.append(
            Split(loop(column, "i"), by=_width(stage, target), into=(column.name + "t", column.name + "v"))
        )
        around, tail = [loop(column, "o")], [loop(column, "t")]
    else:
        lines.append(
            Split(loop(column), by=_width(stage, target), into=(column.name + "t", column.name + "v"))
        )
        tail = [loop(column, "t")]
    lines.append(Reorder((*around, *rows, *tail, loop(row, "i"), loop(column, "v"))))
    lines += [Unroll((loop(row, "i"),)), Vectorize((loop(column, "v"),))]
    if parallel_work(stage):
        lines.append(Parallel((around[0],)))
    return lines


def _in_chunks(stage: Stage, target: Target) -> list[Directive]:
    """Partial results for chunks of rows and columns, in parallel, and then their sum."""
    assert stage.reduction is not None
    column, row = stage.axes[-1].name, stage.reduction.axes[-1].name
    part, width = f"{stage.name}_part", _width(stage, target)

    def loop(name: str, of: str = stage.name) -> str:
        return loop_name(of, name)

    return [
        Split(loop(row), by=CHUNK_ROWS),
        Split(loop(row + "i"), by=ROWS, into=(row + "t", row + "v")),
        Split(loop(column), by=_chunk(stage.axes[-1], width)),
        Split(loop(column + "i"), by=width, into=(column + "t", column + "v")),
        Reorder(
            tuple(
                loop(n) for n in (row + "o", column + "o", row + "t", column + "t", row + "v", column + "v")
            )
        ),
        Unroll((loop(row + "v"),)),
        Vectorize((loop(column + "v"),)),
        Rfactor(loop(row + "o"), of=stage.name, as_=part),
        Fuse((loop(row + "o", part), loop(column + "o", part)), "chunk"),
        Parallel((loop("chunk", part),)),
        Split(loop(column), by=width),
        Reorder((loop(column + "o"), loop(row + "o"), loop(column + "i"))),
        Vectorize((loop(column + "i"),)),
    ]
