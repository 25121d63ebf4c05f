"""NaN, infinities and subnormal numbers at every position: of vectors, of their tails, of partial results.

A NaN reaches the result of its own row wherever it stands, and no other. `max` and `min` pass it on as
NumPy's do. Subnormal numbers are numbers, and not flushed to zero. On one to eight threads.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest

import te
from te.ir.types import DTYPES, numpy_dtype
from tests.fences import fenced_runtime, in_child, note
from tests.machines import HERE, NARROWER

Formula = Callable[..., Any]

# Lengths around one, two and four vectors of the widest machine, and what remains.
LENGTHS = [1, 7, 16, 17, 33, 64, 67]
ROWS = {
    "max": np.max,
    "min": np.min,
    "sum": np.sum,
    "prod": np.prod,
}
MACHINES = [("auto", HERE), ("none", HERE), *(("auto", target) for target in NARROWER)]


@cache
def rows(reducer: str, dtype: str, schedule: str, target: str) -> te.Kernel:
    return te.build(
        f"op f(X: {dtype}[M, N]) -> Y: {dtype}[M] {{ Y[i] = {reducer}[j](X[i, j]) }}", schedule, target
    )


@pytest.mark.parametrize(("schedule", "target"), MACHINES)
@pytest.mark.parametrize("dtype", ["f32", "f64", "f16", "bf16"])
@pytest.mark.parametrize("reducer", ROWS)
def test_a_nan_at_each_position_of_a_row(reducer: str, dtype: str, schedule: str, target: str) -> None:
    kernel = rows(reducer, dtype, schedule, target)

    def calls() -> None:
        for threads, length in enumerate(LENGTHS, 1):
            te.set_num_threads(threads)
            note(f"{reducer} of {dtype}[{length}, {length}], {schedule}, {target}, {threads=}")
            x = np.ones((length + 1, length), numpy_dtype(DTYPES[dtype]))
            np.fill_diagonal(x[:length], np.nan)  # each row but the last has one, each at another place
            with fenced_runtime(at_end=True) as fence:
                found = kernel(fence.array(x)).astype(np.float64)
            assert np.isnan(found[:length]).all()
            assert found[length] == ROWS[reducer](np.ones(length))

    in_child(calls)


@pytest.mark.parametrize(("schedule", "target"), MACHINES)
def test_a_nan_in_a_product_of_matrices_stays_in_its_row_and_column(schedule: str, target: str) -> None:
    kernel = te.build(
        "op f(A: f32[M, K], B: f32[K, N]) -> C: f32[M, N] { C[i, j] = sum[k](A[i, k] * B[k, j]) }",
        schedule,
        target,
    )

    def calls() -> None:
        rng = np.random.default_rng(0)
        for number in range(24):
            m, k, n = rng.integers(1, 40, 3)
            te.set_num_threads(1 + number % 8)
            note(f"{m} {k} {n}, {schedule}, {target}")
            a, b = np.ones((m, k), np.float32), np.ones((k, n), np.float32)
            row, column = rng.integers(m), rng.integers(n)
            a[row, rng.integers(k)] = np.nan
            b[rng.integers(k), column] = [np.nan, np.inf][number % 2]
            with fenced_runtime(at_end=True) as fence:
                found = kernel(*fence.copies([a, b]))
            with np.errstate(invalid="ignore"):
                np.testing.assert_array_equal(found, a @ b)

    in_child(calls)


MAPS: dict[str, Formula] = {
    "max(X[i], Z[i])": np.maximum,
    "min(X[i], Z[i])": np.minimum,
    "X[i] + Z[i]": np.add,
    "where(X[i] < Z[i], X[i], Z[i])": lambda x, z: np.where(x < z, x, z),
    "abs(X[i]) * sign(Z[i])": lambda x, z: np.abs(x) * np.sign(z),
    "clamp(X[i], 0, 1) - Z[i]": lambda x, z: np.clip(x, 0, 1) - z,
}


@pytest.mark.parametrize(("schedule", "target"), MACHINES)
@pytest.mark.parametrize("dtype", ["f32", "f64"])
@pytest.mark.parametrize("formula", MAPS)
def test_maps_of_special_values(formula: str, dtype: str, schedule: str, target: str) -> None:
    text = f"op f(X: {dtype}[N], Z: {dtype}[N]) -> Y: {dtype}[N] {{ Y[i] = {formula} }}"
    kernel = te.build(text, schedule, target)
    kind = numpy_dtype(DTYPES[dtype])
    tiny = np.finfo(kind).smallest_subnormal
    special = np.array(
        [0.0, -0.0, 1, -2, np.nan, np.inf, -np.inf, tiny, -3 * tiny, np.finfo(kind).tiny / 2], kind
    )
    pairs = np.stack(np.meshgrid(special, special)).reshape(2, -1)

    def calls() -> None:
        for shift in range(0, 17, 4):  # each pair in other lanes, and in tails
            x, z = (np.roll(column, shift)[: 100 - shift] for column in pairs)
            note(f"{text}, {schedule}, {target}, {shift=}")
            with fenced_runtime(at_end=True) as fence:
                found = kernel(*fence.copies([x, z]))
            with np.errstate(invalid="ignore"):
                np.testing.assert_array_equal(found, MAPS[formula](x, z))

    in_child(calls)


@pytest.mark.parametrize(("schedule", "target"), MACHINES)
@pytest.mark.parametrize("dtype", ["f32", "f64"])
def test_subnormal_numbers_are_not_flushed(dtype: str, schedule: str, target: str) -> None:
    """Their sums and products with small integers are exact, on every thread."""
    kernel = te.build(
        f"""op f(A: {dtype}[M, K], B: {dtype}[K, N]) -> C: {dtype}[M, N], s: {dtype}[M] {{
            C[i, j] = sum[k](A[i, k] * B[k, j])
            s[i]    = sum[k](A[i, k])
        }}""",
        schedule,
        target,
    )
    kind = numpy_dtype(DTYPES[dtype])
    tiny = float(np.finfo(kind).smallest_subnormal)

    def calls() -> None:
        rng = np.random.default_rng(1)
        for threads in range(1, 9):
            te.set_num_threads(threads)
            m, k, n = rng.integers(1, 70, 3)
            whole, b = rng.integers(-9, 10, (m, k)), rng.integers(-9, 10, (k, n))
            note(f"{m} {k} {n}, {schedule}, {target}, {threads=}")
            with fenced_runtime(at_end=True) as fence:
                product, total = kernel(*fence.copies([(whole * tiny).astype(kind), b.astype(kind)]))
            np.testing.assert_array_equal(product, ((whole @ b) * tiny).astype(kind))
            np.testing.assert_array_equal(total, (whole.sum(1) * tiny).astype(kind))

    in_child(calls)
