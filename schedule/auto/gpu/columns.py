"""Reductions over an axis other than the last on GPUs: sums of columns, and the like.

    Y[j] = sum[i](X[i, j])

Neighbours in memory are on neighbouring threads, 16 bytes each; the rows are shared by threads in the other dimension
of a block, whose partial results are combined through shared memory. Where columns alone make too few blocks, or sizes
do not tell, blocks in a second dimension have chunks of rows, and a second launch reduces their results.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod

from te.ir.tensor import Program, Stage
from te.schedule.auto.columns import is_over_rows
from te.schedule.auto.gpu.points import THREADS, WARP, fused, fused_loops
from te.schedule.auto.loops import lanes_of, scattered_reads
from te.schedule.auto.tiles import size_of
from te.schedule.directives import Bind, Reorder, Rfactor, Split, Vectorize
from te.schedule.forms import Directive
from te.schedule.nest import loop_name
from te.target import Target

CHUNK_ROWS = 256
ENOUGH_BLOCKS = 512  # a few for each multiprocessor of the largest GPUs


def lines_for_columns(stage: Stage, program: Program, target: Target) -> Iterator[list[Directive]]:
    """Lines for a reduction over an axis other than the last, the best ones first."""
    recurring = {name for recurrence in program.recurrences for name in recurrence.stages}
    if stage.name in recurring or not is_over_rows(stage):
        return
    assert stage.reduction is not None
    lanes, size = lanes_of(stage, target), size_of(stage.axes[-1])
    if scattered_reads(stage, stage.axes[-1]) > 0:
        lanes = 1
    while size is not None and size % lanes and lanes > 1:
        lanes //= 2
    rows = [axis.name for axis in stage.reduction.axes]
    fusing = fused(stage, rows, "row")
    row = "row" if rows[1:] else rows[0]
    for each in dict.fromkeys((lanes, 1)):
        if _needs_chunks(stage, each):
            yield [*fusing, *_in_chunks(stage, row, each)]
        yield [
            *fusing,
            *_columns(stage.name, [axis.name for axis in stage.axes], row, _width(size, each), each),
        ]


def _width(size: int | None, lanes: int) -> int:
    """How many threads have columns beside each other."""
    width = WARP
    while size is not None and width > 1 and (width // 2) * lanes >= size:
        width //= 2
    return width


def _needs_chunks(stage: Stage, lanes: int) -> bool:
    """Whether rows are to be shared by blocks, too."""
    assert stage.reduction is not None
    rows = [size_of(axis) for axis in stage.reduction.axes]
    data = [size_of(axis) for axis in stage.axes]
    known_rows = prod(size for size in rows if size is not None)
    if None not in rows and known_rows <= CHUNK_ROWS:
        return False
    elements = prod(size for size in data if size is not None)
    return None in data or elements < ENOUGH_BLOCKS * WARP * lanes


def _in_chunks(stage: Stage, row: str, lanes: int) -> list[Directive]:
    """Partial results for chunks of rows, and then their reduction."""
    part, size = f"{stage.name}_part", size_of(stage.axes[-1])
    names = [axis.name for axis in stage.axes]
    width = _width(size, lanes)
    return [
        Split(loop_name(stage.name, row), by=CHUNK_ROWS, into=("chunk", "inside")),
        Rfactor(loop_name(stage.name, "chunk"), of=stage.name, as_=part),
        *_columns(part, names, "inside", width, lanes, chunk="chunk"),
        *_columns(stage.name, names, "chunk", width, lanes),
    ]


def _columns(
    stage: str, names: Sequence[str], row: str, width: int, lanes: int, chunk: str | None = None
) -> list[Directive]:
    """Lines for a nest over `names` whose terms are those of the loop `row`, in each trip of the loop `chunk`."""

    def loop(name: str) -> str:
        return loop_name(stage, name)

    *outer, column = names
    lines: list[Directive] = []
    if lanes > 1:
        lines.append(Split(loop(column), by=lanes, into=("group", "lane")))
        column = "group"
    lines.append(Split(loop(column), by=width, into=("block_x", "thread_x")))
    lines.append(Split(loop(row), by=THREADS // width, into=("trip", "thread_y")))
    inner = ["thread_x", "trip", "thread_y", *(["lane"] if lanes > 1 else [])]
    around = [*([chunk] if chunk else []), *outer]
    lines.append(Reorder(tuple(map(loop, (*around, "block_x", *inner)))))
    if lanes > 1:
        lines.append(Vectorize((loop("lane"),)))
    if outer:
        lines += fused_loops(stage, outer, "plane")
        lines.append(Bind(loop("plane" if outer[1:] else outer[0]), "block.z"))
    if chunk:
        lines.append(Bind(loop(chunk), "block.y"))
    lines += [Bind(loop("block_x"), "block.x"), Bind(loop("thread_x"), "thread.x")]
    return [*lines, Bind(loop("thread_y"), "thread.y")]
