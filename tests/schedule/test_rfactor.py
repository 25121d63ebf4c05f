"""rfactor: partial results, then the reduction of those."""

from __future__ import annotations

import numpy as np
import pytest

from te.backends.interp.tensor import run_program
from te.schedule.nest import nest
from tests.schedule.scheduling import (
    CHAIN,
    MATMUL,
    ROW_SUM,
    SOFTMAX,
    assert_same,
    loops,
    program,
    random_inputs,
    refused,
    scheduled,
)

TOTAL = "op f(X: f32[N]) -> Y: f32 { Y = sum[i](X[i]) }"
TRIANGLE = "op f(X: f32[N]) -> Y: f32[N] { Y[i] = sum[j where j <= i](X[j]) }"
MASKED = "op f(X: i32[M, N], U: i32[N]) -> Y: i32[M] { Y[i] = max[j where U[j] > 0](X[i, j]) }"
FEW = "op f(X: i32[M, N]) -> Y: i32[M] { Y[i] = sum[j where i < 2](X[i, j]) }"
BOX = "op f(X: i32[M, N, K]) -> Y: i32[M] { Y[i] = max[j, k where j <= k](X[i, j, k]) }"
DOUBLED = """
op f(X: i32[M, N, K]) -> Y: i32[M] {
    p[i, j, k] = X[i, j, k] * 2
    Y[i] = sum[j, k where j <= k](p[i, j, k])
}
"""
COUNT = "op f(X: i32[M], U: i32[N]) -> Y: i32[M] { Y[i] = sum[j](X[i]) + U[0] * 0 }"

TILED = "tile i, j by 2, 4\nsplit k by 3\nreorder ko, io, jo, ki, ii, ji"


def test_parts_have_the_nest_and_the_stage_a_plain_one() -> None:
    assert (
        loops(MATMUL, "split k by 8\nreorder ko, i, j\nrfactor ko of C as P\nparallel P.ko")
        .split("global:\n")[1]
        .replace("\n  ", "\n")
        .removeprefix("  ")
        == """\
parallel for P.ko < (K + 7) // 8:
  for P.i < M:
    for P.j < N:
      for P.ki < 8 (reduce):
        if 8 * ko + ki < K:
          P[ko, i, j] sum= A[i, 8 * ko + ki] * B[8 * ko + ki, j]  # from 0.0 before P.ki
for C.i < M:
  for C.j < N:
    for C.ko < (K + 7) // 8 (reduce):
      C[i, j] sum= P[ko, i, j]  # from 0.0 before C.ko
"""
    )


def test_the_new_stage_is_one_of_the_program() -> None:
    kernel = scheduled(TRIANGLE, "split j by 4\nrfactor ji of Y")
    inputs = random_inputs(kernel.program, {"N": 7})
    before = run_program(program(TRIANGLE), inputs)
    assert [s.name for s in kernel.program.stages] == ["Y_part", "Y"]
    np.testing.assert_array_equal(run_program(kernel.program, inputs)["Y"], before["Y"])


