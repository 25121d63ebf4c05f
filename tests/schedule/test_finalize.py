"""`finalize`: golden text for each thing it does, its contract, and that it changes no result."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from te.diagnostics import ScheduleError
from te.ir.bounds import prove
from te.ir.expr import TRUE, Const, Expr, Select, Var, add, compare, integer, sub
from te.ir.loop import (
    FINAL,
    PARALLEL,
    SERIAL,
    UNROLLED,
    VECTOR,
    Accumulate,
    Alloc,
    Buffer,
    For,
    If,
    Kernel,
    Let,
    Stmt,
    Store,
    direct_exprs,
    map_exprs,
    seq,
    substitute_stmt,
    walk_stmt,
)
from te.ir.print import print_kernel
from te.ir.simplify import simplify
from te.ir.types import F32, I64
from te.ir.visit import loads, rewrite, variables
from te.schedule.context import facts_at
from te.schedule.finalize import finalize
from te.schedule.finalize.allocations import hoist_allocations
from te.schedule.finalize.guards import float_names
from te.schedule.nest import nest
from tests.conftest import Golden
from tests.schedule.scheduling import (
    CHAIN,
    MATMUL,
    PLANE,
    POINTWISE,
    ROW_SUM,
    SOFTMAX,
    assert_same,
    program,
    scheduled,
)

GOLDEN = Path(__file__).parent / "finalize"

TRIANGLE = "op f(A: f32[M, N], x: f32[N]) -> y: f32[M] { y[i] = sum[j where j <= i](A[i, j] * x[j]) }"
BAND = "op f(A: i32[M, N]) -> y: i32[M] { y[i] = sum[j where j >= i and j < i + 5](A[i, j]) }"
ROWS_ABOVE = "op f(A: i32[M, N]) -> y: i32[M] { y[i] = sum[j where i > 3](A[i, j]) }"
CONVOLUTION = """
op conv(X: f32[C, H, W], F: f32[O, C, 3, 3]) -> Y: f32[O, H - 2, W - 2] {
    require H >= 2 and W >= 2
    Y[o, y, x] = sum[c, r, s](X[c, y + r, x + s] * F[o, c, r, s])
}
"""
CLAMPED = """
op f(X: f32[H, W]) -> Y: f32[H, W] {
    Y[y, x] = X[y, max(x - 1, 0)] + X[y, x] + X[y, min(x + 1, W - 1)]
}
"""
CLAMPED_TWICE = """
op f(X: f32[H, W]) -> Y: f32[H, W] { Y[y, x] = X[y, clamp(x - 2, 0, W - 1)] + X[y, min(2 * x, W - 1)] }
"""
PADDED = """
op conv(X: f32[C, H, W], F: f32[O, C, 3, 3]) -> Y: f32[O, H, W] {
    Y[o, y, x] = sum[c, r, s](
        where(y + r >= 1 and y + r <= H and x + s >= 1 and x + s <= W, X[c, y + r - 1, x + s - 1], 0.0) * F[o, c, r, s]
    )
}
"""
FIXED = "op f(A: f32[16, K], B: f32[K, 64]) -> C: f32[16, 64] { C[i, j] = sum[k](A[i, k] * B[k, j]) }"
DIVISIBLE = """
op f(A: f32[M, K], B: f32[K, N]) -> C: f32[M, N] {
    require M % 8 == 0 and N % 32 == 0
    C[i, j] = sum[k](A[i, k] * B[k, j])
}
"""
TILES = """
    tile i, j by 8, 32 into io, jo, ii, ji
    reorder io, jo, k, ii, ji
    unroll ii
    vectorize ji
