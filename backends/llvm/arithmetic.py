"""Operators on values, with the meaning `te.ir.types` gives them: everything is defined, nothing traps.

Operands have one dtype and one number of lanes.
"""

from __future__ import annotations

import math

from te.backends.llvm.emitter import Emitter
from te.backends.llvm.values import Value, constant, suffix, type_of
from te.ir.floats import FORMATS
from te.ir.types import BOOL, F32, F64, I32, I64, DType, integer_limits, wrap_integer

_FLOAT = {"+": "fadd", "-": "fsub", "*": "fmul", "/": "fdiv"}
_INTEGER = {"+": "add", "-": "sub", "*": "mul", "&": "and", "|": "or", "^": "xor"}
_FLOAT_COMPARE = {"<": "olt", "<=": "ole", ">": "ogt", ">=": "oge", "==": "oeq", "!=": "une"}
_INTEGER_COMPARE = {"<": "lt", "<=": "le", ">": "gt", ">=": "ge"}


def binary(emit: Emitter, op: str, a: Value, b: Value) -> Value:
    """`+ - * / & | ^` and the shifts."""
    if op in ("<<", ">>"):
        return _shift(emit, op, a, b)
    if op == "/" and (inverse := _exact_inverse(b)) is not None:
        op, b = "*", inverse
    name = (_FLOAT if a.dtype.is_float else _INTEGER)[op]
    return emit.pure(f"{name} {a.typed}, {b.text}", a.dtype, [a, b], a.lanes)


def _exact_inverse(divisor: Value) -> Value | None:
    """The inverse of a power of two: to multiply by it gives the same bits, ten times as fast."""
    if not isinstance(divisor.constant, float) or not math.isfinite(divisor.constant):
        return None
    fraction, exponent = math.frexp(divisor.constant)
    if abs(fraction) != 0.5 or abs(exponent - 1) > -FORMATS[divisor.dtype].smallest_exponent:
        return None
    return constant(1 / divisor.constant, divisor.dtype, divisor.lanes)


def _shift(emit: Emitter, op: str, a: Value, count: Value) -> Value:
    if isinstance(count.constant, int):
        count = constant(count.constant % a.dtype.bits, a.dtype, a.lanes)
    else:
        width = constant(a.dtype.bits - 1, a.dtype, a.lanes)
        count = emit.pure(f"and {count.typed}, {width.text}", a.dtype, [count], a.lanes)
    name = "shl" if op == "<<" else "ashr" if a.dtype.is_signed else "lshr"
    return emit.pure(f"{name} {a.typed}, {count.text}", a.dtype, [a, count], a.lanes)


def negate(emit: Emitter, a: Value) -> Value:
    text = (
        f"fneg {a.typed}"
        if a.dtype.is_float
        else f"sub {a.type} {constant(0, a.dtype, a.lanes).text}, {a.text}"
    )
    return emit.pure(text, a.dtype, [a], a.lanes)


def invert(emit: Emitter, a: Value) -> Value:
    """`~a`, and `not a` of a bool."""
    if a.dtype == BOOL and a.constant is not None:
        return constant(not a.constant, BOOL, a.lanes)
    ones = constant(True if a.dtype == BOOL else -1, a.dtype, a.lanes)
    return emit.pure(f"xor {a.typed}, {ones.text}", a.dtype, [a], a.lanes)


def compare(emit: Emitter, op: str, a: Value, b: Value) -> Value:
    if a.dtype.is_float:
        text = f"fcmp {_FLOAT_COMPARE[op]} {a.typed}, {b.text}"
    elif op in ("==", "!="):
        text = f"icmp {'eq' if op == '==' else 'ne'} {a.typed}, {b.text}"
    else:
        sign = "s" if a.dtype.is_signed else "u"
        text = f"icmp {sign}{_INTEGER_COMPARE[op]} {a.typed}, {b.text}"
    return emit.pure(text, BOOL, [a, b], a.lanes)


