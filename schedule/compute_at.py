"""Rewrites that place stages: `compute_at`, `compute_root`.

They make the nest of a stage anew, from its definition, for the part that is needed at its
new place. So they come before the lines that change that stage's loops, and what the
part is follows from the loops around as they are then.

A *producer* goes before its readers. It computes the box that the loop's body reads
(`regions.py`), into a buffer that lives for one trip: elements that several trips read are
computed by each, and since a stage is a pure function of what it reads, with the same value.

A *consumer* goes behind what it reads, as an epilogue. Its elements are those whose operands
the loop's body has completed, so these must be a box that the loops fill exactly; under a
reduction loop it waits for the last trip (`Completed`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence, Set
from dataclasses import dataclass, replace
from typing import NoReturn

from te.diagnostics import ScheduleError, Span, error
from te.ir.bounds import Facts, prove
from te.ir.expr import Const, Expr, Select, Var, add, compare, integer, sub
from te.ir.loop import (
    CONCURRENT,
    SERIAL,
    Accumulate,
    Alloc,
    Buffer,
    Completed,
    For,
    If,
    Kernel,
    Let,
    Seq,
    Stmt,
    Store,
    bodies,
    direct_exprs,
    rewrite_stmt,
    seq,
    walk_stmt,
    with_bodies,
)
from te.ir.print import print_expr
from te.ir.simplify import simplify
from te.ir.tensor import Stage
from te.ir.visit import loads, substitute, variables
from te.schedule.context import facts_at, facts_inside
from te.schedule.directives import ComputeAt, ComputeRoot
from te.schedule.forms import Scope, span_of
from te.schedule.names import Path, TooLate, all_loops, find_loop, find_stage, index_of
from te.schedule.nest import loop_name, nest_part, nest_stage
from te.schedule.regions import Box, box_of, exact_box, inside_names, reads_in, waits_for_loops, writes_in

REGISTER_ELEMENTS = 1 << 15  # of one buffer: half of what the threads of a GPU's block have together


def compute_at(kernel: Kernel, d: ComputeAt) -> Kernel:
    """Compute stages where one loop needs them, or completes what they need."""
    positions = {stage.name: i for i, stage in enumerate(kernel.program.stages)}
    named: dict[str, Span | None] = {}
    for position, name in enumerate(d.stages):
        span = span_of(d, "stages", position)
        find_stage(kernel, name, span)
        if name in named:
            raise ScheduleError(error("repeated-stage", f"the stage `{name}` is named twice", span))
        named[name] = span
    pending = sorted(named, key=lambda name: positions[name])
    while pending:
        name = _next(kernel, d, pending)
        pending.remove(name)
        kernel = _place(kernel, find_stage(kernel, name, named[name]), d, named[name])
    return kernel


def _next(kernel: Kernel, d: ComputeAt, pending: Sequence[str]) -> str:
    """The stage to move next: readers before what they read, else epilogues in their order.

    Only once its readers stand in the loop is it known what they need of a producer.
    """
    loop, _ = find_loop(kernel, d.at, span_of(d, "at"))
    producers = [name for name in pending if reads_in(loop.body, name)]
    consumers = [
        name
        for name in pending
        if any(writes_in(loop.body, t) for t in operands(find_stage(kernel, name, None)))
    ]
    return [*reversed(producers), *consumers, *pending][0]


class _Impossible(Exception):
    """A stage cannot be computed at a loop; why, and what to do instead."""

    def __init__(self, reason: str, help_text: str | None = None):
        super().__init__(reason)
        self.reason = reason
        self.help = help_text


@dataclass(frozen=True, slots=True)
class _Move:
    """A stage on its way to a loop."""

    stage: Stage
    d: ComputeAt
    span: Span | None
    loop: For
    sizes: Collection[str]

    @property
    def name(self) -> str:
        return self.stage.name

    def refuse(self, reason: str, help_text: str | None = None) -> NoReturn:
        raise _Impossible(reason, help_text)


def _place(kernel: Kernel, stage: Stage, d: ComputeAt, span: Span | None) -> Kernel:
    _require_whole(kernel, stage, span)
    loop, path = find_loop(kernel, d.at, span_of(d, "at"))
    try:
        return _placed(kernel, _Move(stage, d, span, loop, kernel.program.sizes), path)
    except _Impossible as refused:
        raise ScheduleError(
            error(
                "compute-at-refused",
                f"`{stage.name}` cannot be computed at `{loop.var}`: {refused.reason}",
                span_of(d, "at"),
                "not here",
                help=refused.help or _places_for(kernel, stage),
            )
        ) from None


def _places_for(kernel: Kernel, stage: Stage) -> str:
    """The loops at which a stage may be computed: those where it works."""
    places: list[str] = []
    for loop, path in all_loops(kernel):
        move = _Move(stage, ComputeAt((stage.name,), loop.var), None, loop, kernel.program.sizes)
        try:
            _placed(kernel, move, path)
        except _Impossible:
            continue
        places.append(f"`{loop.var}`")
    return f"legal places for `{stage.name}`: {', '.join([*places, 'the root'])}"


def _placed(kernel: Kernel, move: _Move, path: Path) -> Kernel:
    loop = move.loop
    if loop.stage == move.name or _contains_stage(path, move.name):
        move.refuse("that is a loop of its own")
    kinds = {s.kind for s in (*path, loop) if isinstance(s, For)} - {SERIAL, *CONCURRENT}
    if kinds:
        move.refuse(f"it is in {_a(min(kinds))} loop", "place stages before setting the kinds of loops")
    is_read = bool(reads_in(loop.body, move.name))
    rest = take_out(kernel.body, move.name, with_buffer=is_read)
    loop, path = find_loop(replace(kernel, body=rest), loop.var, span_of(move.d, "at"))
    if is_read:
        new = _as_producer(kernel, move, rest, loop, path)
    elif any(writes_in(loop, tensor) for tensor in operands(move.stage)):
        new = _as_consumer(kernel, move, rest, loop, path)
    else:
        move.refuse("nothing in that loop reads it, and nothing that it reads is computed there")
    owners = {s.stage for s in (*path, loop) if isinstance(s, For)}
    return replace(kernel, body=new, touched=kernel.touched | owners | {move.name})


def _a(kind: str) -> str:
    return f"an {kind}" if kind[0] in "aeiou" else f"a {kind}"


def _contains_stage(path: Path, name: str) -> bool:
    return any(isinstance(s, For) and s.stage == name for s in path)


def _require_whole(kernel: Kernel, stage: Stage, span: Span | None) -> None:
    """Refuse a stage that recurs, or whose loops a line has changed."""
    if any(stage.name in r.stages for r in kernel.program.recurrences):
        raise ScheduleError(
            error(
                "compute-at-refused",
                f"`{stage.name}` cannot be placed elsewhere: it is part of a recurrence",
                span,
                help="stages that recur together share their loops",
            )
        )
    if stage.name in kernel.touched:
        name = stage.name
        raise TooLate(
            error(
                "stage-touched",
                f"the loops of `{name}` have been changed already",
                span,
                "too late to move it",
                help=f"write this line before the first one that changes a loop of `{name}`",
            ),
            lambda kernel: name in kernel.touched,
        )


def reads_directly(s: Stmt, tensor: str) -> bool:
    return any(load.buffer == tensor for e in direct_exprs(s) for load in loads(e))


def operands(stage: Stage) -> list[str]:
    """The tensors that a stage reads."""
    where = stage.reduction.where if stage.reduction else Const(True, stage.value.dtype)
    return list(dict.fromkeys(load.buffer for e in (stage.value, where) for load in loads(e)))


# ---------------------------------------------------------------- producers


def _as_producer(kernel: Kernel, move: _Move, rest: Stmt, loop: For, path: Path) -> Stmt:
    if move.name in kernel.program.outputs:
        move.refuse("it is a result, and must be stored whole")
    inside = {id(s) for s, _ in walk_stmt(loop.body)}
    outside = [s for s, _ in walk_stmt(rest) if reads_directly(s, move.name) and id(s) not in inside]
    if outside:
        reader = getattr(outside[0], "stage", "a condition")
        move.refuse(f"`{reader}` reads it outside that loop")
    around = {s.var for s in (*path, loop) if isinstance(s, For)}
    if waits_for_loops(reads_in(loop.body, move.name), around):
        move.refuse("an epilogue reads it, which is computed even where that loop has no trip")
    facts = facts_at((*path, loop), kernel.program, trust_lets=False)
    if move.d.keep is None:
        body = _before_readers(loop.body, facts, move)
        return replaced(rest, loop, replace(loop, body=body))
    return _kept(kernel, move, rest, loop, path, facts)


def _before_readers(s: Stmt, facts: Facts, move: _Move) -> Stmt:
    """The nest for what `s` reads, and `s` behind it, inside names and guards that are around all of it."""
    match s:
        case Let() | Alloc():
            return replace(
                s, body=_before_readers(s.body, facts_inside(s, s.body, facts, trust_lets=False), move)
            )
        case If(otherwise=None) if not reads_directly(s, move.name):
            return replace(
                s, body=_before_readers(s.body, facts_inside(s, s.body, facts, trust_lets=False), move)
            )
    stage = move.stage
    box = box_of(reads_in(s, move.name), stage.tensor.shape, facts, move.sizes, scope=move.d.in_)
    nest = nest_part(stage, box.low, box.extents, facts)
    return Alloc(local_buffer(stage, box, move), _inserted(s, nest, move))


def local_buffer(stage: Stage, box: Box, move: _Move) -> Buffer:
    """The buffer of a box of a stage's tensor."""
    scope = move.d.in_ or Scope.GLOBAL
    refuse_scope(stage.name, box.extents, scope, span_of(move.d, "in_"))
    origin = () if all(i == integer(0) for i in box.low) else box.low
    return Buffer(stage.name, stage.tensor.dtype, box.extents, scope.value, origin)


