"""Memory of the call is allocated once, outside all loops.

A serial loop may use the same memory in each trip, since contents start
undefined. The trips of a parallel loop run at the same time: each has a part of
its own, along a new first axis.
"""

from __future__ import annotations

from dataclasses import replace

from te.ir.bounds import NO_FACTS, bounds
from te.ir.expr import Expr, integer, sub
from te.ir.loop import PARALLEL, Alloc, Buffer, For, Let, Stmt, bodies, with_bodies
from te.ir.visit import substitute, variables
from te.schedule.finalize.lanes import add_axis


def hoist_allocations(body: Stmt) -> Stmt:
    """Move the allocation of all global buffers around the whole body."""
    body, buffers = _hoist(body)
    for buffer in buffers:
        body = Alloc(buffer, body)
    return body


def _hoist(s: Stmt) -> tuple[Stmt, list[Buffer]]:
    """The statement without its global allocations, and their buffers, inner ones first."""
    buffers: list[Buffer] = []
    new: list[Stmt] = []
    for body in bodies(s):
        inner, found = _hoist(body)
        new.append(inner)
        buffers += found
    if buffers:
        s = with_bodies(s, tuple(new))
    match s:
        case Alloc(buffer=buffer) if buffer.scope == "global":
            return s.body, [*buffers, buffer]
        case For():
            return _out_of_loop(s, buffers)
        case Let():
            return s, [
                replace(b, shape=tuple(substitute(d, {s.var: s.value}) for d in b.shape)) for b in buffers
            ]
        case _:
            return s, buffers


def _out_of_loop(loop: For, buffers: list[Buffer]) -> tuple[For, list[Buffer]]:
    moved = []
    for buffer in buffers:
        buffer = replace(buffer, shape=tuple(_largest(d, loop) for d in buffer.shape))
        if loop.kind == PARALLEL:
            wider = add_axis(Alloc(buffer, loop.body), loop, last=False)
            loop, buffer = replace(loop, body=wider.body), wider.buffer
        moved.append(buffer)
    return loop, moved


def _largest(extent: Expr, loop: For) -> Expr:
    """The largest value of an extent over the loop's trips."""
    if loop.var not in variables(extent):
        return extent
    facts = NO_FACTS.with_range(loop.var, integer(0), sub(loop.extent, integer(1)))
    _, largest = bounds(extent, facts, [loop.var])
    if largest is None:
        raise ValueError(f"the size of a buffer, {extent}, has no bound over the loop {loop.var} around it")
    return largest
