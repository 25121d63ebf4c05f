"""The automatic schedules of GPUs: as the rules say, and right in the emulator, where sizes are ragged, too."""

from __future__ import annotations

import numpy as np
import pytest

import te
from te.backends.cuda.emulator.executable import Emulation, emulating
from te.ir.loop import BLOCKS, THREADS, Accumulate, For, Store, walk_stmt
from te.schedule.auto import auto_cases, auto_schedule
from te.target import EMULATED, parse_target
from tests.backends.emulator.running import needs_gxx
from tests.schedule.scheduling import CHAIN, MATMUL, PLANE, ROW_SUM, SOFTMAX, program, random_inputs
from tests.schedule.test_auto import (
    BYTES,
    COLUMN_SUM,
    HEAVY_BROADCAST,
    HEAVY_TWICE,
    LOOK_UP,
    PIXELS,
)

pytestmark = needs_gxx

BATCHES = "op f(X: f32[A, B, M, N], w: f32[N]) -> Y: f32[A, B, M, N] { Y[a, b, i, j] = X[a, b, i, j] * w[j] }"
TURNED = "op f(X: f32[N, M]) -> Y: f32[M, N] { Y[i, j] = X[j, i] }"
CUMULATED = """
op f(X: f32[M, N]) -> Y: f32[M, N] {
    Y[i, j] = X[i, j] + (Y[i, j - 1] else 0)
}
"""


def lines(text: str, **sizes: int) -> list[str]:
    found = auto_schedule(program(text, sizes=sizes), parse_target("cuda.sm_80"))
    return [str(line) for line in found.directives]


IN_A_ROW = [
    "split Y.group by 256 into block_x, thread_x",
    "bind Y.block_x to block.x",
    "bind Y.thread_x to thread.x",
]


def test_elements_in_a_row_are_16_bytes_a_thread() -> None:
    assert lines(CHAIN) == ["inline e", "split Y.i by 4 into group, lane", "vectorize Y.lane", *IN_A_ROW]
    assert lines(BYTES) == ["split Y.i by 16 into group, lane", "vectorize Y.lane", *IN_A_ROW]


def test_rows_take_a_grid_of_two_dimensions() -> None:
    expected = [
        "split Y.j by 4 into group, lane",
        "vectorize Y.lane",
        "split Y.group by 32 into block_x, thread_x",
        "split Y.i by 8 into block_y, thread_y",
        "reorder Y.block_y, Y.block_x, Y.thread_y, Y.thread_x",
        "bind Y.block_y to block.y",
        "bind Y.thread_y to thread.y",
        "bind Y.block_x to block.x",
        "bind Y.thread_x to thread.x",
    ]
    assert lines(PLANE) == expected
    batches = [*expected[:5], "fuse Y.a, Y.b into plane", "bind Y.plane to block.z", *expected[5:]]
    assert lines(BATCHES) == batches


def test_few_rows_leave_more_threads_for_each() -> None:
    assert "split Y.group by 128 into block_x, thread_x" in lines(PLANE, M=2)


def test_short_rows_are_fused() -> None:
    assert lines(PIXELS) == [
        "fuse Y.y, Y.x into element2",
        "fuse Y.element2, Y.c into element",
        "split Y.element by 256 into block_x, thread_x",
        "bind Y.block_x to block.x",
        "bind Y.thread_x to thread.x",
    ]


def test_what_is_not_contiguous_is_not_in_vectors() -> None:
    assert not [line for line in lines(TURNED) if line.startswith("vectorize")]


def test_a_recurrence_has_threads_along_its_other_axes() -> None:
    assert lines(CUMULATED) == [
        "split Y.i by 256 into block_x, thread_x",
        "bind Y.block_x to block.x",
        "bind Y.thread_x to thread.x",
    ]


SIZES = [{"M": 5, "N": 300}, {"M": 33, "N": 130}, {"M": 9, "N": 1}]
TEXTS = {
    "chain": CHAIN,
    "plane": PLANE,
    "heavy_twice": HEAVY_TWICE,
    "heavy_broadcast": HEAVY_BROADCAST,
    "row_sum": ROW_SUM,
    "column_sum": COLUMN_SUM,
    "pixels": PIXELS,
    "look_up": LOOK_UP,
    "softmax": SOFTMAX,
    "matmul": MATMUL,
    "batches": BATCHES,
    "turned": TURNED,
    "cumulated": CUMULATED,
}
MORE = {"K": 37, "A": 2, "B": 3, "H": 7, "W": 50}


@pytest.mark.parametrize("name", TEXTS)
def test_every_stage_has_blocks_and_threads(name: str) -> None:
    of = program(TEXTS[name])
    (case,) = auto_cases(of, parse_target("cuda"))
    for step, path in walk_stmt(case.schedule.steps()[-1].kernel.body):
        if isinstance(step, Store | Accumulate) and step.index:
            kinds = {loop.kind for loop in path if isinstance(loop, For)}
            assert kinds & BLOCKS, step
            assert kinds & THREADS, step


@pytest.mark.parametrize("name", TEXTS)
def test_results_are_those_of_the_op(name: str) -> None:
    of = program(TEXTS[name])
    gpu, plain = te.build(TEXTS[name], target=EMULATED), te.build(TEXTS[name], "none")
    for number, given in enumerate(SIZES):
        inputs = random_inputs(of, {**MORE, **given}, seed=number)
        arrays = [np.abs(a) if a.dtype == np.int64 else a for a in inputs.values()]
        with emulating(Emulation(orders=(0, number + 1))):
            found = gpu(*arrays)
        np.testing.assert_allclose(found, plain(*arrays), rtol=1e-4, atol=1e-5)
