"""exp, exp2, expm1 and sigmoid.

Method: x = n*log(2) + r with |r| <= log(2)/2, log(2) in two parts of which the first has so few bits
that its product with n is exact (Cody & Waite, "Software Manual for the Elementary Functions", 1980,
chapter 6), a minimax polynomial for exp(r), and 2**n put into the exponent field. `n` is rounded by
adding 1.5 * 2**(bits of the mantissa), which leaves the integer in the low bits of the sum
(Hacker's Delight, section 17-3): no conversion, on no machine slow.
"""

from __future__ import annotations

from dataclasses import dataclass

from te.backends.llvm.math.code import (
    Number,
    absolute,
    clamp,
    horner,
    multiply_add,
    select,
)
from te.backends.llvm.math.parts import has_instructions, scale_by_power
from te.ir.types import F32, F64

LOG2_E = 1.4426950408889634


@dataclass(frozen=True, slots=True)
class Format:
    """What the methods here know of a float type."""

    mantissa: int
    bias: int
    shifter: float  # added, it rounds to an integer
    log2_high: float
    log2_low: float
    lowest: float  # below, exp is 0
    highest: float  # above, it is infinite


FORMATS = {
    F32: Format(23, 127, 1.5 * 2**23, 0.693145751953125, 1.42860682030941723212e-6, -104.0, 89.0),
    F64: Format(52, 1023, 1.5 * 2**52, 0.6931471803691238, 1.9082149292705877e-10, -746.0, 710.0),
}

# Minimax for (exp(r) - 1 - r) / r**2 on |r| <= 0.347. Relative errors of exp: 2^-28 (for f32),
# 2^-34 (f64 that will be rounded to f32), 2^-62 of expm1 (f64).
EXP_F32 = (0.49999994, 0.166665196, 0.0416683927, 0.00836878084, 0.00138144731)
EXP_SHORT = (
    0.5000000044374673,
    0.16666666365714916,
    0.04166635981235092,
    0.008333390162298728,
    0.0013940722931583078,
    0.00019845614613341357,
)
EXP_F64 = (
    0.5,
    0.16666666666666677,
    0.041666666666666505,
    0.008333333333321606,
    0.0013888888888962938,
    0.00019841269886208433,
    2.4801587169769812e-05,
    2.7557244103614272e-06,
    2.755740300090209e-07,
    2.5109081621636523e-08,
    2.0875310657140833e-09,
)
# Minimax for (2**r - 1) / r on |r| <= 0.501: 2^-29 and 2^-64.
EXP2_F32 = (0.693147182, 0.240226507, 0.0555032715, 0.00961800292, 0.00134005432, 0.000154765788)
EXP2_F64 = (
    0.6931471805599453,
    0.24022650695910072,
    0.0555041086648217,
    0.009618129107628496,
    0.0013333558146389846,
    0.00015403530393339973,
    1.5252733856856038e-05,
    1.3215486833887537e-06,
    1.0178050933038369e-07,
    7.054887964217802e-09,
    4.456717833880332e-10,
    2.5742184065126838e-11,
)


def polynomial_of(x: Number, *, is_short: bool = False) -> tuple[float, ...]:
    if x.dtype == F32:
        return EXP_F32
    return EXP_SHORT if is_short else EXP_F64


@dataclass(frozen=True, slots=True)
class Power:
    """2**n, with n as a float and, shifted by `Format.shifter`, as `shifted`."""

    n: Number
    shifted: Number

    def value(self, plus: int = 0) -> Number:
        """2**(n + plus), which must be a normal number."""
        kind = FORMATS[self.n.dtype]
        return ((self.shifted.bits() << kind.mantissa) + ((kind.bias + plus) << kind.mantissa)).as_float()

    def times(self, x: Number) -> Number:
        """x * 2**n, rounded once, whatever n: in two factors, the second of which may round."""
        if has_instructions(x):
            return scale_by_power(x, self.n)
        kind = FORMATS[x.dtype]
        half = multiply_add(self.n, 0.5, kind.shifter)
        first = Power(self.n, half)
        second = Power(self.n, self.shifted - (half - kind.shifter))
        return x * first.value() * second.value()


