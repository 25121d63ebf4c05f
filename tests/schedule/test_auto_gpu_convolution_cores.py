"""Convolutions on tensor cores without a schedule: right in the emulator, and what their machine code is."""

from __future__ import annotations

import re
from dataclasses import replace

import ml_dtypes
import numpy as np
import pytest

import te
from te.backends.cuda.compile import compiler_version
from te.backends.cuda.emulator.executable import Emulation, emulating
from te.backends.cuda.toolkit import find_program
from te.target import EMULATED
from tests.backends.emulator.running import needs_gxx
from tests.schedule.convolving import Case, convolution

pytestmark = needs_gxx

CASES = {
    "plain": Case(2, 16, (9, 11), 10, (3, 3)),
    "padded": Case(1, 40, (9, 13), 40, (3, 3), padding=1),
    "strided": Case(1, 32, (13, 35), 16, (3, 3), stride=2, padding=1),
    "dilated": Case(1, 16, (9, 20), 17, (3, 3), padding=2, dilation=2),
    "groups": Case(1, 64, (5, 18), 64, (3, 3), groups=2, padding=1),
    "a batch of small pictures": Case(20, 32, (3, 5), 24, (3, 3), padding=1),
    "one place": Case(1, 48, (7, 19), 33, (1, 1), stride=2),
    "one place, padded": Case(1, 48, (7, 19), 33, (1, 1), padding=1),
    "terms that overhang": Case(1, 37, (7, 19), 32, (3, 1), padding=1),
}
DTYPES = {
    "f16": (np.float16, np.float32, "f32", "mma_m16n8k16_f16"),
    "bf16": (ml_dtypes.bfloat16, np.float32, "f32", "mma_m16n8k16_bf16"),
    "i8": (np.int8, np.int32, "i32", "mma_m16n8k32_i8"),
    "f32": (np.float32, np.float32, "f32", "mma_m16n8k8_tf32"),
}
ORDERS = ["nhwc rsck", "nhwc krsc", "nchw kcrs"]
# Everything in f16, and of the others what differs: turned copies, strides, groups.
WHICH = [
    *((name, "f16", order) for name in CASES for order in ORDERS),
    *((name, dtype, order) for name in ("strided", "groups") for dtype in ("i8", "f32") for order in ORDERS),
    ("padded", "bf16", ORDERS[1]),
]
# Each case in one of the orders, in turn.
QUICK = [of for n, of in enumerate(WHICH) if n % len(ORDERS) == n // len(ORDERS) % len(ORDERS)] + WHICH[-1:]
LINE = """
op f(X: f16[N, W, C], w: f16[S, C, K]) -> Y: f32[N, W, K] {
    Y[n, x < W, k] = sum[s, c](f32(X[n, x + s - 1, c] else 0) * f32(w[s, c, k]))
}
"""
BOXES = """
op f(X: f16[N, C, D, H, W], w: f16[K, C, Q, R, S]) -> Y: f16[N, K, D - Q + 1, H - R + 1, W - S + 1] {
    Y[n, k, z, y, x] = f16(sum[c, q, r, s](f32(X[n, c, z + q, y + r, x + s]) * f32(w[k, c, q, r, s])))
}
"""
# With stride 2, too, enough for tiles of 64 x 64 on any card.
LARGE = Case(10, 64, (56, 56), 64, (3, 3), padding=1)

with_compiler = pytest.mark.skipif(compiler_version() is None, reason="needs NVRTC or nvcc")
with_disassembler = pytest.mark.skipif(
    find_program("nvdisasm") is None and find_program("cuobjdump") is None,
    reason="needs nvdisasm or cuobjdump (PyPI: nvidia-cuda-nvdisasm)",
)


def built(case: Case, dtype: str, order: str, target: str, *, known: bool = True) -> te.Kernel:
    op = convolution(dtype, DTYPES[dtype][2], order)
    math = "fast" if dtype == "f32" else "strict"
    return te.build(op, target=target, sizes=case.sizes if known else {}, consts=case.consts, math=math)


def check(kernel: te.Kernel, arrays: list[np.ndarray], expected: np.ndarray) -> None:
    with emulating(Emulation(orders=(0, 3))):
        found = kernel(*arrays)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("name", "dtype", "order"),
    [pytest.param(*of, marks=() if of in QUICK else pytest.mark.slow) for of in WHICH],
)
def test_results_are_those_of_numpy(name: str, dtype: str, order: str) -> None:
    case = CASES[name]
    arrays = case.arrays(*DTYPES[dtype][:2], order)
    kernel = built(case, dtype, order, EMULATED)
    assert DTYPES[dtype][3] in str(kernel.schedule)
    check(kernel, arrays, case.expected(arrays, order))


@pytest.mark.parametrize(
    ("name", "order"),
    [
        ("padded", ORDERS[1]),
        ("padded", ORDERS[2]),
        *(pytest.param(name, ORDERS[0], marks=pytest.mark.slow) for name in CASES if name != "groups"),
    ],
)
def test_sizes_may_be_left_to_the_call(name: str, order: str) -> None:
    case = CASES[name]
    arrays = case.arrays(np.float16, np.float32, order)
    kernel = built(case, "f16", order, EMULATED, known=False)
    assert ("mma" in str(kernel.schedule)) == (order != ORDERS[2])  # whose pixels are copied one by one
    check(kernel, arrays, case.expected(arrays, order))


