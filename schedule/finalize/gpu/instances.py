"""Two accesses that meet, found by trying: to prove that they never do would take long, and fail.

Values are drawn for sizes and for what is the same for all threads, then many for what each thread has of its own.
If two of them have the same element, all conditions met, nobody can prove that the accesses are apart. Nothing
follows if there are none among those drawn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np

from te.ir.bounds import Facts
from te.ir.expr import Const, Expr, Op, Var
from te.ir.visit import variables

Numbers: TypeAlias = np.ndarray
Ranges: TypeAlias = Sequence[tuple[str, Expr]]
Access: TypeAlias = tuple[Sequence[Expr], Sequence[Expr], Ranges, Sequence[Expr]]

DRAWN = 1024  # accesses of each kind
LARGEST_SIZES = (300, 40, 300, 40, 300, 20, 300, 40)  # so that loops over blocks have many trips, or one
MOST_DOUBLED = 16  # times, where facts ask for larger sizes

_OPERATORS = {
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    "//": np.floor_divide,
    "%": np.mod,
    "min": np.minimum,
    "max": np.maximum,
    "^": np.bitwise_xor,  # swizzled rows of shared memory
    "&": np.bitwise_and,
    "|": np.bitwise_or,
    "<": np.less,
    "<=": np.less_equal,
    ">": np.greater,
    ">=": np.greater_equal,
    "==": np.equal,
    "!=": np.not_equal,
    "and": np.logical_and,
    "or": np.logical_or,
    "not": np.logical_not,
}


class _Unknown(Exception):
    """An expression that indices alone do not decide."""


def meet_in(
    a: Access,
    b: Access,
    facts: Facts,
    *,
    by_others: bool,
) -> bool:
    """Whether an element is found that both access; `by_others`: that two different threads do.

    Each `Access` is (index, number of the thread, own variables with their extents, conditions).
    """
    draw = np.random.default_rng(0)
    asked = [*a[0], *a[1], *a[3], *b[0], *b[1], *b[3], *(e for _, e in (*a[2], *b[2]))]
    free = {name for e in asked for name in variables(e)} - {name for name, _ in (*a[2], *b[2])}
    try:
        for largest in LARGEST_SIZES:
            known = _drawn(free, facts, largest, draw)
            if known is not None and _meet(_accesses(a, known, draw), _accesses(b, known, draw), by_others):
                return True
    except _Unknown:
        return False
    return False


def _drawn(
    free: set[str], facts: Facts, largest: int, draw: np.random.Generator
) -> dict[str, Numbers] | None:
    """Values for what is the same for all threads, so that the facts hold."""
    ranged = {name for name, _, _ in facts.ranges}
    ends = [e for _, low, high in facts.ranges for e in (low, high)]
    sizes = free | {name for e in (*ends, *facts.assumptions) for name in variables(e)}
    values = {name: draw.integers(1, largest + 1, 1) for name in sorted(sizes - ranged)}
    _enlarge(values, [c for c in facts.assumptions if variables(c) <= values.keys()])
    for name, low, high in facts.ranges:
        first, last = _value(low, values), _value(high, values)
        if first > last:
            return None
        values[name] = draw.integers(first, last + 1, 1)
    return values if all(_value(c, values).all() for c in facts.assumptions) else None


def _enlarge(values: dict[str, Numbers], conditions: Sequence[Expr]) -> None:
    """Double sizes while some condition on them, as of a case for large ones, is not met."""
    for _ in range(MOST_DOUBLED):
        unmet = {name for c in conditions if not _value(c, values).all() for name in variables(c)}
        if not unmet:
            return
        for name in unmet:
            values[name] = 2 * values[name]


def _accesses(
    t: Access,
    known: Mapping[str, Numbers],
    draw: np.random.Generator,
) -> tuple[list[tuple[int, ...]], list[tuple[int, ...]]]:
    """Indices and threads of accesses whose conditions are met."""
    index, thread, ranges, conditions = t
    values = dict(known)
    is_met = np.ones(DRAWN, bool)
    for name, extent in ranges:
        trips = np.broadcast_to(_value(extent, values), (DRAWN,))
        is_met &= trips > 0
        values[name] = np.floor(draw.random(DRAWN) * np.maximum(trips, 1)).astype(np.int64)
    for c in conditions:
        is_met &= _value(c, values)

    def drawn(part: Sequence[Expr]) -> list[tuple[int, ...]]:
        columns = [np.broadcast_to(_value(e, values), (DRAWN,))[is_met].tolist() for e in part]
        return list(zip(*columns, strict=True)) if columns else [()] * int(is_met.sum())  # a scalar's

    return drawn(index), drawn(thread)


def _meet(
    a: tuple[list[tuple[int, ...]], list[tuple[int, ...]]],
    b: tuple[list[tuple[int, ...]], list[tuple[int, ...]]],
    by_others: bool,
) -> bool:
    (first, first_threads), (second, second_threads) = a, b
    seen: dict[tuple[int, ...], set[tuple[int, ...]]] = {}
    for element, thread in zip(first, first_threads, strict=True):
        seen.setdefault(element, set()).add(thread)
    return any(
        element in seen and (not by_others or seen[element] != {thread})
        for element, thread in zip(second, second_threads, strict=True)
    )


def _value(e: Expr, values: Mapping[str, Numbers]) -> Numbers:
    match e:
        case Const():
            return np.asarray([e.value])
        case Var(name=name) if name in values:
            return values[name]
        case Op(op=op, args=args) if op in _OPERATORS:
            parts = [_value(part, values) for part in args]
            if op in ("//", "%") and not parts[1].all():
                raise _Unknown
            return np.asarray(_OPERATORS[op](*parts))
    raise _Unknown
