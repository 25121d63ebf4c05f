"""Random pipelines of copies on a GPU run in the emulator without findings, and give what the op means.

Depths, trips fewer than the depth, ragged sizes, several operands of several dtypes, copied one by one or in
vectors, asynchronously or by registers. Inputs are whole numbers, of which sums are exact in any order.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import Phase, given, seed, settings
from hypothesis import strategies as st

from te.backends.cuda.emulator.executable import Emulation, emulating
from te.backends.interp.loop import run_kernel
from te.ir.loop import ASYNC, Kernel, Store, walk_stmt
from te.ir.print import print_kernel
from te.ir.verify import verify_kernel
from te.schedule.finalize import finalize
from te.schedule.nest import nest
from tests.backends.emulator.running import needs_gxx
from tests.properties.test_emulated_schedules import emulated
from tests.properties.test_random_schedules import whole_numbers
from tests.schedule.scheduling import program, scheduled

pytestmark = needs_gxx


@dataclass(frozen=True)
class Copied:
    """How an operand is copied: in lanes side by side, filled outside of the tensor, by a method."""

    dtype: str
    lanes: int
    fill: bool
    by: str
    is_swizzled: bool


@dataclass(frozen=True)
class Pipeline:
    operands: tuple[Copied, ...]
    rows: int  # of a block's tile
    step: int  # of the pipelined loop
    depth: int
    threads: int

    @property
    def text(self) -> str:
        names = [f"X{n}" for n in range(len(self.operands))]
        inputs = ", ".join(f"{n}: {o.dtype}[M, K]" for n, o in zip(names, self.operands, strict=True))
        term = " * ".join(f"f32({name}[i, k])" for name in names)
        return f"op f({inputs}) -> Y: f32[M] {{ Y[i] = sum[k]({term}) }}"

    @property
    def lines(self) -> str:
        lines = [f"split i by {self.rows}", f"split k by {self.step}", "reorder io, ko, ii, ki"]
        for n, operand in enumerate(self.operands):
            fill = " fill 0" if operand.fill else ""
            lines.append(f"cache_read X{n}[r, c] at ko as S{n} in shared{fill}{operand.by}")
            if operand.is_swizzled:
                lines.append(f"swizzle S{n}")
            if operand.lanes == self.step:
                lines.append(f"vectorize S{n}.c")
            elif operand.lanes > 1:
                lines += [f"split S{n}.c by {operand.lanes} into v{n}, l{n}", f"vectorize l{n}"]
                lines.append(f"bind v{n} to thread.x")
            else:
                lines.append(f"bind S{n}.c to thread.x")
            lines += [f"split S{n}.r by {self.threads} into t{n}, y{n}", f"bind y{n} to thread.y"]
        lines += [f"pipeline Y.ko depth {self.depth}", "bind Y.io to block.x", "bind Y.ii to thread.y"]
        return "\n".join(lines)


@st.composite
def copies(draw: st.DrawFn, step: int) -> Copied:
    dtype = draw(st.sampled_from(["f32", "f32", "f16", "bf16", "i8", "i32", "f64"]))
    size = {"f16": 2, "bf16": 2, "i8": 1, "f64": 8}.get(dtype, 4)
    lanes = draw(st.sampled_from([n for n in (1, 2, 4, 8, 16) if step % n == 0 and n * size <= 16]))
    fill = draw(st.booleans())
    is_wide = size >= 4 or (
        fill and lanes * size >= 4
    )  # where narrow ones end inside of a unit, zeros must follow
    by = " by cp_async" if is_wide and draw(st.booleans()) else ""
    is_swizzled = step * size % 32 == 0 and draw(st.booleans())
    return Copied(dtype, lanes, fill, by, is_swizzled)


@st.composite
def pipelines(draw: st.DrawFn) -> Pipeline:
    step = draw(st.sampled_from([4, 8, 16, 32]))
    operands = draw(st.lists(copies(step), min_size=1, max_size=3))
    rows = draw(st.sampled_from([2, 3, 4, 8]))
    return Pipeline(tuple(operands), rows, step, draw(st.integers(2, 5)), draw(st.sampled_from([2, rows])))


@pytest.mark.parametrize("part", range(2))
def test_random_pipelines(part: int) -> None:
    check_many(part, 2)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("part", range(10))
def test_many_random_pipelines(part: int) -> None:
    check_many(1000 + part, 60)


def check_many(part: int, examples: int) -> None:
    @seed(part)
    @settings(max_examples=examples, phases=[Phase.generate], deadline=None)
    @given(pipelines(), st.data())
    def check_one(pipeline: Pipeline, data: st.DataObject) -> None:
        check(pipeline, data)

    check_one()


def check(pipeline: Pipeline, data: st.DataObject) -> None:
    plain = replace(nest(program(pipeline.text)), target="cuda.sm_80")
    final = finalize(scheduled(plain, pipeline.lines))
    verify_kernel(final)
    assert {o.by for o in pipeline.operands} == {""} or copied(final)
    trips = st.integers(0, 2 * pipeline.depth)
    for _ in range(3):
        columns = pipeline.step * data.draw(trips, label="trips") + data.draw(
            st.sampled_from([0, 0, 1, pipeline.step - 1]), label="rest"
        )
        sizes = {"M": data.draw(st.integers(0, 2 * pipeline.rows + 1), label="M"), "K": columns}
        inputs = whole_numbers(plain, sizes, data.draw(st.integers(0, 99), label="seed"))
        expected = run_kernel(plain, inputs, sizes)["Y"]
        try:
            np.testing.assert_array_equal(run_kernel(final, inputs, sizes, order="shuffled")["Y"], expected)
            with emulating(Emulation(data.draw(st.sampled_from([(0, 1), (5,)]), label="orders"), seconds=20)):
                np.testing.assert_array_equal(emulated(final, inputs, sizes)["Y"], expected)
        except Exception as wrong:
            wrong.add_note(f"{pipeline.text}\n{pipeline.lines}\n{sizes}\n{print_kernel(final)}")
            raise


def copied(kernel: Kernel) -> set[str]:
    return {s.buffer for s, _ in walk_stmt(kernel.body) if isinstance(s, Store) and s.method == ASYNC}
