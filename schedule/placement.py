"""Rewrites of stages: `inline`.

They make a nest anew from a stage's definition, so they come before the lines that
change that stage's loops.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from te.diagnostics import ScheduleError, Span, error
from te.ir.expr import TRUE, Cast, Expr, Load
from te.ir.loop import Accumulate, Alloc, Kernel, Seq, Stmt, Store, bodies, seq, with_bodies
from te.ir.magnitude import overflows
from te.ir.overflow import USUAL_SIZE, as_data, facts_of, wrap_values
from te.ir.tensor import Program, Recurrence, Reduction, Stage, fused_factors
from te.ir.types import I64
from te.ir.visit import loads, rewrite, substitute, walk
from te.schedule.directives import Inline
from te.schedule.forms import span_of
from te.schedule.names import TooLate, find_stage
from te.schedule.nest import nest_group

NODE_LIMIT = 20_000  # nodes of one stage's expression


def inline(kernel: Kernel, d: Inline) -> Kernel:
    """Substitute pointwise stages into their readers."""
    for position, name in enumerate(d.stages):
        span = span_of(d, "stages", position)
        if name in d.stages[:position]:
            raise ScheduleError(error("repeated-stage", f"the stage `{name}` is named twice", span))
        kernel = _inline_stage(kernel, find_stage(kernel, name, span), span)
    return kernel


def _inline_stage(kernel: Kernel, stage: Stage, span: Span | None) -> Kernel:
    program = kernel.program
    why_not = inline_obstacle(program, stage)
    if why_not:
        raise ScheduleError(
            error(
                "inline-refused",
                f"`{stage.name}` cannot be inlined: {why_not}",
                span,
                help="`inline` takes stages without a reduction that are no results",
            )
        )
    readers = readers_of(program, stage.name)
    new = {reader.name: inlined(reader, stage) for reader in readers}
    for reader in new.values():
        if node_count(reader) > NODE_LIMIT:
            raise ScheduleError(
                error(
                    "inline-size",
                    f"inlining `{stage.name}` would make the expression of `{reader.name}` too large",
                    span,
                    f"more than {NODE_LIMIT} nodes",
                )
            )
    after = replace(
        program,
        stages=tuple(new.get(s.name, s) for s in program.stages if s is not stage),
        recurrences=tuple(_without(r, stage.name) for r in program.recurrences),
    )
    if stage.name in kernel.touched:
        _refuse_touched(stage, stage, span)
    nests = {frozenset({stage.name}): seq()}
    for (_, old), (recurrence, group) in zip(_groups(program, stage.name), after.groups(), strict=True):
        names = frozenset(s.name for s in old)
        if stage.name not in names and not names & new.keys():
            continue
        for member in old:
            if member.name in kernel.touched:
                _refuse_touched(stage, member, span)
        nests[names] = nest_group(recurrence, group)
    body = replace_nests(kernel.body, nests)
    return replace(kernel, program=after, body=_without_alloc(body, stage.name))


def _without(recurrence: Recurrence, name: str) -> Recurrence:
    return replace(recurrence, stages=tuple(s for s in recurrence.stages if s != name))


def _groups(program: Program, inlined: str) -> list[tuple[Recurrence | None, tuple[Stage, ...]]]:
    """The groups of stages, without the one of a stage alone that is inlined."""
    return [(r, stages) for r, stages in program.groups() if [s.name for s in stages] != [inlined]]


def _refuse_touched(stage: Stage, touched: Stage, span: Span | None) -> None:
    name = touched.name
    raise TooLate(
        error(
            "stage-touched",
            f"the loops of `{name}` have been changed already"
            + (f", and `{stage.name}` is read there" if touched is not stage else ""),
            span,
            "too late to inline it",
            help=f"write this line before the first one that changes a loop of `{name}`",
        ),
        lambda kernel: name in kernel.touched,
    )


# ---------------------------------------------------------------- of programs


def inline_obstacle(program: Program, stage: Stage) -> str | None:
    """Why a stage cannot be computed at each of its reads, if so."""
    if stage.name in program.results:
        return "it is a result, and must be stored"
    if stage.reduction:
        return f"it is a reduction (a {stage.reduction.reducer})"
    if any(load.buffer == stage.name for load in loads(stage.value)):
        return "it reads itself"
    return None


def readers_of(program: Program, name: str) -> list[Stage]:
    return [s for s in program.stages if any(load.buffer == name for load in reads_of(s))]


def reads_of(stage: Stage) -> Iterator[Load]:
    """Every read in a stage's definition."""
    yield from loads(stage.value)
    if stage.reduction:
        yield from loads(stage.reduction.where)


def node_count(stage: Stage) -> int:
    """The size of a stage's expressions, written out."""
    where = stage.reduction.where if stage.reduction else TRUE
    return sum(1 for e in (stage.value, where) for _ in walk(e))


def inlined(reader: Stage, stage: Stage) -> Stage:
    """`reader` with the definition of `stage` in the place of its reads."""
    new = _with_definition(reader, stage, stage.value)
    if stage.tensor.dtype != I64:
        return new
    # What was computed from data, and could wrap, may be index arithmetic now. It stays data.
    if overflows(_expressions(new), facts_of(new), USUAL_SIZE):
        new = _with_definition(reader, stage, as_data(stage.value))
    return replace(new, value=wrap_values(new.value, facts_of(new)))


def _expressions(stage: Stage) -> tuple[Expr, ...]:
    return (stage.value, stage.reduction.where) if stage.reduction else (stage.value,)


def _with_definition(reader: Stage, stage: Stage, definition: Expr) -> Stage:
    axes = [axis.name for axis in stage.axes]

    def put(e: Expr) -> Expr:
        if isinstance(e, Load) and e.buffer == stage.name:
            return substitute(definition, dict(zip(axes, e.index, strict=True)))
        return e

    value = rewrite(reader.value, put)
    reduction = reader.reduction
    if reduction is None:
        return replace(reader, value=value)
    if fused_factors(reduction.reducer, value) and not fused_factors(reduction.reducer, reader.value):
        # A sum fuses its term's own multiplication with the addition. This one was rounded on
        # its own, when `stage` was stored, and a cast to its own type keeps it so.
        value = Cast(value, value.dtype)
    where = rewrite(reduction.where, put)
    return replace(reader, value=value, reduction=Reduction(reduction.reducer, reduction.axes, where))


# ---------------------------------------------------------------- of loops


def replace_nests(s: Stmt, nests: Mapping[frozenset[str], Stmt]) -> Stmt:
    """`s` with other nests for groups of stages. A group's nest is the largest statement of those stages alone."""
    stages = frozenset(_stages(s))
    if stages in nests and not isinstance(s, Alloc | Seq):
        return nests[stages]
    if not any(group <= stages for group in nests):
        return s
    return with_bodies(s, tuple(replace_nests(body, nests) for body in bodies(s)))


def _stages(s: Stmt) -> set[str]:
    if isinstance(s, Store | Accumulate):
        return {s.stage}
    return {stage for body in bodies(s) for stage in _stages(body)}


def _without_alloc(s: Stmt, buffer: str) -> Stmt:
    """`s` without the allocation of a buffer that nothing uses any more."""
    if isinstance(s, Alloc) and s.buffer.name == buffer:
        return s.body
    return with_bodies(s, tuple(_without_alloc(body, buffer) for body in bodies(s)))
