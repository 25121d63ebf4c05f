"""Every operator, in scalar code and in vectors of several widths, on values that hurt.

The expected values are NumPy formulas written here, so nothing of te is trusted but the kernel.
"""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Iterator
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from scipy import special

from te.ir.expr import (
    ARITHMETIC,
    BITWISE,
    COMPARISONS,
    FUNCTIONS,
    OPS,
    PREDICATES,
    Cast,
    Const,
    Expr,
    Op,
    Select,
)
from te.ir.types import BOOL, F32, F64, DType, integer_limits, numpy_dtype
from tests.backends.llvm_support import COMPUTED, DTYPES, map_arrays, running_on
from tests.backends.math_reference import ulps_f32
from tests.machines import HERE, NARROWER

Array = np.ndarray[Any, Any]

LANES = [1, 7, 16]
INTEGERS = [t for t in DTYPES.values() if t.is_integer]
FLOATS = [F32, F64]


@pytest.fixture(autouse=True)
def _quiet() -> Any:
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def edge_values(dtype: DType) -> list[Any]:
    if dtype == BOOL:
        return [False, True]
    if dtype.is_integer:
        low, high = integer_limits(dtype)
        values = {low, low + 1, high, high - 1, 0, 1, 2, 3, 5, 7, 8, 100, high // 3}
        if low < 0:
            values |= {-1, -2, -3, -7, -8, low // 3}
        return sorted(values)
    info = ml_dtypes.finfo(numpy_dtype(dtype))
    tiny, big = float(info.smallest_subnormal), float(info.max)
    positive = [
        0.0,
        tiny,
        float(info.tiny),
        1e-3,
        0.5,
        0.75,
        1.0,
        1.5,
        2.5,
        3.0,
        math.pi,
        1e3,
        2.0**31,
        2.0**63,
        big,
        math.inf,
    ]
    return [math.nan, *positive, *[-x for x in positive]]


def all_pairs(dtype: DType) -> tuple[Array, Array]:
    pairs = list(itertools.product(edge_values(dtype), repeat=2))
    kind = numpy_dtype(dtype)
    return np.array([a for a, _ in pairs], kind), np.array([b for _, b in pairs], kind)


@pytest.fixture(
    autouse=True, params=[HERE, *(pytest.param(target, marks=pytest.mark.slow) for target in NARROWER)]
)
def _machine(request: pytest.FixtureRequest) -> Iterator[None]:
    with running_on(request.param):
        yield


def same(got: Array, expected: Array) -> None:
    """Equal to the bit, all NaNs being one; where they differ, the first position is shown."""
    assert got.dtype == expected.dtype
    equal = got == expected
    if got.dtype.kind in "fV":  # V: those of ml_dtypes
        equal = (equal & (np.signbit(got) == np.signbit(expected))) | (np.isnan(got) & np.isnan(expected))
    wrong = np.flatnonzero(~equal)
    assert not len(wrong), f"at {wrong[0]}: got {got[wrong[0]]!r}, expected {expected[wrong[0]]!r}"


def op_of(name: str, dtype: DType) -> Any:
    return lambda *args: Op(name, args, dtype)


# ---------------------------------------------------------------- integers


def floor_division(a: Array, b: Array) -> tuple[Array, Array]:
    """Exact, in Python's integers."""
    bits = a.dtype.itemsize * 8
    quotients, rests = [], []
    for x, y in zip(a.tolist(), b.tolist(), strict=True):
        q, r = divmod(x, y) if y else (0, 0)
        quotients.append(q)
        rests.append(r)
    wrapped = [
        (q + (1 << bits - 1)) % (1 << bits) - (1 << bits - 1) if a.dtype.kind == "i" else q for q in quotients
    ]
    return np.array(wrapped, a.dtype), np.array(rests, a.dtype)


def shifted(a: Array, b: Array, left: bool) -> Array:
    width = a.dtype.itemsize * 8
    count = (b.astype(np.int64) % width).astype(a.dtype)
    return np.left_shift(a, count) if left else np.right_shift(a, count)


INTEGER_OPS = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "//": lambda a, b: floor_division(a, b)[0],
    "%": lambda a, b: floor_division(a, b)[1],
    "&": lambda a, b: a & b,
    "|": lambda a, b: a | b,
    "^": lambda a, b: a ^ b,
    "<<": lambda a, b: shifted(a, b, True),
    ">>": lambda a, b: shifted(a, b, False),
    "min": np.minimum,
    "max": np.maximum,
}
INTEGER_FUNCTIONS = {
    "neg": lambda a: -a,
    "~": lambda a: ~a,
    "abs": lambda a: np.abs(a),
    "sign": np.sign,
    "popcount": lambda a: np.array(
        [bin(x % (1 << 8 * a.dtype.itemsize)).count("1") for x in a.tolist()], a.dtype
    ),
}


@pytest.mark.parametrize("lanes", LANES)
@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
@pytest.mark.parametrize("op", INTEGER_OPS)
def test_integer_operators(op: str, dtype: DType, lanes: int) -> None:
    a, b = all_pairs(dtype)
    same(map_arrays(op_of(op, dtype), [a, b], [dtype, dtype], dtype, lanes), INTEGER_OPS[op](a, b))


@pytest.mark.parametrize("lanes", LANES)
@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
@pytest.mark.parametrize("op", INTEGER_FUNCTIONS)
def test_integer_functions(op: str, dtype: DType, lanes: int) -> None:
    a = np.array(edge_values(dtype), numpy_dtype(dtype))
    same(map_arrays(op_of(op, dtype), [a], [dtype], dtype, lanes), INTEGER_FUNCTIONS[op](a))


@pytest.mark.parametrize("lanes", LANES)
@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
@pytest.mark.parametrize("op", ["//", "%", "<<", ">>"])
def test_operators_with_a_constant(op: str, dtype: DType, lanes: int) -> None:
    """Divisors and counts that are known take other roads."""
    a = np.array(edge_values(dtype), numpy_dtype(dtype))
    low, _ = integer_limits(dtype)
    for value in [0, 1, 2, 3, 7, 8, 12, 33, *([-1, -2, -3, -8, low] if low else [255])]:
        b = np.full_like(a, value)
        got = map_arrays(lambda x, v=value: Op(op, (x, Const(v, dtype)), dtype), [a], [dtype], dtype, lanes)
        same(got, INTEGER_OPS[op](a, b))


# ---------------------------------------------------------------- floats: exact


def minimum(a: Array, b: Array) -> Array:
    both_zero = (a == 0) & (b == 0)
    return np.where(
        both_zero, np.where(np.signbit(a) | np.signbit(b), -0.0, 0.0).astype(a.dtype), np.minimum(a, b)
    )


FLOAT_OPS = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a / b,
    "min": minimum,
    "max": lambda a, b: -minimum(-a, -b),
}
FLOAT_FUNCTIONS = {
    "neg": lambda a: -a,
    "abs": np.abs,
    "sign": lambda a: np.where(a > 0, 1, np.where(a < 0, -1, a + 0)).astype(a.dtype),
    "floor": np.floor,
    "ceil": np.ceil,
    "trunc": np.trunc,
    "round": np.rint,
    "sqrt": np.sqrt,
    "rsqrt": lambda a: np.ones(1, a.dtype) / np.sqrt(a),
}
COMPARE = {
    "<": np.less,
    "<=": np.less_equal,
    ">": np.greater,
    ">=": np.greater_equal,
    "==": np.equal,
    "!=": np.not_equal,
}
PREDICATE = {"isnan": np.isnan, "isinf": np.isinf, "isfinite": np.isfinite}


