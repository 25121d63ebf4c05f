"""erf and erfc.

erf: x + x * Q(x**2) near 0. Beyond, for f32, 1 - exp(-a * S(a)) with a = |x| (a form of N. Juffa,
"fast implementation of erff", NVIDIA developer forums, 2019); for f64, 1 - erfc(a).
erfc: exp(-a**2) * G(q) / (1 + 2a) with q = (a - K) / (a + K), which is smooth from 0 to infinity
(M. Shepherd & J. Laframboise, "Chebyshev approximation of (1 + 2x) exp(x**2) erfc(x) in 0 <= x < inf",
Mathematics of Computation 36, 1981). For f32 it is exp(-a**2) * H(1 / (a + K)) / (a + K), which has one division;
without FMA, where its errors cannot be taken along cheaply, the former in f64. The coefficients are minimax, ours.
"""

from __future__ import annotations

from te.backends.llvm.math.code import (
    Number,
    absolute,
    clamp,
    copy_sign,
    horner,
    multiply_add,
    product_error,
    select,
)
from te.backends.llvm.math.exponential import exp_in_range, less_one, reduce

# erf(x)/x - 1 in x**2: |x| <= 0.93, 2^-25.8; |x| <= 1, 2^-62.
ERF_F32 = (0.128379151, -0.376124948, 0.112818033, -0.0267655719, 0.00499098282, -0.000597689359)
ERF_F64 = (
    0.1283791670955126,
    -0.3761263890318375,
    0.11283791670954885,
    -0.02686617064507788,
    0.005223977624828479,
    -0.0008548326981427922,
    0.00012055331133030847,
    -1.4925595773777767e-05,
    1.6461008501119645e-06,
    -1.635039645378467e-07,
    1.4660330205986235e-08,
    -1.1374961305471911e-09,
    5.960694603435793e-11,
)
# -log(erfc(a)) / a, 0.92 <= a <= 4: 2^-32 of erf.
LOG_ERFC_F32 = (
    1.12855172,
    0.635625243,
    0.105262734,
    -0.0226741806,
    0.00293018669,
    -4.95986133e-05,
    -4.55785812e-05,
    4.93797643e-06,
)
# (a + K) exp(a**2) erfc(a) in 1 / (a + K) - C, a <= 10.1: 2^-30. With this K the first coefficients are near to f32.
ERFC_K, ERFC_C = 2.171875, 0.230215833
ERFC_F32 = (
    1.03468526,
    3.18460799,
    6.48603973,
    6.56734477,
    -3.87351751,
    -16.7194262,
    4.09904666,
    46.4201855,
    -25.4641412,
    -121.736657,
    167.209543,
)
# (1 + 2a) exp(a**2) erfc(a) in q: K = 2, a <= 10.1, 2^-30; K = 4, a <= 27.5, 2^-61.
ERFC_SHORT = (
    1.2769783826824255,
    -0.09276382095281628,
    -0.16603052224336692,
    0.16405105016188407,
    -0.05421781051581923,
    -0.008030957356851246,
    0.00870894032933016,
    0.0012529546007190176,
    -0.0014202683752638759,
    -0.00040086410195462217,
    0.00016880146462538824,
    7.916192553079825e-05,
)
ERFC_F64 = (
    1.2329951186255526,
    -0.13962111684056253,
    0.015379652102620078,
    0.068097054254693,
    -0.10103906603632755,
    0.09373283499833494,
    -0.06633036581159106,
    0.03716751553784023,
    -0.01619773406647519,
    0.005031969972733018,
    -0.0007577732187398565,
    -0.0001992566468618263,
    0.00015062132910939244,
    -2.4399486267263826e-05,
    -1.1220948000509188e-05,
    5.710710108587823e-06,
    2.917189077369865e-07,
    -8.276426793839535e-07,
    7.696933448122609e-08,
    1.1314060996021138e-07,
    -1.9089706559039012e-08,
    -1.6515578720420032e-08,
    1.7034922353249192e-09,
    2.076862088770344e-09,
    2.8105606274299945e-10,
)


def erf(x: Number) -> Number:
    a = absolute(x)
    z = x * x
    if x.is_f32:
        near_zero = multiply_add(horner(z, ERF_F32), x, x)
        bounded = clamp(a, None, 4.0)
        beyond = 1.0 - exp_in_range(horner(bounded, LOG_ERFC_F32) * -bounded)
        return select(a < 0.92, near_zero, copy_sign(beyond, x))
    near_zero = multiply_add(horner(z, ERF_F64), x, x)
    beyond = 1.0 - _complement(clamp(a, None, 7.0))
    return select(a < 1.0, near_zero, copy_sign(beyond, x))


def erfc(x: Number) -> Number:
    a = absolute(x)
    if x.is_f32:
        part = _fused_complement(clamp(a, None, 10.1)) if x.code.module.has_fma else _wide_complement(a)
        return select(x < 0.0, 2.0 - part, part)
    part = _complement(clamp(a, None, 28.0))
    part = select(x < 0.0, 2.0 - part, part)
    # Near 0 the terms of G are larger than their sum: up to 6 ULP.
    near_zero = multiply_add(horner(x * x, ERF_F64), x, x)
    return select(a < 0.5, 1.0 - near_zero, part)


def _wide_complement(a: Number) -> Number:
    """erfc(a) for a >= 0, f32 by f64."""
    wide = clamp(a, None, 11.0).widen()
    scaled = wide + wide + 1.0
    shifted = wide + 2.0
    inverse = 1.0 / (scaled * shifted)  # one division for both
    q = (wide - 2.0) * scaled * inverse
    power = exp_in_range(-(wide * wide), is_short=True)
    return (horner(q, ERFC_SHORT) * power * (shifted * inverse)).narrow()


def _fused_complement(a: Number) -> Number:
    """erfc(a) for 0 <= a <= 10.1, f32 by FMA.

    The rounded 1 / (a + K) is that of a number near to a, whose erfc is computed: `ahead` is how far it lies beyond a.
    So -2a * ahead goes into the exponent and 2/sqrt(pi) * exp(-a**2) * ahead is added. The errors of the last steps of
    the polynomial and of its product are added, too.
    """
    total = a + ERFC_K
    inverse = 1.0 / total
    lost = (total - ERFC_K) - a  # exactly: total - (a + K)
    ahead = total * multiply_add(inverse, lost, product_error(inverse, total, inverse.like(1.0)))
    s = inverse - ERFC_C
    rest = horner(s, ERFC_F32[1:])
    g = multiply_add(rest, s, ERFC_F32[0])
    g_low = multiply_add(rest, s, ERFC_F32[0] - g)
    part = g * inverse
    part_low = multiply_add(g_low, inverse, multiply_add(ahead, 1.12837917, -product_error(g, inverse, part)))
    square = a * a
    power, r = reduce(-square)
    r = r + multiply_add(a * ahead, -2.0, product_error(a, a, square))
    low = less_one(r)
    return power.times(multiply_add(part, low, multiply_add(part_low, low, part_low)) + part)


def _complement(a: Number) -> Number:
    """erfc(a) for 0 <= a <= 28, f64.

    a**2 is taken in two parts: the square of a's upper bits, exactly, and the rest, which joins the
    reduced argument of exp.
    """
    upper = (a.bits() & -(1 << 27)).as_float()
    power, r = reduce(-(upper * upper))
    r = r - (a - upper) * (a + upper)
    q = (a - 4.0) / (a + 4.0)
    part = horner(q, ERFC_F64) / (a + a + 1.0)
    return power.times(multiply_add(less_one(r), part, part))