SIZES = [
    {"M": m, "N": n, "K": k} for m, n, k in ((3, 5, 4), (1, 1, 1), (4, 9, 2), (2, 7, 7), (3, 2, 0), (2, 0, 3))
]


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        (MATMUL, "rfactor k of C as P\nparallel P.k"),
        (MATMUL, "rfactor k of C as P\nreorder P.i, P.j, P.k\nvectorize P.j by 4"),
        (MATMUL, "split k by 4\nrfactor ki of C as P\nreorder P.ko, P.ki\nvectorize P.ki"),
        (MATMUL, "split k by 4\nrfactor ko of C as P\nrfactor P.ki of P as Q"),
        (MATMUL, "split k by 2\nsplit ki by 3 tail peel\nrfactor ko of C"),
        (BOX, "split j by 3\nsplit ji parts 2\nrfactor jo of Y as P\nrfactor P.jii of P as Q"),
        (
            MATMUL,
            f"{TILED}\nrfactor ko of C\nparallel C_part.ko\nvectorize C_part.ji",
        ),
        (MATMUL, "fuse i, j into f\nsplit f by 4\nsplit k by 2\nrfactor ko of C"),
        (
            ROW_SUM,
            "split j parts 4\nrfactor jo of Y as P\nparallel P.jo\nsplit Y.i by 4\nreorder Y.jo, Y.ii\nvectorize Y.ii",
        ),
        (ROW_SUM, "split i by 4 tail shift\nrfactor j of Y"),
        (TOTAL, "split i by 4\nrfactor ii of Y\nvectorize Y_part.ii"),
        (TOTAL, "rfactor i of Y\nrfactor Y.i of Y as Q"),
        (TRIANGLE, "rfactor j of Y"),
        (TRIANGLE, "split j by 4\nsplit i by 2\nreorder jo, io, ji, ii\nrfactor jo of Y\nparallel Y_part.jo"),
        (TRIANGLE, "split j by 4\nrfactor jo of Y as P\nrfactor P.ji of P as Q\nvectorize Q.ji"),
        (MASKED, "split j by 4\nrfactor jo of Y as P\nrfactor P.ji of P as Q"),
        (MASKED, "split j by 4\nrfactor ji of Y as P\nvectorize P.ji"),
        (FEW, "rfactor j of Y as P"),
        (FEW, "split j by 4\nsplit i by 4\nrfactor jo of Y as P"),
        (BOX, "rfactor j of Y as P\nsplit P.k by 4\nsplit P.j by 2"),
        (BOX, "fuse j, k into f\nrfactor f of Y"),
        (BOX, "fuse j, k into f\nsplit f by 4\nrfactor fo of Y as P\nparallel P.fo"),
        (BOX, "fuse j, k into f\nsplit f by 4\nrfactor fo of Y as P\nrfactor P.fi of P as Q\nvectorize Q.fi"),
        (BOX, "split j by 2\nrfactor jo of Y as P\nrfactor P.ji of P as Q\nrfactor k of Q as R"),
        (DOUBLED, "split Y.i by 4\ncompute_at p at Y.k\nrfactor Y.k of Y"),
        (DOUBLED, "split Y.k by 4\ncompute_at p at Y.ki\nrfactor Y.ko of Y"),
        (DOUBLED, "fuse Y.j, Y.k into f\ncompute_at p at Y.f\nrfactor Y.f of Y"),
        (DOUBLED, "fuse Y.j, Y.k into f\nsplit f by 4\ncompute_at p at Y.fi\nrfactor Y.fo of Y"),
    ],
)
def test_parts_compute_the_same(text: str, lines: str) -> None:
    plain = nest(program(text))
    sizes = [{n: v for n, v in s.items() if n in plain.program.sizes} for s in SIZES]
    kernel = scheduled(plain, lines)
    assert_same(plain, kernel, *sizes)
    for values in sizes:
        inputs = random_inputs(plain.program, values)
        expected, found = (run_program(k.program, inputs, values) for k in (plain, kernel))
        for name, array in expected.items():
            np.testing.assert_array_equal(found[name], array)


@pytest.mark.parametrize("reducer", ["sum", "prod", "max", "min"])
def test_every_reducer(reducer: str) -> None:
    plain = nest(program(ROW_SUM.replace("sum", reducer)))
    lines = "split j by 4\nrfactor jo of Y"
    assert_same(plain, scheduled(plain, lines), {"M": 2, "N": 7}, {"M": 3, "N": 1}, {"M": 2, "N": 0})


@pytest.mark.parametrize("reducer", ["any", "all"])
def test_every_logical_reducer(reducer: str) -> None:
    plain = nest(program(f"op f(X: bool[M, N]) -> Y: bool[M] {{ Y[i] = {reducer}[j](X[i, j]) }}"))
    assert_same(plain, scheduled(plain, "split j by 4\nrfactor ji of Y"), {"M": 2, "N": 7}, {"M": 2, "N": 0})


def test_narrow_floats_have_wide_parts() -> None:
    kernel = scheduled(ROW_SUM.replace("f32", "f16"), "split j by 4\nrfactor jo of Y_sum as P")
    assert str(kernel.program.stage("P").tensor.dtype) == "f32"


@pytest.mark.parametrize(
    ("text", "lines", "code"),
    [
        (MATMUL, "rfactor i of C", "rfactor-refused"),
        (CHAIN, "rfactor Y.i of Y", "rfactor-refused"),
        (MATMUL, "rfactor k of C as A", "stage-name"),
        (MATMUL, "rfactor k of C as M", "stage-name"),
        (MATMUL, "rfactor k of C as P\nrfactor C.k of C as P", "stage-name"),
        (MATMUL, "rfactor k of D", "unknown-stage"),
        (MATMUL, "vectorize k by 4\nrfactor ki of C", "loop-kind"),
        (SOFTMAX, "merge e.i, Y_sum.i\nmerge e.j, Y_sum.k\nrfactor e.j of Y_sum", "rfactor-refused"),
        (SOFTMAX, "compute_at Y_sum at Y.i\nrfactor k of Y_sum", "rfactor-refused"),
        (MATMUL, "rfactor k of C as P\ncompute_at P at C.i", "stage-touched"),
    ],
)
def test_refused(text: str, lines: str, code: str) -> None:
    assert refused(text, lines).code == code


def test_a_condition_of_terms_is_not_taken_for_one_of_elements() -> None:
    """`jiii < 1`, of a loop that overhangs, was taken to be `iii < 1`, which says that an element exists."""
    text = "op f(X: i32[M, N]) -> Y: i32[M] { Y[i] = sum[j](X[i, j]) }"
    lines = (
        "split j parts 3\ntile ji, i by 1, 1\ntile jo, ii, jii, jio by 4, 2, 3, 3\n"
        "rfactor joi of Y as H\nrfactor H.jioi of H as HH"
    )
    assert_same(nest(program(text)), scheduled(text, lines), {"M": 2, "N": 8}, {"M": 3, "N": 1})
