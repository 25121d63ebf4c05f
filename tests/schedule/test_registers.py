"""Tiles in registers, which have no addresses: each is known when the loops are written out, or is refused."""

from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

import te
from te.backends.interp.loop import run_kernel
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


BEYOND = "op f(X: f32[M, 15]) -> Y: f32[M] { Y[i] = sum[k](X[i, k] * 2.0) }"
PARTS = "split k by 32 into ko, k0; split k0 by 16 into km, kk; "


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        (BEYOND, PARTS + "cache_read X at km as R in register"),
        (
            "op f(X: f32[15]) -> Y: f32[15] { e[i] = X[i] + 1.0\n Y[i] = e[i] * 2.0 }",
            "split Y.i by 32 into a, b; split Y.b by 16 into c, d; compute_at e at Y.c in register",
        ),
        (
            "op f(X: f32[15]) -> Y: f32[15] { e[i] = X[i] + 1.0\n Y[i] = e[i] * 2.0 }",
            "split Y.i by 32 into a, b; split Y.b by 16 into c, d; split e.i by 32 into a, b; "
            "split e.b by 16 into c, d; "
            "merge e.a, Y.a; merge e.c, Y.c; set_scope e in register",
        ),
        (
            "op f(X: f32[15]) -> Y: f32[15] { Y[i] = X[i] + 1.0 }",
            "split i by 32 into a, b; split b by 16 into c, d; cache_write Y at c in register",
        ),
    ],
)
def test_a_part_no_smaller_than_the_tensor_begins_where_its_trip_does(text: str, lines: str) -> None:
    """Which of the first 15 registers is `16 * km + kk`, in a loop over `km`? It is `kk` of 16 that begin there."""
    kernel = finalize(scheduled(text, lines.replace("; ", "\n")))
    verify_kernel(kernel)
    assert_same(nest(program(text)), kernel, *({"M": m} for m in (0, 1, 3)))


@pytest.mark.parametrize("target", ["llvm", "cuda.sm_80"])
def test_registers_that_a_loop_around_them_chooses_are_refused(target: str) -> None:
    lines = PARTS + "cache_read X at km as R; set_scope R in register"
    with pytest.raises(te.ScheduleError) as caught:
        te.build(BEYOND, schedule=lines.replace("; ", "\n"), target=target)
    (found,) = caught.value.diagnostics
    assert found.code == "register-index"
    assert "`Y.km` is a loop around its registers" in found.message
    assert found.span is not None
    assert found.span.source.text[found.span.start :] == "R in register"


@pytest.mark.parametrize("terms", [15, 16])
def test_tensor_cores_multiply_tiles_that_are_larger_than_the_matrices(terms: int) -> None:
    text = (Path(__file__).parents[1] / "backends" / "cuda" / "tensor_cores.te").read_text()
    text = text.replace("A: bf16[M, K], B: bf16[K, N]", f"A: bf16[M, {terms}], B: bf16[{terms}, N]")
    kernel = te.build(text, target="cuda.sm_80")
    rng = np.random.default_rng(0)
    a, b = (rng.integers(-3, 4, shape).astype(ml_dtypes.bfloat16) for shape in ((33, terms), (terms, 7)))
    expected = np.maximum(a.astype(np.float32) @ b.astype(np.float32), 0).astype(ml_dtypes.bfloat16)
    final = kernel._compilation.variants[-1].final
    np.testing.assert_array_equal(run_kernel(final, {"A": a, "B": b}, {"M": 33, "N": 7})["C"], expected)


TURNED = """
op f(X: f32[M, 32, 32, 32]) -> Y: f32[M, 32, 32, 32] {
    e[i, a, b, c] = X[i, a, b, c] + 1.0
    Y[i, a, b, c < 32] = e[i, b, a, 31 - c] * 2.0
}
"""


@pytest.mark.parametrize(
    ("lines", "place"),
    [
        ("compute_at e at Y.i in register; bind Y.i to thread.x", "e at"),
        ("compute_at e at Y.i; set_scope e in register; bind Y.i to thread.x", "e in"),
    ],
)
def test_a_nest_that_registers_write_out_has_a_limit(lines: str, place: str) -> None:
    """Three loops of 32 trips: the compiler of a GPU would take a minute, and keep it all in memory."""
    with pytest.raises(te.ScheduleError) as caught:
        te.build(TURNED, schedule=lines.replace("; ", "\n"), target="cuda.sm_80")
    (found,) = caught.value.diagnostics
    assert found.code == "unroll-limit"
    assert "32768 copies of a statement of `e`" in found.message
    assert found.span is not None
    assert found.span.source.text[found.span.start :].startswith(place)
