"""Hints about the caches: `prefetch`, `stream`. They change no value and no order.

A prefetch is written down with its loop, so that no pass finds a statement in its way; its index
is clamped into the tensor, since trips ahead of the last ones have nothing to fetch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import NoReturn

from te.diagnostics import ScheduleError, Span, error
from te.ir.expr import Expr, Var, add, integer, maximum, minimum, sub
from te.ir.loop import (
    VECTOR,
    Accumulate,
    Alloc,
    For,
    Kernel,
    Let,
    Prefetch,
    Stmt,
    Store,
    direct_exprs,
    rewrite_stmt,
    walk_stmt,
)
from te.ir.simplify import simplify
from te.ir.visit import loads, substitute
from te.schedule import directives
from te.schedule.context import program_facts
from te.schedule.forms import span_of
from te.schedule.loops import replace_loop
from te.schedule.names import Path, find_loop, find_stage

# ---------------------------------------------------------------- prefetch


def prefetch(kernel: Kernel, d: directives.Prefetch) -> Kernel:
    loop, path = find_loop(kernel, d.at, span_of(d, "at"))
    ahead, _ = find_loop(kernel, d.of or loop.var, span_of(d, "of"))
    shape = _shape_of(kernel, d)
    facts = program_facts(kernel.program)  # nothing of the loops: it stays clamped wherever they lead
    if d.ahead < 1:
        _refuse(d, f"`ahead` counts trips, and is {d.ahead}", span_of(d, "ahead"))
    if ahead is not loop and not any(s is ahead for s in path):
        _refuse(d, f"`{loop.var}` is not inside `{ahead.var}`", span_of(d, "of"))
    if loop.kind == VECTOR or any(isinstance(s, For) and s.kind == VECTOR for s in path):
        _refuse(d, f"`{loop.var}` is a vector loop, or in one", span_of(d, "at"))
    found: dict[Prefetch, None] = {}
    for index in _first_reads(loop, path, d.tensor):
        if any(any(loads(i)) for i in index):
            _refuse(d, f"which element of `{d.tensor}` is read there depends on data", span_of(d, "tensor"))
        later = [substitute(i, {ahead.var: add(Var(ahead.var), integer(d.ahead))}) for i in index]
        index = tuple(simplify(i, facts) for i in _clamped(later, shape))
        found[Prefetch(d.tensor, index)] = None
    if not found:
        _refuse(d, f"`{d.tensor}` is not read in `{loop.var}`", span_of(d, "at"))
    new = tuple(dict.fromkeys([*loop.prefetches, *found]))
    return kernel if new == loop.prefetches else replace_loop(kernel, loop.var, replace(loop, prefetches=new))


def _refuse(d: directives.Prefetch, reason: str, span: Span | None) -> NoReturn:
    raise ScheduleError(
        error(
            "prefetch-refused",
            f"nothing to prefetch: {reason}",
            span,
            help="`prefetch X at m.j ahead 1 of Y.i` fetches, in each trip of `m.j`, what that trip "
            "reads of the input X in the next trip of `Y.i`",
        )
    )


def _shape_of(kernel: Kernel, d: directives.Prefetch) -> tuple[Expr, ...]:
    for t in kernel.program.inputs:
        if t.name == d.tensor:
            return t.shape
    names = ", ".join(f"`{t.name}`" for t in kernel.program.inputs)
    _refuse(d, f"`{d.tensor}` is no input; those are {names or 'none'}", span_of(d, "tensor"))


def _first_reads(loop: For, path: Path, tensor: str) -> Iterator[tuple[Expr, ...]]:
    """What a trip reads of a tensor at the start of the loops inside, over the loops around."""
    around = {s.var: s.value for s in path if isinstance(s, Let)}
    for s, inside in walk_stmt(loop.body):
        values: dict[str, Expr] = {}
        for name, value in around.items():
            values[name] = substitute(value, values)
        for outer in inside:
            if isinstance(outer, For):
                values[outer.var] = integer(0)
            if isinstance(outer, Let):
                values[outer.var] = substitute(outer.value, values)
        for e in direct_exprs(s):
            for load in loads(e):
                if load.buffer == tensor:
                    yield tuple(substitute(i, values) for i in load.index)


def _clamped(index: list[Expr], shape: tuple[Expr, ...]) -> tuple[Expr, ...]:
    """The index, or the nearest one inside a tensor of that shape."""
    last = [sub(extent, integer(1)) for extent in shape]
    return tuple(maximum(minimum(i, end), integer(0)) for i, end in zip(index, last, strict=True))


# ---------------------------------------------------------------- stream


def stream(kernel: Kernel, d: directives.Stream) -> Kernel:
    for position, name in enumerate(d.stages):
        span = span_of(d, "stages", position)
        if not _is_copy(kernel, name):
            find_stage(kernel, name, span)
        writes = [
            s for s, _ in walk_stmt(kernel.body) if isinstance(s, Store | Accumulate) and s.buffer == name
        ]
        why_not = _why_not_streamed(kernel, name, writes)
        if why_not:
            raise ScheduleError(
                error(
                    "stream-refused",
                    f"`{name}` cannot be stored past the caches: {why_not}",
                    span,
                    help="`stream` takes what writes each element once: pointwise stages, copies, and what "
                    "`cache_write C at io` writes back of a reduction",
                )
            )
        if all(isinstance(s, Store) and s.stream for s in writes):
            continue

        def put(s: Stmt, name: str = name) -> Stmt:
            return replace(s, stream=True) if isinstance(s, Store) and s.buffer == name else s

        kernel = replace(kernel, body=rewrite_stmt(kernel.body, put), touched=kernel.touched | {name})
    return kernel


def _is_copy(kernel: Kernel, name: str) -> bool:
    return any(isinstance(s, Alloc) and s.buffer.name == name for s, _ in walk_stmt(kernel.body))


def _why_not_streamed(kernel: Kernel, name: str, writes: list[Store | Accumulate]) -> str | None:
    steps = next((s for s in writes if isinstance(s, Accumulate)), None)
    if steps is not None:
        return f"the {steps.reducer} updates it step by step"
    for s, _ in walk_stmt(kernel.body):
        if isinstance(s, Alloc) and s.buffer.name == name and s.buffer.scope != "global":
            return f"it is in {s.buffer.scope}"
    return None if writes else "it is not stored at all"