def refuse_scope(name: str, extents: Sequence[Expr], scope: Scope, span: Span | None) -> None:
    """Refuse registers and stack for a buffer whose size is not a small constant."""
    if scope not in (Scope.REGISTER, Scope.STACK):
        return
    elements = 1
    for extent in extents:
        if not isinstance(extent, Const):
            raise ScheduleError(
                error(
                    "scope-size",
                    f"`{name}` has no constant size here: an extent is {print_expr(extent, index_of)}",
                    span,
                    f"needed in {scope}",
                    help="split the loops first, so that the part in a tile has a constant size",
                )
            )
        elements *= int(extent.value)
    if elements > REGISTER_ELEMENTS and scope is Scope.REGISTER:
        raise ScheduleError(
            error(
                "scope-size",
                f"`{name}` has {elements} elements here",
                span,
                f"at most {REGISTER_ELEMENTS} in registers",
                help="smaller tiles, or `in stack`",
            )
        )


def _inserted(s: Stmt, nest: Stmt, move: _Move) -> Stmt:
    """`nest` right before the first statement of `s` that reads the stage."""
    items = s.items if isinstance(s, Seq) else (s,)
    at = next(i for i, item in enumerate(items) if reads_in(item, move.name))
    for item in items[at:]:
        late = next((t for t in operands(move.stage) if writes_in(item, t)), None)
        if late:
            move.refuse(f"`{late}`, which it reads, is computed behind its first reader")
    return seq(*items[:at], nest, *items[at:])


