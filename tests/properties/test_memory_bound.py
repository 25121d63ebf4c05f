"""The automatic schedule of what is bound by memory, for sizes around the borders of tiles and chunks."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

import te

Array = np.ndarray[Any, Any]
OPS: dict[str, tuple[str, Callable[[Array], Any]]] = {
    "transpose": ("op f<T>(X: T[M, N]) -> Y: T[N, M] { Y[i, j] = X[j, i] }", np.transpose),
    "columns": ("op f<T>(X: T[M, N]) -> Y: T[N] { Y[j] = sum[i](X[i, j]) }", lambda x: x.sum(0, x.dtype)),
    "maxima": ("op f<T>(X: T[M, N]) -> Y: T[N] { Y[j] = max[i](X[i, j]) }", lambda x: x.max(0)),
    "total": ("op f<T>(X: T[M, N]) -> Y: T { Y = sum[i, j](X[i, j]) }", lambda x: x.sum(dtype=x.dtype)),
    "running": (
        "op f<T>(X: T[M, N]) -> Y: T[M, N] { Y[i, j] = X[i, j] + (Y[i, j - 1] else 0) }",
        lambda x: np.cumsum(x, 1, x.dtype),
    ),
    "moved": (
        "op f<T>(X: T[M, N, 5]) -> Y: T[N, M, 5] { Y[i, j, k] = X[j, i, k] }",
        lambda x: x.swapaxes(0, 1),
    ),
    "last": (
        "op f<T>(X: T[3, M, N]) -> Y: T[3, N, M] { Y[l, i, j] = X[l, j, i] }",
        lambda x: x.swapaxes(1, 2),
    ),
}
SIZES = st.sampled_from([1, 2, 7, 8, 9, 15, 16, 17, 31, 33, 63, 64, 65, 255, 257, 300])


@functools.cache
def compiled(name: str) -> Any:
    return te.build(OPS[name][0])


@given(
    st.sampled_from(sorted(OPS)), SIZES, SIZES, st.sampled_from([np.float32, np.float64, np.int32, np.uint8])
)
def test_sizes_around_tiles(name: str, m: int, n: int, dtype: Any) -> None:
    shape = {"moved": (m, n, 5), "last": (3, m, n)}.get(name, (m, n))
    # Whole numbers, so that sums are exact in any order.
    X = np.random.default_rng(m + n).integers(0, 5, shape).astype(dtype)
    np.testing.assert_array_equal(compiled(name)(X), OPS[name][1](X))


@given(SIZES, SIZES, st.sampled_from([0, 4096, 1 << 40]), st.booleans())
def test_streams_of_any_size(m: int, n: int, least: int, transposed: bool) -> None:
    k = streamed(least, transposed)
    X = np.random.default_rng(m).random((m, n), np.float32)
    np.testing.assert_array_equal(k(X), 2 * (X.T if transposed else X))


@functools.cache
def streamed(least: int, transposed: bool) -> Any:
    tile = "tile i, j by 16, 16\n unroll ii\n vectorize ji" if transposed else "vectorize j by 16"
    read, shape = ("X[j, i]", "N, M") if transposed else ("X[i, j]", "M, N")
    op = f"op f(X: f32[M, N]) -> Y: f32[{shape}] {{ Y[i, j] = {read} * 2 }}"
    return te.build(f"{op}\nschedule f on llvm {{\n {tile}\n stream Y of {least}\n}}")
