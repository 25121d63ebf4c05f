"""Tiles in registers, which have no addresses: each is known when the loops are written out, or is refused."""

from __future__ import annotations

import pytest

from te.ir.verify import verify_kernel
from te.schedule.finalize import finalize
from te.schedule.nest import nest
from tests.schedule.scheduling import assert_same, program, scheduled

PRODUCT = """
op f(A: i32[M, K], B: i32[N, K]) -> C: i32[M, N] {
    C[i, j] = sum[k](A[i, k] * B[j, k])
}
"""


@pytest.mark.parametrize(
    "lines",
    [
        "tile C.k, C.i by 7, 4; cache_read A[a, b] at C.io as R in register",
        "tile C.k, C.i by 7, 4; cache_read A[a, b] at C.io as R in stack; set_scope R in register",
        "split C.i by 4; split C.k by 2; reorder C.io, C.j, C.ko, C.ki, C.ii; "
        "cache_read A[a, b] at C.ko as R in register",
    ],
)
def test_a_tile_that_overhangs_reads_registers_where_there_are_elements(lines: str) -> None:
    """No `min(M - 4 * io - 1, ii)` says which register: it would not be known until the program runs."""
    kernel = scheduled(PRODUCT, lines.replace("; ", "\n"))
    final = finalize(kernel)
    verify_kernel(final)
    sizes = [{"M": m, "N": 3, "K": k} for m in (1, 4, 6) for k in (1, 6, 7)]
    assert_same(nest(program(PRODUCT)), final, *sizes)
