"""Operators and casts of constants, where the result is certain to the last bit."""

from __future__ import annotations

import math
import struct

from te.ir.evaluate import integer_operation
from te.ir.expr import Const, Expr, Op
from te.ir.types import BOOL, DType, integer_limits, wrap_integer


def fold_integers(e: Op) -> Expr:
    """The constant that an operator makes of integer constants, wrapped; else the expression itself."""
    operands = [arg.value for arg in e.args if isinstance(arg, Const) and arg.dtype.is_integer]
    if len(operands) < len(e.args):
        return e
    result = integer_operation(e.op, [int(value) for value in operands], e.args[0].dtype)
    if result is None:
        return e
    return (
        Const(bool(result), BOOL) if e.dtype == BOOL else Const(wrap_integer(int(result), e.dtype), e.dtype)
    )


def fold_cast(value: Expr, dtype: DType) -> Expr | None:
    """The constant that a cast makes, where it is certain to the last bit; None for other casts."""
    if value.dtype == dtype:
        return value
    if not isinstance(value, Const):
        return None
    number = value.value
    if isinstance(number, float):
        rounded = _round_to(number, value.dtype)
        if rounded is None:
            return None
        if dtype == BOOL:
            return Const(rounded != 0, BOOL)
        if dtype.is_integer:
            return Const(_saturated(rounded, dtype), dtype)
        narrowed = _round_to(rounded, dtype)
        return None if narrowed is None else Const(narrowed, dtype)
    if dtype == BOOL:
        return Const(bool(number), BOOL)
    if dtype.is_integer:
        return Const(wrap_integer(int(number), dtype), dtype)
    exact = {"f32": 24, "f64": 53}.get(dtype.name)
    return Const(float(number), dtype) if exact is not None and abs(number) <= 1 << exact else None


def _round_to(number: float, dtype: DType) -> float | None:
    if dtype.name == "f64" or (dtype.name == "f32" and not math.isfinite(number)):
        return number
    if dtype.name != "f32":
        return None
    rounded: float = struct.unpack("f", struct.pack("f", number))[0]  # as C casts: too large gives inf
    return rounded


def _saturated(number: float, dtype: DType) -> int:
    low, high = integer_limits(dtype)
    if math.isnan(number):
        return 0
    return int(min(max(number, low), high)) if math.isinf(number) else min(max(int(number), low), high)
