"""sinh, cosh, tanh and their inverses, from exp, expm1 and log1p (in outline as fdlibm's e_sinh.c, s_asinh.c, ...)."""

from __future__ import annotations

from te.backends.llvm.math.code import (
    Number,
    absolute,
    clamp,
    copy_sign,
    fast_two_sum,
    horner,
    multiply_add,
    product_error,
    select,
    square_root,
)
from te.backends.llvm.math.emulated import floor
from te.backends.llvm.math.exponential import (
    FORMATS,
    LOG2_E,
    less_one,
    power_of_two,
    quarter_of_expm1,
    reduce,
)
from te.backends.llvm.math.logarithm import log1p_of_sum

# Minimax for (exp(r) - 1 - r) / r**2, 0 <= r <= log(2): 2^-31.7 of expm1.
EXP_ABOVE_F32 = (0.499999973, 0.166667444, 0.0416593147, 0.00836498598, 0.00132097626, 0.000267998865)
# Minimax for (sinh(x) - x) / x**3 in x**2, |x| <= 1: 2^-34.
SINH_F32 = (0.166666665, 0.00833335016, 0.000198361395, 2.81707499e-06)


def tanh(x: Number) -> Number:
    """t / (t + 2) with t = exp(2|x|) - 1, for f64 beyond 1 as 1 - 2 / (t + 2).

    f32: exp is reduced to r >= 0, so that t = 2**n * (exp(r) - 1) + (2**n - 1) is a sum of what has one sign.
    """
    a = absolute(x)
    if x.is_f32:
        bounded = clamp(a, None, 10.0)
        doubled = bounded + bounded
        kind = FORMATS[x.dtype]
        n = floor(doubled * LOG2_E)
        r = multiply_add(n, -kind.log2_low, multiply_add(n, -kind.log2_high, doubled))
        scale = power_of_two(n)
        t = multiply_add(scale, multiply_add(horner(r, EXP_ABOVE_F32), r * r, r), scale - 1.0)
        quotient = t / (t + 2.0)
        # t/2 - t/2 * quotient is the same, and the rounding errors of the quotient count less for small t.
        half = t * 0.5
        return copy_sign(select(t < 1.0, multiply_add(-half, quotient, half), quotient), x)
    bounded = clamp(a, None, 22.0)
    t = quarter_of_expm1(bounded + bounded) * 4.0
    is_small = a < 1.0
    part = select(is_small, t, 2.0) / (t + 2.0)
    result = select(is_small, part, 1.0 - part)
    return copy_sign(select(a < 2.0**-28, a, result), x)


def sinh(x: Number) -> Number:
    """f64: (t + t / (t + 1)) / 2 with t = exp(|x|) - 1. f32: a polynomial to 1, then (exp(|x|) - exp(-|x|)) / 2."""
    a = absolute(x)
    if x.is_f32:
        z = x * x
        near_zero = multiply_add(horner(z, SINH_F32) * z, x, x)
        power, r = reduce(clamp(a, None, 89.5))
        scale, p = power.value(-2), less_one(r)
        # exp(|x|) / 4 = scale + scale * p, whose first part is exact
        rest = multiply_add(scale, p, -0.0625 / multiply_add(scale, p, scale))
        return select(a < 1.0, near_zero, copy_sign((scale + rest) * 2.0, x))
    quarter = quarter_of_expm1(clamp(a, None, 710.7))
    t = quarter * 4.0
    result = (quarter + quarter / (t + 1.0)) * 2.0
    # t + 1 may be infinite already while the result is not; its second term is nothing then.
    return copy_sign(select(a < 2.0**-28, a, result), x)


def cosh(x: Number) -> Number:
    """2 * (w + 1/16 / w) with w = exp(|x|) / 4, which overflows no sooner than the result."""
    kind = FORMATS[x.dtype]
    power, r = reduce(clamp(absolute(x), None, kind.highest + 0.7))
    w = (less_one(r) + 1.0) * power.value(-2)
    return (w + 0.0625 / w) * 2.0


# The inverses are log1p of a sum, whose rounding error is taken along.

LARGE = 2.0**30  # beyond, they are log(x) + log(2), and x - 1 has the logarithm of x


def asinh(x: Number) -> Number:
    """log1p(|x| + x**2 / (1 + sqrt(1 + x**2)))."""
    a = absolute(x)
    is_large = a > LARGE
    square = a * a
    rest = square / (square_root(multiply_add(a, a, 1.0)) + 1.0)
    return copy_sign(_log1p_of_sum(a, a, rest, is_large), x)


def acosh(x: Number) -> Number:
    """log1p(t + sqrt(2t + t**2)) with t = x - 1; NaN below 1."""
    t = x - 1.0
    root = square_root(multiply_add(t, t, t + t))
    return select(x < 1.0, float("nan"), _log1p_of_sum(x, root, t, x > LARGE))


def _log1p_of_sum(x: Number, larger: Number, smaller: Number, is_large: Number) -> Number:
    total, low = fast_two_sum(larger, smaller)
    total = select(is_large, x - 1.0, total)
    low = select(is_large, 0.0, low)
    return log1p_of_sum(total, low, select(is_large, x.like(1.0), 0.0))


def atanh(x: Number) -> Number:
    """log1p(2|x| / (1 - |x|)) / 2, with the errors of the difference and of the quotient."""
    a = absolute(x)
    below = 1.0 - a
    below_low = (1.0 - below) - a
    inverse = 1.0 / below
    doubled = a + a
    quotient = doubled * inverse
    low = (product_error(quotient, below, doubled) - quotient * below_low) * inverse
    result = log1p_of_sum(quotient, select(a < 1.0, low, 0.0)) * 0.5
    return copy_sign(result, x)
