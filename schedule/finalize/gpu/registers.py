"""Register buffers that are allocated outside thread loops are spread over the threads.

    alloc C[32, 4] in register:                      alloc C[4] in register:
      thread.x for j < 32:                             thread.x for j < 32:
        unrolled for i < 4: C[j, i] = 0.0       ->       unrolled for i < 4: C[i] = 0.0

An index is a part that the thread decides and a part that is constant once loops are unrolled. Where all
accesses agree on the first part, and it is proved that who reads an element is who wrote it, each thread
keeps the elements of its own. Where all threads write an element, each has it. Any other buffer goes to
shared memory, by which threads tell each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from te.ir.bounds import Facts, bounds, prove
from te.ir.expr import Const, Expr, Load, Var, add, compare, conjuncts, floor_div, integer, sub
from te.ir.loop import (
    THREADS,
    UNROLLED,
    VECTOR,
    Accumulate,
    Alloc,
    Buffer,
    For,
    If,
    Let,
    Stmt,
    Store,
    bodies,
    direct_exprs,
    map_exprs,
    walk_stmt,
    with_bodies,
)
from te.ir.simplify import simplify
from te.ir.visit import loads, rewrite, substitute, variables
from te.schedule.context import facts_inside
from te.schedule.finalize.gpu.digits import digits_of, same_digits
from te.schedule.finalize.gpu.levels import Threads
from te.schedule.finalize.gpu.sums import refuse_reduction
from te.schedule.finalize.gpu.threads import has_threads


@dataclass(frozen=True, slots=True)
class _Touch:
    """An access of a register buffer: its index over threads, called by their levels, and unrolled loops."""

    index: tuple[Expr, ...]
    writes: bool
    levels: frozenset[str]
    ranges: tuple[tuple[str, Expr], ...]
    conditions: tuple[Expr, ...]
    written_out: frozenset[str]  # variables of unrolled and vector loops


@dataclass(frozen=True, slots=True)
class _Share:
    """What a thread keeps of a buffer: an index less `of_thread` is one of `extents`."""

    of_thread: tuple[Expr, ...]
    extents: tuple[Expr, ...]


def distribute_registers(s: Stmt, threads: Threads, facts: Facts) -> Stmt:
    """Give each thread of a launch its part of the register buffers outside thread loops."""
    if not has_threads(s) or (isinstance(s, For) and s.kind in THREADS):
        return s
    if isinstance(s, Alloc) and s.buffer.scope == "register":
        touches = _touches(s.body, s.buffer, threads)
        share = None if touches is None else _share(touches, s.buffer, facts)
        in_memory = replace(s, buffer=replace(s.buffer, scope="shared", like=""))
        if share is None and s.buffer.private:
            refuse_reduction(s.buffer.name.split(".")[0])
        s = in_memory if share is None else _kept(s, share, facts)
    new = [distribute_registers(b, threads, facts_inside(s, b, facts, False)) for b in bodies(s)]
    return with_bodies(s, tuple(new))


def _touches(body: Stmt, buffer: Buffer, counts: Threads) -> list[_Touch] | None:
    """The accesses; None where some are by a thread for several trips of its loop."""
    found = []
    name, private = buffer.name, frozenset(buffer.private)
    for s, path in walk_stmt(body):
        accesses = [(load.index, False) for e in direct_exprs(s) for load in loads(e) if load.buffer == name]
        if isinstance(s, Store | Accumulate) and s.buffer == name:
            accesses.append((s.index, True))
        if accesses:
            loops = [x for x in path if isinstance(x, For)]
            if any(not counts.has_all(x) for x in loops if x.kind in THREADS - private):
                return None
            threads: dict[str, Expr] = {x.var: Var(x.kind) for x in loops if x.kind in THREADS}
            lets = _values(path)
            conditions = [
                c for x in path if isinstance(x, If) and x.otherwise is None for c in conjuncts(x.condition)
            ]
            plain = [substitute(substitute(c, lets), threads) for c in conditions if not any(loads(c))]
            ranges = [(x.kind if x.kind in THREADS else x.var, x.extent) for x in loops]
            for index, writes in accesses:
                over_levels = tuple(substitute(substitute(i, lets), threads) for i in index)
                levels = frozenset(x.kind for x in loops if x.kind in THREADS) - private
                out = frozenset(x.var for x in loops if x.kind in (UNROLLED, VECTOR))
                found.append(_Touch(over_levels, writes, levels, tuple(ranges), tuple(plain), out))
    return found


def _values(path: Sequence[Stmt]) -> dict[str, Expr]:
    """What the names on a path stand for, over its loops."""
    values: dict[str, Expr] = {}
    for s in path:
        if isinstance(s, Let):
            values[s.var] = substitute(s.value, values)
    return values


def _share(touches: Sequence[_Touch], buffer: Buffer, facts: Facts) -> _Share | None:
    """What each thread keeps, so that it needs nothing that another keeps."""
    if not touches:
        return _Share(tuple(integer(0) for _ in buffer.shape), buffer.shape)
    parts = [_parts(t, facts) for t in touches]
    if any(p is None for p in parts):
        return None
    of_thread = [p[0] for p in parts if p is not None]
    rest = [p[1] for p in parts if p is not None]
    if any(f != of_thread[0] for f in of_thread[1:]):
        return None
    extents: list[Expr] = []
    for axis in range(len(buffer.shape)):
        most = 0
        for touch, indices in zip(touches, rest, strict=True):
            known = _ranging(facts, touch.ranges)
            low, high = bounds(indices[axis], known, {name for name, _ in touch.ranges})
            if not isinstance(high, Const) or not isinstance(low, Const) or low.value < 0:
                return None
            most = max(most, int(high.value))
        extents.append(integer(most + 1))
    for write in touches:
        for read in touches:
            if write.writes and not _is_own(write, read, extents, facts):
                return None
    return _Share(of_thread[0], tuple(extents))


def _parts(touch: _Touch, facts: Facts) -> tuple[tuple[Expr, ...], tuple[Expr, ...]] | None:
    """Of each index the part that the thread decides, and the rest. None where it has no such parts."""
    others: dict[str, Expr] = {name: integer(0) for i in touch.index for name in variables(i) - THREADS}
    no_thread: dict[str, Expr] = dict.fromkeys(THREADS, integer(0))
    of_thread = tuple(simplify(substitute(i, others), facts) for i in touch.index)
    rest = tuple(simplify(substitute(i, no_thread), facts) for i in touch.index)
    for i, a, b in zip(touch.index, of_thread, rest, strict=True):
        constant = simplify(substitute(a, no_thread), facts)
        whole = sub(add(a, b), constant)
        if simplify(sub(i, whole), facts) != integer(0) or not variables(b) <= touch.written_out:
            return None
    plain = tuple(simplify(sub(a, substitute(a, no_thread)), facts) for a in of_thread)
    return plain, rest


def _is_own(write: _Touch, read: _Touch, extents: Sequence[Expr], facts: Facts) -> bool:
    """Whether every thread that reads an element is one of those that wrote it. Each keeps `extents`."""
    if not write.levels:
        return True  # all threads wrote it
    if write.levels <= read.levels and write.levels <= _levels_in_digits(write, read, facts):
        return True
    other = {name: Var(f"{name}'") for touch in (write, read) for name, _ in touch.ranges}
    known = _ranging(facts, write.ranges)
    known = _ranging(known, [(f"{name}'", substitute(e, other)) for name, e in read.ranges])
    for c in write.conditions:
        known = known.with_assumption(c)
    for c in read.conditions:
        known = known.with_assumption(substitute(c, other))
    for i, j, extent in zip(write.index, read.index, extents, strict=True):
        there = substitute(j, other)
        known = known.with_assumption(compare("==", i, there))
        if extent != integer(1):  # an index is often a number of the thread's times that, and a rest
            parts = (simplify(floor_div(e, extent), known) for e in (i, there))
            known = known.with_assumption(compare("==", *parts))
    if not write.levels <= read.levels:
        return False
    return all(prove(compare("==", Var(level), Var(f"{level}'")), known) for level in write.levels)


def _levels_in_digits(write: _Touch, read: _Touch, facts: Facts) -> frozenset[str]:
    """The levels whose thread has the same number in both accesses of an element, as the digits of indices say."""
    found: set[str] = set()
    ranges = dict(write.ranges), dict(read.ranges)
    for i, j in zip(write.index, read.index, strict=True):
        a, b = digits_of(i, ranges[0], facts), digits_of(j, ranges[1], facts)
        pairs = same_digits(a, b) if a is not None and b is not None else None
        found |= {x for x, y in (pairs or {}).items() if x == y}
    return frozenset(found & THREADS)


def _ranging(facts: Facts, ranges: Sequence[tuple[str, Expr]]) -> Facts:
    for name, extent in ranges:
        facts = facts.with_range(name, integer(0), sub(extent, integer(1)))
    return facts


def _kept(s: Alloc, share: _Share, facts: Facts) -> Alloc:
    """The buffer with a thread's elements alone. Axes along which the thread decides alone are left out."""
    name = s.buffer.name
    axes = [
        n
        for n, (of_thread, extent) in enumerate(zip(share.of_thread, share.extents, strict=True))
        if of_thread == integer(0) or extent != integer(1)
    ]
    body = _local(s.body, name, share, facts, {}, {}, axes)
    shape = tuple(share.extents[n] for n in axes)
    return Alloc(replace(s.buffer, shape=shape, like="", private=()), body)


