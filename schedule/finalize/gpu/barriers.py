"""Barriers: where threads of a block wait for each other, needed and no more.

    for k < n:                                 for k < n:
      thread.x for j: S[j] = A[k, j]             barrier
      thread.x for j: C[j] += S[31 - j]    ->    thread.x for j: S[j] = A[k, j]
                                                 barrier
                                                 thread.x for j: C[j] += S[31 - j]

Two accesses of an element need one between them where one is a write and nothing proves that the same
thread makes both. Going through the statements in order, what has been accessed since the last barrier is
kept; a statement that conflicts with some of it gets a barrier before. In a loop, what its trip before has
left behind counts too. That is what the loop's end leaves behind, which depends on the barriers: they are
placed for all that the loop accesses, and then anew for what that leaves, until both agree.

Accesses of one nest of thread loops need none among each other: its trips are independent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from te.ir.bounds import Facts, prove
from te.ir.expr import Const, Expr, Op, Var, compare, conjuncts, floor_div, integer, negation, sub
from te.ir.loop import (
    THREADS,
    Accumulate,
    Alloc,
    Barrier,
    For,
    If,
    Let,
    Seq,
    Stmt,
    Store,
    bodies,
    direct_exprs,
    seq,
    walk_stmt,
    with_bodies,
)
from te.ir.simplify import simplify
from te.ir.visit import loads, substitute, walk
from te.schedule.context import facts_inside
from te.schedule.finalize.gpu.levels import MOST_THREADS
from te.schedule.finalize.gpu.threads import NOTHING, has_threads

MOST_ROUNDS = 4


@dataclass(frozen=True, slots=True)
class Touch:
    """An access by some thread, over free variables, the same for all, and over its own, in `ranges`.

    `ranges` are (variable, extent); the variables of an access are renamed when two are compared.
    """

    buffer: str
    index: tuple[Expr, ...]
    writes: bool
    thread: tuple[Expr, ...]  # its number at each level of the launch
    ranges: tuple[tuple[str, Expr], ...] = ()
    conditions: tuple[Expr, ...] = ()


Touches: TypeAlias = frozenset[Touch]
NO_TOUCHES: Touches = frozenset()


@dataclass(frozen=True, slots=True)
class _Placed:
    """A statement with its barriers, the accesses behind the last of them, and whether one is surely met."""

    body: Stmt
    left: Touches
    waits: bool = False


def place_barriers(s: Stmt, facts: Facts) -> Stmt:
    """Put barriers into what a block does."""
    if not has_threads(s):
        return s
    own = {x.buffer.name for x, _ in walk_stmt(s) if isinstance(x, Alloc) and x.buffer.scope in OWN}
    written = {x.buffer for x, _ in walk_stmt(s) if isinstance(x, Store | Accumulate)} - own
    levels = tuple(sorted({x.kind for x, _ in walk_stmt(s) if isinstance(x, For) and x.kind in THREADS}))
    return _Barriers(frozenset(written), levels).placed(s, NO_TOUCHES, facts).body


OWN = ("register", "stack")  # scopes of what each thread has for itself


@dataclass(frozen=True, slots=True)
class _Barriers:
    written: frozenset[str]  # the buffers that threads may tell each other by
    levels: tuple[str, ...]

    def placed(self, s: Stmt, before: Touches, facts: Facts) -> _Placed:
        """`s` behind accesses `before`."""
        if isinstance(s, Seq):
            return self._sequence(s, before, facts)
        if not has_threads(s) or (isinstance(s, For) and s.kind in THREADS):
            touches = touches_of(s, self.written, self.levels)
            return self._behind(touches, before, facts, lambda left: _Placed(s, left | touches))
        asked = self._asked(s)
        match s:
            case For():
                return self._loop(s, before, facts)
            case If():
                # A barrier that its body begins with stands before it: that may save another one behind.
                alone = self._condition(s, asked, facts)
                begins = asked.union(*[self._begin(body)[0] for body in bodies(alone.body)])
                return self._behind(
                    begins, before, facts, lambda left: self._condition(s, left | asked, facts)
                )
        return self._behind(asked, before, facts, lambda left: self._named(s, left | asked, facts))

    def _asked(self, s: Stmt) -> Touches:
        """What the expressions that stand directly in a statement read."""
        return touches_of(with_bodies(s, tuple(NOTHING for _ in bodies(s))), self.written, self.levels)

    def _behind(
        self, touches: Touches, before: Touches, facts: Facts, make: Callable[[Touches], _Placed]
    ) -> _Placed:
        """What `make` makes of the accesses left before it, behind a barrier where `touches` need one."""
        if not conflict(before, touches, facts):
            return make(before)
        made = make(NO_TOUCHES)
        return _Placed(seq(Barrier(), made.body), made.left, True)

    def _sequence(self, s: Seq, before: Touches, facts: Facts) -> _Placed:
        items: list[Stmt] = []
        waits = False
        for item in s.items:
            made = self.placed(item, before, facts)
            items.append(made.body)
            before, waits = made.left, waits or made.waits
        return _Placed(seq(*items), before, waits)

    def _condition(self, s: If, before: Touches, facts: Facts) -> _Placed:
        body = self.placed(s.body, before, facts_inside(s, s.body, facts, False))
        if s.otherwise is None:
            return _Placed(replace(s, body=body.body), body.left | before)
        other = self.placed(s.otherwise, before, facts_inside(s, s.otherwise, facts, False))
        new = replace(s, body=body.body, otherwise=other.body)
        return _Placed(new, body.left | other.left, body.waits and other.waits)

    def _named(self, s: Stmt, before: Touches, facts: Facts) -> _Placed:
        (body,) = bodies(s)
        made = self.placed(body, before, facts_inside(s, body, facts, False))
        left = made.left
        if isinstance(s, Let):
            left = frozenset(_substituted(t, {s.var: s.value}) for t in left)
        return replace(made, body=with_bodies(s, (made.body,)), left=left)

    def _loop(self, s: For, before: Touches, facts: Facts) -> _Placed:
        trip = self._trip(s, facts)
        begins = frozenset(_in_some_trip(t, s) for t in self._begin(trip.body)[0]) | self._asked(s)
        has_trips = prove(compare("<", integer(0), s.extent), facts)

        def made(left: Touches) -> _Placed:
            behind = frozenset(_in_some_trip(t, s) for t in trip.left)
            waits = trip.waits and has_trips
            return _Placed(replace(s, body=trip.body), behind if waits else behind | left, waits)

        return self._behind(begins, before, facts, made)

    def _trip(self, s: For, facts: Facts) -> _Placed:
        """A loop's body behind what its earlier trips leave."""
        inside = facts_inside(s, s.body, facts, False)
        everything = touches_of(s.body, self.written, self.levels)
        left, waits = everything, False
        for _ in range(MOST_ROUNDS):
            earlier = frozenset(_in_earlier_trip(t, s, is_last=waits) for t in left)
            trip = self.placed(s.body, earlier, inside)
            new = trip.left - earlier
            if (new, trip.waits) == (left, waits):
                return trip
            left, waits = new, trip.waits
        earlier = frozenset(_in_earlier_trip(t, s, is_last=False) for t in everything)
        trip = self.placed(s.body, earlier, inside)
        return replace(trip, left=trip.left - earlier)

    def _begin(self, s: Stmt) -> tuple[Touches, bool]:
        """What is accessed before the first barrier, and whether there surely is one."""
        match s:
            case Barrier():
                return NO_TOUCHES, True
            case Seq():
                touches = NO_TOUCHES
                for item in s.items:
                    found, waits = self._begin(item)
                    touches |= found
                    if waits:
                        return touches, True
                return touches, False
        if not any(isinstance(x, Barrier) for x, _ in walk_stmt(s)):
            return touches_of(s, self.written, self.levels), False
        inner = [self._begin(b) for b in bodies(s)]
        touches = frozenset(t for found, _ in inner for t in found)
        if isinstance(s, For):
            touches = frozenset(_in_some_trip(t, s) for t in touches)
        if isinstance(s, Let):
            touches = frozenset(_substituted(t, {s.var: s.value}) for t in touches)
        is_met = not isinstance(s, For) and all(waits for _, waits in inner)
        return touches | self._asked(s), is_met and not (isinstance(s, If) and s.otherwise is None)


