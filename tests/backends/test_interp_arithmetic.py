"""The interpreter's operators against Python's integers and fractions, which never round."""

import math
import struct
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from te.backends.interp.arithmetic import FUNCTIONS, apply, cast, combine, constant
from te.ir.expr import OPS, Const, Op, Var
from te.ir.tensor import fused_factors
from te.ir.types import BOOL, DTYPES, F32, F64, I32, I64, integer_limits, numpy_dtype, wrap_integer

INTEGERS = [t for t in DTYPES.values() if t.is_integer]
FLOATS = [F32, F64]


def integers(dtype):
    low, high = integer_limits(dtype)
    edges = [n for n in (low, low + 1, -1, 0, 1, 2, dtype.bits, high - 1, high) if low <= n <= high]
    return st.one_of(st.sampled_from(edges), st.integers(low, high))


def floats(dtype):
    return st.one_of(st.floats(width=dtype.bits), st.floats(-4, 4, width=dtype.bits))


def of_type(dtype, values):
    return numpy_dtype(dtype).type(values)


def bits(x):
    """The bits of a float, with one NaN for all."""
    x = np.asarray(x)
    return "nan" if np.isnan(x) else x.tobytes()


def rounded(exact, dtype):
    """The float nearest to a non-zero fraction, ties to even, by integer arithmetic alone."""
    digits, least, largest = (24, -149, 128) if dtype == F32 else (53, -1074, 1024)
    size = abs(exact)
    exponent = size.numerator.bit_length() - size.denominator.bit_length()
    exponent -= size < Fraction(2) ** exponent
    unit = Fraction(2) ** max(exponent - digits + 1, least)
    mantissa = round(size / unit)  # Fraction rounds half to even
    value = mantissa * unit
    number = math.inf if value >= Fraction(2) ** largest else float(value)
    return math.copysign(number, -1 if exact < 0 else 1)


def test_every_operator_is_there():
    assert set(FUNCTIONS) == OPS


# ---------------------------------------------------------------- integers


def python_floor_div(a, b):
    return a // b if b else 0


def python_floor_mod(a, b):
    return a % b if b else 0


EXACT_INTEGER = {
    "+": lambda a, b, t: a + b,
    "-": lambda a, b, t: a - b,
    "*": lambda a, b, t: a * b,
    "//": lambda a, b, t: python_floor_div(a, b),
    "%": lambda a, b, t: python_floor_mod(a, b),
    "&": lambda a, b, t: a & b,
    "|": lambda a, b, t: a | b,
    "^": lambda a, b, t: a ^ b,
    "<<": lambda a, b, t: a << (b % t.bits),
    ">>": lambda a, b, t: a >> (b % t.bits),
    "min": lambda a, b, t: min(a, b),
    "max": lambda a, b, t: max(a, b),
}


@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
@pytest.mark.parametrize("op", EXACT_INTEGER)
@given(data=st.data())
def test_integer_operators_wrap(op, dtype, data):
    pairs = data.draw(st.lists(st.tuples(integers(dtype), integers(dtype)), min_size=1, max_size=4))
    a, b = np.array(pairs, numpy_dtype(dtype)).T
    expected = [wrap_integer(EXACT_INTEGER[op](x, y, dtype), dtype) for x, y in pairs]
    result = apply(op, a, b)
    assert result.dtype == numpy_dtype(dtype)
    assert result.tolist() == expected
    scalar = apply(op, a[0], b[0])
    assert scalar == expected[0]
    assert scalar.dtype == numpy_dtype(dtype)


EXACT_UNARY = {
    "neg": lambda a, t: -a,
    "~": lambda a, t: ~a,
    "abs": lambda a, t: abs(a),
    "sign": lambda a, t: (a > 0) - (a < 0),
    "popcount": lambda a, t: (a % 2**t.bits).bit_count(),
}


@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
@pytest.mark.parametrize("op", EXACT_UNARY)
@given(data=st.data())
def test_integer_functions(op, dtype, data):
    value = data.draw(integers(dtype))
    result = apply(op, of_type(dtype, value))
    assert result == wrap_integer(EXACT_UNARY[op](value, dtype), dtype)
    assert result.dtype == numpy_dtype(dtype)
    assert apply(op, np.array([value], numpy_dtype(dtype))).tolist() == [int(result)]


