"""The functions under `math="fast"`: their errors are those that docs/accuracy.md states, and limits stay right."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import numpy as np
import pytest

import te
from te.backends.llvm.math.fast import FAST
from te.ir.types import F32, F64
from te.target import parse_target
from tests.backends.math_reference import BINARY, REFERENCE, Array, Compiled, samples_f32, ulps_f32
from tests.backends.test_math_accuracy import arguments
from tests.machines import DISTINCT, HERE


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


# The largest error in ULP, and the arguments for which it is stated.
ULPS = {
    "sigmoid": (7.0, -87.0, 3e38),
    "tanh": (6.0, -3e38, 3e38),
    "erf": (7.0, -3e38, 3e38),
    "erfc": (7.0, -3e38, 3e38),
}
# Not near zeros of the function: the largest absolute error for |x| <= 10,000.
ABSOLUTE = {"sin": 2e-7, "cos": 4e-7}


def test_each_has_a_stated_error() -> None:
    assert set(FAST) == {*ULPS, *ABSOLUTE, "pow"}


def results(name: str, target: str, *columns: Array) -> tuple[Array, Array]:
    got = Compiled(name, F32, columns[0].size, 16, parse_target(target), fast=True)(*columns)
    return got, REFERENCE[name](*[c.astype(np.float64) for c in columns])


@pytest.mark.parametrize("target", DISTINCT)
@pytest.mark.parametrize("name", ULPS)
def test_ulps(name: str, target: str) -> None:
    limit, low, high = ULPS[name]
    x = samples_f32(np.random.default_rng(0))
    x = np.where((x >= low) & (x <= high), x, np.float32(0.5))
    error, at = ulps_f32(*results(name, target, x))
    assert error <= limit, (error, x[at])


@pytest.mark.parametrize("target", DISTINCT)
@pytest.mark.parametrize("name", ABSOLUTE)
def test_absolute_errors(name: str, target: str) -> None:
    x = samples_f32(np.random.default_rng(0))
    near = np.where(np.abs(x) <= 1e4, x, np.float32(0.5))
    got, exact = results(name, target, near)
    assert np.abs(got - exact).max() <= ABSOLUTE[name]
    got, _ = results(name, target, x)
    assert (np.isnan(got) | (np.abs(got) <= 1)).all()
    assert (np.isnan(got) == ~np.isfinite(x)).all()


@pytest.mark.parametrize("target", DISTINCT)
def test_the_error_of_pow_grows_with_the_exponent(target: str) -> None:
    rng = np.random.default_rng(0)
    x = np.exp(rng.uniform(-80, 80, 1 << 16)).astype(np.float32)
    y = (rng.uniform(-80, 80, x.size) / np.log(x.astype(np.float64))).astype(np.float32)
    got, exact = results("pow", target, x, y)
    relative = np.abs(got - exact) / exact
    assert (relative <= 2.0**-23 * (2 + 1.5 * np.abs(np.log2(exact)))).all()


@pytest.mark.parametrize("target", DISTINCT)
@pytest.mark.parametrize("name", FAST)
def test_what_is_not_finite(name: str, target: str) -> None:
    special = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -1.0, 2.0], np.float32)
    columns = [np.repeat(special, 8), np.tile(special, 8)][: 2 if name in BINARY else 1]
    got, exact = results(name, target, *columns)
    rough = np.isclose(got, exact, rtol=1e-5, atol=1e-37, equal_nan=True)
    assert rough.all(), [(c[~rough][0], got[~rough][0], exact[~rough][0]) for c in columns]


@pytest.mark.parametrize("name", FAST)
def test_a_lane_has_the_bits_of_the_scalar(name: str) -> None:
    rng = np.random.default_rng(1)
    x = rng.integers(0, 1 << 32, 448, dtype=np.uint32).view(np.float32)
    columns = arguments(
        name, np.where(rng.random(448) < 0.5, x, rng.uniform(-8, 8, 448)).astype(np.float32), rng
    )
    scalar = Compiled(name, F32, 448, 1, parse_target(HERE), fast=True)(*columns)
    for lanes in (7, 16, 32):
        vector = Compiled(name, F32, 448, lanes, parse_target(HERE), fast=True)(*columns)
        same = (vector.view(np.uint32) == scalar.view(np.uint32)) | (np.isnan(vector) & np.isnan(scalar))
        assert same.all(), lanes


def test_f64_is_not_affected() -> None:
    x = np.random.default_rng(2).uniform(-8, 8, 64)
    strict, fast = (Compiled("tanh", F64, 64, 8, parse_target(HERE), fast=fast)(x) for fast in (False, True))
    assert (strict == fast).all()


def test_a_build_with_fast_math_is_another_kernel() -> None:
    text = "op f(X: f32[N]) -> Y: f32[N] { Y[i] = erf(X[i]) }\n"
    x = np.linspace(-3, 3, 1000, dtype=np.float32)
    for _ in range(2):  # compiled, and out of the cache
        strict, fast = te.build(text), te.build(text, math="fast")
        assert (strict(x) != fast(x)).any()
        np.testing.assert_allclose(strict(x), fast(x), rtol=1e-6)
    assert fast.ir("llvm").startswith('; te: f for llvm, math="fast"')
    assert 'math="fast"' not in strict.ir("llvm")
