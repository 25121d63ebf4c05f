"""split, tile, fuse, reorder: what they make, that it computes the same, what they refuse."""

from __future__ import annotations

import pytest

from te.ir.loop import Kernel, Stmt, rewrite_stmt
from te.schedule.apply import apply
from te.schedule.directives import Reorder, Split
from te.schedule.nest import nest
from tests.schedule.scheduling import (
    CHAIN,
    MATMUL,
    PLANE,
    POINTWISE,
    SOFTMAX,
    assert_same,
    loops,
    program,
    refused,
    scheduled,
)

DIVISIBLE = POINTWISE.replace("{", "{ require N % 8 == 0\n")
TRIANGLE = "op f(X: f32[N]) -> Y: f32[N] { Y[i] = sum[j where j <= i](X[j]) }"
BOX = "op f(X: f32[M, N, K]) -> Y: f32[M] { Y[i] = sum[j, k where j <= k](X[i, j, k]) }"


# ---------------------------------------------------------------- split


def test_split_guards_the_innermost_statement() -> None:
    assert (
        loops(MATMUL, "split i by 8")
        == """
for C.io < (M + 7) // 8:
  for C.ii < 8:
    for C.j < N:
      for C.k < K (reduce):
        if 8 * io + ii < M:
          C[8 * io + ii, j] sum= A[8 * io + ii, k] * B[k, j]  # from 0.0 before C.k
"""
    )


def test_split_by_a_divisor_has_no_guard() -> None:
    expected = """
for Y.io < N // 8:
  for Y.ii < 8:
    Y[8 * io + ii] = X[8 * io + ii] * 2.0 + 1.0
"""
    for tail in ("guard", "peel", "shift", "exact"):
        assert loops(DIVISIBLE, f"split i by 8 tail {tail}") == expected
    assert "if" not in loops(DIVISIBLE, "split i by 4 tail exact")
    assert (
        loops(POINTWISE, "split i by 8 tail exact", sizes={"N": 16})
        == """
for Y.io < 2:
  for Y.ii < 8:
    Y[8 * io + ii] = X[8 * io + ii] * 2.0 + 1.0
"""
    )


def test_split_peel_marks_the_outer_loop() -> None:
    assert (
        loops(POINTWISE, "split i by 8 tail peel")
        == """
for Y.io < (N + 7) // 8 (peel):
  for Y.ii < 8:
    if 8 * io + ii < N:
      Y[8 * io + ii] = X[8 * io + ii] * 2.0 + 1.0
"""
    )


def test_split_shift_moves_the_last_tile_back() -> None:
    assert (
        loops(POINTWISE, "split i by 8 tail shift")
        == """
for Y.io < (N + 7) // 8 (overlaps):
  for Y.ii < 8:
    if ii < N:
      Y[ii + min(max(0, N - 8), 8 * io)] = X[ii + min(max(0, N - 8), 8 * io)] * 2.0 + 1.0
"""
    )
    long_enough = POINTWISE.replace("{", "{ require N >= 8\n")
    assert "if" not in loops(long_enough, "split i by 8 tail shift")
    assert "overlaps" not in loops(POINTWISE, "split i by 8 tail shift", sizes={"N": 5})


def test_split_parts() -> None:
    assert (
        loops(POINTWISE, "split i parts 4 into a, b")
        == """
for Y.a < 4:
  for Y.b < (N + 3) // 4:
    if (N + 3) // 4 * a + b < N:
      Y[(N + 3) // 4 * a + b] = X[(N + 3) // 4 * a + b] * 2.0 + 1.0
"""
    )


def test_split_of_a_reduction_loop_splits_the_reduction() -> None:
    assert (
        loops(MATMUL, "split k by 4 into ko, ki")
        == """
for C.i < M:
  for C.j < N:
    for C.ko < (K + 3) // 4 (reduce):
      for C.ki < 4 (reduce):
        if 4 * ko + ki < K:
          C[i, j] sum= A[i, 4 * ko + ki] * B[4 * ko + ki, j]  # from 0.0 before C.ko, C.ki
"""
    )


def test_a_guard_stands_outside_conditions_that_were_there() -> None:
    assert (
        loops(TRIANGLE, "split j by 4")
        == """
for Y.i < N:
  for Y.jo < (N + 3) // 4 (reduce):
    for Y.ji < 4 (reduce):
      if 4 * jo + ji < N:
        if 4 * jo + ji <= i:
          Y[i] sum= X[4 * jo + ji]  # from 0.0 before Y.jo, Y.ji
"""
    )


def test_a_loop_may_give_its_name_to_a_part() -> None:
    assert loops(POINTWISE, "split i by 8 into i, lane", sizes={"N": 16}).startswith(
        "\nfor Y.i < 2:\n  for Y.lane < 8:\n"
    )


# ---------------------------------------------------------------- tile, fuse, reorder


