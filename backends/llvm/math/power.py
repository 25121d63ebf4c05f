"""x ** y of floats: 2**(y * log2(|x|)), with the sign and the special cases of C's pow (IEEE 754-2019, 9.2.1).

f32: the logarithm and the product in f64, 2**fraction in f32. f64: log2(|x|) as a sum of two numbers good to
2^-64 or better, because a product of up to 1075 multiplies its error (as in fdlibm's e_pow.c; here with
s = f / (2 + f) as a sum of two). What only special cases need stands in a block of its own.
"""

from __future__ import annotations

from collections.abc import Callable

from te.backends.llvm.math.code import (
    Number,
    absolute,
    clamp,
    fast_two_sum,
    horner,
    multiply_add,
    select,
    two_product,
    two_sum,
)
from te.backends.llvm.math.emulated import round_to_even, truncate
from te.backends.llvm.math.exponential import EXP2_F32, EXP2_F64, round_to_power, with_shifted
from te.backends.llvm.math.logarithm import split

# Minimax for (2*atanh(s) - 2*s - 2/3*s**3) / s**5 in s**2: 2^-69 of log(1 + f).
LOG_TAIL = (
    0.3999999999999972,
    0.28571428571579865,
    0.22222222190793564,
    0.18181821567008213,
    0.1538440458935736,
    0.1334120300120895,
    0.11591480569455236,
    0.12576835502331335,
)


# Minimax for log2((1 + s) / (1 - s)) / s in s**2: 2^-35.5.
LOG2_SHORT = (
    2.8853900818364315,
    0.9617966212966146,
    0.5770924181635954,
    0.41120269423919026,
    0.3484468615830581,
)


def pow(x: Number, y: Number) -> Number:
    return with_special_cases(x, y, _pow_short if x.is_f32 else _pow_long)


def with_special_cases(x: Number, y: Number, positive: Callable[[Number, Number], Number]) -> Number:
    """`x ** y`, from a function that is right for finite x > 0 and finite y."""
    x, y = x.frozen(), y.frozen()
    size = absolute(x)
    magnitude = positive(size, y)
    infinity = float("inf")
    is_usual = (x > 0.0) & (x < infinity) & (absolute(y) < infinity)
    [result] = x.code.unlikely(
        ~is_usual, [magnitude], lambda: [_special_cases(x, y, size, _at_limits(size, y, magnitude))]
    )
    return result


def _at_limits(size: Number, y: Number, magnitude: Number) -> Number:
    """The power of 0 and of infinity."""
    infinity = float("inf")
    is_zero = size.equals(0.0)
    limit = select(is_zero ^ (y < 0.0), size.like(0.0), infinity)
    return select(is_zero | size.equals(infinity), limit, magnitude)


def _pow_short(size: Number, y: Number) -> Number:
    parts = split(size)
    f = parts.f.widen()
    # s = f / (2 + f): a quotient of f32 numbers, and one step of Newton's.
    inverse = (1.0 / (parts.f + 2.0)).widen()
    s = f * inverse
    s = multiply_add(multiply_add(-s, f + 2.0, f), inverse, s)
    log = multiply_add(s, horner(s * s, LOG2_SHORT), parts.k.widen())
    exponent = clamp(y.widen() * log, -200.0, 200.0)
    n = round_to_even(exponent)
    r = (exponent - n).narrow()
    return with_shifted(n.narrow()).times(multiply_add(horner(r, EXP2_F32), r, 1.0))


def _pow_long(size: Number, y: Number) -> Number:
    high, low = _log2(size)
    # Huge y would overflow in the exact product; their result is 0, 1 or infinite all the same.
    bounded = clamp(y, -(2.0**100), 2.0**100)
    product, error = two_product(high, bounded)
    error = error + low * bounded
    exponent = clamp(product, -1100.0, 1100.0)
    error = select(absolute(product) < 1100.0, error, 0.0)
    power = round_to_power(exponent, 1.0)
    r = (exponent - power.n) + error
    return power.times(multiply_add(horner(r, EXP2_F64), r, 1.0))


def _log2(size: Number) -> tuple[Number, Number]:
    """log2 of a positive finite number as a sum of two."""
    parts = split(size)
    f, k = parts.f, parts.k
    # s = f / (2 + f) as a sum of two.
    below = f + 2.0
    below_low = f - (below - 2.0)
    s = f / below
    back, back_low = two_product(s, below)
    s_low = ((f - back) - back_low - s * below_low) / below
    # log(1 + f) = 2s + s**3 * (2/3 + s**2 * tail)
    z, z_low = two_product(s, s)
    z_low = z_low + s * s_low * 2.0
    factor, factor_low = fast_two_sum(z.like(0.6666666666666666), horner(z, LOG_TAIL) * z)
    factor_low = factor_low + 3.700743415417188e-17
    cube, cube_low = _product((z, z_low), (s, s_low))
    third, third_low = _product((cube, cube_low), (factor, factor_low))
    log, log_low = fast_two_sum(s * 2.0, third)
    log, log_low = fast_two_sum(log, log_low + (s_low * 2.0 + third_low))
    # times 1/log(2), plus k
    inverse = log.like(1.4426950408889634), log.like(2.0355273740931033e-17)
    log, log_low = _product((log, log_low), inverse)
    total, total_low = two_sum(k, log)
    return fast_two_sum(total, total_low + log_low)


def _product(a: tuple[Number, Number], b: tuple[Number, Number]) -> tuple[Number, Number]:
    """The product of two sums of two."""
    high, low = two_product(a[0], b[0])
    return high, low + (a[0] * b[1] + a[1] * b[0])


def _special_cases(x: Number, y: Number, size: Number, magnitude: Number) -> Number:
    infinity = float("inf")
    # Floats beyond 2**mantissa are even integers; so count infinities. Odd: an integer, and y/2 is none.
    is_integer = truncate(y).equals(y)
    half = y * 0.5
    is_odd = is_integer & ~truncate(half).equals(half)
    is_negative = x.bits() < 0  # -0 too
    result = select(is_negative & is_odd, -magnitude, magnitude)
    has_no_power = (x < 0.0) & (size < infinity) & ~is_integer
    result = select(has_no_power, float("nan"), result)
    result = select(x.is_unordered(y), x + y, result)
    is_one = select(absolute(y).equals(infinity), size, x).equals(1.0)  # (-1) ** inf is 1 too
    return select(is_one | y.equals(0.0), 1.0, result)
