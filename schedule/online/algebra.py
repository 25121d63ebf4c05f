"""When partial sums can be rescaled: the algebra behind `online`.

A running value `m`, the maximum or minimum of `s[j]`, is known only once all of `j` was seen. A sum
whose terms read it can still be formed on the way, if replacing an old `m` by a new one multiplies
every term by the same factor:

    term(new) = factor(old, new) * term(old),    so    sum(new) = factor(old, new) * sum(old)

Here the factor is an exponential, `exp(c * (old - new))` with `c` the same for all terms. A term
passes if it is made of

- `exp(c * (s - m))` or `exp2(c * (s - m))`, where `s` is what `m` is the maximum of;
- products and quotients of what passes and of what does not read `m`: the factors multiply;
- sums of parts that all have the same factor, and choices (`where`) between such parts;
- a choice between such a part and 0, if its condition is the `where` of the maximum (`unmasked`).

One more factor may be linear in `m`, as in the entropy's `exp(s - m) * (s - m)`. Then the sum `t`
moves together with the sum `u` of the same terms without it (`u = sum(exp(s - m))`):

    t(new) = factor * (t(old) + slope * (new - old) * u(old))

Exponents are compared as polynomials, so it does not matter how they are written. That they vanish
where `s = m` is what makes this safe in floating-point numbers: terms lie on one side of 1 whatever
the running value is, and so do the factors, so that nothing overflows on the way unless the plain
sum does too. And since a term with a part that passes is NaN wherever `s - m` is, a NaN among the
`s`, or an infinite `m`, gives the NaN that the plain sum gives.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce

from te.ir.expr import Cast, Const, Expr, Load, Op, Select, conjuncts, mul, sub
from te.ir.print import print_expr
from te.ir.tensor import Stage
from te.ir.types import BF16, F32, DType
from te.ir.visit import loads, rewrite, substitute, variables, walk
from te.schedule.online.polynomials import (
    ZERO,
    Polynomial,
    added,
    as_expr,
    is_exact,
    linear_in,
    negated,
    polynomial,
    product,
    unknowns,
)

EXPONENTIALS = ("exp", "exp2")


class NotRescalable(Exception):
    """Why a sum cannot be rescaled, and what might be written instead. `stage` is set where it is known."""

    def __init__(self, reason: str, help_text: str | None = None):
        super().__init__(reason)
        self.reason = reason
        self.help = help_text
        self.stage = ""


@dataclass(frozen=True, slots=True)
class Running:
    """A running value as the terms of a sum read it.

    `own` is what it is the maximum or minimum of, in the indices of those terms, and `axes` are the
    indices of the sum, for all of which the running value must be the same.
    """

    read: Load
    own: Expr
    axes: frozenset[str]

    @property
    def name(self) -> str:
        return self.read.buffer

    def is_read_in(self, e: Expr) -> bool:
        return any(load.buffer == self.name for load in loads(e))


@dataclass(frozen=True, slots=True)
class Exponential:
    """The factor `function(rate * (old - new))`, with `rate` free of the sum's indices."""

    function: str
    rate: Expr  # of the float type in which the exponent is computed

    def between(self, old: Expr, new: Expr) -> Expr:
        """The factor for an old and a new running value."""
        dtype = self.rate.dtype
        old, new = _cast(old, dtype), _cast(new, dtype)
        if self.rate == Const(1.0, dtype):
            step = sub(old, new)
        elif self.rate == Const(-1.0, dtype):
            step = sub(new, old)
        else:
            step = mul(self.rate, sub(old, new))
        return Op(self.function, (step,), dtype)


@dataclass(frozen=True, slots=True)
class Linear:
    """The sum moves with another one: by `slope * (new - old)` times the sum of `terms`."""

    terms: Expr
    slope: Expr


@dataclass(frozen=True, slots=True)
class Rescaling:
    """How a sum follows its running value: the product of the factors, and perhaps another sum's part."""

    factors: tuple[Exponential, ...]
    linear: Linear | None = None