def with_shifted(n: Number) -> Power:
    """2**n for a whole n."""
    return Power(n, n + FORMATS[n.dtype].shifter)


def power_of_two(n: Number) -> Number:
    """2**n, a normal number, for a whole n."""
    if has_instructions(n):
        return scale_by_power(n.like(1.0), n)
    return with_shifted(n).value()


def round_to_power(x: Number, scale: float) -> Power:
    shifter = FORMATS[x.dtype].shifter
    shifted = multiply_add(x, scale, shifter) if scale != 1 else x + shifter
    return Power(shifted - shifter, shifted)


def reduce(x: Number) -> tuple[Power, Number]:
    """n and r with x = n*log(2) + r."""
    kind = FORMATS[x.dtype]
    power = round_to_power(x, LOG2_E)
    # The first product is exact, and so is the difference, fused or not.
    r = multiply_add(power.n, -kind.log2_high, x)
    return power, multiply_add(power.n, -kind.log2_low, r)


def less_one(r: Number, *, is_short: bool = False) -> Number:
    """exp(r) - 1 for |r| <= log(2)/2."""
    return multiply_add(horner(r, polynomial_of(r, is_short=is_short)), r * r, r)


def exp(x: Number) -> Number:
    kind = FORMATS[x.dtype]
    power, r = reduce(clamp(x, kind.lowest, kind.highest))
    return power.times(less_one(r) + 1.0)


def exp_in_range(x: Number, *, is_short: bool = False) -> Number:
    """exp for arguments whose result is a normal number: without the clamps, in one factor."""
    power, r = reduce(x)
    return (less_one(r, is_short=is_short) + 1.0) * power.value()


def exp2(x: Number) -> Number:
    kind = FORMATS[x.dtype]
    x = clamp(x, -kind.bias - kind.mantissa - 2.0, kind.bias + 2.0)
    power = round_to_power(x, 1.0)
    r = x - power.n
    return power.times(multiply_add(horner(r, EXP2_F32 if x.is_f32 else EXP2_F64), r, 1.0))


def quarter_of_expm1(x: Number) -> Number:
    """(exp(x) - 1) / 4, which is finite a little beyond the largest exp(x): of 2**(n-2) * (exp(r) - 1 + 1) - 1/4.

    x > -100, and exp(x) at most 4 times the largest number.
    """
    power, r = reduce(x)
    scale = power.value(-2)
    return multiply_add(scale, less_one(r), scale - 0.25)


def expm1(x: Number) -> Number:
    kind = FORMATS[x.dtype]
    result = quarter_of_expm1(clamp(x, -50.0, kind.highest + 0.4)) * 4.0
    return select(absolute(x) < 2.0**-60, x, result)  # keeps -0 and subnormals


def sigmoid(x: Number) -> Number:
    """1 / (1 + exp(-x)), with exp(-x) = 2**n * (1 + p) as 1 / ((1 + 2**n) + 2**n * p).

    1 + 2**n is exact, or 2**n is so large that 1 is added to the smaller part.

    Where exp(-x) is so large that 1 is nothing beside it, all of 2**n but a factor is applied to the
    quotient, in the end: it may be subnormal.
    """
    kind = FORMATS[x.dtype]
    least = 1.0 - kind.bias  # of n: 2**n is a normal number
    power, r = reduce(clamp(-x, least * 0.693, -kind.lowest))
    bounded = clamp(power.n, None, kind.mantissa + 8.0)
    scale = power_of_two(bounded)
    is_large = scale > 2.0**kind.mantissa
    first = select(is_large, scale, 0.0)
    second = select(is_large, 1.0, scale + 1.0)
    quotient = 1.0 / (first + multiply_add(scale, less_one(r), second))
    return scale_by_small_power(quotient, bounded - power.n)


def scale_by_small_power(x: Number, n: Number) -> Number:
    """x * 2**n, rounded once; 2**n is a normal number."""
    return scale_by_power(x, n) if has_instructions(x) else x * power_of_two(n)
