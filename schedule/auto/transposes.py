"""Stages that write along one axis and read along another: transposes, and permutations of any rank.

    Y[i, j] = X[j, i]

A vector along `j` would gather. In a tile, where `i` is unrolled and `j` in vectors, the code generator
reads rows and transposes them in registers (`te/ir/blocks.py`). Strips of a few tiles along `j` are as
wide as lines of the caches and more, so that what is written runs on; along `i`, a strip goes from end
to end, so that what is read runs on, too, in as many streams as the strip is wide. Of 4096 × 4096 f32 that
took 5.4 ms (a copy: 5.3, torch: 19), square blocks of 64 and 128 took 11 (docs/performance.md). Where the
result cannot be stored past the caches, and does not stay in them, a few rows of it are written from end to end.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod

from te.ir.expr import Const, Load, Var
from te.ir.tensor import Axis, Program, Stage
from te.ir.visit import variables
from te.schedule.auto.loops import lanes_of, parallel_work, vectorize
from te.schedule.auto.streams import stream_of
from te.schedule.auto.tiles import fused, size_of
from te.schedule.directives import Parallel, Reorder, Split, Unroll, Vectorize
from te.schedule.forms import Directive, Tail
from te.schedule.nest import loop_name
from te.schedule.placement import reads_of
from te.target import Target

ROWS = 16  # that are transposed together; their vectors take half the registers
FEWEST_ROWS = 4
NEIGHBOURS = 16  # rows that are moved together where the last axis stays
TILES = 4  # side by side in a strip
SHARES = 16  # trips, so that threads which share them are done at about the same time
APART = 1024  # bytes: rows a multiple of it apart have their lines at a quarter of all places at most
FAR = 2048  # bytes: rows that far apart are mostly in pages of their own


def lines_for_transpose(stage: Stage, program: Program, target: Target) -> Iterator[list[Directive]]:
    """Tiles of a stage that reads along another axis than it writes, if this is one."""
    yield from _lines_for_rows_moved(stage, target)
    axis = axis_of_reads(stage)
    if axis is None:
        return
    column = stage.axes[-1]
    lanes = lanes_of(stage, target)
    columns = _at_most(lanes, column)
    rows = _at_most(max(FEWEST_ROWS, min(ROWS, lanes)), axis)

    def loop(axis: Axis, part: str = "") -> str:
        return loop_name(stage.name, axis.name + part)

    strip, tile = loop(column, "o"), loop(axis, "o")
    order, width = (strip, tile), _tiles_aside(stage, program, target) * columns
    if _is_by_rows(stage, axis, program, target):
        order, width, rows = (tile, strip), columns, max(FEWEST_ROWS, rows // 2)
    others = [loop(other) for other in stage.axes[:-1] if other is not axis]
    inside = [loop(axis, "i"), loop(column, "i")]
    is_known = size_of(axis) is not None and size_of(column) is not None
    for tail in (Tail.SHIFT, Tail.GUARD) if is_known else (Tail.GUARD,):
        lines: list[Directive] = [
            Split(loop(axis), by=rows, tail=tail),
            Split(loop(column), by=width, tail=tail),
        ]
        if width > columns:
            lines.append(Split(loop(column, "i"), by=columns, into=(column.name + "t", column.name + "v")))
            inside = [loop(column, "t"), loop(axis, "i"), loop(column, "v")]
        lines.append(Reorder((*others, *order, *inside)))
        lines += [Unroll((loop(axis, "i"),)), Vectorize((inside[-1],))]
        if parallel_work(stage):
            lines.append(Parallel((fused(stage, _shared(stage, axis, order), lines),)))
        yield lines


def _shared(stage: Stage, axis: Axis, order: Sequence[str]) -> list[str]:
    """The loops whose trips threads share: as many of the outermost as make trips for all, where sizes tell."""
    loops: list[str] = []
    trips = 1
    for other in stage.axes[:-1]:
        if other is not axis and trips < SHARES:
            loops.append(loop_name(stage.name, other.name))
            trips *= size_of(other) or 1
    return loops if trips >= SHARES else [*loops, *order]


def _is_by_rows(stage: Stage, axis: Axis, program: Program, target: Target) -> bool:
    """Whether a few rows of the result are written from end to end, instead of a strip of its columns.

    A strip writes a line in each row. Where rows lie in different pages and the result is in no cache, each of these
    lines is waited for, and there are more of them than what a few rows read.
    """
    count, length = size_of(axis), size_of(stage.axes[-1])
    if count is None or length is None or stream_of(stage, program, target) is not None:
        return False
    row = length * stage.tensor.dtype.bytes
    total = prod(size_of(a) or 1 for a in stage.axes) * stage.tensor.dtype.bytes
    last = target.caches[-1]
    return row >= FAR and (total >= last // 2 or (total >= last // 4 and length < count))


def _tiles_aside(stage: Stage, program: Program, target: Target) -> int:
    """How many tiles a strip is wide: several where what is written should run on, else one.

    That is where rows of the result lie so that their lines compete for places in the caches, and where it is stored
    past these.
    """
    size = size_of(stage.axes[-1])
    row = None if size is None else size * stage.tensor.dtype.bytes
    is_apart = row is not None and row % APART != 0
    return 1 if is_apart and stream_of(stage, program, target) is None else TILES


def _lines_for_rows_moved(stage: Stage, target: Target) -> Iterator[list[Directive]]:
    """Permutations of all axes but the last, whose rows are short: a few neighbours of both sides at a time."""
    if stage.reduction is not None or len(stage.axes) < 3:
        return
    reads = list(reads_of(stage))
    names = [axis.name for axis in stage.axes]
    if len(reads) != 1 or not all(isinstance(i, Var) for i in reads[0].index):
        return
    read = [i.name for i in reads[0].index if isinstance(i, Var)]
    if sorted(read) != sorted(names) or read[-1] != names[-1] or read[-2] == names[-2]:
        return
    written, other, last = names[-2], read[-2], stage.axes[-1]

    def loop(name: str) -> str:
        return loop_name(stage.name, name)

    outer = [loop(name) for name in names[:-2] if name != other]
    order = (*outer, loop(other + "o"), loop(written + "o"), loop(other + "i"), loop(written + "i"))
    vector = vectorize(stage, last, target)
    lines: list[Directive] = [Split(loop(other), by=NEIGHBOURS), Split(loop(written), by=NEIGHBOURS)]
    lines += [Reorder((*order, loop(last.name))), vector]
    yield [*lines, Parallel((order[0],))] if parallel_work(stage) else lines


def axis_of_reads(stage: Stage) -> Axis | None:
    """The axis along which a stage reads neighbours where it does not along its last one."""
    if stage.reduction is not None or len(stage.axes) < 2 or _is_short(stage.axes[-1], 2):
        return None
    last = stage.axes[-1].name
    found = {name for load in reads_of(stage) if (name := _turned(load, last)) is not None}
    if len(found) != 1:
        return None
    axis = next((axis for axis in stage.axes if axis.name in found), None)
    return None if axis is None or _is_short(axis, FEWEST_ROWS) else axis


def _turned(load: Load, last: str) -> str | None:
    """The variable along which a read has its neighbours, where it is not the last axis but depends on that."""
    if not load.index or not isinstance(load.index[-1], Var):
        return None
    name = load.index[-1].name
    around = {v for i in load.index[:-1] for v in variables(i)}
    return name if name != last and last in around and name not in around else None


def _is_short(axis: Axis, fewest: int) -> bool:
    return isinstance(axis.extent, Const) and axis.extent.value < fewest


def _at_most(count: int, axis: Axis) -> int:
    return min(count, int(axis.extent.value)) if isinstance(axis.extent, Const) else count