@pytest.mark.parametrize("lanes", LANES)
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("op", FLOAT_OPS)
def test_float_operators(op: str, dtype: DType, lanes: int) -> None:
    a, b = all_pairs(dtype)
    same(map_arrays(op_of(op, dtype), [a, b], [dtype, dtype], dtype, lanes), FLOAT_OPS[op](a, b))


@pytest.mark.parametrize("lanes", LANES)
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("op", FLOAT_FUNCTIONS)
def test_exact_float_functions(op: str, dtype: DType, lanes: int) -> None:
    a = np.array([*edge_values(dtype), -0.5, -1.5, -2.5, 3.5, 4.5], numpy_dtype(dtype))
    same(map_arrays(op_of(op, dtype), [a], [dtype], dtype, lanes), FLOAT_FUNCTIONS[op](a))


@pytest.mark.parametrize("lanes", LANES)
@pytest.mark.parametrize("dtype", [*INTEGERS, *FLOATS, BOOL], ids=str)
@pytest.mark.parametrize("op", COMPARE)
def test_comparisons(op: str, dtype: DType, lanes: int) -> None:
    if dtype == BOOL and op not in ("==", "!="):
        return
    a, b = all_pairs(dtype)
    same(map_arrays(op_of(op, BOOL), [a, b], [dtype, dtype], BOOL, lanes), COMPARE[op](a, b))


