"""Float expressions as polynomials over the real numbers, to compare them up to rounding.

`(x - m) / t` and `x * (1 / t) - m / t` are one polynomial in `x`, `m` and `1 / t`. What is no
sum, product or quotient is an unknown of its own, equal only to itself. Terms that cancel each
other, as in `(x + a) - a`, are not put together: in floating-point numbers they lose digits,
and the whole is an unknown too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction
from functools import reduce
from typing import TypeAlias

from te.ir.expr import Cast, Const, Expr, Op
from te.ir.types import DType

Monomial: TypeAlias = frozenset[tuple[Expr, int]]  # unknowns and their powers
Polynomial: TypeAlias = Mapping[Monomial, Fraction]

ONE: Monomial = frozenset()
ZERO: Polynomial = {}
TERM_LIMIT = 100  # of one polynomial; products of sums grow fast


def polynomial(e: Expr) -> Polynomial:
    """The polynomial of a float expression.

    >>> from te.ir.expr import Var, Cast, mul, sub
    >>> from te.ir.types import F32
    >>> x, m, t = (Cast(Var(name), F32) for name in "xmt")
    >>> polynomial(mul(sub(x, m), t)) == polynomial(sub(mul(x, t), mul(m, t)))
    True
    """
    match e:
        case Const(value=value) if math.isfinite(value):
            return {ONE: Fraction(value)} if value else ZERO
        case Op("neg", (a,)):
            return negated(polynomial(a))
        case Op("+" | "-" as op, (a, b)):
            right = polynomial(b)
            found = _sum_without_cancelling(polynomial(a), negated(right) if op == "-" else right)
        case Op("*", (a, b)):
            found = product(polynomial(a), polynomial(b))
        case Op("/", (a, b)):
            found = product(polynomial(a), _reciprocal(b))
        case Op("fma", (a, b, c)):
            found = _sum_without_cancelling(product(polynomial(a), polynomial(b)) or ZERO, polynomial(c))
        case Cast(value=value) if is_exact(value.dtype, e.dtype):
            return polynomial(value)
        case _:
            found = None
    return found if found is not None else unknown(e)


def is_exact(source: DType, target: DType) -> bool:
    """Whether a cast of a float keeps every value."""
    return source == target or (source.is_float and target.is_float and source.bits < target.bits)


def unknown(e: Expr, power: int = 1) -> Polynomial:
    return {frozenset({(e, power)}): Fraction(1)}


def _reciprocal(e: Expr) -> Polynomial:
    p = polynomial(e)
    if len(p) != 1:
        return unknown(e, -1)
    ((monomial, k),) = p.items()
    return {frozenset((atom, -power) for atom, power in monomial): 1 / k}


def _sum_without_cancelling(a: Polynomial, b: Polynomial) -> Polynomial | None:
    return None if any(k * b[m] < 0 for m, k in a.items() if m in b) else added(a, b)


def added(a: Polynomial, b: Polynomial) -> Polynomial:
    total = dict(a)
    for monomial, k in b.items():
        total[monomial] = total.get(monomial, Fraction(0)) + k
    return {monomial: k for monomial, k in total.items() if k}


def negated(a: Polynomial) -> Polynomial:
    return {monomial: -k for monomial, k in a.items()}


def product(a: Polynomial, b: Polynomial) -> Polynomial | None:
    """The product; None if it is too long."""
    if len(a) * len(b) > TERM_LIMIT:
        return None
    terms = [{_times(m, n): k * q} for m, k in a.items() for n, q in b.items()]
    return reduce(added, terms, ZERO)


def _times(a: Monomial, b: Monomial) -> Monomial:
    powers = dict(a)
    for atom, power in b:
        powers[atom] = powers.get(atom, 0) + power
    return frozenset((atom, power) for atom, power in powers.items() if power)


def unknowns(p: Polynomial) -> set[Expr]:
    return {atom for monomial in p for atom, _ in monomial}


def linear_in(p: Polynomial, x: Expr) -> tuple[Polynomial, Polynomial] | None:
    """`(a, b)` for which the polynomial is `a + b * x`; None where `x` has another power."""
    rest: dict[Monomial, Fraction] = {}
    slope: dict[Monomial, Fraction] = {}
    for monomial, k in p.items():
        power = dict(monomial).get(x, 0)
        if power not in (0, 1):
            return None
        if power:
            slope[monomial - {(x, 1)}] = k
        else:
            rest[monomial] = k
    return rest, slope


def as_expr(p: Polynomial, dtype: DType) -> Expr:
    """An expression with the value of the polynomial."""
    terms = [_monomial_as_expr(monomial, k, dtype) for monomial, k in p.items()]
    return reduce(lambda a, b: Op("+", (a, b), dtype), terms) if terms else Const(0.0, dtype)


def _monomial_as_expr(monomial: Monomial, k: Fraction, dtype: DType) -> Expr:
    atoms = sorted(monomial, key=lambda atom: repr(atom[0]))
    above = [_cast(a, dtype) for a, power in atoms for _ in range(power)]
    below = [_cast(a, dtype) for a, power in atoms for _ in range(-power)]
    if not atoms:
        return Const(float(k), dtype)
    if abs(k) != 1 or not above:
        above.insert(0, Const(float(abs(k)), dtype))
    value = reduce(lambda a, b: Op("*", (a, b), dtype), above)
    value = reduce(lambda a, b: Op("/", (a, b), dtype), below, value)
    return Op("neg", (value,), dtype) if k < 0 else value


def _cast(e: Expr, dtype: DType) -> Expr:
    return e if e.dtype == dtype else Cast(e, dtype)
