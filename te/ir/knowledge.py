"""What is known where a question is asked: ranges and facts in linear form, numeric intervals.

`te.ir.inequality` searches for proofs with it; `te.ir.context` builds it from `Facts`.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from math import gcd, prod
from typing import NamedTuple

from te.ir.expr import Cast, Const, Expr, Load, Op
from te.ir.linear import (
    ONE,
    Atom,
    Linear,
    Product,
    TooManyTerms,
    add,
    atoms_of,
    collect,
    divide_exactly,
    multiply,
    plus,
    quotient,
    reads_data,
    scale,
    subtract,
    tighten,
)
from te.ir.types import BOOL, I64, integer_limits

MAX_FACTS = 60

Interval = tuple[int | None, int | None]


class Fact(NamedTuple):
    """`form >= 0` is known."""

    form: Linear
    atoms: frozenset[Atom]


def fact(form: Linear) -> Fact:
    return Fact(form, frozenset(atoms_of(form)))


class Knowledge:
    """Ranges and facts. It grows while it is built, then stays as it is."""

    def __init__(self) -> None:
        self.ranks: dict[str, int] = {}  # ranged variables, outermost 0
        self.ranges: dict[Atom, tuple[Linear, Linear]] = {}
        self.facts: list[Fact] = []
        self.cases: dict[Atom, tuple[list[Fact], list[Fact]]] = {}  # what the condition of a `select` tells
        self.multiples: list[tuple[Linear, Linear]] = []  # `(x, d)` where d >= 1 divides x
        self.is_empty = False  # a range has no value, or a condition fails: nothing happens here
        self.answers: dict[Hashable, bool] = {}  # found by te.ir.inequality
        self.signs: dict[Hashable, int] = {}
        self._limits: dict[Atom, Interval] = {}
        self._constants: dict[Hashable, int] = {}  # of the facts, by their terms
        self._intervals: dict[Atom, Interval] = {}
        self._orders: dict[Atom, tuple[bool, int, int]] = {}

    def copy(self) -> Knowledge:
        """The same knowledge, to be told more."""
        other = Knowledge()
        other.ranks = dict(self.ranks)
        other.ranges = dict(self.ranges)
        other.facts = list(self.facts)
        other.cases = dict(self.cases)
        other.multiples = list(self.multiples)
        other.is_empty = self.is_empty
        other._limits = dict(self._limits)
        other._constants = dict(self._constants)
        return other

    # ------------------------------------------------------------ telling

    def tell_range(self, atom: Atom, low: Linear, high: Linear) -> None:
        """`low <= atom <= high`, and so `low <= high`."""
        self.ranges[atom] = (low, high)
        self.forget()
        size = subtract(high, low)
        self.is_empty |= not size.terms and size.constant < 0
        self.tell(size)

    def tell(self, form: Linear) -> None:
        """`form >= 0`, and what follows from it about fewer variables."""
        form = tighten(form)
        terms = frozenset(form.terms.items())
        if not terms or self._constants.get(terms, form.constant + 1) <= form.constant:
            return
        if len(self.facts) >= MAX_FACTS:
            return
        self._constants[terms] = form.constant
        self.facts.append(fact(form))
        self._tell_limits(form)
        self.forget()
        for consequence in self._projections(form):
            if not consequence.terms and consequence.constant < 0 and not reads_data(form):
                self.is_empty = True
            self.tell(consequence)

    def forget(self) -> None:
        """Drop what was derived."""
        self.answers, self.signs = {}, {}
        self._intervals = {}
        self._orders = {}

    def _tell_limits(self, form: Linear) -> None:
        if len(form.terms) == 1:
            ((product, k),) = form.terms.items()
            if len(product) == 1:
                low, high = (-form.constant, None) if k > 0 else (None, form.constant)
                self._limit(product[0], low, high)
        adding = [product for product, k in form.terms.items() if k > 0 or not self.is_natural(product)]
        if len(adding) == 1 and form.constant < 0 and self.is_natural(adding[0]):
            for atom in adding[0]:  # N*M >= 1 and more: both are at least 1
                self._limit(atom, 1, None)

    def _limit(self, atom: Atom, low: int | None, high: int | None) -> None:
        self._limits[atom] = _meet(self._limits.get(atom, (None, None)), (low, high))

    def _projections(self, form: Linear) -> list[Linear]:
        """Weaker facts without the innermost atom."""
        atom = self.next_atom(form)
        if atom is None:
            return []
        try:
            a, b = collect(form, atom)
            sign = self.sign(a)
            if sign and atom.kind in ("min", "max"):
                cases = [add(multiply(a, part), b) for part in atom.parts]
                if atom.kind == ("min" if sign > 0 else "max"):
                    return cases  # all of them hold
                possible = [case for case in cases if (high := self.upper(case)) is None or high >= 0]
                return possible if len(possible) == 1 else []
            for _, bound in self.lower_bounds(atom, scale(a, -1), scale(b, -1), -sign):
                return [scale(bound, -1)]
        except TooManyTerms:
            pass
        return []

    def includes(self, goal: Linear) -> bool:
        """Whether a fact says `goal >= 0` outright."""
        known = self._constants.get(frozenset(goal.terms.items()))
        return known is not None and known <= goal.constant

    # ------------------------------------------------------------ numeric intervals

    def interval(self, atom: Atom) -> Interval:
        """Constants between which the atom lies, None for those not known."""
        found = self._intervals.get(atom)
        if found is None:
            self._intervals[atom] = (None, None)  # for ranges that go round in circles
            found = _meet(self._interval(atom), self._limits.get(atom, (None, None)))
            self._intervals[atom] = found
        return found

    def _interval(self, atom: Atom) -> Interval:
        if atom in self.ranges:
            ends = self.ranges[atom]
            return self.lower(ends[0]), self.upper(ends[1])
        match atom.kind:
            case "var":
                # A size; or a variable whose range is still to be told.
                return (0, None) if atom.variables.isdisjoint(self.ranks) else (None, None)
            case "//" | "exact":
                return self._interval_of_quotient(*[self.interval_of(part) for part in atom.parts])
            case "total //" | "total %":
                return self._interval_of_total(atom)
            case "min" | "max" | "select":
                return self._interval_of_choice(atom)
        return integer_limits(I64) if atom.source is None else _interval_of_data(atom.source)

    def _interval_of_total(self, atom: Atom) -> Interval:
        """Of `x // d` or `x % d`, where `d` may be 0."""
        (x_low, x_high), (d_low, d_high) = (self.interval_of(part) for part in atom.parts)
        if d_low is None or d_low < 0:
            return None, None
        is_natural = x_low is not None and x_low >= 0
        if atom.kind == "total //":
            return (0, x_high) if is_natural else (None, None)
        return _meet(
            (0, x_high if is_natural else None), (None, None if d_high is None else max(d_high - 1, 0))
        )

    def _interval_of_choice(self, atom: Atom) -> Interval:
        ends = [self.interval_of(part) for part in atom.parts]
        lows = [low for low, _ in ends if low is not None]
        highs = [high for _, high in ends if high is not None]
        low = max(lows, default=None) if atom.kind == "max" else min(lows) if len(lows) == len(ends) else None
        high = (
            min(highs, default=None)
            if atom.kind == "min"
            else max(highs)
            if len(highs) == len(ends)
            else None
        )
        return low, high

    def _interval_of_quotient(self, x: Interval, d: Interval) -> Interval:
        """Of `x // d` for `d >= 1`."""
        smallest, largest = max(d[0] or 1, 1), d[1]
        low = high = None
        if x[0] is not None:
            low = x[0] // smallest if x[0] < 0 else x[0] // largest if largest else 0
        if x[1] is not None:
            high = x[1] // smallest if x[1] >= 0 else x[1] // largest if largest else -1
        return low, high

    def lower(self, form: Linear) -> int | None:
        """A constant that the form is never below."""
        total = form.constant
        for product, k in form.terms.items():
            low, high = self._interval_of_product(product)
            end = low if k > 0 else high
            if end is None:
                return None
            total += k * end
        return total

    def upper(self, form: Linear) -> int | None:
        low = self.lower(scale(form, -1))
        return None if low is None else -low

    def interval_of(self, form: Linear) -> Interval:
        return self.lower(form), self.upper(form)

    def _interval_of_product(self, product: Product) -> Interval:
        if len(product) == 1:
            return self.interval(product[0])
        ends = [self.interval(atom) for atom in product]
        lows = [low for low, _ in ends if low is not None]
        highs = [high for _, high in ends if high is not None]
        if len(lows) == len(ends) and min(lows) >= 0:
            return prod(lows), prod(highs) if len(highs) == len(ends) else None
        if len(lows) == len(highs) == len(ends):
            corners = [1]
            for low, high in zip(lows, highs, strict=True):
                corners = [c * end for c in corners for end in (low, high)]
            return min(corners), max(corners)
        return None, None

    def is_natural(self, product: Product) -> bool:
        """Whether every factor is known to be at least 0."""
        return all((low := self.interval(atom)[0]) is not None and low >= 0 for atom in product)

    def is_plain(self, form: Linear) -> bool:
        """Whether the intervals alone show `form >= 0`."""
        low = self.lower(form)
        return low is not None and low >= 0

    def sign(self, form: Linear) -> int:
        """1 if the form is never negative, -1 if never positive, 0 if neither is plain."""
        if not form.terms:
            return 1 if form.constant >= 0 else -1
        low = self.lower(form)
        if low is not None and low >= 0:
            return 1
        high = self.upper(form)
        return -1 if high is not None and high <= 0 else 0

    # ------------------------------------------------------------ eliminating an atom

    def next_atom(self, form: Linear) -> Atom | None:
        """The atom to eliminate first: a choice by cases, else the innermost and deepest one."""
        best, best_order = None, (False, -1, 0)
        for product in form.terms:
            for atom in product:
                order = self._orders.get(atom)
                if order is None:
                    order = self._orders[atom] = self._order(atom)
                if order > best_order:
                    best, best_order = atom, order
        return best

    def _order(self, atom: Atom) -> tuple[bool, int, int]:
        rank = max((self.ranks.get(name, -1) for name in atom.variables), default=-1)
        if rank < 0 and (atom.kind in ("var", "exact", "opaque") or atom.kind.startswith("raw ")):
            return False, -1, 0
        return atom.kind in ("min", "max", "select"), rank, atom.depth

    def lower_bounds(self, atom: Atom, a: Linear, b: Linear, sign: int) -> Iterator[tuple[Linear, Linear]]:
        """Forms without the atom that bound `a*atom + b` from below, `sign` being that of `a`.

        Each comes as `(m, bound)` with `m >= 1` and `m*(a*atom + b) >= bound`.
        """
        if not sign:
            return
        if atom in self.ranges:
            yield ONE, add(multiply(a, self.ranges[atom][sign < 0]), b)
            return
        if atom.kind == "//":
            yield from self._bounds_of_quotient(atom, a, b, sign)
        elif atom.kind in ("total //", "total %"):
            x, d = atom.parts
            if sign < 0 and self.sign(d) > 0 and self.sign(x) > 0:
                yield ONE, add(multiply(a, x), b)
            if sign < 0 and self.sign(d) > 0 and atom.kind == "total %":
                yield ONE, add(multiply(a, d), b)
        end = self.interval(atom)[sign < 0]
        if end is not None:
            yield ONE, add(scale(a, end), b) if end else b

    def _bounds_of_quotient(
        self, atom: Atom, a: Linear, b: Linear, sign: int
    ) -> Iterator[tuple[Linear, Linear]]:
        x, d = atom.parts
        moved = self._inner_end(x, d, sign)
        shared = any(not atom.variables.isdisjoint(other.variables) for p in b.terms for other in p)
        if moved is not None and not shared:
            yield ONE, add(multiply(a, quotient(moved, d)), b)
        # x - d + 1 <= d * (x // d) <= x
        numerator = x if sign < 0 else plus(subtract(x, d), 1)
        if not d.terms and not a.terms:
            common = gcd(a.constant, d.constant)
            m = d.constant // common
            yield Linear({}, m), add(scale(b, m), scale(numerator, a.constant // common))
        else:
            ratio = divide_exactly(a, d)
            if ratio is not None:
                yield ONE, add(multiply(ratio, numerator), b)
            else:
                yield d, add(multiply(d, b), multiply(a, numerator))
        if moved is not None and shared:
            yield ONE, add(multiply(a, quotient(moved, d)), b)

    def _inner_end(self, x: Linear, d: Linear, sign: int) -> Linear | None:
        """`x` with its innermost variable at the end that makes it smallest (`sign` > 0) or largest."""
        inner = self.next_atom(x)
        if inner is None or inner not in self.ranges or any(inner in p for p in d.terms):
            return None
        a, b = collect(x, inner)
        direction = self.sign(a)
        if not direction:
            return None
        return add(multiply(a, self.ranges[inner][direction != sign]), b)


def _meet(a: Interval, b: Interval) -> Interval:
    low = a[0] if b[0] is None else b[0] if a[0] is None else max(a[0], b[0])
    high = a[1] if b[1] is None else b[1] if a[1] is None else min(a[1], b[1])
    return low, high


def _interval_of_data(source: Expr) -> Interval:
    """What the type of a value says about it."""
    match source:
        case Cast(value, dtype) if value.dtype == BOOL and dtype.is_integer:
            return 0, 1
        case Cast(value, dtype) if (
            value.dtype.is_integer and dtype.is_integer and value.dtype.bits < dtype.bits
        ):
            low, high = integer_limits(value.dtype)
            return (low, high) if dtype.kind == "int" or low == 0 else integer_limits(dtype)
        case Op("&", (_, Const(int(mask))), _) if mask >= 0:
            return 0, mask
        case Load() | Cast() | Op() if source.dtype.is_integer:
            return integer_limits(source.dtype)
    return None, None
