"""Every operator of the expression language on NumPy values, exactly as the language defines it.

Arguments are NumPy arrays or scalars of one dtype (they broadcast); results are too.
Arithmetic is exact to the bit: it is what compiled code is compared with. The
values of the elementary functions (`exp`, `sin`, `erf`, ...) are not: those of f32
are computed in f64 and rounded, those of f64 are NumPy's or the C library's.

The functions below expect to run `quietly()`: NumPy warns where integers wrap and
where a float result is infinite or NaN, and here both are results like any other.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any, TypeAlias

import numpy as np

from te.backends.interp.casts import cast
from te.ir.expr import OPS, Const
from te.ir.types import numpy_dtype, wrap_integer

__all__ = ["FUNCTIONS", "apply", "cast", "combine", "constant", "fma", "quietly"]

# An array or a scalar; NumPy's types cannot say "of any of our dtypes" without a cast at each step.
Value: TypeAlias = Any


def apply(op: str, *args: Value) -> Value:
    """One operator on values of one dtype.

    >>> apply("//", np.int32(-7), np.int32(2)), apply("%", np.int32(5), np.int32(0))
    (np.int32(-4), np.int32(0))
    """
    with quietly():
        return FUNCTIONS[op](*args)


def quietly() -> np.errstate:
    """The context in which these functions run: no warning where a result wraps, overflows or is NaN."""
    return np.errstate(all="ignore")


def constant(c: Const) -> Value:
    """The NumPy scalar of a literal."""
    value = wrap_integer(int(c.value), c.dtype) if c.dtype.is_integer else c.value
    with quietly():
        return numpy_dtype(c.dtype).type(value)


def combine(reducer: str, total: Value, term: Value) -> Value:
    """One step of a reduction."""
    return FUNCTIONS[REDUCERS[reducer]](total, term)


REDUCERS = {"sum": "+", "prod": "*", "max": "max", "min": "min", "any": "or", "all": "and"}


# ---------------------------------------------------------------- integers


def _shift_count(x: Value, count: Value) -> Value:
    # Two's complement makes the mask the count modulo the width for negative counts too.
    return np.bitwise_and(count, np.asarray(count).dtype.type(np.asarray(x).dtype.itemsize * 8 - 1))


def _shift_left(x: Value, count: Value) -> Value:
    return np.left_shift(x, _shift_count(x, count))


def _shift_right(x: Value, count: Value) -> Value:
    return np.right_shift(x, _shift_count(x, count))


def _popcount(x: Value) -> Value:
    x = np.asarray(x)
    # bitwise_count counts the bits of a negative number's magnitude.
    bits = x.view(f"u{x.dtype.itemsize}")
    return np.bitwise_count(bits).astype(x.dtype)[()]


# ---------------------------------------------------------------- floats


def _minimum(a: Value, b: Value) -> Value:
    """IEEE 754-2019 `minimum`: NaN propagates, -0 < +0 (NumPy leaves that sign to the CPU)."""
    least = np.minimum(a, b)
    if np.asarray(least).dtype.kind != "f" or np.all(least):
        return least
    return np.where((a == 0) & (b == 0), -(-a + -b), least)[()]


def _maximum(a: Value, b: Value) -> Value:
    """IEEE 754-2019 `maximum`: NaN propagates, +0 > -0."""
    greatest = np.maximum(a, b)
    if np.asarray(greatest).dtype.kind != "f" or np.all(greatest):
        return greatest
    return np.where((a == 0) & (b == 0), a + b, greatest)[()]


def fma(a: Value, b: Value, c: Value) -> Value:
    """`a * b + c`, rounded once."""
    return _fma_f32(a, b, c) if np.result_type(a) == np.float32 else _fma_f64(a, b, c)


def _fma_f32(a: Value, b: Value, c: Value) -> Value:
    # The product of two f32 is exact in f64. A sum rounded to odd can be rounded again, to a type
    # at least two bits narrower, without a double rounding (Boldo & Melquiond 2008, theorem 3).
    total, error = _two_sum(np.float64(a) * np.float64(b), np.float64(c))
    return _as_f32(_round_to_odd(total, error))


def _as_f32(x: Value) -> Value:
    return x.astype(np.float32) if isinstance(x, np.ndarray) else np.float32(x)


def _fma_f64(a: Value, b: Value, c: Value) -> Value:
    if not any(isinstance(x, np.ndarray) for x in (a, b, c)):
        return np.float64(_fma_slowly(float(a), float(b), float(c)))
    a, b, c = np.broadcast_arrays(a, b, c)
    quick = _is_ordinary(a) & _is_ordinary(b) & (_is_ordinary(c) | (c == 0))
    # A product that is zero, infinite or NaN as its factors say is exact.
    plain = ~np.isfinite(a) | ~np.isfinite(b) | (a == 0) | (b == 0)
    result = np.where(quick, _fma_quickly(a, b, c), a * b + c)
    slow = ~(quick | plain)
    factors = (x[slow].tolist() for x in (a, b, c))
    result[slow] = [_fma_slowly(*x) for x in zip(*factors, strict=True)]
    return result


def _is_ordinary(x: Value) -> Value:
    """Far from overflow and underflow, so that every error term of `_fma_quickly` is exact."""
    size = np.abs(x)
    return (size > 2.0**-400) & (size < 2.0**400)


def _fma_quickly(a: Value, b: Value, c: Value) -> Value:
    """Boldo & Melquiond, "Emulation of FMA and correctly rounded sums", 2008, figure 2."""
    product, product_error = _two_product(a, b)
    low, low_error = _two_sum(c, product_error)
    high, high_error = _two_sum(product, low)
    return high + _round_to_odd(*_two_sum(high_error, low_error))


def _fma_slowly(a: float, b: float, c: float) -> float:
    if not (math.isfinite(a) and math.isfinite(b)) or 0 in (a, b):
        return a * b + c
    if not math.isfinite(c):  # not a * b + c: the product may overflow the other way
        return c
    exact = Fraction(a) * Fraction(b) + Fraction(c)
    try:
        return exact.numerator / exact.denominator  # rounds once, subnormals too
    except OverflowError:
        return math.inf if exact > 0 else -math.inf


def _two_sum(a: Value, b: Value) -> tuple[Value, Value]:
    """Knuth: the rounded sum and its error, exactly."""
    total = a + b
    of_b = total - a
    return total, (a - (total - of_b)) + (b - of_b)


def _two_product(a: Value, b: Value) -> tuple[Value, Value]:
    """Dekker: the rounded product and its error, exactly, where nothing over- or underflows."""
    product = a * b
    (a_high, a_low), (b_high, b_low) = _halves(a), _halves(b)
    error = a_low * b_low - (((product - a_high * b_high) - a_low * b_high) - a_high * b_low)
    return product, error


def _halves(x: Value) -> tuple[Value, Value]:
    """Veltkamp: two parts of at most 26 bits."""
    scaled = x * 134217729.0  # 2**27 + 1
    high = scaled - (scaled - x)
    return high, x - high


def _round_to_odd(total: Value, error: Value) -> Value:
    """The f64 neighbour of the exact `total + error` whose last bit is 1, unless `total` is exact."""
    if not isinstance(total, np.ndarray):
        total = float(total)
        if error == 0 or not math.isfinite(total) or int(math.frexp(total)[0] * 2.0**53) % 2:
            return total
        return math.nextafter(total, math.copysign(math.inf, error))
    bits = total.view(np.int64)
    nudge = (error != 0) & (bits & 1 == 0) & np.isfinite(total)
    # A float's bits grow with its magnitude.
    away = (error > 0) == (total > 0)
    return (bits + np.where(nudge, np.where(away, 1, -1), 0)).view(np.float64)


# ---------------------------------------------------------------- elementary functions


def _in_f64(function: Callable[..., Value]) -> Callable[..., Value]:
    """Computed in f64 and rounded to the arguments' type."""

    def rounded(*args: Value) -> Value:
        dtype = np.result_type(*args)
        # Contiguous, so that NumPy runs one and the same loop for every shape.
        wide = [np.ascontiguousarray(a, dtype=np.float64).reshape(np.shape(a)) for a in args]
        return np.asarray(function(*wide), dtype=np.float64).astype(dtype)[()]

    return rounded