# ---------------------------------------------------------------- accesses


def touches_of(s: Stmt, buffers: frozenset[str], levels: Sequence[str]) -> Touches:
    """All accesses of some buffers in a statement, each by the threads that make it."""
    return frozenset(_touches(s, buffers, levels, Touch("", (), False, ()), {}, {}))


def _touches(
    s: Stmt,
    buffers: frozenset[str],
    levels: Sequence[str],
    at: Touch,
    lets: Mapping[str, Expr],
    threads: Mapping[str, Expr],
) -> Iterator[Touch]:
    """`at` has what is known where `s` stands."""
    accesses = [(r.buffer, r.index, False) for e in direct_exprs(s) for r in loads(e) if r.buffer in buffers]
    if isinstance(s, Store | Accumulate) and s.buffer in buffers:
        accesses.append((s.buffer, s.index, True))
        if isinstance(s, Accumulate):
            accesses.append((s.buffer, s.index, False))
    anyone = [level for level in levels if level not in threads]
    number = tuple(threads.get(level, Var(f"any {level}")) for level in levels)
    ranges = (*at.ranges, *((f"any {level}", integer(MOST_THREADS)) for level in anyone))
    for buffer, index, writes in accesses:
        yield replace(
            at,
            buffer=buffer,
            index=tuple(substitute(i, lets) for i in index),
            writes=writes,
            thread=number,
            ranges=ranges,
        )
    for number_of_body, body in enumerate(bodies(s)):
        inner, names, inside = at, lets, threads
        match s:
            case For():
                inner = replace(at, ranges=(*at.ranges, (s.var, substitute(s.extent, lets))))
                if s.kind in THREADS:
                    inside = {**threads, s.kind: Var(s.var)}
            case Let():
                names = {**lets, s.var: substitute(s.value, lets)}
            case If() if not any(loads(s.condition)):
                condition = substitute(s.condition if number_of_body == 0 else negation(s.condition), lets)
                inner = replace(at, conditions=(*at.conditions, *conjuncts(condition)))
        yield from _touches(body, buffers, levels, inner, names, inside)


