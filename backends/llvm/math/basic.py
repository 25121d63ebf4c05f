"""Functions of one or a few instructions."""

from __future__ import annotations

from collections.abc import Callable

from te.backends.llvm.arithmetic import binary, compare
from te.backends.llvm.emitter import Emitter
from te.backends.llvm.values import Value, constant
from te.ir.types import BOOL

# The name in the language, and LLVM's.
INTRINSICS = {
    "floor": "floor",
    "ceil": "ceil",
    "trunc": "trunc",
    "round": "roundeven",
    "sqrt": "sqrt",
    "fma": "fma",
}


def _absolute(emit: Emitter, a: Value) -> Value:
    if a.dtype.is_float:
        return emit.intrinsic("fabs", [a])
    if not a.dtype.is_signed:
        return a
    name = f"llvm.abs.{'' if a.lanes == 1 else f'v{a.lanes}'}i{a.dtype.bits}"
    emit.module.declare(f"declare {a.type} @{name}({a.type}, i1)")
    # `i1 false`: the smallest integer is its own absolute value, not undefined.
    return emit.pure(f"call {a.type} @{name}({a.typed}, i1 false)", a.dtype, [a], a.lanes)


def _sign(emit: Emitter, a: Value) -> Value:
    """-1, 0 or 1; of floats NaN stays, and of -0 it is +0."""
    zero, one = constant(0, a.dtype, a.lanes), constant(1, a.dtype, a.lanes)
    other = binary(emit, "+", a, zero) if a.dtype.is_float else a
    if a.dtype.is_signed:
        other = emit.select(compare(emit, "<", a, zero), constant(-1, a.dtype, a.lanes), other)
    return emit.select(compare(emit, ">", a, zero), one, other)


def _popcount(emit: Emitter, a: Value) -> Value:
    return emit.intrinsic("ctpop", [a])


def _is_nan(emit: Emitter, a: Value) -> Value:
    return emit.pure(f"fcmp uno {a.typed}, {a.text}", BOOL, [a], a.lanes)


def _is_infinite(emit: Emitter, a: Value) -> Value:
    return _against_infinity(emit, "oeq", a)


def _is_finite(emit: Emitter, a: Value) -> Value:
    return _against_infinity(emit, "olt", a)  # not for NaN: the comparison is ordered


def _against_infinity(emit: Emitter, comparison: str, a: Value) -> Value:
    size = emit.intrinsic("fabs", [a])
    infinity = constant(float("inf"), a.dtype, a.lanes)
    return emit.pure(f"fcmp {comparison} {size.typed}, {infinity.text}", BOOL, [size], a.lanes)


COMPOSED: dict[str, Callable[[Emitter, Value], Value]] = {
    "abs": _absolute,
    "sign": _sign,
    "popcount": _popcount,
    "isnan": _is_nan,
    "isinf": _is_infinite,
    "isfinite": _is_finite,
}


def constant_power(emit: Emitter, x: Value, exponent: float) -> Value | None:
    """x ** exponent where a few multiplications or a square root are within 2 ULP of it; None for other exponents.

    No intermediate result leaves the range of floats where the power does not.
    """
    one = constant(1, x.dtype, x.lanes)
    match exponent:
        case 0:
            return one
        case 1:
            return x
        case -1:
            return binary(emit, "/", one, x)
        case 2:
            return binary(emit, "*", x, x)
        case -2:
            inverse = binary(
                emit, "/", one, x
            )  # the square of x would be too small or too large before this is
            return binary(emit, "*", inverse, inverse)
        case 3:
            return binary(emit, "*", binary(emit, "*", x, x), x)
        case 4:
            square = binary(emit, "*", x, x)
            return binary(emit, "*", square, square)
        case 0.5:
            return _root(emit, x)
        case -0.5:
            return binary(emit, "/", one, _root(emit, x))
    return None


def _root(emit: Emitter, x: Value) -> Value:
    """x ** 0.5: as the square root, but +0 of -0, and infinity of -infinity (IEEE 754-2019, 9.2.1)."""
    root = emit.intrinsic("sqrt", [binary(emit, "+", x, constant(0, x.dtype, x.lanes))], costly=True)
    is_lowest = compare(emit, "==", x, constant(float("-inf"), x.dtype, x.lanes))
    return emit.select(is_lowest, constant(float("inf"), x.dtype, x.lanes), root)
