"""Blocks, transposed in registers: what is read and stored, next to pages that nobody may touch."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import te
from te.ir.blocks import blocks_of
from te.ir.expr import Const, Select, Var, add, compare, integer, mul
from te.ir.loop import If
from te.ir.types import F32
from tests.backends.llvm_support import Fence, argument, kernel, load, loop, run, store

TRANSPOSE = """
op tr<T>(X: T[N, M]) -> Y: T[M, N] {
    Y[i, j] = X[j, i] + X[j, i]
}
schedule tr on llvm {
"""
PERMUTE = """
op tr<T>(X: T[L, N, K, M]) -> Y: T[L, M, K, N] {
    Y[l, i, k, j] = X[l, j, k, i] + X[l, j, k, i]
}
schedule tr on llvm {
    reorder l, k, i, j
"""
READ = "tile i, j by {0}, {1}\n unroll ii\n vectorize ji\n"
STORE = "tile i, j by {1}, {0}\n reorder io, jo, ji, ii\n unroll ji\n vectorize ii\n"
TWO = "tile i, j by {0}, {1}\n split ji by 8 into u, v\n unroll ii, u\n vectorize v\n"
TILES = [(4, 4), (8, 8), (16, 16), (14, 32), (5, 12), (32, 4), (4, 48), (16, 7), (6, 64)]
DTYPES = [np.float32, np.float64, np.int8, np.uint16, np.int64]


@functools.lru_cache(maxsize=256)
def compiled(text: str) -> Any:
    return te.build(text)


def data(shape: tuple[int, ...], dtype: Any, seed: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).integers(0, 60, shape).astype(dtype)


@given(
    st.sampled_from([READ, STORE, TWO]),
    st.sampled_from(TILES),
    st.sampled_from(DTYPES),
    st.integers(1, 70),
    st.integers(1, 70),
    st.booleans(),
)
def test_tiles_of_any_size_at_a_fence(
    form: str, tile: tuple[int, int], dtype: Any, n: int, m: int, at_end: bool
) -> None:
    tile = (tile[0], 16) if form == TWO else tile
    k = compiled(TRANSPOSE + form.format(*tile) + "}")
    fence = Fence()
    X = fence.array(data((n, m), dtype, n), at_end=at_end)
    Y = fence.array(np.full((m, n), 99, dtype), at_end=at_end)
    np.testing.assert_array_equal(k(X, out=Y), 2 * X.T)


@given(
    st.sampled_from([READ, STORE]),
    st.sampled_from([(8, 8), (16, 16), (14, 32)]),
    st.tuples(st.integers(1, 3), st.integers(1, 40), st.integers(1, 3), st.integers(1, 40)),
)
def test_permutations(form: str, tile: tuple[int, int], shape: tuple[int, ...]) -> None:
    k = compiled(PERMUTE + form.format(*tile) + "}")
    X = Fence().array(data(shape, np.float32, 0))
    np.testing.assert_array_equal(k(X), 2 * X.transpose(0, 3, 2, 1))


@pytest.mark.parametrize("form", [READ, STORE, TWO], ids=["read", "store", "two"])
@pytest.mark.parametrize("target", ["llvm", "llvm.avx2", "llvm.sse4"])
def test_nothing_is_gathered_or_scattered(form: str, target: str) -> None:
    text = te.build(TRANSPOSE + form.format(16, 16) + "}", dtypes={"T": "f32"}, target=target).ir("llvm")
    assert "gather" not in text
    assert "scatter" not in text


@pytest.mark.parametrize("lanes", [4, 16])
def test_a_streamed_block(lanes: int) -> None:
    k = compiled(TRANSPOSE + STORE.format(16, lanes) + " stream Y\n}")
    X = data((77, 130), np.float32, 1)
    np.testing.assert_array_equal(k(X), 2 * X.T)


def test_rows_of_which_a_condition_leaves_a_part() -> None:
    """`j <= i` is another one in each row and each column: on or below the diagonal, the rest stays."""
    x, y = argument("X", F32, 16, 16), argument("Y", F32, 16, 16)
    i, j = Var("Y.i"), Var("Y.j")
    inner = If(compare("<=", j, i), store(y, [i, j], load(x, j, i)))
    body = loop("Y.i", 16, loop("Y.j", 16, inner, "vector"), "unrolled")
    assert len(blocks_of(body)) == 1
    X, Y = data((16, 16), np.float32, 2), np.full((16, 16), -1, np.float32)
    run(kernel([x, y], ["Y"], body), {"X": X, "Y": Y})
    np.testing.assert_array_equal(Y, np.where(np.tri(16, dtype=bool), X.T, -1))


@pytest.mark.parametrize("first", [True, False])
def test_trips_that_a_condition_leaves_out(first: bool) -> None:
    x, y = argument("X", F32, 16, 16), argument("Y", F32, 16, 16)
    i, j = Var("Y.i"), Var("Y.j")
    condition = compare("<", i, integer(5)) if first else compare("<=", integer(5), i)
    inner = loop("Y.j", 16, store(y, [j, i], load(x, i, j)), "vector")
    body = loop("Y.i", 16, If(condition, inner), "unrolled")
    assert len(blocks_of(body)) == 1
    X, Y = data((16, 16), np.float32, 2), np.full((16, 16), -1, np.float32)
    run(kernel([x, y], ["Y"], body), {"X": X, "Y": Y})
    stored = (np.arange(16) < 5) == first
    np.testing.assert_array_equal(Y, np.where(stored, X.T, -1))


def test_what_is_no_block() -> None:
    """Reads that may not be made, of what the loop writes, of neighbours, or too far apart in both."""
    x, y = argument("X", F32, 16, 16), argument("Y", F32, 16, 16)
    i, j = Var("Y.i"), Var("Y.j")

    def found(value: Any, trips: int = 16) -> int:
        body = loop("Y.j", 16, store(y, [i, j], value), "vector")
        return len(blocks_of(loop("Y.i", trips, body, "unrolled")))

    assert found(load(x, j, i)) == 1
    assert found(load(x, j, i), trips=2) == 0
    assert found(load(y, j, i)) == 0
    assert found(load(x, i, j)) == 0
    assert found(load(x, j, add(i, i))) == 0
    assert found(load(x, mul(i, integer(0)), i)) == 0
    assert found(Select(compare("<", i, j), load(x, j, i), Const(0.0, F32))) == 0
