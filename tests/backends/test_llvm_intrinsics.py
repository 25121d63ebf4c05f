"""Instructions that `tensorize` asks for: their code, and that they compute what their ops say."""

from __future__ import annotations

import re
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import te
from te.backends import llvm
from te.backends.interp.tensor import run_program
from te.backends.llvm.intrinsics import INSTRUCTIONS
from te.schedule.finalize import finalize
from te.schedule.intrinsics import DEVIATIONS, shipped
from te.target import parse_target
from tests.schedule.scheduling import program, scheduled

BF16 = ml_dtypes.bfloat16

OPS = {
    "vpdpbusd": """
op qmm(A: u8[M, K, 4], B: i8[K, N, 4]) -> C: i32[M, N] {
    C[i, j] = sum[k, q](i32(A[i, k, q]) * i32(B[k, j, q]))
}
""",
    "vdpbf16ps": """
op bmm(A: bf16[M, K, 2], B: bf16[K, N, 2]) -> C: f32[M, N] {
    C[i, j] = sum[k, q](f32(A[i, k, q]) * f32(B[k, j, q]))
}
""",
}


def lines(instruction: str, lanes: int = 32) -> str:
    return (
        f"tile i, j by 8, {lanes} into io, jo, ii, ji\nreorder io, jo, k, ii, ji, q\n"
        f"tensorize ji, q as {instruction}\nunroll ii"
    )


def needs(instruction: str) -> None:
    target = shipped()[instruction].target
    if not parse_target("llvm").satisfies(target):
        pytest.skip(f"this CPU has no {instruction} ({target})")


# ---------------------------------------------------------------- the code


def test_what_is_declared_has_code_and_the_other_way_round() -> None:
    of_cpus = {name: meaning for name, meaning in shipped().items() if meaning.target.startswith("llvm")}
    assert set(INSTRUCTIONS) == set(of_cpus)
    assert set(DEVIATIONS) <= set(shipped())
    for name, meaning in of_cpus.items():
        assert [n for n in range(64) if meaning.allows(n)] == sorted(INSTRUCTIONS[name].names)


