"""Reductions of columns on GPUs: neighbours on neighbouring threads, rows on others and on blocks."""

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
    "columns": "op f(X: f32[M, N]) -> Y: f32[N] { Y[j] = sum[i](X[i, j]) }",
    "channels": "op f(X: f32[A, M, N]) -> Y: f32[N] { Y[c] = sum[a, i](X[a, i, c]) }",
    "halves": "op f(X: f16[A, M, N]) -> Y: f16[A, N] { Y[a, j] = max[i](X[a, i, j]) }",
    "statistics": """
        op f(X: f32[M, N]) -> Y: f32[M, N] {
            mu[j]   = mean[i](X[i, j])
            v[j]    = mean[i]((X[i, j] - mu[j]) ** 2)
            Y[i, j] = (X[i, j] - mu[j]) / sqrt(v[j] + 1e-5)
        }
    """,
    "read": """
        op f(X: f32[M, N], b: f32[N]) -> Y: f16[N] {
            s[j] = sum[i](X[i, j])
            Y[j] = f16(max(s[j] + b[j], 0.0))
        }
    """,
    "planes": """
        op f(X: f16[A, M, N]) -> Y: f32[A, N] {
            s[a, j] = max[i](X[a, i, j])
            Y[a, j] = f32(s[a, j]) * 0.5
        }
    """,
}


def parts(stage: str, rows: str) -> list[str]:
    around = f"{stage}.chunk, {stage}.block_x" if rows == "inside" else f"{stage}.block_x"
    return [
        f"split {stage}.j by 4 into group, lane",
        f"split {stage}.group by 32 into block_x, thread_x",
        f"split {stage}.{rows} by 8 into trip, thread_y",
        f"reorder {around}, {stage}.thread_x, {stage}.trip, {stage}.thread_y, {stage}.lane",
        f"vectorize {stage}.lane",
        *([f"bind {stage}.chunk to block.y"] if rows == "inside" else []),
        f"bind {stage}.block_x to block.x",
        f"bind {stage}.thread_x to thread.x",
        f"bind {stage}.thread_y to thread.y",
    ]


def test_chunks_of_rows_are_reduced_by_blocks() -> None:
    assert lines(TEXTS["columns"]) == [
        "split Y.i by 256 into chunk, inside",
        "rfactor Y.chunk of Y as Y_part",
        *parts("Y_part", "inside"),
        *parts("Y", "chunk"),
    ]


def test_few_rows_take_one_launch() -> None:
    assert lines(TEXTS["columns"], M=100) == parts("Y", "i")


def test_what_reads_a_result_is_computed_from_registers() -> None:
    found = lines(TEXTS["read"])
    assert found[: 2 + len(parts("s_part", "inside"))] == [
        "split s.i by 256 into chunk, inside",
        "rfactor s.chunk of s as s_part",
        *parts("s_part", "inside"),
    ]
    assert "compute_at s at Y.thread_x" in found
    assert "set_scope s in register" in found
    assert source(TEXTS["read"], M=4096, N=4096).count("__launch_bounds__(256)") == 2


def test_many_columns_take_one_launch() -> None:
    assert lines(TEXTS["columns"], N=1 << 20) == parts("Y", "i")


def test_columns_are_read_by_neighbours_and_combined_in_shared_memory() -> None:
    found = source(TEXTS["columns"], M=4096, N=4096)
    assert found.count("__launch_bounds__(256)") == 2
    assert (
        "te_load<4>(&X[(256 * chunk + 8 * trip + thread_y) * 4096 + (128 * block_x + 4 * thread_x)])" in found
    )
    assert found.count("__syncthreads") == 2


@pytest.mark.parametrize("name", TEXTS)
def test_results_are_those_of_the_op(name: str) -> None:
    of = program(TEXTS[name])
    gpu, plain = te.build(TEXTS[name], target=EMULATED), te.build(TEXTS[name], "none")
    for number, (rows, columns) in enumerate([(300, 5), (3, 130), (1, 1)]):
        inputs = random_inputs(of, {"A": 2, "M": rows, "N": columns}, seed=number)
        with emulating(Emulation(orders=(0, number + 1))):
            found = gpu(*inputs.values())
        np.testing.assert_allclose(found, plain(*inputs.values()), rtol=1e-3, atol=1e-3)
