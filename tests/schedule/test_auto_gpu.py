"""The automatic schedules of GPUs: as the rules say, and right in the emulator, where sizes are ragged, too."""

from __future__ import annotations

import numpy as np
import pytest

import te
from te.backends.cuda.emulator.executable import Emulation, emulating
from te.ir.expr import TRUE
from te.ir.loop import BLOCKS, THREADS, Accumulate, For, Store, walk_stmt
from te.ir.print import print_expr
from te.schedule.auto import auto_cases, auto_schedule
from te.schedule.auto.gpu.tiles import plans_for_tiles
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

FEW = [9, 26, 33, 40, 100]  # rows
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
SHIFTED_PRODUCT = """
op f(A: u8[M, K], B: i8[K, N], a: u8) -> C: i32[M, N] {
    C[i, j] = sum[k]((i32(A[i, k]) - i32(a)) * i32(B[k, j]))
}
"""
WITH_RESIDUAL = """
op f(X: f32[M, K], W: f32[N, K], b: f32[N], R: f32[M, N]) -> Y: f32[M, N], Z: f32[M, N] {
    p[i, j] = sum[k](X[i, k] * W[j, k])
    Y[i, j] = p[i, j] + b[j]
    Z[i, j] = 0.5 * Y[i, j] * (1.0 + tanh(Y[i, j])) + R[i, j]
}
"""
PRODUCT = """
op f(A: {a}, B: {b}) -> C: {c}[M, N] {{
    C[i, j] = sum[k]({value})
}}
"""
TOKENS = """
op f(ids: i64[B, M], w: f32[V, N], at: f32[M, N]) -> Y: f32[B, M, N] {
    require V >= 5
    Y[b, i, j] = w[ids[b, i] % 5, j] + at[i, j]
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


def test_what_indices_from_data_name_is_read_16_bytes_at_once() -> None:
    """The condition that it exists is that of all lanes."""
    text = TOKENS.replace(" % 5", "")
    emitted = te.build(text, target="cuda.sm_80", sizes={"N": 64}).ir("cuda")
    assert "< V ? te_load<4>(&w[" in emitted
    kernel = te.build(text, target=EMULATED)
    for columns in (8, 7):
        w, at = np.random.default_rng(0).standard_normal((2, 6, columns), np.float32)
        ids = np.array([[5, 0, 3, 1, 2, 2], [0, 0, 5, 5, 5, 4]])
        np.testing.assert_array_equal(kernel(ids, w, at), w[ids] + at)
    with pytest.raises(IndexError, match="b = 1, i = 5"):
        kernel(ids + (ids == 4) * 2, w, at)


def test_a_recurrence_has_threads_along_its_other_axes() -> None:
    assert lines(CUMULATED) == [
        "split Y.i by 256 into block_x, thread_x",
        "bind Y.block_x to block.x",
        "bind Y.thread_x to thread.x",
    ]


def test_a_product_is_in_tiles_of_shared_memory_and_registers() -> None:
    assert lines(MATMUL, M=2000, N=2000, K=500) == [
        "split C.i by 128 into block_y, in_y",
        "split C.j by 128 into block_x, in_x",
        *shares("C", "in_y", "in_x"),
        "split C.k by 8 into slice, term",
        "reorder C.block_y, C.block_x, C.slice, C.thread_z, C.thread_y, C.thread_x, C.term, C.own_y, C.group, C.own_x",
        "unroll C.term",
        "cache_write C[to_i, to_j] at C.block_x as C_tile in register",
        *shares("C_tile", "to_i", "to_j"),
        *result("C_tile"),
        "bind C.block_y to block.y",
        "bind C.block_x to block.x",
        *on_threads("C"),
        "cache_read A[of_0, of_1] at C.slice as C_of0 in shared layout [of_1, of_0] fill 0",
        "align C_of0 axis 1 by 132",
        *copied("C_of0"),
        "cache_read B[of_0, of_1] at C.slice as C_of1 in shared fill 0",
        *copied("C_of1"),
        "pipeline C.slice depth 2",
    ]


def shares(nest: str, rows: str, columns: str) -> list[str]:
    return [
        f"split {nest}.{rows} by 8 into thread_y, own_y",
        f"split {nest}.{columns} by 64 into thread_z, part",
        f"split {nest}.part by 32 into group, in_group",
        f"split {nest}.in_group by 4 into thread_x, own_x",
    ]


def result(nest: str) -> list[str]:
    inner = ("thread_z", "thread_y", "thread_x", "own_y", "group", "own_x")
    order = ", ".join(f"{nest}.{loop}" for loop in inner)
    return [f"reorder {order}", f"vectorize {nest}.own_x", *on_threads(nest)]


def on_threads(nest: str) -> list[str]:
    return [f"bind {nest}.thread_{level} to thread.{level}" for level in "zyx"]


def copied(copy: str) -> list[str]:
    return [
        f"split {copy}.of_1 by 4 into group, lane",
        f"fuse {copy}.of_0, {copy}.group into element",
        f"split {copy}.element by 256 into trip, at",
        f"split {copy}.at by 128 into thread_z, in_z",
        f"split {copy}.in_z by 8 into thread_y, thread_x",
        f"reorder {copy}.thread_z, {copy}.thread_y, {copy}.thread_x, {copy}.trip",
        f"unroll {copy}.trip",
        f"vectorize {copy}.lane",
        *on_threads(copy),
    ]


def test_pointwise_stages_are_computed_from_the_registers_of_a_product() -> None:
    found = lines(PRODUCTS_OF_ROWS)
    assert "compute_at Z at p.block_x" in found
    assert "set_scope p in register" in found
    assert not [line for line in found if line.startswith("cache_write")]


@pytest.mark.parametrize(("size", "rows"), [(2000, 128), (1000, 64), (300, 32)])
def test_every_multiprocessor_has_a_tile(size: int, rows: int) -> None:
    assert lines(MATMUL, M=size, N=size, K=500)[0] == f"split C.i by {rows} into block_y, in_y"


def few_rows(dtype: str) -> str:
    value = "A[i, k] * B[k, j]" if dtype == "f32" else "f32(A[i, k]) * f32(B[k, j])"
    return PRODUCT.format(a=f"{dtype}[M, K]", b=f"{dtype}[K, N]", c="f32", value=value)


@pytest.mark.parametrize(
    ("dtype", "rows"),
    [
        *(("f32", rows) for rows in FEW),
        *(pytest.param("bf16", rows, marks=() if rows in (26, 33) else pytest.mark.slow) for rows in FEW),
    ],
)
def test_a_result_of_few_rows_is_in_registers(dtype: str, rows: int) -> None:
    found = te.build(few_rows(dtype), target="cuda.sm_80", sizes={"M": rows}).ir("cuda")
    assert "float C_tile[" in found
    assert "float* const C_tile" not in found


@pytest.mark.parametrize("dtype", ["f32", "bf16"])
def test_a_result_of_few_rows_is_that_of_the_op(dtype: str) -> None:
    text = few_rows(dtype)
    of = program(text, sizes={"M": 40})
    gpu, plain = te.build(text, target=EMULATED, sizes={"M": 40}), te.build(text, "none", sizes={"M": 40})
    inputs = random_inputs(of, {"N": 35, "K": 70}).values()
    with emulating(Emulation(orders=(0, 3))):
        np.testing.assert_allclose(gpu(*inputs), plain(*inputs), rtol=1e-5)


def test_large_products_have_a_case_of_their_own_where_the_call_decides() -> None:
    of = program(MATMUL)
    large, general = auto_cases(of, parse_target("cuda"))
    assert print_expr(large.condition) == "M * N >= 1769472 and M >= 65 and N >= 65"
    assert general.condition == TRUE
    first = [str(case.schedule.directives[0]) for case in (large, general)]
    assert first == [f"split C.i by {rows} into block_y, in_y" for rows in (128, 64)]


@pytest.mark.parametrize(("target", "rows"), [("cuda.sm_75", 128), ("cuda.sm_80", 64), ("cuda.sm_100", 64)])
def test_each_multiprocessor_of_the_target_has_a_tile(target: str, rows: int) -> None:
    """There are 64 tiles of 128 by 128: enough for the 40 multiprocessors of a T4 alone."""
    of = program(MATMUL, sizes={"M": 1024, "N": 1024, "K": 64})
    (case,) = auto_cases(of, parse_target(target))
    assert str(case.schedule.directives[0]) == f"split C.i by {rows} into block_y, in_y"


@pytest.mark.parametrize("sizes", [(128, 128, 8), (129, 257, 17), (7, 130, 3)])
def test_the_largest_tile_overhangs_anywhere(sizes: tuple[int, int, int]) -> None:
    of = program(MATMUL)
    (plan,) = plans_for_tiles(of.stage("C"), of, parse_target("cuda"), is_large=True)
    text = "\n".join(map(str, plan.lines))
    kernel = te.build(f"{MATMUL}\nschedule matmul on cuda {{\n{text}\n}}", target=EMULATED)
    a, b = random_inputs(of, dict(zip("MNK", sizes, strict=True))).values()
    with emulating(Emulation(orders=(0, 3))):
        np.testing.assert_allclose(kernel(a, b), a @ b, rtol=1e-5, atol=1e-5)


SIZES = [{"M": 5, "N": 300}, {"M": 33, "N": 130}, {"M": 9, "N": 1}, {"M": 64, "N": 64, "K": 16}]
TEXTS = {
    "shifted": SHIFTED_PRODUCT,
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
    "with_residual": WITH_RESIDUAL,
    "left_turned": PRODUCT.format(a="f32[K, M]", b="f32[K, N]", c="f32", value="A[k, i] * B[k, j]"),
    "both_turned": PRODUCT.format(a="f32[K, M]", b="f32[N, K]", c="f32", value="A[k, i] * B[j, k]"),
    "doubles": PRODUCT.format(a="f64[M, K]", b="f64[K, N]", c="f64", value="A[i, k] * B[k, j]"),
    "halves": PRODUCT.format(a="f16[M, K]", b="bf16[K, N]", c="f32", value="f32(A[i, k]) * f32(B[k, j])"),
    "bytes": PRODUCT.format(a="i8[M, K]", b="i8[N, K]", c="i32", value="i32(A[i, k]) * i32(B[j, k])"),
    "batches": BATCHES,
    "turned": TURNED,
    "cumulated": CUMULATED,
    "tokens": TOKENS,
}
MORE = {"V": 7, "K": 37, "A": 2, "B": 3, "H": 7, "W": 50}


@pytest.mark.parametrize("name", TEXTS)
def test_every_stage_has_blocks_and_threads(name: str) -> None:
    of = program(TEXTS[name])
    for case in auto_cases(of, parse_target("cuda")):
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
        expected = plain(*arrays)
        for name in of.outputs:
            pair = [x[of.outputs.index(name)] if isinstance(x, tuple) else x for x in (found, expected)]
            np.testing.assert_allclose(*pair, rtol=1e-4, atol=1e-5)