"""

CASES: dict[str, tuple[str, str]] = {
    "vector": (POINTWISE, "vectorize i by 16"),
    "vector-peel": (POINTWISE, "split i by 16 into io, ii tail peel\n vectorize ii"),
    "vector-shift": (POINTWISE, "split i by 16 into io, ii tail shift\n vectorize ii"),
    "fused-vector": (PLANE, "fuse i, j into f\n split f by 16 into fo, fi\n vectorize fi\n parallel fo"),
    "fused-tiles": (
        PLANE,
        "tile i, j by 8, 32 into io, jo, ii, ji\n fuse io, jo into f\n vectorize ji\n parallel f",
    ),
    "serial-tail": (PLANE, "tile i, j by 8, 32 into io, jo, ii, ji"),
    "scalar-accumulator": (ROW_SUM, ""),
    "lanes": (ROW_SUM, "split j by 16 into jo, ji\n vectorize ji"),
    "lanes-outside": (ROW_SUM, "split j by 16 into jo, ji\n reorder ji, i, jo\n vectorize ji"),
    "unrolled-reduction": (ROW_SUM, "unroll j by 4"),
    "vector-of-rows": (ROW_SUM, "split i by 16 into io, ii\n vectorize ii"),
    "matmul": (MATMUL, TILES),
    "matmul-vector-outside": (MATMUL, "split j by 16 into jo, ji\n vectorize ji"),
    "matmul-48-lanes": (MATMUL, TILES.replace("32", "48")),
    "matmul-fixed": (FIXED, TILES),
    "matmul-divisible": (DIVISIBLE, TILES),
    "matmul-outer-reduction": (
        MATMUL,
        TILES.replace("tile", "split k by 4 into ko, ki\n tile").replace(
            "io, jo, k, ii", "ko, io, jo, ki, ii"
        ),
    ),
    "convolution": (
        CONVOLUTION,
        "split o by 16 into oo, oi\n split x by 14 into xo, xi\n reorder oo, y, xo, c, r, s, xi, oi\n"
        "unroll xi\n vectorize oi",
    ),
    "border-clamped": (CLAMPED, "vectorize x by 16"),
    "border-clamped-twice": (CLAMPED_TWICE, "vectorize x by 8"),
    "border-padded": (PADDED, "split x by 16 into xo, xi\n reorder o, y, xo, c, r, s, xi\n vectorize xi"),
    "triangle": (TRIANGLE, ""),
    "triangle-lanes": (TRIANGLE, "split j by 16 into jo, ji\n vectorize ji"),
    "triangle-rows": (TRIANGLE, "split i by 8 into io, ii\n reorder io, j, ii\n vectorize ii"),
    "band": (BAND, ""),
    "where-without-index": (ROWS_ABOVE, ""),
    "softmax": (SOFTMAX, ""),
}
SIZES = (
    {"M": 9, "N": 37, "K": 6, "C": 2, "H": 4, "W": 19, "O": 18},
    {"M": 16, "N": 64, "K": 4, "C": 1, "H": 3, "W": 16, "O": 16},
    {"M": 1, "N": 1, "K": 1, "C": 1, "H": 3, "W": 3, "O": 1},
    {"M": 3, "N": 0, "K": 0, "C": 0, "H": 3, "W": 3, "O": 2},
    {"M": 0, "N": 5, "K": 3, "C": 1, "H": 2, "W": 2, "O": 0},
)


def sizes_for(kernel: Kernel) -> list[dict[str, int]]:
    chosen = [{name: sizes[name] for name in kernel.program.sizes} for sizes in SIZES]
    return [{"M": 24, "N": 96, "K": 5}] if kernel.program.requirements and "M" in chosen[0] else chosen


@pytest.mark.parametrize("case", CASES)
def test_text(case: str, golden: Golden) -> None:
    text, lines = CASES[case]
    kernel = scheduled(text, lines)
    final = finalize(kernel)
    golden(GOLDEN / f"{case}.txt", f"{print_kernel(kernel)}\n{print_kernel(final)}")
    assert_final(final)
    assert_same(kernel, final, *sizes_for(kernel))


def test_final_kernels_stay_as_they_are() -> None:
    final = finalize(nest(program(CHAIN)))
    assert final.level == FINAL
    assert finalize(final) is final


# ---------------------------------------------------------------- made by hand


def rebuilt(kernel: Kernel, body: Stmt) -> Kernel:
    return Kernel(kernel.program, kernel.arguments, body, kernel.level)


def test_memory_in_a_parallel_loop_is_of_each_thread() -> None:
    """What `compute_at` makes: a row of the producer inside the consumer's parallel loop."""
    of = program(
        "op f(X: i32[M, N]) -> Y: i32[M, N] { t[i, j] = X[i, j] + 1\n Y[i, j] = t[i, j] * t[i, N - 1 - j] }"
    )
    kernel = nest(of)
    assert isinstance(kernel.body, Alloc)
    producer, consumer = kernel.body.body.items  # type: ignore[union-attr]  # the two nests
    row = Var("Y.i")

    def to_row(index: tuple[Expr, ...]) -> tuple[Expr, ...]:
        return index[1:]

    inner = substitute_stmt(producer.body, {"t.i": row})
    inner = replace(inner, body=replace(inner.body, index=to_row(inner.body.index)))

    def read_row(e: Expr) -> Expr:
        return rewrite(
            e, lambda n: replace(n, index=to_row(n.index)) if getattr(n, "buffer", "") == "t" else n
        )

    whole = map_exprs(consumer.body, read_row)
    buffer = replace(kernel.body.buffer, shape=to_row(kernel.body.buffer.shape))
    body = replace(consumer, kind="parallel", body=Alloc(buffer, seq(inner, whole)))
    final = finalize(rebuilt(kernel, body))
    assert "parallel for Y.i < M:\n    alloc t: i32[N] in thread:" in print_kernel(final)
    assert_final(final)
    assert_same(kernel, final, {"M": 3, "N": 4}, {"M": 0, "N": 2})


