"""Narrow floats to f32 and back.

They stand as integers of their width everywhere (`values.py`), and only these conversions look
into them: in integer code, which needs no instruction that a CPU may lack and no helper function
that the JIT cannot find. Where the CPU converts f16, its instructions are used. Those for bf16 are
not: AVX512-BF16 flushes subnormals.

What is no f32 is rounded to odd on its way to a narrow float: rounded again, to a type at least two
bits narrower, it is what one rounding gives (Boldo & Melquiond, "Emulation of FMA and correctly
rounded sums", 2008, theorem 3).
"""

from __future__ import annotations

from te.backends.llvm.arithmetic import both, compare
from te.backends.llvm.emitter import Emitter
from te.backends.llvm.values import Value, constant, type_of
from te.ir.floats import FORMATS, Format, bits_of, nearest
from te.ir.types import BF16, F8E5M2, F16, F32, F64, I32, U16, DType

F32_FRACTION = 23
F32_BIAS = 127
F32_INFINITY = 0xFF << F32_FRACTION


def widened(emit: Emitter, a: Value) -> Value:
    """The f32 that a narrow float is."""
    if a.constant is not None:
        return constant(a.constant, F32, a.lanes)
    if a.dtype == BF16:  # the upper half of an f32
        return _float(emit, _word(emit, "shl", _extended(emit, a), 16))
    if emit.module.has_half and a.dtype in (F16, F8E5M2):
        if a.dtype == F8E5M2:  # the upper half of an f16
            wide = emit.pure(f"zext {a.typed} to {type_of(U16, a.lanes)}", U16, [a], a.lanes)
            a = emit.pure(f"shl {wide.typed}, {constant(8, U16, a.lanes).text}", F16, [wide], a.lanes)
        half = emit.pure(f"bitcast {a.typed} to {_half(a.lanes)}", F16, [a], a.lanes)
        text = f"fpext {_half(a.lanes)} {half.text} to {type_of(F32, a.lanes)}"
        return emit.pure(text, F32, [half], a.lanes)
    return _widened_by_bits(emit, a, FORMATS[a.dtype])


def narrowed(emit: Emitter, a: Value, to: DType) -> Value:
    """A number, rounded once to a narrow float."""
    if a.constant is not None:
        return constant(nearest(a.constant, to), to, a.lanes)
    a = _as_f32(emit, a, to)
    if to == BF16:
        return _narrowed_to_bf16(emit, a)
    if to == F16 and emit.module.has_half:
        half = emit.pure(f"fptrunc {a.typed} to {_half(a.lanes)}", F16, [a], a.lanes)
        text = f"bitcast {_half(a.lanes)} {half.text} to {type_of(F16, a.lanes)}"
        return emit.pure(text, F16, [half], a.lanes)
    return _narrowed_by_bits(emit, a, to, FORMATS[to])


def _half(lanes: int) -> str:
    return "half" if lanes == 1 else f"<{lanes} x half>"


# ---------------------------------------------------------------- f32 to a narrow float and back
#
# Without the sign, a float's bits are `exponent << fraction_bits | fraction`: another format is a
# shift of the fraction and an addition to the exponent. Subnormal numbers are the exception. There
# an addition of floats does the work: to a number whose last bit is worth as much as theirs.
# (F. Giesen, "Float->half variants", 2012, https://gist.github.com/rygorous/2156668)


