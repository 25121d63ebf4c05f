"""Products of bytes under the automatic schedule: of all signs and zero points, exact to the last bit."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import te
from te.schedule.auto import auto_schedule
from te.target import parse_target
from tests.schedule.scheduling import assert_built_same, program, sizes_around

CACHES = (32 << 10, 1 << 20, 32 << 20)

SIGNED = """
op f(A: i8[M, K], param B: i8[K, N]) -> C: i32[M, N] { C[i, j] = sum[k](i32(A[i, k]) * i32(B[k, j])) }
"""
QUANTISED = """
op f(X: u8[M, K], param W: u8[N, K], x: u8, w: u8[N], s: f32) -> Y: u8[M, N] {
    Z[i, j] = sum[k]((i32(X[i, k]) - i32(x)) * (i32(W[j, k]) - i32(w[j])))
    Y[i, j] = u8(round(f32(Z[i, j]) * s) + 128)
}
"""
MADE = """
op f(X: f32[M, K], W: i8[K, N]) -> Y: i32[M, N] {
    Q[i, k] = i8(round(X[i, k] * 2))
    Y[i, j] = sum[k](i32(Q[i, k]) * i32(W[k, j]))
}
"""
BATCHES = """
op f(A: i8[B, M, K], W: i8[B, K, N]) -> C: i32[B, M, N] { C[b, i, j] = sum[k](i32(A[b, i, k]) * i32(W[b, k, j])) }
"""


def lines_of(text: str, sizes: dict[str, int] | None = None, target: str = "llvm.avx512_vnni") -> str:
    on = dataclasses.replace(parse_target(target), cores=2, caches=CACHES)
    return str(auto_schedule(program(text, sizes=sizes or {}), on))


def test_signed_bytes_and_zero_points_run_by_an_instruction() -> None:
    assert (
        lines_of(SIGNED)
        == """\
schedule f on llvm.avx512_vnni {
    compensate C
    layout B[k, j] as [j // 32, k // 4, j % 32, k % 4]
    split C_product.i by 8
    split C_product.j by 32
    split C_product.k by 4 into kg, kt
    reorder C_product.jo, C_product.io, C_product.kg, C_product.ii, C_product.ji, C_product.kt
    fuse C_product.jo, C_product.io into tile
    compute_at C at C_product.tile
    set_scope C_product in register
    unroll C_product.ii
    tensorize C_product.ji, C_product.kt as vpdpbusd
    unroll C.i
    vectorize C.j
    parallel C_product.tile
    split C_right_sum.j by 64
    reorder C_right_sum.jo, C_right_sum.k, C_right_sum.ji
    vectorize C_right_sum.ji
    parallel C_right_sum.jo
    vectorize C_left.d1 by 64
    parallel C_left.d0
    precompute C_right_sum
    stream C of 16777216
}"""
    )
    text = lines_of(QUANTISED)
    assert "compute_at Z, Y at Z_product.tile" in text
    assert "precompute Z_right_sum" in text
    assert "tensorize Y_product.ji, Y_product.kt as vpdpbusd" in lines_of(MADE)


def test_where_it_does_not_pay_it_stays_a_product_of_integers() -> None:
    assert "compensate" not in lines_of(SIGNED, target="llvm.avx2")
    assert "compensate" in lines_of(SIGNED, {"M": 1})  # sums of what is bound cost nothing
    assert "compensate" not in lines_of(MADE, {"M": 2})
    assert "compensate" in lines_of(MADE, {"M": 64})


@pytest.mark.parametrize("text", [SIGNED, QUANTISED, MADE, BATCHES])
@pytest.mark.parametrize("target", ["llvm", "llvm.avx2"])
def test_results_stay_the_same(text: str, target: str) -> None:
    assert_built_same(text, *sizes_around(text, (0, 1, 3, 8, 17, 33, 70)), target=target)


ANY = """
op f({param} A: {a}[M, K], {other} B: {b}[K, N], x: {a}, y: {b}[N]) -> C: i32[M, N] {{
    C[i, j] = sum[k]((i32(A[i, k]) - i32(x)) * (i32(B[k, j]) - i32(y[j])))
}}
"""


@given(st.data())
def test_extreme_numbers_and_sums_that_wrap(data: st.DataObject) -> None:
    draw = data.draw
    a, b = (draw(st.sampled_from(["u8", "i8"]), name) for name in ("a", "b"))
    sizes = {name: draw(st.integers(1, most), name) for name, most in (("M", 20), ("N", 70), ("K", 20))}
    text = ANY.format(a=a, b=b, param="", other=draw(st.sampled_from(["", "param"])))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    dtypes = {"u8": np.uint8, "i8": np.int8}

    def full(dtype: str, *shape: int) -> np.ndarray:
        limits = np.iinfo(dtypes[dtype])
        return rng.choice([limits.min, limits.max, 1], shape).astype(limits.dtype)

    inputs = {"A": full(a, sizes["M"], sizes["K"]), "B": full(b, sizes["K"], sizes["N"])}
    inputs |= {"x": full(a), "y": full(b, sizes["N"])}
    known = draw(st.sampled_from([{}, sizes]))
    built = te.build(text, schedule="auto", sizes=known)
    expected = te.build(text, schedule="none")(**inputs)
    np.testing.assert_array_equal(built(**inputs), expected)
    np.testing.assert_array_equal(built.bind(B=inputs.pop("B"))(**inputs), expected)
