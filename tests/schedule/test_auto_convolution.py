"""The automatic schedule of convolutions: what it writes, and that it changes no result."""

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
AVX2 = dataclasses.replace(MACHINE, vector_bits=256, vector_registers=16)
AVX512 = dataclasses.replace(MACHINE, vector_bits=512, vector_registers=32)

CONV = """
op conv(X: f32[N, C, H, W], param F: f32[K, C, R, S], b: f32[K], const stride: int = 1, const pad: int = 1,
        const dilation: int = 1)
        -> Y: f32[N, K, (H + 2*pad - dilation*(R - 1) - 1) // stride + 1,
                  (W + 2*pad - dilation*(S - 1) - 1) // stride + 1] {
    require stride >= 1 and pad >= 0 and dilation >= 1
    Y[n, k, y, x] = max(b[k] + sum[c, r, s](
        (X[n, c, y*stride + r*dilation - pad, x*stride + s*dilation - pad] else 0) * F[k, c, r, s]), 0)
}
"""
FILTERS_OF_THE_CALL = """
op conv(X: f32[C, W], F: f32[K, C, 3]) -> Y: f32[K, W] {
    Y[k, x] = sum[c, s]((X[c, x + s - 1] else 0) * F[k, c, s])
}
"""
CHANNELS_LAST = """
op conv(X: f32[N, H, W, C], param F: f32[3, 3, C, K], b: f32[K]) -> Y: f32[N, H - 2, W - 2, K] {
    Z[n, y < H - 2, x < W - 2, k] = sum[r, s, c](X[n, y + r, x + s, c] * F[r, s, c, k])
    Y[n, y, x, k] = Z[n, y, x, k] + b[k]
}
"""
GROUPS = """
op conv(X: f32[C, H, W], param F: f32[K, CG, 3, 3], const groups: int) -> Y: f32[K, H, W] {
    require groups >= 1 and C == CG * groups and K % groups == 0
    Y[k, y, x] = sum[c, r, s]((X[k // (K // groups) * CG + c, y + r - 1, x + s - 1] else 0) * F[k, c, r, s])
}
"""
FIXED = {"N": 1, "C": 64, "H": 56, "W": 56, "K": 64, "R": 3, "S": 3}


def lines_of(text: str, target: object = AVX512, **options: object) -> str:
    return str(auto_schedule(program(text, **options), target))  # type: ignore[arg-type]  # sizes


def test_tiles_of_pixels_and_channels() -> None:
    assert (
        lines_of(CONV, sizes=FIXED)
        == """\
schedule conv on llvm {
    layout F[k, c, r, s] as [k // 32, c, r, s, k % 32]
    split Y_sum.k by 32
    split Y_sum.x by 14
    reorder Y_sum.n, Y_sum.y, Y_sum.ko, Y_sum.xo, Y_sum.c, Y_sum.r, Y_sum.s, Y_sum.xi, Y_sum.ki
    cache_read X[x0, x1, x2, x3] at Y_sum.n as X_padded fill 0
    vectorize X_padded.x3 by 16
    parallel X_padded.x1
    fuse Y_sum.y, Y_sum.ko into tile0
    fuse Y_sum.tile0, Y_sum.xo into tile
    compute_at Y at Y_sum.tile
    set_scope Y_sum in stack
    layout Y_sum[n, k, y, x] as [n, y, x, k]
    split Y.k by 16
    unroll Y.ki
    vectorize Y.x
    unroll Y_sum.xi
    vectorize Y_sum.ki
    parallel Y_sum.tile
}"""
    )


def test_many_filters_pass_one_panel_at_a_time() -> None:
    text = lines_of(CONV, sizes=FIXED | {"C": 512, "H": 7, "W": 7, "K": 512})
    assert "reorder Y_sum.n, Y_sum.ko, Y_sum.y, Y_sum.xo" in text
    assert "split Y_sum.x by 7" in text


def test_tiles_fit_the_registers_and_the_rows() -> None:
    assert "split Y_sum.x by 6" in lines_of(CONV, AVX2, sizes=FIXED | {"W": 48})
    assert "split Y_sum.x by 13" in lines_of(CONV, sizes=FIXED | {"W": 26})
    assert "split Y_sum.k by 16" in lines_of(CONV, sizes=FIXED | {"K": 16})


def test_where_the_call_decides_the_sizes() -> None:
    text = lines_of(CONV)
    assert "layout F[k, c, r, s] as [k // 32, c, r, s, k % 32]" in text
    assert "split Y_sum.x by 14" in text


def test_filters_of_a_call_are_packed_in_it() -> None:
    text = lines_of(FILTERS_OF_THE_CALL, sizes={"C": 16, "W": 100, "K": 32})
    assert "cache_read F[k, c, s] as F_packed layout [k // 32, c, s, k % 32]" in text
    assert "cache_write Y at Y.tile as Y_tile in stack" in text


def test_channels_that_are_last_are_written_as_they_are() -> None:
    text = lines_of(CHANNELS_LAST, sizes={"N": 1, "H": 30, "W": 30, "C": 32, "K": 64})
    assert "set_scope Z in register" in text
    assert "unroll Y.x" in text
    assert "vectorize Y.k" in text
    assert "X_padded" not in text


def test_a_tile_of_channels_is_of_one_group() -> None:
    sizes = {"C": 32, "H": 14, "W": 14, "K": 96, "CG": 16}
    assert "split Y.k by 16" in lines_of(GROUPS, sizes=sizes, consts={"groups": 2})
    assert "F_copy" not in lines_of(GROUPS, sizes=sizes | {"K": 6}, consts={"groups": 2})


TEXTS = {
    "padded": (CONV, {}),
    "strides": (CONV, {"stride": 2, "pad": 2}),
    "dilated": (CONV, {"dilation": 2, "pad": 0}),
    "filters of the call": (FILTERS_OF_THE_CALL, {}),
    "channels last": (CHANNELS_LAST, {}),
}


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("target", ["llvm", "llvm.avx2"])
def test_results_stay_the_same(name: str, target: str) -> None:
    text, consts = TEXTS[name]
    assert_built_same(text, *sizes_around(text, (3, 5, 8, 17, 33), windows=2), target=target, consts=consts)


@given(st.data())
def test_fixed_sizes_compute_the_same(data: st.DataObject) -> None:
    draw = data.draw
    sizes = {name: draw(st.integers(1, most), name) for name, most in (("N", 2), ("C", 5), ("K", 70))}
    sizes |= {name: draw(st.integers(1, 4), name) for name in "RS"}
    sizes |= {name: draw(st.integers(7, 40), name) for name in "HW"}
    consts = {
        "stride": draw(st.integers(1, 3), "stride"),
        "pad": draw(st.integers(0, 2), "pad"),
        "dilation": draw(st.integers(1, 2), "dilation"),
    }
    inputs = random_inputs(program(CONV, sizes=sizes, consts=consts), sizes)
    options = {"sizes": sizes, "consts": consts}
    built = te.build(CONV, schedule="auto", **options)  # type: ignore[arg-type]  # sizes and consts
    expected = te.build(CONV, schedule="none", consts=consts)(**inputs)
    np.testing.assert_array_equal(built(**inputs), expected)
    np.testing.assert_array_equal(built.bind(F=inputs.pop("F"))(**inputs), expected)