@pytest.mark.parametrize("lanes", LANES)
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("op", PREDICATE)
def test_predicates(op: str, dtype: DType, lanes: int) -> None:
    a = np.array(edge_values(dtype), numpy_dtype(dtype))
    same(map_arrays(op_of(op, BOOL), [a], [dtype], BOOL, lanes), PREDICATE[op](a))


@pytest.mark.parametrize("lanes", LANES)
@pytest.mark.parametrize("limit", [0.0, -0.0, 6.0, math.nan])
@pytest.mark.parametrize("op", ["min", "max"])
def test_extremes_with_a_constant(op: str, limit: float, lanes: int) -> None:
    """relu and its like: LLVM drops the checks that the constant makes needless."""
    a = np.array(edge_values(F32), np.float32)
    for left in (True, False):
        got = map_arrays(
            lambda x, first=left: Op(op, (x, Const(limit, F32)) if first else (Const(limit, F32), x), F32),
            [a],
            [F32],
            F32,
            lanes,
        )
        same(got, FLOAT_OPS[op](a, np.full_like(a, limit)))


@pytest.mark.parametrize("lanes", LANES)
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_fma_rounds_once(dtype: DType, lanes: int) -> None:
    rng = np.random.default_rng(0)
    kind = numpy_dtype(dtype)
    a, b = (rng.standard_normal(200).astype(kind) for _ in range(2))
    c = -(a * b)  # what remains is the rounding error of the product
    got = map_arrays(op_of("fma", dtype), [a, b, c], [dtype] * 3, dtype, lanes)
    from fractions import Fraction

    exact = [
        float(Fraction(float(x)) * Fraction(float(y)) + Fraction(float(z)))
        for x, y, z in zip(a, b, c, strict=True)
    ]
    same(got, np.array(exact, kind))
    assert np.count_nonzero(got) > 100


# ---------------------------------------------------------------- floats: elementary functions

REFERENCE = {
    "exp": np.exp,
    "exp2": np.exp2,
    "expm1": np.expm1,
    "log": np.log,
    "log2": np.log2,
    "log1p": np.log1p,
    "sin": np.sin,
    "cos": np.cos,
    "tan": np.tan,
    "asin": np.arcsin,
    "acos": np.arccos,
    "atan": np.arctan,
    "sinh": np.sinh,
    "cosh": np.cosh,
    "tanh": np.tanh,
    "asinh": np.arcsinh,
    "acosh": np.arccosh,
    "atanh": np.arctanh,
    "sigmoid": special.expit,
    "erf": special.erf,
    "erfc": np.vectorize(math.erfc, otypes=[float]),
    "pow": np.power,
    "atan2": np.arctan2,
}


def close(got: Array, expected: Array) -> None:
    """Within a few units in the last place; NaN, infinities and the sign of zero exactly."""
    special_case = ~np.isfinite(expected) | (expected == 0)
    same(got[special_case], expected[special_case])
    rest = ~special_case
    spacing = np.maximum(np.spacing(np.abs(expected[rest])), np.finfo(got.dtype).smallest_subnormal)
    error = np.abs(got[rest].astype(np.float64) - expected[rest].astype(np.float64)) / spacing
    assert not len(error) or error.max() <= 4, f"{error.max()} ULP"


@pytest.mark.parametrize("lanes", LANES)
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("op", REFERENCE)
def test_elementary_functions(op: str, dtype: DType, lanes: int) -> None:
    kind = numpy_dtype(dtype)
    if op in ("pow", "atan2"):
        a, b = all_pairs(dtype)
        columns = [a, b]
    else:
        sample = np.random.default_rng(1).uniform(-20, 20, 100)
        columns = [np.concatenate([np.array(edge_values(dtype), kind), sample.astype(kind)])]
    # f32 is compared with the function in f64, rounded.
    expected = REFERENCE[op](*[c.astype(np.float64) for c in columns]).astype(kind)
    got = map_arrays(op_of(op, dtype), columns, [dtype] * len(columns), dtype, lanes)
    if op in ("sin", "cos", "tan"):  # NumPy's own results for huge arguments are not exact
        small = (np.abs(columns[0]) < 1e4) | ~np.isfinite(columns[0])
        got, expected = got[small], expected[small]
    close(got, expected)