def _substituted(t: Touch, values: Mapping[str, Expr]) -> Touch:
    return replace(
        t,
        index=tuple(substitute(i, values) for i in t.index),
        thread=tuple(substitute(i, values) for i in t.thread),
        ranges=tuple((name, substitute(e, values)) for name, e in t.ranges),
        conditions=tuple(substitute(c, values) for c in t.conditions),
    )


def _renamed(t: Touch, mark: str) -> Touch:
    """The access with its own variables called otherwise."""
    names: dict[str, Expr] = {name: Var(name + mark) for name, _ in t.ranges}
    t = _substituted(t, names)
    return replace(t, ranges=tuple((name + mark, e) for name, e in t.ranges))


def _in_some_trip(t: Touch, loop: For) -> Touch:
    return replace(t, ranges=((loop.var, loop.extent), *t.ranges))


def _in_earlier_trip(t: Touch, loop: For, *, is_last: bool) -> Touch:
    """The access in a trip before the one that the loop is in; in the last one of them."""
    earlier = Var(f"{loop.var} before")
    t = _substituted(t, {loop.var: earlier})
    when = (
        compare("==", earlier, sub(Var(loop.var), integer(1)))
        if is_last
        else compare("<", earlier, Var(loop.var))
    )
    return replace(t, ranges=((earlier.name, loop.extent), *t.ranges), conditions=(*t.conditions, when))


def conflict(before: Touches, after: Touches, facts: Facts) -> bool:
    """Whether some threads may meet in an element, one of them writing."""
    return any(
        a.buffer == b.buffer and (a.writes or b.writes) and not _is_of_one_thread(a, b, facts)
        for a in before
        for b in after
    )


def _is_of_one_thread(a: Touch, b: Touch, facts: Facts) -> bool:
    """Whether it is proved that one thread makes both accesses, or that they are of different elements."""
    a, b = _renamed(a, " 1"), _renamed(b, " 2")
    known = facts
    for name, extent in (*a.ranges, *b.ranges):
        known = known.with_range(name, integer(0), sub(extent, integer(1)))
    for condition in (*a.conditions, *b.conditions):
        known = known.with_assumption(condition)
    pairs = zip(a.index, b.index, strict=True)
    plain = [(i, j) for i, j in pairs if not any(loads(i)) and not any(loads(j))]
    if any(prove(compare(op, i, j), known) for i, j in plain for op in ("<", ">", "!=")):
        return True
    for i, j in plain:
        known = known.with_assumption(compare("==", i, j))
        # Indices are often put together of digits, and then those of a larger weight are the same, too.
        for weight in _weights(i):
            parts = (simplify(floor_div(e, integer(weight)), known) for e in (i, j))
            known = known.with_assumption(compare("==", *parts))
    if all(prove(compare("==", i, j), known) for i, j in zip(a.thread, b.thread, strict=True)):
        return True
    return any(prove(negation(c), known) for c in (*a.conditions, *b.conditions))  # they never meet


def _weights(e: Expr) -> list[int]:
    """The constants that an index has as factors, the smallest first."""
    found = {
        int(factor.value)
        for op in walk(e)
        if isinstance(op, Op) and op.op == "*"
        for factor in op.args
        if isinstance(factor, Const) and int(factor.value) > 1
    }
    return sorted(found)