def _widened_by_bits(emit: Emitter, a: Value, form: Format) -> Value:
    width = form.exponent_bits + form.fraction_bits
    bits = _extended(emit, a)
    size = _word(emit, "and", bits, (1 << width) - 1)
    sign = _word(emit, "shl", _word(emit, "and", bits, 1 << width), 31 - width)
    shifted = _word(emit, "shl", size, F32_FRACTION - form.fraction_bits)
    normal = _word(emit, "add", shifted, (F32_BIAS - form.bias) << F32_FRACTION)
    first = (F32_BIAS + form.smallest_exponent) << F32_FRACTION
    subnormal = _float(emit, _word(emit, "add", shifted, first))
    subnormal = _sum(emit, "fsub", subnormal, 2.0**form.smallest_exponent)
    result = emit.select(_less(emit, shifted, 1 << F32_FRACTION), _bits(emit, subnormal), normal)
    if form.has_infinity:
        last = ((1 << form.exponent_bits) - 1) << F32_FRACTION
        is_finite, special = _less(emit, shifted, last), _word(emit, "or", shifted, F32_INFINITY)
    else:
        nan = (1 << width) - 1
        is_finite, special = _less(emit, size, nan), constant(bits_of(float("nan"), F32), I32, a.lanes)
    return _float(emit, _word(emit, "or", emit.select(is_finite, result, special), sign))


def _narrowed_by_bits(emit: Emitter, a: Value, to: DType, form: Format) -> Value:
    width = form.exponent_bits + form.fraction_bits
    dropped = F32_FRACTION - form.fraction_bits
    bits = _bits(emit, a)
    size = _word(emit, "and", bits, 0x7FFF_FFFF)
    sign = _word(emit, "and", _word(emit, "lshr", bits, 31 - width), 1 << width)
    rebased = ((1 << (dropped - 1)) - 1) - ((F32_BIAS - form.bias) << F32_FRACTION)
    normal = _word(emit, "lshr", _rounded_up(emit, size, dropped, rebased), dropped)
    unit = 2.0 ** (form.smallest_exponent - form.fraction_bits + F32_FRACTION)
    subnormal = _bits(emit, _sum(emit, "fadd", _float(emit, size), unit))
    subnormal = _word(emit, "sub", subnormal, bits_of(unit, F32))
    first = (F32_BIAS + form.smallest_exponent) << F32_FRACTION
    result = emit.select(_less(emit, size, first), subnormal, normal)
    nan = constant(bits_of(float("nan"), to), I32, a.lanes)
    too_large = nan
    beyond = form.largest + (1 << (form.largest.bit_length() - 1 - form.fraction_bits))
    if form.has_infinity:
        infinity = constant(bits_of(float("inf"), to), I32, a.lanes)
        too_large = emit.select(_less(emit, size, F32_INFINITY + 1), infinity, nan)
    result = emit.select(_less(emit, size, bits_of(float(beyond), F32)), result, too_large)
    return _truncated(emit, _word(emit, "or", result, sign), to)


def _narrowed_to_bf16(emit: Emitter, a: Value) -> Value:
    bits = _bits(emit, a)
    rounded = _word(emit, "lshr", _rounded_up(emit, bits, 16, 0x7FFF), 16)
    quiet = _word(emit, "or", _word(emit, "lshr", bits, 16), 1 << (FORMATS[BF16].fraction_bits - 1))
    return _truncated(emit, emit.select(_is_nan(emit, a), quiet, rounded), BF16)


def _rounded_up(emit: Emitter, bits: Value, dropped: int, almost_half: int) -> Value:
    """Ready to lose `dropped` bits: rounded to nearest, ties to the even one."""
    odd = _word(emit, "and", _word(emit, "lshr", bits, dropped), 1)
    return _word(emit, "add", _word(emit, "add", bits, almost_half), odd)


# ---------------------------------------------------------------- any number to f32


def _as_f32(emit: Emitter, a: Value, to: DType) -> Value:
    """A number as an f32, of which the rounding to `to` is that of the number."""
    if a.dtype == F32:
        return a
    if a.dtype == F64:
        return _rounded_to_odd(emit, a)
    # Only in bf16 is an integer finite that is too large for an exact f32.
    if to == BF16 and a.dtype.bits > F32_FRACTION + 1:
        if a.dtype.bits == 32:
            return _converted(emit, _odd_integer(emit, a, 24), F32)
        return _rounded_to_odd(emit, _converted(emit, _odd_integer(emit, a, 53), F64))
    return _converted(emit, a, F32)


def _converted(emit: Emitter, a: Value, to: DType) -> Value:
    name = "sitofp" if a.dtype.is_signed else "uitofp"
    return emit.pure(f"{name} {a.typed} to {type_of(to, a.lanes)}", to, [a], a.lanes)


