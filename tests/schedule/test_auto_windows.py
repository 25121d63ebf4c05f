"""The automatic schedule of pooling, stencils and depthwise convolutions: rows of windows in registers."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import te
from te.schedule.auto import auto_schedule
from te.target import parse_target
from tests.schedule.scheduling import assert_built_same, program, random_inputs, sizes_around

MACHINE = dataclasses.replace(parse_target("llvm"), cores=2, caches=(32 << 10, 1 << 20, 32 << 20))
AVX512 = dataclasses.replace(MACHINE, vector_bits=512, vector_registers=32)

DEPTHWISE = """
op depthwise(X: f32[N, C, H, W], param F: f32[C, R, S], b: f32[C], const stride: int = 1, const pad: int = 1)
        -> Y: f32[N, C, (H + 2*pad - R) // stride + 1, (W + 2*pad - S) // stride + 1] {
    require stride >= 1 and pad >= 0
    Y[n, c, y, x] = b[c] + sum[r, s]((X[n, c, y*stride + r - pad, x*stride + s - pad] else 0) * F[c, r, s])
}
"""
POOL = """
op pool(X: f32[C, H, W], const stride: int = 2) -> Y: f32[C, (H - 1) // stride + 1, (W - 1) // stride + 1] {
    require stride >= 1
    Y[c, y, x] = max[r < 3, s < 3](X[c, y*stride + r - 1, x*stride + s - 1] else -inf)
}
"""
CHANNELS_LAST = """
op pool(X: f32[H, W, C]) -> Y: f32[H // 2, W // 2, C] {
    Y[y, x, c] = max[r < 2, s < 2](X[2*y + r, 2*x + s, c])
}
"""
BLUR = """
op blur(X: f32[H, W], F: f32[3, 3]) -> Y: f32[H, W] {
    Y[y, x] = sum[r, s]((X[y + r - 1, x + s - 1] else 0) * F[r, s])
}
"""
LINE = "op smooth(X: f32[M, N]) -> Y: f32[M, N - 2] { Y[i, j] = sum[k < 3](X[i, j + k]) }"


def lines_of(text: str, **options: object) -> str:
    return str(auto_schedule(program(text, **options), AVX512))  # type: ignore[arg-type]  # sizes


def test_some_rows_at_a_time_with_their_windows_written_out() -> None:
    sizes = {"N": 1, "C": 192, "H": 28, "W": 28, "R": 3, "S": 3}
    assert (
        lines_of(DEPTHWISE, sizes=sizes)
        == """\
schedule depthwise on llvm {
    split Y_sum.x by 16
    split Y_sum.y by 4
    reorder Y_sum.n, Y_sum.c, Y_sum.yo, Y_sum.xo, Y_sum.r, Y_sum.s, Y_sum.yi, Y_sum.xi
    fuse Y_sum.n, Y_sum.c into tile
    compute_at Y at Y_sum.xo
    set_scope Y_sum in register
    unroll Y_sum.r
    unroll Y_sum.s
    unroll Y_sum.yi
    vectorize Y_sum.xi
    unroll Y.y
    vectorize Y.x
    parallel Y_sum.tile
}"""
    )


def test_large_windows_and_those_of_the_call_stay_loops() -> None:
    assert "unroll Y_sum.r" not in lines_of(DEPTHWISE)
    assert "unroll Y_sum.r" not in lines_of(DEPTHWISE, sizes={"R": 9, "S": 9})


def test_channels_that_are_last_run_in_vectors() -> None:
    text = lines_of(CHANNELS_LAST, sizes={"H": 56, "W": 56, "C": 64})
    assert "split Y.c by 16" in text
    assert "split Y.x by 4" in text


def test_a_single_picture_is_shared_by_rows() -> None:
    assert "parallel Y.yo" in lines_of(BLUR)


def test_narrow_rows_get_narrow_vectors() -> None:
    assert "split Y.x by 4" in lines_of(POOL, sizes={"C": 64, "H": 7, "W": 7})


@pytest.mark.parametrize("text", [DEPTHWISE, POOL, CHANNELS_LAST, BLUR, LINE])
@pytest.mark.parametrize("target", ["llvm", "llvm.avx2"])
def test_results_stay_the_same(text: str, target: str) -> None:
    assert_built_same(text, *sizes_around(text, (3, 5, 8, 17, 33), windows=3), target=target)


@given(st.data())
def test_fixed_sizes_compute_the_same(data: st.DataObject) -> None:
    draw = data.draw
    sizes = {"N": draw(st.integers(1, 2), "N"), "C": draw(st.integers(1, 20), "C")}
    sizes |= {name: draw(st.integers(1, 5), name) for name in "RS"}
    sizes |= {name: draw(st.integers(5, 70), name) for name in "HW"}
    consts = {"stride": draw(st.integers(1, 4), "stride"), "pad": draw(st.integers(0, 2), "pad")}
    inputs = random_inputs(program(DEPTHWISE, sizes=sizes, consts=consts), sizes)
    built = te.build(DEPTHWISE, schedule="auto", sizes=sizes, consts=consts)
    expected = te.build(DEPTHWISE, schedule="none", consts=consts)(**inputs)
    np.testing.assert_array_equal(built(**inputs), expected)
