"""Conversions between all dtypes, and narrow floats above all, in the interpreter and in compiled code.

The reference is a table of every value of a narrow type, decoded from its bits by the definition of
its format, and exact arithmetic in fractions: nothing of te or ml_dtypes rounds for it.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np
import pytest

from te.backends.interp.arithmetic import quietly
from te.backends.interp.casts import cast
from te.ir.expr import Cast
from te.ir.types import (
    BF16,
    BOOL,
    DTYPES,
    F8E4M3,
    F8E5M2,
    F16,
    F32,
    F64,
    DType,
    integer_limits,
    numpy_dtype,
    numpy_name,
)
from te.target import parse_target
from tests.backends.llvm_support import map_kernel, run
from tests.machines import DISTINCT  # before AVX2 no instruction converts f16: integer code does

Array = np.ndarray[Any, Any]

NARROW = [F16, BF16, F8E4M3, F8E5M2]
WIDE = [t for t in DTYPES.values() if t not in NARROW]
LANES = [1, 3, 16]


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with quietly():
        yield


# ---------------------------------------------------------------- the reference


@dataclass(frozen=True)
class Layout:
    """Bits of the exponent and of the fraction; whether the largest exponent is for infinities and NaNs alone."""

    exponent: int
    fraction: int
    is_ieee: bool = True


LAYOUTS = {F16: Layout(5, 10), BF16: Layout(8, 7), F8E5M2: Layout(5, 2), F8E4M3: Layout(4, 3, False)}


def decoded(bits: int, dtype: DType) -> Fraction | float:
    """The value of some bits: a fraction, an infinity or NaN. -0 is 0."""
    layout = LAYOUTS[dtype]
    fraction = bits & ((1 << layout.fraction) - 1)
    exponent = bits >> layout.fraction & ((1 << layout.exponent) - 1)
    sign = -1 if bits >> (layout.fraction + layout.exponent) else 1
    bias = (1 << (layout.exponent - 1)) - 1
    if exponent == (1 << layout.exponent) - 1:
        if layout.is_ieee:
            return sign * math.inf if fraction == 0 else math.nan
        if fraction == (1 << layout.fraction) - 1:
            return math.nan
    if exponent == 0:
        return sign * Fraction(fraction, 1 << layout.fraction) * Fraction(2) ** (1 - bias)
    return sign * (1 + Fraction(fraction, 1 << layout.fraction)) * Fraction(2) ** (exponent - bias)


@cache
def finite_values(dtype: DType) -> list[Fraction]:
    """The values that are not negative, in the order of their bits, which is that of their size."""
    values = [decoded(bits, dtype) for bits in range(1 << (dtype.bits - 1))]
    finite = [v for v in values if isinstance(v, Fraction)]
    assert finite == sorted(set(finite))
    return finite


def rounded(value: Any, dtype: DType) -> float:
    """A number of a Python type, rounded to a narrow float: ties to the one with an even last bit."""
    if isinstance(value, float) and not math.isfinite(value):
        return math.nan if math.isnan(value) or not LAYOUTS[dtype].is_ieee else value
    sign = math.copysign(1.0, value)
    size = abs(Fraction(value))
    values = finite_values(dtype)
    above = bisect_left(values, size)
    if above == len(values):
        # As if the exponent had no end: the next value up is as far away as the last was.
        beyond = values[-1] + (values[-1] - values[-2])
        half = (values[-1] + beyond) / 2
        if size > half or (size == half and (above - 1) % 2):
            return sign * math.inf if LAYOUTS[dtype].is_ieee else math.nan
        return sign * float(values[-1])
    if values[above] == size or above == 0:
        return sign * float(values[above])
    low, high = size - values[above - 1], values[above] - size
    nearest = above if high < low or (high == low and above % 2 == 0) else above - 1
    return sign * float(values[nearest])


def converted(value: Any, to: DType) -> Any:
    """What a cast of a Python number gives, as a Python number."""
    if to == BOOL:
        return value != 0
    if to.is_integer:
        low, high = integer_limits(to)
        if isinstance(value, float):
            if not math.isfinite(value):
                return 0 if math.isnan(value) else high if value > 0 else low
            return max(low, min(high, math.trunc(value)))
        return (int(value) - low) % (1 << to.bits) + low
    if to in LAYOUTS:
        return rounded(value, to)
    if to == F32 and isinstance(value, int):
        dropped = max(0, abs(value).bit_length() - 24)
        value = round(Fraction(value, 1 << dropped)) << dropped
    return float(np.float32(value)) if to == F32 else float(value)


# ---------------------------------------------------------------- samples


def all_values(dtype: DType) -> Array:
    """Every value of a type of at most 16 bits."""
    if dtype == BOOL:
        return np.array([False, True])
    return np.arange(1 << dtype.bits).astype(f"u{dtype.bytes}").view(numpy_dtype(dtype))


def hard_values(dtype: DType) -> Array:
    """Values of a wide type that are hard to round: ties of all narrow types, and their neighbours."""
    kind = numpy_dtype(dtype)
    rng = np.random.default_rng(0)
    if dtype.is_integer:
        return _hard_integers(dtype, rng)
    ties: list[float] = []
    for narrow in NARROW:
        values = finite_values(narrow)
        values = [*values, values[-1] + (values[-1] - values[-2])]
        step = max(1, len(values) // 1000)
        # The smallest and the largest numbers, and a sample of those between.
        places = {*range(min(130, len(values) - 1)), *range(max(0, len(values) - 130), len(values) - 1)}
        places |= {*range(0, len(values) - 1, step)}
        ties += [float((values[n] + values[n + 1]) / 2) for n in sorted(places)]
    middle = np.array(ties).astype(kind)
    tiny = np.finfo(kind).smallest_subnormal
    near = [middle, np.nextafter(middle, kind.type(np.inf)), np.nextafter(middle, kind.type(0))]
    if dtype == F64:  # rounded to f32 on the way, these would become ties
        near += [middle * (1 + 2.0**-30), middle * (1 - 2.0**-30), middle + tiny]
    unsigned = np.concatenate([*near, np.array([0, tiny, np.finfo(kind).max, np.inf, np.nan], kind)])
    random = rng.integers(0, 1 << dtype.bits, 1000, dtype=np.uint64).astype(f"u{dtype.bytes}").view(kind)
    return np.concatenate([unsigned, -unsigned, random])


def _hard_integers(dtype: DType, rng: np.random.Generator) -> Array:
    low, high = integer_limits(dtype)
    found = {low, high, 0}
    for exponent in range(dtype.bits):
        for lower in range(exponent):  # two bits set: ties of every width
            for delta in (-1, 0, 1):
                found.add((1 << exponent) + (1 << lower) + delta)
                found.add(-(1 << exponent) - (1 << lower) + delta)
    found |= set(rng.integers(low, high, 500, dtype=numpy_dtype(dtype), endpoint=True).tolist())
    return np.array([v for v in sorted(found) if low <= v <= high], numpy_dtype(dtype))


@cache
def sample(dtype: DType) -> Array:
    if dtype.bits <= 16:
        return all_values(dtype)
    return hard_values(dtype)


def as_python(array: Array) -> list[Any]:
    """Exact Python numbers."""
    return (array.astype(np.float64) if array.dtype.kind in "fV" else array).tolist()


@cache
def expected(source: DType, to: DType) -> Array:
    kind = np.float64 if to.is_float else numpy_dtype(to)
    return np.array([converted(value, to) for value in as_python(sample(source))], kind)


def hold(got: Array, source: DType, to: DType) -> None:
    assert got.dtype == numpy_dtype(to)
    wanted = expected(source, to)
    found = got.astype(wanted.dtype)  # f64 holds all narrow floats
    same = found == wanted
    if to.is_float:
        same = (same & (np.signbit(found) == np.signbit(wanted))) | (np.isnan(found) & np.isnan(wanted))
    wrong = np.flatnonzero(~same)
    if len(wrong):
        at = wrong[0]
        pytest.fail(f"{to}({sample(source)[at]!r} of {source}) is {found[at]!r}, not {wanted[at]!r}")


def compiled(source: DType, to: DType, lanes: int, target: str) -> Array:
    values = sample(source)
    count = -(-len(values) // lanes) * lanes
    padded, result = np.resize(values, count), np.zeros(count, numpy_dtype(to))
    k = map_kernel(lambda x: Cast(x, to), [source], to, count, "scalar" if lanes == 1 else "vector", lanes)
    run(k, {"X0": padded, "Y": result}, target=parse_target(target))
    return result[: len(values)]


# ---------------------------------------------------------------- the tests


@pytest.mark.parametrize("dtype", NARROW, ids=str)
def test_types_are_those_of_numpy(dtype: DType) -> None:
    """The reference reads bits as NumPy and ml_dtypes do."""
    for bits, value in enumerate(as_python(all_values(dtype))):
        wanted = decoded(bits, dtype)
        assert value == wanted or (math.isnan(value) and math.isnan(wanted)), bits
    assert numpy_name(dtype).split(".")[1] == numpy_dtype(dtype).name


def test_ends_of_the_types() -> None:
    assert [float(finite_values(t)[-1]) for t in NARROW[:1] + NARROW[2:]] == [65504.0, 448.0, 57344.0]
    assert [rounded(v, F8E4M3) for v in (448.0, 464.0)] == [448.0, 448.0]
    assert all(math.isnan(rounded(v, F8E4M3)) for v in (464.1, 480.0, -1e9, math.inf))
    assert [rounded(v, F8E5M2) for v in (61439.0, 61440.0)] == [57344.0, math.inf]
    assert [rounded(v, F16) for v in (65519.9, 65520.0, -65520.0)] == [65504.0, math.inf, -math.inf]


@pytest.mark.parametrize("to", DTYPES.values(), ids=str)
@pytest.mark.parametrize("source", DTYPES.values(), ids=str)
def test_interpreter(source: DType, to: DType) -> None:
    hold(cast(sample(source), to), source, to)


@pytest.mark.parametrize("lanes", LANES)
@pytest.mark.parametrize("to", DTYPES.values(), ids=str)
@pytest.mark.parametrize("source", DTYPES.values(), ids=str)
def test_compiled(source: DType, to: DType, lanes: int) -> None:
    if source.is_narrow or to.is_narrow or lanes in (1, 16):
        hold(compiled(source, to, lanes, "llvm"), source, to)


@pytest.mark.parametrize("target", [t for t in DISTINCT if t != "llvm"])
@pytest.mark.parametrize("dtype", NARROW, ids=str)
def test_other_machines(dtype: DType, target: str) -> None:
    for lanes in (1, 16):
        hold(compiled(dtype, F32, lanes, target), dtype, F32)
        for source in (F32, F64, DTYPES["i64"], DTYPES["u64"], DTYPES["i32"], DTYPES["u32"]):
            hold(compiled(source, dtype, lanes, target), source, dtype)


@pytest.mark.parametrize("target", DISTINCT)
@pytest.mark.parametrize("dtype", NARROW, ids=str)
@pytest.mark.parametrize("lanes", [1, 2, 5, 8, 17, 32])
def test_every_width_converts(lanes: int, dtype: DType, target: str) -> None:
    """There and back, every value is itself, NaN is NaN: in vectors of any width."""
    values = all_values(dtype)
    count = -(-len(values) // lanes) * lanes
    k = map_kernel(
        lambda x: Cast(Cast(x, F32), dtype),
        [dtype],
        dtype,
        count,
        "scalar" if lanes == 1 else "vector",
        lanes,
    )
    result = np.zeros(count, numpy_dtype(dtype))
    run(k, {"X0": np.resize(values, count), "Y": result}, target=parse_target(target))
    result = result[: len(values)]
    same = result.view(f"u{dtype.bytes}") == values.view(f"u{dtype.bytes}")
    assert np.all(same | (np.isnan(values) & np.isnan(result)))


@pytest.mark.parametrize("target", DISTINCT)
def test_no_helper_functions(target: str) -> None:
    """`__extendhfsf2` and its like are in no library that the JIT looks into."""
    from te.backends import llvm

    for dtype in NARROW:
        for other in DTYPES.values():
            for source, to in ((dtype, other), (other, dtype)):
                for lanes in (1, 16):
                    kind = "scalar" if lanes == 1 else "vector"
                    k = map_kernel(lambda x, to=to: Cast(x, to), [source], to, 32, kind, lanes)
                    assembly = llvm.emit([k], parse_target(target)).asm()
                    assert "__" not in assembly, f"{to}({source}) calls a helper"


@pytest.mark.slow
@pytest.mark.parametrize("dtype", NARROW, ids=str)
def test_many_f32(dtype: DType) -> None:
    """A dense sample of all f32, against ml_dtypes and NumPy, which round f32 rightly."""
    for start in range(0, 1 << 32, 1 << 28):
        bits = (start + np.arange(0, 1 << 28, 251, dtype=np.int64)).astype(np.uint32)
        values = bits.view(np.float32)
        with quietly():
            wanted = values.astype(numpy_dtype(dtype))
        for lanes in (1, 16):
            count = -(-len(values) // lanes) * lanes
            result = np.zeros(count, numpy_dtype(dtype))
            kind = "scalar" if lanes == 1 else "vector"
            k = map_kernel(lambda x: Cast(x, dtype), [F32], dtype, count, kind, lanes)
            run(k, {"X0": np.resize(values, count), "Y": result})
            same = result[: len(values)].view(f"u{dtype.bytes}") == wanted.view(f"u{dtype.bytes}")
            assert np.all(same | (np.isnan(wanted) & np.isnan(result[: len(values)])))
