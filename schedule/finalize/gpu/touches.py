"""Accesses of memory by the threads of a block, and how old those of copies under way are.

An asynchronous copy is under way from where it begins to a `Wait`: until then nobody may write what it reads, or use
what it writes, not even the thread that began it. How many groups that thread has closed since is the `age` of the
copy's accesses; `Wait` is over for all that are older than what it leaves. An age is never more than the true one.

Of copies from earlier trips of a loop in which c groups are closed, an access has a variable of its own that says how
many trips ago it was: its age grows by c with each. What is under way where a loop begins grows older by c with each of
the trips. Where a `Wait` leaves n groups, the age is at most n. Mostly that is all a proof needs; where it is not, the
access is taken apart into one for each number of trips, of which a deep pipeline has many.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import TypeAlias

from te.ir.bounds import NO_FACTS
from te.ir.expr import (
    TRUE,
    Const,
    Expr,
    Op,
    Var,
    add,
    compare,
    conjuncts,
    integer,
    mul,
    negation,
    sub,
)
from te.ir.loop import (
    ASYNC,
    THREADS,
    Accumulate,
    Commit,
    For,
    If,
    Let,
    Seq,
    Stmt,
    Store,
    bodies,
    direct_exprs,
)
from te.ir.simplify import simplify
from te.ir.visit import loads, substitute, walk
from te.schedule.finalize.gpu.levels import MOST_THREADS
from te.schedule.finalize.gpu.matrix_loads import METHOD

AGO = " ago"  # ends the names of variables that count trips back


@dataclass(frozen=True, slots=True)
class Age:
    """How many groups have been closed since: `least`, and for each of `counts` (trips >= 0, groups closed in one)."""

    least: int = 0
    counts: tuple[tuple[Expr, int], ...] = ()
    most: int | None = None  # where a `Wait` has left none that are older


@dataclass(frozen=True, slots=True)
class Touch:
    """An access by some thread, over free variables, the same for all, and over its own, in `ranges`.

    `ranges` are (variable, extent); the variables of an access are renamed when two are compared.
    `age` is that of a copy under way, and None of what is over.
    """

    buffer: str
    index: tuple[Expr, ...]
    writes: bool
    thread: tuple[Expr, ...]  # its number at each level of the launch
    ranges: tuple[tuple[str, Expr], ...] = ()
    conditions: tuple[Expr, ...] = ()
    age: Age | None = None


Touches: TypeAlias = frozenset[Touch]
NO_TOUCHES: Touches = frozenset()


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
    if isinstance(s, Store) and s.method.startswith(METHOD):  # a lane reads what others get
        threads = {level: number for level, number in threads.items() if level != "lane"}
    anyone = [level for level in levels if level not in threads]
    number = tuple(threads.get(level, Var(f"any {level}")) for level in levels)
    ranges = (*at.ranges, *((f"any {level}", integer(MOST_THREADS)) for level in anyone))
    age = Age() if isinstance(s, Store) and s.method == ASYNC else None
    for buffer, index, writes in accesses:
        yield replace(
            at,
            buffer=buffer,
            index=tuple(substitute(i, lets) for i in index),
            writes=writes,
            thread=number,
            ranges=ranges,
            age=age,
        )
    if isinstance(s, If) and s.otherwise is not None:
        yield from _touches_of_choice(s, buffers, levels, at, lets, threads)
        return
    for body in bodies(s):
        inner, names, inside = at, lets, threads
        match s:
            case For():
                inner = replace(at, ranges=(*at.ranges, (s.var, substitute(s.extent, lets))))
                if s.kind in THREADS:
                    inside = {**threads, s.kind: Var(s.var)}
            case Let() if _is_known_by_range(s):
                inner = replace(at, ranges=(*at.ranges, (s.var, substitute(s.extent, lets))))
            case Let():
                names = {**lets, s.var: substitute(s.value, lets)}
            case If() if not any(loads(s.condition)):
                inner = replace(at, conditions=(*at.conditions, *conjuncts(substitute(s.condition, lets))))
        yield from _touches(body, buffers, levels, inner, names, inside)


def _touches_of_choice(
    s: If,
    buffers: frozenset[str],
    levels: Sequence[str],
    at: Touch,
    lets: Mapping[str, Expr],
    threads: Mapping[str, Expr],
) -> Iterator[Touch]:
    """Those of two bodies. What both access, as they do where one of them is for the rim, is whatever the condition."""
    found = [frozenset(_touches(body, buffers, levels, at, lets, threads)) for body in bodies(s)]
    both = found[0] & found[1]
    yield from both
    known = len(at.conditions)
    for touches, condition in zip(found, (s.condition, negation(s.condition)), strict=True):
        tells = () if any(loads(condition)) else tuple(conjuncts(substitute(condition, lets)))
        for t in touches - both:
            yield replace(t, conditions=(*t.conditions[:known], *tells, *t.conditions[known:]))


# ---------------------------------------------------------------- names


def substituted(t: Touch, values: Mapping[str, Expr]) -> Touch:
    return replace(
        t,
        index=tuple(substitute(i, values) for i in t.index),
        thread=tuple(substitute(i, values) for i in t.thread),
        ranges=tuple((name, substitute(e, values)) for name, e in t.ranges),
        conditions=tuple(substitute(c, values) for c in t.conditions),
        age=None if t.age is None else _substituted_age(t.age, values),
    )


def _substituted_age(age: Age, values: Mapping[str, Expr]) -> Age:
    least, counts = age.least, list[tuple[Expr, int]]()
    for trips, closed in age.counts:
        trips = _plain(substitute(trips, values))
        if isinstance(trips, Const):
            least += closed * int(trips.value)
        else:
            counts.append((trips, closed))
    return Age(least, tuple(counts), age.most)


def without_own(t: Touch, name: str) -> Touch:
    """The access without a variable of its own of that name, which is another one where a later loop has it."""
    own = dict(t.ranges)
    if name not in own:
        return t
    other = name
    while other in own:
        other += "'"
    t = substituted(t, {name: Var(other)})
    return replace(t, ranges=tuple((other if n == name else n, e) for n, e in t.ranges))


def outside_of(t: Touch, let: Let) -> Touch:
    """An access inside of a name, as it is seen outside."""
    return in_some_trip(t, let) if _is_known_by_range(let) else substituted(t, {let.var: let.value})


def _is_known_by_range(let: Let) -> bool:
    """Whether a value is one from which nothing would be proved: a digit in a system of sizes."""
    return any(
        isinstance(e, Op) and e.op in ("//", "%") and not isinstance(e.args[1], Const)
        for e in walk(let.value)
    )


def in_some_trip(t: Touch, loop: For | Let) -> Touch:
    return replace(t, ranges=((loop.var, loop.extent), *t.ranges))


def in_earlier_trip(t: Touch, loop: For, *, is_last: bool) -> Touch:
    """An access that is over, of a trip before the one that the loop is in; of the last one of them."""
    earlier = Var(f"{loop.var} before")
    t = substituted(t, {loop.var: earlier})
    when = (
        compare("==", earlier, sub(Var(loop.var), integer(1)))
        if is_last
        else compare("<", earlier, Var(loop.var))
    )
    return replace(t, ranges=((earlier.name, loop.extent), *t.ranges), conditions=(*t.conditions, when))


# ---------------------------------------------------------------- copies under way


def under_way(touches: Iterable[Touch]) -> Touches:
    return frozenset(t for t in touches if t.age is not None)


def is_open(t: Touch) -> bool:
    """Whether the group of a copy under way may not be closed yet."""
    return t.age is not None and t.age.least == 0


def committed(touches: Iterable[Touch]) -> Touches:
    """The accesses behind a `Commit`."""
    return frozenset(t if t.age is None else replace(t, age=_older(t.age, 1)) for t in touches)


def _older(age: Age, by: int) -> Age:
    return replace(age, least=age.least + by, most=None if age.most is None else age.most + by)


def waited(touches: Iterable[Touch], pending: int) -> Touches:
    """The accesses behind a `Wait`."""
    return frozenset(t for before in touches for t in _waited(before, pending))


def _waited(t: Touch, pending: int) -> Iterator[Touch]:
    """What is over of an access, and what is still under way."""
    age = t.age
    if age is None or (age.most is not None and age.most <= pending):
        yield t
    elif age.least > pending:
        yield replace(t, age=None)
    elif not age.counts:
        yield t
    else:
        groups: Expr = integer(age.least)
        for trips, closed in age.counts:
            groups = add(groups, mul(integer(closed), trips))
        groups = _plain(groups)
        over, not_over = compare("<", integer(pending), groups), compare("<=", groups, integer(pending))
        yield replace(t, age=None, conditions=(*t.conditions, over))
        yield replace(t, age=replace(age, most=pending), conditions=(*t.conditions, not_over))


def one_by_one(t: Touch) -> Iterator[Touch]:
    """An access under way, taken apart by how many trips there were since, as far as a `Wait` bounds them."""
    age = t.age
    if age is None or age.most is None or not age.counts:
        yield t
        return
    own = dict(t.ranges)
    room = age.most - age.least
    for numbers in product(*[range(room // closed + 1) for _, closed in age.counts]):
        groups = sum(n * closed for n, (_, closed) in zip(numbers, age.counts, strict=True))
        if groups > room:
            continue
        values: dict[str, Expr] = {}
        inside: list[Expr] = []
        for (trips, _), n in zip(age.counts, numbers, strict=True):
            if isinstance(trips, Var) and trips.name in own:
                values[trips.name] = integer(n)
                inside.append(compare("<", integer(n), own[trips.name]))
            else:
                inside.append(compare("==", trips, integer(n)))
        ranges = tuple((name, e) for name, e in t.ranges if name not in values)
        one = substituted(replace(t, ranges=ranges, conditions=(*t.conditions, *inside)), values)
        yield replace(one, age=Age(age.least + groups))


def groups_closed(s: Stmt) -> int:
    """How many groups are closed at least, whatever the conditions, where a statement runs."""
    match s:
        case Commit():
            return 1
        case Seq():
            return sum(map(groups_closed, s.items))
        case If():
            return 0 if s.otherwise is None else min(map(groups_closed, bodies(s)))
        case For():
            return groups_closed(s.body) * (int(s.extent.value) if isinstance(s.extent, Const) else 0)
    return sum(map(groups_closed, bodies(s)))


def begun_in_earlier_trip(t: Touch, loop: For, closed: int) -> Touches:
    """A copy under way at the end of a trip, as a later trip sees it; `closed` groups a trip."""
    ago = Var(f"{loop.var}{AGO}")
    then = sub(sub(Var(loop.var), integer(1)), ago)
    return frozenset(
        replace(
            one,
            ranges=((ago.name, loop.extent), *one.ranges),
            conditions=(*one.conditions, compare("<=", integer(0), then)),
        )
        for one in _older_by(ago, closed, substituted(t, {loop.var: then}))
    )


def begun_before(t: Touch, loop: For, closed: int) -> Touches:
    """A copy under way where a loop begins, as its trips see it."""
    return _older_by(Var(loop.var), closed, t)


def _older_by(trips: Expr, closed: int, t: Touch) -> Touches:
    """A copy under way, so many groups later; a `Wait` said something of its age only until then."""
    if not closed:
        return frozenset([t])
    ones = [(one, one.age) for one in one_by_one(t)]
    return frozenset(
        replace(one, age=Age(age.least, (*age.counts, (trips, closed))))
        for one, age in ones
        if age is not None
    )


def behind_last_trip(t: Touch, loop: For) -> Touch:
    """A copy under way at the end of a trip, as what follows the loop sees it."""
    t = substituted(t, {loop.var: sub(loop.extent, integer(1))})
    has_trips = _plain(compare("<", integer(0), loop.extent))
    return t if has_trips == TRUE else replace(t, conditions=(*t.conditions, has_trips))


def _plain(e: Expr) -> Expr:
    return simplify(e, NO_FACTS)
