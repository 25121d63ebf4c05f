"""Values of the rows of a tile that a warp holds: maxima and sums along them, and elements computed with them."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest

from te.backends.cuda.emulator.executable import Emulation, emulating
from te.backends.interp.loop import run_kernel
from te.ir.loop import Combine, Kernel, walk_stmt
from te.ir.types import BF16, numpy_dtype
from te.schedule.finalize import finalize
from te.schedule.nest import nest
from tests.properties.test_emulated_schedules import emulated
from tests.schedule.scheduling import program, scheduled

needs_gxx = pytest.mark.skipif(shutil.which("g++") is None, reason="no g++, which compiles what is emulated")

PRODUCT = """
    split total.i by 16 into w, ii
    split total.j by 8 into nj, jj
    split total.k by 16 into ko, kk
    reorder total.ko, total.w, total.nj, total.ii, total.jj, total.kk
    bind total.w to warp
    cache_read A at total.w as Af in register
    cache_read B at total.w as Bf in register
    cache_read A[r, s] at total.ko as As in shared fill 0
    cache_read B[r, s] at total.ko as Bs in shared fill 0
    tensorize total.ii, total.jj, total.kk as mma_m16n8k16_bf16
    bind As.r to thread.y
    bind As.s to thread.x
    bind Bs.r to thread.y
    bind Bs.s to thread.x
"""
REDUCED = """
op rows(A: bf16[M, K], B: bf16[K, 24]) -> m: f32[M] {
    total[i, j] = sum[k](f32(A[i, k]) * f32(B[k, j]))
    m[i] = REDUCER[j where j != 5](total[i, j] * 0.5)
}
"""
OF_ROWS = f"""
    split m.i by 32 into bi, ii
    bind m.bi to block.x
    compute_at total at m.bi
    set_scope total in register
    cache_write m at m.bi as mr in register
    split m.ii by 16 into w, r
    bind m.w to warp
    split mr.i by 16 into w, r
    bind mr.w to warp
    {PRODUCT}
"""
NORMALIZED = """
op softmax(A: bf16[M, K], B: bf16[K, 16]) -> Y: f32[M, 16] {
    total[i, j] = sum[k](f32(A[i, k]) * f32(B[k, j]))
    m[i] = max[j](total[i, j])
    p[i, j] = exp(total[i, j] - m[i])
    l[i] = sum[j](p[i, j])
    Y[i, j] = p[i, j] / l[i]
}
"""
ALL_OF_ROWS = f"""
    split Y.i by 32 into bi, ii
    bind Y.bi to block.x
    compute_at total, m, p, l at Y.bi
    set_scope total in register
    set_scope m in register
    set_scope p in register
    set_scope l in register
    split Y.ii by 16 into w, r
    bind Y.w to warp
    split m.i by 16 into w, r
    bind m.w to warp
    split p.i by 16 into w, r
    bind p.w to warp
    split l.i by 16 into w, r
    bind l.w to warp
    {PRODUCT}
    distribute p like total
"""


def inputs(sizes: dict[str, int], columns: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    of = numpy_dtype(BF16)
    return {
        "A": rng.standard_normal((sizes["M"], sizes["K"])).astype(of),
        "B": rng.standard_normal((sizes["K"], columns)).astype(of),
    }


def final(op: str, lines: str) -> Kernel:
    """Checked by the verifier (`TE_VERIFY`), and with lanes that put results together."""
    found = finalize(scheduled(replace(nest(program(op)), target="cuda"), lines))
    assert any(isinstance(s, Combine) and s.width == 4 for s, _ in walk_stmt(found.body))
    return found


def expected(op: str, columns: int, sizes: dict[str, int]) -> np.ndarray:
    plain = nest(program(op))
    return next(iter(run_kernel(plain, inputs(sizes, columns), sizes).values()))


def check_emulated(op: str, lines: str, columns: int, sizes: dict[str, int], tolerance: float) -> None:
    kernel = final(op, lines)
    for orders in [(0, 1), (1, 5)]:
        with emulating(Emulation(orders, seconds=20)):
            found = next(iter(emulated(kernel, inputs(sizes, columns), sizes).values()))
        np.testing.assert_allclose(found, expected(op, columns, sizes), rtol=tolerance)


@pytest.mark.parametrize("reducer", ["max", "sum"])
@pytest.mark.parametrize("sizes", [{"M": 32, "K": 16}, {"M": 39, "K": 5}], ids=["whole", "ragged"])
def test_lanes_reduce_the_rows_that_they_hold(reducer: str, sizes: dict[str, int]) -> None:
    op = REDUCED.replace("REDUCER", reducer)
    found = run_kernel(final(op, OF_ROWS), inputs(sizes, 24), sizes)["m"]
    np.testing.assert_allclose(found, expected(op, 24, sizes), rtol=1e-6 if reducer == "sum" else 0)


@needs_gxx
@pytest.mark.gxx
def test_reduced_rows_in_the_emulator() -> None:
    check_emulated(REDUCED.replace("REDUCER", "sum"), OF_ROWS, 24, {"M": 39, "K": 5}, 1e-6)


def test_elements_are_computed_with_the_values_of_their_rows() -> None:
    sizes = {"M": 35, "K": 17}
    found = run_kernel(final(NORMALIZED, ALL_OF_ROWS), inputs(sizes, 16), sizes)["Y"]
    np.testing.assert_allclose(found, expected(NORMALIZED, 16, sizes), rtol=1e-6)


@needs_gxx
@pytest.mark.gxx
def test_values_of_rows_in_the_emulator() -> None:
    check_emulated(NORMALIZED, ALL_OF_ROWS, 16, {"M": 35, "K": 17}, 1e-6)
