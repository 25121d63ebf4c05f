"""sinh, cosh, tanh and their inverses, from expm1, exp and log1p as in fdlibm (e_sinh.c, s_asinh.c, ...).

f32: tanh and cosh in f32; the others are computed in f64 with short polynomials and rounded once.
"""

from __future__ import annotations

from te.backends.llvm.math.code import (
    Number,
    absolute,
    clamp,
    copy_sign,
    horner,
    multiply_add,
    select,
    square_root,
)
from te.backends.llvm.math.exponential import FORMATS, exp_in_range, less_one, quarter_of_expm1, reduce
from te.backends.llvm.math.logarithm import log1p, short_log1p

# Minimax for (tanh(x) - x) / x**3 in x**2, |x| <= 0.626: 2^-28.
TANH_F32 = (-0.333332837, 0.133314714, -0.0537417047, 0.0206442792, -0.00570956012)
LOG_2 = 0.6931471805599453


def tanh(x: Number) -> Number:
    """f32: the polynomial below 0.625 (Cephes, tanhf.c, with our coefficients), else 1 - 2 / (exp(2|x|) + 1)."""
    a = absolute(x)
    if x.is_f32:
        z = x * x
        near_zero = multiply_add(horner(z, TANH_F32) * z, x, x)
        bounded = clamp(a, None, 10.0)
        beyond = 1.0 - 2.0 / (exp_in_range(bounded + bounded) + 1.0)
        return copy_sign(select(a < 0.625, near_zero, beyond), x)
    bounded = clamp(a, None, 22.0)
    t = quarter_of_expm1(bounded + bounded) * 4.0
    is_small = a < 1.0
    part = select(is_small, t, 2.0) / (t + 2.0)
    result = select(is_small, part, 1.0 - part)
    return copy_sign(select(a < 2.0**-28, a, result), x)


def sinh(x: Number) -> Number:
    """(t + t / (t + 1)) / 2 with t = exp(|x|) - 1."""
    is_f32 = x.is_f32
    wide = x.widen() if is_f32 else x
    a = absolute(wide)
    quarter = quarter_of_expm1(clamp(a, None, 100.0 if is_f32 else 710.7), is_short=is_f32)
    t = quarter * 4.0
    result = (quarter + quarter / (t + 1.0)) * 2.0
    # t + 1 may be infinite already while the result is not; its second term is nothing then.
    result = copy_sign(select(a < 2.0**-28, a, result), wide)
    return result.narrow() if is_f32 else result


def cosh(x: Number) -> Number:
    """2 * (w + 1/16 / w) with w = exp(|x|) / 4, which overflows no sooner than the result."""
    kind = FORMATS[x.dtype]
    power, r = reduce(clamp(absolute(x), None, kind.highest + 0.7))
    w = (less_one(r) + 1.0) * power.value(-2)
    return (w + 0.0625 / w) * 2.0


def _log1p(x: Number, *, is_f32: bool) -> Number:
    return short_log1p(x) if is_f32 else log1p(x)


def asinh(x: Number) -> Number:
    """log1p(|x| + x**2 / (1 + sqrt(1 + x**2))); log(|x|) + log(2) for large x."""
    is_f32 = x.is_f32
    wide = x.widen() if is_f32 else x
    a = absolute(wide)
    is_large = a > 2.0**28
    square = a * a
    term = select(is_large, a - 1.0, a + square / (square_root(square + 1.0) + 1.0))
    result = _log1p(term, is_f32=is_f32)
    result = select(is_large, result + LOG_2, result)
    result = copy_sign(select(a < 2.0**-28, a, result), wide)
    return result.narrow() if is_f32 else result


def acosh(x: Number) -> Number:
    """log1p(t + sqrt(2t + t**2)) with t = x - 1; log(x) + log(2) for large x; NaN below 1."""
    is_f32 = x.is_f32
    wide = x.widen() if is_f32 else x
    is_large = wide > 2.0**28
    t = wide - 1.0
    term = select(is_large, t, t + square_root(t * (t + 2.0)))
    result = _log1p(term, is_f32=is_f32)
    result = select(is_large, result + LOG_2, result)
    result = select(wide < 1.0, float("nan"), result)
    return result.narrow() if is_f32 else result


def atanh(x: Number) -> Number:
    """log1p(2|x| / (1 - |x|)) / 2."""
    is_f32 = x.is_f32
    wide = x.widen() if is_f32 else x
    a = absolute(wide)
    result = _log1p((a + a) / (1.0 - a), is_f32=is_f32) * 0.5
    result = copy_sign(select(a < 2.0**-28, a, result), wide)
    return result.narrow() if is_f32 else result
