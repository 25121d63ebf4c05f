"""Blocks started in groups are the same blocks: each result is written, and once."""

from __future__ import annotations

import numpy as np
import pytest

import te
from te.backends.cuda.emulator.executable import Emulation, emulating
from tests.backends.emulator.running import needs_gxx

pytestmark = needs_gxx

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


def test_other_orders_are_that_of_the_grid() -> None:
    assert "te_grouped_block" not in te.build(TEXT.replace(" order grouped", ""), target="cuda").ir("cuda")
