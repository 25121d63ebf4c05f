"""Blocks started in groups, or along a curve, are the same blocks: each result is written, and once."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import te
from te.backends.cuda import prelude
from te.backends.cuda.emulator.executable import Emulation, emulating
from tests.backends.emulator.running import needs_gxx
from tests.backends.prelude_on_cpu import compiled

pytestmark = needs_gxx

# The place of each block of a grid, in the order in which they are started.
CURVE = """
#define __forceinline__ inline
struct uint3 { unsigned x, y, z; };
static uint3 make_uint3(unsigned x, unsigned y, unsigned z) { return {x, y, z}; }
static uint3 blockIdx, gridDim;
%s
extern "C" void run_curve(unsigned columns, unsigned rows, unsigned *places) {
    gridDim = make_uint3(columns, rows, 1);
    for (blockIdx.y = 0; blockIdx.y < rows; blockIdx.y++) {
        for (blockIdx.x = 0; blockIdx.x < columns; blockIdx.x++) {
            const uint3 place = te_hilbert_block();
            *places++ = place.x;
            *places++ = place.y;
        }
    }
}
"""
TEXT = """
op outer(X: f32[M], W: f32[N]) -> Y: f32[M, N] {
    Y[i, j] = X[i] * W[j]
}

schedule outer on cuda {
    tile i, j by 2, 4 into bi, bj, i0, j0
    bind bi to block.y order grouped
    bind bj to block.x
    bind j0 to thread.x
}
"""


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (15, 30), (16, 4), (17, 4), (70, 33)])
def test_blocks_in_groups(rows: int, columns: int) -> None:
    x, w = np.arange(rows, dtype=np.float32), np.arange(columns, dtype=np.float32)
    kernel = te.build(TEXT, target="cuda-emulated")
    assert "te_grouped_block()" in kernel.ir("cuda")
    with emulating(Emulation((0, 5))):
        np.testing.assert_array_equal(kernel(x, w), np.outer(x, w))


@pytest.mark.parametrize(
    ("rows", "columns"), [(1, 1), (2, 40), (30, 4), (15, 30), (13, 29), (32, 64), (70, 33), (3, 90)]
)
def test_blocks_along_a_hilbert_curve(rows: int, columns: int) -> None:
    """As many blocks as results: each of which is written, so that none is written twice."""
    x, w = np.arange(1, rows + 1, dtype=np.float32), np.arange(1, columns + 1, dtype=np.float32)
    kernel = te.build(TEXT.replace("grouped", "hilbert"), target="cuda-emulated")
    assert "te_hilbert_block()" in kernel.ir("cuda")
    with emulating(Emulation((0, 5))):
        np.testing.assert_array_equal(kernel(x, w), np.outer(x, w))


@pytest.fixture(scope="module")
def curve(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    return compiled(CURVE % prelude.definitions("te_hilbert_block"), tmp_path_factory.mktemp("curve"))


@given(columns=st.integers(1, 90), rows=st.integers(1, 90))
@example(columns=1, rows=1)
@example(columns=65535, rows=2)
def test_the_curve_visits_every_block_once(curve: ctypes.CDLL, columns: int, rows: int) -> None:
    """And goes from each to one beside it, or diagonally."""
    places = np.empty((columns * rows, 2), np.uint32)
    curve.run_curve(columns, rows, ctypes.c_void_p(places.ctypes.data))
    assert np.array_equal(
        np.unique(places[:, 0].astype(np.int64) * rows + places[:, 1]), np.arange(columns * rows)
    )
    assert np.all(places < [columns, rows])
    assert np.abs(np.diff(places.astype(np.int64), axis=0)).max(initial=1) == 1


def test_other_orders_are_that_of_the_grid() -> None:
    assert "te_grouped_block" not in te.build(TEXT.replace(" order grouped", ""), target="cuda").ir("cuda")