@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
@given(data=st.data())
def test_integer_comparisons(dtype, data):
    a, b = data.draw(integers(dtype)), data.draw(integers(dtype))
    x, y = of_type(dtype, a), of_type(dtype, b)
    expected = {"<": a < b, "<=": a <= b, ">": a > b, ">=": a >= b, "==": a == b, "!=": a != b}
    assert {op: bool(apply(op, x, y)) for op in expected} == expected


# ---------------------------------------------------------------- floats


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("op", "+ - * /".split())
@given(data=st.data())
def test_float_operators_round_once(op, dtype, data):
    a, b = data.draw(floats(dtype)), data.draw(floats(dtype))
    result = apply(op, of_type(dtype, a), of_type(dtype, b))
    assert result.dtype == numpy_dtype(dtype)
    if not (math.isfinite(a) and math.isfinite(b)) or (op == "/" and b == 0):
        return  # the next test
    x, y = Fraction(a), Fraction(b)
    exact = {"+": x + y, "-": x - y, "*": x * y, "/": x / y if y else None}[op]
    if exact:
        assert bits(result) == bits(of_type(dtype, rounded(exact, dtype)))
    else:
        assert result == 0


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_float_operators_at_the_edges(dtype):
    one, zero, inf, nan = (of_type(dtype, v) for v in (1, 0, math.inf, math.nan))
    assert apply("/", one, zero) == inf
    assert apply("/", one, -zero) == -inf
    assert math.isnan(apply("/", zero, zero))
    assert math.isnan(apply("-", inf, inf))
    assert math.isnan(apply("*", zero, inf))
    assert bits(apply("+", -zero, zero)) == bits(zero)
    assert bits(apply("neg", zero)) == bits(-zero)
    assert not apply("==", nan, nan)
    assert apply("!=", nan, nan)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@given(data=st.data())
def test_min_and_max_propagate_nan_and_order_the_zeros(dtype, data):
    values = st.one_of(st.sampled_from([0.0, -0.0, math.nan]), floats(dtype))
    a, b = data.draw(values), data.draw(values)

    def key(x):
        return (x, math.copysign(1, x))

    for op, choose in (("min", min), ("max", max)):
        expected = math.nan if math.isnan(a) or math.isnan(b) else choose(a, b, key=key)
        x, y = of_type(dtype, a), of_type(dtype, b)
        assert bits(apply(op, x, y)) == bits(of_type(dtype, expected))
        assert bits(apply(op, np.array([x] * 9), np.array([y] * 9))[8]) == bits(of_type(dtype, expected))


def check_fma(dtype, a, b, c):
    """Scalar and vector results against the exact value, rounded once."""
    x, y, z = (of_type(dtype, v) for v in (a, b, c))
    result = apply("fma", x, y, z)
    vector = apply("fma", np.full(3, x), np.full(3, y), np.full(3, z))
    assert bits(vector[1]) == bits(result)
    assert result.dtype == vector.dtype == numpy_dtype(dtype)
    if not all(map(math.isfinite, (a, b))):
        expected = a * b + c
    elif not math.isfinite(c):
        expected = c
    else:
        exact = Fraction(a) * Fraction(b) + Fraction(c)
        # An exact zero: of zeros as IEEE adds them, of a cancellation +0.
        expected = rounded(exact, dtype) if exact else a * b + c if 0 in (a, b) else 0.0
    assert bits(result) == bits(of_type(dtype, expected)), (a, b, c)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@given(data=st.data())
def test_fma_rounds_once(dtype, data):
    check_fma(dtype, *(data.draw(floats(dtype)) for _ in range(3)))


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@given(data=st.data())
def test_fma_that_nearly_cancels(dtype, data):
    near_one = st.integers(-(2**20), 2**20).map(lambda n: 1 + n * float(np.finfo(numpy_dtype(dtype)).eps))
    a, b = data.draw(near_one), data.draw(near_one)
    c = -float(of_type(dtype, a * b)) * data.draw(near_one | st.just(1.0))
    scale = 2.0 ** data.draw(st.integers(-140, 100) if dtype == F32 else st.integers(-1060, 1000))
    a, c = (float(of_type(dtype, v * scale)) for v in (a, c))
    check_fma(dtype, a, float(of_type(dtype, b)), c)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@given(data=st.data())
