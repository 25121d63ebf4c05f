"""What the language's operators mean, in NumPy: the oracle of `test_programs`. Nothing here imports te.

A `Value` is an array and, for floats, how far a correct implementation may be from it.

- Integers, bools, and floats that come from the operations that IEEE 754 defines (`+ - * / sqrt`, rounding,
  comparison, ...) have one right value. Their `error` is None, and every bit counts, the sign of a zero too.
- A float `sum` may be added up in any order, and functions such as `exp` are not rounded correctly. Their
  results have an `error`, and what is computed from them carries it on: each bound below is the usual first-order
  one (Higham, "Accuracy and Stability of Numerical Algorithms", chapters 3 and 4), with some slack for the
  roundings of the reference itself. An infinite error says that any value is right, as where an
  intermediate result may or may not overflow.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import ml_dtypes
import numpy as np
from scipy import special

# What tensors hold.
STORED = {
    "f32": np.dtype(np.float32),
    "f64": np.dtype(np.float64),
    "f16": np.dtype(np.float16),
    "bf16": np.dtype(ml_dtypes.bfloat16),
    "f8e4m3": np.dtype(ml_dtypes.float8_e4m3fn),
    "f8e5m2": np.dtype(ml_dtypes.float8_e5m2),
    **{f"i{bits}": np.dtype(f"int{bits}") for bits in (8, 16, 32, 64)},
    **{f"u{bits}": np.dtype(f"uint{bits}") for bits in (8, 16, 32, 64)},
    "bool": np.dtype(np.bool_),
}


@dataclass(frozen=True, slots=True)
class Format:
    """A narrow float: bits of its fraction, the exponent of its smallest normal number, its largest number."""

    fraction: int
    least_exponent: int
    largest: float
    has_infinity: bool = True


NARROW = {
    "f16": Format(10, -14, 65504.0),
    "bf16": Format(7, -126, float(ml_dtypes.finfo(ml_dtypes.bfloat16).max)),
    "f8e4m3": Format(3, -6, 448.0, has_infinity=False),
    "f8e5m2": Format(2, -14, 57344.0),
}
# What expressions are computed in. The values of narrow floats are f32, rounded where they are stored.
NUMPY = {name: np.dtype(np.float32) if name in NARROW else dtype for name, dtype in STORED.items()}
# What an elementary function may be off by, in units of the last place. A result below the smallest normal
# number may be 0: `1 / (1 + exp(x))` is 0 where `exp` overflows.
FUNCTION_ULPS = 4


@dataclass(frozen=True, slots=True)
class Value:
    data: np.ndarray
    error: np.ndarray | None = None

    @property
    def dtype(self) -> np.dtype:
        return self.data.dtype


def differences(got: np.ndarray, expected: Value) -> np.ndarray:
    """Where a result is wrong."""
    want = expected.data
    if any(got.dtype == STORED[name] for name in NARROW):
        got = got.astype(np.float32)
    assert got.dtype == want.dtype
    assert got.shape == want.shape, f"{got.shape} is not {want.shape}"
    if want.dtype.kind != "f":
        return got != want
    with np.errstate(all="ignore"):
        same = (got == want) & (np.signbit(got) == np.signbit(want)) | np.isnan(got) & np.isnan(want)
        if expected.error is None:
            return ~same
        error = np.broadcast_to(expected.error, want.shape)
        near = np.abs(got.astype(np.longdouble) - want) <= error
        # Near the largest number, rounding decides between it and infinity.
        may_overflow = np.abs(want.astype(np.longdouble)) + error > np.finfo(want.dtype).max
        is_open = np.isinf(error) | (may_overflow & np.isfinite(want))
        return ~(same | (got == want) | near | is_open)


# ---------------------------------------------------------------- rounding errors


def _unit(dtype: np.dtype) -> float:
    return float(np.finfo(dtype).eps)


def _least(dtype: np.dtype) -> float:
    return float(np.finfo(dtype).smallest_subnormal)


def _sanitized(data: np.ndarray, error: np.ndarray, *operands: Value) -> np.ndarray:
    """An error that came out as NaN: unknown where the value is finite, none where it is not.

    What is computed from an operand that may be anything may be anything too.
    """
    unknown = np.where(np.isfinite(data), np.inf, 0.0)
    clean = np.where(np.isnan(error), unknown, np.broadcast_to(error, data.shape))
    for operand in operands:
        clean = np.where(np.isinf(_error(operand)), np.inf, clean)
    return clean


def _rounded(data: np.ndarray, error: np.ndarray, *operands: Value, ulps: float = 1) -> Value:
    """A value whose operands were off, and that was rounded itself."""
    size = np.abs(data.astype(np.float64))
    total = error + ulps * (_unit(data.dtype) * size + _least(data.dtype))
    return Value(data, _sanitized(data, total, *operands))


def _error(v: Value) -> np.ndarray:
    return np.zeros(()) if v.error is None else v.error


def _size(v: Value) -> np.ndarray:
    return np.abs(v.data.astype(np.float64))


def stored(a: Value, dtype: str) -> Value:
    """A number as a tensor of that type holds it: narrow floats are rounded, once and to nearest even."""
    if dtype not in NARROW:
        return a
    form = NARROW[dtype]
    with np.errstate(all="ignore"):
        exact = a.data.astype(np.longdouble)  # of integers of 64 bits, too
        _, exponent = np.frexp(exact)
        unit = np.maximum(exponent - 1, form.least_exponent) - form.fraction
        data = np.ldexp(np.rint(np.ldexp(exact, -unit)), unit)
        overflow = np.copysign(np.inf if form.has_infinity else np.nan, exact)
        data = np.where(np.isnan(exact) | (np.abs(data) <= form.largest), data, overflow).astype(np.float32)
        if a.error is None:
            return Value(data)
        size = np.abs(exact).astype(np.float64)
        error = (
            a.error + 2.0**-form.fraction * (size + a.error) + 2.0 ** (form.least_exponent - form.fraction)
        )
        error = np.where((size + error > form.largest) & (a.error > 0), np.inf, error)
        return Value(data, np.broadcast_to(error, data.shape))


# ---------------------------------------------------------------- operators


def binary(op: str, a: Value, b: Value) -> Value:
    """`+ - * / // % & | ^ << >>` on two values of one dtype."""
    assert a.dtype == b.dtype, f"{a.dtype} {op} {b.dtype}"
    with np.errstate(all="ignore"):
        data = np.asarray(_BINARY[op](a.data, b.data))
        assert data.dtype == a.dtype
        if a.error is None and b.error is None:
            return Value(data)
        match op:
            case "+" | "-":
                error = _error(a) + _error(b)
            case "*":
                error = _size(a) * _error(b) + _size(b) * _error(a) + _error(a) * _error(b)
            case "/":
                smallest = np.maximum(_size(b) - _error(b), 0)
                error = (_error(a) + np.abs(data.astype(np.float64)) * _error(b)) / smallest
            case _:
                raise AssertionError(f"{op} of an inexact value")
        return _rounded(data, error, a, b)


def _floor_divide(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    quotient = a // np.where((b == 0) | (b == -1), b.dtype.type(1), b)
    return np.where(b == 0, a.dtype.type(0), np.where(b == -1, 0 - a, quotient))


def _modulo(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    remainder = a % np.where((b == 0) | (b == -1), b.dtype.type(1), b)
    return np.where((b == 0) | (b == -1), a.dtype.type(0), remainder)


def _count(a: np.ndarray, count: np.ndarray) -> np.ndarray:
    return count % count.dtype.type(8 * a.dtype.itemsize)


_BINARY: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a / b,
    "//": _floor_divide,
    "%": _modulo,
    "&": lambda a, b: a & b,
    "|": lambda a, b: a | b,
    "^": lambda a, b: a ^ b,
    "<<": lambda a, b: a << _count(a, b),
    ">>": lambda a, b: a >> _count(a, b),
}


def compare(op: str, a: Value, b: Value) -> Value:
    assert a.dtype == b.dtype
    assert a.error is None
    assert b.error is None
    functions = {
        "<": np.less,
        "<=": np.less_equal,
        ">": np.greater,
        ">=": np.greater_equal,
        "==": np.equal,
        "!=": np.not_equal,
    }
    return Value(np.asarray(functions[op](a.data, b.data)))


def negative(a: Value) -> Value:
    with np.errstate(all="ignore"):
        return Value(np.asarray(-a.data if a.dtype.kind == "f" else 0 - a.data).astype(a.dtype), a.error)


def invert(a: Value) -> Value:
    return Value(np.asarray(~a.data))


def absolute(a: Value) -> Value:
    with np.errstate(all="ignore"):
        if a.dtype.kind == "f":
            return Value(np.asarray(np.abs(a.data)), a.error)
        return Value(np.where(a.data < 0, 0 - a.data, a.data).astype(a.dtype))


def sign(a: Value) -> Value:
    data = np.asarray((a.data > 0).astype(a.dtype) - (a.data < 0).astype(a.dtype))
    if a.dtype.kind == "f":
        data = np.where(np.isnan(a.data), a.data, data)
    return Value(data.astype(a.dtype))


def popcount(a: Value) -> Value:
    octets = np.ascontiguousarray(a.data).reshape(*a.data.shape, 1).view(np.uint8)
    return Value(np.unpackbits(octets, axis=-1).sum(axis=-1).astype(a.dtype).reshape(a.data.shape))


def extreme(is_max: bool, a: Value, b: Value) -> Value:
    """`max` or `min` of two values. NaN propagates, and -0 is less than +0."""
    assert a.dtype == b.dtype
    if a.dtype.kind != "f":
        return Value(np.maximum(a.data, b.data) if is_max else np.minimum(a.data, b.data))
    with np.errstate(all="ignore"):
        first_is_less = (a.data < b.data) | (a.data == b.data) & np.signbit(a.data)
        data = np.where(first_is_less != is_max, a.data, b.data)
        data = np.where(np.isnan(a.data), a.data, np.where(np.isnan(b.data), b.data, data))
    if a.error is None and b.error is None:
        return Value(data)
    return Value(data, _sanitized(data, np.maximum(_error(a), _error(b)), a, b))


def fused(a: Value, b: Value, c: Value) -> Value:
    """`fma`; computed with more digits, and taken as off by a unit, for lack of an exact one in NumPy."""
    with np.errstate(all="ignore"):
        wide = a.data.astype(np.longdouble) * b.data + c.data
        data = np.asarray(wide.astype(a.dtype))
        error = _size(a) * _error(b) + _size(b) * _error(a) + _error(a) * _error(b) + _error(c)
        # f64: the product has 106 bits, a long double 64.
        error = error + 2.0**-60 * _size(a) * _size(b)
        return _rounded(data, error, a, b, c)


def select(condition: Value, then: Value, otherwise: Value) -> Value:
    assert then.dtype == otherwise.dtype
    data = np.where(condition.data, then.data, otherwise.data)
    if then.error is None and otherwise.error is None:
        return Value(data)
    return Value(data, np.where(condition.data, _error(then), _error(otherwise)))


# ---------------------------------------------------------------- functions

_EXACT: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "floor": np.floor,
    "ceil": np.ceil,
    "round": np.rint,
    "trunc": np.trunc,
    "sqrt": np.sqrt,
}
_PREDICATES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "isnan": np.isnan,
    "isinf": np.isinf,
    "isfinite": np.isfinite,
}
# Functions that rise everywhere: what is off by e lies between their values at x - e and x + e.
_RISING: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "exp": np.exp,
    "exp2": np.exp2,
    "expm1": np.expm1,
    "log": np.log,
    "log2": np.log2,
    "log1p": np.log1p,
    "sinh": np.sinh,
    "tanh": np.tanh,
    "asinh": np.arcsinh,
    "atan": np.arctan,
    "asin": np.arcsin,
    "atanh": np.arctanh,
    "sigmoid": special.expit,
    "erf": special.erf,
}
_OTHERS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "sin": np.sin,
    "cos": np.cos,
    "tan": np.tan,
    "acos": np.arccos,
    "cosh": np.cosh,
    "acosh": np.arccosh,
    "erfc": np.vectorize(math.erfc, otypes=[np.float64]),  # SciPy's is 60 ULP off near 8
    "rsqrt": lambda x: 1 / np.sqrt(x),
}
FUNCTIONS_OF_EXACT = tuple((_RISING | _OTHERS).keys())
FUNCTIONS_OF_INEXACT = ("exp", "tanh", "sigmoid", "atan", "erf", "asinh")


def function(name: str, a: Value) -> Value:
    with np.errstate(all="ignore"):
        if name in _PREDICATES:
            assert a.error is None
            return Value(np.asarray(_PREDICATES[name](a.data)))
        if name in _EXACT:
            assert a.error is None
            return Value(np.asarray(_EXACT[name](a.data)))
        formula = (_RISING | _OTHERS)[name]
        wide = a.data.astype(np.float64)
        exact = np.asarray(formula(wide))
        data = np.asarray(exact.astype(a.dtype))
        least = float(np.finfo(a.dtype).tiny)
        if a.error is None:
            return _rounded(data, np.full((), least), ulps=FUNCTION_ULPS)
        assert name in FUNCTIONS_OF_INEXACT
        away = np.maximum(formula(wide + a.error) - exact, exact - formula(wide - a.error))
        return _rounded(data, np.abs(away) + least, a, ulps=FUNCTION_ULPS)


def power(a: Value, b: Value) -> Value:
    """A float power of positive numbers."""
    with np.errstate(all="ignore"):
        data = np.asarray(np.power(a.data.astype(np.float64), b.data.astype(np.float64)).astype(a.dtype))
        return _rounded(data, np.zeros(()), ulps=FUNCTION_ULPS)


def arc_tangent(a: Value, b: Value) -> Value:
    with np.errstate(all="ignore"):
        data = np.asarray(np.arctan2(a.data.astype(np.float64), b.data.astype(np.float64)).astype(a.dtype))
        return _rounded(data, np.zeros(()), ulps=FUNCTION_ULPS)


def cast(a: Value, to: np.dtype) -> Value:
    """Integers wrap; a float rounds to a float, and to an integer truncates, saturates and takes NaN to 0."""
    with np.errstate(all="ignore"):
        if to.kind == "f":
            data = np.asarray(a.data.astype(to))
            return Value(data) if a.error is None else _rounded(data, a.error, a)
        assert a.error is None
        if to.kind == "b":
            return Value(np.asarray(a.data != 0))
        if a.dtype.kind != "f":
            return Value(np.asarray(a.data.astype(to)))
        limits = np.iinfo(to)
        # In f64 the powers of two just outside the range are exact; the limits need not be.
        low, above = float(limits.min), 2.0 ** int(limits.max).bit_length()
        whole = np.trunc(a.data.astype(np.float64))
        inside = (whole >= low) & (whole < above)
        data = np.where(inside, whole, 0.0).astype(to)
        data = np.where(whole >= above, to.type(limits.max), data)
        return Value(np.where(whole < low, to.type(limits.min), data).astype(to))


# ---------------------------------------------------------------- reductions


def reduce(
    kind: str, terms: Value, kept: np.ndarray, axes: int, is_exact: bool, is_product: bool = False
) -> Value:
    """The leading `axes` axes reduced, over the terms that are `kept`.

    `is_exact` says that a float sum has so few bits that every order of additions gives it exactly,
    `is_product` that its terms are products, which are added before they are rounded.
    """
    over = tuple(range(axes))
    data, dtype = terms.data, terms.dtype
    with np.errstate(all="ignore"):
        if kind in ("any", "all"):
            neutral = kind == "all"
            masked = np.where(kept, data, neutral)
            return Value(np.asarray(masked.all(axis=over) if neutral else masked.any(axis=over)))
        if kind in ("max", "min"):
            return _reduce_extreme(kind == "max", terms, kept, over)
        if dtype.kind != "f":
            masked = np.where(kept, data, dtype.type(0 if kind == "sum" else 1))
            reducer = np.add if kind == "sum" else np.multiply
            return Value(np.asarray(reducer.reduce(masked, axis=over, dtype=dtype)))
        if kind == "prod":
            return _reduce_product(terms, kept, over)
        return _reduce_sum(terms, kept, over, is_exact, is_product)


def _reduce_extreme(is_max: bool, terms: Value, kept: np.ndarray, over: tuple[int, ...]) -> Value:
    data, dtype = terms.data, terms.dtype
    reducer = np.maximum if is_max else np.minimum
    if dtype.kind != "f":
        limits = np.iinfo(dtype)
        start = dtype.type(limits.min if is_max else limits.max)
        return Value(np.asarray(reducer.reduce(np.where(kept, data, start), axis=over, initial=start)))
    start = dtype.type(-np.inf if is_max else np.inf)
    masked = np.where(kept, data, start)
    result = np.asarray(reducer.reduce(masked, axis=over, initial=start))
    # NumPy leaves the sign of a zero open.
    positive = ((masked == 0) & (np.signbit(masked) != is_max)).any(axis=over)
    zero = np.where(positive == is_max, dtype.type(0.0), dtype.type(-0.0))
    result = np.asarray(np.where(result == 0, zero, result))
    if terms.error is None:
        return Value(result)
    error = np.where(kept, terms.error, 0.0).max(axis=over, initial=0.0)
    return Value(result, _sanitized(result, error))


def _reduce_sum(
    terms: Value, kept: np.ndarray, over: tuple[int, ...], is_exact: bool, is_product: bool
) -> Value:
    dtype = terms.dtype
    wide = np.where(kept, terms.data, 0.0).astype(np.longdouble)
    data = np.asarray(wide.sum(axis=over) + 0.0).astype(dtype)
    if is_exact:
        assert terms.error is None
        return Value(data)
    finite = np.where(np.isfinite(wide), np.abs(wide), 0.0).sum(axis=over).astype(np.float64)
    count = kept.sum(axis=over)
    error = np.where(kept, _error(terms), 0.0).sum(axis=over) + (count + 2) * (
        _unit(dtype) * finite + _least(dtype)
    )
    # Another order may overflow on the way; a product that overflows here need not where it is fused.
    is_open = finite > np.finfo(dtype).max / 4
    if is_product:
        is_open = is_open | np.isinf(wide).any(axis=over)
    error = np.where(is_open, np.inf, error)
    return Value(data, np.where(is_open, np.inf, _sanitized(data, error)))


def _reduce_product(terms: Value, kept: np.ndarray, over: tuple[int, ...]) -> Value:
    dtype, limits = terms.dtype, np.finfo(terms.dtype)
    wide = np.where(kept, terms.data, 1.0).astype(np.float64)
    data = np.asarray(wide.prod(axis=over)).astype(dtype)
    is_plain = np.isfinite(wide) & (wide != 0)
    # log2 of what the partial products stay between, in whatever order.
    logs = np.log2(np.where(is_plain, np.abs(wide), 1.0))
    above, below = np.maximum(logs, 0).sum(axis=over), np.minimum(logs, 0).sum(axis=over)
    is_open = (above > limits.maxexp - 2) | (below < limits.minexp + 2)
    relative = np.where(kept & is_plain, _error(terms) / np.where(is_plain, np.abs(wide), 1.0), 0.0)
    # A factor of zero that may be another number leaves the product open.
    relative = np.where(kept & ~is_plain & (np.broadcast_to(_error(terms), wide.shape) > 0), np.inf, relative)
    count = kept.sum(axis=over)
    growth = np.expm1(np.log1p(relative).sum(axis=over) + (count + 2) * _unit(dtype))
    error = np.where(is_open, np.inf, np.abs(data.astype(np.float64)) * growth + _least(dtype))
    return Value(data, _sanitized(data, error))
