"""x ** y of floats: 2**(y * log2(|x|)), with the sign and the special cases of C's pow (IEEE 754-2019, 9.2.1).

f32 in f64. f64: log2(|x|) as a sum of two numbers good to 2^-64 or better, because a product of up to
1075 multiplies its error (as in fdlibm's e_pow.c; here with s = f / (2 + f) as a sum of two).
"""

from __future__ import annotations

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
from te.backends.llvm.math.emulated import truncate
from te.backends.llvm.math.exponential import EXP2_F64, EXP2_SHORT, round_to_power
from te.backends.llvm.math.logarithm import short_log2, split

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


def pow(x: Number, y: Number) -> Number:
    size = absolute(x)
    magnitude = _pow_short(size.widen(), y.widen()).narrow() if x.is_f32 else _pow_long(size, y)
    return _with_special_cases(x, y, size, magnitude)


def _pow_short(size: Number, y: Number) -> Number:
    log = short_log2(size)
    log = select(size.equals(0.0), float("-inf"), select(size < float("inf"), log, size))
    exponent = clamp(y * log, -200.0, 200.0)
    power = round_to_power(exponent, 1.0)
    return multiply_add(horner(exponent - power.n, EXP2_SHORT), exponent - power.n, 1.0) * power.value()


def _pow_long(size: Number, y: Number) -> Number:
    high, low = _log2(size)
    # Huge y would overflow in the exact product; their result is 0, 1 or infinite all the same.
    bounded = clamp(y, -(2.0**100), 2.0**100)
    product, error = two_product(high, bounded)
    error = error + low * bounded
    is_special = size.equals(0.0) | size.equals(float("inf"))
    product = select(is_special, select(size.equals(0.0), bounded.like(float("-inf")), size) * y, product)
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


def _with_special_cases(x: Number, y: Number, size: Number, magnitude: Number) -> Number:
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
