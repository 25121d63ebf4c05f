"""Pipelined loops become loops that copy ahead.

    for ko < n (pipeline depth 3):             alloc Ap[3, 64]:
      alloc Ap[64]:                              for ko_first < min(2, n): copy(ko_first)
        copy(ko): Ap[..] = A[..]        ->       for ko < n:
        compute(ko): .. Ap[..] ..                  if ko + 2 < n: copy(ko + 2)
                                                   compute(ko)

Trip `t` uses slot `t % depth` of its copies. The copy of trip `t + depth - 1` goes into the slot
that trip `t - 1` has done with.

Asynchronous copies are counted in groups, one a trip, so that a trip waits for its own alone:

    for ko_first < 2: if ko_first < n: copy(ko_first);  commit
    for ko < n:
      wait for all but 1
      if ko + 2 < n: copy(ko + 2)
      commit
      compute(ko)

Where no copy is left the groups are empty, and the count holds.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import replace

from te.ir.expr import Expr, Load, Var, add, compare, floor_mod, integer, minimum
from te.ir.loop import (
    Accumulate,
    Alloc,
    Commit,
    For,
    If,
    Stmt,
    Store,
    Wait,
    map_exprs,
    rewrite_stmt,
    seq,
    substitute_stmt,
)
from te.ir.visit import rewrite
from te.schedule.finalize.gpu.copies import may_copy
from te.schedule.names import made_name
from te.schedule.pipeline import pipelined_body, rewrapped


def expand_pipelines(s: Stmt, stages: Set[str]) -> Stmt:
    """Write out the copies ahead. Buffers are laid out: row-major, from index 0."""
    return rewrite_stmt(s, lambda x: _expanded(x, stages) if isinstance(x, For) and x.pipeline else x)


def _expanded(loop: For, stages: Set[str]) -> Stmt:
    assert loop.pipeline is not None
    depth = loop.pipeline.depth
    body = pipelined_body(loop, set(stages))
    own = body.buffers
    others = [s.buffer for s in body.around if isinstance(s, Alloc)]
    slot = floor_mod(Var(loop.var), integer(depth))
    names = {buffer.name for buffer in own}
    copies = _in_slot(rewrapped(body.around, seq(*body.copies), others), names, slot)
    rest = _in_slot(rewrapped(body.around, seq(*body.rest), own), names, slot)

    first = Var(made_name(f"{loop.var}_first"))
    ahead = add(Var(loop.var), integer(depth - 1))
    ahead_of_all = substitute_stmt(copies, {loop.var: first})
    later = If(compare("<", ahead, loop.extent), substitute_stmt(copies, {loop.var: ahead}))
    if may_copy(copies):
        is_trip = compare("<", first, loop.extent)
        begin = For(first.name, integer(depth - 1), seq(If(is_trip, ahead_of_all), Commit()))
        inside = seq(Wait(depth - 2), later, Commit(), rest)
    else:
        begin = For(first.name, minimum(integer(depth - 1), loop.extent), ahead_of_all)
        inside = seq(later, rest)
    new: Stmt = seq(begin, replace(loop, body=inside, pipeline=None))
    for buffer in reversed(own):
        new = Alloc(replace(buffer, shape=(integer(depth), *buffer.shape)), new)
    return new


def _in_slot(s: Stmt, buffers: Set[str], slot: Expr) -> Stmt:
    """`s` with accesses of the buffers in one of their slots."""

    def expr(e: Expr) -> Expr:
        return replace(e, index=(slot, *e.index)) if isinstance(e, Load) and e.buffer in buffers else e

    def stmt(s: Stmt) -> Stmt:
        inside = isinstance(s, Store | Accumulate) and s.buffer in buffers
        return replace(s, index=(slot, *s.index)) if inside and isinstance(s, Store | Accumulate) else s

    return rewrite_stmt(map_exprs(s, lambda e: rewrite(e, expr)), stmt)
