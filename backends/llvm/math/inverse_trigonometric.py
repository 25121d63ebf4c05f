"""asin, acos, atan and atan2.

asin and acos: a polynomial on |x| <= 1/2, and asin(x) = pi/2 - 2*asin(sqrt((1 - x)/2)) beyond, as in
fdlibm (e_asin.c, e_acos.c); (1 - x)/2 is exact there. atan: a polynomial on |x| <= 1, and
atan(x) = pi/2 - atan(1/x) beyond. The polynomials are minimax, ours.
"""

from __future__ import annotations

from dataclasses import dataclass

from te.backends.llvm.math.code import (
    Number,
    absolute,
    copy_sign,
    fast_two_sum,
    horner,
    multiply_add,
    select,
    square_root,
)
from te.ir.types import F32, F64

# (asin(x) - x) / x**3 in x**2, |x| <= 1/2: 2^-27.6 and 2^-59.8.
ASIN_F32 = (0.166667551, 0.074951984, 0.045483131, 0.0241152197, 0.0422776565)
ASIN_F64 = (
    0.16666666666666766,
    0.07499999999969417,
    0.04464285717597087,
    0.03038194264088974,
    0.02237221691505095,
    0.017351576697523075,
    0.013981251562286348,
    0.011395327173151547,
    0.010800657743082882,
    0.0036282057910993343,
    0.021900385363145442,
    -0.021275780560744202,
    0.03280393283579764,
)
# (atan(x) - x) / x**3 in x**2, |x| <= 1: 2^-28.5 and 2^-60.
ATAN_F32 = (
    -0.333332986,
    0.199985489,
    -0.142642438,
    0.109521948,
    -0.0840347558,
    0.057958018,
    -0.0311782565,
    0.0109148184,
    -0.00179366744,
)
ATAN_F64 = (
    -0.33333333333333287,
    0.19999999999990445,
    -0.14285714285036552,
    0.11111111086445465,
    -0.0909090854722382,
    0.07692299711396272,
    -0.0666658371937754,
    0.05881716130829175,
    -0.052594336689909975,
    0.04744925641415177,
    -0.0428638944840396,
    0.03821002827576251,
    -0.03278536077428073,
    0.02615156599288705,
    -0.018614083699847926,
    0.011317549626087327,
    -0.005612320790611335,
    0.002151555967068571,
    -0.0005928825898471226,
    0.00010386971130017953,
    -8.653998174012314e-06,
)


@dataclass(frozen=True, slots=True)
class Parts:
    """pi and pi/2 as sums of two numbers."""

    pi: tuple[float, float]
    half: tuple[float, float]


PI = {
    F32: Parts((3.1415927410125732, -8.742278e-08), (1.5707963705062866, -4.371139e-08)),
    F64: Parts((3.141592653589793, 1.2246467991473532e-16), (1.5707963267948966, 6.123233995736766e-17)),
}


def _arcsine(t: Number, z: Number) -> tuple[Number, Number]:
    """asin(t) = t + second, with z = t**2 <= 1/4."""
    return t, horner(z, ASIN_F32 if t.is_f32 else ASIN_F64) * z * t


def _root(a: Number, is_large: Number) -> tuple[Number, Number]:
    """The argument of the polynomial and its square: |x|, or sqrt((1 - |x|)/2)."""
    square = select(is_large, (1.0 - a) * 0.5, a * a)
    return select(is_large, square_root(square), a), square


def asin(x: Number) -> Number:
    a = absolute(x)
    is_large = a > 0.5
    t, second = _arcsine(*_root(a, is_large))
    high, low = PI[x.dtype].half
    beyond, error = fast_two_sum(x.like(high), t * -2.0)
    beyond = beyond + (error + (low - second * 2.0))
    return copy_sign(select(is_large, beyond, t + second), x)


def acos(x: Number) -> Number:
    a = absolute(x)
    is_large = a > 0.5
    t, second = _arcsine(*_root(a, is_large))
    high, low = PI[x.dtype].half
    is_negative = x < 0.0
    near_zero = high - select(is_negative, -t - (second + low), t + (second - low))
    near_one = (t + second) * 2.0
    pi_high, pi_low = PI[x.dtype].pi
    near_minus_one = pi_high - (near_one - pi_low)
    return select(is_large, select(is_negative, near_minus_one, near_one), near_zero)


def _arctangent(t: Number) -> Number:
    """atan(t) for 0 <= t <= 1."""
    z = t * t
    return multiply_add(horner(z, ATAN_F32 if t.is_f32 else ATAN_F64) * z, t, t)


def atan(x: Number) -> Number:
    a = absolute(x)
    is_large = a > 1.0
    part = _arctangent(select(is_large, 1.0 / a, a))
    high, low = PI[x.dtype].half
    return copy_sign(select(is_large, high - (part - low), part), x)


def atan2(y: Number, x: Number) -> Number:
    """The angle of (x, y), from atan(smaller / larger), reflected twice."""
    a, b = absolute(y), absolute(x)
    is_steep = a > b
    small, large = select(is_steep, b, a), select(is_steep, a, b)
    # 0/0 counts as 0, inf/inf as 1.
    ratio = select(small.equals(large), select(large.equals(0.0), small, 1.0), small / large)
    part = _arctangent(ratio)
    (pi, pi_low), (half, half_low) = PI[x.dtype].pi, PI[x.dtype].half
    part = select(is_steep, half - (part - half_low), part)
    is_left = x.bits() < 0  # -0 too
    part = select(is_left, pi - (part - pi_low), part)
    return select(x.is_unordered(y), x + y, copy_sign(part, y))
