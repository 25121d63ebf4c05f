"""fission, merge: loops that several statements share."""

from __future__ import annotations

from dataclasses import replace

import pytest

from te.ir.expr import Const, Load, Var, compare, integer
from te.ir.loop import Alloc, Buffer, For, If, Kernel, Stmt, Store, rewrite_stmt, seq
from te.ir.types import F32
from te.schedule.nest import nest
from tests.schedule.scheduling import (
    CHAIN,
    MATMUL,
    SOFTMAX,
    assert_same,
    loops,
    program,
    refused,
    scheduled,
)

SHIFTED = """
op f(X: f32[N]) -> Y: f32[N] {
    e[i] = X[i] + 1.0
    Y[i] = (e[i - 1] else 0.0) + e[i]
}
"""
AHEAD = SHIFTED.replace("i - 1", "i + 1")
MIRRORED = """
op f(X: f32[N]) -> Y: f32[N] {
    e[i] = X[i] + 1.0
    Y[i] = e[N - 1 - i]
}
"""
TWO_SUMS = """
op f(X: f32[M, N]) -> a: f32[M], b: f32[M] {
    a[i] = sum[j](X[i, j])
    b[i] = max[j](X[i, j])
}
"""
SUMS = SOFTMAX.replace("exp", "abs").replace("/", "-")  # exact in floats, whatever the order
SIZES = [{"N": n} for n in (1, 2, 3, 7, 8)]
PLANE_SIZES = [{"M": 3, "N": 5}, {"M": 1, "N": 1}, {"M": 4, "N": 2}, {"M": 7, "N": 3}]


# ---------------------------------------------------------------- what they make


def test_a_sum_is_fused_into_the_loop_that_makes_its_terms() -> None:
    assert loops(SOFTMAX, "merge e.i, Y_sum.i\nmerge e.j, Y_sum.k\nmerge e.i, Y.i").endswith(
        """
      for e.i < M:
        for e.j < N (reduce):
          e[i, j] = exp(X[i, j] - m[i])
          Y_sum[i] sum= e[i, j]  # from 0.0 before e.j
        for Y.j < N:
          Y[i, j] = e[i, j] / Y_sum[i]
"""
    )


def test_fission_undoes_it() -> None:
    lines = "merge e.i, Y_sum.i\nmerge e.j, Y_sum.k"
    apart = scheduled(SOFTMAX, f"{lines}\nfission e.j at 1\nfission e.i at 1")
    assert """
      for e.i < M:
        for e.j < N:
          e[i, j] = exp(X[i, j] - m[i])
      for Y_sum.i < M:
        for Y_sum.j < N (reduce):
          Y_sum[i] sum= e[i, j]  # from 0.0 before Y_sum.j
""" in loops(apart)
    assert_same(nest(program(SOFTMAX)), apart, *PLANE_SIZES)


def test_names_between_are_copied_under_new_ones() -> None:
    lines = "fuse a.i, a.j into f\nfuse b.i, b.j into f\nmerge a.f, b.f"
    text = """
    op f(X: f32[M, N]) -> a: f32[M, N], b: f32[M, N] {
        a[i, j] = X[i, j] + 1.0
        b[i, j] = a[i, j] * 2.0
    }
    """
    assert loops(text, lines).count("let") == 4  # each part has its own
    assert_same(nest(program(text)), scheduled(text, lines), *PLANE_SIZES)
    merged = scheduled(text, "merge a.i, b.i\nmerge a.j, b.j\nfuse a.i, a.j into f\nparallel f")
    assert loops(merged).count("let") == 2
    apart = scheduled(text, "merge a.i, b.i\nmerge a.j, b.j\nfuse a.i, a.j into f\nfission f at 1")
    assert (
        loops(apart)
        == """
for a.f < M * N:
  let a.i < M = f // N:
    let a.j < N = f % N:
      a[i, j] = X[i, j] + 1.0
for b.f < M * N:
  let b.i < M = f // N:
    let b.j < N = f % N:
      b[i, j] = a[i, j] * 2.0
"""
    )
    for kernel in (merged, apart):
        assert_same(nest(program(text)), kernel, *PLANE_SIZES, {"M": 0, "N": 3}, {"M": 3, "N": 0})