@pytest.mark.parametrize("lanes", LANES)
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("exponent", [0, 1, 2, 3, 4, -1, -2, 0.5, -0.5, 1.5, 5])
def test_powers_with_a_constant_exponent(exponent: float, dtype: DType, lanes: int) -> None:
    """Written as multiplications and roots where that is as accurate; the special cases are those of pow."""
    kind = numpy_dtype(dtype)
    rng = np.random.default_rng(1)
    spread = np.ldexp(rng.uniform(-1, 1, 2000), rng.integers(-140, 120, 2000))
    x = np.concatenate([np.array(edge_values(dtype), kind), spread.astype(kind)])

    def power(a: Expr) -> Expr:
        return Op("pow", (a, Const(float(exponent), dtype)), dtype)

    got = map_arrays(power, [x], [dtype], dtype, lanes)
    exact = np.power(
        x.astype(np.float64), np.full(x.size, float(exponent))
    )  # a scalar 0.5 is a sqrt for NumPy
    close(got, exact.astype(kind))
    if dtype == F32:
        assert ulps_f32(got, exact)[0] <= 2


# ---------------------------------------------------------------- casts, logic, selection


def saturated(a: Array, to: DType) -> Array:
    low, high = integer_limits(to)
    return np.array(
        [
            0
            if math.isnan(x)
            else max(low, min(high, math.trunc(x)))
            if math.isfinite(x)
            else high
            if x > 0
            else low
            for x in a.tolist()
        ],
        numpy_dtype(to),
    )


@pytest.mark.parametrize("lanes", LANES)
@pytest.mark.parametrize("source", COMPUTED.values(), ids=str)
@pytest.mark.parametrize("to", COMPUTED.values(), ids=str)
def test_casts(source: DType, to: DType, lanes: int) -> None:
    """Those from and to narrow floats have tests of their own, in test_narrow_types.py."""
    a = np.array(edge_values(source), numpy_dtype(source))
    if source.is_float:
        a = np.concatenate([a, np.array([254.9, 255.5, 256.0, -0.9, 2147483583.0, 9.2e18, 1e10], a.dtype)])
    got = map_arrays(lambda x: Cast(x, to), [a], [source], to, lanes)
    if to == BOOL:
        expected = a != 0
    elif source.is_float and to.is_integer:
        expected = saturated(a, to)
    else:
        expected = a.astype(numpy_dtype(to))
    same(got, expected)


@pytest.mark.parametrize("lanes", LANES)
def test_logic(lanes: int) -> None:
    a, b = all_pairs(BOOL)
    same(map_arrays(op_of("and", BOOL), [a, b], [BOOL, BOOL], BOOL, lanes), a & b)
    same(map_arrays(op_of("or", BOOL), [a, b], [BOOL, BOOL], BOOL, lanes), a | b)
    same(map_arrays(op_of("not", BOOL), [a], [BOOL], BOOL, lanes), ~a)


@pytest.mark.parametrize("lanes", LANES)
@pytest.mark.parametrize("dtype", DTYPES.values(), ids=str)
def test_selection(dtype: DType, lanes: int) -> None:
    a, b = all_pairs(dtype)
    condition = np.arange(len(a)) % 3 == 0

    def choose(c: Expr, x: Expr, y: Expr) -> Expr:
        return Select(c, x, y)

    same(map_arrays(choose, [condition, a, b], [BOOL, dtype, dtype], dtype, lanes), np.where(condition, a, b))


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=str)
def test_constants(dtype: DType) -> None:
    values = np.array(edge_values(dtype), numpy_dtype(dtype)).tolist()
    for lanes in (1, 4):
        for value in values:
            x = np.zeros(4, numpy_dtype(dtype))
            got = map_arrays(lambda _, v=value: Const(v, dtype), [x], [dtype], dtype, lanes)
            same(got, np.full(4, value, numpy_dtype(dtype)))


def test_bools_of_any_byte_are_true() -> None:
    x = np.array([0, 1, 2, 128, 255], np.uint8).view(np.bool_)
    for lanes in (1, 4):
        got = map_arrays(lambda a: Op("not", (a,), BOOL), [x], [BOOL], BOOL, lanes)
        assert got.view(np.uint8).tolist() == [1, 0, 0, 0, 0]


def test_every_operator_is_tested() -> None:
    tested = {
        *INTEGER_OPS,
        *INTEGER_FUNCTIONS,
        *FLOAT_OPS,
        *FLOAT_FUNCTIONS,
        *COMPARE,
        *PREDICATE,
        *REFERENCE,
    }
    assert tested | {"fma", "and", "or", "not"} == OPS
    assert {
        *ARITHMETIC,
        *BITWISE,
        *COMPARISONS,
        *FUNCTIONS,
        *PREDICATES,
        "and",
        "or",
        "not",
        "popcount",
    } == OPS
