"""compute_at, compute_root and the rewrites of storage: programs before and after, and the same results."""

from __future__ import annotations

import numpy as np
import pytest

import te
from te.backends.interp.loop import Order, run_kernel
from te.ir.loop import Kernel
from te.ir.print import print_kernel
from te.schedule.finalize import finalize
from te.schedule.nest import nest
from tests.schedule.scheduling import SOFTMAX, program, random_inputs, refused, scheduled

BIAS = """
op dense(A: f32[M, K], B: f32[K, N], b: f32[N]) -> Y: f32[M, N] {
    C[i, j] = sum[k](A[i, k] * B[k, j])
    P[i, j] = C[i, j] + b[j]
    Y[i, j] = max(P[i, j], 0)
}
"""
BLUR = """
op blur(X: f32[M, N]) -> Y: f32[M, N] {
    h[i, j] = (X[i, j - 1] else 0) + X[i, j] + (X[i, j + 1] else 0)
    Y[i, j] = (h[i - 1, j] else 0) + h[i, j] + (h[i + 1, j] else 0)
}
"""
CONV = """
op conv(X: f32[C, H, W], F: f32[K, C, 3, 3]) -> Y: f32[K, H, W] {
    Y[k, y, x] = sum[c, r, s]((X[c, y + r - 1, x + s - 1] else 0) * F[k, c, r, s])
}
"""
TRANSPOSE = "op transpose(X: f32[M, N]) -> Y: f32[N, M] { Y[i, j] = X[j, i] }"
TRIANGLE = "op prefix_max(X: f32[M, N]) -> Y: f32[M] { Y[i] = max[j where j <= i](X[i, j]) }"
TILED = "tile C.i, C.j by 4, 8 into io, jo, ii, ji\n"

SCHEDULES = {
    "rows": (SOFTMAX, "compute_at m, e, Y_sum at Y.i"),
    "rows in vectors": (
        SOFTMAX,
        "compute_at m, e, Y_sum at Y.i\nvectorize m.j, e.j, Y_sum.k, Y.j by 16\nparallel Y.i",
    ),
    "a stencil's rows": (BLUR, "compute_at h at Y.i"),
    "a stencil's tiles": (
        BLUR,
        "split Y.i by 4\nsplit Y.j by 8\nreorder io, jo, ii, ji\ncompute_at h at jo in stack\nparallel io",
    ),
    "under a fused loop": (BLUR, "fuse Y.i, Y.j into f\ncompute_at h at f\nsplit f by 4"),
    "under a split of a fused loop": (BLUR, "fuse Y.i, Y.j into f\nsplit f by 3\ncompute_at h at fo"),
    "a sliding window": (BLUR, "compute_at h at Y.i keep Y.i"),
    "a sliding window in blocks": (BLUR, "split Y.i by 8\ncompute_at h at Y.ii keep Y.ii\nparallel Y.io"),
    "a sliding window inside": (BLUR, "split Y.j by 4\ncompute_at h at Y.jo keep Y.i"),
    "shifted tails": (BLUR, "split Y.i by 4 tail shift\ncompute_at h at Y.io\nparallel h.i"),
    "an epilogue back at the root": (BIAS, "compute_at P, Y at C.i\ncompute_root P, Y"),
    "a chain back at the root": (
        SOFTMAX,
        "compute_at e, Y_sum at Y.i\ncompute_at m at e.j\ncompute_root e, m",
    ),
    "to the root and back": (SOFTMAX, "compute_at m, e, Y_sum at Y.i\ncompute_root e, Y_sum, m"),
    "a chain": (SOFTMAX, "compute_at e, Y_sum at Y.i\ncompute_at m at e.j"),
    "an epilogue": (BIAS, TILED + "reorder io, jo, k, ii, ji\ncompute_at P, Y at C.jo\nvectorize P.j"),
    "an epilogue inside a reduction": (
        BIAS,
        TILED + "split k by 4 into ko, ki\nreorder io, ko, jo, ki, ii, ji\ncompute_at Y, P at C.jo",
    ),
    "an epilogue at a reduction loop": (BIAS, "compute_at P at C.k\nsplit C.k by 3\nparallel C.i"),
    "an epilogue of one tile": (
        BIAS,
        TILED + "reorder io, jo, k, ii, ji\ncompute_at P, Y at jo\nset_scope C in register\n"
        "set_scope P in register\nunroll ii\nvectorize ji, P.j, Y.j\nparallel io",
    ),
    "a part of a copy": (
        BIAS,
        "fuse C.i, C.j into f\ncache_read A[i, k] at f as Ac\nmerge Ac.k, C.k\nset_scope Ac in local",
    ),
    "packed blocks": (
        BIAS,
        TILED
        + "split k by 4 into ko, ki\nreorder jo, ko, io, ki, ii, ji\ncache_read B[k, j] at ko layout [k, j]\n"
        "cache_write C at io in register\nunroll ii\nvectorize ji, C_tile.j\nparallel jo",
    ),
    "two copies": (
        BIAS,
        TILED + "split k by 3 into ko, ki\nreorder io, jo, ko, ki, ii, ji\n"
        "cache_read A[i, k] at ko layout [k, i] in stack\n"
        "cache_read B[k, j] at jo as Bp layout [j % 8, k]\nalign Bp axis 1 by 16",
    ),
    "a column": (TRANSPOSE, "cache_read X[a, b] at i as Xc"),
    "a tile of columns": (
        TRANSPOSE,
        "tile i, j by 4, 8 into io, jo, ii, ji\ncache_read X at jo as Xc in stack\nvectorize ji\nparallel io",
    ),
    "a whole copy": (
        TRANSPOSE,
        "cache_read X as Xc layout [j // 4, i, j % 4]\nsplit Xc.j by 4\nparallel Xc.i",
    ),
    "a padded copy": (CONV, "cache_read X at k as Xp fill 0\nparallel k"),
    "a padded copy of rows": (
        CONV,
        "split x by 4 into xo, xi\nreorder k, y, xo, c, r, s, xi\ncache_read X at y as Xp fill 0",
    ),
    "a layout": (BLUR, "layout h[i, j] as [j // 4, i, j % 4]\nvectorize Y.j by 4\nparallel h.i"),
    "copies of results": (
        BLUR,
        "cache_write h at h.i as ht\ncache_read h at Y.i as hc\ncache_write Y at Y.i\nparallel Y.i, h.i",
    ),
    "a blocked triangle": (
        TRIANGLE,
        "split j by 4 into jo, ji\nsplit i by 4 into io, ii\nreorder jo, io, ii, ji\n"
        "cache_write Y at io\nvectorize ii",
    ),
}


