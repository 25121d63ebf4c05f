"""Conversions between dtypes, exactly as `te.ir.types` defines them; to run `quietly()`.

NumPy and ml_dtypes go through f32 on their way to most narrow floats, and so round twice. Here what
is not exact in f32 is first rounded to odd: rounded again, to a type at least two bits narrower,
it is what one rounding gives (Boldo & Melquiond, "Emulation of FMA and correctly rounded sums",
2008, theorem 3).
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

from te.ir.types import DType, dtype_named, integer_limits, numpy_dtype

Value: TypeAlias = Any  # as in `te.backends.interp.arithmetic`

# An integer this large need not be an f64; its last bits are worth no more than 2**11.
LARGE = 1 << 53
LAST_BITS = (1 << 11) - 1


def cast(x: Value, to: DType) -> Value:
    """Conversion to another dtype: wraps, rounds to nearest even, or saturates."""
    x = np.asarray(x)
    source = dtype_named(x.dtype.name)
    if source is not None and source.is_narrow and source != to:
        x = x.astype(np.float32)  # exact
    if to.kind == "bool":
        return (x != 0)[()]
    if to.is_integer and x.dtype.kind == "f":
        return _float_to_integer(x, to)
    if to.is_narrow and source != to:
        x = _as_f32(x)
    return x.astype(numpy_dtype(to))[()]


def _float_to_integer(x: Value, to: DType) -> Value:
    low, high = integer_limits(to)
    whole = np.trunc(x.astype(np.float64))
    above = whole >= float(high + 1)  # high itself may have no float64
    below = whole < float(low)
    inside = np.where(above | below | np.isnan(whole), 0.0, whole).astype(numpy_dtype(to))
    saturated = np.where(
        above, numpy_dtype(to).type(high), np.where(below, numpy_dtype(to).type(low), inside)
    )
    return saturated[()]


def _as_f32(x: Value) -> Value:
    """Numbers as f32, rounded to odd where they are none."""
    match x.dtype.itemsize, x.dtype.kind:
        case 4, "f":
            return x
        case 8, "f":
            return _round_to_odd(x)
        case 4 | 8, _:
            return _round_to_odd(_as_f64(x))
    return x.astype(np.float32)  # a small integer or a bool: exact


def _as_f64(x: Value) -> Value:
    """Integers as f64, rounded to odd where they are none."""
    if x.dtype.itemsize < 8:
        return x.astype(np.float64)
    is_large = (x > LARGE) | ((x < -LARGE) if x.dtype.kind == "i" else False)
    last = x & x.dtype.type(LAST_BITS)
    odd = (x - last) | np.where(last != 0, LAST_BITS + 1, 0).astype(x.dtype)
    return np.where(is_large, odd, x).astype(np.float64)


def _round_to_odd(x: Value) -> Value:
    """The f32 neighbour of each f64 whose last bit is 1, unless the f64 is an f32."""
    nearest = x.astype(np.float32)
    found = nearest.astype(np.float64)
    bits = nearest.view(np.int32)
    nudge = (found != x) & ~np.isnan(x) & (bits & 1 == 0)
    # A float's bits grow with its magnitude.
    step = np.where(np.abs(found) < np.abs(x), 1, -1)
    return (bits + np.where(nudge, step, 0).astype(np.int32)).view(np.float32)