def test_the_second_loop_gets_a_number_where_its_name_is_taken() -> None:
    text = """
    op f(X: f32[N]) -> Y: f32[N] {
        e[i] = X[i] + 1.0
        Y[i] = e[i] * e[i]
    }
    """
    lines = "split Y.i by 4 into i, l\nsplit e.i by 4 into o, i\nmerge e.o, Y.i\nsplit Y.l by 2 into o, l"
    assert "for Y.o2 < " in loops(text, f"{lines}\nfission e.o at 1")


# ---------------------------------------------------------------- the same results


@pytest.mark.parametrize(
    ("text", "lines", "sizes"),
    [
        (CHAIN, "merge e.i, Y.i", SIZES),
        (
            CHAIN,
            "split e.i by 4\nsplit Y.i by 4\nmerge e.io, Y.io\nparallel e.io\nvectorize e.ii, Y.ii",
            SIZES,
        ),
        (CHAIN, "split e.i by 4\nsplit Y.i by 4\nmerge e.io, Y.io\nmerge e.ii, Y.ii\nvectorize e.ii", SIZES),
        (CHAIN, "merge e.i, Y.i\nsplit i by 4 tail peel\nunroll ii", SIZES),
        (CHAIN, "merge e.i, Y.i\nsplit i by 4\nvectorize ii\nparallel io", SIZES),
        (SHIFTED, "merge e.i, Y.i", SIZES),
        (SHIFTED, "merge e.i, Y.i\nsplit i by 4\nunroll ii", SIZES),
        (SOFTMAX, "merge e.i, Y_sum.i\nmerge e.j, Y_sum.k\nvectorize e.j by 4", PLANE_SIZES),
        (SOFTMAX, "merge m.i, e.i\nmerge m.i, Y_sum.i\nmerge m.i, Y.i\nparallel m.i", PLANE_SIZES),
        (SUMS, "merge e.i, Y_sum.i\nmerge e.j, Y_sum.k\nsplit e.j by 4\nreorder e.ji, e.i", PLANE_SIZES),
        (SUMS, "merge e.i, Y_sum.i\nmerge e.j, Y_sum.k\nvectorize e.j by 4\nmerge e.i, Y.i", PLANE_SIZES),
        (
            SUMS,
            "merge e.i, Y_sum.i\nmerge e.j, Y_sum.k\nsplit e.i by 2\nreorder e.ii, e.j\nparallel e.ii",
            PLANE_SIZES,
        ),
        (TWO_SUMS, "merge a.i, b.i\nmerge a.j, b.j\nvectorize a.j by 4\nparallel a.i", PLANE_SIZES),
        (
            TWO_SUMS,
            "merge a.i, b.i\nmerge a.j, b.j\nreorder a.j, a.i\nsplit a.i by 2\nvectorize a.ii",
            PLANE_SIZES,
        ),
        (TWO_SUMS, "merge a.i, b.i", PLANE_SIZES),
    ],
)
def test_shared_loops_compute_the_same(text: str, lines: str, sizes: list[dict[str, int]]) -> None:
    plain = nest(program(text))
    empty = [{name: 0 if name == zero else 2 for name in plain.program.sizes} for zero in plain.program.sizes]
    assert_same(plain, scheduled(plain, lines), *sizes, *empty)


# ---------------------------------------------------------------- refused


@pytest.mark.parametrize(
    ("text", "lines", "code"),
    [
        (AHEAD, "merge e.i, Y.i", "merge-dependence"),
        (MIRRORED, "merge e.i, Y.i", "merge-dependence"),
        (SOFTMAX, "merge e.i, Y.i", "merge-neighbours"),
        (SOFTMAX, "merge Y_sum.i, e.i", "merge-neighbours"),
        (SOFTMAX, "merge e.i, e.j", "merge-neighbours"),
        (SOFTMAX, "merge e.i, e.i", "repeated-loop"),
        # The sum is complete after the whole loop only.
        (SOFTMAX, "merge m.i, e.i\nmerge m.j, e.j", "merge-dependence"),
        (CHAIN, "split e.i by 4\nmerge e.io, Y.i", "merge-extents"),
        (CHAIN, "vectorize Y.i by 4\nmerge e.i, Y.io\nmerge e.i, Y.ii", "merge-extents"),
        (CHAIN, "parallel Y.i\nmerge e.i, Y.i", "loop-kind"),
        (MATMUL, "fission k at 1", "fission-position"),
        (CHAIN, "merge e.i, Y.i\nfission i at 0", "fission-position"),
        (CHAIN, "merge e.i, Y.i\nfission i at 2", "fission-position"),
        (CHAIN, "merge e.i, Y.i\nparallel i\nfission i at 1", "loop-kind"),
        # Steps of a sum among the statements of another stage keep their order to them.
        (SHIFTED, "merge e.i, Y.i\nparallel i", "parallel-dependence"),
        (SHIFTED, "merge e.i, Y.i\nvectorize i by 4", "vectorize-dependence"),
        (SOFTMAX, "merge e.i, Y_sum.i\nmerge e.j, Y_sum.k\nparallel e.j", "parallel-reduction"),
        (SOFTMAX, "merge e.i, Y_sum.i\nmerge e.j, Y_sum.k\nfuse e.i, e.j into f", "fuse-kinds"),
    ],
)
def test_refused(text: str, lines: str, code: str) -> None:
    assert refused(text, lines).code == code