@with_compiler
@pytest.mark.nvcc
def test_sizes_that_the_call_decides_fit_in_registers() -> None:
    (found,) = built(LARGE, "f16", ORDERS[1], "cuda.sm_80", known=False).resources()
    assert (found.usage.spill_stores, found.usage.spill_loads, found.usage.stack) == (0, 0, 0)
    assert found.blocks >= 2


@pytest.mark.parametrize("text", [LINE, BOXES], ids=["a line", "boxes"])
def test_any_number_of_axes(text: str) -> None:
    rng = np.random.default_rng(2)
    shapes = [(2, 50, 16), (3, 16, 10)] if text == LINE else [(1, 16, 4, 5, 9), (20, 16, 2, 3, 3)]
    arrays = [rng.integers(-2, 3, size=shape).astype(np.float16) for shape in shapes]
    sizes = {"C": 16, "K": 10, "S": 3} if text == LINE else {"C": 16, "K": 20, "Q": 2, "R": 3, "S": 3}
    kernel = te.build(text, target=EMULATED, sizes=sizes)
    assert "mma_m16n8k16_f16" in str(kernel.schedule)
    check(kernel, arrays, np.asarray(te.build(text, "none")(*arrays)))


@pytest.mark.parametrize("reason", ["groups of few", "terms of few", "an older GPU", "strict f32"])
def test_else_a_thread_adds_the_products(reason: str) -> None:
    case = {
        "groups of few": Case(1, 16, (9, 9), 16, (3, 3), groups=4),
        "terms of few": Case(1, 3, (9, 9), 16, (3, 3)),
    }.get(reason, LARGE)
    dtype = "f32" if reason == "strict f32" else "f16"
    target = "cuda.sm_75" if reason == "an older GPU" else "cuda.sm_80"
    op = convolution(dtype, "f32")
    schedule = str(te.build(op, target=target, sizes=case.sizes, consts=case.consts).schedule)
    assert "tensorize" not in schedule
    assert "Y_sum_windows in shared" in schedule or reason == "groups of few"


def test_pictures_of_a_batch_are_the_rows_where_they_fill_the_tiles() -> None:
    case = Case(64, 128, (7, 7), 256, (3, 3), padding=1)
    lines = str(built(case, "f16", ORDERS[0], "cuda.sm_80").schedule)
    assert "split Y_sum.n by 16 into block_u, in_u" in lines


def test_a_slice_is_one_place_of_the_windows_and_waited_for_once() -> None:
    kernel = built(LARGE, "f16", ORDERS[0], "cuda.sm_80")
    lines = [line.strip() for line in str(kernel.schedule).splitlines()]
    assert "fuse Y_sum.r, Y_sum.s into slice2" in lines
    assert "fuse Y_sum.slice2, Y_sum.part into slice" in lines
    assert "pipeline Y_sum.slice depth 3" in lines
    text = str(kernel.ir("cuda"))
    text = text[text.index("for (te_i32 slice = 0") :]
    assert text.count("te_wait_copies<1>();") == text.count("__syncthreads();") == 1
    assert "te_wait_copies<0>();" not in text


@with_compiler
@with_disassembler
@pytest.mark.nvcc
@pytest.mark.parametrize(
    ("stride", "sm"),
    [
        (1, "sm_80"),
        (2, "sm_90"),
        pytest.param(2, "sm_80", marks=pytest.mark.slow),
        pytest.param(1, "sm_90", marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize(
    ("dtype", "order", "instruction"),
    [
        ("f16", ORDERS[0], r"HMMA\.16816\.F32"),
        ("bf16", ORDERS[1], r"HMMA\.16816\.F32\.BF16"),
        ("i8", ORDERS[1], r"IMMA\.16832\.S8\.S8"),
        ("f32", ORDERS[0], r"HMMA\.1688\.F32\.TF32"),
        ("f16", ORDERS[2], r"HMMA\.16816\.F32"),
        ("f32", ORDERS[2], r"HMMA\.1688\.F32\.TF32"),
    ],
)
def test_machine_code(dtype: str, order: str, instruction: str, stride: int, sm: str) -> None:
    """Instructions of tensor cores, copies of 16 bytes that run ahead, rows by `ldmatrix`, and nothing in memory."""
    kernel = built(replace(LARGE, stride=stride), dtype, order, f"cuda.{sm}")
    (found,) = kernel.resources()
    if (dtype, stride, sm) != ("i8", 2, "sm_90"):  # spills 12 bytes with NVRTC 13
        assert (found.usage.spill_stores, found.usage.spill_loads, found.usage.stack) == (0, 0, 0)
    assert found.blocks >= 2
    code = str(kernel.ir("sass"))
    assert len(re.findall(instruction, code)) >= 16
    assert len(re.findall(r"\bLDSM\b", code)) >= 8
    assert re.search(r"LDGSTS\.E\S*\.128", code) or order == ORDERS[2]
    assert re.search(r"LDGSTS", code) or (dtype, order) == ("f16", ORDERS[2])
