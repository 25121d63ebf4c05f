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
PRODUCTS = """
op f(X: f32[A, M, K], Y: f32[A, K, N]) -> Z: f32[A, M, N] {
    Z[b, i, j] = sum[k](X[b, i, k] * Y[b, k, j])
}
"""
PRODUCTS_OF_ROWS = """
op f(X: f32[A, B, M, K], Y: f32[N, K], c: f32[N]) -> Z: f32[A, B, M, N] {
    p[a, b, i, j] = sum[k](X[a, b, i, k] * Y[j, k])
    Z[a, b, i, j] = max(p[a, b, i, j] + c[j], 0.0)
}
"""
SCALED_PRODUCT = """
op f(X: f32[K, M], Y: i8[K, N], c: f32[N]) -> Z: f32[M, N] {
    Z[i, j] = sum[k](X[k, i] * (f32(Y[k, j]) * c[j]))
}
"""
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


def test_a_product_is_in_tiles_of_shared_memory_and_registers() -> None:
    assert lines(MATMUL, M=500, N=500, K=500) == [
        "split C.i by 64 into block_y, in_y",
        "split C.in_y by 4 into thread_y, own_y",
        "split C.j by 64 into block_x, in_x",
        "split C.in_x by 4 into thread_x, own_x",
        "split C.k by 16 into slice, term",
        "reorder C.block_y, C.block_x, C.slice, C.thread_y, C.thread_x, C.term, C.own_y, C.own_x",
        "cache_write C[to_i, to_j] at C.block_x as C_tile in register",
        "split C_tile.to_i by 4 into thread_y, own_y",
        "split C_tile.to_j by 4 into thread_x, own_x",
        "reorder C_tile.thread_y, C_tile.thread_x, C_tile.own_y, C_tile.own_x",
        "vectorize C_tile.own_x",
        "bind C_tile.thread_y to thread.y",
        "bind C_tile.thread_x to thread.x",
        "bind C.block_y to block.y",
        "bind C.thread_y to thread.y",
        "bind C.block_x to block.x",
        "bind C.thread_x to thread.x",
        *copied("A", "left"),
        *copied("B", "right"),
    ]


def copied(tensor: str, role: str) -> list[str]:
    copy = f"C_{role}"
    return [
        f"cache_read {tensor}[of_0, of_1] at C.slice as {copy} in shared",
        f"split {copy}.of_1 by 4 into group, lane",
        f"fuse {copy}.of_0, {copy}.group into element",
        f"split {copy}.element by 256 into trip, at",
        f"split {copy}.at by 16 into thread_y, thread_x",
        f"vectorize {copy}.lane",
        f"bind {copy}.thread_y to thread.y",
        f"bind {copy}.thread_x to thread.x",
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
    "products": PRODUCTS,
    "products_of_rows": PRODUCTS_OF_ROWS,
    "scaled_product": SCALED_PRODUCT,
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
