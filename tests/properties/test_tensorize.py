"""Random schedules around a tensorized nest: the instruction computes what the loops do, bit for bit."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import te
from te.backends.interp.loop import run_kernel
from te.ir.loop import For, walk_stmt
from te.schedule.finalize import finalize
from te.schedule.nest import nest
from te.schedule.schedule import Schedule
from te.target import parse_target
from tests.schedule.scheduling import program

QMM = """
op qmm(A: u8[M, K, 4], B: i8[K, N, 4]) -> C: i32[M, N] {
    C[i, j] = sum[k, q](i32(A[i, k, q]) * i32(B[k, j, q]))
}
"""
PLAIN = nest(program(QMM))

pytestmark = pytest.mark.skipif(
    not parse_target("llvm").satisfies("llvm.avx512_vnni"), reason="this CPU has no vpdpbusd"
)


@st.composite
def schedules(draw: st.DrawFn) -> Schedule:
    """Splits of every loop, an order of those outside the instruction, kinds. Every line is legal."""
    s = Schedule("qmm")
    lanes = draw(st.sampled_from([4, 16, 32]))
    tails = st.sampled_from(["guard", "peel"])
    s.split("j", by=lanes, into=("jo", "ji"), tail=draw(tails))
    rows, depth = draw(st.sampled_from([1, 3])), draw(st.sampled_from([1, 2]))
    s.split("i", by=rows, into=("io", "ii"), tail=draw(tails))
    s.split("k", by=depth, into=("ko", "ki"), tail=draw(tails))
    outer = draw(st.permutations(["io", "jo", "ko", "ki", "ii"]))
    s.reorder(*outer, *draw(st.permutations(["ji", "q"])))
    s.tensorize(*draw(st.permutations(["ji", "q"])), as_="vpdpbusd")
    kinds = draw(st.sets(st.sampled_from(["ii", "ki"])))
    if kinds:
        s.unroll(*sorted(kinds))
    if outer[0] in ("io", "jo") and draw(st.booleans()):
        s.parallel(outer[0])
    return s


@functools.lru_cache(maxsize=512)
def compiled(schedule: str) -> te.Kernel:
    kernel = te.build(QMM + schedule)
    assert isinstance(kernel, te.Kernel)
    return kernel


@given(schedules(), st.integers(1, 9), st.integers(1, 5), st.integers(1, 40), st.integers(0, 99))
def test_the_instruction_computes_what_the_loops_do(s: Schedule, m: int, k: int, n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    inputs = {
        "A": rng.choice(np.array([0, 1, 127, 128, 255], np.uint8), (m, k, 4)),
        "B": rng.choice(np.array([-128, -127, -1, 0, 1, 127], np.int8), (k, n, 4)),
    }
    sizes = {"M": m, "K": k, "N": n}
    expected = run_kernel(PLAIN, inputs, sizes)["C"]
    final = finalize(s.apply(PLAIN))
    assert any(isinstance(x, For) and x.intrinsic for x, _ in walk_stmt(final.body)), "no instruction is left"
    np.testing.assert_array_equal(run_kernel(final, inputs, sizes)["C"], expected)
    np.testing.assert_array_equal(compiled(str(s))(**inputs), expected)