def test_memory_whose_size_a_loop_around_decides_gets_an_axis() -> None:
    """Where the loop is over, every trip of the parallel one needs as much as the largest."""
    row = Buffer("t", I64, (add(Var("o"), integer(1)),), "global")
    inner = For("i", Var("M"), Alloc(row, Store("t", (Var("o"),), Var("i"), "t")), PARALLEL)
    hoisted = hoist_allocations(For("o", Var("N"), inner), ["M", "N"])
    assert isinstance(hoisted, Alloc)
    assert hoisted.buffer.scope == "global"
    assert [simplify(extent) for extent in hoisted.buffer.shape] == [Var("M"), Var("N")]


def test_the_range_of_a_let_does_not_remove_the_guard_that_makes_it_hold() -> None:
    """`(8*fo + fi) // N < M` holds because of the guard on `8*fo + fi`, not the other way round."""
    kernel = scheduled(PLANE, "fuse i, j into f\n split f by 8 into fo, fi")
    ((let, path),) = [
        (s, path) for s, path in walk_stmt(kernel.body) if isinstance(s, Let) and s.var == "Y.i"
    ]
    inside = (*(around for around in path if not isinstance(around, If)), let)
    in_range = compare("<", Var("Y.i"), Var("M"))
    assert prove(in_range, facts_at(inside, kernel.program))
    assert not prove(in_range, facts_at(inside, kernel.program, trust_lets=False))


def test_the_range_of_a_fused_loop_needs_no_guard() -> None:
    kernel = scheduled(PLANE, "fuse i, j into f")
    ((let, path),) = [
        (s, path) for s, path in walk_stmt(kernel.body) if isinstance(s, Let) and s.var == "Y.i"
    ]
    facts = facts_at((*path, let), kernel.program, trust_lets=False)
    assert prove(compare("<", Var("Y.i"), Var("M")), facts)


def test_what_never_holds_inside_a_border_is_not_asked() -> None:
    """`abs` chooses by the sign, and either side may be the one that no full vector is on."""
    mirrored = """
    op f(X: f32[N]) -> Y: f32[N + 1] {
        require N > 1
        Y[i] = X[clamp(min(abs(i - 1), 2 * (N - 1) - abs(i - 1)), 0, N - 1)]
    }
    """
    final = finalize(scheduled(mirrored, "vectorize i by 8"))
    assert print_kernel(final).count("vector for") <= 2


def test_a_choice_that_goes_does_not_change_how_a_sum_rounds() -> None:
    """`a * b` alone would be accumulated with one rounding; the choice of it is rounded first."""
    text = """
    op f(a: f32[M, N], b: f32[M, N]) -> y: f32[N] {
        y[j] = sum[i](where(j >= 1, a[i, j] * b[i, j], 0.0))
    }
    """
    final = finalize(scheduled(text, "split j by 8 into jo, ji\n reorder jo, i, ji\n vectorize ji"))
    hot, cold = [s.value for s, _ in walk_stmt(final.body) if isinstance(s, Accumulate)]
    assert isinstance(hot, Select)
    assert hot.condition == TRUE
    assert isinstance(cold, Select)


# ---------------------------------------------------------------- the contract


def assert_final(kernel: Kernel) -> None:
    """What `te.schedule.finalize` promises to backends."""
    assert kernel.level == FINAL
    for s, path in walk_stmt(kernel.body):
        loops = [around for around in path if isinstance(around, For)]
        vectors = [loop for loop in loops if loop.kind == VECTOR]
        match s:
            case For():
                assert not vectors, "no loop stands in a vector loop"
                assert s.kind == SERIAL or s.kind == "parallel" or isinstance(s.extent, Const)
                if s.kind == VECTOR:
                    body = s.body.body if isinstance(s.body, If) and s.body.otherwise is None else s.body
                    assert isinstance(body, Store | Accumulate)
            case Alloc():
                constant = all(isinstance(extent, Const) for extent in s.buffer.shape)
                assert constant or s.buffer.scope not in ("register", "stack")
                if s.buffer.scope in ("stack", "thread"):
                    assert loops[-1].kind == "parallel"
                elif s.buffer.scope != "register":
                    assert not loops
            case Accumulate():
                assert s.start is None
                assert all(any(loop.var in variables(i) for i in s.index) for loop in vectors)
        registers = {
            a.buffer.name: a.buffer for a in path if isinstance(a, Alloc) and a.buffer.scope == "register"
        }
        for buffer, index in accesses(s):
            if buffer in registers:
                assert_register_index(registers[buffer], index, loops)


