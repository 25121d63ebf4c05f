"""sin, cos and tan.

Method: x = n*pi/2 + r with |r| <= pi/4 (a little more), then minimax polynomials for sin(r) and
cos(r), of which n mod 4 chooses.

- f32, |x| < 2**14, with FMA: pi/2 as a sum of three f32. x - n * (the first) is exact, because both are
  multiples of 2**-24 and the difference is below 1.
- |x| < 2**20: pi/2 in parts of 33 bits, whose products with n are exact in f64 (Cody & Waite 1980; the
  parts are fdlibm's, e_rem_pio2.c). f32 is reduced in f64 too, with two parts; f64 with three and a
  rest, r as a sum of two numbers.
- beyond: x * 2/pi modulo 4 in integers, from the 192 bits of 2/pi that matter (Payne & Hanek,
  "Radian reduction for trigonometric functions", SIGNUM Newsletter 18, 1983), lane by lane, in a
  block that is entered if any lane needs it.
"""

from __future__ import annotations

from dataclasses import dataclass

from te.backends.llvm.math.code import (
    I128,
    Code,
    Number,
    absolute,
    fast_two_sum,
    horner,
    multiply_add,
    product_error,
    select,
    two_product,
    two_sum,
)
from te.backends.llvm.math.exponential import FORMATS
from te.ir.types import F32, F64, I32, I64, wrap_integer

LARGE = 2.0**20
LARGE_F32 = 2.0**14
TWO_OVER_PI = 0.6366197723675814
PI_2 = (1.5707963267341256, 6.077100506303966e-11, 2.0222662487111665e-21, 8.4784276603689e-32)
PI_2_F32 = (1.5707963705062866, -4.371138828673793e-08, -1.7151245100058819e-15)
PI_2_SHORT = (1.5707963267341256, 6.077100506506192e-11)

# Minimax for (sin(r) - r) / r**3 in r**2, |r| <= 0.786: 2^-28, 2^-38, 2^-58.
SIN_F32 = (-0.166666552, 0.00833217613, -0.000195169734)
SIN_SHORT = (-0.16666666641542552, 0.00833332937495498, -0.000198393310897649, 2.718274418206527e-06)
SIN_F64 = (
    -0.16666666666666632,
    0.008333333333322389,
    -0.00019841269829783988,
    2.755731368221409e-06,
    -2.5050756393906828e-08,
    1.5896685606151917e-10,
)
# Minimax for (tan(r) - r) / r**3 in r**2: 2^-29.5.
TAN_F32 = (0.333333508, 0.133326251, 0.0540644233, 0.0212580697, 0.0109004112, 5.15316762e-06, 0.00441905826)
# Minimax for (cos(r) - 1 + r**2/2) / r**4 in r**2: 2^-33, 2^-43, 2^-64.
COS_F32 = (0.0416666456, -0.00138873653, 2.4438119e-05)
COS_SHORT = (0.04166666662265568, -0.0013888883738187596, 2.479951591644264e-05, -2.7209894451357083e-07)
COS_F64 = (
    0.0416666666666666,
    -0.001388888888887407,
    2.4801587289446334e-05,
    -2.7557314341225543e-07,
    2.087572167447757e-09,
    -1.135956094290782e-11,
)


@dataclass(frozen=True, slots=True)
class Reduced:
    """x = quadrant * pi/2 + r + low; quadrant is an integer as wide as x, of which the last two bits count."""

    quadrant: Number
    r: Number
    low: Number


def reduce(x: Number, *, is_short: bool) -> Reduced:
    """Of an f64. `is_short`: r alone is enough, to 2^-30."""
    shifted = multiply_add(x, TWO_OVER_PI, FORMATS[F64].shifter)
    n = shifted - FORMATS[F64].shifter
    r = multiply_add(n, -PI_2[0], x)  # exact, fused or not
    if is_short:
        r = multiply_add(n, -PI_2_SHORT[1], r)
        low = r.like(0.0)
    else:
        r, second = two_sum(r, n * -PI_2[1])
        third, fourth = two_sum(second, n * -PI_2[2])
        r, low = fast_two_sum(r, third)
        low = low + (fourth + n * -PI_2[3])
    usual = (shifted.bits(), r, low)
    is_large = absolute(x) >= LARGE
    return Reduced(*x.code.unlikely(is_large, usual, lambda: _reduce_large(x, is_large, usual)))