def _local(
    s: Stmt,
    name: str,
    share: _Share,
    facts: Facts,
    threads: dict[str, Expr],
    lets: dict[str, Expr],
    axes: Sequence[int],
) -> Stmt:
    """`s` with accesses of the elements of its thread, along the axes that it keeps."""
    if isinstance(s, For) and s.kind in THREADS:
        threads = {**threads, s.kind: Var(s.var)}
    if isinstance(s, Let):
        lets = {**lets, s.var: substitute(s.value, lets)}

    def index(at: tuple[Expr, ...]) -> tuple[Expr, ...]:
        own = [substitute(f, threads) for f in share.of_thread]
        moved = [sub(substitute(i, lets), f) for i, f in zip(at, own, strict=True)]
        return tuple(at[n] if own[n] == integer(0) else simplify(moved[n], facts) for n in axes)

    def expr(e: Expr) -> Expr:
        return replace(e, index=index(e.index)) if isinstance(e, Load) and e.buffer == name else e

    new = [_local(b, name, share, facts_inside(s, b, facts, False), threads, lets, axes) for b in bodies(s)]
    if new:
        s = with_bodies(s, tuple(new))
    match s:
        case Store() | Accumulate():
            at = index(s.index) if s.buffer == name else s.index
            return map_exprs(replace(s, index=at), lambda e: rewrite(e, expr))
        case If():
            return replace(s, condition=rewrite(s.condition, expr))
        case Let():
            return replace(s, value=rewrite(s.value, expr))
    return s