def test_fma_near_a_tie(dtype, data):
    """c is tiny beside a product that lies halfway between two floats: rounding twice would go wrong."""
    digits = 24 if dtype == F32 else 53
    a = 1 + 2.0 ** -(digits // 2)
    b = 1 + data.draw(st.integers(0, 2**10)) * 2.0 ** -(digits - digits // 2)
    c = data.draw(st.sampled_from([1, -1])) * 2.0 ** -data.draw(st.integers(digits, 120))
    check_fma(dtype, a, b, c)


def test_fma_where_f64_arithmetic_alone_would_round_twice():
    a, c = np.float32(1 + 2**-12), np.float32(2**-100)
    twice = np.float32(np.float64(a) * np.float64(a) + np.float64(c))
    assert apply("fma", a, a, c) != twice


@given(st.floats(width=32), st.sampled_from("floor ceil round trunc".split()))
def test_rounding_functions(value, op):
    result = apply(op, np.float32(value))
    assert result.dtype == np.float32
    if math.isfinite(value):
        python = {"floor": math.floor, "ceil": math.ceil, "round": round, "trunc": math.trunc}[op]
        assert result == python(value)
        assert np.signbit(result) == np.signbit(np.float32(value)) or result > 0
    else:
        assert bits(result) == bits(np.float32(value))


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@given(data=st.data())
def test_sqrt_rounds_once(dtype, data):
    value = data.draw(st.floats(min_value=0, width=dtype.bits, exclude_min=True, allow_infinity=False))
    root = apply("sqrt", of_type(dtype, value))
    # The exact root lies between the midpoints to both neighbours.
    exact = Fraction(value)
    below = (Fraction(float(root)) + Fraction(float(np.nextafter(root, of_type(dtype, 0))))) / 2
    above = (Fraction(float(root)) + Fraction(float(np.nextafter(root, of_type(dtype, math.inf))))) / 2
    assert below**2 <= exact <= above**2


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_sign(dtype):
    values = np.array([-math.inf, -2.5, -0.0, 0.0, 1e-30, math.inf, math.nan], numpy_dtype(dtype))
    assert [bits(v) for v in apply("sign", values)] == [
        bits(of_type(dtype, v)) for v in (-1, -1, 0.0, 0.0, 1, 1, math.nan)
    ]


# ---------------------------------------------------------------- casts and literals


@pytest.mark.parametrize("to", INTEGERS, ids=str)
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@given(data=st.data())
def test_float_to_integer_saturates(dtype, to, data):
    low, high = integer_limits(to)
    near = st.sampled_from([low, high, high + 1]).flatmap(
        lambda edge: st.integers(-3, 3).map(lambda d: float(of_type(dtype, float(edge + d))))
    )
    value = data.draw(floats(dtype) | near)
    expected = 0 if math.isnan(value) else high if value == math.inf else low if value == -math.inf else None
    if expected is None:
        expected = min(max(math.trunc(value), low), high)
    result = cast(of_type(dtype, value), to)
    assert result == expected
    assert result.dtype == numpy_dtype(to)


@pytest.mark.parametrize("to", INTEGERS, ids=str)
@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
@given(data=st.data())
def test_integer_to_integer_wraps(dtype, to, data):
    value = data.draw(integers(dtype))
    assert cast(of_type(dtype, value), to) == wrap_integer(value, to)


@pytest.mark.parametrize("to", FLOATS, ids=str)
@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
@given(data=st.data())
def test_integer_to_float_rounds_once(dtype, to, data):
    value = data.draw(integers(dtype))
    expected = rounded(Fraction(value), to) if value else 0.0
    assert bits(cast(of_type(dtype, value), to)) == bits(of_type(to, expected))


@given(st.floats())
def test_f64_to_f32_rounds_once(value):
    expected = rounded(Fraction(value), F32) if math.isfinite(value) and value else value
    with np.errstate(all="ignore"):
        assert bits(cast(np.float64(value), F32)) == bits(np.float32(expected))


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=str)
def test_to_bool_is_unequal_to_zero(dtype):
    assert cast(of_type(dtype, 0), BOOL) == np.False_
    assert cast(of_type(dtype, 1), BOOL) == np.True_
    if dtype.is_float:
        assert cast(of_type(dtype, math.nan), BOOL) == np.True_
        assert cast(of_type(dtype, 0.25), BOOL) == np.True_


def test_casts_keep_shapes():
    for shape in [(), (0,), (2, 3)]:
        for dtype in DTYPES.values():
            assert np.shape(cast(np.zeros(shape), dtype)) == shape


def test_literals():
    assert bits(constant(Const(-0.0, F32))) == bits(np.float32(-0.0))
    assert constant(Const(0.1, F32)) == np.float32(0.1)
    assert constant(Const(1e300, F32)) == np.inf
    assert constant(Const(2**31, I32)) == -(2**31)
    assert constant(Const(True, BOOL)) == np.True_


# ---------------------------------------------------------------- functions and reducers

REFERENCE = {
    "exp": math.exp,
    "expm1": math.expm1,
    "log1p": math.log1p,
    "sin": math.sin,
    "cos": math.cos,
    "tan": math.tan,
    "atan": math.atan,
    "sinh": math.sinh,
    "cosh": math.cosh,
    "tanh": math.tanh,
    "asinh": math.asinh,
    "erf": math.erf,
    "erfc": math.erfc,
    "exp2": lambda x: 2.0**x,
    "sigmoid": lambda x: 1 / (1 + math.exp(-x)),
    "sqrt": lambda x: math.sqrt(x),
    "rsqrt": lambda x: 1 / math.sqrt(x),
    "log": math.log,
    "log2": math.log2,
    "asin": lambda x: math.asin(x),
    "acos": lambda x: math.acos(x),
    "atanh": math.atanh,
    "acosh": math.acosh,
}
DOMAINS = {
    **dict.fromkeys("sqrt rsqrt log log2".split(), (1e-3, 50.0)),
    **dict.fromkeys("asin acos atanh log1p".split(), (-0.99, 0.99)),
    "acosh": (1.001, 50.0),
}


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("name", REFERENCE)
def test_elementary_functions(name, dtype):
    x = np.linspace(*DOMAINS.get(name, (-6.0, 6.0)), 101).astype(numpy_dtype(dtype))
    result = apply(name, x)
    assert result.dtype == x.dtype
    np.testing.assert_allclose(
        result, [REFERENCE[name](float(v)) for v in x], rtol=3e-7 if dtype == F32 else 1e-13
    )
    assert [bits(apply(name, v)) for v in x] == [bits(v) for v in result], "a scalar's value is an array's"
    assert apply(name, x[:0]).shape == (0,)


def test_sigmoid_does_not_overflow():
    assert apply("sigmoid", np.array([-1e30, 0, 1e30], np.float32)).tolist() == [0, 0.5, 1]
    assert apply("sigmoid", np.float64(-740.0)) > 0


def test_functions_of_two():
    x, y = np.float32([1, -2, 3]), np.float32([-1, 2, 0.5])
    np.testing.assert_allclose(apply("atan2", y, x), np.arctan2(y, x), rtol=1e-6)
    np.testing.assert_allclose(apply("pow", np.abs(x), y), np.abs(x) ** y, rtol=1e-6)


def test_predicates():
    x = np.array([math.nan, math.inf, -math.inf, 0.0], np.float32)
    assert apply("isnan", x).tolist() == [True, False, False, False]
    assert apply("isinf", x).tolist() == [False, True, True, False]
    assert apply("isfinite", x).tolist() == [False, False, False, True]


def test_no_warning_leaves(recwarn):
    apply("/", np.float32(1), np.float32(0))
    apply("//", np.int32(1), np.int32(0))
    apply("+", np.int32(2**31 - 1), np.int32(1))
    apply("log", np.float32(-1))
    assert not recwarn.list


def test_reducers():
    a, b = np.float32([1, 2]), np.float32([3, math.nan])
    assert combine("sum", a, b).tolist()[0] == 4
    assert combine("prod", a, b).tolist()[0] == 3
    assert math.isnan(combine("max", a, b)[1])
    assert combine("any", np.False_, np.True_)
    assert not combine("all", np.False_, np.True_)


def test_what_is_fused():
    x, i = Const(2.0, F32), Var("i")
    assert fused_factors("sum", Op("*", (x, x), F32)) == (x, x)
    assert fused_factors("sum", Op("+", (x, x), F32)) is None
    assert fused_factors("prod", Op("*", (x, x), F32)) is None
    assert fused_factors("sum", Op("*", (i, i), I64)) is None


def test_the_rounding_used_here_is_right():
    """`rounded` against Python's own rounding of fractions, and struct's of doubles."""
    generator = np.random.default_rng(0)
    for value in generator.standard_normal(200) * 10.0 ** generator.integers(-45, 38, 200):
        assert rounded(Fraction(value), F64) == value
        assert rounded(Fraction(value), F32) == struct.unpack("f", struct.pack("f", value))[0]
