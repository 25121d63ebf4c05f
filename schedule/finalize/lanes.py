"""Vector loops go to the innermost place: each holds exactly one `Store` or `Accumulate`.

A vector loop runs its trips in lockstep, statement by statement. So, by its
meaning, it may be taken apart around each statement, and moved inside any loop,
guard or `Let` that is the same for all lanes:

    vector ji < 32:                 for k < K:
      for k < K:             ->       vector ji < 32:
        C[ji] sum= A[k, ji]             C[ji] sum= A[k, ji]

Guards that differ between lanes go in with it; a `Let` that differs is put in the
place of its name, so that addresses can be simplified as a whole. A buffer
allocated inside belongs to one lane: it gets a last axis of lanes.
"""

from __future__ import annotations

from dataclasses import replace

from te.ir.expr import Const, Expr, Load, Var, integer
from te.ir.loop import (
    SERIAL,
    VECTOR,
    Accumulate,
    Alloc,
    Barrier,
    Combine,
    Commit,
    Completed,
    For,
    If,
    Let,
    Seq,
    Stmt,
    Store,
    Wait,
    map_exprs,
    map_prefetches,
    rewrite_stmt,
    seq,
    substitute_stmt,
    walk_stmt,
)
from te.ir.visit import loads, rewrite, substitute, variables


def sink_vector_loops(body: Stmt) -> Stmt:
    """Move all vector loops inward. One that cannot move, or has no constant extent, runs serially."""

    def sink(s: Stmt) -> Stmt:
        match s:
            case For(kind="vector" | "unrolled") if not isinstance(s.extent, Const):
                return replace(s, kind=SERIAL)
            case For(kind="vector"):
                return _distribute(s, (), s.body) if _can_sink(s) else replace(s, kind=SERIAL)
            case _:
                return s

    return rewrite_stmt(body, sink)


def _can_sink(loop: For) -> bool:
    """Are the extents inside the same in all lanes, and may lane conditions be evaluated again?"""
    varying = {loop.var}
    written = {s.buffer for s, _ in walk_stmt(loop.body) if isinstance(s, Store | Accumulate)}
    for s, _ in walk_stmt(loop.body):
        match s:
            case Let() if variables(s.value) & varying:
                varying.add(s.var)
            case For() if s.kind == VECTOR or variables(s.extent) & varying:
                return False
            case Alloc() if any(variables(d) & varying for d in s.buffer.shape):
                return False
            case If() if any(load.buffer in written for load in loads(s.condition)):
                return False
            case If() if s.otherwise is not None and variables(s.condition) & varying:
                return False
    return True


def _distribute(loop: For, carried: tuple[If, ...], s: Stmt) -> Stmt:
    """`loop` around each statement of `s`, under the guards that differ between lanes."""
    match s:
        case Seq():
            return seq(*[_distribute(loop, carried, item) for item in s.items])
        case For():
            first = {loop.var: integer(0)}  # of all lanes, the first one says what to fetch
            fetched = map_prefetches(s, lambda i: substitute(i, first))
            return replace(s, body=_distribute(loop, carried, s.body), prefetches=fetched)
        case Let() if loop.var in variables(s.value):
            return _distribute(loop, carried, substitute_stmt(s.body, {s.var: s.value}))
        case Let():
            return replace(s, body=_distribute(loop, carried, s.body))
        case If() if loop.var in variables(s.condition) or (loop.is_reduction and s.otherwise is None):
            # Out of a reduction's loop it would take the start with it, which holds for all elements.
            return _distribute(loop, (*carried, s), s.body)
        case If():
            otherwise = None if s.otherwise is None else _distribute(loop, carried, s.otherwise)
            return replace(s, body=_distribute(loop, carried, s.body), otherwise=otherwise)
        case Alloc():
            wider = add_axis(s, loop, last=True)
            return replace(wider, body=_distribute(loop, carried, wider.body))
        case Completed():
            return replace(s, body=_distribute(loop, carried, s.body))
        case Commit() | Wait():
            return s
        case Barrier() | Combine():
            raise ValueError("`sink_vector_loops` comes before threads are settled")
        case Store() | Accumulate():
            for guard in reversed(carried):
                s = If(guard.condition, s, of_terms=guard.of_terms)
            return replace(loop, body=s)


def add_axis(alloc: Alloc, loop: For, last: bool) -> Alloc:
    """Give each trip of the loop its own part of a buffer that was allocated inside it."""
    old = alloc.buffer

    def widen(index: tuple[Expr, ...], by: Expr) -> tuple[Expr, ...]:
        return (*index, by) if last else (by, *index)

    def expr(e: Expr) -> Expr:
        match e:
            case Load() if e.buffer == old.name:
                return replace(e, index=widen(e.index, Var(loop.var)))
            case _:
                return e

    def stmt(s: Stmt) -> Stmt:
        match s:
            case Store() | Accumulate() if s.buffer == old.name:
                return replace(s, index=widen(s.index, Var(loop.var)))
            case _:
                return s

    body = rewrite_stmt(map_exprs(alloc.body, lambda e: rewrite(e, expr)), stmt)
    return Alloc(replace(old, shape=widen(old.shape, loop.extent)), body)
