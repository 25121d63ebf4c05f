"""How large sizes may be before 64-bit index arithmetic could overflow."""

from __future__ import annotations

from collections.abc import Iterable

from te.ir.expr import Const, Expr, Op, Select, Var
from te.ir.facts import Facts
from te.ir.types import I64
from te.ir.visit import children

LIMIT = 1 << 62

Interval = tuple[int, int]


def magnitude_limit(exprs: Iterable[Expr], facts: Facts, most: int = LIMIT) -> int:
    """A power of two L, at most `most` (one, too), for which the index arithmetic in `exprs` cannot overflow.

    With every size in 0 .. L and every variable in its range, no subexpression exceeds 2**62 in
    absolute value, judged by interval arithmetic; that is not so for 2 * L. What depends on data is
    left out; the ends of the ranges count. 0 if already the constants exceed it.

    >>> from te.ir.expr import Var, mul
    >>> magnitude_limit([mul(Var("M"), Var("N"))], Facts())
    2147483648
    """
    everything = [*exprs, *(end for _, low, high in facts.ranges for end in (low, high))]
    if _fits(everything, facts, most):
        return most
    low, high = -1, most.bit_length() - 1  # of the exponent: fits (or there is none), does not fit
    while high - low > 1:
        middle = (low + high) // 2
        if _fits(everything, facts, 1 << middle):
            low = middle
        else:
            high = middle
    return 1 << low if low >= 0 else 0


def overflows(exprs: Iterable[Expr], facts: Facts, limit: int) -> bool:
    """Whether the index arithmetic in `exprs` could overflow for sizes in 0 .. `limit`."""
    return not _fits(list(exprs), facts, limit)


class _TooLarge(Exception):
    pass


def _fits(exprs: list[Expr], facts: Facts, limit: int) -> bool:
    ranges: dict[str, Interval | None] = {}
    try:
        for name, low, high in facts.ranges:
            start, end = _interval(low, ranges, limit), _interval(high, ranges, limit)
            if start is not None and end is not None:
                ranges[name] = (start[0], max(start[0], end[1]))
            else:
                ranges[name] = None
        for e in exprs:
            _interval(e, ranges, limit)
    except _TooLarge:
        return False
    return True


def _interval(e: Expr, ranges: dict[str, Interval | None], limit: int) -> Interval | None:
    """Between what values an index expression lies; None for other expressions."""
    match e:
        case Var(name):
            return ranges.get(name, (0, limit))
        case Const(value, dtype):
            return (int(value), int(value)) if dtype == I64 else None
    found = [_interval(child, ranges, limit) for child in children(e)]
    parts = [part for part in found if part is not None]
    if not isinstance(e, Op | Select) or e.dtype != I64:
        return None
    if isinstance(e, Select):  # a choice does not overflow
        return _hull(parts[-2:]) if found[1] is not None and found[2] is not None else None
    result = _operate(e.op, parts) if len(parts) == len(found) else None
    if result is not None and max(-result[0], result[1]) > LIMIT:
        raise _TooLarge
    return result


def _operate(op: str, parts: list[Interval]) -> Interval | None:
    match op, parts:
        case "+", [(a, b), (c, d)]:
            return a + c, b + d
        case "-", [(a, b), (c, d)]:
            return a - d, b - c
        case "*", [(a, b), (c, d)]:
            products = (a * c, a * d, b * c, b * d)
            return min(products), max(products)
        case "//", [(a, b), (c, d)]:
            if c <= 0:
                farthest = max(-a, b, 0)  # by 1 or by -1
                return (0, b) if a >= 0 and c == 0 else (-farthest, farthest)
            return min(a // c, a // d), max(b // c, b // d)
        case "%", [(a, b), (c, d)]:
            high = min(b, max(d - 1, 0)) if a >= 0 and c >= 0 else max(d - 1, 0)
            return min(c + 1, 0), high
        case "neg", [(a, b)]:
            return -b, -a
        case "abs", [(a, b)]:
            return 0 if a <= 0 <= b else min(abs(a), abs(b)), max(-a, b)
        case "min", [(a, b), (c, d)]:
            return min(a, c), min(b, d)
        case "max", [(a, b), (c, d)]:
            return max(a, c), max(b, d)
        case (("&" | "|" | "^"), [(a, b), (c, d)]):
            bits = max(-a, b, -c, d, 0).bit_length()
            return (0, (1 << bits) - 1) if min(a, c) >= 0 else (-(1 << bits), (1 << bits) - 1)
    return None


def _hull(parts: list[Interval]) -> Interval:
    return min(low for low, _ in parts), max(high for _, high in parts)
