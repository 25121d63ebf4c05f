"""unroll, vectorize, parallel."""

from __future__ import annotations

import pytest

from te.ir.print import print_kernel
from te.schedule.apply import apply
from te.schedule.directives import Parallel, Unroll, Vectorize
from te.schedule.nest import nest
from tests.schedule.scheduling import (
    MATMUL,
    PLANE,
    POINTWISE,
    ROW_SUM,
    SOFTMAX,
    assert_same,
    loops,
    program,
    refused,
    scheduled,
)


def test_vectorize_by_splits_first() -> None:
    assert (
        loops(POINTWISE, "vectorize i by 16")
        == """
for Y.io < (N + 15) // 16:
  vector for Y.ii < 16:
    if 16 * io + ii < N:
      Y[16 * io + ii] = X[16 * io + ii] * 2.0 + 1.0
"""
    )


def test_one_line_sets_several_loops() -> None:
    text = loops(SOFTMAX, "vectorize m.j, e.j, Y_sum.k, Y.j by 16\nparallel m.i, e.i, Y_sum.i, Y.i")
    assert text.count("vector for") == 4
    assert text.count("parallel for") == 4


def test_unroll_and_parallel() -> None:
    assert (
        loops(PLANE, "unroll j\nparallel i", sizes={"N": 3})
        == """
parallel for Y.i < M:
  unrolled for Y.j < 3:
    Y[i, j] = X[i, j] * 2.0 + 1.0
"""
    )


def test_a_kind_that_is_there_changes_nothing() -> None:
    kernel = scheduled(PLANE, "unroll j\nparallel i", sizes={"N": 3})
    assert apply(kernel, Parallel(("i",))) is kernel
    assert apply(kernel, Unroll(("j",))) is kernel


def test_a_loop_without_trips_stays_serial() -> None:
    plain = nest(program(PLANE, sizes={"N": 0}))
    assert apply(plain, Vectorize(("j",))) is plain
    assert apply(plain, Unroll(("j",))) is plain


@pytest.mark.parametrize(
    "lines",
    [
        "vectorize j by 4\nparallel i",
        "vectorize k by 4\nparallel i, j",
        "tile i, j by 2, 4 into io, jo, ii, ji\nreorder io, jo, k, ii, ji\nunroll ii\nvectorize ji\nparallel io, jo",
        "fuse i, j into f\nvectorize f by 4\nparallel fo",
        "split i by 2 tail shift\nparallel ii\nvectorize j by 4",
        "split i by 2\nsplit j by 2\nreorder k, io, jo\nparallel io",
    ],
)
def test_kinds_compute_the_same(lines: str) -> None:
    plain = nest(program(MATMUL))
    assert_same(
        plain,
        scheduled(plain, lines),
        {"M": 5, "N": 3, "K": 6},
        {"M": 1, "N": 9, "K": 1},
        {"M": 2, "N": 2, "K": 0},
    )


def test_overlapping_stores_may_run_at_the_same_time() -> None:
    plain = nest(program(PLANE))
    kernel = scheduled(plain, "split i by 4 tail shift\nparallel io")
    assert_same(plain, kernel, {"M": 5, "N": 3}, {"M": 3, "N": 1}, {"M": 9, "N": 2})


@pytest.mark.parametrize(
    ("text", "lines", "code"),
    [
        (PLANE, "unroll i", "extent-not-constant"),
        (PLANE, "vectorize j", "extent-not-constant"),
        (PLANE, "unroll i by 2000", "unroll-limit"),
        (PLANE, "unroll i, j by 128", "unroll-limit"),
        (PLANE, "vectorize j by 512", "vector-width"),
        (PLANE, "vectorize i, j by 4", "kind-nesting"),
        (PLANE, "vectorize i by 4\nparallel j", "kind-nesting"),
        (PLANE, "unroll i by 4\nparallel j", "kind-nesting"),
        (PLANE, "parallel j\nvectorize i by 4", "kind-nesting"),
        (PLANE, "parallel j\nunroll i by 4", "kind-nesting"),
        (PLANE, "parallel i\nvectorize i by 4", "loop-kind"),
        (PLANE, "unroll i by 4\nvectorize ii", "loop-kind"),
        (PLANE, "parallel i, i", "repeated-loop"),
        (MATMUL, "parallel k", "parallel-reduction"),
        (MATMUL, "split k by 1\nparallel ki", "parallel-reduction"),
        (ROW_SUM, "split j by 4\nparallel ji", "parallel-reduction"),
        (MATMUL, "split i by 4 tail shift\nparallel io", "parallel-dependence"),
        (MATMUL, "split i by 4 tail shift\nvectorize io", "vectorize-dependence"),
    ],
)
def test_refused(text: str, lines: str, code: str) -> None:
    sizes = {"M": 6} if code == "vectorize-dependence" else {}
    assert refused(text, lines, sizes=sizes).code == code


def test_parallel_says_which_loops_it_could_be() -> None:
    assert refused(MATMUL, "parallel k").help == "the trips of a data loop are independent: `C.i`, `C.j`"
    total = "op f(X: f32[N]) -> Y: f32 { Y = sum[i](X[i]) }"
    assert refused(total, "parallel i").help == "no loop of this nest has independent trips"


def test_a_reduction_loop_of_one_trip_is_not_parallel_either() -> None:
    text = "op f(A: f32[M, 4]) -> C: f32[M] { C[i] = sum[k](A[i, k]) }"
    assert refused(text, "split k parts 1\nparallel ko").code == "parallel-reduction"


def test_an_extent_that_the_requirements_say_is_constant() -> None:
    text = "op f(X: f32[M, K]) -> Y: f32[M] { require K == 4; Y[i] = sum[j](X[i, j]) }"
    assert "unrolled for Y.j < 4 (reduce):" in print_kernel(scheduled(text, "unroll j"))
    assert "vector for Y.j < 4 (reduce):" in print_kernel(scheduled(text, "vectorize j"))