def _kept(kernel: Kernel, move: _Move, rest: Stmt, loop: For, path: Path, facts: Facts) -> Stmt:
    """A sliding window: each trip of a loop computes what the trips before it have not."""
    assert move.d.keep is not None
    span = span_of(move.d, "keep")
    window, around = find_loop(replace(kernel, body=rest), move.d.keep, span)
    if window.var != loop.var and not any(isinstance(s, For) and s.var == window.var for s in path):
        _refuse_keep(move, f"`{loop.var}` is not inside `{window.var}`")
    if window.kind != SERIAL:
        _refuse_keep(move, f"the trips of the {window.kind} loop `{window.var}` are in no order")
    stage = move.stage

    def with_new_part(s: Stmt, facts: Facts) -> Stmt:
        box = box_of(reads_in(s, move.name), stage.tensor.shape, facts, move.sizes, scope=move.d.in_)
        axis, step = _moving_axis(box, window, facts, move)
        return _inserted(s, _new_part(stage, box, axis, step, window, facts), move)

    body = replace(loop, body=inside_names(loop.body, facts, with_new_part))
    known = facts_at(around, kernel.program)
    whole = box_of(reads_in(window, move.name), stage.tensor.shape, known, move.sizes, scope=move.d.in_)
    rest = replaced(rest, loop, body)
    window, _ = find_loop(replace(kernel, body=rest), window.var, span)
    return replaced(rest, window, Alloc(local_buffer(stage, whole, move), window))


