"""Attention in the automatic schedule: what is recognised, and the lines that it gets."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from te.schedule.auto import auto_schedule
from te.schedule.auto.attention import attentions_of
from te.target import parse_target
from tests.schedule.scheduling import SOFTMAX, program

MACHINE = dataclasses.replace(parse_target("llvm"), cores=2, caches=(32 << 10, 1 << 20, 32 << 20))
AVX512 = dataclasses.replace(MACHINE, vector_bits=512, vector_registers=32)
AVX2 = dataclasses.replace(MACHINE, vector_bits=256, vector_registers=16)


def attention(score: str = "* 0.125", where: str = "", extra: str = "", weights: str = "p[h, i, j]") -> str:
    return f"""
op attention(Q: f32[H, M, D], K: f32[H, N, D], V: f32[H, N, E]{extra}) -> O: f32[H, M, E] {{
    S[h, i, j] = sum[d](Q[h, i, d] * K[h, j, d]) {score}
    m[h, i]    = max[j{where}](S[h, i, j])
    p[h, i, j] = exp(S[h, i, j] - m[h, i])
    l[h, i]    = sum[j{where}](p[h, i, j])
    A[h, i, e] = sum[j{where}]({weights} * V[h, j, e])
    O[h, i, e] = A[h, i, e] / l[h, i]
}}"""


SIZES = {"H": 12, "M": 512, "N": 512, "D": 64, "E": 64}


def lines_of(text: str, target: Any = AVX512, **sizes: int) -> str:
    return str(auto_schedule(program(text, sizes=sizes), target))


def test_a_tile_of_queries_passes_over_blocks_of_keys() -> None:
    assert (
        lines_of(attention(), **SIZES)
        == """\
schedule attention on llvm {
    inline S
    split O.i by 32
    reorder O.h, O.io, O.ii, O.e
    online j of m, l, A at O.io by 64
    layout S_sum[h, i, j] as [h, j, i]
    layout p[h, i, j] as [h, j, i]
    split S_sum.j by 8
    reorder S_sum.jo, S_sum.d, S_sum.ji, S_sum.i
    reorder m.ji, m.i
    reorder p.j, p.i
    reorder l.ji, l.i
    tile A.i, A.e by 8, 32
    reorder A.eo, A.io, A.ji, A.ii, A.ei
    fuse O.h, O.io into tile
    cache_read Q[x0, x1, x2] at O.tile as Q_turned layout [x0, x2, x1]
    unroll S_sum.ji, A.ii
    vectorize m_start.i, l_start.i, S_sum.i, m_old.i, m.i, m_scale.i, m_safe.i, p.i, l.i, A.ei, l_end.i
    vectorize A_start.e, A_end.e, O.e by 16
    parallel O.tile
}"""
    )


def test_fewer_registers_make_smaller_tiles() -> None:
    lines = lines_of(attention(), AVX2, **SIZES)
    assert "split O.i by 16\n" in lines
    assert "split S_sum.j by 4\n" in lines
    assert "tile A.i, A.e by 4, 16\n" in lines


def test_tiles_are_half_as_wide_where_that_leaves_out_enough_queries() -> None:
    assert "split O.i by 32\n" in lines_of(
        attention(), **{**SIZES, "M": 1000}
    )  # of 1024; 1008 would be few less
    assert "split O.i by 16\n" in lines_of(attention(), **{**SIZES, "M": 100})  # of 112 instead of 128
    assert "split O.i by 8\n" in lines_of(attention(), **{**SIZES, "M": 7})


def test_a_constant_factor_of_the_logits_is_no_pass_of_its_own() -> None:
    for factor in ("* 0.125", "/ sqrt(128.0)", "* (1.0 / sqrt(3.0))"):
        has_pass = "inline S\n" not in lines_of(attention(factor), **SIZES)
        assert has_pass == factor.startswith("/ "), factor


def test_one_query_runs_along_the_keys() -> None:
    assert (
        lines_of(attention(), **{**SIZES, "M": 1})
        == """\
schedule attention on llvm {
    inline S
    split O.i by 1
    reorder O.h, O.io, O.ii, O.e
    online j of m, l, A at O.io by 256
    split A.e by 64
    reorder A.eo, A.ji, A.ei
    fuse O.h, O.io into tile
    vectorize A_start.e, p.j, A_end.e, O.e by 16
    vectorize S_sum.d, m.ji, l.ji by 64
    vectorize A.ei
    parallel O.tile
}"""
    )


def test_a_bias_and_a_mask_are_turned_for_a_block() -> None:
    lines = lines_of(
        attention("* 0.125 + bias[i, j]", " where mask[i, j]", ", bias: f32[M, N], mask: bool[M, N]"), **SIZES
    )
    assert "inline" not in lines  # each reader would add the bias again
    assert "cache_read bias[x0, x1] at m.jo as bias_turned layout [x1, x0]" in lines
    assert "cache_read mask[x0, x1] at m.jo as mask_turned layout [x1, x0]" in lines


def test_a_mask_of_the_weights_leaves_the_sums_without_a_condition() -> None:
    text = attention(extra=", mask: bool[M, N]").replace("max[j]", "max[j where mask[i, j]]")
    masked = text.replace("= exp(S[h, i, j] - m[h, i])", "= where(mask[i, j], exp(S[h, i, j] - m[h, i]), 0)")
    lines = lines_of(masked, **SIZES)
    assert "online j of m, l, A at O.io by 64" in lines
    assert "cache_read mask[x0, x1] at m.jo as mask_turned layout [x1, x0]" in lines


def test_queries_need_not_be_the_axis_before_the_last() -> None:
    text = """
op attention(Q: f32[M, H, D], K: f32[N, H, D], V: f32[N, H, D]) -> O: f32[M, H, D] {
    S[h, i, j] = sum[d](Q[i, h, d] * K[j, h, d])
    w[h, i]    = max[j](S[h, i, j])
    O[i, h, d] = sum[j](exp(S[h, i, j] - w[h, i]) * V[j, h, d]) / sum[k](exp(S[h, i, k] - w[h, i]))
}"""
    lines = lines_of(text, M=100, H=4, N=80, D=32)
    assert "reorder O.h, O.io, O.ii, O.d" in lines
    assert "online j, O_sum2.k of w, O_sum2, O_sum at O.io by 64" in lines


@pytest.mark.parametrize(
    "text",
    [
        SOFTMAX,
        attention(weights="p[h, i, j] / l[h, i]").replace("A[h, i, e] / l[h, i]", "A[h, i, e]"),
        attention().replace("-> O: f32[H, M, E]", "-> O: f32[H, M, E], l: f32[H, M]"),
        attention().replace("exp(S[h, i, j] - m[h, i])", "S[h, i, j] - m[h, i]"),
        attention().replace("sum[d](Q[h, i, d] * K[h, j, d])", "(Q[h, i, 0] else 0) * (K[h, j, 0] else 0)"),
    ],
)
def test_what_online_does_not_take_is_no_attention(text: str) -> None:
    assert attentions_of(program(text)) == []