def test_a_recurrence_stays_in_one_loop() -> None:
    text = """
    op f(X: f32[T]) -> h: f32[T] {
        s[t] = X[t] * 2.0 + (h[t - 1] else 0.0)
        h[t] = s[t] + 1.0
    }
    """
    diagnostic = refused(text, "fission s.t at 1")
    assert diagnostic.code == "fission-dependence"
    assert "trips 0 and 1 meet at `h[0]`" in diagnostic.message


# ---------------------------------------------------------------- kernels that no directive makes yet


def in_one_loop(*items: Stmt, wrapped: tuple[Alloc | If, ...] = ()) -> Kernel:
    """CHAIN's kernel with one loop around other statements."""
    plain = scheduled(CHAIN, "merge e.i, Y.i")

    def put(s: Stmt) -> Stmt:
        if not isinstance(s, For):
            return s
        body = seq(*(items or s.body.items))  # type: ignore[union-attr]  # a Seq
        for around in reversed(wrapped):
            body = replace(around, body=body)
        return replace(s, body=body)

    return replace(plain, body=rewrite_stmt(plain.body, put))


NOTHING = seq()


def test_a_buffer_of_each_trip_cannot_be_shared() -> None:
    i = Var("e.i")
    tile = Alloc(Buffer("tile", F32, (integer(1),), "global"), NOTHING)
    write = Store("tile", (integer(0),), Load("X", (i,), F32), "e")
    read = Store("Y", (i,), Load("tile", (integer(0),), F32), "Y")
    store = Store("e", (i,), Const(0.0, F32), "e")
    assert (
        refused(in_one_loop(store, write, read, wrapped=(tile,)), "fission i at 2").code
        == "fission-dependence"
    )
    moved = scheduled(in_one_loop(store, write, read, wrapped=(tile,)), "fission i at 1")
    assert loops(moved).count("alloc tile") == 1


def test_a_condition_that_a_part_changes_is_not_asked_twice() -> None:
    i = Var("e.i")
    asks = If(compare("<", Load("e", (i,), F32), Const(0.0, F32)), NOTHING)
    assert refused(in_one_loop(wrapped=(asks,)), "fission i at 1").code == "fission-dependence"
    short = If(compare("<", i, integer(3)), NOTHING)
    assert loops(in_one_loop(wrapped=(short,)), "fission i at 1").count("if i < 3") == 2


def test_a_part_that_reads_the_running_sum_keeps_its_order() -> None:
    """`total` is started before the first trip, so not even a read in the first one may come before it."""
    text = "op f(X: f32[N]) -> total: f32, Z: f32[N] { total = sum[i](X[i])\n Z[i] = X[i] }"
    plain = scheduled(text, "merge total.i, Z.i")

    def running(s: Stmt) -> Stmt:
        if isinstance(s, Store) and s.buffer == "Z":
            return If(compare("<", Var("total.i"), integer(1)), replace(s, value=Load("total", (), F32)))
        return s

    kernel = replace(plain, body=rewrite_stmt(plain.body, running))
    swapped = rewrite_stmt(
        kernel.body,
        lambda s: replace(s, body=seq(*reversed(s.body.items))) if isinstance(s, For) else s,  # type: ignore[union-attr]
    )
    assert refused(replace(kernel, body=swapped), "fission total.i at 1").code == "fission-dependence"


def test_an_index_one_ahead_is_seen_through_a_split() -> None:
    lines = "split e.i by 4\nsplit Y.i by 4\nmerge e.io, Y.io"
    assert refused(AHEAD, lines).code == "merge-dependence"
    assert scheduled(SHIFTED, lines)
