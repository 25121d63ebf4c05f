"""log, log2 and log1p.

Method: x = 2**k * m with m in [3/4, 3/2) by the bits of x or by instructions for it, f = m - 1 (exact). For f32,
log(1 + f) = f + f**2 * (-1/2 + f * P(f)); for f64, with s = f / (2 + f),
log(1 + f) = f - (f**2/2 - s * (f**2/2 + s**2 * L(s**2))), as in fdlibm's e_log.c. (P and L are ours.)
log2 of f32 is k + f + f * T(f): of its sum with f, f * T(f) is the smaller part, so its error counts less.

log1p: k is that of u = 1 + x rounded, and f = x / 2**k + (1 / 2**k - 1), so that f is x itself where k is 0.
"""

from __future__ import annotations

from dataclasses import dataclass

from te.backends.llvm.math.code import Number, clamp, copy_sign, horner, multiply_add, select, two_sum
from te.backends.llvm.math.exponential import FORMATS, power_of_two
from te.backends.llvm.math.parts import exponent_of, has_instructions, significand_of

# Minimax for ((log1p(f) - f) / f**2 + 1/2) / f, -1/4 <= f <= 1/2; relative error of log1p 2^-27.6.
LOG_F32 = (
    0.333334495,
    -0.250000964,
    0.199908362,
    -0.166472581,
    0.14478708,
    -0.131621372,
    0.104630602,
    -0.0450635865,
)
# Minimax for log2(1 + f) / f - 1; relative error of log2 2^-27.8.
LOG2_F32 = (
    0.442695035,
    -0.721347537,
    0.480900786,
    -0.360674891,
    0.288383459,
    -0.240146425,
    0.209106425,
    -0.190301431,
    0.15068127,
    -0.0643335971,
)
# Minimax for (2*atanh(s) - 2*s) / s**3 in s**2; 2^-61 of log.
LOG_F64 = (
    0.666666666666666,
    0.4000000000005679,
    0.2857142855580192,
    0.22222224299536658,
    0.18181665680156125,
    0.15391118790518765,
    0.13173476597449074,
    0.13843918060770455,
)
LOG_2 = 0.6931471805599453
LARGEST = {23: 3.4028234663852886e38, 52: 1.7976931348623157e308}


@dataclass(frozen=True, slots=True)
class Split:
    """x = 2**k * (1 + f) with -1/4 <= f < 1/2.

    Where the CPU has instructions for it, k is -infinity of 0 and infinity of infinity, with f = 0, and of a
    negative x f is NaN, so that sums with k are right. Elsewhere it means nothing for these (`_whole_range`).
    """

    k: Number
    f: Number


def split(x: Number, *, has_subnormals: bool = True) -> Split:
    if has_instructions(x):
        m = significand_of(x)
        return Split(exponent_of(x) - exponent_of(m), m - 1.0)
    kind = FORMATS[x.dtype]
    offset = float(kind.bias)
    extra: Number | None = None
    if has_subnormals:
        is_small = x < 2.0 ** (1 - kind.bias)
        x = select(is_small, x * 2.0**kind.mantissa, x)
        extra = select(is_small, x.like(offset + kind.mantissa), offset)
    quarter = 1 << (kind.mantissa - 2)
    one = kind.bias << kind.mantissa
    shifted = x.bits() + 2 * quarter  # [3/4, 3/2) and what is 2**k times as large have one exponent now
    # The biased exponent becomes a float as the mantissa of a number of 2**mantissa.
    whole = 2.0**kind.mantissa
    exponent = (shifted >> kind.mantissa) | (kind.bias + kind.mantissa << kind.mantissa)
    k = exponent.as_float() - (whole + offset) if extra is None else exponent.as_float() - whole - extra
    m = ((shifted & ((1 << kind.mantissa) - 1)) + (one - 2 * quarter)).as_float()
    return Split(k, m - 1.0)


def _log_of_quotient(f: Number) -> tuple[Number, Number]:
    """f**2/2 and the rest of log(1 + f) = f - f**2/2 + rest."""
    s = f / (f + 2.0)
    z = s * s
    square = f * f * 0.5
    return square, s * multiply_add(horner(z, LOG_F64), z, square)


def _whole_range(x: Number, result: Number) -> Number:
    """The logarithm's values at 0, infinity, NaN and below 0, where `split` does not see to them."""
    if has_instructions(x):
        return result
    special = select(x.equals(0.0), x.like(float("-inf")), float("nan"))
    result = select(x > 0.0, result, special)
    return select(x.equals(float("inf")), x, result)


def _sum_of_parts(parts: Split, correction: Number | None = None) -> Number:
    """k * log(2) + log(1 + f) + correction."""
    k, f = parts.k, parts.f
    kind = FORMATS[f.dtype]
    high, low = kind.log2_high, kind.log2_low  # both above 0: an infinite k meets no other sign
    if f.is_f32:
        rest = multiply_add(horner(f, LOG_F32), f, -0.5) * (f * f)
        if correction is not None:
            rest = rest + correction
        rest = multiply_add(k, low, rest)
        return multiply_add(k, high, f + rest)
    square, rest = _log_of_quotient(f)
    rest = multiply_add(k, low, rest)
    if correction is not None:
        rest = rest + correction
    return multiply_add(k, high, f - (square - rest))


def log(x: Number) -> Number:
    return _whole_range(x, _sum_of_parts(split(x)))


def log1p(x: Number) -> Number:
    return copy_sign(log1p_of_sum(x), x)  # of -0 it is -0


def log1p_of_sum(x: Number, low: Number | None = None, doublings: Number | None = None) -> Number:
    """log(1 + x + low) + doublings * log(2), where x + low is x, rounded."""
    u = x + 1.0
    parts = split(u, has_subnormals=False)
    if has_instructions(x):
        # Of u = 0 and u = infinity, k is infinite; f has to be any number there.
        scale = power_of_two(-clamp(parts.k, -100.0, None))
        f = multiply_add(clamp(x, None, LARGEST[FORMATS[x.dtype].mantissa]), scale, scale - 1.0)
    else:
        # u may be so large that 2**-k is subnormal: then what it lacks of 1 + x does not count.
        scale = power_of_two(-clamp(parts.k, None, 100.0))
        f = multiply_add(two_sum(x, x.like(1.0))[1], scale, parts.f)
    k = parts.k if doublings is None else parts.k + doublings
    correction = None if low is None else low * scale
    return _whole_range(u, _sum_of_parts(Split(k, f), correction))


def log2(x: Number) -> Number:
    """f64: log(1 + f) as a sum of two parts, times 1/log(2) in two parts (FreeBSD, e_log2.c)."""
    parts = split(x)
    f, k = parts.f, parts.k
    if x.is_f32:
        return _whole_range(x, multiply_add(horner(f, LOG2_F32), f, k + f))
    square, rest = _log_of_quotient(f)
    high = ((f - square).bits() & -(1 << 32)).as_float()
    low = ((f - high) - square) + rest
    inverse_high, inverse_low = 1.44269504072144627571, 1.67517131648865118353e-10
    tail = (low + high) * inverse_low + low * inverse_high
    return _whole_range(x, k + multiply_add(high, inverse_high, tail))  # the product is exact
