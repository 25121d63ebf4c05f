"""`pipeline`: the copies of a later trip are made while a loop computes with those of this one.

The loop keeps its form, and says how deep it is; `finalize` gives the copies' buffers a slot for
each trip under way (`finalize/pipelines.py`), and a target with asynchronous copies issues them so.

What must hold: the copies of a trip run before what the trips before it compute. So no copy may
read what those compute, which the dependence analysis proves, here and after every later line.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NoReturn

from te.diagnostics import ScheduleError, Span, error
from te.ir.loop import (
    SERIAL,
    Accumulate,
    Alloc,
    Buffer,
    For,
    If,
    Kernel,
    Let,
    Pipelined,
    Seq,
    Stmt,
    Store,
    direct_exprs,
    walk_stmt,
)
from te.ir.visit import loads, variables
from te.schedule.context import facts_at
from te.schedule.directives import Pipeline
from te.schedule.forms import Directive, span_of
from te.schedule.legality import explain, overtaking_dependence
from te.schedule.loops import leaves, replace_loop
from te.schedule.names import Path, all_loops, find_loop, require_serial

DEPTH_LIMIT = 16


def pipeline(kernel: Kernel, d: Pipeline) -> Kernel:
    span = span_of(d, "loop")
    loop, path = find_loop(kernel, d.loop, span)
    require_serial(loop, "pipeline", span)
    if not 2 <= d.depth <= DEPTH_LIMIT:
        _refuse(
            loop, f"a depth of {d.depth} keeps the copies of no other trip under way", span_of(d, "depth")
        )
    if d.producer is not None or d.registers is not None:
        lacks = (
            "no warps, for copies or for anything else"
            if kernel.target.split(".")[0] == "llvm"
            else "no warps of their own for copies, since te emits none there yet"
        )
        at = span_of(d, "producer" if d.producer is not None else "registers")
        _refuse(loop, f"the target `{kernel.target}` has {lacks}", at)
    new = replace(loop, pipeline=Pipelined(d.depth))
    obstacle = _obstacle(new, path, kernel)
    if obstacle:
        _refuse(loop, obstacle, span)
    return replace_loop(kernel, loop.var, new)


def check_pipelines(kernel: Kernel, line: Directive) -> None:
    """Refuse a line after which the copies of a pipeline may no longer run ahead."""
    for loop, path in all_loops(kernel):
        if loop.pipeline:
            obstacle = _obstacle(loop, path, kernel)
            if obstacle:
                _refuse(loop, f"after this line, {obstacle}", span_of(line))


def _refuse(loop: For, reason: str, span: Span | None) -> NoReturn:
    raise ScheduleError(
        error(
            "pipeline-refused",
            f"`{loop.var}` cannot be pipelined: {reason}",
            span,
            help="`pipeline ko depth 2` takes a serial loop with copies in it, made by `cache_read A at ko`",
        )
    )


def _obstacle(loop: For, path: Path, kernel: Kernel) -> str | None:
    """Why the copies in a loop cannot be made in an earlier trip."""
    if loop.kind != SERIAL:
        return f"it is {loop.kind}"
    body = pipelined_body(loop, {s.name for s in kernel.program.stages})
    if not body.copies:
        return "no copy stands at the start of its body"
    for buffer in body.buffers:
        if buffer.scope == "register":
            return f"`{buffer.name}` is in registers, which have no slots to choose from"
        if loop.var in {name for d in buffer.shape for name in variables(d)}:
            return f"the size of `{buffer.name}` differs between its trips"
    if any(isinstance(s, If) and any(loads(s.condition)) for s in body.around):
        return "a condition on data stands around its body, which would be asked before its time"
    facts = facts_at(path, kernel.program)
    dependence = overtaking_dependence(loop, body.copies, body.rest, facts)
    return explain(dependence, loop.var) if dependence else None


# ---------------------------------------------------------------- the parts of a loop


@dataclass(frozen=True, slots=True)
class PipelinedBody:
    """What stands around all of a loop's body, its copies, and what uses them."""

    around: tuple[Alloc | Let | If, ...]
    copies: tuple[Stmt, ...]
    rest: tuple[Stmt, ...]

    @property
    def buffers(self) -> tuple[Buffer, ...]:
        """Those of the copies."""
        filled = {x.buffer for s in self.copies for x in leaves(s) if isinstance(x, Store)}
        return tuple(s.buffer for s in self.around if isinstance(s, Alloc) and s.buffer.name in filled)


def pipelined_body(loop: For, stages: set[str]) -> PipelinedBody:
    """The parts of a loop's body.

    Copies are those that begin it, and those further on of what nothing in the loop computes.
    """
    around: list[Alloc | Let | If] = []
    s = loop.body
    while isinstance(s, Alloc | Let) or (isinstance(s, If) and s.otherwise is None):
        around.append(s)
        s = s.body
    items = s.items if isinstance(s, Seq) else (s,)
    own = {s.buffer.name for s in around if isinstance(s, Alloc)}
    count = 0
    while count < len(items) and _is_copy(items[count], own - stages):
        count += 1
    first, rest = items[:count], items[count:]
    written = {x.buffer for x, _ in walk_stmt(s) if isinstance(x, Store | Accumulate)}
    later = [x for x in rest if _is_copy(x, own - stages) and not _read_in(x) & written]
    if not first:
        return PipelinedBody(tuple(around), (), rest)
    return PipelinedBody(
        tuple(around), (*first, *later), tuple(x for x in rest if not any(x is copy for copy in later))
    )


def _read_in(s: Stmt) -> set[str]:
    return {load.buffer for x, _ in walk_stmt(s) for e in direct_exprs(x) for load in loads(e)}


def _is_copy(s: Stmt, copies: set[str]) -> bool:
    """Whether a nest does nothing but fill copies."""
    stores = leaves(s)
    return bool(stores) and all(isinstance(x, Store) and x.buffer in copies for x in stores)


def rewrapped(around: Sequence[Alloc | Let | If], body: Stmt, without: Sequence[Buffer]) -> Stmt:
    """`body` inside the same names and conditions, and allocations but those `without`."""
    for s in reversed(around):
        if not isinstance(s, Alloc) or s.buffer not in without:
            body = replace(s, body=body)
    return body
