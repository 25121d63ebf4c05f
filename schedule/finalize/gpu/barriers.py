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

No barrier helps against a copy that is under way (`touches.py`): a statement that may meet one gets a `Wait` before
it, and then a barrier, if other threads have made the copy. What `Wait`s stand there already is taken into account.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from te.ir.bounds import Facts, prove
from te.ir.expr import compare, integer
from te.ir.loop import (
    THREADS,
    Accumulate,
    Alloc,
    Barrier,
    Commit,
    For,
    If,
    Let,
    Seq,
    Stmt,
    Store,
    Wait,
    bodies,
    seq,
    walk_stmt,
    with_bodies,
)
from te.schedule.context import facts_inside
from te.schedule.finalize.gpu.arena import overlapping
from te.schedule.finalize.gpu.meeting import meeting
from te.schedule.finalize.gpu.threads import NOTHING, has_threads
from te.schedule.finalize.gpu.touches import (
    NO_TOUCHES,
    Touches,
    begun_before,
    begun_in_earlier_trip,
    behind_last_trip,
    committed,
    groups_closed,
    in_earlier_trip,
    in_some_trip,
    is_open,
    outside_of,
    touches_of,
    under_way,
    waited,
    without_own,
)

MOST_ROUNDS = 4


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
    return _Barriers(frozenset(written), levels, overlapping(s)).placed(s, NO_TOUCHES, facts).body


OWN = ("register", "stack")  # scopes of what each thread has for itself


@dataclass(frozen=True, slots=True)
class _Barriers:
    written: frozenset[str]  # the buffers that threads may tell each other by
    levels: tuple[str, ...]
    overlaps: Mapping[str, set[str]]  # other buffers in the same bytes

    def placed(self, s: Stmt, before: Touches, facts: Facts) -> _Placed:
        """`s` behind accesses `before`."""
        if isinstance(s, Seq):
            return self._sequence(s, before, facts)
        if isinstance(s, Commit):
            return _Placed(s, committed(before))
        if isinstance(s, Wait):
            return _Placed(s, waited(before, s.pending))
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
                copies = NO_TOUCHES if asked else under_way(before)  # its body may wait for them
                return self._behind(
                    begins,
                    before - copies,
                    facts,
                    lambda left: self._condition(s, left | copies | asked, facts),
                )
        return self._behind(asked, before, facts, lambda left: self._named(s, left | asked, facts))

    def _asked(self, s: Stmt) -> Touches:
        """What the expressions that stand directly in a statement read."""
        return touches_of(with_bodies(s, tuple(NOTHING for _ in bodies(s))), self.written, self.levels)

    def _behind(
        self, touches: Touches, before: Touches, facts: Facts, make: Callable[[Touches], _Placed]
    ) -> _Placed:
        """What `make` makes of the accesses left before it, behind a barrier where `touches` need one."""
        met = meeting(before, touches, facts, self.overlaps)
        if not met:
            return make(before)
        first: list[Stmt] = []
        if under_way(met):
            first.append(Wait(0))
            if any(is_open(t) for t in met):
                first, before = [Commit(), *first], committed(before)
            before = waited(before, 0)  # which is not over for a copy whose group is open
            if not meeting(before, touches, facts, self.overlaps):
                made = make(before)
                return replace(made, body=seq(*first, made.body))
        made = make(under_way(before))
        return _Placed(seq(*first, Barrier(), made.body), made.left, True)

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
            left = frozenset(outside_of(t, s) for t in left)
        return replace(made, body=with_bodies(s, (made.body,)), left=left)

    def _loop(self, s: For, before: Touches, facts: Facts) -> _Placed:
        trip = self._trip(s, under_way(before), facts)
        begins = frozenset(in_some_trip(t, s) for t in self._begin(trip.body)[0]) | self._asked(s)
        has_trips = prove(compare("<", integer(0), s.extent), facts)

        def made(left: Touches) -> _Placed:
            last = under_way(trip.left)
            behind = frozenset(in_some_trip(t, s) for t in trip.left - last)
            if any(isinstance(x, Commit | Wait) for x, _ in walk_stmt(trip.body)):
                behind |= frozenset(behind_last_trip(t, s) for t in last)
            else:  # the copies of all trips are of one age
                own = under_way(touches_of(s.body, self.written, self.levels))
                behind |= copies | frozenset(in_some_trip(t, s) for t in own)
            waits = trip.waits and has_trips
            kept = NO_TOUCHES if has_trips else copies
            return _Placed(
                replace(s, body=trip.body), behind | kept if waits else behind | kept | left, waits
            )

        copies = under_way(before)  # which each of the trips sees
        return self._behind(begins, before - copies, facts, made)

    def _trip(self, s: For, copies: Touches, facts: Facts) -> _Placed:
        """A loop's body behind what its earlier trips leave, and `copies` under way when it begins."""
        inside = facts_inside(s, s.body, facts, False)
        everything = touches_of(s.body, self.written, self.levels)
        closed = groups_closed(s.body)
        under = NO_TOUCHES.union(*[begun_before(without_own(t, s.var), s, closed) for t in copies])
        if under_way(everything):
            own = under_way(self.placed(s.body, NO_TOUCHES, inside).left)
            under = under.union(*[begun_in_earlier_trip(t, s, closed) for t in own])
            everything = frozenset(replace(t, age=None) for t in everything)
        left, waits = everything, False
        for _ in range(MOST_ROUNDS):
            earlier = frozenset(in_earlier_trip(t, s, is_last=waits) for t in left)
            trip = self.placed(s.body, earlier | under, inside)
            new = trip.left - earlier - under_way(trip.left)
            if (new, trip.waits) == (left, waits):
                return replace(trip, left=new | under_way(trip.left))
            left, waits = new, trip.waits
        earlier = frozenset(in_earlier_trip(t, s, is_last=False) for t in everything)
        trip = self.placed(s.body, earlier | under, inside)
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
            touches = frozenset(in_some_trip(t, s) for t in touches)
        if isinstance(s, Let):
            touches = frozenset(outside_of(t, s) for t in touches)
        is_met = not isinstance(s, For) and all(waits for _, waits in inner)
        return touches | self._asked(s), is_met and not (isinstance(s, If) and s.otherwise is None)