def sizes_to_try(of: Kernel) -> list[dict[str, int]]:
    """Around the edges of tiles; reductions of no, one and several terms."""
    found = []
    for size in (1, 2, 5, 8, 17):
        for depth in (0, 1, 7):
            sizes = {"M": size, "N": size + 1, "H": size, "W": size + 2, "C": 2, "K": depth}
            found.append({name: sizes[name] for name in of.program.sizes})
    return [sizes for n, sizes in enumerate(found) if sizes not in found[:n]]


@pytest.mark.parametrize("name", SCHEDULES)
def test_placed_stages_compute_the_same(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TE_VERIFY", "1")
    text, lines = SCHEDULES[name]
    before, after = nest(program(text)), scheduled(text, lines)
    final, compiled = finalize(after), te.build(text, schedule=lines)
    for sizes in sizes_to_try(before):
        inputs = random_inputs(before.program, sizes, 1)
        (expected,) = run_kernel(before, inputs, sizes).values()
        orders: tuple[Order, ...] = ("forward", "reverse")
        found = [run_kernel(k, inputs, sizes, order=o) for k in (after, final) for o in orders]
        results = [*(r for f in found for r in f.values()), compiled(**inputs)]
        for result in results:
            np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-6, err_msg=str(sizes))


# ---------------------------------------------------------------- programs


def test_a_window_computes_what_is_new() -> None:
    text = print_kernel(scheduled(BLUR, "compute_at h at Y.i keep Y.i"))
    assert "let h.i_first < 3 = where(i == 0, 0, 2):" in text
    assert "for h.i < 3 - i_first:" in text


def test_a_copy_filled_with_what_reads_choose_needs_no_choice() -> None:
    text = print_kernel(scheduled(CONV, "cache_read X at k as Xp fill 0"))
    assert "Y[k, y, x] sum= Xp[c, r + y - 1, s + x - 1] * F[k, c, r, s]" in text


