"""Reductions to one number on GPUs: partial results of blocks, and one block that reduces these."""

from __future__ import annotations

import numpy as np
import pytest

import te
from te.backends.cuda.emulator.executable import Emulation, emulating
from te.target import EMULATED
from tests.backends.emulator.running import needs_gxx
from tests.schedule.scheduling import program, random_inputs
from tests.schedule.test_auto_gpu_rows import lines, source

pytestmark = needs_gxx

TEXTS = {
    "one axis": "op f(X: f32[N]) -> y: f32 { y = sum[i](X[i]) }",
    "two axes": "op f(X: f32[M, N]) -> y: f32 { y = sum[i, j](X[i, j]) }",
    "three axes": "op f(X: f32[A, M, N]) -> y: f32 { y = max[a, i, j](X[a, i, j]) }",
    "dot": "op f(X: f32[N], Y: f32[N]) -> z: f64 { z = sum[i](f64(X[i]) * f64(Y[i])) }",
    "transposed": "op f(X: f32[M, N]) -> y: f32 { y = sum[j, i](abs(X[i, j])) }",
    "mean": "op f(X: f32[M, N], Y: f32[M, N]) -> z: f32 { z = mean[i, j]((X[i, j] - Y[i, j]) ** 2) }",
}


def test_blocks_have_chunks_and_the_last_one_their_results() -> None:
    assert lines(TEXTS["one axis"]) == [
        "split y.i by 4096 into chunk, inside",
        "rfactor y.chunk of y as y_part",
        "split y_part.inside by 4 into group, lane",
        "split y_part.group by 256 into trip, thread",
        "vectorize y_part.lane",
        "bind y_part.thread to thread.x",
        "bind y_part.chunk to block.x",
        "split y.chunk by 256 into trip, thread",
        "bind y.thread to thread.x",
    ]


def test_a_chunk_of_rows_is_for_threads_in_two_dimensions() -> None:
    found = source(TEXTS["two axes"])
    assert found.count("__launch_bounds__(256)") == 2
    assert "te_load<4>(&X[" in found
    assert "thread.y for y_part.thread_y < 8" in found


def test_little_is_for_one_block() -> None:
    found = source(TEXTS["one axis"], N=1000)
    assert found.count("__global__") == 1
    assert "__launch_bounds__(256)" in found


def test_short_rows_are_fused() -> None:
    assert "fuse y.i, y.j into element" in lines(TEXTS["two axes"], N=5)


def test_a_scalar_is_read_behind_its_reduction() -> None:
    """Accesses without an index meet: all are of the one element."""
    assert "__launch_bounds__(256)" in source("op f(X: f32[N]) -> y: f32 { y = mean[i](X[i]) + 1.0 }")


@pytest.mark.parametrize("name", TEXTS)
def test_results_are_those_of_the_op(name: str) -> None:
    of = program(TEXTS[name])
    gpu, plain = te.build(TEXTS[name], target=EMULATED), te.build(TEXTS[name], "none")
    for number, (rows, columns) in enumerate([(3, 2500), (70, 130), (1, 1)]):
        inputs = random_inputs(of, {"A": 2, "M": rows, "N": columns}, seed=number)
        with emulating(Emulation(orders=(0, number + 1))):
            found = gpu(*inputs.values())
        np.testing.assert_allclose(found, plain(*inputs.values()), rtol=1e-3, atol=1e-3)
