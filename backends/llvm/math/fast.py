"""Functions of f32 under `math="fast"`: shorter code with larger errors, which docs/accuracy.md gives. It needs FMA.

What gains less than 1.3 times the speed is not here: exp (1.25), the logarithms. NaN stays NaN, infinity gives the
limit (of sin and cos NaN), and no argument a result outside the function's range.
"""

from __future__ import annotations

from collections.abc import Callable

from te.backends.llvm.math.code import Number, absolute, clamp, horner, multiply_add, product_error, select
from te.backends.llvm.math.exponential import (
    EXP2_F32,
    FORMATS,
    LOG2_E,
    less_one,
    reduce,
    round_to_power,
)
from te.backends.llvm.math.logarithm import LOG2_F32, split
from te.backends.llvm.math.power import with_special_cases
from te.ir.types import F32

LOG_2 = 0.6931471805599453
# Minimax for (exp(r) - 1) / r, |r| <= log(2)/2: 2^-23.4.
EXP = (1.0, 0.999999701, 0.499991426, 0.166676475, 0.0418988869, 0.00829002291)
# Minimax for (sin(r) - r) / r**3 in r**2, |r| <= pi/2: 2^-27.
SIN = (-0.166666594, 0.008333063, -0.000198093484, 2.60518484e-06)
PI = (3.1415927410125732, -8.742277657347586e-08)
# Rational minimax in x**2: tanh(x) / x to 9, 2^-25.6 to 8; erf(x) / x to 3.93, 2^-25.6.
TANH = (
    (0.999999981, 0.129792719, 0.00298591397, 9.87913185e-06, -1.47056059e-08, 2.35120024e-11),
    (1.0, 0.46312588, 0.0240281378, 0.000237210411),
)
ERF = (
    (1.12837915, 0.190759251, 0.0527866533, 0.00377844537, 0.000284764209, 2.04192305e-06),
    (1.0, 0.502388711, 0.114247015, 0.0149951276, 0.00116489618, 3.80012561e-05),
)
# Minimax for (1 + 2a) exp(a**2) erfc(a) in (a - 2) / (a + 2), 0 <= a <= 10.1: 2^-26.
ERFC = (
    1.27697839,
    -0.0927639809,
    -0.166031425,
    0.164055347,
    -0.0542042951,
    -0.00805987536,
    0.008631671,
    0.00131351933,
    -0.00122991749,
    -0.000400570555,
)


def sigmoid(x: Number) -> Number:
    """1 / (1 + exp(-x)). Where exp(-x) is not finite, x is taken for -88."""
    bounded = clamp(-x, -87.0, 88.0)
    power = round_to_power(bounded, LOG2_E)
    factor = horner(multiply_add(power.n, -LOG_2, bounded), EXP)
    return 1.0 / multiply_add(factor, power.value(), 1.0)


def tanh(x: Number) -> Number:
    return _odd_quotient(clamp(x, -8.0, 8.0), TANH)


def erf(x: Number) -> Number:
    return clamp(_odd_quotient(clamp(x, -3.93, 3.93), ERF), -1.0, 1.0)


def _odd_quotient(x: Number, quotient: tuple[tuple[float, ...], tuple[float, ...]]) -> Number:
    z = x * x
    return x * horner(z, quotient[0]) / horner(z, quotient[1])


def erfc(x: Number) -> Number:
    """exp(-a**2) * G(q) / (1 + 2a) with a = |x|, as in error_function.py; here in f32, with a**2 as a sum of two."""
    a = clamp(absolute(x), None, 10.1)
    square = a * a
    power, r = reduce(-square)
    r = r + product_error(a, a, square)
    scaled, shifted = multiply_add(a, 2.0, 1.0), a + 2.0
    inverse = 1.0 / (scaled * shifted)
    g = horner((a - 2.0) * scaled * inverse, ERFC) * (shifted * inverse)
    part = power.times(multiply_add(g, less_one(r), g))
    return select(x < 0.0, 2.0 - part, part)


def sin(x: Number) -> Number:
    return _circular(x, 0.0)


def cos(x: Number) -> Number:
    return _circular(x, 0.5)


def _circular(x: Number, turned: float) -> Number:
    """sin(x + turned * pi) as (-1)**n * sin(r), x = (n - turned)*pi + r; the result is bounded whatever x."""
    kind = FORMATS[F32]
    shifted = (
        multiply_add(x, 0.3183098861837907, turned) + kind.shifter
        if turned
        else (multiply_add(x, 0.3183098861837907, kind.shifter))
    )
    n = shifted - kind.shifter
    turns = n - turned if turned else n
    r = clamp(multiply_add(turns, -PI[1], multiply_add(turns, -PI[0], x)), -1.5708, 1.5708)
    z = r * r
    sine = multiply_add(horner(z, SIN) * z, r, r)
    return (sine.bits() ^ (shifted.bits() << 31)).as_float()


def pow(x: Number, y: Number) -> Number:
    """2**(y * log2(x)), all in f32: the error grows with the exponent of the result."""
    return with_special_cases(x, y, _positive_pow)


def _positive_pow(size: Number, y: Number) -> Number:
    parts = split(size)
    log = multiply_add(horner(parts.f, LOG2_F32), parts.f, parts.k + parts.f)
    exponent = clamp(y * log, -200.0, 200.0)
    power = round_to_power(exponent, 1.0)
    r = exponent - power.n
    return power.times(multiply_add(horner(r, EXP2_F32), r, 1.0))


FAST: dict[str, Callable[..., Number]] = {
    "sigmoid": sigmoid,
    "tanh": tanh,
    "erf": erf,
    "erfc": erfc,
    "sin": sin,
    "cos": cos,
    "pow": pow,
}
