"""Attention on GPUs: queries in tiles, in one launch, and right in the emulator."""

from __future__ import annotations

import numpy as np
import pytest

import te
from te.backends.cuda.compile import compiler_version
from te.backends.cuda.emulator.executable import Emulation, emulating
from te.schedule.auto import auto_schedule
from te.target import EMULATED, parse_target
from tests.backends.emulator.running import needs_gxx
from tests.schedule.scheduling import program, random_inputs
from tests.schedule.test_auto_attention import attention

pytestmark = needs_gxx

CAUSAL = attention(where=" where j <= i")
MASKED = attention("* 0.125 + bias[i, j]", " where mask[i, j]", ", bias: f32[M, N], mask: bool[M, N]")
FIRST_KEYS = attention(where=" where j <= i + length - M", extra=", length: i64")


def lines_of(text: str, **sizes: int) -> list[str]:
    found = auto_schedule(program(text, sizes=sizes), parse_target("cuda.sm_80"))
    return [str(line) for line in found.directives]


def test_a_block_takes_a_tile_of_queries_over_all_keys() -> None:
    lines = lines_of(attention(), D=64, E=64)
    assert lines[:5] == [
        "inline S",
        "split O.i by 64 into block_y, in_y",
        "split O.e by 64 into block_x, in_x",
        "reorder O.h, O.block_y, O.block_x, O.in_y, O.in_x",
        "online j of m, l, A at O.block_x by 64",
    ]
    turned = "in shared layout [of_0, of_2, of_1] fill 0"
    assert f"cache_read Q[of_0, of_1, of_2] at O.block_x as Q_of_S_sum {turned}" in lines
    assert "cache_read V[of_0, of_1, of_2] at A.slice as V_of_A in shared fill 0" in lines
    assert "cache_read p[h, i, j] at A.whole as p_shared in shared layout [h, j, i]" in lines
    for stage in ("S_sum", "m", "l", "A", "p"):
        assert f"set_scope {stage} in register" in lines
    assert [line for line in lines if line.startswith("bind O.")] == [
        *(f"bind O.thread_{d} to thread.{d}" for d in "yx"),
        "bind O.h to block.z",
        "bind O.block_y to block.y",
        "bind O.block_x to block.x",
    ]


def test_few_queries_have_small_tiles_and_wide_heads_wide_ones() -> None:
    assert "split O.i by 32 into block_y, in_y" in lines_of(attention(), M=30, D=64, E=64)
    assert "split O.e by 128 into block_x, in_x" in lines_of(attention(), D=128, E=128)
    assert "split O.e by 32 into block_x, in_x" in lines_of(attention(), D=16, E=16)


def test_heads_of_any_size_come_in_slices() -> None:
    lines = lines_of(attention())
    assert "compute_at S_sum at m.jo" in lines
    assert [line.split(" as ")[0] for line in lines if line.startswith("cache_read")] == [
        "cache_read Q[of_0, of_1, of_2] at S_sum.slice",
        "cache_read K[of_0, of_1, of_2] at S_sum.slice",
        "cache_read p[h, i, j] at A.whole",
        "cache_read V[of_0, of_1, of_2] at A.slice",
    ]


def test_rows_that_overhang_ask_for_nothing_in_the_loops() -> None:
    text = te.build(attention(), target="cuda.sm_80", sizes={"D": 64, "E": 64}).ir("cuda")
    inside = text[text.index("for (te_i64 jo") : text.index("O.thread_y")]
    assert "< M" not in inside


@pytest.mark.slow
@pytest.mark.nvcc
@pytest.mark.skipif(compiler_version() is None, reason="needs NVRTC or nvcc")
@pytest.mark.parametrize("text", [CAUSAL, FIRST_KEYS], ids=["causal", "first-keys"])
def test_nothing_spills(text: str) -> None:
    for arch in ("sm_80", "sm_90"):
        kernel = te.build(text, target=f"cuda.{arch}", sizes={"D": 64, "E": 64})
        (found,) = kernel.resources()
        assert found.usage.spill_stores + found.usage.spill_loads == 0
        assert found.usage.registers <= 255


QUICK = ("few", "causal")
ANY = {"H": 2, "D": 20, "E": 24}
CASES = {
    "tile": (attention(), {"D": 16, "E": 32}, [(64, 64), (65, 129)]),
    "any": (attention(), {}, [(5, 3), (70, 64)]),
    "few": (CAUSAL, {"M": 9, "D": 20, "E": 24}, [(9, 70)]),
    "causal": (CAUSAL, {}, [(70, 65), (33, 70)]),
    "masked": (MASKED, {}, [(37, 70)]),
    "first-keys": (FIRST_KEYS, {}, [(37, 70)]),
    "doubles": (attention().replace("f32", "f64"), {}, [(65, 35)]),
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in CASES]
)
def test_results_are_those_of_the_op(name: str) -> None:
    text, known, sizes = CASES[name]
    of = program(text, sizes=known)
    gpu, plain = te.build(text, target=EMULATED, sizes=known), te.build(text, "none", sizes=known)
    assert gpu.ir("cuda").count("__global__") == 1
    for seed, (queries, keys) in enumerate(sizes):
        inputs = random_inputs(of, {**ANY, **known, "M": queries, "N": keys}, seed=seed)
        if "length" in inputs:
            inputs["length"] = np.int64(61)
        if "mask" in inputs:
            inputs["mask"][:, 0] = True
        with emulating(Emulation(orders=(0, seed + 2))):
            found = gpu(*inputs.values())
        np.testing.assert_allclose(found, plain(*inputs.values()), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_infinities_are_where_the_op_has_them() -> None:
    """A row without keys, one of which all logits are -inf, and one with a logit +inf."""
    text = attention(where=" where j + 1 <= i")
    of = program(text)
    inputs = random_inputs(of, {**ANY, "M": 70, "N": 70})
    inputs["K"][0, 3] = np.inf
    inputs["Q"][0, 5], inputs["K"][0, :5] = 1.0, -np.inf
    gpu, plain = te.build(text, target=EMULATED), te.build(text, "none")
    np.testing.assert_allclose(gpu(*inputs.values()), plain(*inputs.values()), rtol=1e-4, atol=1e-5)