def reduce_f32(x: Number, *, has_low: bool) -> Reduced:
    """Of an f32, where the CPU has FMA. Without `has_low`, low is 0 and r is rounded."""
    first, second, third = PI_2_F32
    shifted = multiply_add(x, TWO_OVER_PI, FORMATS[F32].shifter)
    n = shifted - FORMATS[F32].shifter
    r = multiply_add(n, -first, x)  # exact
    if has_low:
        product, error = two_product(n, n.like(-second))
        r, low = two_sum(r, product)
        low = multiply_add(n, -third, low + error)
    else:
        r, low = multiply_add(n, -third, multiply_add(n, -second, r)), r.like(0.0)
    usual = (shifted.bits(), r, low)
    is_large = absolute(x) >= LARGE_F32

    def large() -> list[Number]:
        wide = reduce(x.widen(), is_short=True)
        r = wide.r.narrow()
        others = wide.quadrant.to(I32), r, (wide.r - r.widen()).narrow()
        return [select(is_large, other, value) for other, value in zip(others, usual, strict=True)]

    return Reduced(*x.code.unlikely(is_large, usual, large))


def _reduce_large(x: Number, is_large: Number, usual: tuple[Number, ...]) -> list[Number]:
    """The large lanes by a function of their own; infinity and NaN stay what they are: NaN."""
    code = x.code
    name = _define_reduction(code)
    if code.lanes > 1:
        name = _define_lane_by_lane(code, name)
    packed = f"%{code.fresh('packed')}"
    result = _struct([value.type for value in usual])
    code.lines.append(f"  {packed} = call {result} @{name}({x.typed})")
    chosen = is_large & (absolute(x) < float("inf"))
    parts = [
        code.write(f"extractvalue {result} {packed}, {position}", value.dtype)
        for position, value in enumerate(usual)
    ]
    return [select(chosen, part, value) for part, value in zip(parts, usual, strict=True)]


def _struct(types: list[str]) -> str:
    return f"{{ {', '.join(types)} }}"


def _define_lane_by_lane(code: Code, scalar: str) -> str:
    """The function that applies `scalar` to each lane: a loop over memory, short code for what is rare."""
    name = f"{scalar}.v{code.lanes}"
    if not code.module.is_new(name):
        return name
    elements = ["i64", "double", "double"]
    vectors = [f"<{code.lanes} x {element}>" for element in elements]
    one, all = _struct(elements), _struct(vectors)
    lines = [f"define internal {all} @{name}({vectors[1]} %x) #0 {{", "entry:"]
    lines += [f"  %to{part} = alloca {vector}, align 64" for part, vector in enumerate(vectors)]
    lines += [f"  %from = alloca {vectors[1]}, align 64", f"  store {vectors[1]} %x, ptr %from"]
    lines += ["  br label %lane", "lane:", "  %i = phi i64 [ 0, %entry ], [ %next, %lane ]"]
    lines += ["  %at = getelementptr double, ptr %from, i64 %i", "  %element = load double, ptr %at"]
    lines += [f"  %reduced = call {one} @{scalar}(double %element)"]
    for part, element in enumerate(elements):
        lines += [
            f"  %value{part} = extractvalue {one} %reduced, {part}",
            f"  %at{part} = getelementptr {element}, ptr %to{part}, i64 %i",
            f"  store {element} %value{part}, ptr %at{part}",
        ]
    lines += ["  %next = add i64 %i, 1", f"  %more = icmp ult i64 %next, {code.lanes}"]
    lines += ["  br i1 %more, label %lane, label %end", "end:"]
    packed = "poison"
    for part, vector in enumerate(vectors):
        lines += [
            f"  %all{part} = load {vector}, ptr %to{part}",
            f"  %packed{part} = insertvalue {all} {packed}, {vector} %all{part}, {part}",
        ]
        packed = f"%packed{part}"
    lines += [f"  ret {all} {packed}", "}", ""]
    code.module.functions.append("\n".join(lines))
    return name