def accesses(s: Stmt) -> list[tuple[str, tuple[Expr, ...]]]:
    found = [(load.buffer, load.index) for e in direct_exprs(s) for load in loads(e)]
    return [*found, (s.buffer, s.index)] if isinstance(s, Store | Accumulate) else found


def assert_register_index(buffer: Buffer, index: tuple[Expr, ...], loops: list[For]) -> None:
    assert len(index) == len(buffer.shape)
    unrolled = {loop.var for loop in loops if loop.kind == UNROLLED}
    for position, (i, extent) in enumerate(zip(index, buffer.shape, strict=True)):
        if variables(i) <= unrolled:
            continue
        (lane,) = [loop for loop in loops if loop.kind == VECTOR]
        assert position == len(index) - 1
        first = simplify(sub(i, Var(lane.var)))  # of a part of the lanes
        assert isinstance(first, Const)
        assert isinstance(lane.extent, Const)
        assert isinstance(extent, Const)
        assert 0 <= first.value <= extent.value - lane.extent.value


# ---------------------------------------------------------------- any schedule

POOL = [
    "op f(X: i32[N]) -> Y: i32[N] { Y[i] = X[i] * 2 + 1 }",
    "op f(X: i32[M, N]) -> Y: i32[M, N] { Y[i, j] = X[i, j] * 2 + 1 }",
    "op f(X: i32[M, N]) -> Y: i32[M] { Y[i] = sum[j](X[i, j]) }",
    "op f(X: i32[M, N]) -> Y: i32[N] { Y[j] = max[i](X[i, j]) }",
    "op f(X: i32[M, N]) -> Y: i32 { Y = sum[i, j](X[i, j]) }",
    "op f(A: i32[M, K], B: i32[K, N]) -> C: i32[M, N] { C[i, j] = sum[k](A[i, k] * B[k, j]) }",
    "op f(A: i32[M, K], B: i32[N, K]) -> C: i32[M, N] { C[i, j] = sum[k where k <= i](A[i, k] * B[j, k]) }",
    "op f(A: i32[M, N], x: i32[N]) -> y: i32[M] { y[i] = sum[j where j <= i](A[i, j] * x[j]) }",
    BAND,
    ROWS_ABOVE,
    "op f(A: i32[M, N], x: i32[N]) -> y: i32[M] { y[i] = sum[j where x[j] > 0 and i + j < 9](A[i, j] * x[j]) }",
    "op f(A: i32[M, N], x: i32[M]) -> y: i32[M] { y[i] = sum[j where x[i] > 0](A[i, j]) }",
    "op f(A: i32[M, N]) -> y: i32[M] { t[i, j] = A[i, j] + 1\n  y[i] = sum[j](t[i, j] * t[i, j]) }",
    "op f(A: i32[20, 13]) -> y: i32[20] { y[i] = sum[j where j < i](A[i, j]) }",
    "op f(A: i32[20, 1]) -> y: i32[20] { y[i] = sum[j where j < i](A[i, j]) }",
    "op f(A: i32[8, 32], B: i32[32, 16]) -> C: i32[8, 16] { C[i, j] = sum[k](A[i, k] * B[k, j]) }",
    "op f(A: i32[M, 8], B: i32[8, 1]) -> C: i32[M, 1] { C[i, j] = sum[k](A[i, k] * B[k, j]) }",
    "op f(A: i32[M, N]) -> m: i32[M], y: i32[M] { m[i] = max[j](A[i, j])\n y[i] = sum[j](A[i, j] - m[i]) }",
    "op f(A: i32[M, N]) -> Y: i32[M, N] { require M % 4 == 0; Y[i, j] = sum[k where k <= j](A[i, k]) }",
    "op f(X: i32[M, N]) -> Y: i32[M, N] { Y[i, j] = where(j >= 1, X[i, max(j - 1, 0)], 0) + X[i, j] }",
    "op f(X: i32[M, N]) -> Y: i32[M, N] { Y[i, j] = X[max(i - 1, 0), min(j + 2, N - 1)] + X[i, max(j - 1, 0)] }",
    "op f(X: i32[M, N]) -> Y: i32[M, N] { Y[i, j] = where(j < 1 or i >= M - 1, 0, X[i, max(j - 1, 0)]) }",
    "op f(X: i32[M, N]) -> Y: i32[N] { Y[j] = sum[i, r < 3](where(j + r >= 1 and j + r <= N, X[i, j + r - 1], 0)) }",
]