def _refuse_keep(move: _Move, reason: str) -> NoReturn:
    raise ScheduleError(
        error(
            "compute-at-keep",
            f"`{move.name}` cannot be kept from trip to trip: {reason}",
            span_of(move.d, "keep"),
            "not kept",
            help="`keep` takes a serial loop, at or around the place, whose trips move the part along one axis",
        )
    )


def _moving_axis(box: Box, window: For, facts: Facts, move: _Move) -> tuple[int, int]:
    """The axis along which the box moves with the window's trips, and by how much."""
    moving = [axis for axis, low in enumerate(box.low) if window.var in variables(low)]
    if len(moving) != 1:
        _refuse_keep(move, "the part that is needed does not move along one axis with it")
    (axis,) = moving
    following = substitute(box.low[axis], {window.var: add(Var(window.var), integer(1))})
    step = simplify(sub(following, box.low[axis]), facts)
    extent = box.extents[axis]
    if not (isinstance(step, Const) and isinstance(extent, Const) and 0 < step.value < extent.value):
        _refuse_keep(move, "its parts in neighbouring trips do not overlap, or not by a constant")
    return axis, int(step.value)


def _new_part(stage: Stage, box: Box, axis: int, step: int, window: For, facts: Facts) -> Stmt:
    """The nest of what a trip needs and the trip before did not."""
    extent = box.extents[axis]
    assert isinstance(extent, Const)
    steps_kept = int(extent.value) - step
    known = integer(steps_kept)
    first = Var(loop_name(stage.name, stage.axes[axis].name) + "_first")
    is_first = compare("==", Var(window.var), integer(0))
    low, extents = list(box.low), list(box.extents)
    low[axis], extents[axis] = add(low[axis], first), sub(extent, first)
    nest = nest_part(stage, low, extents, facts.with_range(first.name, integer(0), known))
    return Let(first.name, Select(is_first, integer(0), known), integer(steps_kept + 1), nest)


# ---------------------------------------------------------------- consumers


@dataclass(frozen=True, slots=True)
class _Part:
    """A tensor that the loop's body writes, and the box of what one trip completes."""

    tensor: str
    stage: str  # of the statement that writes it
    box: Box
    waits_for: frozenset[str]


def _as_consumer(kernel: Kernel, move: _Move, rest: Stmt, loop: For, path: Path) -> Stmt:
    stage = move.stage
    if stage.reduction is not None:
        move.refuse("an epilogue is computed for each element by itself, and it is a reduction")
    if move.d.in_ or move.d.keep:
        move.refuse("`in` and `keep` are for stages that the loop's body reads")
    _require_operands(move, rest, loop)
    around = {s.var for s in (*path, loop) if isinstance(s, For)}
    completed: set[str] = set()

    def with_epilogue(s: Stmt, facts: Facts) -> Stmt:
        tensors = [t for t in operands(stage) if writes_in(s, t)]
        parts = [_completed_part(kernel, move, t, s, around, facts) for t in tensors]
        completed.update(part.stage for part in parts)
        box = _box_of_consumer(move, parts, facts)
        nest = nest_part(stage, box.low, box.extents, facts, box.guard)
        return _behind(s, nest, frozenset().union(*(part.waits_for for part in parts)))

    facts = facts_at((*path, loop), kernel.program, trust_lets=False)
    body = inside_names(loop.body, facts, with_epilogue)
    rest = replaced(rest, loop, replace(loop, body=body))
    # Trips that complete different operands compute different elements: each has one operand there.
    return as_data_loops(rest, around, completed, move.name)


def _behind(s: Stmt, nest: Stmt, waits_for: frozenset[str]) -> Stmt:
    """`nest` behind `s`, with what waits for the same loops where such a statement stands there."""
    if not waits_for:
        return seq(s, nest)
    items = s.items if isinstance(s, Seq) else (s,)
    match items[-1]:
        case Completed(over=over, body=body) if over == waits_for:
            return seq(*items[:-1], Completed(over, seq(body, nest)))
    return seq(s, Completed(waits_for, nest))