# The bits of 2/pi, after 64 zeros.
_BITS_OF_TWO_OVER_PI = (
    0x0000000000000000,
    0xA2F9836E4E441529,
    0xFC2757D1F534DDC0,
    0xDB6295993C439041,
    0xFE5163ABDEBBC561,
    0xB7246E3A424DD2E0,
    0x06492EEA09D1921C,
    0xFE1DEB1CB129A73E,
    0xE88235F52EBB4484,
    0xE99C7026B45F7E41,
    0x3991D639835339F4,
    0x9C845F8BBDF9283B,
    0x1FF897FFDE05980F,
    0xEF2F118B5A0A6D1F,
    0x6D367ECF27CB09B7,
    0x4F463F669E5FEA2D,
    0x7527BAC7EBE5F17B,
    0x3D0739F78A5292EA,
    0x6BFB5FB11F8D5D08,
    0x56033046FC7B6BAB,
)


def _define_reduction(outer: Code) -> str:
    """The function of this module that reduces one large f64."""
    name, table = "te.reduce_large", "te.two_over_pi"
    module = outer.module
    if not module.is_new(name):
        return name
    words = ", ".join(f"i64 {wrap_integer(word, I64)}" for word in _BITS_OF_TWO_OVER_PI)
    array = f"[{len(_BITS_OF_TWO_OVER_PI)} x i64]"
    module.declare(f"@{table} = private unnamed_addr constant {array} [{words}]")
    code = Code(module, 1)
    x = Number(code, F64, "%x")
    # x = mantissa * 2**(exponent - 1075); the first bit of 2/pi that matters has weight 2 in the product.
    bits = absolute(x).bits()
    mantissa = (bits & ((1 << 52) - 1)) | (1 << 52)
    exponent = bits >> 52
    exponent = select(exponent < 1043, 1043, exponent)  # other lanes than those asked for
    start = exponent - (1075 + 2 - 64)  # counts from the zeros
    word, shift = start >> 6, start & 63
    loaded = []
    for offset in range(4):
        index = word + offset
        pointer = code.write(f"getelementptr i64, ptr @{table}, {index.typed}", I64)
        loaded.append(code.write(f"load i64, ptr {pointer.text}", I64))
    window = [
        code.call("llvm.fshl.i64", I64, [loaded[i], loaded[i + 1], shift]).unsigned_to(I128) for i in range(3)
    ]
    m = mantissa.unsigned_to(I128)
    product = ((window[0] * m) << 64) + window[1] * m + ((window[2] * m) >> 64)
    # Two bits of quadrant, 126 of fraction, which goes to -1/2 .. 1/2.
    quadrant = (product + (1 << 125)) >> 126
    fraction = product - (quadrant << 126)
    mask = (1 << 43) - 1
    top = fraction.arithmetic_shift(86).to(I64).to(F64) * 2.0**-40
    middle = ((fraction >> 43) & mask).to(I64).to(F64) * 2.0**-83
    bottom = (fraction & mask).to(I64).to(F64) * 2.0**-126
    high, low = two_sum(top, middle)
    low = low + bottom
    high, low = fast_two_sum(high, low)
    r, error = two_product(high, x.like(1.5707963267948966))
    error = error + (high * 6.123233995736766e-17 + low * 1.5707963267948966)
    r, error = fast_two_sum(r, error)
    is_negative = x < 0.0
    turns = quadrant.to(I64)
    results = [
        select(is_negative, turns.like(0) - turns, turns),
        select(is_negative, -r, r),
        select(is_negative, -error, error),
    ]
    struct, packed = _struct([value.type for value in results]), "poison"
    for position, value in enumerate(results):
        following = f"%{code.fresh('packed')}"
        code.lines.append(f"  {following} = insertvalue {struct} {packed}, {value.typed}, {position}")
        packed = following
    head = f"define internal {struct} @{name}(double %x) #0 {{"
    module.functions.append("\n".join([head, "entry:", *code.lines, f"  ret {struct} {packed}", "}", ""]))
    return name