@st.composite
def lines_for(draw: st.DrawFn, kernel: Kernel) -> Kernel:
    """The kernel after some random directives that are not refused."""
    for step in range(draw(st.integers(1, 8))):
        loops = [s for s, _ in walk_stmt(kernel.body) if isinstance(s, For)]
        if not loops:
            break
        chain = [draw(st.sampled_from(loops))]
        while isinstance(chain[-1].body, For):
            chain.append(chain[-1].body)
        name = chain[0].var
        verb = draw(st.sampled_from("split split split vectorize unroll parallel fuse reorder".split()))
        match verb:
            case "split":
                tail = draw(st.sampled_from(["", " tail peel", " tail shift"]))
                line = f"split {name} by {draw(st.sampled_from([2, 3, 4, 5, 8, 12, 16]))}{tail}"
            case "fuse" if len(chain) > 1:
                line = f"fuse {name}, {chain[1].var} into f{step}"
            case "reorder" if len(chain) > 1:
                line = "reorder " + ", ".join(loop.var for loop in draw(st.permutations(chain)))
            case "vectorize" | "unroll" | "parallel":
                line = f"{verb} {name}"
            case _:
                continue
        try:
            kernel = scheduled(kernel, line)
        except ScheduleError:
            continue
    return kernel


def test_what_a_sum_starts_from_fetches_nothing() -> None:
    """A data loop inside a reduction loop is copied for the start, without what the terms fetch."""
    text = "op f(X: f32[C, N], W: f32[K, C]) -> Y: f32[K, N] { Y[k, x] = sum[c](X[c, x] * W[k, c]) }"
    final = finalize(scheduled(text, "reorder k, c, x\nprefetch X at x ahead 1"))
    fetching = [s for s, _ in walk_stmt(final.body) if isinstance(s, For) and s.prefetches]
    assert [isinstance(s.body, Accumulate) for s in fetching] == [True]


@pytest.mark.parametrize("text", POOL)
@settings(max_examples=max(5, settings.default.max_examples // 5))
@given(st.data())
def test_any_schedule_computes_the_same(text: str, data: st.DataObject) -> None:
    plain = nest(program(text))
    final = finalize(data.draw(lines_for(plain)))
    assert_final(final)
    sizes = {
        "M": 4 * data.draw(st.integers(0, 5)),
        "N": data.draw(st.integers(0, 23)),
        "K": data.draw(st.integers(0, 9)),
    }
    assert_same(plain, final, {name: sizes[name] for name in plain.program.sizes})


def test_copies_of_a_loop_share_a_bound_that_is_the_same() -> None:
    def trimmed(low: str, buffer: str) -> Stmt:
        body = Store(buffer, (Var("f.i.from"),), Const(1.0, F32), "f")
        return Let("f.i.from", Var(low), integer(9), body)

    same = float_names([trimmed("M", "a"), trimmed("M", "b"), trimmed("N", "c")])
    assert isinstance(same, Let)
    assert isinstance(same.body, Let)
    assert (same.var, same.value, same.body.var, same.body.value) == (
        "f.i.from",
        Var("M"),
        "f.i2.from",
        Var("N"),
    )
    stores = [s for s, _ in walk_stmt(same) if isinstance(s, Store)]
    assert [s.index for s in stores] == [(Var("f.i.from"),), (Var("f.i.from"),), (Var("f.i2.from"),)]


@pytest.mark.parametrize("where", ["j < i", "j >= 0 and M >= 2", "i >= 1"])
@pytest.mark.parametrize(
    "lines",
    [
        "split c.i by 2 tail shift",
        "split c.i by 2 tail shift; layout c[a] as [a // 4, a % 4]",
        "merge c.i, Y.i; split c.i by 2 tail shift; fold c by 3",
    ],
)
def test_an_element_without_terms_is_where_it_is_with_some(lines: str, where: str) -> None:
    text = f"op f(X: i32[M, N]) -> Y: i32[M] {{ c[i] = min[j where {where}](X[i, j]); Y[i] = c[i] + 1 }}"
    plain = nest(program(text))
    kernel = finalize(scheduled(plain, lines.replace("; ", "\n")))
    assert_same(plain, kernel, {"M": 1, "N": 2}, {"M": 5, "N": 2}, {"M": 5, "N": 0}, {"M": 0, "N": 2})
