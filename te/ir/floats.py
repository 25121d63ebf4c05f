"""Numbers rounded to a float type, exactly: for literals, constants and folded casts.

A finite value of a type is `k * 2**q` with `|k| < 2**(fraction_bits + 1)` and
`q >= smallest_exponent - fraction_bits`. All types here are IEEE 754's, or made like them, but
for f8e4m3: its largest exponent holds numbers too, and it has one NaN and no infinity.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from te.ir.types import BF16, F8E4M3, F8E5M2, F16, F32, F64, DType


@dataclass(frozen=True, slots=True)
class Format:
    exponent_bits: int
    fraction_bits: int
    has_infinity: bool = True

    @property
    def bias(self) -> int:
        return (1 << (self.exponent_bits - 1)) - 1

    @property
    def smallest_exponent(self) -> int:
        """Of normal numbers: the smallest is `2**smallest_exponent`."""
        return 1 - self.bias

    @property
    def largest(self) -> int:
        """The largest finite number."""
        fraction = (1 << (self.fraction_bits + 1)) - 1
        if self.has_infinity:
            return fraction << (self.bias - self.fraction_bits)
        return (fraction - 1) << (self.bias + 1 - self.fraction_bits)  # the last one is NaN


FORMATS: dict[DType, Format] = {
    F8E4M3: Format(4, 3, has_infinity=False),
    F8E5M2: Format(5, 2),
    F16: Format(5, 10),
    BF16: Format(8, 7),
    F32: Format(8, 23),
    F64: Format(11, 52),
}


def nearest(value: int | float, dtype: DType) -> float:
    """The value of a float type that is nearest to a number: ties to even, rounded once.

    What is too large becomes infinite, or NaN where the type has no infinity.

    >>> nearest(0.1, F16), nearest(500, F8E4M3), nearest(2**32 + 2**24 + 1, BF16) - 2**32
    (0.0999755859375, nan, 33554432.0)
    """
    form = FORMATS[dtype]
    if isinstance(value, float) and (value == 0 or math.isnan(value)):
        return value
    overflow = math.copysign(math.inf, value) if form.has_infinity else math.nan
    if isinstance(value, float) and math.isinf(value):
        return overflow
    numerator, denominator = abs(value).as_integer_ratio()  # the denominator is a power of two
    exponent = numerator.bit_length() - denominator.bit_length()
    unit = max(exponent, form.smallest_exponent) - form.fraction_bits
    count = _shifted_right(numerator, denominator.bit_length() - 1 + unit)
    if count << max(unit, 0) > form.largest << max(-unit, 0):
        return overflow
    return math.copysign(math.ldexp(count, unit), value)


def _shifted_right(number: int, bits: int) -> int:
    """`number / 2**bits`, rounded to nearest even."""
    if bits <= 0:
        return number << -bits
    whole, rest = number >> bits, number & ((1 << bits) - 1)
    half = 1 << (bits - 1)
    return whole + (rest > half or (rest == half and whole & 1 == 1))


def is_value_of(value: float, dtype: DType) -> bool:
    """Whether a float type has exactly this value."""
    rounded = nearest(value, dtype)
    return rounded == value or (math.isnan(rounded) and math.isnan(value))


def bits_of(value: float, dtype: DType) -> int:
    """The bits of a value of a float type, which `value` must be; of NaN, the usual one."""
    form = FORMATS[dtype]
    exponents = (1 << form.exponent_bits) - 1
    sign = int(math.copysign(1, value) < 0) << (form.exponent_bits + form.fraction_bits)
    if math.isnan(value):
        quiet = (1 << form.fraction_bits) - 1 if not form.has_infinity else 1 << (form.fraction_bits - 1)
        return exponents << form.fraction_bits | quiet
    if math.isinf(value):
        return sign | exponents << form.fraction_bits
    if value == 0:
        return sign
    _, exponent = math.frexp(value)
    unit = max(exponent - 1, form.smallest_exponent) - form.fraction_bits
    count = int(math.ldexp(abs(value), -unit))
    # The leading bit of a normal number adds 1 to the exponent's field.
    field = unit + form.fraction_bits - form.smallest_exponent
    return sign | ((field << form.fraction_bits) + count)
