"""Operators and casts of constants, where the result is certain to the last bit."""

from __future__ import annotations

import math

from te.ir.evaluate import integer_operation
from te.ir.expr import Const, Expr, Op, Select, Var
from te.ir.floats import FORMATS, is_value_of, nearest
from te.ir.types import BOOL, I64, DType, integer_limits, wrap_integer


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
        # A float cast to its own type keeps a product from being fused into a sum, so that one stays.
        # Index arithmetic cast to its own type is data (`te.ir.overflow`).
        is_product = dtype.is_float and isinstance(value, Op) and value.op == "*"
        is_index = dtype == I64 and isinstance(value, Var | Op | Select)
        return None if is_product or is_index else value
    if not isinstance(value, Const):
        return None
    number = value.value
    if isinstance(number, float):
        if value.dtype not in FORMATS:  # a literal without a type
            return None
        if value.dtype.is_narrow and not is_value_of(number, value.dtype):
            return None  # an f32 until `te.elaborate.narrow` says so
        rounded = nearest(number, value.dtype)
        if dtype == BOOL:
            return Const(rounded != 0, BOOL)
        if dtype.is_integer:
            return Const(_saturated(rounded, dtype), dtype)
        return Const(nearest(rounded, dtype), dtype)
    if dtype == BOOL:
        return Const(bool(number), BOOL)
    if dtype.is_integer:
        return Const(wrap_integer(int(number), dtype), dtype)
    return Const(float(number), dtype) if nearest(int(number), dtype) == number else None


def _saturated(number: float, dtype: DType) -> int:
    low, high = integer_limits(dtype)
    if math.isnan(number):
        return 0
    return int(min(max(number, low), high)) if math.isinf(number) else min(max(int(number), low), high)
