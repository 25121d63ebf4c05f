"""Rows: reductions over the last axis, and what is computed from them, one row at a time.

    m[i]    = max[j](X[i, j])
    e[i, j] = exp(X[i, j] - m[i])
    Y[i, j] = e[i, j] / sum[k](e[i, k])

A row stays in the caches from its first pass to its last, and what lies between is stored for one row
at a time. So the stages that only rows of one stage need are computed at its loop over rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from te.ir.expr import Const, Var
from te.ir.tensor import Axis, Program, Stage
from te.schedule.auto.contraction import contraction_of
from te.schedule.auto.convolution import convolution_of
from te.schedule.auto.loops import SUMS, lanes_of, parallel_loop, vector_axis, vectorize
from te.schedule.auto.tiles import size_of
from te.schedule.auto.windows import windows_of
from te.schedule.directives import ComputeAt, Parallel, Split, Vectorize
from te.schedule.forms import Directive
from te.schedule.nest import loop_name
from te.schedule.placement import readers_of, reads_of
from te.target import Target

TOGETHER = 4  # short rows
SHORT_VECTORS = 16  # of a row, up to which it is short


@dataclass(frozen=True, slots=True)
class Rows:
    """A stage, how many of its axes say which row it is, and the stages to compute at each row, in order.

    Those are read only by each other and by `last`, always in the reader's own row.
    """

    last: Stage
    count: int
    members: tuple[Stage, ...]


def rows_of(
    program: Program,
    last: Stage,
    taken: set[str],
    axis_along: Callable[[Stage], Axis | None] = vector_axis,
) -> Rows | None:
    """The rows of a stage, if a reduction is computed at them.

    Its last axis runs along a row; or it has one value for each, where all reductions read along rows, as
    `axis_along` says of each.
    """
    members = _stages_of_rows(program, last, taken, len(last.axes) - 1)
    if members:
        return Rows(last, len(last.axes) - 1, tuple(members))
    members = _stages_of_rows(program, last, taken, len(last.axes)) if last.reduction is None else []
    along_rows = [axis_along(s) in s.reduction.axes for s in members if s.reduction is not None]
    return Rows(last, len(last.axes), tuple(members)) if members and all(along_rows) else None


def _stages_of_rows(program: Program, last: Stage, taken: set[str], rows: int) -> list[Stage]:
    """The stages to compute at the rows of `last`; none where no reduction is among them."""
    recurring = {name for r in program.recurrences for name in r.stages}
    if rows < 1 or last.name in recurring or _has_tiles(last):
        return []
    group = {last.name: last}
    for stage in reversed(program.stages[: program.stages.index(last)]):
        readers = readers_of(program, stage.name)
        if stage.name in program.outputs or stage.name in taken or stage.name in recurring:
            continue
        if not readers or any(reader.name not in group for reader in readers) or _has_tiles(stage):
            continue
        if all(_reads_own_row(reader, stage, rows) for reader in readers):
            group[stage.name] = stage
    members = [stage for stage in program.stages if stage.name in group and stage is not last]
    is_worth_it = any(stage.reduction is not None for stage in members)
    return members if is_worth_it else []


def _has_tiles(stage: Stage) -> bool:
    """Whether a stage is computed in tiles, which are better than rows."""
    return any(roles(stage) is not None for roles in (contraction_of, convolution_of, windows_of))


def _reads_own_row(reader: Stage, stage: Stage, rows: int) -> bool:
    if len(stage.axes) < rows or len(reader.axes) < rows:
        return False
    own = tuple(Var(axis.name) for axis in reader.axes[:rows])
    extents = [axis.extent for axis in reader.axes[:rows]]
    return [axis.extent for axis in stage.axes[:rows]] == extents and all(
        load.index[:rows] == own for load in reads_of(reader) if load.buffer == stage.name
    )


def lines_for_rows(rows: Rows, target: Target) -> list[Directive]:
    """The lines that compute everything at its row, in vectors along it."""
    last = rows.last
    at = row = loop_name(last.name, last.axes[rows.count - 1].name)
    lines: list[Directive] = []
    if _is_short(rows, target):
        at = f"{row}o"
        lines.append(Split(row, by=TOGETHER))
    lines.append(ComputeAt(tuple(stage.name for stage in rows.members), at))
    for stage in (*rows.members, last):
        axis = vector_axis(stage)
        if axis is None or (axis in stage.axes and stage.axes.index(axis) < rows.count):
            continue
        lines.append(_in_vectors(stage, target) or vectorize(stage, axis, target))
    outermost = parallel_loop(last, None)
    if outermost:
        lines.append(Parallel((at if outermost == row else outermost,)))
    return lines


def _is_short(rows: Rows, target: Target) -> bool:
    """Whether rows are so short that combining the lanes of one takes long beside the rest of it.

    Then some rows are computed together, stage by stage, so that the processor combines the lanes of several at a time.
    """
    last = rows.last
    count, length = size_of(last.axes[rows.count - 1]), size_of(last.axes[-1])
    if rows.count == len(last.axes) or count is None or length is None:
        return False
    return count % TOGETHER == 0 and length <= SHORT_VECTORS * lanes_of(last, target)


def _in_vectors(stage: Stage, target: Target) -> Vectorize | None:
    """Several vectors of partial results for a reduction over the last axis that is long enough."""
    axis = vector_axis(stage)
    if axis is None or stage.reduction is None or axis not in stage.reduction.axes:
        return None
    lanes = SUMS * lanes_of(stage, target)
    is_short = isinstance(axis.extent, Const) and axis.extent.value < lanes
    return None if is_short else Vectorize((loop_name(stage.name, axis.name),), by=lanes)
