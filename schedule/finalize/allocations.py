"""Memory is allocated once, outside all loops.

A serial loop may use the same memory in each trip, since contents start
undefined. The trips of a parallel loop run at the same time: what is small and of
constant size lies on the stack of the thread; anything else in a part of the
workspace that each thread has, where its size depends on the sizes of the op alone.
Where loops around decide it, each trip has a part of its own, along a new first axis.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from itertools import count
from math import prod

from te.ir.bounds import NO_FACTS, bounds
from te.ir.expr import Const, Expr, integer, sub
from te.ir.loop import (
    CONCURRENT,
    PARALLEL,
    Alloc,
    Buffer,
    For,
    Let,
    Stmt,
    bodies,
    map_buffer,
    rename_buffer,
    with_bodies,
)
from te.ir.visit import substitute, variables
from te.schedule.finalize.lanes import add_axis

STACK_BYTES = 128 << 10  # of a thread, for all buffers of a parallel loop; the smallest stacks have 512 KiB


def hoist_allocations(body: Stmt, sizes: Collection[str]) -> Stmt:
    """Move the allocation of all buffers in memory around the whole body, or right inside a parallel loop."""
    body, buffers = _hoist(body, frozenset(sizes))
    return _allocated(buffers, body, "global")


def name_buffers_apart(body: Stmt) -> Stmt:
    """Give buffers new names where copies of a statement allocate them more than once."""
    taken: set[str] = set()

    def apart(s: Stmt) -> Stmt:
        if isinstance(s, Alloc):
            old, name = s.buffer.name, _free(s.buffer.name, taken)
            taken.add(name)
            if name != old:
                s = Alloc(replace(s.buffer, name=name), rename_buffer(s.body, old, name))
        return with_bodies(s, tuple([apart(b) for b in bodies(s)])) if bodies(s) else s

    return apart(body)


def _free(name: str, taken: set[str]) -> str:
    numbered = (f"{name}.{n}" for n in count(2))
    return name if name not in taken else next(n for n in numbered if n not in taken)


def _hoist(s: Stmt, sizes: frozenset[str]) -> tuple[Stmt, list[Buffer]]:
    """The statement without its allocations in memory, and their buffers, inner ones first."""
    buffers: list[Buffer] = []
    new: list[Stmt] = []
    for body in bodies(s):
        inner, found = _hoist(body, sizes)
        new.append(inner)
        buffers += found
    if any(a is not b for a, b in zip(bodies(s), new, strict=True)):
        s = with_bodies(s, tuple(new))
    match s:
        case Alloc(buffer=buffer) if buffer.scope != "register":
            return s.body, [*buffers, buffer]
        case For():
            return _out_of_loop(s, buffers, sizes)
        case Let():
            return s, [map_buffer(b, lambda e: substitute(e, {s.var: s.value})) for b in buffers]
        case _:
            return s, buffers


def _out_of_loop(loop: For, buffers: list[Buffer], sizes: frozenset[str]) -> tuple[For, list[Buffer]]:
    buffers = [map_buffer(b, lambda e: largest(e, loop)) for b in buffers]
    if loop.kind not in CONCURRENT:
        return loop, buffers
    on_stack = _small_enough(buffers)
    of_thread, moved = [], []
    for buffer in buffers:
        if buffer in on_stack:
            continue
        if loop.kind == PARALLEL and all(variables(extent) <= sizes for extent in buffer.shape):
            of_thread.append(buffer)
        else:
            wider = add_axis(Alloc(buffer, loop.body), loop, last=False)
            loop = replace(loop, body=wider.body)
            moved.append(wider.buffer)
    body = _allocated(of_thread, _allocated(on_stack, loop.body, "stack"), "thread")
    return replace(loop, body=body), moved


def _small_enough(buffers: Sequence[Buffer]) -> list[Buffer]:
    """The buffers that share the stack of a thread: as many of the smallest ones as fit."""
    sizes = [(constant_bytes(b), b) for b in buffers]
    chosen: list[Buffer] = []
    left = STACK_BYTES
    for size, buffer in sorted(((n, b) for n, b in sizes if n is not None), key=lambda pair: pair[0]):
        left -= size
        if left >= 0:
            chosen.append(buffer)
    return [b for b in buffers if b in chosen]


def constant_bytes(buffer: Buffer) -> int | None:
    if not all(isinstance(d, Const) for d in buffer.shape):
        return None
    return prod(int(d.value) for d in buffer.shape if isinstance(d, Const)) * buffer.dtype.bytes


def _allocated(buffers: Sequence[Buffer], body: Stmt, scope: str) -> Stmt:
    for buffer in buffers:
        body = Alloc(replace(buffer, scope=scope), body)
    return body


def largest(extent: Expr, loop: For) -> Expr:
    """The largest value of an extent over the loop's trips."""
    if loop.var not in variables(extent):
        return extent
    facts = NO_FACTS.with_range(loop.var, integer(0), sub(loop.extent, integer(1)))
    _, largest = bounds(extent, facts, [loop.var])
    if largest is None:
        raise ValueError(f"the size of a buffer, {extent}, has no bound over the loop {loop.var} around it")
    return largest
