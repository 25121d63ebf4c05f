"""Vectors of as many lanes as no register has: right, and as quick as those that one has."""

from __future__ import annotations

import re

import numpy as np
import pytest

import te
from te.backends.interp.loop import run_kernel
from tests.machines import NATIVE

MATMUL = "op f(A: T[M, K], B: T[K, N]) -> C: T[M, N] { C[i, j] = sum[k](A[i, k] * B[k, j]) }"
SUMS = "op f(X: f32[M, N]) -> Y: f32[M] { Y[i] = sum[j](X[i, j]) }"
IN_REGISTERS = "cache_write C at C.jo as Ct in register\nvectorize Ct.j\n"


def tiles(lanes: int, more: str = "") -> str:
    return (
        f"split C.i by 4\nsplit C.j by {lanes}\nreorder C.io, C.jo, C.k, C.ii, C.ji\n{more}"
        "unroll C.ii\nvectorize C.ji"
    )


@pytest.mark.parametrize("lanes", [7, 12, 20, 24, 40, 48, 80, 96])
@pytest.mark.parametrize("more", ["", IN_REGISTERS], ids=["sums", "registers"])
@pytest.mark.parametrize("dtype", ["f32", "f64", "i8", "i32"])
def test_products_of_any_width_are_right(lanes: int, more: str, dtype: str) -> None:
    text = MATMUL.replace("T[", f"{dtype}[")
    kernel = te.build(text, tiles(lanes, more))
    for m, k, n in [(9, 5, 2 * lanes + 3), (4, 1, lanes), (5, 3, lanes - 1)]:
        rng = np.random.default_rng(n)
        a, b = (rng.integers(-3, 4, shape).astype(kernel.inputs[0].array_dtype) for shape in ((m, k), (k, n)))
        wanted = a.astype("f8") @ b.astype("f8")
        np.testing.assert_array_equal(kernel(a, b).astype("f8"), wanted)


@pytest.mark.parametrize("lanes", [12, 48])
def test_sums_over_lanes_keep_their_order(lanes: int) -> None:
    lines = f"vectorize Y.j by {lanes}"
    x = np.random.default_rng(0).standard_normal((3, 5 * lanes + 1)).astype(np.float32)
    kernel = te.build(SUMS, lines)
    final = kernel._compilation.variants[-1].final
    wanted = run_kernel(final, {"X": x}, {"M": 3, "N": x.shape[1]})["Y"]
    np.testing.assert_array_equal(kernel(x), wanted)


@pytest.mark.skipif("llvm.avx512" not in NATIVE, reason="this machine has no AVX-512")
def test_48_lanes_are_three_registers() -> None:
    code = te.build(MATMUL.replace("T[", "f32["), tiles(48), sizes={"M": 96, "K": 96, "N": 96}).ir("asm")
    products = re.findall(r"vfmadd\w+ps\s+.*%zmm", code)
    spills = re.findall(r"vmovups\s+%zmm\d+, -?\d*\(%rsp\)", code)
    assert len(products) >= 12
    assert not spills