def _each(function: Callable[[float], float]) -> Callable[[Value], Value]:
    return np.frompyfunc(function, 1, 1)


def _sigmoid(x: Value) -> Value:
    small = np.exp(-np.abs(x))
    return np.where(x < 0, small, 1.0) / (1.0 + small)


FUNCTIONS: dict[str, Callable[..., Value]] = {
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    "/": np.divide,
    "//": np.floor_divide,  # on integers NumPy gives 0 for x // 0 and wraps, as the language says
    "%": np.remainder,
    "neg": np.negative,
    "&": np.bitwise_and,
    "|": np.bitwise_or,
    "^": np.bitwise_xor,
    "~": np.invert,
    "<<": _shift_left,
    ">>": _shift_right,
    "<": np.less,
    "<=": np.less_equal,
    ">": np.greater,
    ">=": np.greater_equal,
    "==": np.equal,
    "!=": np.not_equal,
    "and": np.logical_and,
    "or": np.logical_or,
    "not": np.logical_not,
    "min": _minimum,
    "max": _maximum,
    "abs": np.abs,
    "sign": np.sign,  # of -0 too it is +0
    "popcount": _popcount,
    "fma": fma,
    "floor": np.floor,
    "ceil": np.ceil,
    "round": np.rint,
    "trunc": np.trunc,
    "sqrt": np.sqrt,
    "isnan": np.isnan,
    "isinf": np.isinf,
    "isfinite": np.isfinite,
    "rsqrt": _in_f64(lambda x: 1.0 / np.sqrt(x)),
    "sigmoid": _in_f64(_sigmoid),
    "erf": _in_f64(_each(math.erf)),
    "erfc": _in_f64(_each(math.erfc)),
    "pow": _in_f64(np.power),
    "atan2": _in_f64(np.arctan2),
    "asin": _in_f64(np.arcsin),
    "acos": _in_f64(np.arccos),
    "atan": _in_f64(np.arctan),
    "asinh": _in_f64(np.arcsinh),
    "acosh": _in_f64(np.arccosh),
    "atanh": _in_f64(np.arctanh),
    **{
        name: _in_f64(getattr(np, name))
        for name in "exp exp2 expm1 log log2 log1p sin cos tan sinh cosh tanh".split()
    },
}
assert set(FUNCTIONS) == OPS
