"""Which accesses may meet in an element: proofs that they never do, or that one thread makes both.

A barrier or a `Wait` is left out where there is such a proof, and only there. Most proofs that there are, are short:
digits of indices say which variables are equal, and places in a ring are less than its length apart. Most that there
are not, are refuted by an example (`instances.py`). What is left is a long search.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import replace

from te.ir.bounds import NO_FACTS, Facts, prove
from te.ir.expr import Const, Expr, Op, Var, add, compare, floor_div, integer, negation, sub
from te.ir.simplify import simplify
from te.ir.visit import loads, substitute, variables, walk
from te.schedule.finalize.gpu.digits import same_variables
from te.schedule.finalize.gpu.instances import meet_in
from te.schedule.finalize.gpu.touches import Touch, Touches, one_by_one, substituted
from te.schedule.finalize.guards import coefficient


def meeting(before: Touches, after: Touches, facts: Facts, overlaps: Mapping[str, set[str]]) -> Touches:
    """Those `before` that may meet some of those `after` in some bytes, one of the two writing.

    What may meet of copies under way is taken apart by age, where the age is all that a proof lacks.
    """

    def meets(a: Touch, b: Touch) -> bool:
        if a.buffer == b.buffer:
            return (a.writes or b.writes) and not _are_known_apart(a, b, facts)
        return b.buffer in overlaps.get(a.buffer, ()) and (a.writes or b.writes)

    def those(before: Iterable[Touch]) -> Touches:
        return frozenset(a for a in before if any(meets(a, b) for b in after))

    return those(one for a in those(before) for one in one_by_one(a))


def _renamed(t: Touch, mark: str) -> Touch:
    """The access with its own variables called otherwise."""
    names: dict[str, Expr] = {name: Var(name + mark) for name, _ in t.ranges}
    t = substituted(t, names)
    return replace(t, ranges=tuple((name + mark, e) for name, e in t.ranges))


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
    a, b = (substituted(_renamed(replace(t, age=None), mark), numbers) for t, mark in ((a, " 1"), (b, " 2")))
    same = _same_variables(a, b, facts)
    if is_over and all((i, j) in same for i, j in zip(a.thread, b.thread, strict=True)):
        return True
    if _contradicts(same, (*a.conditions, *b.conditions)):
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
    if any(_are_other_remainders(i, j, known) for i, j in plain):
        return True
    if any(prove(compare("!=", i, j), known) for i, j in plain):
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


def _are_other_remainders(i: Expr, j: Expr, facts: Facts) -> bool:
    """Whether remainders by one number are those of two numbers that are less than it apart: places in a ring.

    A number that is less than it is its own remainder. In general a proof of `x % n != y % n` is a long search.
    """
    if not _is_remainder(i):
        i, j = j, i
    match i, j:
        case Op(op="%", args=(x, Const() as by)), Op(op="%", args=(y, other)) if by == other and by.value > 0:
            pass
        case Op(op="%", args=(x, Const() as by)), y if by.value > 0:
            if not (prove(compare("<=", integer(0), y), facts) and prove(compare("<", y, by), facts)):
                return False
        case _:
            return False
    return any(
        prove(compare("<", less, more), facts) and prove(compare("<", sub(more, less), by), facts)
        for less, more in ((x, y), (y, x))
    )


def _is_remainder(e: Expr) -> bool:
    return isinstance(e, Op) and e.op == "%" and isinstance(e.args[1], Const)


def _same_variables(a: Touch, b: Touch, facts: Facts) -> set[tuple[Expr, Expr]]:
    """Variables of two accesses of an element that the digits of its indices say are equal."""
    extents = dict((*_known_extents(facts), *a.ranges, *b.ranges))
    own = {name for name, _ in (*a.ranges, *b.ranges)}
    pairs = [_without_shared(i, j, own) for i, j in zip(a.index, b.index, strict=True)]
    same = same_variables([i for i, _ in pairs], [j for _, j in pairs], extents, facts)
    return {(Var(x), Var(y)) for x, y in same}


def _known_extents(facts: Facts) -> tuple[tuple[str, Expr], ...]:
    """Of the loops around, as far as they are constants."""
    found = facts.cache.get("extents")
    if found is None:
        ends = [
            (name, simplify(add(high, integer(1)), NO_FACTS))
            for name, low, high in facts.ranges
            if low == integer(0)
        ]
        found = facts.cache["extents"] = tuple((name, e) for name, e in ends if isinstance(e, Const))
    assert isinstance(found, tuple)
    return found


def _without_shared(i: Expr, j: Expr, own: Set[str]) -> tuple[Expr, Expr]:
    """Two indices without what both have of variables that are the same for both, as the number of the block."""
    for name in sorted((variables(i) & variables(j)) - own):
        times = coefficient(i, name)
        if times and times == coefficient(j, name):
            i, j = (substitute(e, {name: integer(0)}) for e in (i, j))
    return i, j


def _contradicts(same: Set[tuple[Expr, Expr]], conditions: Sequence[Expr]) -> bool:
    """Whether a condition says that two variables differ which are the same."""
    return any(
        isinstance(c, Op) and c.op in ("<", "!=", ">") and (c.args in same or c.args[::-1] in same)
        for c in conditions
    )


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
