"""Transposes on GPUs: tiles in shared memory, read and written row by row."""

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
    "transpose": "op f(X: f32[N, M]) -> Y: f32[M, N] { Y[i, j] = X[j, i] }",
    "permutation": """
        op f(X: f32[A, M, B, N], w: f32[M]) -> Y: f32[A, B, N, M] { Y[a, b, i, j] = X[a, j, b, i] * w[j] }
    """,
    "two tensors": """
        op f(X: i8[N, M], Z: i8[N, M], W: i8[M, N]) -> Y: i8[M, N] { Y[i, j] = X[j, i] + Z[j, i] * W[i, j] }
    """,
    "diagonal": "op f(X: f32[M, M], Z: f32[N, M]) -> Y: f32[M, N] { Y[i, j] = X[i, i] * Z[j, i] }",
    "diagonal too": "op f(X: f32[M, M]) -> Y: f32[M, M] { Y[i, j] = X[j, i] * X[j, j] }",
    "same tensor twice": "op f(X: f32[N, N]) -> Y: f32[N, N] { Y[i, j] = X[i, j] + X[j, i] }",
}


def test_a_tile_lies_in_shared_memory() -> None:
    assert lines(TEXTS["transpose"]) == [
        "split Y.i by 32 into block_y, in_y",
        "split Y.j by 32 into block_x, thread_x",
        "split Y.in_y by 8 into own, thread_y",
        "reorder Y.block_y, Y.block_x, Y.thread_y, Y.thread_x, Y.own",
        "unroll Y.own",
        "cache_read X[of_0, of_1] at Y.block_x as Y_X in shared",
        "align Y_X axis 1 by 33",
        "split Y_X.of_0 by 8 into own, thread_y",
        "reorder Y_X.thread_y, Y_X.of_1, Y_X.own",
        "unroll Y_X.own",
        "bind Y_X.thread_y to thread.y",
        "bind Y_X.of_1 to thread.x",
        "bind Y.block_y to block.y",
        "bind Y.thread_y to thread.y",
        "bind Y.block_x to block.x",
        "bind Y.thread_x to thread.x",
    ]


def test_neighbours_are_on_neighbouring_threads_both_times() -> None:
    found = source(TEXTS["transpose"], M=4096, N=4096)
    assert "X[(32 * block_x + 8 * own + thread_y) * 4096 + (32 * block_y + of_1)]" in found
    assert (
        "Y[(32 * block_y + 8 * own + thread_y) * 4096 + (32 * block_x + thread_x)] = Y_X[thread_x * 33"
        in found
    )
    assert found.count("__syncthreads") == 1


@pytest.mark.parametrize("name", TEXTS)
def test_results_are_those_of_the_op(name: str) -> None:
    of = program(TEXTS[name])
    gpu, plain = te.build(TEXTS[name], target=EMULATED), te.build(TEXTS[name], "none")
    for number, (rows, columns) in enumerate([(5, 3), (33, 70), (64, 32)]):
        inputs = random_inputs(of, {"A": 2, "B": 3, "M": rows, "N": columns}, seed=number)
        with emulating(Emulation(orders=(0, number + 1))):
            found = gpu(*inputs.values())
        np.testing.assert_array_equal(found, plain(*inputs.values()))
