"""Windows: reductions over small neighbourhoods, such as pooling, stencils and depthwise convolutions.

    Y[n, c, y, x] = max[r < 3, s < 3](X[n, c, y*2 + r - 1, x*2 + s - 1] else -inf)

There is no axis in whose direction a window's elements are used again but the window's own: so
neighbours in a vector are neighbours in the result, and a few rows above each other, which share most of
what they read, are reduced in registers at a time, with the window written out. A padded copy
costs more than the masks of the few vectors at the border (docs/performance.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from te.ir.expr import TRUE, Load, Var
from te.ir.tensor import Axis, Program, Stage
from te.ir.visit import loads, variables
from te.schedule.auto.contraction import contraction_of
from te.schedule.auto.loops import PARALLEL_WORK, lanes_of
from te.schedule.auto.tiles import Plan, even_part, fused, is_affine, pointwise_readers, size_of
from te.schedule.directives import ComputeAt, Parallel, Reorder, SetScope, Split, Unroll, Vectorize
from te.schedule.forms import Directive, Scope
from te.schedule.nest import loop_name
from te.target import Target

ROWS = 4  # that are reduced at a time
FEW_PLANES = 16  # too few to be shared among threads evenly
MOST_WRITTEN_OUT = 64  # elements of a window


@dataclass(frozen=True, slots=True)
class Windows:
    """A stage that reduces windows of a tensor, with its axes by their roles."""

    stage: Stage
    planes: tuple[Axis, ...]
    rows: Axis | None  # along which windows overlap, but not the vectors
    lanes: Axis  # the last axis
    terms: tuple[Axis, ...]

    def loop(self, axis: Axis, part: str = "") -> str:
        """The loop of an axis, or a part of it."""
        return loop_name(self.stage.name, axis.name + part)


def windows_of(stage: Stage) -> Windows | None:
    """The roles of a stage's axes, if it reduces windows. A convolution does, too, but has better tiles."""
    reduction = stage.reduction
    if reduction is None or reduction.where != TRUE or len(stage.axes) < 2:
        return None
    terms = {axis.name for axis in reduction.axes}
    moved = {name for load in loads(stage.value) for name in _moved(load, terms)}
    if not moved or not _vectors_are_neighbours(stage):
        return None
    if contraction_of(stage):
        return None
    *outer, lanes = stage.axes
    rows = next((axis for axis in reversed(outer) if axis.name in moved), None)
    planes = tuple(axis for axis in outer if axis is not rows)
    return Windows(stage, planes, rows, lanes, tuple(reduction.axes))


def _moved(load: Load, terms: set[str]) -> set[str]:
    """The axes along which windows are moved: those that an index has together with one of a window."""
    found: set[str] = set()
    for i in load.index:
        names = variables(i)
        if not isinstance(i, Var) and names & terms and is_affine(i):
            found |= names - terms
    return found


def _vectors_are_neighbours(stage: Stage) -> bool:
    """Whether the last axis moves each read along its last axis alone, or not at all."""
    name = stage.axes[-1].name
    return all(name not in variables(i) for load in loads(stage.value) for i in load.index[:-1])


def lines_for(w: Windows, program: Program, target: Target) -> Plan:
    """The lines for windows and what is computed from their elements."""
    name, rows = w.stage.name, w.rows
    width, known = lanes_of(w.stage, target), size_of(w.lanes)
    while known and width > 1 and width // 2 >= known:
        width //= 2
    planes, tiles, inside = [w.loop(axis) for axis in w.planes], [], []
    lines: list[Directive] = [Split(w.loop(w.lanes), by=width)]
    if rows is not None:
        size = size_of(rows)
        lines.append(Split(w.loop(rows), by=even_part(size, ROWS) if size else ROWS))
        tiles.append(w.loop(rows, "o"))
        inside.append(w.loop(rows, "i"))
    at, vector = w.loop(w.lanes, "o"), w.loop(w.lanes, "i")
    terms = [w.loop(axis) for axis in w.terms]
    lines.append(Reorder((*planes, *tiles, at, *terms, *inside, vector)))
    # Not the rows with the planes: the loop over rows is cut where its windows leave the border.
    shared = fused(w.stage, planes, lines) if planes else ""
    if not planes or _are_few(w.planes):
        shared = (*tiles, at)[0]

    readers = [reader.name for reader in pointwise_readers(w.stage, program)]
    if readers:
        lines.append(ComputeAt(tuple(readers), at))
        lines += [SetScope(s, Scope.REGISTER) for s in (name, *readers[:-1])]
    sizes = [size_of(axis) for axis in w.terms]
    if None not in sizes and prod(n for n in sizes if n) <= MOST_WRITTEN_OUT:
        lines += [Unroll((term,)) for term in terms]
    lines += [*(Unroll((loop,)) for loop in inside), Vectorize((vector,))]
    for reader in readers:
        lines += [Unroll((loop_name(reader, rows.name),))] if rows else []
        lines.append(Vectorize((loop_name(reader, w.lanes.name),)))
    if _is_much(w):
        lines.append(Parallel((shared,)))
    return Plan(tuple(lines), (name, *readers))


def _are_few(axes: Sequence[Axis]) -> bool:
    sizes = [size_of(axis) for axis in axes]
    return None not in sizes and prod(n for n in sizes if n) < FEW_PLANES


def _is_much(w: Windows) -> bool:
    axes = (*w.stage.axes, *w.terms)
    sizes = [size_of(axis) for axis in axes]
    return None in sizes or 2 * prod(n for n in sizes if n) >= PARALLEL_WORK