def test_tile_is_splits_and_a_reorder() -> None:
    tiled = scheduled(MATMUL, "tile i, j by 8, 16 into io, jo, ii, ji tail peel")
    by_hand = scheduled(
        MATMUL,
        """split i by 8 into io, ii tail peel
        split j by 16 into jo, ji tail peel
        reorder io, jo, ii, ji""",
    )
    assert tiled == by_hand


def test_tile_of_loops_with_another_between_leaves_that_one() -> None:
    text = loops(MATMUL, "tile i, k by 2, 4", sizes={"M": 8, "K": 8})
    names = [line.split()[1] for line in text.splitlines() if line.lstrip().startswith("for")]
    assert names == ["C.io", "C.ko", "C.j", "C.ii", "C.ki"]


def test_fuse_names_the_parts() -> None:
    assert (
        loops(MATMUL, "fuse i, j into f")
        == """
for C.f < M * N:
  let C.i < M = f // N:
    let C.j < N = f % N:
      for C.k < K (reduce):
        C[i, j] sum= A[i, k] * B[k, j]  # from 0.0 before C.k
"""
    )


def test_fused_reduction_loops_are_one_reduction_loop() -> None:
    assert (
        loops(BOX, "fuse j, k into f\nsplit f by 8\nreorder fo, i")
        == """
for Y.fo < (K * N + 7) // 8 (reduce):
  for Y.i < M:
    for Y.fi < 8 (reduce):
      let Y.j < N = (8 * fo + fi) // K:
        let Y.k < K = (8 * fo + fi) % K:
          if 8 * fo + fi < K * N:
            if j <= k:
              Y[i] sum= X[i, j, k]  # from 0.0 before Y.fo, Y.fi
"""
    )


def test_reorder_keeps_loops_that_are_not_named() -> None:
    text = loops(MATMUL, "reorder k, i")
    assert [line.split()[1] for line in text.splitlines() if line.lstrip().startswith("for")] == [
        "C.k",
        "C.j",
        "C.i",
    ]


def test_reorder_to_the_order_that_is_there_changes_nothing() -> None:
    plain = nest(program(MATMUL))
    assert apply(plain, Reorder(("i", "k"))) is plain


def with_conditions_between(kernel: Kernel) -> Kernel:
    """The kernel with the guard of `C.i`'s split moved right under its loop."""
    from te.ir.loop import For, If

    def up(s: Stmt) -> Stmt:
        if isinstance(s, For) and s.var == "C.ii":
            chain = s.body
            while not isinstance(chain, If):
                chain = chain.body  # type: ignore[union-attr]
            condition, inner = chain.condition, chain.body
            moved = rewrite_stmt(s.body, lambda x: inner if x is chain else x)
            return For(s.var, s.extent, If(condition, moved))
        return s

    from dataclasses import replace

    return replace(kernel, body=rewrite_stmt(kernel.body, up))


def test_reorder_moves_conditions_inward() -> None:
    kernel = with_conditions_between(scheduled(MATMUL, "split i by 8"))
    assert (
        loops(kernel, "reorder ii, k, j")
        == """
for C.io < (M + 7) // 8:
  for C.ii < 8:
    for C.k < K (reduce):
      for C.j < N:
        if 8 * io + ii < M:
          C[8 * io + ii, j] sum= A[8 * io + ii, k] * B[k, j]  # from 0.0 before C.k
"""
    )


# ---------------------------------------------------------------- the same results

ELEMENTWISE_SIZES = [{"N": n} for n in (1, 2, 7, 8, 9, 16, 23)]
MATMUL_SIZES = [
    {"M": 5, "N": 3, "K": 4},
    {"M": 1, "N": 1, "K": 1},
    {"M": 4, "N": 9, "K": 2},
    {"M": 3, "N": 2, "K": 0},
]
BOX_SIZES = [{"M": 3, "N": 4, "K": 5}, {"M": 5, "N": 1, "K": 1}, {"M": 1, "N": 3, "K": 7}]


@pytest.mark.parametrize("tail", ["guard", "peel", "shift"])
@pytest.mark.parametrize("factor", [1, 2, 8, 100])
def test_split_computes_the_same(tail: str, factor: int) -> None:
    plain = nest(program(POINTWISE))
    assert_same(plain, scheduled(plain, f"split i by {factor} tail {tail}"), *ELEMENTWISE_SIZES, {"N": 0})


@pytest.mark.parametrize(
    "lines",
    [
        "split k by 4\nsplit i by 2 tail shift\nsplit j by 8 tail peel",
        "split i by 2 tail shift\nsplit ii by 2 tail shift\nsplit io by 3 tail shift",
        "tile i, j, k by 2, 2, 2",
        "tile i, j by 2, 4\nreorder jo, k, io, ji, ii",
        "fuse i, j into f\nsplit f by 4\nreorder k, fi, fo",
        "fuse i, j into f\nsplit f by 4 tail shift",
        "split k parts 3\nreorder ko, i, j, ki",
        "reorder k, j, i\nfuse j, i into f",
        "split i by 2 tail shift\nreorder j, ii, io",
    ],
)
def test_loops_of_a_matmul_compute_the_same(lines: str) -> None:
    plain = nest(program(MATMUL))
    assert_same(plain, scheduled(plain, lines), *MATMUL_SIZES)


