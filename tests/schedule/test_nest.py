"""The plain nest: what it looks like, and that it means what the tensor IR says."""

from __future__ import annotations

import numpy as np
import pytest

from te.backends.interp.loop import run_kernel
from te.backends.interp.tensor import run_program
from te.ir.loop import SCHEDULED, Accumulate, Alloc, For, walk_stmt
from te.ir.print import print_kernel
from te.schedule.nest import nest
from tests.schedule.scheduling import (
    CHAIN,
    MATMUL,
    PLANE,
    POINTWISE,
    ROW_SUM,
    SOFTMAX,
    program,
    random_inputs,
)

TRIANGLE = "op f(A: i32[M, N], x: i32[N]) -> y: i32[M] { y[i] = sum[j where j <= i](A[i, j] * x[j]) }"
TOTAL = "op f(A: i32[M, N]) -> s: i32 { s = sum[i, j](A[i, j]) }"


def test_loops_of_a_reduction() -> None:
    assert print_kernel(nest(program(TRIANGLE))) == (
        "kernel f(A: i32[M, N], x: i32[N]) -> y: i32[M]:\n"
        "  for y.i < M:\n"
        "    for y.j < N (reduce):\n"
        "      if j <= i:\n"
        "        y[i] sum= A[i, j] * x[j]  # from 0 before y.j\n"
    )


def test_intermediates_are_allocated_around_everything() -> None:
    assert print_kernel(nest(program(CHAIN))) == (
        "kernel chain(X: f32[N]) -> Y: f32[N]:\n"
        "  alloc e: f32[N] in global:\n"
        "    for e.i < N:\n"
        "      e[i] = X[i] + 1.0\n"
        "    for Y.i < N:\n"
        "      Y[i] = e[i] * e[i]\n"
    )


def test_a_result_that_a_later_stage_reads_is_an_argument() -> None:
    kernel = nest(program("op f(X: i32[N]) -> a: i32[N], b: i32[N] { a[i] = X[i] + 1\n b[i] = a[i] * 2 }"))
    assert [b.name for b in kernel.arguments] == ["X", "a", "b"]
    assert {b.scope for b in kernel.arguments} == {"argument"}
    assert not any(isinstance(s, Alloc) for s, _ in walk_stmt(kernel.body))


def test_a_scalar_result_has_reduction_loops_only() -> None:
    kernel = nest(program(TOTAL))
    loops = [s for s, _ in walk_stmt(kernel.body) if isinstance(s, For)]
    (step,) = [s for s, _ in walk_stmt(kernel.body) if isinstance(s, Accumulate)]
    assert all(loop.is_reduction for loop in loops)
    assert step.index == ()
    assert step.over == {"s.i", "s.j"}
    assert kernel.level == SCHEDULED


@pytest.mark.parametrize("text", [POINTWISE, PLANE, MATMUL, ROW_SUM, CHAIN, SOFTMAX, TRIANGLE, TOTAL])
@pytest.mark.parametrize(
    "sizes", [{"M": 3, "N": 5, "K": 2}, {"M": 1, "N": 1, "K": 0}, {"M": 0, "N": 4, "K": 1}]
)
def test_computes_what_the_program_says(text: str, sizes: dict[str, int]) -> None:
    of = program(text)
    sizes = {name: sizes[name] for name in of.sizes}
    inputs = random_inputs(of, sizes)
    expected = run_program(of, inputs, sizes)
    for name, array in run_kernel(nest(of), inputs, sizes).items():
        np.testing.assert_array_equal(array, expected[name])