def rescaling(term: Expr, running: Running) -> Rescaling:
    """How the sum of `term` follows a running value. Raises `NotRescalable`."""
    try:
        return Rescaling(_factors(_rates(term, running), term.dtype))
    except NotRescalable:
        linear = _linear_part(term, running)
        if linear is None:
            raise
    return Rescaling(_factors(_rates(linear.terms, running), term.dtype), linear)


# ---------------------------------------------------------------- masks


def unmasked(term: Expr, running: str) -> tuple[tuple[Expr, ...], Expr]:
    """The conditions outside which what reads the running value is 0, and the term where they hold.

    `where(c, exp(s - m), 0) * v` is `exp(s - m) * v` where `c` holds. A sum of it over all elements is
    a sum over those of `c`, but for what 0 times an infinity or NaN makes of it: a NaN, rescaled or not.
    Only factors are looked at: a zero deeper in a term says nothing of the whole.
    """
    match term:
        case Select(condition, value, Const(0)) if any(load.buffer == running for load in loads(value)):
            conditions, inner = unmasked(value, running)
            return (*conjuncts(condition), *conditions), inner
        case Op("*", (a, b)):
            left, a_inner = unmasked(a, running)
            right, b_inner = unmasked(b, running)
            return (*left, *right), mul(a_inner, b_inner) if left or right else term
        case Op("/", (a, b)):
            conditions, inner = unmasked(a, running)
            return conditions, Op("/", (inner, b), term.dtype) if conditions else term
        case Cast(value=value):
            conditions, inner = unmasked(value, running)
            return conditions, Cast(inner, term.dtype) if conditions else term
    return (), term


# ---------------------------------------------------------------- factors

# What the exponents of a term's exponentials lose per unit of the running value, by function.
Rates = Mapping[str, tuple[Polynomial, DType]]


def _factors(rates: Rates, dtype: DType) -> tuple[Exponential, ...]:
    return tuple(Exponential(name, as_expr(rate, of)) for name, (rate, of) in sorted(rates.items()))


def _rates(e: Expr, running: Running) -> Rates:
    """The factor of an expression; empty if it does not read the running value."""
    if not running.is_read_in(e):
        return {}
    if not any(isinstance(x, Op) and x.op in EXPONENTIALS and running.is_read_in(x) for x in walk(e)):
        raise NotRescalable(
            f"`{_shown(e)}` depends on `{running.name}` other than through an exponential such as "
            f"`exp({_shown(running.own)} - {_shown(running.read)})`"
        )
    match e:
        case Op(op, (exponent,)) if op in EXPONENTIALS:
            return {op: (_rate(e, exponent, running), e.dtype)}
        case Op("*", (a, b)):
            return _together(_rates(a, running), _rates(b, running))
        case Op("/", (a, b)):
            inverse = {f: (negated(rate), of) for f, (rate, of) in _rates(b, running).items()}
            return _together(_rates(a, running), inverse)
        case Op("neg", (a,)):
            return _rates(a, running)
        case Op("+" | "-", (a, b)):
            return _common(e, a, b, running)
        case Select(condition, a, b) if not running.is_read_in(condition):
            return _common(e, a, b, running)
        case Cast(value=value):
            if is_exact(value.dtype, e.dtype) or _only_rounds(value, e.dtype):
                return _rates(value, running)
            raise NotRescalable(
                f"`{_shown(e)}` rounds to {e.dtype} what is still to be rescaled, and may overflow",
                "let the terms keep their type, or round the exponentials themselves",
            )
    raise NotRescalable(
        f"`{_shown(e)}` does not change by a factor when `{running.name}` does: only products, quotients and "
        "sums of exponentials do"
    )


def _only_rounds(value: Expr, dtype: DType) -> bool:
    """Whether a cast changes numbers by rounding alone, whatever the running value: none overflows.

    An exponential is at most 1 where a running maximum is taken away.
    """
    is_exponential = isinstance(value, Op) and value.op in EXPONENTIALS
    return dtype.is_float and (is_exponential or {value.dtype, dtype} <= {F32, BF16})


def _together(a: Rates, b: Rates) -> Rates:
    """Of a product."""
    total = dict(a)
    for function, (rate, of) in b.items():
        known = total.get(function, (ZERO, of))[0]
        total[function] = (added(known, rate), of)
    return {function: rate for function, rate in total.items() if rate[0]}


