"""Convolutions on GPUs whose channels are the last axis, without a schedule: tiles of pixels and channels."""

from __future__ import annotations

import re

import numpy as np
import pytest

import te
from te.backends.cuda.compile import compiler_version
from te.backends.cuda.emulator.executable import Emulation, emulating
from te.backends.cuda.toolkit import find_program
from te.target import EMULATED
from tests.backends.emulator.running import needs_gxx
from tests.schedule.convolving import Case, convolution

CASES = {
    "plain": Case(2, 8, (9, 11), 10, (3, 3)),
    "padded": Case(2, 5, (9, 11), 40, (3, 3), padding=1),
    "strided": Case(1, 4, (13, 11), 36, (3, 3), stride=2),
    "padded and strided": Case(1, 12, (9, 21), 9, (3, 3), padding=1, stride=2),
    "dilated": Case(1, 3, (17, 19), 6, (3, 3), padding=2, dilation=2),
    "groups": Case(2, 16, (7, 9), 64, (3, 3), groups=2, padding=1),
    "groups of few": Case(1, 8, (7, 9), 16, (3, 3), groups=2, padding=1),
    "groups that no tile divides": Case(1, 6, (7, 9), 6, (3, 3), groups=2, padding=1),
    "groups of one": Case(1, 4, (7, 9), 4, (3, 3), groups=4, padding=1),
    "one place": Case(1, 37, (7, 19), 33, (1, 1), stride=2),
    "one channel": Case(1, 1, (17, 19), 9, (5, 3), padding=2),
    "three channels and a large window": Case(1, 3, (20, 22), 20, (7, 7), stride=2, padding=3),
    "one filter": Case(1, 9, (8, 8), 1, (3, 3), padding=1),
}
LINE = """
op f(X: f32[N, W, C], w: f32[S, C, K]) -> Y: f32[N, W, K] {
    Y[n, x < W, k] = sum[s, c]((X[n, x + s - 1, c] else 0) * w[s, c, k])
}
"""
BOXES = """
op f(X: f32[N, D, H, W, C], w: f32[Q, R, S, C, K]) -> Y: f32[N, D - Q + 1, H - R + 1, W - S + 1, K] {
    Y[n, z, y, x, k] = sum[c, q, r, s](X[n, z + q, y + r, x + s, c] * w[q, r, s, c, k])
}
"""
LARGE = Case(8, 64, (56, 56), 64, (3, 3), padding=1)

pytestmark = needs_gxx

with_compiler = pytest.mark.skipif(compiler_version() is None, reason="needs NVRTC or nvcc")


@pytest.mark.parametrize("order", ["nhwc rsck", "nhwc krsc"])
@pytest.mark.parametrize("name", CASES)
def test_results_are_those_of_numpy(name: str, order: str) -> None:
    case = CASES[name]
    arrays = case.arrays(np.float32, np.float32, order)
    op = convolution("f32", "f32", order)
    kernel = te.build(op, target=EMULATED, sizes=case.sizes, consts=case.consts)
    with emulating(Emulation(orders=(0, 3))):
        found = kernel(*arrays)
    np.testing.assert_array_equal(found, case.expected(arrays, order))


@pytest.mark.parametrize("known", ["", "R S", "CG K"])
def test_sizes_may_be_left_to_the_call(known: str) -> None:
    case = CASES["padded"]
    arrays = case.arrays(np.float32, np.float32)
    sizes = {name: case.sizes[name] for name in known.split()}
    kernel = te.build(convolution("f32", "f32"), target=EMULATED, sizes=sizes, consts=case.consts)
    with emulating(Emulation(orders=(0, 3))):
        found = kernel(*arrays)
    np.testing.assert_array_equal(found, case.expected(arrays))


@pytest.mark.parametrize("text", [LINE, BOXES], ids=["a line", "boxes"])
def test_any_number_of_axes(text: str) -> None:
    rng = np.random.default_rng(2)
    shapes = [(2, 50, 5), (3, 5, 10)] if text == LINE else [(1, 4, 5, 6, 3), (2, 3, 3, 3, 5)]
    arrays = [rng.integers(-3, 4, size=shape).astype(np.float32) for shape in shapes]
    sizes = {"C": shapes[0][-1], "K": shapes[1][-1], "S": 3}
    kernel = te.build(text, target=EMULATED, sizes=sizes)
    assert "_windows" in str(kernel.schedule)
    with emulating(Emulation(orders=(0, 3))):
        found = kernel(*arrays)
    np.testing.assert_array_equal(found, te.build(text, "none")(*arrays))


def built(order: str = "nhwc rsck", sm: str = "sm_80", **numbers: int) -> te.Kernel:
    consts = {**LARGE.consts, **numbers}
    return te.build(convolution("f32", "f32", order), target=f"cuda.{sm}", sizes=LARGE.sizes, consts=consts)


def test_a_convolution_is_in_tiles_of_pixels_and_channels() -> None:
    lines = [line.strip() for line in str(built().schedule).splitlines()]
    assert lines[1:9] == [
        "split Y_sum.y by 16 into block_v, in_v",
        "split Y_sum.x by 8 into block_u, in_u",
        "split Y_sum.k by 64 into block_k, in_k",
        "split Y_sum.in_v by 4 into own_v, thread_v",
        "split Y_sum.in_u by 4 into own_u, thread_u",
        "split Y_sum.in_k by 32 into group, in_group",
        "split Y_sum.in_group by 4 into thread_k, own_k",
        "split Y_sum.c by 8 into slice, term",
    ]
    assert "pipeline Y_sum.slice depth 2" in lines


def test_the_innermost_loop_asks_for_nothing() -> None:
    text = str(built().ir("cuda"))
    inside = text[text.index("for (te_i32 s = 0") : text.index("// thread.z for Y.thread_v")]
    assert "if (" not in inside
    assert "?" not in inside


@with_compiler
@pytest.mark.nvcc
@pytest.mark.parametrize("sm", ["sm_80", "sm_90"])
@pytest.mark.parametrize("order", ["nhwc rsck", "nhwc krsc"])
def test_nothing_spills(order: str, sm: str) -> None:
    (found,) = built(order, sm, stride=2).resources()
    assert (found.usage.spill_stores, found.usage.spill_loads) == (0, 0)
    assert found.blocks >= 2


@with_compiler
@pytest.mark.skipif(
    find_program("nvdisasm") is None and find_program("cuobjdump") is None,
    reason="needs nvdisasm or cuobjdump (PyPI: nvidia-cuda-nvdisasm)",
)
@pytest.mark.nvcc
@pytest.mark.parametrize("sm", ["sm_80", "sm_90"])
def test_machine_code_copies_and_reads_16_bytes(sm: str) -> None:
    code = str(built(sm=sm).ir("sass"))
    assert re.search(r"LDGSTS\.E\S*\.128", code)
    assert len(re.findall(r"\bLDS\.128", code)) >= 32  # 8 pixels by 4 terms twice, and the filters
    assert len(re.findall(r"\bFFMA\b", code)) >= 512  # of 8 terms, 8 pixels and 8 channels
