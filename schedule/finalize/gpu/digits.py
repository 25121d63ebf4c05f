"""Indices as numbers of several digits: `64*h + 4*t + o` with `h < 2`, `t < 16` and `o < 4`.

Where each digit counts as much as all below it together can reach, and one more, a number has one way
to be written: two such numbers of the same places are equal only if all their digits are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from te.ir.bounds import Facts
from te.ir.expr import Const, Expr, Op, Var, add, integer, mul, sub
from te.ir.simplify import simplify
from te.ir.visit import rewrite, variables
from te.schedule.finalize.guards import coefficient


@dataclass(frozen=True, slots=True)
class Digit:
    """A variable, how often it counts, and how many values it has."""

    weight: int
    extent: int
    name: str


def digits_of(e: Expr, extents: Mapping[str, Expr], facts: Facts) -> tuple[Digit, ...] | None:
    """The digits of an index, the lowest first; None where it is no number of digits."""
    found = _parts(e, extents, facts)
    if found is None:
        return None
    reached = 0
    for digit in found:
        if digit.weight <= reached:
            return None
        reached += digit.weight * (digit.extent - 1)
    return found


def reach_of(e: Expr, extents: Mapping[str, Expr], facts: Facts) -> int | None:
    """The largest value of an index that is 0 where all its variables are, and grows with them; None of any other."""
    found = _parts(e, extents, facts)
    return None if found is None else sum(part.weight * (part.extent - 1) for part in found)


def _parts(e: Expr, extents: Mapping[str, Expr], facts: Facts) -> tuple[Digit, ...] | None:
    """An index as a sum of variables that count so often each; None where it is no such sum."""
    found: list[Digit] = []
    whole: Expr = integer(0)
    for name in sorted(variables(e)):
        weight, extent = coefficient(e, name), extents.get(name)
        if weight is None or weight < 1 or not isinstance(extent, Const):
            return None
        if extent.value > 1:
            found.append(Digit(weight, int(extent.value), name))
        whole = add(whole, mul(integer(weight), Var(name)))
    if simplify(sub(e, whole), facts) != integer(0):
        return None
    return tuple(sorted(found, key=lambda part: part.weight))


def same_variables(
    a: Sequence[Expr], b: Sequence[Expr], extents: Mapping[str, Expr], facts: Facts
) -> set[tuple[str, str]]:
    """Variables of two indices that are equal where the indices are; a variable may stand there in two parts.

    `4 * (t % 8) + o` and `t // 8` have the parts of `t`.
    """
    found: set[tuple[str, str]] = set()
    for i, j in zip(a, b, strict=True):
        inside = dict(extents)
        numbers = [digits_of(_in_parts(e, inside), inside, facts) for e in (i, j)]
        if numbers[0] is not None and numbers[1] is not None:
            found |= set((same_digits(numbers[0], numbers[1]) or {}).items())
    names = [(x.split(PART), y.split(PART)) for x, y in found if x.count(PART) == y.count(PART) == 2]
    parts = {(x[0], y[0], x[2], x[1]) for x, y in names if x[1:] == y[1:]}
    whole = {(x, y) for x, y, by, op in parts if op == "//" and (x, y, by, "%") in parts}
    return whole | {(x, y) for x, y in found if PART not in x and PART not in y}


PART = "`"  # in names of parts of variables, which no variable has


def _in_parts(e: Expr, extents: dict[str, Expr]) -> Expr:
    """An index over parts of variables, whose extents are added."""

    def part(e: Expr) -> Expr:
        match e:
            case Op(op="//" | "%", args=(Var(name=name), Const(value=by))) if by > 0:
                extent = extents.get(name)
                if isinstance(extent, Const):
                    size = -(-extent.value // by) if e.op == "//" else min(by, extent.value)
                    new = f"{name}{PART}{e.op}{PART}{by}"
                    extents[new] = integer(int(size))
                    return Var(new)
        return e

    return rewrite(e, part)


def same_digits(a: tuple[Digit, ...], b: tuple[Digit, ...]) -> dict[str, str] | None:
    """Which variable of `b` is which of `a`, where both numbers have the same places.

    A digit may have more values in one of them: what is below a place is less than that in both.
    """
    places = [[digit.weight for digit in number] for number in (a, b)]
    return {x.name: y.name for x, y in zip(a, b, strict=True)} if places[0] == places[1] else None