def _completed_part(
    kernel: Kernel, move: _Move, tensor: str, body: Stmt, around: set[str], facts: Facts
) -> _Part:
    """What a trip completes of a tensor, in the loops `around`. Refused where that is no box."""
    if any(tensor in r.stages for r in kernel.program.recurrences):
        move.refuse(f"`{tensor}` is part of a recurrence")
    box = exact_box(body, tensor, kernel.program.tensor(tensor).shape, facts, move.sizes)
    if box is None:
        move.refuse(f"what its body computes of `{tensor}` is no box: there are elements between")
    for s, inside in walk_stmt(body):
        if isinstance(s, Store | Accumulate) and s.buffer == tensor:  # the only one: it fills a box
            over = [x.over for x in (*inside, s) if isinstance(x, Accumulate | Completed)]
            return _Part(tensor, s.stage, box, frozenset().union(*over) & around)
    raise AssertionError(f"nothing writes {tensor}")


def _box_of_consumer(move: _Move, parts: Sequence[_Part], facts: Facts) -> Box:
    """The elements of the stage whose operands are complete.

    One operand decides: its parts in all trips are all of its elements, so these are all of the
    stage's. The others must be complete there. Two that are complete in parts along different axes
    would leave out the pairs of different trips.
    """
    boxes = [box for part in parts for box in _elements_that_read(move, part)]
    reasons = [[_why_not_complete(move, box, other, facts) for other in boxes] for box in boxes]
    for box, why_not in zip(boxes, reasons, strict=True):
        if not any(why_not):
            return box
    move.refuse(next(reason for reason in reasons[0] if reason))


def _elements_that_read(move: _Move, part: _Part) -> Iterator[Box]:
    """For each read of a tensor: the elements of the stage for which it reads the part."""
    stage = move.stage
    names = [axis.name for axis in stage.axes]
    for load in loads(stage.value):
        if load.buffer != part.tensor:
            continue
        axes = [i.name for i in load.index if isinstance(i, Var) and i.name in names]
        if len(set(axes)) < len(load.index):
            move.refuse(f"it reads other elements of `{part.tensor}` than the one at its own index")
        low: list[Expr] = [integer(0)] * len(names)
        extents: list[Expr] = list(stage.tensor.shape)
        for position, name in enumerate(axes):
            at = names.index(name)
            low[at], extents[at] = part.box.low[position], part.box.extents[position]
        yield Box(tuple(low), tuple(extents), part.box.guard)


def _why_not_complete(move: _Move, box: Box, operand: Box, facts: Facts) -> str | None:
    """Why an operand is not complete for the elements of a box, if it is not."""
    if not prove(operand.guard, facts.with_assumption(box.guard)):
        return "in some trips only a part of its operands is complete"
    for n, axis in enumerate(move.stage.axes):
        part, whole = (operand.low[n], operand.extents[n]), (integer(0), move.stage.tensor.shape[n])
        if part not in ((box.low[n], box.extents[n]), whole):
            return f"its operands are complete in different parts along `{axis.name}`"
    return None


def _require_operands(move: _Move, rest: Stmt, loop: For) -> None:
    """Refuse a consumer of something that is computed behind the loop."""
    is_behind = False
    for s, path in walk_stmt(rest):
        is_behind = is_behind or s is loop
        elsewhere = all(around is not loop for around in path)
        if is_behind and elsewhere and isinstance(s, Store | Accumulate) and s.buffer in operands(move.stage):
            move.refuse(f"`{s.buffer}`, which it reads, is computed behind that loop")


# ---------------------------------------------------------------- back to the root


def compute_root(kernel: Kernel, d: ComputeRoot) -> Kernel:
    """Compute stages whole again, before everything that reads them."""
    spans = {name: span_of(d, "stages", position) for position, name in enumerate(d.stages)}
    stages = [find_stage(kernel, name, span) for name, span in spans.items()]
    # Those inside others leave first; then what others read comes first.
    for stage in sorted(stages, key=lambda stage: len(_guests(kernel, stage))):
        kernel = _taken_out(kernel, stage, spans[stage.name])
    for stage in sorted(stages, key=kernel.program.stages.index):
        kernel = _to_root(kernel, stage, spans[stage.name])
    return kernel


def _guests(kernel: Kernel, stage: Stage) -> set[str]:
    """The stages that are computed in the loops of another one."""
    nests = [s for s, _ in walk_stmt(kernel.body) if isinstance(s, For) and s.stage == stage.name]
    return {x.stage for s in nests for x, _ in walk_stmt(s) if isinstance(x, Store | Accumulate)} - {
        stage.name
    }


