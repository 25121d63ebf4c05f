"""Accesses of memory by the threads of a block, and which of them may meet in an element.

An asynchronous copy is under way from where it begins to a `Wait`: until then nobody may write what it reads, or use
what it writes, not even the thread that began it. How many groups that thread has closed since is the `age` of the
copy's accesses; `Wait` is over for all that are older than what it leaves. An age is never more than the true one.

Of copies from earlier trips of a loop in which c groups are closed, an access has a variable of its own that says how
many trips ago it was: its age grows by c with each. Where a `Wait` leaves n groups, that is at most n, and the access
is taken apart into one for each, and so it is over the first trips for what is under way where a loop begins.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import TypeAlias

from te.ir.bounds import NO_FACTS, Facts, prove
from te.ir.expr import Const, Expr, Op, Var, add, compare, conjuncts, floor_div, integer, mul, negation, sub
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
from te.ir.visit import loads, substitute, variables, walk
from te.schedule.finalize.gpu.digits import same_variables
from te.schedule.finalize.gpu.instances import meet_in
from te.schedule.finalize.gpu.levels import MOST_THREADS
from te.schedule.finalize.gpu.matrix_loads import METHOD
from te.schedule.finalize.guards import coefficient

AGO = " ago"  # ends the names of variables that count trips back


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
    age: Expr | None = None


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
    age = integer(0) if isinstance(s, Store) and s.method == ASYNC else None
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
    for number_of_body, body in enumerate(bodies(s)):
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
                condition = substitute(s.condition if number_of_body == 0 else negation(s.condition), lets)
                inner = replace(at, conditions=(*at.conditions, *conjuncts(condition)))
        yield from _touches(body, buffers, levels, inner, names, inside)


# ---------------------------------------------------------------- names


def substituted(t: Touch, values: Mapping[str, Expr]) -> Touch:
    return replace(
        t,
        index=tuple(substitute(i, values) for i in t.index),
        thread=tuple(substitute(i, values) for i in t.thread),
        ranges=tuple((name, substitute(e, values)) for name, e in t.ranges),
        conditions=tuple(substitute(c, values) for c in t.conditions),
        age=None if t.age is None else substitute(t.age, values),
    )


def _renamed(t: Touch, mark: str) -> Touch:
    """The access with its own variables called otherwise."""
    names: dict[str, Expr] = {name: Var(name + mark) for name, _ in t.ranges}
    t = substituted(t, names)
    return replace(t, ranges=tuple((name + mark, e) for name, e in t.ranges))


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
    if t.age is None:
        return False
    least = _plain(substitute(t.age, {name: integer(0) for name in variables(t.age)}))
    return least == integer(0)


def committed(touches: Iterable[Touch]) -> Touches:
    """The accesses behind a `Commit`."""
    return frozenset(t if t.age is None else replace(t, age=_plain(add(t.age, integer(1)))) for t in touches)


def waited(touches: Iterable[Touch], pending: int) -> Touches:
    """The accesses behind a `Wait`."""
    return frozenset(t for before in touches for t in _waited(before, pending))


def _waited(t: Touch, pending: int) -> Iterator[Touch]:
    if t.age is None:
        yield t
        return
    over = compare("<", integer(pending), t.age)
    if not isinstance(t.age, Const) or t.age.value > pending:
        yield replace(t, age=None, conditions=(*t.conditions, over))
    for values in _possible(t.age, pending):
        own = {name for name, _ in t.ranges} & values.keys()
        numbers: dict[str, Expr] = {name: integer(n) for name, n in values.items()}
        inside = [compare("<", numbers[name], e) for name, e in t.ranges if name in own]
        inside += [compare("==", Var(name), numbers[name]) for name in sorted(values.keys() - own)]
        ranges = tuple((name, e) for name, e in t.ranges if name not in own)
        one = substituted(replace(t, ranges=ranges), numbers)
        assert one.age is not None
        age = _plain(one.age)
        inside.append(compare("<=", age, integer(pending)))
        yield replace(one, age=age, conditions=(*one.conditions, *inside))


def _possible(age: Expr, most: int) -> Iterator[dict[str, int]]:
    """The values of the variables for which an age, a sum of their multiples, is at most so much.

    No value, which says nothing, where it is another sum.
    """
    rates = {name: coefficient(age, name) for name in sorted(variables(age))}
    least = _plain(substitute(age, {name: integer(0) for name in rates}))
    known = {name: rate for name, rate in rates.items() if rate}
    if len(known) < len(rates) or not isinstance(least, Const) or min(least.value, *known.values(), 1) < 0:
        yield {}
        return
    for numbers in product(*[range((most - int(least.value)) // rate + 1) for rate in known.values()]):
        if least.value + sum(n * rate for n, rate in zip(numbers, known.values(), strict=True)) <= most:
            yield dict(zip(known, numbers, strict=True))


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


def begun_in_earlier_trip(t: Touch, loop: For, closed: int) -> Touch:
    """A copy under way at the end of a trip, as a later trip sees it; `closed` groups a trip."""
    ago = Var(f"{loop.var}{AGO}")
    then = sub(sub(Var(loop.var), integer(1)), ago)
    age = t.age
    assert age is not None
    t = substituted(t, {loop.var: then})
    assert t.age is not None
    return replace(
        t,
        age=_plain(add(t.age, mul(integer(closed), ago))),
        ranges=((ago.name, loop.extent), *t.ranges),
        conditions=(*t.conditions, compare("<=", integer(0), then)),
    )


def begun_before(t: Touch, loop: For, closed: int) -> Touch:
    """A copy under way where a loop begins, as its trips see it."""
    assert t.age is not None
    return replace(t, age=_plain(add(t.age, mul(integer(closed), Var(loop.var)))))


def behind_last_trip(t: Touch, loop: For) -> Touch:
    """A copy under way at the end of a trip, as what follows the loop sees it."""
    t = substituted(t, {loop.var: sub(loop.extent, integer(1))})
    return replace(t, conditions=(*t.conditions, compare("<", integer(0), loop.extent)))


def _plain(e: Expr) -> Expr:
    return simplify(e, NO_FACTS)


# ---------------------------------------------------------------- where two meet


def meeting(before: Touches, after: Touches, facts: Facts, overlaps: Mapping[str, set[str]]) -> Touches:
    """Those `before` that may meet some of those `after` in some bytes, one of the two writing."""

    def meets(a: Touch, b: Touch) -> bool:
        if a.buffer == b.buffer:
            return (a.writes or b.writes) and not _are_known_apart(a, b, facts)
        return b.buffer in overlaps.get(a.buffer, ()) and (a.writes or b.writes)

    return frozenset(a for a in before if any(meets(a, b) for b in after))


def _numbers(t: Touch) -> dict[str, Expr]:
    """The variables, the same for all threads, that a condition gives a value."""
    found: dict[str, Expr] = {}
    own = {name for name, _ in t.ranges}
    for c in t.conditions:
        match c:
            case Op(op="==", args=(Var(name=name), Const() as value)) if name not in own:
                found[name] = value
    return found


def _are_known_apart(a: Touch, b: Touch, facts: Facts) -> bool:
    """`_are_apart`; a loop's body is gone through several times, and what was found out is kept."""
    kept = facts.cache.setdefault("apart", {})
    assert isinstance(kept, dict)
    if (a, b) not in kept:
        kept[a, b] = _are_apart(a, b, facts)
    return bool(kept[a, b])


def _are_apart(a: Touch, b: Touch, facts: Facts) -> bool:
    """Whether it is proved that two accesses are of different elements, or that one thread makes both.

    That a thread makes both does not help while the first is under way.
    """
    is_over = a.age is None
    numbers = _numbers(a) | _numbers(b)
    a, b = substituted(_renamed(a, " 1"), numbers), substituted(_renamed(b, " 2"), numbers)
    if is_over and _is_by_one_thread(a, b, facts):
        return True
    first, second = ((t.index, t.thread, t.ranges, t.conditions) for t in (a, b))
    if meet_in(first, second, facts, by_others=is_over):
        return False
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
    if is_over and all(prove(compare("==", i, j), known) for i, j in zip(a.thread, b.thread, strict=True)):
        return True
    return any(prove(negation(c), known) for c in (*a.conditions, *b.conditions))  # they never meet


def _is_by_one_thread(a: Touch, b: Touch, facts: Facts) -> bool:
    """Whether the digits of indices say that one thread makes both accesses of an element."""
    same = same_variables(a.index, b.index, dict((*a.ranges, *b.ranges)), facts)
    numbers = {(Var(x), Var(y)) for x, y in same}
    return all(pair in numbers for pair in zip(a.thread, b.thread, strict=True))


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
