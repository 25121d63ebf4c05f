"""Reductions over an axis other than the last on GPUs: sums of columns, and the like.

    Y[j] = sum[i](X[i, j])

Neighbours in memory are on neighbouring threads, 16 bytes each; the rows are shared by threads in the other dimension
of a block, whose partial results are combined through shared memory. Where columns alone make too few blocks, or sizes
do not tell, blocks in a second dimension have chunks of rows, and a second launch reduces their results. What reads a
result alone, element by element, is computed from the registers that hold it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

from te.ir.tensor import Program, Stage
from te.schedule.auto.columns import is_over_rows
from te.schedule.auto.gpu.blocks import on_threads
from te.schedule.auto.gpu.points import THREADS, WARP, fused, planes_on_blocks
from te.schedule.auto.loops import lanes_of, scattered_reads
from te.schedule.auto.tiles import Plan, pointwise_readers, size_of
from te.schedule.directives import Bind, ComputeAt, Reorder, Rfactor, SetScope, Split, Vectorize
from te.schedule.forms import Directive, Scope
from te.schedule.nest import loop_name
from te.target import Target

CHUNK_ROWS = 256
ENOUGH_BLOCKS = 512  # a few for each multiprocessor of the largest GPUs


def plans_for_columns(stage: Stage, program: Program, target: Target) -> Iterator[Plan]:
    """Plans for a reduction over an axis other than the last, the best ones first."""
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
    found = pointwise_readers(stage, program)
    for reader in (*(found if len(found) == 1 else ()), None):
        names = (stage.name, *([reader.name] if reader else []))
        for each in dict.fromkeys((lanes, 1)):
            nest = _Nest(stage, reader, _width(size, each), each)
            if _needs_chunks(stage, each):
                yield Plan((*fusing, *nest.in_chunks(row)), names)
            yield Plan((*fusing, *nest.lines(row)), names)


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


@dataclass(frozen=True, slots=True)
class _Nest:
    """A reduction with the stage computed from it: `width` threads side by side, of `lanes` columns each."""

    stage: Stage
    reader: Stage | None
    width: int
    lanes: int

    @property
    def columns(self) -> list[str]:
        return [axis.name for axis in self.stage.axes]

    def in_chunks(self, row: str) -> list[Directive]:
        """Partial results for chunks of rows, and then their reduction."""
        name, part = self.stage.name, f"{self.stage.name}_part"
        return [
            Split(loop_name(name, row), by=CHUNK_ROWS, into=("chunk", "inside")),
            Rfactor(loop_name(name, "chunk"), of=name, as_=part),
            *self._alone(part, "inside", "chunk"),
            *self.lines("chunk"),
        ]

    def lines(self, row: str) -> list[Directive]:
        """Lines for a reduction over the loop `row`."""
        return self._alone(self.stage.name, row) if self.reader is None else self._read_by(self.reader, row)

    def _alone(self, stage: str, row: str, chunk: str | None = None) -> list[Directive]:
        """Lines for the stage, or a part of it for each trip of the loop `chunk`."""
        lines, blocks, threads, lane = self._split(stage)
        lines.append(self._shared(stage, row))
        around = [loop_name(stage, chunk)] if chunk else []
        inner = [loop_name(stage, name) for name in ("trip", "thread_y")]
        lines.append(Reorder((*around, *blocks, *threads, *inner, *lane)))
        lines += [Vectorize((name,)) for name in lane]
        if chunk:
            lines.append(Bind(loop_name(stage, chunk), "block.y"))
        return [*lines, *self._bound(stage), Bind(loop_name(stage, "thread_y"), "thread.y")]

    def _read_by(self, reader: Stage, row: str) -> list[Directive]:
        """Lines for the stage in registers, and for its reader on the threads of the columns."""
        name = self.stage.name
        column = loop_name(name, self.columns[-1])
        lines, blocks, threads, lane = self._split(reader.name)
        lines += [Reorder((*blocks, *threads, *lane)), ComputeAt((name,), threads[-1])]
        lines += [SetScope(name, Scope.REGISTER), self._shared(name, row)]
        lines.append(Reorder((loop_name(name, "trip"), loop_name(name, "thread_y"), column)))
        lines += [Vectorize((each,)) for each in (column, *lane) if lane]
        return [*lines, *self._bound(reader.name), Bind(loop_name(name, "thread_y"), "thread.y")]

    def _split(self, stage: str) -> tuple[list[Directive], list[str], list[str], list[str]]:
        """Lines that cut the columns of a nest; its loops of blocks, of threads, and of lanes."""
        *outer, column = self.columns
        lines: list[Directive] = []
        lane: list[str] = []
        if self.lanes > 1:
            lines.append(Split(loop_name(stage, column), by=self.lanes, into=("group", "lane")))
            column, lane = "group", [loop_name(stage, "lane")]
        lines.append(Split(loop_name(stage, column), by=self.width, into=("block_x", "thread_x")))
        blocks = [loop_name(stage, name) for name in (*outer, "block_x")]
        return lines, blocks, [loop_name(stage, "thread_x")], lane

    def _shared(self, stage: str, row: str) -> Directive:
        """The line that shares the loop `row` among the threads of a column."""
        return Split(loop_name(stage, row), by=THREADS // self.width, into=("trip", "thread_y"))

    def _bound(self, stage: str) -> list[Directive]:
        """Lines that bind the loops of columns to blocks and threads."""
        binds = {"block_x": "block.x", "thread_x": "thread.x"}
        return [*planes_on_blocks(stage, self.columns[:-1]), *on_threads(stage, binds)]