@pytest.mark.parametrize("instruction", OPS)
@pytest.mark.parametrize(("lanes", "register"), [(32, "zmm"), (16, "zmm"), (8, "ymm"), (4, "xmm")])
def test_the_hot_loop_is_the_instruction_and_keeps_its_accumulators(
    instruction: str, lanes: int, register: str
) -> None:
    kernel = finalize(scheduled(OPS[instruction], lines(instruction, lanes), sizes={"M": 8, "N": lanes}))
    asm = llvm.emit([kernel], parse_target(shipped()[instruction].target)).asm()
    loops = re.split(r"^\.LBB.*:.*$", asm, flags=re.MULTILINE)
    (hot,) = [block for block in loops if instruction in block]
    found = re.findall(rf"{instruction}\s.*%{register}(\d+)$", hot, re.MULTILINE)
    assert len(found) == max(8, lanes // 2)
    assert len(set(found)) == len(found), "each accumulator has a register of its own"
    assert "(%rsp)" not in hot
    stores = re.findall(rf"^\s+vmovdq.*%{register}\d+, .*\(.*\)$", hot, re.MULTILINE)
    assert not stores


def test_code_for_a_kernel_that_breaks_the_promise_is_refused() -> None:
    from dataclasses import replace

    from te.ir.loop import For, rewrite_stmt

    kernel = finalize(scheduled(OPS["vpdpbusd"], lines("vpdpbusd"), sizes={"M": 8, "N": 32}))

    def wrong(s: Any) -> Any:
        return replace(s, intrinsic="vdpbf16ps") if isinstance(s, For) and s.intrinsic else s

    broken = replace(kernel, body=rewrite_stmt(kernel.body, wrong))
    with pytest.raises(ValueError, match="is no vdpbf16ps"):
        llvm.emit([broken], parse_target("llvm.avx512_bf16"))


def test_a_target_without_the_instruction_is_refused_before_llvm_sees_it() -> None:
    kernel = finalize(scheduled(OPS["vpdpbusd"], lines("vpdpbusd")))
    with pytest.raises(ValueError, match=r"uses vpdpbusd, which llvm.avx2 has not"):
        llvm.emit([kernel], parse_target("llvm.avx2"))


# ---------------------------------------------------------------- what it computes


def extreme(rng: np.random.Generator, dtype: str, shape: tuple[int, ...]) -> Any:
    """Bytes of which half are the smallest or the largest."""
    limits = np.iinfo(dtype)
    values = rng.integers(limits.min, limits.max + 1, shape)
    ends = np.where(rng.random(shape) < 0.5, limits.min, limits.max)
    return np.where(rng.random(shape) < 0.5, ends, values).astype(dtype)


@pytest.mark.parametrize("lanes", [4, 8, 12, 16, 32])
@pytest.mark.parametrize("shape", [(1, 1, 1), (8, 3, 32), (11, 2, 37), (3, 0, 5)])
def test_bytes_are_exact(lanes: int, shape: tuple[int, int, int]) -> None:
    needs("vpdpbusd")
    m, k, n = shape
    rng = np.random.default_rng(m + n)
    a, b = extreme(rng, "u1", (m, k, 4)), extreme(rng, "i1", (k, n, 4))
    kernel = te.build(OPS["vpdpbusd"], lines("vpdpbusd", lanes))
    expected = run_program(program(OPS["vpdpbusd"]), {"A": a, "B": b})["C"]
    np.testing.assert_array_equal(kernel(a, b), expected)


def test_a_sum_that_leaves_i32_wraps() -> None:
    needs("vpdpbusd")
    k = 20_000
    a, b = np.full((1, k, 4), 255, np.uint8), np.full((k, 16, 4), -128, np.int8)
    found = te.build(OPS["vpdpbusd"], lines("vpdpbusd", 4))(a, b)
    exact = -128 * 255 * 4 * k
    assert exact < -(2**31)
    np.testing.assert_array_equal(found, np.full((1, 16), (exact + 2**31) % 2**32 - 2**31, np.int32))


@pytest.mark.parametrize("lanes", [4, 8, 16])
def test_products_of_bf16_are_summed_within_the_rounding_of_a_sum(lanes: int) -> None:
    needs("vdpbf16ps")
    rng = np.random.default_rng(lanes)
    a = rng.normal(size=(9, 50, 2)).astype(BF16)
    b = rng.normal(size=(50, 37, 2)).astype(BF16)
    kernel = te.build(OPS["vdpbf16ps"], lines("vdpbf16ps", lanes), math="fast")
    a64 = a.astype(np.float64).reshape(9, 100)
    b64 = b.astype(np.float64).transpose(0, 2, 1).reshape(100, 37)
    bound = 100 * 2.0**-24 * (np.abs(a64) @ np.abs(b64))
    assert (np.abs(kernel(a, b) - a64 @ b64) <= bound).all()


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan, 3e38])
def test_infinities_and_nans_of_bf16_are_kept(value: float) -> None:
    needs("vdpbf16ps")
    a, b = np.ones((1, 3, 2), BF16), np.ones((3, 32, 2), BF16)
    a[0, 1, 1] = value
    b[1, 5, 1] = 0
    kernel = te.build(OPS["vdpbf16ps"], lines("vdpbf16ps"), math="fast")
    expected = run_program(program(OPS["vdpbf16ps"]), {"A": a, "B": b})["C"]
    np.testing.assert_array_equal(kernel(a, b), expected)


def test_what_fast_math_licenses() -> None:
    """`DEVIATIONS` says why `vdpbf16ps` needs it: here is the number that would be lost without a word."""
    needs("vdpbf16ps")
    a, b = np.zeros((1, 1, 2), BF16), np.zeros((1, 32, 2), BF16)
    a[0, 0, 0], b[0, :, 0] = 2.0**-130, 2.0**120
    strict = te.build(OPS["vdpbf16ps"], "none")(a, b)
    fast = te.build(OPS["vdpbf16ps"], lines("vdpbf16ps"), math="fast")(a, b)
    assert (strict == 2.0**-10).all()
    assert (fast == 0).all()


def test_a_debug_build_checks_the_reads_of_an_instruction() -> None:
    needs("vpdpbusd")
    a, b = np.ones((8, 2, 4), np.uint8), np.ones((2, 32, 4), np.int8)
    kernel = te.build(
        OPS["vpdpbusd"], "split j by 4\nreorder i, jo, k, ji, q\ntensorize ji, q as vpdpbusd", debug=True
    )
    np.testing.assert_array_equal(kernel(a, b), np.full((8, 32), 8, np.int32))
