"""Terms that some rows of a product on tensor cores leave out: triangular matrices, whatever stands beside them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

import te
from te.backends.cuda.emulator.executable import Emulation, emulating
from te.backends.interp.loop import run_kernel
from te.ir.loop import Accumulate, walk_stmt
from te.ir.types import DTYPES, numpy_dtype
from te.schedule.finalize import finalize
from te.schedule.nest import nest
from tests.schedule.scheduling import program, scheduled

TRIANGULAR = """
op mm(A: bf16[M, K], B: bf16[K, N]) -> C: f32[M, N] {
    C[i, j] = sum[k where WHERE](f32(A[i, k]) * f32(B[k, j]))
}
"""
ON_TENSOR_CORES = """
    tile C.i, C.j by 16, 16 into bi, bj, ii, jj
    split C.jj by 8 into nj, column
    split C.k by 16 into ko, kk
    reorder C.bi, C.bj, C.ko, C.nj, C.ii, C.column, C.kk
    cache_write C[r, s] at C.bj as acc in register
    split acc.s by 8
    cache_read A[r, s] at C.ko as Af in register
    cache_read B[r, s] at C.ko as Bf in register
    tensorize C.ii, C.column, C.kk as mma_m16n8k16_bf16
    bind C.bi to block.y
    bind C.bj to block.x
"""
SIZES = {"M": 37, "N": 20, "K": 50}


Takes = Callable[[np.ndarray, np.ndarray], np.ndarray]
CONDITIONS: dict[str, Takes] = {
    "k <= i": lambda i, k: k <= i,
    "k > i + 3": lambda i, k: k > i + 3,
    "2 * k < i + 9": lambda i, k: 2 * k < i + 9,
}


def arrays(where: str) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Inputs of which what is left out is mostly NaN, and the result."""
    rng = np.random.default_rng(0)
    m, n, k = SIZES.values()
    a, b = (rng.integers(-3, 4, size).astype(np.float32) for size in ((m, k), (k, n)))
    rows, terms = np.ogrid[:m, :k]
    takes = CONDITIONS[where](rows, terms)
    expected = np.where(takes, a, 0) @ b
    some = np.flatnonzero(~takes.all(axis=0))
    b[some[::3], 5] = np.nan
    for i in range(m):
        expected[i, 5] = (a[i] * b[:, 5])[takes[i]].sum()
    half = numpy_dtype(DTYPES["bf16"])
    return {"A": a.astype(half), "B": b.astype(half)}, expected


@pytest.mark.parametrize("where", CONDITIONS)
def test_the_interpreter_leaves_them_out(where: str) -> None:
    of = program(TRIANGULAR.replace("WHERE", where))
    final = finalize(scheduled(replace(nest(of), target="cuda"), ON_TENSOR_CORES))
    assert any(isinstance(s, Accumulate) and len(s.kept) == 8 for s, _ in walk_stmt(final.body))
    inputs, expected = arrays(where)
    for kernel in (nest(of), final):
        np.testing.assert_array_equal(run_kernel(kernel, inputs, SIZES)["C"], expected)


@pytest.mark.gxx
@pytest.mark.skipif(shutil.which("g++") is None, reason="no g++, which compiles what is emulated")
@pytest.mark.parametrize("where", ["k <= i", pytest.param("k > i + 3", marks=pytest.mark.slow)])
def test_the_emulator_leaves_them_out(where: str) -> None:
    text = TRIANGULAR.replace("WHERE", where) + f"schedule mm on cuda {{{ON_TENSOR_CORES}}}"
    kernel = te.build(text, target="cuda-emulated")
    assert isinstance(kernel, te.Kernel)
    assert "te_mma_m16n8k16_bf16_where(" in kernel.ir("cuda")
    inputs, expected = arrays(where)
    with emulating(Emulation(orders=(0, 3))):
        np.testing.assert_array_equal(kernel(*inputs.values()), expected)
