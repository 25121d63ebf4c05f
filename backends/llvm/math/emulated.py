"""What a CPU may lack, from other instructions, to the same bits: f32 multiply-adds, rounding to whole numbers.

LLVM calls the C library for them, once for each lane, with all vector registers saved around each call.
"""

from __future__ import annotations

from te.backends.llvm.math.code import (
    Number,
    absolute,
    copy_sign,
    floored,
    rounded_to_even,
    select,
    truncated,
    two_sum,
)
from te.ir.types import I64


def fused_multiply_add(a: Number, b: Number, c: Number) -> Number:
    """`a * b + c` of f32, rounded once.

    In f64 the product is exact, and the sum is rounded to odd; rounded again, to f32, that is what one
    rounding gives (Boldo & Melquiond, "Emulation of FMA and correctly rounded sums", 2008, theorem 3).
    """
    total, error = two_sum(a.widen() * b.widen(), c.widen())
    is_inexact = (absolute(error) > 0.0).unsigned_to(I64)  # not of infinities and NaN, whose error is NaN
    # Where the error has the other sign, the sum was rounded away from zero: its neighbour is the truncated one.
    away = (total.bits() ^ error.bits()) >> 63
    odd = (total.bits() - (away & is_inexact)) | is_inexact
    return odd.as_float().narrow()


def round_to_even(x: Number) -> Number:
    if x.code.module.has_rounding:
        return rounded_to_even(x)
    size = absolute(x)
    return copy_sign(_whole(size), x)


def truncate(x: Number) -> Number:
    if x.code.module.has_rounding:
        return truncated(x)
    size = absolute(x)
    whole = _whole(size)
    return copy_sign(select(whole > size, whole - 1.0, whole), x)


def floor(x: Number) -> Number:
    if x.code.module.has_rounding:
        return floored(x)
    whole = round_to_even(x)
    return copy_sign(select(whole > x, whole - 1.0, whole), x)


def ceil(x: Number) -> Number:
    whole = round_to_even(x)
    return copy_sign(select(whole < x, whole + 1.0, whole), x)  # -0 for what is above -1


def _whole(size: Number) -> Number:
    """A number >= 0 rounded by an addition: from 2**23 on (f64: 2**52) all floats are whole. NaN stays."""
    limit = 2.0**23 if size.is_f32 else 2.0**52
    return select(size < limit, (size + limit) - limit, size)
