"""log, log2 and log1p.

Method: x = 2**k * m with m in [sqrt(1/2), sqrt(2)) by the bits of x, f = m - 1 (exact). For f32,
log(1 + f) = f + f**2 * (-1/2 + f * P(f)); for f64, with s = f / (2 + f),
log(1 + f) = f - (f**2/2 - s * (f**2/2 + s**2 * L(s**2))), as in fdlibm's e_log.c. (P and L are ours.)
"""

from __future__ import annotations

from dataclasses import dataclass

from te.backends.llvm.math.code import Number, absolute, horner, multiply_add, select
from te.backends.llvm.math.exponential import FORMATS

# Minimax for ((log1p(f) - f) / f**2 + 1/2) / f; relative error of log1p 2^-27.
LOG_F32 = (
    0.333333313,
    -0.250008285,
    0.200012609,
    -0.166230634,
    0.142007008,
    -0.13162148,
    0.127705216,
    -0.0764060467,
)
# Minimax for (2*atanh(s) - 2*s) / s**3 in s**2; relative errors 2^-36 (rounded to f32 later) and 2^-58.
LOG_SHORT = (0.6666666563747805, 0.4000033724732206, 0.28537164229129947, 0.23585112988475293)
LOG_F64 = (
    0.6666666666666735,
    0.3999999999940837,
    0.28571428743979077,
    0.2222219839139519,
    0.18183574688897872,
    0.15313763197449135,
    0.14799035881662356,
)

_SQRT_HALF_BITS = {23: 0x3F3504F3, 52: 0x3FE6A09E667F3BCD}
# log(2) in two parts; k times the first is exact.
LOG2_PARTS = {23: (0.693359375, -2.12194440e-4), 52: (0.6931471803691238, 1.9082149292705877e-10)}


@dataclass(frozen=True, slots=True)
class Split:
    """x = 2**k * (1 + f)."""

    k: Number
    f: Number


def split(x: Number, *, has_subnormals: bool = True) -> Split:
    """Of a positive finite x; other values give numbers without meaning."""
    kind = FORMATS[x.dtype]
    offset = float(kind.bias)
    extra: Number | None = None
    if has_subnormals:
        is_small = x < 2.0 ** (1 - kind.bias)
        x = select(is_small, x * 2.0**kind.mantissa, x)
        extra = select(is_small, x.like(offset + kind.mantissa), offset)
    half = _SQRT_HALF_BITS[kind.mantissa]
    one = kind.bias << kind.mantissa
    shifted = x.bits() + (one - half)
    # The biased exponent becomes a float as the mantissa of a number of 2**mantissa.
    whole = 2.0**kind.mantissa
    exponent = (shifted >> kind.mantissa) | (kind.bias + kind.mantissa << kind.mantissa)
    k = exponent.as_float() - (whole + offset) if extra is None else exponent.as_float() - whole - extra
    m = ((shifted & ((1 << kind.mantissa) - 1)) + half).as_float()
    return Split(k, m - 1.0)


def log_of_quotient(f: Number, *, is_short: bool = False) -> tuple[Number, Number]:
    """f**2/2 and the rest of log(1 + f) = f - f**2/2 + rest."""
    s = f / (f + 2.0)
    z = s * s
    square = f * f * 0.5
    return square, s * multiply_add(horner(z, LOG_SHORT if is_short else LOG_F64), z, square)


def log_near_one(f: Number, *, is_short: bool = False) -> Number:
    """log(1 + f), a value a little too small in the last places of f64, where it is `is_short`."""
    square, rest = log_of_quotient(f, is_short=is_short)
    return f - (square - rest)


def _whole_range(x: Number, result: Number) -> Number:
    """The logarithm's values at 0, infinity, NaN and below 0."""
    special = select(x.equals(0.0), x.like(float("-inf")), float("nan"))
    result = select(x > 0.0, result, special)
    return select(x.equals(float("inf")), x, result)


def _sum_of_parts(parts: Split, correction: Number | None = None) -> Number:
    """k * log(2) + log(1 + f) + correction."""
    k, f = parts.k, parts.f
    high, low = LOG2_PARTS[FORMATS[f.dtype].mantissa]
    if f.is_f32:
        rest = multiply_add(horner(f, LOG_F32), f, -0.5) * (f * f)
        rest = multiply_add(k, low, rest)
        return multiply_add(k, high, f + rest)
    square, rest = log_of_quotient(f)
    rest = multiply_add(k, low, rest)
    if correction is not None:
        rest = rest + correction
    return multiply_add(k, high, f - (square - rest))


def log(x: Number) -> Number:
    return _whole_range(x, _sum_of_parts(split(x)))


def log1p(x: Number) -> Number:
    """log(u) + c / u, where u + c = 1 + x exactly (fdlibm, s_log1p.c). For f64."""
    u = x + 1.0
    of_x = u - 1.0
    c = (1.0 - (u - of_x)) + (x - of_x)
    result = _whole_range(u, _sum_of_parts(split(u, has_subnormals=False), c / u))
    return select(absolute(x) < 2.0**-54, x, result)  # keeps -0


def short_log(x: Number) -> Number:
    """log of a positive normal f64, with an error of 2^-36."""
    parts = split(x, has_subnormals=False)
    return multiply_add(parts.k, 0.6931471805599453, log_near_one(parts.f, is_short=True))


def short_log1p(x: Number) -> Number:
    """log1p of an f64 that was an f32 or is computed from one, with an error of 2^-36."""
    result = _whole_range(x + 1.0, short_log(x + 1.0))
    return select(absolute(x) < 2.0**-18, x - x * x * 0.5, result)


def short_log2(x: Number) -> Number:
    parts = split(x, has_subnormals=False)
    return multiply_add(log_near_one(parts.f, is_short=True), 1.4426950408889634, parts.k)


def log1p_f32(x: Number) -> Number:
    return short_log1p(x.widen()).narrow()


def log2_f32(x: Number) -> Number:
    return _whole_range(x, short_log2(x.widen()).narrow())


def log2(x: Number) -> Number:
    """For f64: log(1 + f) as a sum of two parts, times 1/log(2) in two parts (FreeBSD, e_log2.c)."""
    parts = split(x)
    f, k = parts.f, parts.k
    square, rest = log_of_quotient(f)
    high = ((f - square).bits() & -(1 << 32)).as_float()
    low = ((f - high) - square) + rest
    inverse_high, inverse_low = 1.44269504072144627571, 1.67517131648865118353e-10
    product = high * inverse_high  # exact
    tail = (low + high) * inverse_low + low * inverse_high
    total = k + product
    return _whole_range(x, (tail + ((k - total) + product)) + total)
