"""Hints about the caches: results larger than those go past them, the next row is fetched ahead.

A store into the caches first reads the line, and pushes out another. Where the result is larger than half
the last cache, nobody finds it there; whether it is, the call may decide (`stream Y of 16777216`). Rows that
end within a line would share that between two kinds of stores, which took up to 17 times as long.
"""

from __future__ import annotations

from math import prod

from te.ir.expr import Const, Load, Var
from te.ir.tensor import Axis, Program, Stage, Tensor
from te.ir.visit import loads, variables
from te.schedule.auto.loops import lanes_of, vector_axis
from te.schedule.auto.rows import Rows
from te.schedule.directives import Prefetch, Stream
from te.schedule.forms import Directive
from te.schedule.nest import loop_name
from te.schedule.placement import readers_of, reads_of
from te.target import Target

LINE = 64  # bytes of a line of the caches


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
    row = extents[-1]
    if len(extents) > 1 and isinstance(row, Const) and int(row.value) * stage.tensor.dtype.bytes % LINE:
        return None
    if all(isinstance(extent, Const) for extent in extents):
        elements = prod(int(extent.value) for extent in extents if isinstance(extent, Const))
        return Stream((stage.name,)) if elements * stage.tensor.dtype.bytes >= large else None
    return Stream((stage.name,), of=large)


def fetches_of(rows: Rows, program: Program, target: Target) -> list[Directive]:
    """Lines that fetch the next row of each input while this one is computed, a line of it in each trip.

    None where a result leaves the caches but cannot go past them: its stores fetch lines, too, and wait for as many
    places in the queue to memory (layer norm, 4096 × 1000: two thirds of the time without).
    """
    last = rows.last
    is_stored_along = rows.count < len(last.axes) and not _fits(last.tensor, target.caches[-1] // 4)
    if is_stored_along and stream_of(last, program, target) is None:
        return []
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


def fetches_of_lookups(stage: Stage, program: Program, target: Target) -> list[Directive]:
    """Lines that fetch the next of the rows that other elements name, as in `X[ids[i], j]`, a line of it in each trip.

    The processor cannot guess where the next row lies: without them, each row begins with misses. A tensor that fits
    the second cache needs none.
    """
    axis = vector_axis(stage)
    if axis is None or axis not in stage.axes:
        return []
    found: dict[str, Directive] = {}
    inputs = {tensor.name: tensor for tensor in program.inputs}
    for load in reads_of(stage):
        row = _row_looked_up(load, axis, stage)
        if row is None or load.buffer not in inputs or _fits(inputs[load.buffer], target.caches[1]):
            continue
        at = loop_name(stage.name, axis.name + "o")
        found[load.buffer] = Prefetch(load.buffer, at=at, ahead=1, of=loop_name(stage.name, row.name))
    return list(found.values())


def _row_looked_up(load: Load, axis: Axis, stage: Stage) -> Axis | None:
    """The innermost axis that decides which row an element of a tensor names, of a read along that row."""
    if not load.index or load.index[-1] != Var(axis.name):
        return None
    named = {name for i in load.index[:-1] if any(loads(i)) for name in variables(i)}
    rows = [a for a in stage.axes if a.name in named and a is not axis]
    return None if axis.name in named or not rows else rows[-1]


def _fits(tensor: Tensor, cache: int) -> bool:
    """Whether a tensor of known sizes fits a cache."""
    sizes = [int(extent.value) for extent in tensor.shape if isinstance(extent, Const)]
    return len(sizes) == len(tensor.shape) and prod(sizes) * tensor.dtype.bytes <= cache
