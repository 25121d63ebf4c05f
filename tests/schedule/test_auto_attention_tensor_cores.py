"""Attention of the standard library on tensor cores: by itself, which of it, and that the emulator agrees."""

from __future__ import annotations

import re
import shutil
from functools import cache
from typing import Any

import numpy as np
import pytest

import te
from te.backends.cuda.compile import compiler_version
from te.backends.cuda.emulator.executable import Emulation, emulating
from te.backends.cuda.toolkit import find_program
from te.ir.types import DTYPES, numpy_dtype

HEADS = {"E": 64, "F": 64}
PUT_ASIDE = 8  # bytes that a causal one has no register for
TOLERANCE = {"bf16": 2e-2, "f16": 3e-3}


def built(name: str, dtype: str, target: str = "cuda.sm_80", sizes: dict[str, int] = HEADS, **consts: bool):
    return kept(name, dtype, target, tuple(sizes.items()), tuple(consts.items()))


@cache  # a build takes seconds
def kept(name: str, dtype: str, target: str, sizes: tuple[Any, ...], consts: tuple[Any, ...]) -> te.Kernel:
    op = te.std.nn[name]
    return te.build(op, target=target, dtypes={"T": dtype}, sizes=dict(sizes), consts=dict(consts))


def instructions(kernel: te.Kernel) -> list[str]:
    return re.findall(r"as (mma_\w+)", str(kernel.schedule))


@pytest.mark.parametrize(
    ("name", "dtype", "target", "sizes", "found"),
    [
        ("scaled_dot_product_attention", "bf16", "cuda.sm_80", HEADS, "mma_m16n8k16_bf16"),
        ("masked_attention", "f16", "cuda.sm_90", HEADS, "mma_m16n8k16_f16"),
        pytest.param(
            "grouped_query_attention",
            "bf16",
            "cuda.sm_80",
            {"E": 128, "F": 16},
            "mma_m16n8k16_bf16",
            marks=pytest.mark.slow,
        ),
        ("scaled_dot_product_attention", "f32", "cuda.sm_80", HEADS, None),
        *(
            pytest.param("scaled_dot_product_attention", "bf16", *of, None, marks=pytest.mark.slow)
            for of in [
                ("cuda.sm_75", HEADS),
                ("cuda.sm_80", {"E": 64}),
                ("cuda.sm_80", {"E": 24, "F": 64}),
                ("cuda.sm_80", {"E": 64, "F": 144}),
            ]
        ),
    ],
)
def test_which(name: str, dtype: str, target: str, sizes: dict[str, int], found: str | None) -> None:
    kernel = built(name, dtype, target, sizes)
    assert instructions(kernel) == ([found] * 2 if found else [])
    assert "online j of m, l, A at" in str(kernel.schedule)


def test_one_query_is_no_tile() -> None:
    kernel = built("scaled_dot_product_attention", "bf16", sizes={**HEADS, "L": 1, "S": 64})
    assert instructions(kernel) == []


def test_keys_are_copied_while_those_before_are_used() -> None:
    kernel = built("scaled_dot_product_attention", "bf16")
    lines = str(kernel.schedule)
    assert "cache_read w" not in lines  # the weights stay where they are
    assert "pipeline m.jo depth 2" in lines
    loop = kernel.ir("final").partition("for m.jo <")[2].partition("if (S >= 1)")[0].partition("m_end")[0]
    ahead, _, rest = loop.partition("commit")
    assert [*re.findall(r"(\w+)\[\(jo \+ 1\) % 2", ahead)] == ["K_tile", "V_tile"]
    assert "cp_async" not in rest
    assert loop[: loop.index("l_end")].count("barrier") == 1


def test_only_the_tiles_on_the_diagonal_ask_for_each_key() -> None:
    kernel = built("scaled_dot_product_attention", "bf16", is_causal=True)
    assert instructions(kernel) == ["mma_m16n8k16_bf16"] * 2
    text = kernel.ir("cuda")
    assert re.search(r"jo < \(te_min_i64\(.*, 64 \* block_y \+ 64\) \+ 63\) / 64;", text)
    plain, _, chosen = text.partition("if (jo < block_y) {")[2].partition("} else {")
    assert "te_mma_m16n8k16_bf16(" in plain
    assert "te_mma_m16n8k16_bf16_where(" in chosen


CASES = {
    "ragged": ("scaled_dot_product_attention", "bf16", 64, 64, [(70, 131), (5, 3)]),
    "whole": ("scaled_dot_product_attention", "f16", 64, 64, [(64, 128)]),
    "wide": ("scaled_dot_product_attention", "bf16", 128, 128, [(17, 65)]),
    "odd": ("scaled_dot_product_attention", "f16", 48, 80, [(33, 64)]),
    "groups": ("grouped_query_attention", "bf16", 16, 32, [(33, 70)]),
    "causal": ("scaled_dot_product_attention", "bf16", 32, 64, [(70, 70), (9, 131), (130, 20)]),
    "causal groups": ("grouped_query_attention", "f16", 32, 16, [(70, 70), (33, 131)]),
    "masked": ("masked_attention", "bf16", 32, 16, [(70, 67)]),
}
QUICK = ("ragged", "causal")


