"""Asynchronous copies from global to shared memory: which stores are some.

A store is one where it copies an element as it is, or zero where a condition does not hold, and where 4, 8 or 16
bytes can be copied at once: elements of so many bytes, or several that a vector loop copies side by side. The
schedule may ask for it (`by cp_async`) or for the contrary (`by vector`); it is done where nothing is asked for.

    by cp_async, none possible     refused
    by vector                      stores by way of registers
    a part that reads the copy     the same: what no barrier stands in needs no copies under way
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NoReturn

from te.diagnostics import error
from te.ir.bounds import Facts, prove
from te.ir.expr import Const, Select, integer
from te.ir.loop import (
    ASYNC,
    THREADS,
    VECTOR,
    Accumulate,
    Alloc,
    Commit,
    For,
    If,
    Seq,
    Stmt,
    Store,
    Wait,
    bodies,
    copied,
    direct_exprs,
    rewrite_stmt,
    seq,
    walk_stmt,
    with_bodies,
)
from te.ir.visit import loads, substitute, variables
from te.schedule.context import facts_inside
from te.schedule.finalize.gpu.threads import has_threads
from te.schedule.finalize.guards import coefficient
from te.schedule.late import LateRefusal
from te.target import has_async_copies

IF_POSSIBLE = f"{ASYNC} if possible"  # the method of a store that nothing was asked of
LEAST_BYTES = 4  # of an asynchronous copy
_METHODS = (ASYNC, IF_POSSIBLE)


def ask_for_copies(s: Stmt, target: str, shared: frozenset[str] = frozenset()) -> Stmt:
    """Let the plain copies to shared memory be asynchronous, where the target has such copies."""
    if not has_async_copies(target):
        return s
    if isinstance(s, Alloc) and s.buffer.scope == "shared":
        shared |= {s.buffer.name}
    if isinstance(s, Store):
        is_plain = not s.method and s.buffer in shared and copied(s.value) is not None
        return replace(s, method=IF_POSSIBLE) if is_plain else s
    new = tuple([ask_for_copies(b, target, shared) for b in bodies(s)])
    return with_bodies(s, new) if any(a is not b for a, b in zip(bodies(s), new, strict=True)) else s


def may_copy(s: Stmt) -> bool:
    """Whether there are stores in a statement that may be asynchronous."""
    return any(isinstance(x, Store) and x.method in _METHODS for x, _ in walk_stmt(s))


def settle_copies(s: Stmt, facts: Facts) -> Stmt:
    """Decide which stores of a block are asynchronous; without any, nothing is to be waited for.

    Raises `ScheduleError` where a schedule asks for copies of which none can be asynchronous.
    """
    if not may_copy(s):
        return s
    scopes = {x.buffer.name: x.buffer.scope for x, _ in walk_stmt(s) if isinstance(x, Alloc)}
    asked = {x.stage: x for x, _ in walk_stmt(s) if isinstance(x, Store) and x.method == ASYNC}
    s = _Settling(scopes).settled(s, facts, None)
    possible = {x.stage for x, _ in walk_stmt(s) if isinstance(x, Store) and x.method == ASYNC}
    for stage, store in asked.items():
        is_narrow = store.value.dtype.bytes < LEAST_BYTES
        if stage not in possible and is_narrow and scopes.get(store.buffer) == "shared":
            _refuse(store)
    s = _each_part_alone(s)
    return s if may_copy(s) else _without_waiting(s)


@dataclass(frozen=True, slots=True)
class _Settling:
    scopes: Mapping[str, str]  # of what is allocated in the block; all else is in global memory

    def settled(self, s: Stmt, facts: Facts, lanes: For | None) -> Stmt:
        """`s` in a vector loop `lanes`."""
        if isinstance(s, For) and s.kind == VECTOR:
            lanes = s
        if isinstance(s, Store):
            return self._store(s, facts, lanes) if s.method in _METHODS else s
        new = [self.settled(b, facts_inside(s, b, facts, False), lanes) for b in bodies(s)]
        return with_bodies(s, tuple(new)) if new else s

    def _store(self, s: Store, facts: Facts, lanes: For | None) -> Store:
        load = copied(s.value)
        if load is None or self.scopes.get(s.buffer) != "shared" or load.buffer in self.scopes:
            return replace(s, method="")
        if lanes is not None and isinstance(lanes.body, Store) and _is_side_by_side(s, lanes):
            return replace(_for_all_lanes(s, lanes, facts), method=ASYNC)
        return replace(s, method=ASYNC if load.dtype.bytes >= LEAST_BYTES else "")


def _is_side_by_side(s: Store, lanes: For) -> bool:
    load = copied(s.value)
    assert load is not None
    assert isinstance(lanes.extent, Const)
    rows = [index for index in (s.index, load.index) if index]
    neighbours = all(
        coefficient(last, lanes.var) == 1 and not any(lanes.var in variables(i) for i in outer)
        for *outer, last in rows
    )
    return len(rows) == 2 and neighbours and int(lanes.extent.value) * load.dtype.bytes % LEAST_BYTES == 0


def _for_all_lanes(s: Store, lanes: For, facts: Facts) -> Store:
    """The store with a condition that holds for all lanes if it does for the first one, where that is so."""
    if not isinstance(s.value, Select) or lanes.var not in variables(s.value.condition):
        return s
    assert isinstance(lanes.extent, Const)
    last = integer(int(lanes.extent.value) - 1)
    ends = [substitute(s.value.condition, {lanes.var: lane}) for lane in (integer(0), last)]
    both_ways = ((ends[0], ends[1]), (ends[1], ends[0]))
    if all(prove(b, facts.with_assumption(a)) for a, b in both_ways):
        return replace(s, value=replace(s.value, condition=ends[0]))
    return s


def _each_part_alone(s: Stmt) -> Stmt:
    """No copies under way in a part, in which no barrier will stand, that uses them itself."""
    if has_threads(s) and not (isinstance(s, For) and s.kind in THREADS):
        new = [_each_part_alone(b) for b in bodies(s)]
        return seq(*new) if isinstance(s, Seq) else with_bodies(s, tuple(new))
    if isinstance(s, Seq) and not has_threads(s):
        return seq(*[_each_part_alone(item) for item in s.items])
    if isinstance(s, Commit | Wait):
        return s
    s = _without_waiting(s)
    reads = {load.buffer for x, _ in walk_stmt(s) for e in direct_exprs(x) for load in loads(e)}
    written = {x.buffer for x, _ in walk_stmt(s) if isinstance(x, Store | Accumulate)}

    def alone(x: Stmt) -> Stmt:
        if not isinstance(x, Store) or x.method != ASYNC:
            return x
        load = copied(x.value)
        uses = x.buffer in reads or (load is not None and load.buffer in written)
        return replace(x, method="") if uses else x

    return rewrite_stmt(s, alone)


def _without_waiting(s: Stmt) -> Stmt:
    return rewrite_stmt(s, lambda x: Seq(()) if isinstance(x, Commit | Wait) else _without_nothing(x))


def _without_nothing(s: Stmt) -> Stmt:
    match s:
        case Seq():
            return seq(*[item for item in s.items if item != Seq(())])
        case For() | If() if bodies(s) == (Seq(()),):
            return Seq(())
    return s


def _refuse(s: Store) -> NoReturn:
    size = s.value.dtype.bytes
    lanes = 16 // size
    raise LateRefusal(
        error(
            "copy-method",
            f"`{s.stage}` cannot be copied by `{ASYNC}`, which copies 4, 8 or 16 bytes at once: its elements have "
            f"{size}, and they are not copied side by side",
            None,
            help=f"`vectorize` the innermost loop of the copy, along the last axis of both, by {lanes}, "
            "and where it may overhang, add `fill 0`",
        ),
        (s.stage,),
        "single elements are too small",
        at="by",
    )
