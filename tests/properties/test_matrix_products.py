"""Products of matrices by instructions of warps: random tiles and sizes, against the plain loops, bit for bit.

The emulator adds the terms in order, as the interpreters do, so that f32 sums agree as well.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from te.backends.cuda.emulator.executable import Emulation, emulating
from te.backends.interp.loop import run_kernel
from te.ir.loop import Accumulate, Kernel, walk_stmt
from te.ir.types import DTYPES, numpy_dtype
from te.schedule.finalize import finalize
from te.schedule.nest import nest
from tests.properties.test_emulated_schedules import emulated
from tests.schedule.scheduling import program, scheduled


@dataclass(frozen=True)
class Instruction:
    name: str
    left: str
    right: str
    result: str
    terms: int

    def __str__(self) -> str:
        return self.name


INSTRUCTIONS = [
    Instruction("mma_m16n8k16_bf16", "bf16", "bf16", "f32", 16),
    Instruction("mma_m16n8k16_f16", "f16", "f16", "f32", 16),
    Instruction("mma_m16n8k32_i8", "i8", "i8", "i32", 32),
    Instruction("mma_m16n8k32_u8", "u8", "u8", "i32", 32),
    Instruction("mma_m16n8k32_u8_i8", "u8", "i8", "i32", 32),
    Instruction("mma_m16n8k32_i8_u8", "i8", "u8", "i32", 32),
    Instruction("mma_m16n8k8_tf32", "f32", "f32", "f32", 8),
]


@dataclass(frozen=True)
class Plan:
    """An op, its schedule, and sizes to run it with."""

    op: str
    lines: str
    sizes: dict[str, int]


QUICK = ("mma_m16n8k16_bf16", "mma_m16n8k32_u8_i8")
each_instruction = pytest.mark.parametrize(
    "of",
    [pytest.param(i, marks=() if i.name in QUICK else pytest.mark.slow, id=i.name) for i in INSTRUCTIONS],
)
QUICKLY = [Phase.explicit, Phase.reuse, Phase.generate]  # each example takes a second: none is made smaller


@st.composite
def plans(draw: st.DrawFn, of: Instruction) -> Plan:
    """Some warps, some tiles for each, an epilogue or none, operands stored either way, and read either way."""
    warps = draw(st.tuples(st.integers(1, 2), st.integers(1, 2)), label="warps")
    tiles = draw(st.tuples(st.integers(1, 2), st.integers(1, 2)), label="tiles of a warp")
    deep = draw(st.integers(1, 2), label="tiles of terms")
    left = draw(st.sampled_from(["i, k", "k, i"]), label="left")
    right = draw(st.sampled_from(["k, j", "j, k"]), label="right")
    swapped = draw(st.booleans(), label="factors swapped")
    rows, columns = 16 * tiles[0], 8 * tiles[1]

    def factor(name: str, index: str, dtype: str) -> str:
        return f"{name}[{index}]" if dtype == of.result else f"{of.result}({name}[{index}])"

    factors = [factor("A", left, of.left), factor("B", right, of.right)]
    shapes = [index.upper().translate(str.maketrans("IJ", "MN")) for index in (left, right)]
    op = (
        f"op mm(A: {of.left}[{shapes[0]}], B: {of.right}[{shapes[1]}]) -> C: {of.result}[M, N] {{\n"
        f"    C[i, j] = sum[k]({' * '.join(factors[::-1] if swapped else factors)})\n}}"
    )
    # `ldmatrix` transposes elements of 16 bits alone; others must be neighbours along the terms.
    has_rows = "16" in of.left or (left, right) == ("i, k", "j, k")
    by = " by ldmatrix" if has_rows and draw(st.booleans(), label="ldmatrix") else ""
    swizzle = "swizzle As" if left == "i, k" else ""
    lines = f"""
        tile i, j by {rows * warps[0]}, {columns * warps[1]} into bi, bj, i0, j0
        tile i0, j0 by {rows}, {columns} into wi, wj, i1, j1
        tile i1, j1 by 16, 8 into mi, nj, ii, jj
        split k by {deep * of.terms} into ko, k0
        split k0 by {of.terms} into km, kk
        reorder bi, bj, ko, wi, wj, km, mi, nj, {", ".join(draw(st.permutations(["ii", "jj", "kk"])))}
        cache_write C[p, q] at bj as acc in register
        cache_read A at ko as As in shared fill 0
        cache_read B at ko as Bs in shared fill 0
        {swizzle}
        fuse wi, wj into w
        cache_read As at km as Af in register{by}
        cache_read Bs at km as Bf in register{by}
        bind bi to block.y
        bind bj to block.x
        bind w to warp
        tensorize {", ".join(draw(st.permutations(["ii", "jj", "kk"])))} as {of.name}
        split acc.p by {rows} into pw, p1
        split acc.q by {columns} into qw, q1
        reorder acc.pw, acc.qw, acc.p1, acc.q1
        fuse acc.pw, acc.qw into w
        bind acc.w to warp
    """
    most = {"M": rows * warps[0] + 1, "N": columns * warps[1] + 1, "K": deep * of.terms + 1}
    sizes = {name: draw(st.integers(0, size), label=name) for name, size in most.items()}
    return Plan(op, lines, sizes)


def numbers(dtype: str, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    numpy = numpy_dtype(DTYPES[dtype])
    if DTYPES[dtype].is_integer:
        limits = np.iinfo(numpy)
        return rng.integers(limits.min, limits.max + 1, shape).astype(numpy)
    kept = rng.standard_normal(shape).astype(np.float16)  # tf32 and f16 have as many bits
    return kept.astype(numpy)


def inputs_of(kernel: Kernel, sizes: dict[str, int], seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    names = {"M": sizes["M"], "N": sizes["N"], "K": sizes["K"]}
    return {
        t.name: numbers(str(t.dtype), tuple(names[str(d.name)] for d in t.shape), rng)  # type: ignore[union-attr]
        for t in kernel.program.inputs
    }


@each_instruction
@settings(max_examples=2, phases=QUICKLY)
@given(data=st.data())
def test_instructions_compute_what_the_loops_do(of: Instruction, data: st.DataObject) -> None:
    plan = data.draw(plans(of), label="plan")
    plain = nest(program(plan.op))
    inputs = inputs_of(plain, plan.sizes, data.draw(st.integers(0, 99), label="seed"))
    kernel = scheduled(replace(plain, target="cuda"), plan.lines)
    final = finalize(kernel)
    assert any(isinstance(s, Accumulate) and s.intrinsic for s, _ in walk_stmt(final.body))
    expected = run_kernel(plain, inputs, plan.sizes)["C"]
    for each in (kernel, final):
        np.testing.assert_array_equal(run_kernel(each, inputs, plan.sizes)["C"], expected)


@pytest.mark.gxx
@pytest.mark.skipif(shutil.which("g++") is None, reason="no g++, which compiles what is emulated")
@each_instruction
@settings(max_examples=1, phases=QUICKLY)
@given(data=st.data())
def test_emulated_instructions_compute_what_the_loops_do(of: Instruction, data: st.DataObject) -> None:
    plan = data.draw(plans(of), label="plan")
    plain = nest(program(plan.op))
    inputs = inputs_of(plain, plan.sizes, data.draw(st.integers(0, 99), label="seed"))
    final = finalize(scheduled(replace(plain, target="cuda"), plan.lines))
    expected = run_kernel(plain, inputs, plan.sizes)["C"]
    with emulating(Emulation(data.draw(st.sampled_from([(0, 1), (1, 5)]), label="orders"), seconds=20)):
        np.testing.assert_array_equal(emulated(final, inputs, plan.sizes)["C"], expected)
