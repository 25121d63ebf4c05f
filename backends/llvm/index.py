"""Index arithmetic while code is written: polynomials over LLVM values and the lane number.

An `Index` is a sum of terms, each an integer times a product of factors. A factor is the name of
an i64 value, or `LANE`, the number of the trip in the vector loop being written. The loop variable
of an unrolled loop is a constant, that of a vector loop is `LANE`; so `8*i + u` under an unrolled
`u` ends as one value plus a constant, and how an address depends on the lane can be read off:
not at all, with a stride, or by a vector of offsets.

The arithmetic is modulo 2**64, as i64's is, so any i64 expression may be held this way.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from te.backends.llvm.emitter import WHOLE_BODY, Emitter
from te.backends.llvm.values import Value, constant, lane_numbers
from te.ir.types import I64, wrap_integer

LANE = "lane"
MAX_TERMS = 12  # a product of sums that would have more is computed as it is written

Product: TypeAlias = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Index:
    """`terms` maps products, their factors in alphabetical order, to coefficients that are not 0."""

    terms: dict[Product, int]  # never changed after construction

    @property
    def constant(self) -> int | None:
        """The value, if it is a constant."""
        if not self.terms:
            return 0
        return self.terms.get(()) if len(self.terms) == 1 else None


def _wrapped(value: int) -> int:
    return value if -(1 << 63) <= value < 1 << 63 else wrap_integer(value, I64)


def integer(value: int) -> Index:
    value = _wrapped(value)
    return Index({(): value} if value else {})


ZERO = integer(0)
LANE_NUMBER = Index({(LANE,): 1})


def add(a: Index, b: Index, factor: int = 1) -> Index:
    """`a + factor * b`."""
    if not b.terms:
        return a
    terms = dict(a.terms)
    for product, coefficient in b.terms.items():
        total = _wrapped(terms.get(product, 0) + factor * coefficient)
        if total:
            terms[product] = total
        else:
            terms.pop(product, None)
    return Index(terms)


def multiply(a: Index, b: Index) -> Index | None:
    """The product, or None where it would have too many terms."""
    if len(a.terms) * len(b.terms) > MAX_TERMS:
        return None
    result = ZERO
    for p, k in a.terms.items():
        shifted = Index({_joined(p, q): c for q, m in b.terms.items() if (c := _wrapped(k * m))})
        result = add(result, shifted) if result.terms else shifted
    return result


def _joined(p: Product, q: Product) -> Product:
    return tuple(sorted(p + q)) if p and q else p or q


@dataclass(frozen=True, slots=True)
class Lanes:
    """An index as `uniform + stride * lane + offsets`; `offsets` is a vector value or None."""

    uniform: Index
    stride: Index
    offsets: Value | None

    @property
    def is_uniform(self) -> bool:
        return not self.stride.terms and self.offsets is None


class Indices:
    """The factors of one function's indices, and their way back into values."""

    def __init__(self, emit: Emitter):
        self.emit = emit
        self.values: dict[str, Value] = {}

    def of_value(self, value: Value) -> Index:
        """The index that is this i64 value."""
        if isinstance(value.constant, int):
            return integer(value.constant)
        # A loop's index may be used as data too (a cast to its own type), and may then wrap.
        name = value.text if value.is_nonnegative else f"{value.text} as data"
        self.values[name] = value
        return Index({(name,): 1})

    def split(self, index: Index, lanes: int) -> Lanes:
        """How the index depends on the lane, of which there are `lanes`."""
        uniform: dict[Product, int] = {}
        stride: dict[Product, int] = {}
        other: dict[Product, int] = {}
        for product, coefficient in index.terms.items():
            if (
                any(name != LANE and self.values[name].lanes > 1 for name in product)
                or product.count(LANE) > 1
            ):
                other[product] = coefficient
            elif LANE in product:
                stride[tuple(name for name in product if name != LANE)] = coefficient
            else:
                uniform[product] = coefficient
        offsets = self._varying(Index(other), lanes) if other else None
        return Lanes(Index(uniform), Index(stride), offsets)

    def is_nonnegative(self, index: Index) -> bool:
        """Whether each term is at least 0 for certain."""
        return all(
            coefficient >= 0 and all(name == LANE or self.values[name].is_nonnegative for name in product)
            for product, coefficient in index.terms.items()
        )

    def is_everywhere(self, index: Index) -> bool:
        """Whether its values are known in the whole function, and not in a branch or loop alone."""
        return all(self.values[name].depth <= WHOLE_BODY for product in index.terms for name in product)

    def value(self, index: Index, lanes: int) -> Value:
        """The i64 value of an index: a scalar, or a vector of `lanes` where it depends on the lane."""
        if index.constant is not None:
            return constant(index.constant, I64)
        form = self.split(index, lanes)
        uniform = self._scalar(form.uniform)
        if form.is_uniform:
            return uniform
        parts = [] if form.uniform.constant == 0 else [self.emit.splat(uniform, lanes)]
        if form.stride.constant is not None:
            if form.stride.constant != 0:
                parts.append(lane_numbers(lanes, 0, form.stride.constant))
        else:
            parts.append(self._times(self.emit.splat(self._scalar(form.stride), lanes), lane_numbers(lanes)))
        if form.offsets is not None:
            parts.append(form.offsets)
        total = parts[0]
        for part in parts[1:]:
            total = self._plus(total, part)
        return total

    def by_depth(self, index: Index) -> list[Value]:
        """Scalars whose sum is the index, those that are known first in front: an address adds them in
        this order, so that what a loop does not change is added before the loop. The constant is last."""
        groups: dict[int, list[Product]] = {}
        for product in index.terms:
            if product:
                groups.setdefault(max(self.values[name].depth for name in product), []).append(product)
        sums = [
            self._scalar(Index({product: index.terms[product] for product in products}))
            for _, products in sorted(groups.items())
        ]
        if () in index.terms:
            sums.append(constant(index.terms[()], I64))
        return sums

    def _scalar(self, index: Index) -> Value:
        """The value of an index that does not depend on the lane."""
        if index.constant is not None:
            return constant(index.constant, I64)
        terms = sorted(
            ((product, k) for product, k in index.terms.items() if product),
            key=lambda term: max(self.values[name].depth for name in term[0]),
        )
        total: Value | None = None
        for product, coefficient in terms:
            if total is not None and coefficient < 0:
                total = self._minus(total, self._product(product, -coefficient))
            else:
                term = self._product(product, coefficient)
                total = term if total is None else self._plus(total, term)
        assert total is not None
        if () in index.terms:
            total = self._plus(total, constant(index.terms[()], I64))
        return total

    def _product(self, product: Product, coefficient: int) -> Value:
        factors = sorted((self.values[name] for name in product), key=lambda v: v.depth)
        result = constant(coefficient, I64)
        for factor in factors:
            result = self._times(factor, result)
        return result

    def _varying(self, index: Index, lanes: int) -> Value:
        """The vector value of terms that are not linear in the lane."""
        total: Value | None = None
        for product, coefficient in index.terms.items():
            factors = [lane_numbers(lanes) if name == LANE else self.values[name] for name in product]
            factors.sort(key=lambda v: (v.lanes > 1, v.depth))
            term = constant(coefficient, I64)
            for factor in factors:
                term = self._times(*self.emit.unify(factor, term))
            total = term if total is None else self._plus(total, term)
        assert total is not None
        return total

    # Constants stand on the right, so that equal sums have equal texts.

    def _plus(self, a: Value, b: Value) -> Value:
        nonnegative = a.is_nonnegative and b.is_nonnegative
        return self.emit.pure(
            f"add {a.type} {a.text}, {b.text}", I64, [a, b], a.lanes, is_nonnegative=nonnegative
        )

    def _minus(self, a: Value, b: Value) -> Value:
        return self.emit.pure(f"sub {a.type} {a.text}, {b.text}", I64, [a, b], a.lanes)

    def _times(self, a: Value, b: Value) -> Value:
        if b.constant == 1:
            return a
        nonnegative = a.is_nonnegative and b.is_nonnegative
        return self.emit.pure(
            f"mul {a.type} {a.text}, {b.text}", I64, [a, b], a.lanes, is_nonnegative=nonnegative
        )
