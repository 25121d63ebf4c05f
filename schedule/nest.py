"""Tensor IR -> the plain loop nest: the meaning of an op that nobody scheduled.

Every stage becomes one nest: its data loops, outermost first, then its reduction
loops, then the reduction's `where`, then the one statement.

    Y[i] = sum(j where j <= i: A[i, j])

    for Y.i in 0..M:
      for Y.j in 0..N:          # a reduction loop
        if Y.j <= Y.i:
          Y[Y.i] sum= A[Y.i, Y.j]   # over {Y.j}, from 0.0

Stages that recur together share the loops they recur over; each has its other loops
inside, in the order of the program.

    for h.t in 0..T:
      for h_sum.i in 0..N: ...  # reads h[h.t - 1, ...]
      for h.i in 0..N: ...

Tensors between the inputs and the results are allocated around the whole body.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from te.ir.bounds import Facts, prove
from te.ir.expr import TRUE, Expr, Load, Var, add, both, compare, integer, sub
from te.ir.loop import Accumulate, Alloc, Buffer, For, If, Kernel, Stmt, Store, bodies, seq, with_bodies
from te.ir.simplify import simplify
from te.ir.tensor import Axis, Program, Recurrence, Stage, Tensor, identity
from te.ir.visit import substitute
from te.schedule.context import facts_inside


def loop_name(stage: str, index: str) -> str:
    """What the loop over an index of a stage is called."""
    return f"{stage}.{index}"


def nest(program: Program) -> Kernel:
    """The plain loop nests of all stages, in order."""
    arguments = [_buffer(t, "argument") for t in program.inputs]
    arguments += [_buffer(program.tensor(name), "argument") for name in program.outputs]
    arguments += [_buffer(table.tensor, "argument") for table in program.tables]
    body = seq(*[nest_group(recurrence, stages) for recurrence, stages in program.groups()])
    for stage in reversed(program.stages):
        if stage.name not in program.outputs:
            body = Alloc(_buffer(stage.tensor, "global"), body)
    return Kernel(program, tuple(arguments), body)


def nest_group(recurrence: Recurrence | None, stages: tuple[Stage, ...]) -> Stmt:
    """A stage's nest; or the loops that recurring stages share, with their nests inside."""
    if recurrence is None:
        return nest_stage(stages[0])
    shared = {axis.name: Var(loop_name(stages[0].name, axis.name)) for axis in recurrence.axes}
    body = seq(*[_within(nest_stage(stage, shared), stage, recurrence, shared) for stage in stages])
    others = frozenset(recurrence.stages[1:])
    for axis in reversed(recurrence.axes):
        body = For(shared[axis.name].name, axis.extent, body, data_of=others)
    return body


def _within(body: Stmt, stage: Stage, recurrence: Recurrence, shared: Mapping[str, Var]) -> Stmt:
    """A stage that has fewer points along the shared loops than others sits those out."""
    extents = {axis.name: axis.extent for axis in stage.axes}
    for axis in reversed(recurrence.axes):
        if extents[axis.name] != axis.extent:
            body = If(compare("<", shared[axis.name], extents[axis.name]), body)
    return body


def nest_stage(stage: Stage, shared: Mapping[str, Var] | None = None) -> Stmt:
    """The plain loop nest of one stage. Of the axes in `shared` others have the loops."""
    names: dict[str, Expr] = {axis.name: Var(loop_name(stage.name, axis.name)) for axis in all_axes(stage)}
    names |= shared or {}
    axes = [axis for axis in stage.axes if axis.name not in (shared or {})]
    return _data_loops(stage, axes, _reduced(stage, names))


def nest_part(
    stage: Stage, low: Sequence[Expr], extents: Sequence[Expr], facts: Facts, guard: Expr = TRUE
) -> Stmt:
    """The nest that computes a box of a stage's elements: those from `low` on, `extents` of them.

    What overhangs the tensor is guarded, and with `guard` all of it; an axis of one element has no
    loop. `facts` hold where the nest will stand.
    """
    names: dict[str, Expr] = {axis.name: Var(loop_name(stage.name, axis.name)) for axis in all_axes(stage)}
    part = [replace(axis, extent=extent) for axis, extent in zip(stage.axes, extents, strict=True)]
    for axis, first in zip(part, low, strict=True):
        loop = loop_name(stage.name, axis.name)
        if axis.extent == integer(1):
            names[axis.name] = first
            continue
        facts = facts.with_range(loop, integer(0), sub(axis.extent, integer(1)))
        names[axis.name] = simplify(add(first, Var(loop)), facts)
    inside = guards_of_box([names[a.name] for a in stage.axes], stage.tensor.shape, facts)
    body = _reduced(stage, names, both(guard, inside))
    return _data_loops(stage, [axis for axis in part if axis.extent != integer(1)], body)


def guards_of_box(index: Sequence[Expr], shape: Sequence[Expr], facts: Facts) -> Expr:
    """What says that an index lies inside a tensor, less what is proved."""
    inside: Expr = TRUE
    for i, extent in zip(index, shape, strict=True):
        for condition in (compare("<=", integer(0), i), compare("<", i, extent)):
            if not prove(condition, facts):
                inside = both(inside, simplify(condition, facts))
    return inside


def guarded_copy(nest: Stmt, facts: Facts, guard: Callable[[Sequence[Expr], Facts], Expr]) -> Stmt:
    """The nest of a copy, which also asks for what `guard` says of the index of the element that is read."""
    match nest:
        case If(condition, Store(value=Load(index=index)) as store):
            also = guard(index, facts_inside(nest, store, facts))
            return replace(nest, condition=both(condition, also))
        case Store(value=Load(index=index)):
            also = guard(index, facts)
            return nest if also == TRUE else If(also, nest)
    inner = [guarded_copy(b, facts_inside(nest, b, facts), guard) for b in bodies(nest)]
    return with_bodies(nest, tuple(inner))


def all_axes(stage: Stage) -> tuple[Axis, ...]:
    """The data axes of a stage, then its reduction axes."""
    return (*stage.axes, *(stage.reduction.axes if stage.reduction else ()))


def _reduced(stage: Stage, names: Mapping[str, Expr], guard: Expr = TRUE) -> Stmt:
    """A stage's statement for one element, in its reduction loops. `names` stand for the indices."""
    index = tuple(names[axis.name] for axis in stage.axes)
    value = substitute(stage.value, names)
    body: Stmt = Store(stage.name, index, value, stage.name)
    if stage.reduction is None:
        return body if guard == TRUE else If(guard, body)
    reducer, axes = stage.reduction.reducer, stage.reduction.axes
    loops = [loop_name(stage.name, axis.name) for axis in axes]
    start = identity(reducer, stage.tensor.dtype)
    body = Accumulate(stage.name, index, reducer, value, frozenset(loops), start, stage.name)
    if stage.reduction.where != TRUE:
        body = If(substitute(stage.reduction.where, names), body, of_terms=True)
    if guard != TRUE:
        body = If(guard, body)
    for loop, axis in zip(reversed(loops), reversed(axes), strict=True):
        body = For(loop, substitute(axis.extent, names), body, is_reduction=True)
    return body


def _data_loops(stage: Stage, axes: Sequence[Axis], body: Stmt) -> Stmt:
    for axis in reversed(axes):
        body = For(loop_name(stage.name, axis.name), axis.extent, body)
    return body


def _buffer(tensor: Tensor, scope: str) -> Buffer:
    return Buffer(tensor.name, tensor.dtype, tensor.shape, scope)
