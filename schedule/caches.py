"""Hints about the caches: `prefetch`, `stream`. They change no value and no order.

A prefetch is written down with its loop, so that no pass finds a statement in its way; its index
is clamped into the tensor, since trips ahead of the last ones have nothing to fetch. Where the index
depends on data, those are read ahead, as far as there are any: so they are inputs, which nothing writes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import NoReturn

from te.diagnostics import ScheduleError, Span, error
from te.ir.expr import (
    TRUE,
    Cast,
    Const,
    Expr,
    Load,
    Select,
    Var,
    add,
    both,
    compare,
    integer,
    maximum,
    minimum,
    sub,
)
from te.ir.loop import (
    VECTOR,
    Accumulate,
    Alloc,
    Buffer,
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
from te.ir.types import I64
from te.ir.visit import loads, rewrite, substitute
from te.schedule import directives
from te.schedule.buffers import find_tensor
from te.schedule.context import program_facts
from te.schedule.forms import Directive, Scope, span_of
from te.schedule.loops import FACTOR_LIMIT, replace_loop
from te.schedule.names import Path, TooLate, find_loop, find_stage

# ---------------------------------------------------------------- prefetch


def prefetch(kernel: Kernel, d: directives.Prefetch) -> Kernel:
    loop, path = find_loop(kernel, d.at, span_of(d, "at"))
    ahead, _ = find_loop(kernel, d.of or loop.var, span_of(d, "of"))
    shape = _fetched(kernel, d).shape
    facts = program_facts(kernel.program)  # nothing of the loops: it stays clamped wherever they lead
    if not 1 <= d.ahead <= FACTOR_LIMIT:  # the indices of far more trips ahead are no numbers of 64 bits
        _refuse(
            d,
            f"`ahead` counts trips, must lie between 1 and {FACTOR_LIMIT}, and is {d.ahead}",
            span_of(d, "ahead"),
        )
    if ahead is not loop and not any(s is ahead for s in path):
        _refuse(d, f"`{loop.var}` is not inside `{ahead.var}`", span_of(d, "of"))
    if loop.kind == VECTOR or any(isinstance(s, For) and s.kind == VECTOR for s in path):
        _refuse(d, f"`{loop.var}` is a vector loop, or in one", span_of(d, "at"))
    found: dict[Prefetch, None] = {}
    for index in _first_reads(loop, path, d.tensor):
        later = [substitute(i, {ahead.var: add(Var(ahead.var), integer(d.ahead))}) for i in index]
        later = [_read_ahead(kernel, d, i) for i in later]
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
            "reads of X in the next trip of `Y.i`",
        )
    )


def _fetched(kernel: Kernel, d: directives.Prefetch) -> Buffer:
    """The buffer of the tensor: an input, a result, or a whole tensor in memory."""
    found = find_tensor(kernel, d.tensor, span_of(d, "tensor"))
    why_not = _why_not_fetched(kernel, d.tensor)
    if why_not:
        _refuse(d, f"`{d.tensor}` is not fetched from memory: {why_not}", span_of(d, "tensor"))
    return found


def _why_not_fetched(kernel: Kernel, name: str) -> str | None:
    """Why a buffer is none to fetch from: it is small and near, or moves from trip to trip."""
    if any(b.name == name for b in kernel.arguments):
        return None
    for s, path in walk_stmt(kernel.body):
        if isinstance(s, Alloc) and s.buffer.name == name:
            if s.buffer.scope in (Scope.REGISTER, Scope.STACK):
                return f"it is in {s.buffer.scope}"
            if s.buffer.origin or s.buffer.fold or any(isinstance(around, For) for around in path):
                return "it is stored part by part, each near its reads"
            return None
    return "it is not stored"


def _read_ahead(kernel: Kernel, d: directives.Prefetch, index: Expr) -> Expr:
    """An index whose data are those of a later trip; 0 where there are none."""
    inputs = {t.name: t.shape for t in kernel.program.inputs}

    def guarded(e: Expr) -> Expr:
        if not isinstance(e, Load):
            return e
        if e.buffer not in inputs:
            _refuse(
                d,
                f"which element of `{d.tensor}` is read there depends on `{e.buffer}`, which is no input",
                span_of(d, "tensor"),
            )
        index = tuple(_as_index(i) for i in e.index)
        return Select(_inside(index, inputs[e.buffer]), replace(e, index=index), Const(0, e.dtype))

    return _as_index(rewrite(index, guarded))


def _as_index(e: Expr) -> Expr:
    return e if e.dtype == I64 else Cast(e, I64)


def _inside(index: tuple[Expr, ...], shape: tuple[Expr, ...]) -> Expr:
    inside: Expr = TRUE
    for i, extent in zip(index, shape, strict=True):
        inside = both(inside, both(compare("<=", integer(0), i), compare("<", i, extent)))
    return inside


def check_prefetches(kernel: Kernel, line: Directive) -> None:
    """Refuse a line that makes a part of what is fetched ahead, and stood whole in memory.

    Raises `TooLate`.
    """
    for name in sorted(_all_fetched(kernel)):
        if why_not := _why_not_fetched(kernel, name):
            raise _fetched_before(name, why_not, line)


def _fetched_before(name: str, why_not: str, line: Directive) -> TooLate:
    return TooLate(
        error(
            "prefetch-refused",
            f"`{name}` is fetched ahead, and behind this line {why_not}",
            span_of(line),
            "too late",
            help=f"write this line before the `prefetch` of `{name}`",
        ),
        lambda kernel: name in _all_fetched(kernel),
    )


def _all_fetched(kernel: Kernel) -> set[str]:
    loops = (s for s, _ in walk_stmt(kernel.body) if isinstance(s, For))
    return {p.buffer for loop in loops for p in loop.prefetches}


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
        above = d.of or 0
        if all(isinstance(s, Store) and s.stream and s.stream_above == above for s in writes):
            continue

        def put(s: Stmt, name: str = name, above: int = above) -> Stmt:
            if isinstance(s, Store) and s.buffer == name:
                return replace(s, stream=True, stream_above=above)
            return s

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
