"""Rows on GPUs: all stages of a row in one launch, which reads it once where its length is known."""

from __future__ import annotations

import numpy as np
import pytest

import te
from te.backends.cuda.emulator.executable import Emulation, emulating
from te.ir.print import print_expr
from te.schedule.auto import auto_cases, auto_schedule
from te.schedule.directives import Specialize
from te.target import EMULATED, parse_target
from tests.backends.emulator.running import needs_gxx
from tests.schedule.scheduling import ROW_SUM, SOFTMAX, program, random_inputs

pytestmark = needs_gxx

LAYER_NORM = """
op f(X: f32[M, N], w: f32[N], b: f32[N]) -> Y: f32[M, N] {
    mu[i]   = mean[j](X[i, j])
    v[i]    = mean[j]((X[i, j] - mu[i]) * (X[i, j] - mu[i]))
    Y[i, j] = (X[i, j] - mu[i]) / sqrt(v[i] + 1e-5) * w[j] + b[j]
}
"""
LOG_SOFTMAX = """
op f(X: f32[A, M, N]) -> Y: f32[A, M, N] {
    m[a, i]    = max[j](X[a, i, j])
    Y[a, i, j] = X[a, i, j] - m[a, i] - log(sum[k](exp(X[a, i, k] - m[a, i])))
}
"""
VARIANCE = """
op f(X: f32[M, N]) -> Y: f32[M] {
    mu[i] = mean[j](X[i, j])
    Y[i]  = sum[j]((X[i, j] - mu[i]) * (X[i, j] - mu[i]))
}
"""
LARGEST = "op f(X: f32[M, N]) -> Y: i64[M] { Y[i] = argmax[j](X[i, j]) }"
HALVES = """
op f(X: f16[M, N]) -> Y: f16[M, N] {
    s[i]    = sum[j](f32(X[i, j]) * f32(X[i, j]))
    Y[i, j] = f16(f32(X[i, j]) / sqrt(s[i] + 1.0))
}
"""
ONE_COLUMN = "op f(A: f32[M, N], B: f32[N, K]) -> C: f32[M, K] { C[i, j] = sum[k](A[i, k] * B[k, j]) }"
ONE_COLUMN_MORE = """
op f(A: f32[M, N, K], B: f32[N, K]) -> C: f32[M, K] {
    s[i]    = sum[k, j](A[i, k, j] * 2.0)
    C[i, j] = max(sum[k](A[i, k, j] * B[k, j]), s[i])
}
"""
TEXTS = {
    "softmax": SOFTMAX,
    "layer_norm": LAYER_NORM,
    "log_softmax": LOG_SOFTMAX,
    "variance": VARIANCE,
    "largest": LARGEST,
    "halves": HALVES,
    "row_sum": ROW_SUM,
}


def lines(text: str, **sizes: int) -> list[str]:
    found = auto_schedule(program(text, sizes=sizes), parse_target("cuda.sm_80"))
    return [str(line) for line in found.directives if not isinstance(line, Specialize)]


def source(text: str, **sizes: int) -> str:
    emitted = te.build(text, target="cuda.sm_80", sizes=sizes).ir("cuda")
    return emitted[emitted.index('extern "C"') :]


def along(loop: str, threads: int, lanes: int = 4) -> list[str]:
    stage = loop.partition(".")[0]
    return [
        f"split {loop} by {lanes} into group, lane",
        f"split {stage}.group by {threads} into trip, thread",
        f"vectorize {stage}.lane",
        f"bind {stage}.thread to thread.x",
    ]


def test_a_row_of_known_length_stays_in_registers() -> None:
    assert lines(SOFTMAX, N=4096) == [
        "compute_at m, e, Y_sum at Y.i",
        "cache_read X[of_0, of_1] at Y.i as Y_X in register",
        "set_scope m in register",
        "set_scope e in register",
        "set_scope Y_sum in register",
        "layout Y_X[of_0, of_1] as [of_0, of_1 // 1024, of_1 % 1024]",
        "layout e[i, j] as [i, j // 1024, j % 1024]",
        *along("Y_X.of_1", 256),
        *along("m.j", 256),
        *along("e.j", 256),
        *along("Y_sum.k", 256),
        *along("Y.j", 256),
        "bind Y.i to block.x",
    ]


@pytest.mark.parametrize("columns", [64, 1000, 1500, 4096, 20000])
@pytest.mark.parametrize("name", ["softmax", "layer_norm", "log_softmax"])
def test_a_row_of_known_length_is_read_once(name: str, columns: int) -> None:
    assert source(TEXTS[name], N=columns).count("te_load<4>(&X[") == 1