def _taken_out(kernel: Kernel, stage: Stage, span: Span | None) -> Kernel:
    guests = _guests(kernel, stage)
    if any(stage.name in r.stages for r in kernel.program.recurrences) or guests:
        reason = f"`{min(guests)}` is computed in its loops" if guests else "it is part of a recurrence"
        raise ScheduleError(
            error(
                "compute-root-refused",
                f"`{stage.name}` cannot go to the root: {reason}",
                span,
                help=f"`compute_root {min(guests)}` first" if guests else None,
            )
        )
    for s, _ in walk_stmt(kernel.body):
        if isinstance(s, Store | Accumulate) and s.buffer == stage.name and s.stage != stage.name:
            raise ScheduleError(
                error(
                    "compute-root-refused",
                    f"`{stage.name}` cannot go to the root: `{s.stage}`, a copy, is what is written back to it",
                    span,
                    help="leave out the `cache_write`, or write it behind this line",
                )
            )
    return replace(kernel, body=take_out(kernel.body, stage.name))


def _to_root(kernel: Kernel, stage: Stage, span: Span | None) -> Kernel:
    buffer = Buffer(stage.name, stage.tensor.dtype, stage.tensor.shape, "global")
    body = _at_root(kernel.body, nest_stage(stage), stage, span)
    if stage.name not in kernel.program.outputs:
        body = Alloc(buffer, body)
    return replace(kernel, body=body, touched=kernel.touched - {stage.name})


def _at_root(s: Stmt, nest: Stmt, stage: Stage, span: Span | None) -> Stmt:
    """`nest` behind all that it reads, and before all that reads it."""
    if isinstance(s, Alloc):
        return replace(s, body=_at_root(s.body, nest, stage, span))
    for inner, _ in walk_stmt(s):
        if isinstance(inner, Alloc) and inner.buffer.name in operands(stage):
            raise ScheduleError(
                error(
                    "compute-root-refused",
                    f"`{stage.name}` cannot go to the root: of `{inner.buffer.name}`, which it reads, "
                    "only a part is stored at a time",
                    span,
                    help=f"`compute_root {inner.buffer.name}` in the same line",
                )
            )
    items = s.items if isinstance(s, Seq) else (s,)
    reads = [i for i, item in enumerate(items) if any(writes_in(item, t) for t in operands(stage))]
    read = [i for i, item in enumerate(items) if reads_in(item, stage.name)]
    at = reads[-1] + 1 if reads else 0
    if read and read[0] < at:
        raise ScheduleError(
            error(
                "compute-root-refused",
                f"`{stage.name}` cannot go to the root: what it reads is computed in the loops of its reader",
                span,
                help="`compute_root` those stages first",
            )
        )
    at = max(at, read[0]) if read else at
    return seq(*items[:at], nest, *items[at:])


# ---------------------------------------------------------------- of loops


def take_out(s: Stmt, stage: str, with_buffer: bool = True) -> Stmt:
    """`s` without the nest of a stage, and without the allocation of its buffer."""
    if _stages(s) == {stage} and not isinstance(s, Alloc | Seq):
        return seq()
    if isinstance(s, Alloc) and s.buffer.name == stage and with_buffer:
        return take_out(s.body, stage)
    if isinstance(s, Store | Accumulate) or not bodies(s):
        return s
    new = tuple([take_out(body, stage, with_buffer) for body in bodies(s)])
    return with_bodies(s, new)


def _stages(s: Stmt) -> set[str]:
    if isinstance(s, Store | Accumulate):
        return {s.stage}
    return {stage for body in bodies(s) for stage in _stages(body)}


def replaced(s: Stmt, old: For, new: Stmt) -> Stmt:
    """`s` with another statement in the place of a loop."""
    return rewrite_stmt(s, lambda x: new if isinstance(x, For) and x.var == old.var else x)


def as_data_loops(s: Stmt, loops: Set[str], of: Set[str], stage: str) -> Stmt:
    """`s`, in which those of the `loops` that are data loops of a stage in `of` are data loops of `stage` too."""

    def one(s: Stmt) -> Stmt:
        if isinstance(s, For) and s.var in loops and any(s.is_data_loop_of(other) for other in of):
            return replace(s, data_of=s.data_of | {stage})
        return s

    return rewrite_stmt(s, one)
