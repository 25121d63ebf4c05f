"""Loops of several statements: the sums whose elements nothing else touches run in registers."""

from __future__ import annotations

import numpy as np
import pytest

import te
from te.backends.interp.loop import run_kernel
from te.ir.expr import Const, Load, Var, integer
from te.ir.facts import Facts
from te.ir.loop import Accumulate, Alloc, Buffer, For, Seq, Stmt, Store, seq, walk_stmt
from te.ir.types import F32
from te.schedule.finalize import finalize
from te.schedule.finalize.accumulators import promote_accumulators
from te.schedule.nest import nest
from tests.schedule.scheduling import program, random_inputs, scheduled

MOMENTS = """
op f(X: f32[M, N]) -> a: f32[M], b: f32[M] {
    a[i] = sum[j](X[i, j])
    b[i] = sum[j](X[i, j] * X[i, j])
}
"""
ONE_LOOP = "merge a.i, b.i\nmerge a.j, b.j\n"
WITH_MAP = """
op f(X: f32[M, N]) -> Y: f32[M, N], a: f32[M], b: f32[M] {
    Y[i, j] = X[i, j] + 1.0
    a[i]    = sum[j](Y[i, j])
    b[i]    = max[j](Y[i, j])
}
"""
MATMULS = """
op f(A: f32[M, K], B: f32[K, N], D: f32[K, N]) -> P: f32[M, N], Q: f32[M, N] {
    P[i, j] = sum[k](A[i, k] * B[k, j])
    Q[i, j] = sum[k](A[i, k] * D[k, j])
}
"""
TILES = "".join(
    f"tile {s}.i, {s}.j by 2, 8 into {s}io, {s}jo, {s}ii, {s}ji\nreorder {s}io, {s}jo, {s}.k, {s}ii, {s}ji\n"
    for s in "PQ"
)
BOTH = TILES + "merge Pio, Qio\nmerge Pjo, Qjo\nmerge P.k, Q.k\nunroll Pii, Qii\nvectorize Pji, Qji"
SIZES = (
    {"M": 3, "N": 17, "K": 5},
    {"M": 4, "N": 16, "K": 1},
    {"M": 1, "N": 1, "K": 2},
    {"M": 2, "N": 33, "K": 0},
)


def in_memory(s: Stmt) -> set[str]:
    """What reductions update in memory."""
    registers = {
        a.buffer.name for a, _ in walk_stmt(s) if isinstance(a, Alloc) and a.buffer.scope == "register"
    }
    return {x.buffer for x, _ in walk_stmt(s) if isinstance(x, Accumulate)} - registers


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        (MOMENTS, ONE_LOOP),
        (MOMENTS, ONE_LOOP + "vectorize a.j by 8"),
        (MOMENTS, ONE_LOOP + "split a.j by 4\nunroll ji\nparallel a.i"),
        (MOMENTS, ONE_LOOP + "vectorize a.i by 4"),
        (WITH_MAP, "merge Y.i, a.i\nmerge Y.i, b.i\nmerge Y.j, a.j\nmerge Y.j, b.j"),
        (WITH_MAP, "merge Y.i, a.i\nmerge Y.i, b.i\nmerge Y.j, a.j\nmerge Y.j, b.j\nvectorize Y.j by 4"),
        (MATMULS, BOTH),
    ],
)
def test_all_sums_are_in_registers(text: str, lines: str) -> None:
    plain, final = nest(program(text)), finalize(scheduled(text, lines))
    assert in_memory(final.body) == set()
    built = te.build(text, schedule=lines)
    for all_sizes in SIZES:
        sizes = {name: all_sizes[name] for name in plain.program.sizes}
        inputs = random_inputs(plain.program, sizes)
        expected = run_kernel(plain, inputs, sizes)
        found = dict(zip(plain.program.results, built(**inputs), strict=True))
        for name, array in expected.items():
            np.testing.assert_array_equal(run_kernel(final, inputs, sizes)[name], array)
            np.testing.assert_array_equal(found[name], array)


# ---------------------------------------------------------------- what stays in memory


BUFFERS = {name: Buffer(name, F32, (integer(4),), "argument") for name in ("X", "a", "b", "c")}


def read(buffer: str, at: Var | Const) -> Load:
    return Load(buffer, (at,), F32)


def total(buffer: str, value: Load, at: int = 0) -> Accumulate:
    return Accumulate(buffer, (integer(at),), "sum", value, frozenset({"a.j"}), None, buffer)


def promoted(items: list[Stmt], *before: Stmt) -> Stmt:
    loop = For("a.j", integer(4), Seq(tuple(items)), is_reduction=True)
    return promote_accumulators(seq(*before, loop), Facts(), dict(BUFFERS))


def x(at: str = "a.j") -> Load:
    return read("X", Var(at))


@pytest.mark.parametrize(
    ("items", "left"),
    [
        ([total("a", x()), total("b", x())], set()),
        ([total("a", x()), total("a", x(), 1)], {"a"}),  # the same buffer twice
        ([total("a", x()), Store("c", (Var("a.j"),), read("a", integer(0)), "c")], {"a"}),  # read meanwhile
        ([Store("a", (Var("a.j"),), x(), "a"), total("a", x())], {"a"}),  # written meanwhile
        ([total("a", x()), total("b", read("a", integer(0)))], {"a", "b"}),
        ([Store("c", (Var("a.j"),), x(), "c"), total("b", read("c", Var("a.j")))], set()),
        ([For("c.k", integer(4), Store("c", (Var("c.k"),), x("c.k"), "c")), total("b", x())], set()),
    ],
)
def test_what_other_statements_touch_stays_in_memory(items: list[Stmt], left: set[str]) -> None:
    assert in_memory(promoted(items)) == left


def test_starts_fill_the_registers() -> None:
    zeros = [Store(name, (integer(0),), Const(0.0, F32), name) for name in ("a", "b")]
    found = promoted([total("a", x()), total("b", x())], *zeros)
    stored = [s.buffer for s, _ in walk_stmt(found) if isinstance(s, Store)]
    assert stored == ["a.tile", "b.tile", "a", "b"]


def test_a_start_that_reads_what_the_loop_writes_stays_before_it() -> None:
    zero = Store("a", (integer(0),), Const(0.0, F32), "a")
    follows = Store("b", (integer(0),), read("a", integer(0)), "b")
    found = promoted([total("a", x()), total("b", x())], zero, follows)
    stored = [s.buffer for s, _ in walk_stmt(found) if isinstance(s, Store)]
    assert stored == ["a", "b", "a.tile", "b.tile", "a", "b"]