def test_a_row_of_any_length_is_read_by_each_stage() -> None:
    assert lines(SOFTMAX) == [
        "inline e",
        "compute_at m, Y_sum at Y.i",
        "set_scope m in register",
        "set_scope Y_sum in register",
        *along("m.j", 256),
        *along("Y_sum.k", 256),
        *along("Y.j", 256),
        "bind Y.i to block.x",
    ]


def test_a_warp_has_a_row_that_the_call_says_is_short() -> None:
    special, general = auto_cases(program(SOFTMAX), parse_target("cuda.sm_80"))
    assert print_expr(special.condition) == "N <= 512"
    assert "split Y.i by 8 into block, thread_y" in map(str, special.schedule.directives)
    assert "bind Y.i to block.x" in map(str, general.schedule.directives)


def test_a_warp_has_a_short_row_and_waits_for_no_other() -> None:
    found = lines(SOFTMAX, N=512)
    assert "split Y.i by 8 into block, thread_y" in found
    assert "bind Y.thread_y to thread.y" in found
    assert "__syncthreads" not in source(SOFTMAX, N=512)


def test_part_of_a_warp_has_a_very_short_row() -> None:
    assert "split Y.i by 64 into block, thread_y" in lines(SOFTMAX, N=16)
    assert "te_swapped<4>" in source(SOFTMAX, N=16)


def test_results_of_rows_are_known_to_all_threads() -> None:
    """Without a word of memory: what threads tell each other is their partial results alone."""
    assert source(SOFTMAX, N=4096).count("__syncthreads") == 3


def test_a_product_is_none_of_the_rows() -> None:
    text = "op f(X: f32[M, K], Y: f32[N, K]) -> Z: f32[M, N] { Z[i, j] = sum[k](X[i, k] * Y[j, k]) }"
    assert "bind Z.thread_y to thread.y" in lines(text)


def test_columns_of_which_there_is_one_are_no_distance() -> None:
    assert lines(ONE_COLUMN, M=512, N=4096, K=1) == [
        "fuse C.i, C.j into row",
        *along("C.k", 256),
        "bind C.row to block.x",
    ]
    emitted = source(ONE_COLUMN, M=512, N=4096, K=1)
    assert "te_load<4>(&A[" in emitted
    assert "te_load<4>(&B[" in emitted
    emitted = source(ONE_COLUMN_MORE, M=512, N=128, K=1)
    assert emitted.count("te_load<4>(&A[") == 2


@pytest.mark.parametrize("text", [ONE_COLUMN, ONE_COLUMN_MORE])
@pytest.mark.parametrize("length", [3, 64, 300, 1040])
def test_one_column(text: str, length: int) -> None:
    a = np.random.default_rng(length).standard_normal((9, length), np.float32)
    b = np.random.default_rng(0).standard_normal(length, np.float32)
    expected = a @ b if text is ONE_COLUMN else np.maximum(a @ b, 2 * a.sum(1))
    for sizes in ({"K": 1}, {"K": 1, "N": length, "M": 9}):
        kernel = te.build(text, target=EMULATED, sizes=sizes)
        given = a if text is ONE_COLUMN else a[:, :, None]
        np.testing.assert_allclose(kernel(given, b[:, None])[:, 0], expected, rtol=1e-4, atol=1e-3)


def test_one_block_is_a_launch_beside_others_with_other_threads() -> None:
    text = "op f(X: f32[M, N]) -> Y: f32[M] { s[i] = sum[j](X[i, j])\n Y[i] = s[8 - i] }"
    x = np.random.default_rng(0).standard_normal((9, 3), np.float32)
    found = te.build(text, target=EMULATED, sizes={"M": 9, "N": 3})(x)
    np.testing.assert_allclose(found, x.sum(1)[::-1], rtol=1e-5)


@pytest.mark.parametrize("columns", [None, 1, 7, 64, 300, 1000, 1500])
@pytest.mark.parametrize("name", TEXTS)
def test_results_are_those_of_the_op(name: str, columns: int | None) -> None:
    sizes = {} if columns is None else {"N": columns}
    of = program(TEXTS[name], sizes=sizes)
    gpu, plain = te.build(TEXTS[name], target=EMULATED, sizes=sizes), te.build(TEXTS[name], "none")
    shapes = [(5, 130), (2, 1), (2, 1030)] if columns is None else [(2 if columns > 500 else 9, columns)]
    for number, (rows, length) in enumerate(shapes):
        inputs = random_inputs(of, {"A": 1, "M": rows, "N": length}, seed=number)
        with emulating(Emulation(orders=(0, number + 1))):
            found = gpu(*inputs.values())
        np.testing.assert_allclose(
            found, plain(*inputs.values()), rtol=2e-3 if name == "halves" else 1e-4, atol=1e-4
        )