@pytest.mark.parametrize(
    "lines",
    [
        "fuse j, k into f",
        "split j by 2\nsplit k by 3\nreorder ki, ji, i, ko, jo",
        "fuse j, k into f\nsplit f by 4\nreorder fi, i",
    ],
)
def test_trimmed_reductions_compute_the_same(lines: str) -> None:
    plain = nest(program(BOX))
    assert_same(plain, scheduled(plain, lines), *BOX_SIZES)


# ---------------------------------------------------------------- refused


@pytest.mark.parametrize(
    ("text", "lines", "code"),
    [
        (POINTWISE, "split i by 8 parts 2", "split-clauses"),
        (POINTWISE, "split i", "split-clauses"),
        (POINTWISE, "split i by 0", "split-factor"),
        (POINTWISE, "split i by -4", "split-factor"),
        (POINTWISE, f"split i by {2**20 + 1}", "split-factor"),
        (POINTWISE, "split i by 8 tail exact", "split-exact"),
        (DIVISIBLE, "split i by 16 tail exact", "split-exact"),
        (MATMUL, "split k by 4 tail shift", "split-shift"),
        (MATMUL, "reorder k, i\nsplit i by 4 tail shift", "split-shift"),
        (PLANE, "split i by 8 into j, jj", "loop-name"),
        (PLANE, "split i by 8 into a, a", "loop-name"),
        (PLANE, "fuse i, j into f\nsplit f by 4 into i, fi", "loop-name"),
        (PLANE, "tile i, j by 8, 8, 8", "tile-clauses"),
        (PLANE, "tile i, j by 8, 8 into a, b, c, d, e", "tile-clauses"),
        (SOFTMAX, "tile e.i, Y.j by 8, 8", "not-nested"),
        (SOFTMAX, "reorder e.i, Y.j", "not-nested"),
        (MATMUL, "fuse i, k into f", "not-nested"),
        (MATMUL, "fuse j, i into f", "not-nested"),
        (MATMUL, "fuse j, k into f", "fuse-kinds"),
        (MATMUL, "reorder i, i", "repeated-loop"),
        (MATMUL, "split i by 4 tail shift\nreorder k, io", "reorder-dependence"),
        (PLANE, "vectorize j by 8\nsplit ji by 2", "loop-kind"),
        (PLANE, "parallel i\nfuse i, j into f", "loop-kind"),
        (PLANE, "parallel j\nreorder j, i", "loop-kind"),
    ],
)
def test_refused(text: str, lines: str, code: str) -> None:
    assert refused(text, lines).code == code


def test_nests_have_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TE_VERIFY", "0")  # thirty guards take the verifier ten seconds
    assert refused(PLANE, "\n".join(f"split i by 2 into i, i{n}" for n in range(31))).code == "too-many-loops"


def test_a_refusal_points_at_the_operand() -> None:
    diagnostic = refused(MATMUL, "split i by 4\nsplit k by 4 tail shift")
    assert diagnostic.span is not None
    assert (diagnostic.span.line, diagnostic.span.text) == (2, "shift")


def test_a_line_that_comes_too_late_says_which_one_it_must_precede() -> None:
    diagnostic = refused(CHAIN, "split Y.i by 4\nvectorize Y.ii\nsplit Y.ii by 2")
    assert diagnostic.help == "write it before `vectorize Y.ii`"
    assert [note.span.text for note in diagnostic.notes] == ["vectorize Y.ii"]


def test_the_second_of_overlapping_accesses_is_shown_with_an_example() -> None:
    message = refused(MATMUL, "split i by 4 tail shift\nparallel io").message
    assert message.endswith("trips 0 and 1 meet at `C[1, 0]` (with M = 5)")


def test_one_step_is_refused_as_a_whole() -> None:
    plain = nest(program(PLANE))
    before = scheduled(plain, "split i by 4")
    diagnostic = refused(before, "tile ii, j by 2, 0")
    assert diagnostic.code == "split-factor"
    assert apply(before, Split("j", by=2)) == scheduled(plain, "split i by 4\nsplit j by 2")


def test_a_reduction_loop_of_one_trip_does_not_overtake_a_loop_that_overlaps() -> None:
    lines = "split j by 6 tail shift\nsplit k parts 1\nreorder ko, jo"
    text = "op f(A: f32[M, 16, 4]) -> C: f32[M, 16] { C[i, j] = sum[k](A[i, j, k]) }"
    diagnostic = refused(text, lines.replace("reorder ko, jo", "reorder i, ko, jo, ji"))
    assert diagnostic.code == "reorder-dependence"
    assert "an unfinished sum twice" in diagnostic.message
