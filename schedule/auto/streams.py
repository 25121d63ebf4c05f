"""Hints about the caches: results larger than those go past them, the next row is fetched ahead.

A store into the caches first reads the line, and pushes out another. Where the result is larger than half
the last cache, nobody finds it there; whether it is, the call may decide (`stream Y of 16777216`).
"""

from __future__ import annotations

from math import prod

from te.ir.expr import Const, Var
from te.ir.tensor import Program, Stage
from te.schedule.auto.loops import lanes_of, vector_axis
from te.schedule.auto.rows import Rows
from te.schedule.directives import Prefetch, Stream
from te.schedule.forms import Directive
from te.schedule.nest import loop_name
from te.schedule.placement import readers_of, reads_of
from te.target import Target


def stream_of(stage: Stage, program: Program, target: Target) -> Stream | None:
    """The line that stores a result past the caches where it is large; None where it never is, or is read again."""
    if stage.name not in program.outputs or stage.reduction is not None or not stage.axes:
        return None
    if readers_of(program, stage.name) or any(stage.name in r.stages for r in program.recurrences):
        return None
    axis = vector_axis(stage)
    if axis is None or axis not in stage.axes:
        return None
    large = target.caches[-1] // 2
    extents = [axis.extent for axis in stage.axes]
    if all(isinstance(extent, Const) for extent in extents):
        elements = prod(int(extent.value) for extent in extents if isinstance(extent, Const))
        return Stream((stage.name,)) if elements * stage.tensor.dtype.bytes >= large else None
    return Stream((stage.name,), of=large)


def fetches_of(rows: Rows, program: Program, target: Target) -> list[Directive]:
    """Lines that fetch the next row of each input while this one is computed, a line of it in each trip."""
    found: dict[str, Directive] = {}
    of = loop_name(rows.last.name, rows.last.axes[rows.count - 1].name)
    for tensor in program.inputs:
        for stage in (*rows.members, rows.last):
            axis = vector_axis(stage)
            if axis is None or axis not in stage.axes[rows.count :]:
                continue
            if isinstance(axis.extent, Const) and axis.extent.value <= lanes_of(stage, target):
                continue
            own = (*(Var(a.name) for a in stage.axes[: rows.count]), Var(axis.name))
            if any(load.buffer == tensor.name and load.index == own for load in reads_of(stage)):
                at = loop_name(stage.name, axis.name + "o")
                found[tensor.name] = Prefetch(tensor.name, at=at, ahead=1, of=of)
    return list(found.values())