# ---------------------------------------------------------------- on the reduced argument


def _sin_of(r: Number, low: Number | None) -> Number:
    """sin(r + low); `low` for f64 only. (fdlibm, k_sin.c)"""
    z = r * r
    if r.is_f32:
        return multiply_add(horner(z, SIN_F32), z * r, r)
    assert low is not None
    cube = z * r
    rest = horner(z, SIN_F64[1:])
    return r - ((z * (low * 0.5 - cube * rest) - low) - cube * SIN_F64[0])


def _cos_of(r: Number, low: Number | None) -> Number:
    """cos(r + low): 1 - r**2/2 with its error kept. (fdlibm, k_cos.c)"""
    z = r * r
    if r.is_f32:
        return multiply_add(horner(z, COS_F32), z * z, multiply_add(z, -0.5, 1.0))
    assert low is not None
    half = z * 0.5
    one = 1.0 - half
    return one + (((1.0 - one) - half) + (z * z * horner(z, COS_F64) - r * low))


def _circular(x: Number, quarter: int) -> Number:
    """sin(x + quarter * pi/2)."""
    x = x.frozen()
    if x.is_f32 and x.code.module.has_fma:
        reduced = reduce_f32(x, has_low=False)
        quadrant, r, low = reduced.quadrant, reduced.r, None
    elif x.is_f32:
        reduced = reduce(x.widen(), is_short=True)
        quadrant, r, low = reduced.quadrant.to(I32), reduced.r.narrow(), None
    else:
        reduced = reduce(x, is_short=False)
        quadrant, r, low = reduced.quadrant, reduced.r, reduced.low
    if quarter:
        quadrant = quadrant + quarter
    is_odd = (quadrant & 1).equals(1)
    result = select(is_odd, _cos_of(r, low), _sin_of(r, low))
    sign = (quadrant & 2) << (quadrant.dtype.bits - 2)
    return (result.bits() ^ sign).as_float()


def sin(x: Number) -> Number:
    return select(x.equals(0.0), x, _circular(x, 0))


def cos(x: Number) -> Number:
    return _circular(x, 1)


def tan(x: Number) -> Number:
    """sin(r) / cos(r), or where n is odd -cos(r) / sin(r); f32 with FMA from one polynomial, else in f64."""
    x = x.frozen()
    if x.is_f32 and x.code.module.has_fma:
        return select(x.equals(0.0), x, _tan_f32(x))
    is_f32 = x.is_f32
    reduced = reduce(x.widen() if is_f32 else x, is_short=is_f32)
    r = reduced.r
    if is_f32:
        z = r * r
        sine = multiply_add(horner(z, SIN_SHORT), z * r, r)
        cosine = multiply_add(horner(z, COS_SHORT), z * z, multiply_add(z, -0.5, 1.0))
    else:
        sine, cosine = _sin_of(r, reduced.low), _cos_of(r, reduced.low)
    is_odd = (reduced.quadrant & 1).equals(1)
    result = select(is_odd, -cosine, sine) / select(is_odd, sine, cosine)
    if is_f32:
        result = result.narrow()
    return select(x.equals(0.0), x, result)


def _tan_f32(x: Number) -> Number:
    """tan(r) as a sum of two, or -1 / tan(r) with the errors of the sum and of the quotient."""
    reduced = reduce_f32(x, has_low=True)
    r, low = reduced.r, reduced.low
    z = r * r
    low = multiply_add(low, z, low)  # the derivative of tan is 1 + tan**2
    rest = multiply_add(horner(z, TAN_F32) * z, r, low)
    high, low = fast_two_sum(r, rest)
    quotient = -1.0 / high
    error = product_error(quotient, high, high.like(-1.0))
    inverse = multiply_add(quotient, multiply_add(quotient, low, -error), quotient)
    return select((reduced.quadrant & 1).equals(1), inverse, high)
