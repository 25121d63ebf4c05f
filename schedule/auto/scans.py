"""Recurrences along the last axis, such as running sums: several rows at once.

    Y[i, j] = X[i, j] + (Y[i, j - 1] else 0)

Each element waits for the one before it, some cycles; several rows have as many that do not wait for
each other.
"""

from __future__ import annotations

from collections.abc import Iterator

from te.ir.expr import Var
from te.ir.tensor import Program, Stage
from te.schedule.auto.loops import parallel_work
from te.schedule.directives import Parallel, Reorder, Split, Unroll
from te.schedule.forms import Directive
from te.schedule.nest import loop_name
from te.schedule.placement import reads_of
from te.target import Target

ROWS = 4  # with eight, the lines of rows some KiB apart pushed each other out of the first cache


def lines_for_scan(stage: Stage, program: Program, target: Target) -> Iterator[list[Directive]]:
    """Several rows of a stage whose elements are computed from those before them in the row."""
    alone = any(recurrence.stages == (stage.name,) for recurrence in program.recurrences)
    if not alone or stage.reduction is not None or len(stage.axes) < 2:
        return
    around = tuple(Var(axis.name) for axis in stage.axes[:-1])
    own = [load for load in reads_of(stage) if load.buffer == stage.name]
    if any(load.index[:-1] != around for load in own):
        return  # along another axis, too, so that vectors may run along the last

    def loop(name: str) -> str:
        return loop_name(stage.name, name)

    *outer, row, last = (axis.name for axis in stage.axes)
    lines: list[Directive] = [
        Split(loop(row), by=ROWS),
        Reorder(tuple(map(loop, (*outer, row + "o", last, row + "i")))),
        Unroll((loop(row + "i"),)),
    ]
    if parallel_work(stage):
        lines.append(Parallel((loop(outer[0] if outer else row + "o"),)))
    yield lines