def _common(e: Expr, a: Expr, b: Expr, running: Running) -> Rates:
    """Of a sum or a choice: both parts must have it."""
    left, right = _rates(a, running), _rates(b, running)
    if left == right:
        return left
    raise NotRescalable(
        f"the parts of `{_shown(e)}` would be rescaled by different factors",
        "a condition on the terms can be the `where` of the reductions, `sum[j where ...](...)`"
        if isinstance(e, Select)
        else "sum the parts each on its own",
    )


def _rate(e: Expr, exponent: Expr, running: Running) -> Polynomial:
    """`c` of the exponent `c * (s - m)`."""
    m = running.read
    parts = linear_in(polynomial(exponent), m)
    if parts is None or any(running.is_read_in(u) for part in parts for u in unknowns(part)):
        raise NotRescalable(f"the exponent of `{_shown(e)}` is not linear in `{running.name}`")
    rest, slope = parts
    rate = negated(slope)
    own = product(rate, polynomial(running.own))
    if own != rest:
        raise NotRescalable(
            f"the exponent of `{_shown(e)}` is no multiple of `{_shown(running.own)} - {_shown(m)}`: "
            "on the way, it could overflow",
            f"take away the maximum of what stands in the exponent itself, as in "
            f"`exp({_shown(running.own)} - {_shown(m)})`",
        )
    _require_same_for_all(rate, e, running)
    return rate


def _require_same_for_all(p: Polynomial, e: Expr, running: Running) -> None:
    varying = {name for u in unknowns(p) for name in variables(u)} & running.axes
    if varying:
        raise NotRescalable(
            f"what `{running.name}` is multiplied by in `{_shown(e)}` differs along `{min(varying)}`"
        )


# ---------------------------------------------------------------- a linear factor


def _linear_part(term: Expr, running: Running) -> Linear | None:
    """The factor of a term that is linear in the running value, if there is one, and the others."""
    parts = _factors_of(term)
    found = [(i, slope) for i, part in enumerate(parts) if (slope := _slope(part, running)) is not None]
    if len(found) != 1 or len(parts) < 2:
        return None
    position, slope = found[0]
    _require_same_for_all(slope, parts[position], running)
    others = [part for i, part in enumerate(parts) if i != position]
    for number in [part for part in others if isinstance(part, Const)]:
        slope = product(slope, polynomial(number)) or ZERO
    terms: list[Expr] = [part for part in others if not isinstance(part, Const)]
    return Linear(reduce(mul, terms), as_expr(slope, term.dtype)) if terms and slope else None


def _factors_of(e: Expr) -> list[Expr]:
    match e:
        case Op("*", (a, b)):
            return _factors_of(a) + _factors_of(b)
        case Op("neg", (a,)):
            return [Const(-1.0, e.dtype), *_factors_of(a)]
        case Cast(value=value) if value.dtype == e.dtype:
            return _factors_of(value)
    return [e]


def _slope(e: Expr, running: Running) -> Polynomial | None:
    """`b` where the expression is `a + b * m`; None where it is not, or does not read `m`."""
    parts = linear_in(polynomial(e), running.read)
    if parts is None or not parts[1] or any(running.is_read_in(u) for part in parts for u in unknowns(part)):
        return None
    return parts[1]


def same_terms(a: Expr, b: Expr) -> bool:
    """Whether two expressions have the same value, up to rounding."""
    return polynomial(a) == polynomial(b)


# ---------------------------------------------------------------- definitions


def expanded(e: Expr, definitions: Mapping[str, Stage]) -> Expr:
    """An expression with the definitions of pointwise stages in the place of their reads."""

    def put(x: Expr) -> Expr:
        if isinstance(x, Load) and x.buffer in definitions:
            stage = definitions[x.buffer]
            names = [axis.name for axis in stage.axes]
            return expanded(substitute(stage.value, dict(zip(names, x.index, strict=True))), definitions)
        return x

    return rewrite(e, put)


def _cast(e: Expr, dtype: DType) -> Expr:
    return e if e.dtype == dtype else Cast(e, dtype)


def _shown(e: Expr) -> str:
    return print_expr(e)