def both(emit: Emitter, a: Value, b: Value) -> Value:
    """`a and b`, of values."""
    for one, other in ((a, b), (b, a)):
        if one.constant is not None:
            return other if one.constant else one
    a, b = emit.unify(a, b)
    return emit.pure(f"and {a.typed}, {b.text}", BOOL, [a, b], a.lanes)


def either(emit: Emitter, a: Value, b: Value) -> Value:
    """`a or b`, of values."""
    for one, other in ((a, b), (b, a)):
        if one.constant is not None:
            return one if one.constant else other
    a, b = emit.unify(a, b)
    return emit.pure(f"or {a.typed}, {b.text}", BOOL, [a, b], a.lanes)


def extreme(emit: Emitter, op: str, a: Value, b: Value) -> Value:
    """`min` or `max`. Of floats: NaN if one is NaN, and -0 < +0, so that no order of a reduction shows.

    LLVM tests the first operand's sign: hand the running value of a reduction over as `b`.
    """
    if a.dtype.is_float:
        if emit.module.has_avx512 and a.dtype in (F32, F64) and a.lanes > 1 and not _is_constant(a, b):
            return _extreme_by_masks(emit, op, a, b)
        return emit.intrinsic("minimum" if op == "min" else "maximum", [a, b])
    if isinstance(a.constant, int) and isinstance(b.constant, int):
        return constant((min if op == "min" else max)(a.constant, b.constant), a.dtype, a.lanes)
    name = f"llvm.{'s' if a.dtype.is_signed else 'u'}{op}.{suffix(a.dtype, a.lanes)}"
    flags = [a.is_nonnegative, b.is_nonnegative]
    emit.module.declare(f"declare {a.type} @{name}({a.type}, {b.type})")
    text = f"call {a.type} @{name}({a.typed}, {b.typed})"
    return emit.pure(text, a.dtype, [a, b], a.lanes, is_nonnegative=all(flags) if op == "min" else any(flags))


def _is_constant(*values: Value) -> bool:
    return any(v.constant is not None for v in values)


def _extreme_by_masks(emit: Emitter, op: str, a: Value, b: Value) -> Value:
    """The same for vectors of AVX-512: a maximum, and bitwise instructions under one mask. LLVM takes six to eight.

    Where `a` and `b` are equal or one is NaN, `vmaxps` gives `b`. There bits are joined: `or` keeps a NaN, and equal
    numbers as they are; the sign of zeros, for `max` by `and`.
    """
    wins = emit.pure(f"fcmp {'olt' if op == 'min' else 'ogt'} {a.typed}, {b.text}", BOOL, [a, b], a.lanes)
    usual = emit.select(wins, a, b)
    is_equal = emit.pure(f"fcmp ueq {a.typed}, {b.text}", BOOL, [a, b], a.lanes)
    word = I32 if a.dtype == F32 else I64
    of_a, of_b = (_converted(emit, "bitcast", v, word) for v in (a, usual))
    joined = binary(emit, "|", of_a, of_b)
    if op == "max":
        rest = constant(integer_limits(word)[1], word, a.lanes)
        joined = binary(emit, "|", binary(emit, "&", joined, rest), binary(emit, "&", of_a, of_b))
    return emit.select(is_equal, _converted(emit, "bitcast", joined, a.dtype), usual)


def _converted(emit: Emitter, name: str, v: Value, dtype: DType) -> Value:
    return emit.pure(f"{name} {v.typed} to {type_of(dtype, v.lanes)}", dtype, [v], v.lanes)


# ---------------------------------------------------------------- division


def divide(emit: Emitter, op: str, a: Value, b: Value) -> Value:
    """`//` and `%`: toward minus infinity; by 0 the result is 0; the smallest integer // -1 wraps."""
    if isinstance(b.constant, int):
        return _divide_by_constant(emit, op, a, b.constant)
    if not a.dtype.is_signed or (a.is_nonnegative and b.is_nonnegative):
        return _divide_unsigned(emit, op, a, b)
    return _divide_signed(emit, op, a, b)