def expected(q, k, v, sees):
    q, k, v = (x.astype(np.float64) for x in (q, k, v))
    if q.ndim == 4:
        k, v = (np.repeat(x, q.shape[1] // x.shape[1], axis=1) for x in (k, v))
    logits = np.where(sees, q @ k.swapaxes(-1, -2) / np.sqrt(q.shape[-1]), -np.inf)
    with np.errstate(invalid="ignore"):
        weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
        return weights @ v / weights.sum(axis=-1, keepdims=True)


@pytest.mark.gxx
@pytest.mark.skipif(shutil.which("g++") is None, reason="no g++, which compiles what is emulated")
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in CASES]
)
def test_results_are_those_of_the_op(name: str) -> None:
    op, dtype, terms, columns, sizes = CASES[name]
    is_causal = name.startswith("causal")
    consts = {"is_causal": True} if is_causal else {}
    kernel = built(op, dtype, "cuda-emulated", {"E": terms, "F": columns}, **consts)
    assert kernel.ir("cuda").count("__global__") == 1
    assert "te_mma" in kernel.ir("cuda")
    of = numpy_dtype(DTYPES[dtype])
    for seed, (queries, keys) in enumerate(sizes):
        rng = np.random.default_rng(seed)
        batch, shared = ((2, 4), (2, 2)) if op.startswith("grouped") else ((2,), (2,))
        q = rng.standard_normal((*batch, queries, terms)).astype(of)
        k = rng.standard_normal((*shared, keys, terms)).astype(of)
        v = rng.standard_normal((*shared, keys, columns)).astype(of)
        sees = np.ones((queries, keys), bool)
        if is_causal:
            sees = np.tri(queries, keys, keys - queries if op.startswith("grouped") else 0, dtype=bool)
        arrays = [q, k, v]
        if op == "masked_attention":
            sees = rng.random((queries, keys)) < 0.5
            sees[3] = False
            arrays.append(sees)
        with emulating(Emulation(orders=(0, seed + 2))):
            found = np.asarray(kernel(*arrays)).astype(np.float64)
        wanted = expected(q, k, v, sees)
        wanted[..., ~sees.any(axis=1), :] = 0  # of a query that sees no key
        np.testing.assert_allclose(found, wanted, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


@pytest.mark.gxx
@pytest.mark.skipif(shutil.which("g++") is None, reason="no g++, which compiles what is emulated")
def test_values_of_keys_that_a_query_does_not_see_are_nothing_to_it() -> None:
    """Not even if they are NaN or infinite, and are multiplied together with others."""
    kernel = built("scaled_dot_product_attention", "bf16", "cuda-emulated", is_causal=True)
    rng = np.random.default_rng(0)
    half = numpy_dtype(DTYPES["bf16"])
    q, k, v = (rng.standard_normal((1, 40, 64)).astype(half) for _ in range(3))
    plain = np.asarray(kernel(q, k, v)).astype(np.float64)
    v[0, 37:, 5], v[0, 38, 6] = np.nan, -np.inf
    found = np.asarray(kernel(q, k, v)).astype(np.float64)
    np.testing.assert_array_equal(found[0, :37], plain[0, :37])
    assert np.isnan(found[0, 37:, 5]).all()
    assert (found[0, 38:, 6] == -np.inf).all()
    assert np.isfinite(found[0, 37, 6])


@pytest.mark.nvcc
@pytest.mark.skipif(compiler_version() is None, reason="needs NVRTC or nvcc")
@pytest.mark.parametrize(
    ("head", "sm"),
    [
        (64, "sm_80"),
        *(
            pytest.param(*of, marks=pytest.mark.slow)
            for of in [(64, "sm_90"), (128, "sm_80"), (128, "sm_90")]
        ),
    ],
)
def test_machine_code(head: int, sm: str) -> None:
    sizes = {"E": head, "F": head}
    kernel = built("scaled_dot_product_attention", "bf16", f"cuda.{sm}", sizes)
    (found,) = kernel.resources()
    assert (found.usage.stack, found.usage.spill_stores, found.usage.spill_loads) == (0, 0, 0)
    (causal,) = built("scaled_dot_product_attention", "bf16", f"cuda.{sm}", sizes, is_causal=True).resources()
    assert causal.usage.spill_stores <= (PUT_ASIDE if (head, sm) == (128, "sm_90") else 0)
    code = kernel.ir("ptx")
    # A warp has 16 queries and takes 64 keys at a time, in steps of 16 x 8 x 16, for both products.
    assert len(re.findall(r"mma\.sync\.aligned\.m16n8k16", code)) == 2 * (64 // 8) * (head // 16)
    assert "ldmatrix.sync.aligned.m8n8.x4.shared" in code
    assert "ldmatrix.sync.aligned.m8n8.x4.trans.shared" in code
    assert "cp.async.cg.shared.global" in code


@pytest.mark.nvcc
@pytest.mark.skipif(
    compiler_version() is None or (find_program("nvdisasm") is None and find_program("cuobjdump") is None),
    reason="needs NVIDIA's compiler, and nvdisasm or cuobjdump",
)
def test_instructions_of_the_machine() -> None:
    code = built("scaled_dot_product_attention", "bf16").ir("sass")
    assert len(re.findall(r"HMMA\.16816\.F32\.BF16", code)) == 64
    assert len(re.findall(r"LDSM\.16\.M88\.4", code)) == 16  # of K: two tiles of 8 keys each
    assert len(re.findall(r"LDSM\.16\.MT88\.4", code)) == 16  # of V: two tiles of 8 columns each
