"""How many threads a block has, and what each of them does.

All nests of a launch run on the same threads: afterwards every thread loop has as many trips as there are
threads at its level, and a guard where the statement wants fewer.

    thread.x for j < 20: A(j)           thread.x for j < 32: if j < 20: A(j)
    thread.x for j < 32: B(j)     ->    thread.x for j < 32: B(j)
    m[0] = 1.0                          thread.x for s < 32: if s < 1: m[0] = 1.0

What stands in no loop of a level is done by the first thread of that level where it writes to memory, and
by all of them, each for itself, where it writes to registers.

Threads have numbers along the axes x, y, z, or in warps of 32 lanes; a launch may use both. The threads of a
block are then counted through, x first, and 32 in a row are a warp.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import NoReturn

from te.ir.bounds import Facts, bounds
from te.ir.expr import Const, Expr, Var, add, compare, floor_div, integer, minimum, mul, sub
from te.ir.loop import (
    THREADS,
    Accumulate,
    Alloc,
    Combine,
    For,
    If,
    Let,
    Prefetch,
    Seq,
    Stmt,
    Store,
    bodies,
    direct_exprs,
    joined,
    map_prefetches,
    seq,
    walk_stmt,
    with_bodies,
)
from te.ir.simplify import simplify
from te.ir.visit import loads, substitute
from te.schedule.finalize.gpu.sums import refuse_reduction
from te.schedule.finalize.gpu.threads import BY_AXES, BY_WARPS, has_threads, stands_apart
from te.schedule.finalize.guards import conjunction
from te.schedule.names import made_name

MOST_THREADS, MOST_ALONG_Z, WARP = 1024, 64, 32
USUAL_THREADS = 256  # of a block, where loops over them have no constant extent


@dataclass(frozen=True, slots=True)
class Threads:
    """How many threads there are at each level of a launch."""

    counts: dict[str, int]

    def has_all(self, loop: For) -> bool:
        """Whether each trip of a thread loop has a thread of its own."""
        return isinstance(loop.extent, Const) and loop.extent.value <= self.counts[loop.kind]

    def missing(self, around: Sequence[For]) -> list[str]:
        """The levels in no loop of which a statement inside these loops stands."""
        inside = {loop.kind for loop in around}
        numbering = BY_WARPS if inside & BY_WARPS or not self.counts.keys() & BY_AXES else BY_AXES
        return [k for k, count in self.counts.items() if k in numbering and k not in inside and count > 1]


def fill_blocks(s: Stmt, threads: Threads) -> Stmt:
    """Let every thread loop of a launch have the trips of all its threads."""
    if not has_threads(s):
        return s
    registers = {
        x.buffer.name for x, _ in walk_stmt(s) if isinstance(x, Alloc) and x.buffer.scope == "register"
    }
    return _Block(threads, frozenset(registers), _reads(s)).filled(s, ())


# ---------------------------------------------------------------- how many


def threads_of(s: Stmt, facts: Facts) -> Threads:
    """The threads of a launch: at each level as many as its largest loop has trips, up to the limits."""
    wanted: dict[str, int] = {}
    unknown: set[str] = set()
    for x, path in walk_stmt(s):
        if isinstance(x, For) and x.kind in THREADS:
            most = _most_trips(x, path, facts)
            if most is None:
                unknown.add(x.kind)
            wanted[x.kind] = max(wanted.get(x.kind, 1), most or 1)
    for kind in sorted(unknown):
        free = max(1, USUAL_THREADS // prod(wanted.values()))
        wanted[kind] = max(wanted[kind], WARP if kind == "lane" else free)
    combined = {x.level for x, _ in walk_stmt(s) if isinstance(x, Combine)}
    if "thread.x" in combined:
        wanted["thread.x"] = _in_warps(wanted["thread.x"])
    counts = {k: n for k, n in sorted(wanted.items()) if k in BY_AXES}
    if wanted.keys() & BY_WARPS:
        warps = min(wanted.get("warp", 1), MOST_THREADS // WARP)
        counts = _in_whole_warps(_limited(counts), warps)
        return Threads(counts | {"warp": max(prod(counts.values()) // WARP, warps), "lane": WARP})
    return Threads(_limited(counts))


def _most_trips(loop: For, path: Sequence[Stmt], facts: Facts) -> int | None:
    if isinstance(loop.extent, Const):
        return int(loop.extent.value)
    over = {s.var for s in path if isinstance(s, For | Let)}
    for s in path:
        if isinstance(s, For):
            facts = facts.with_range(s.var, integer(0), add(s.extent, integer(-1)))
    _, most = bounds(loop.extent, facts, over)
    return int(most.value) if isinstance(most, Const) and most.value <= MOST_THREADS else None


def _in_warps(count: int) -> int:
    """At least so many threads that exchange registers: whole warps, or a part of one that can be halved."""
    return -(-count // WARP) * WARP if count > WARP else 1 << (count - 1).bit_length()


def _limited(counts: dict[str, int]) -> dict[str, int]:
    """As many as a block may have: the largest level is halved until that is so."""
    counts = dict(counts)
    if "thread.z" in counts:
        counts["thread.z"] = min(counts["thread.z"], MOST_ALONG_Z)
    while prod(counts.values()) > MOST_THREADS:
        largest = max(counts, key=lambda kind: counts[kind])
        counts[largest] = -(-counts[largest] // 2)
    return counts


def _in_whole_warps(counts: dict[str, int], warps: int) -> dict[str, int]:
    """At least so many warps, all of them whole.

    There are more threads at the last level for that; where a block may not have as many, powers of two at each.
    """
    if not counts:
        return counts
    last = max(counts)
    grown = dict(counts)
    while prod(grown.values()) % WARP or prod(grown.values()) < warps * WARP:
        grown[last] += 1
    if _limited(grown) == grown:
        return grown
    powers = _limited({kind: 1 << (n - 1).bit_length() for kind, n in ({"thread.x": 1} | counts).items()})
    while prod(powers.values()) < warps * WARP:
        powers["thread.x"] *= 2
    return powers


# ---------------------------------------------------------------- what each does


@dataclass(frozen=True, slots=True)
class _Block:
    threads: Threads
    registers: frozenset[str]  # all of the launch
    reads: Counter[str]  # how often the launch reads each buffer

    def filled(self, s: Stmt, around: tuple[For, ...]) -> Stmt:
        """`s`, which stands inside thread loops `around`."""
        match s:
            case For() if s.kind in THREADS and not around:
                return seq(*[self._on_all(part, (part,)) for part in self._apart(s)])
            case For() if s.kind in THREADS:
                return self._on_all(s, (*around, s))
            case Seq():
                return self._sequence(s, around)
        if has_threads(s):
            return with_bodies(s, tuple([self.filled(b, around) for b in bodies(s)]))
        return self._alone(s, around)

    def _apart(self, nest: For) -> list[For]:
        """A nest of thread loops, once for each part of what it does.

        A part ends where all threads of a level need what its first one has written: they can wait between nests only.
        """
        around: list[For | Let | If] = []
        inner: Stmt = nest
        while isinstance(inner, Let | If) or (isinstance(inner, For) and inner.kind in THREADS):
            if isinstance(inner, If) and inner.otherwise is not None:
                return [nest]
            around.append(inner)
            inner = inner.body
        if not isinstance(inner, Seq) or not self.threads.missing([x for x in around if isinstance(x, For)]):
            return [nest]
        asked = frozenset().union(*[_reads_directly(x) for x in around])
        parts: list[list[Stmt]] = [[]]
        for item in inner.items:
            part = [*parts[-1], item]
            if self._waits(part, len(part) - 1) and not asked & _written(seq(*part)):
                parts.append([])
            parts[-1].append(item)
        nests = []
        for part in parts:
            s = seq(*part)
            for outer in reversed(around):
                s = replace(outer, body=s)
            assert isinstance(s, For), "the nest is one"
            nests.append(s)
        return nests

    def _sequence(self, s: Seq, around: tuple[For, ...]) -> Stmt:
        """Neighbours that are for one thread are one statement of it."""
        return seq(
            *[
                self.filled(item, around) if has_threads(item) else self._alone(item, around)
                for item in joined(s.items, stands_apart)
            ]
        )

    def _on_all(self, loop: For, around: tuple[For, ...]) -> Stmt:
        """The loop with a trip for each thread of its level, which takes several turns where it has more."""
        count = self.threads.counts[loop.kind]
        body = self.filled(loop.body, around)
        if loop.extent == integer(count):
            return replace(loop, body=body)
        if isinstance(loop.extent, Const) and loop.extent.value < count:
            guarded = If(compare("<", Var(loop.var), loop.extent), body)
            fetched = _fetched_inside(loop, Var(loop.var))
            return replace(loop, extent=integer(count), body=guarded, prefetches=fetched)
        turn, thread = made_name(f"{loop.var}_turn"), made_name(f"{loop.var}_thread")
        here = add(mul(integer(count), Var(turn)), Var(thread))
        body = Let(loop.var, here, loop.extent, If(compare("<", Var(loop.var), loop.extent), body))
        fetched = _fetched_inside(loop, here)
        turns = simplify(floor_div(add(loop.extent, integer(count - 1)), integer(count)))
        body = For(turn, turns, body, prefetches=fetched)
        return replace(loop, var=thread, extent=integer(count), body=body, prefetches=())

    def _alone(self, s: Stmt, around: tuple[For, ...]) -> Stmt:
        """What stands in no loop of some levels: for their first threads, or for all of them."""
        missing = self.threads.missing(around)
        if not missing or not any(isinstance(x, Store | Accumulate | Combine) for x, _ in walk_stmt(s)):
            return s
        if not self._writes_registers_around(s):
            return self._on_first(s, missing)
        match s:
            case Seq():
                parts = joined(s.items, self._writes_registers_around)  # what is for memory together
                return seq(*self._in_order(parts, around))
            case Store() | Accumulate() | Combine():
                return s
        return with_bodies(s, tuple([self._alone(b, around) for b in bodies(s)]))

    def _in_order(self, parts: Sequence[Stmt], around: tuple[For, ...]) -> list[Stmt]:
        """Each part alone; but what brings memory to registers and back is one part, for one thread.

        The other threads would read while that one writes. Raises `ScheduleError` where they need what is read.
        """
        into_memory = [_written(part) - self.registers for part in parts]
        updated = frozenset[str]().union(*into_memory)
        reading = [n for n, part in enumerate(parts) if not into_memory[n] and _reads(part).keys() & updated]
        last = max((n for n, written in enumerate(into_memory) if written), default=-1)
        first = min(reading, default=len(parts))
        if around and any(self._waits(parts, n) for n in range(len(parts)) if not first <= n <= last):
            _refuse_waiting(parts)
        if last < first:
            return [self._alone(part, around) for part in parts]
        update = seq(*parts[first : last + 1])
        inside = _reads(update)
        is_needed = any(inside[name] < self.reads[name] for name in _written(update) & self.registers)
        if is_needed or any(isinstance(x, Combine) for x, _ in walk_stmt(update)):
            _refuse_waiting(parts)
        before, behind = parts[:first], parts[last + 1 :]
        return [
            *(self._alone(part, around) for part in before),
            self._on_first(update, self.threads.missing(around)),
            *(self._alone(part, around) for part in behind),
        ]

    def _waits(self, parts: Sequence[Stmt], number: int) -> bool:
        """Whether all threads need what the first one has written in a part before."""
        written = _written(seq(*parts[:number])) - self.registers
        return self._writes_registers_around(parts[number]) and bool(written & _reads(parts[number]).keys())

    def _writes_registers_around(self, s: Stmt) -> bool:
        """Whether a statement writes to registers that are allocated around it."""
        own = {x.buffer.name for x, _ in walk_stmt(s) if isinstance(x, Alloc)}
        return bool(_written(s) & self.registers - own)

    def _on_first(self, s: Stmt, missing: Sequence[str]) -> Stmt:
        stage = next(x.stage for x, _ in walk_stmt(s) if isinstance(x, Store | Accumulate))
        taken = {x.var for x, _ in walk_stmt(s) if isinstance(x, For | Let)}
        wanted = {kind: made_name(f"{stage}.{kind.replace('thread.', 'thread_')}") for kind in missing}
        names = {kind: free_name(name, taken) for kind, name in wanted.items()}
        first = [compare("==", Var(name), integer(0)) for name in names.values()]
        s = If(conjunction(first), s)
        for kind, name in reversed(names.items()):
            s = For(name, integer(self.threads.counts[kind]), s, kind)
        return s


def _fetched_inside(loop: For, trip: Expr) -> tuple[Prefetch, ...]:
    """What a thread fetches in a trip of the loop; one without such a trip fetches what the last one does."""
    here = minimum(trip, sub(loop.extent, integer(1)))
    return map_prefetches(loop, lambda i: substitute(i, {loop.var: here}))


def _refuse_waiting(parts: Sequence[Stmt]) -> NoReturn:
    stage = next(x.stage for x, _ in walk_stmt(seq(*parts)) if isinstance(x, Store | Accumulate))
    refuse_reduction(
        stage,
        "one thread would write to memory what the others read there",
        "keep the whole reduction inside of the loops that are bound to threads",
    )


def free_name(name: str, taken: set[str]) -> str:
    """A name for a variable that none in use has."""
    while name in taken:
        name += "_"
    return name


def _reads(s: Stmt) -> Counter[str]:
    return Counter(load.buffer for x, _ in walk_stmt(s) for e in direct_exprs(x) for load in loads(e))


def _reads_directly(s: Stmt) -> frozenset[str]:
    return frozenset(load.buffer for e in direct_exprs(s) for load in loads(e))


def _written(s: Stmt) -> frozenset[str]:
    return frozenset(x.buffer for x, _ in walk_stmt(s) if isinstance(x, Store | Accumulate | Combine))