def _divide_by_constant(emit: Emitter, op: str, a: Value, divisor: int) -> Value:
    if divisor == 0:
        return constant(0, a.dtype, a.lanes)
    if isinstance(a.constant, int):
        quotient, rest = divmod(a.constant, divisor)
        return constant(wrap_integer(quotient, a.dtype) if op == "//" else rest, a.dtype, a.lanes)
    if divisor in (1, -1):
        if op == "%":
            return constant(0, a.dtype, a.lanes)
        return a if divisor == 1 else negate(emit, a)
    if divisor > 0 and divisor & (divisor - 1) == 0:
        # An arithmetic shift rounds down, and the low bits are the remainder, for negative numbers too.
        shift = "ashr" if a.dtype.is_signed else "lshr"
        name, amount = (shift, divisor.bit_length() - 1) if op == "//" else ("and", divisor - 1)
        nonnegative = a.is_nonnegative or (op == "%" and a.dtype == I64)
        text = f"{name} {a.typed}, {constant(amount, a.dtype, a.lanes).text}"
        return emit.pure(text, a.dtype, [a], a.lanes, is_nonnegative=nonnegative)
    b = constant(divisor, a.dtype, a.lanes)
    if not a.dtype.is_signed or (a.is_nonnegative and divisor > 0):
        name = "udiv" if op == "//" else "urem"
        return emit.pure(
            f"{name} {a.typed}, {b.text}", a.dtype, [a], a.lanes, is_nonnegative=a.is_nonnegative
        )
    return _floored(emit, op, a, b)


def _divide_unsigned(emit: Emitter, op: str, a: Value, b: Value) -> Value:
    zero, one = constant(0, a.dtype, a.lanes), constant(1, a.dtype, a.lanes)
    is_zero = compare(emit, "==", b, zero)
    divisor = emit.select(is_zero, one, b)
    name = "udiv" if op == "//" else "urem"
    nonnegative = a.is_nonnegative and b.is_nonnegative
    result = emit.pure(
        f"{name} {a.typed}, {divisor.text}",
        a.dtype,
        [a, divisor],
        a.lanes,
        costly=True,
        is_nonnegative=nonnegative,
    )
    # x % 1 is 0 already.
    return result if op == "%" else emit.select(is_zero, zero, result)


def _divide_signed(emit: Emitter, op: str, a: Value, b: Value) -> Value:
    zero, one = constant(0, a.dtype, a.lanes), constant(1, a.dtype, a.lanes)
    smallest = constant(integer_limits(a.dtype)[0], a.dtype, a.lanes)
    is_zero = compare(emit, "==", b, zero)
    minus_one = compare(emit, "==", b, constant(-1, a.dtype, a.lanes))
    overflows = both(emit, compare(emit, "==", a, smallest), minus_one)
    # Divided by 1 instead, the smallest integer // -1 is itself, and remainders are 0.
    divisor = emit.select(either(emit, is_zero, overflows), one, b)
    result = _floored(emit, op, a, divisor)
    return result if op == "%" else emit.select(is_zero, zero, result)


def _floored(emit: Emitter, op: str, a: Value, b: Value) -> Value:
    """Division by a divisor that is safe: `sdiv` and `srem` truncate, so negative results are corrected."""
    zero = constant(0, a.dtype, a.lanes)
    rest = emit.pure(f"srem {a.typed}, {b.text}", a.dtype, [a, b], a.lanes, costly=True)
    inexact = compare(emit, "!=", rest, zero)
    signs = binary(emit, "^", rest, b)
    wrong = both(emit, inexact, compare(emit, "<", signs, zero))
    if op == "%":
        return binary(emit, "+", rest, emit.select(wrong, b, zero))
    quotient = emit.pure(f"sdiv {a.typed}, {b.text}", a.dtype, [a, b], a.lanes, costly=True)
    correction = emit.pure(f"sext {wrong.typed} to {a.type}", a.dtype, [wrong], a.lanes)
    return binary(emit, "+", quotient, correction)