@pytest.mark.parametrize("fill", ["1", "-0.0"])
def test_a_copy_filled_with_something_else_keeps_the_choice(fill: str) -> None:
    text = print_kernel(scheduled(CONV, f"cache_read X at k as Xp fill {fill}"))
    assert "Y[k, y, x] sum= where(" in text


def test_registers_of_an_epilogue_shrink_to_a_tile() -> None:
    lines = TILED + "reorder io, jo, k, ii, ji\ncompute_at P, Y at jo\nset_scope C in register"
    text = print_kernel(scheduled(BIAS, lines))
    assert "alloc C: f32[4, 8] in register from [4 * io, 8 * jo]:" in text


def test_a_buffer_that_carries_a_sum_stays_outside() -> None:
    lines = "split C.k by 4 into ko, ki\nreorder ko, C.i, C.j, ki\nset_scope C in local"
    text = print_kernel(scheduled(BIAS, lines))
    assert "alloc C: f32[M, N] in local:" in text


TWO_RESULTS = """
op f(X: i32[M, N]) -> rows: i32[M], total: i32 {
    rows[i] = sum[j](X[i, j])
    total   = max[i](rows[i])
}
"""


def test_a_partial_result_leaves_the_guards_of_other_tensors() -> None:
    """`8 * io + ii < M` says which terms `U` has, and still which elements of `rows` there are."""
    lines = "merge rows.i, total.i\nsplit rows.i by 8\ncache_write total at rows.io as U in stack"
    kernel = scheduled(TWO_RESULTS, lines)
    sizes = {"M": 4, "N": 3}
    inputs = random_inputs(kernel.program, sizes)
    expected = run_kernel(nest(kernel.program), inputs, sizes)
    for found in (run_kernel(k, inputs, sizes) for k in (kernel, finalize(kernel))):
        assert {name: r.tolist() for name, r in found.items()} == {
            name: r.tolist() for name, r in expected.items()
        }


def test_a_stage_at_a_loop_cannot_be_made_parallel_across_its_window() -> None:
    found = refused(BLUR, "compute_at h at Y.i keep Y.i\nparallel Y.i")
    assert found.code == "parallel-dependence"


def test_a_ragged_tile_in_registers_asks_nothing_in_its_reduction() -> None:
    lines = TILED + "reorder io, jo, k, ii, ji\ncompute_at P, Y at jo\nset_scope C in register\n"
    text = print_kernel(finalize(scheduled(BIAS, lines + "unroll ii\nvectorize ji, P.j, Y.j")))
    cold = text.split("else:")[1]
    assert "C.tile[ii, ji] sum= A[4 * io + min(M - 4 * io - 1, ii), k]" in cold


DIAGONAL = """
op f(X: f32[N, N - 2]) -> Y: f32[N, N - 2] {
    require N >= 3
    Y[i, l] = sum[j](%s)
}
"""


@pytest.mark.parametrize(
    "value", ["where(i == l, X[j, l], X[i, 0])", "where(i == l and X[j, l] > 0, 1.0, 0.0)"]
)
def test_a_lane_that_overhangs_reaches_no_load_that_no_real_one_reaches(value: str) -> None:
    """Behind `i == l`, X[j, l] is X[j, i]: the same in all lanes, and missing where only a lane that overhangs is i."""
    kernel = finalize(scheduled(DIAGONAL % value, "split Y.l by 8\nvectorize Y.li"))
    for n in (3, 9, 11):
        inputs = random_inputs(kernel.program, {"N": n})
        expected = run_kernel(nest(kernel.program), inputs, {"N": n})
        found = run_kernel(kernel, inputs, {"N": n})
        np.testing.assert_array_equal(found["Y"], expected["Y"])


@pytest.mark.parametrize("line", ["cache_write Y at Y.f as U", "compute_at Z at Y.f"])
def test_a_part_of_a_fused_loop_that_stands_outside_is_one_value_in_it(line: str) -> None:
    """In a trip of `f`, `Y.ji` is `f // N`, and so `4 * jo + ji` has elements between."""
    chain = "op f(X: i32[N, M]) -> Z: i32[M, N] { Y[j, i] = X[i, j]\n Z[j, i] = Y[j, i] * 2 }"
    found = refused(chain, f"split Y.j by 4 into jo, ji\nfuse Y.ji, Y.i into f\nreorder Y.f, Y.jo\n{line}")
    assert "is no box: there are elements between" in found.message
