"""Rules for one loop nest: which loop runs in vectors, which on threads."""

from __future__ import annotations

from dataclasses import replace
from math import prod

from te.ir.expr import Cast, Const, Expr, Load, Op, Select, Var, integer, sub
from te.ir.simplify import simplify
from te.ir.tensor import Axis, Program, Stage, rank_in_memory
from te.ir.visit import rewrite, substitute, variables
from te.schedule.auto.cost import cost
from te.schedule.directives import Vectorize
from te.schedule.nest import all_axes, loop_name
from te.schedule.placement import reads_of
from te.target import Target

SUMS = 4  # vectors of partial results: an addition takes as many cycles as that, or a few more
PARALLEL_WORK = 1 << 15  # operations below which threads never pay; above, each call decides for itself

# ---------------------------------------------------------------- vectors


def vector_axis(stage: Stage) -> Axis | None:
    """The axis along which a stage is vectorised."""
    data = [axis for axis in stage.axes if axis.extent != integer(1)]
    steps = [axis for axis in stage.reduction.axes if axis.extent != integer(1)] if stage.reduction else []
    candidates = [*data[-1:], *steps[-1:]]
    return min(candidates, key=lambda axis: scattered_reads(stage, axis), default=None)


def scattered_reads(stage: Stage, axis: Axis) -> int:
    """How many reads of a stage would gather elements that are not neighbours, in lanes along an axis."""
    scattered = 0
    for load in reads_of(stage):
        moving = [position for position, i in enumerate(load.index) if axis.name in variables(i)]
        if moving and (moving != [len(load.index) - 1] or not _has_unit_step(load.index[-1], axis.name)):
            scattered += 1
    return scattered


def as_in_memory(stage: Stage, program: Program) -> Stage:
    """A stage whose reads lack trailing indices of extent 1, to ask what are neighbours in memory, and no more."""

    def shortened(e: Expr) -> Expr:
        if not isinstance(e, Load):
            return e
        return replace(e, index=e.index[: rank_in_memory(program.tensor(e.buffer).shape)])

    reduction = stage.reduction and replace(stage.reduction, where=rewrite(stage.reduction.where, shortened))
    return replace(stage, value=rewrite(stage.value, shortened), reduction=reduction)


def _has_unit_step(e: Expr, name: str) -> bool:
    """Whether an index grows by 1 with a variable."""
    following = substitute(e, {name: Op("+", (Var(name), integer(1)), integer(1).dtype)})
    return simplify(sub(following, e)) == integer(1)


def vectorize(stage: Stage, axis: Axis, target: Target) -> Vectorize:
    lanes = lanes_of(stage, target)
    loop = (loop_name(stage.name, axis.name),)
    if axis not in stage.axes and not _is_shorter(axis, SUMS * lanes):
        return Vectorize(loop, by=SUMS * lanes)
    if isinstance(axis.extent, Const) and 1 < axis.extent.value <= lanes:
        return Vectorize(loop)
    return Vectorize(loop, by=lanes)


def _is_shorter(axis: Axis, count: int) -> bool:
    return isinstance(axis.extent, Const) and axis.extent.value < count


def lanes_of(stage: Stage, target: Target) -> int:
    """How many elements of a stage a vector holds."""
    return max(2, target.vector_bits // widest(stage))


def widest(stage: Stage) -> int:
    """The bits of the widest element that a stage computes with, apart from indices."""
    bits = [8, stage.tensor.dtype.bits]
    pending: list[Expr] = [stage.value]
    while pending:
        match pending.pop():
            case Load(dtype=dtype):
                bits.append(dtype.bits)
            case Op(args=args, dtype=dtype):
                bits.append(dtype.bits)
                pending += args
            case Cast(value=value, dtype=dtype):
                bits.append(dtype.bits)
                pending.append(value)
            case Select(then=then, otherwise=otherwise):
                pending += (then, otherwise)
    return max(bits)


# ---------------------------------------------------------------- threads


def parallel_work(stage: Stage) -> bool:
    """Whether a stage has enough work for threads, or an unknown amount."""
    extents = [axis.extent for axis in all_axes(stage)]
    if not all(isinstance(extent, Const) for extent in extents):
        return True
    trips = prod(int(extent.value) for extent in extents if isinstance(extent, Const))
    return trips * (1 + cost(stage.value)) >= PARALLEL_WORK


def parallel_loop(stage: Stage, split: Axis | None) -> str | None:
    """The outermost data loop, if there is work for threads. `split`: the axis that was split for vectors."""
    if not parallel_work(stage):
        return None
    for axis in stage.axes:
        if axis.extent != integer(1):
            return loop_name(stage.name, axis.name + ("o" if axis is split else ""))
    return None