def _odd_integer(emit: Emitter, a: Value, kept: int) -> Value:
    """An integer rounded to odd, to `kept` bits, where it has more."""
    dropped = a.dtype.bits - kept
    large = constant(1 << kept, a.dtype, a.lanes)
    is_small = compare(emit, "<=", a, large)
    if a.dtype.is_signed:
        is_small = both(emit, is_small, compare(emit, ">=", a, constant(-(1 << kept), a.dtype, a.lanes)))
    low = constant((1 << dropped) - 1, a.dtype, a.lanes)
    zero = constant(0, a.dtype, a.lanes)
    rest = emit.pure(f"and {a.typed}, {low.text}", a.dtype, [a], a.lanes)
    sticky = emit.select(compare(emit, "==", rest, zero), zero, constant(1 << dropped, a.dtype, a.lanes))
    whole = emit.pure(f"xor {a.typed}, {rest.text}", a.dtype, [a, rest], a.lanes)
    odd = emit.pure(f"or {whole.typed}, {sticky.text}", a.dtype, [whole, sticky], a.lanes)
    return emit.select(is_small, a, odd)


def _rounded_to_odd(emit: Emitter, a: Value) -> Value:
    """The f32 neighbour of an f64 whose last bit is 1, unless the f64 is an f32."""
    rounded = emit.pure(f"fptrunc {a.typed} to {type_of(F32, a.lanes)}", F32, [a], a.lanes)
    found = emit.pure(f"fpext {rounded.typed} to {a.type}", F64, [rounded], a.lanes)
    bits = _bits(emit, rounded)
    is_even = compare(emit, "==", _word(emit, "and", bits, 1), constant(0, I32, a.lanes))
    # A float's bits grow with its magnitude.
    is_closer = compare(emit, "<", emit.intrinsic("fabs", [found]), emit.intrinsic("fabs", [a]))
    is_farther = compare(emit, ">", emit.intrinsic("fabs", [found]), emit.intrinsic("fabs", [a]))
    zero = constant(0, I32, a.lanes)
    step = emit.select(is_farther, constant(-1, I32, a.lanes), zero)
    step = emit.select(is_closer, constant(1, I32, a.lanes), step)
    step = emit.select(is_even, step, zero)
    return _float(emit, emit.pure(f"add {bits.typed}, {step.text}", I32, [bits, step], a.lanes))


# ---------------------------------------------------------------- words of 32 bits


def _word(emit: Emitter, op: str, a: Value, b: Value | int) -> Value:
    if isinstance(b, int):
        b = constant(b if b < 1 << 31 else b - (1 << 32), I32, a.lanes)
    return emit.pure(f"{op} {a.typed}, {b.text}", I32, [a, b], a.lanes)


def _less(emit: Emitter, a: Value, limit: int) -> Value:
    return compare(emit, "<", a, constant(limit, I32, a.lanes))


def _bits(emit: Emitter, a: Value) -> Value:
    return emit.pure(f"bitcast {a.typed} to {type_of(I32, a.lanes)}", I32, [a], a.lanes)


def _float(emit: Emitter, bits: Value) -> Value:
    return emit.pure(f"bitcast {bits.typed} to {type_of(F32, bits.lanes)}", F32, [bits], bits.lanes)


def _sum(emit: Emitter, op: str, a: Value, b: float) -> Value:
    return emit.pure(f"{op} {a.typed}, {constant(b, F32, a.lanes).text}", F32, [a], a.lanes)


def _is_nan(emit: Emitter, a: Value) -> Value:
    return compare(emit, "!=", a, a)


def _extended(emit: Emitter, a: Value) -> Value:
    return emit.pure(f"zext {a.typed} to {type_of(I32, a.lanes)}", I32, [a], a.lanes)


def _truncated(emit: Emitter, bits: Value, to: DType) -> Value:
    return emit.pure(f"trunc {bits.typed} to {type_of(to, bits.lanes)}", to, [bits], bits.lanes)
