"""Convolutions on GPUs without a schedule: tiles of channels and pixels, right in the emulator."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import te
from te.backends.cuda.compile import compiler_version
from te.backends.cuda.emulator.executable import Emulation, emulating
from te.schedule.auto import auto_schedule
from te.target import EMULATED, parse_target
from tests.backends.emulator.running import needs_gxx
from tests.schedule.scheduling import program

pytestmark = needs_gxx

F32 = {"T": "f32"}
RECTIFIED = """
op f(X: f32[N, C, H, W], w: f32[K, C, R, S], b: f32[K]) -> Y: f32[N, K, H, W] {
    p[n, k, y < H, x < W] = sum[c, r, s]((X[n, c, y + r - 1, x + s - 1] else 0) * w[k, c, r, s])
    Y[n, k, y, x] = max(p[n, k, y, x] + b[k], 0.0)
}
"""
WINDOW = {"CG": 64, "K": 64, "R": 3, "S": 3, "H": 56, "W": 56, "N": 8}
# The sizes N, C, K and places of pictures and filters; groups, and numbers of the op.
CASES: dict[str, tuple[tuple[int, int, int], tuple[int, ...], tuple[int, ...], int, dict[str, int]]] = {
    "padded": ((2, 5, 10), (9, 11), (3, 3), 1, {"padding": 1}),
    "strided": ((2, 5, 10), (9, 11), (3, 3), 1, {"stride": 2}),
    "padded and strided": ((1, 4, 35), (9, 11), (3, 3), 1, {"padding": 1, "stride": 2}),
    "groups": ((2, 8, 64), (7, 9), (3, 3), 2, {"padding": 1}),
    "groups that no tile divides": ((1, 6, 6), (7, 9), (3, 3), 2, {"padding": 1}),
    "groups of one": ((1, 4, 4), (7, 9), (3, 3), 4, {"padding": 1}),
    "one place": ((1, 37, 33), (7, 19), (1, 1), 1, {}),
    "one channel": ((1, 1, 9), (17, 19), (5, 3), 1, {"padding": 2}),
    "dilated": ((1, 3, 6), (17, 19), (3, 3), 1, {"padding": 2, "dilation": 2}),
    "a line": ((2, 5, 10), (50,), (3,), 1, {"padding": 1}),
    "boxes": ((1, 3, 5), (4, 5, 6), (2, 3, 3), 1, {"padding": 1}),
}


def check(op: Any, arrays: list[np.ndarray], **options: Any) -> None:
    """Compare what the emulator computes with what the plain loops do."""
    sizes = options.pop("sizes", {})
    kernel = te.build(op, target=EMULATED, sizes=sizes, **options)
    with emulating(Emulation(orders=(0, 3))):
        found = kernel(*arrays)
    np.testing.assert_allclose(found, te.build(op, "none", **options)(*arrays), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", CASES)
def test_results_are_those_of_the_op(name: str) -> None:
    (n, c, k), places, window, groups, numbers = CASES[name]
    names = ("DHW"[-len(places) :], "QRS"[-len(places) :])
    sizes = {**dict(zip(names[0], places, strict=True)), **dict(zip(names[1], window, strict=True))}
    rng = np.random.default_rng(0)
    shapes = [(n, c, *places), (k, c // groups, *window), (k,)]
    arrays = [rng.standard_normal(shape).astype(np.float32) for shape in shapes]
    op = te.std.conv[f"conv{len(places)}d"]
    check(
        op,
        arrays,
        sizes={**sizes, "CG": c // groups, "K": k},
        dtypes=F32,
        consts={"groups": groups, **numbers},
    )


@pytest.mark.parametrize("sizes", [{}, {"R": 3, "S": 3}], ids=["any", "windows"])
def test_sizes_may_be_left_to_the_call(sizes: dict[str, int]) -> None:
    rng = np.random.default_rng(1)
    arrays = [rng.standard_normal(shape).astype(np.float32) for shape in ((1, 5, 9, 11), (7, 5, 3, 3), (7,))]
    check(te.std.conv["conv2d"], arrays, sizes=sizes, dtypes=F32, consts={"padding": 1})


def test_a_convolution_is_in_tiles_of_channels_and_pixels() -> None:
    of = program(RECTIFIED, sizes={"R": 3, "S": 3, "C": 64, "K": 64, "H": 56, "W": 56, "N": 8})
    lines = [str(line) for line in auto_schedule(of, parse_target("cuda.sm_80")).directives]
    assert lines[:6] == [
        "split p.k by 64 into block_k, in_k",
        "split p.y by 8 into block_v, in_v",
        "split p.x by 8 into block_u, in_u",
        "split p.in_k by 4 into thread_k, own_k",
        "split p.in_v by 4 into group, thread_v",
        "split p.in_u by 4 into thread_u, own_u",
    ]
    assert "compute_at Y at p.block_u" in lines
    assert "set_scope p in register" in lines
    assert "cache_read X[of_0, of_1, of_2, of_3] at p.slice as p_windows in shared fill 0" in lines
    assert "pipeline p.slice depth 2" in lines


def test_the_innermost_loop_asks_for_nothing() -> None:
    text = str(built().ir("cuda"))
    inside = text[text.index("for (te_i32 s = 0") : text.index("// thread.z for Y.thread_k")]
    assert "if (" not in inside
    assert "?" not in inside


def built(**consts: int) -> te.Kernel:
    op = te.std.conv["conv2d"]
    return te.build(op, target="cuda.sm_80", sizes=WINDOW, dtypes=F32, consts={"padding": 1, **consts})


@pytest.mark.nvcc
@pytest.mark.skipif(compiler_version() is None, reason="needs NVRTC or nvcc")
@pytest.mark.parametrize("stride", [1, 2])
def test_nothing_spills(stride: int) -> None:
    (found,) = built(stride=stride).resources()
    assert (found.usage.spill_stores, found.usage.spill_loads) == (0, 0)
    assert found.occupancy >= 0.25


FILTERS_LAST = """
op f(X: f32[N, C, H, W], w: f32[R, S, C, K]) -> Y: f32[N, K, H, W] {
    Y[n, k, y < H, x < W] = sum[c, r, s]((X[n, c, y + r - 1, x + s - 1] else 0) * w[r, s, c, k])
}
"""


def test_filters_may_have_their_channels_last() -> None:
    rng = np.random.default_rng(3)
    arrays = [rng.standard_normal(shape).astype(np.float32) for shape in ((1, 5, 9, 11), (3, 3, 5, 10))]
    sizes = {"C": 5, "K": 10, "R": 3, "S": 3}
    assert "_filters" in str(te.build(FILTERS_LAST, target=EMULATED, sizes=sizes).schedule)
    check(FILTERS_LAST, arrays, sizes=sizes)


def test_a_transform_by_constants_is_no_convolution() -> None:
    kernel = te.build(te.std.winograd.windows, target="cuda.sm_80", dtypes=F32, consts={"padding": 1})
    assert "_filters" not in str(kernel.schedule)
