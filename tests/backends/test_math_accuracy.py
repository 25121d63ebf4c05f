"""How far the elementary functions are from the exact values: 2 ULP in f32, 4 ULP in f64, on every target."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import numpy as np
import pytest

from te.backends.llvm.math.table import ELEMENTARY
from te.ir.types import F32, F64, DType, numpy_dtype
from te.target import parse_target
from tests.backends.math_reference import (
    BINARY,
    REFERENCE,
    UNARY,
    Array,
    Compiled,
    all_f32,
    samples_f32,
    ulps_f32,
)
from tests.machines import DISTINCT

LIMIT_F32, LIMIT_F64 = 2.0, 4.0


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def arguments(name: str, column: Array, rng: np.random.Generator) -> list[Array]:
    return [column, rng.permutation(column)] if name in BINARY else [column]


def test_all_functions_have_a_reference() -> None:
    assert set(REFERENCE) == set(ELEMENTARY)


@pytest.mark.parametrize("target", DISTINCT)
@pytest.mark.parametrize("name", ELEMENTARY)
def test_the_c_library_is_not_called(name: str, target: str) -> None:
    for dtype in (F32, F64):
        function = Compiled(name, dtype, 64, 16, parse_target(target))
        assembly = function.executable.artifact.asm()
        calls = re.findall(r"^\s+(?:call|callq|bl|jmp)\s+(\S+)", assembly, re.MULTILINE)
        assert [c for c in calls if not c.startswith(("te.", "te_test", ".LBB"))] == []


# ---------------------------------------------------------------- f32


@pytest.mark.parametrize("target", DISTINCT)
@pytest.mark.parametrize("name", ELEMENTARY)
def test_f32(name: str, target: str) -> None:
    rng = np.random.default_rng(0)
    x = samples_f32(rng)
    columns = arguments(name, x, rng)
    if name == "pow":  # mostly where the result is neither 0 nor infinite
        base, some = np.abs(columns[0]), slice(0, None, 2)
        exponents = rng.uniform(-105, 90, x.size) / np.log(base.astype(np.float64))
        columns[1][some] = exponents[some].astype(np.float32)
    got = Compiled(name, F32, x.size, 16, parse_target(target))(*columns)
    exact = REFERENCE[name](*[c.astype(np.float64) for c in columns])
    error, at = ulps_f32(got, exact)
    assert error <= LIMIT_F32, (error, [float(c[at]) for c in columns], got[at], exact[at])


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", UNARY)
def test_all_f32(name: str) -> None:
    error, at = all_f32(Compiled(name, F32, 1 << 15, 16, parse_target("llvm")), UNARY[name])
    assert error <= LIMIT_F32, at


# ---------------------------------------------------------------- lanes


@pytest.mark.parametrize("target", DISTINCT)
@pytest.mark.parametrize("dtype", [F32, F64], ids=str)
@pytest.mark.parametrize("name", ELEMENTARY)
def test_a_lane_has_the_bits_of_the_scalar(name: str, dtype: DType, target: str) -> None:
    rng = np.random.default_rng(1)
    count = 7 * 64
    bits = rng.integers(0, 1 << dtype.bits, count, dtype=f"u{dtype.bytes}")
    x = bits.view(numpy_dtype(dtype)).copy()
    x[: count // 2] = rng.uniform(-8, 8, count // 2)
    columns = arguments(name, x, rng)
    scalar = Compiled(name, dtype, count, 1, parse_target(target))(*columns)
    unsigned = f"u{dtype.bytes}"
    for lanes in (2, 7, 8, 16, 32):
        vector = Compiled(name, dtype, count, lanes, parse_target(target))(*columns)
        same = (vector.view(unsigned) == scalar.view(unsigned)) | (np.isnan(vector) & np.isnan(scalar))
        assert same.all(), (lanes, [c[~same][:3] for c in columns])


# ---------------------------------------------------------------- f64


@cache
def exact_functions() -> dict[str, Callable[..., Any]]:
    mp = pytest.importorskip("mpmath")
    mp.mp.prec = 200
    names = "exp expm1 log log1p sin cos tan asin acos atan sinh cosh tanh asinh acosh atanh erf erfc atan2"
    return {name: getattr(mp, name) for name in names.split()} | {
        "rsqrt": lambda x: 1 / mp.sqrt(x),
        "exp2": lambda x: mp.power(2, x),
        "log2": lambda x: mp.log(x, 2),
        "sigmoid": lambda x: 1 / (1 + mp.exp(-x)),
        "pow": mp.power,
    }


# Arguments between which the results are finite; others are in test_llvm_operators.py.
DOMAIN = {
    "exp": (-745, 709.7),
    "exp2": (-1074, 1023.9),
    "expm1": (-745, 709.7),
    "sigmoid": (-745, 745),
    "log1p": (-1, 1e300),
    "asin": (-1, 1),
    "acos": (-1, 1),
    "atanh": (-1, 1),
    "sinh": (-710, 710),
    "cosh": (-710, 710),
    "erfc": (-30, 26.5),
    "acosh": (1, 1e300),
}


def samples_f64(name: str, rng: np.random.Generator) -> list[Array]:
    low, high = DOMAIN.get(name, (-1e300, 1e300))
    if name in ("rsqrt", "log", "log2", "pow"):
        low = 5e-324
    x = np.concatenate(
        [
            np.ldexp(rng.uniform(-1, 1, 400), rng.integers(-1070, 1023, 400)),
            np.ldexp(rng.uniform(-1, 1, 400), rng.integers(-60, 12, 400)),
            rng.uniform(max(low, -800), min(high, 800), 400),
            rng.uniform(-2, 2, 400),
            1 + np.ldexp(rng.uniform(-1, 1, 100), rng.integers(-50, -2, 100)),
            rng.integers(1, 1 << 22, 200) * (np.pi / 2),  # hard for sin, cos, tan
            [6381956970095103.0 * 2.0**797] * 4,  # the f64 nearest to a multiple of pi/2
        ]
    )
    x = np.where((x > low) & (x < high), x, rng.uniform(max(low, 0.5), min(high, 2.0), x.size))
    if name == "atan2":
        return [x, rng.permutation(x)]
    if name != "pow":
        return [x]
    bases = np.where(x == 1, 1.5, np.abs(x))
    bases[::2] = np.exp(rng.uniform(-3, 3, bases[::2].size))
    return [bases, rng.uniform(-744, 709, x.size) / np.log(bases)]


def ulps_f64(got: float, exact: Any) -> float:
    import mpmath as mp

    if exact == 0:
        return 0.0 if got == 0 else float("inf")
    unit = mp.ldexp(1, max(mp.frexp(exact)[1] - 1, -1022) - 52)
    return float(abs(mp.mpf(got) - exact) / unit)


@pytest.mark.parametrize("name", ELEMENTARY)
def test_f64(name: str) -> None:
    exact_of = exact_functions()[name]
    columns = samples_f64(name, np.random.default_rng(2))
    exact = [exact_of(*map(float, row)) for row in zip(*columns, strict=True)]
    for target in DISTINCT[:2]:
        got = Compiled(name, F64, len(exact), 4, parse_target(target))(*columns)
        errors = [ulps_f64(float(g), e) for g, e in zip(got, exact, strict=True)]
        at = int(np.argmax(errors))
        assert errors[at] <= LIMIT_F64, (target, errors[at], [float(c[at]) for c in columns], got[at])
