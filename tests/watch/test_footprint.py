"""Costs of loops, against counting: every loop is run, and every element that it touches written down."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from te.ir.evaluate import NotAnIndex, evaluate
from te.ir.expr import Expr, Load, Select, negation
from te.ir.loop import (
    Accumulate,
    Completed,
    For,
    If,
    Kernel,
    Let,
    Stmt,
    Store,
    bodies,
    direct_exprs,
    walk_stmt,
)
from te.ir.print import print_expr
from te.ir.visit import children, variables
from te.watch.footprint import Work, own_operations, value_of, works
from tests.schedule.scheduling import MATMUL, SOFTMAX, scheduled
from tests.schedule.test_placing import SCHEDULES as PLACED

Sizes = Mapping[str, int]

BLUR = """
op blur(X: f32[H, W]) -> Y: f32[H - 2, W - 2] {
    rows[y < H, x < W - 2] = X[y, x] + X[y, x + 1] + X[y, x + 2]
    Y[y, x]                = rows[y, x] + rows[y + 1, x] + rows[y + 2, x]
}
"""
TRIANGLE = "op f(X: f32[N, N]) -> Y: f32[N] { Y[i] = sum[j where j <= i](X[i, j]) }"
EDGES = "op f(X: f32[N]) -> Y: f32[N] { Y[i] = (X[i - 1] else 0) + X[i] }"
LOOKUP = "op f(X: f32[N], I: i32[M]) -> Y: f32[M] { Y[i] = X[I[i]] }"
CUMULATIVE = "op f(X: f32[N]) -> Y: f32[N] { Y[0] = X[0]\n Y[i] = Y[i - 1] + X[i] }"


# ---------------------------------------------------------------- counting by running


class Counted:
    """What happened in the runs of one statement."""

    def __init__(self) -> None:
        self.operations: list[int] = []  # of each run
        self.touched: list[dict[str, set[tuple[int, ...]]]] = []


def count(kernel: Kernel, sizes: Sizes) -> list[Counted]:
    """Run a kernel without its values: how often each statement runs, and what it touches."""
    number = {id(s): n for n, (s, _) in enumerate(walk_stmt(kernel.body))}
    found = [Counted() for _ in number]

    def run(s: Stmt, values: dict[str, int]) -> tuple[int, dict[str, set[tuple[int, ...]]]]:
        operations, touched = own_operations(s), defaultdict(set)
        for name, index in accesses(s, values):
            touched[name].add(index)
        for body, inner in inside(s, values):
            more, also = run(body, inner)
            operations += more
            for name, indices in also.items():
                touched[name] |= indices
        found[number[id(s)]].operations.append(operations)
        found[number[id(s)]].touched.append(touched)
        return operations, touched

    run(kernel.body, dict(sizes))
    return found


LAST = "the last trip of "


def inside(s: Stmt, values: dict[str, int]) -> Iterator[tuple[Stmt, dict[str, int]]]:
    match s:
        case For():
            trips = int(evaluate(s.extent, values))
            for trip in range(trips):
                yield s.body, {**values, s.var: trip, LAST + s.var: trips - 1}
        case If():
            if may_hold(s.condition, values):
                yield s.body, values
        case Let():
            yield s.body, {**values, s.var: int(evaluate(s.value, values))}
        case Completed():
            if all(values[name] == values[LAST + name] for name in s.over):
                yield s.body, values
        case _:
            for body in bodies(s):
                yield body, values


def may_hold(condition: Expr, values: Sizes) -> bool:
    """Whether a condition holds, or depends on data."""
    try:
        return bool(evaluate(condition, values))
    except NotAnIndex:
        return True


def accesses(s: Stmt, values: Sizes) -> Iterator[tuple[str, tuple[int, ...]]]:
    for e in direct_exprs(s):
        yield from reads(e, values)
    if isinstance(s, Store | Accumulate):
        yield s.buffer, tuple(int(evaluate(i, values)) for i in s.index)


def reads(e: Expr, values: Sizes) -> Iterator[tuple[str, tuple[int, ...]]]:
    if isinstance(e, Select):
        sides = [(e.then, e.condition), (e.otherwise, negation(e.condition))]
        for side, condition in sides:
            if may_hold(condition, values):
                yield from reads(side, values)
        return
    if isinstance(e, Load):
        yield e.buffer, tuple(int(evaluate(i, values)) for i in e.index)
    for child in children(e):
        yield from reads(child, values)


def check(kernel: Kernel, sizes: Sizes, *, is_exact: bool = True) -> None:
    """What is said to be exact is so; everything else is an upper limit."""
    for (s, _), work, counted in zip(
        walk_stmt(kernel.body), works(kernel), count(kernel, sizes), strict=True
    ):
        runs, operations = value_of(work.runs, sizes), value_of(work.operations, sizes)
        assert runs is not None
        assert operations is not None
        most = max(counted.operations, default=0)
        assert len(counted.operations) <= runs
        if counted.operations:
            assert most <= operations
        if is_exact:
            assert work.is_exact
            assert (runs, operations) == (len(counted.operations), most) or not counted.operations, s
        for touched in counted.touched:
            for touch in work.touches:
                extents = [value_of(extent, sizes) for extent in touch.region]
                assert None not in extents
                for dimension, extent in enumerate(extents):
                    indices = {index[dimension] for index in touched[touch.buffer.name]}
                    assert len(indices) <= extent, (s, touch.buffer.name)


# ---------------------------------------------------------------- the tests


CASES = {
    "matmul": (MATMUL, ""),
    "tiles": (MATMUL, "tile i, j by 4, 8 into io, jo, ii, ji\nreorder io, jo, k, ii, ji\nvectorize ji"),
    "split twice": (MATMUL, "split i by 6 into io, ii\nsplit ii by 3 into iio, iii\nsplit k by 4"),
    "fused": (MATMUL, "fuse i, j into f\nsplit f by 8"),
    "fused tiles": (MATMUL, "tile i, j by 4, 8 into io, jo, ii, ji\nfuse io, jo into f\nparallel f"),
    "softmax": (SOFTMAX, "vectorize m.j, e.j, Y_sum.k, Y.j by 4\nparallel m.i"),
    "blur": (BLUR, "tile Y.y, Y.x by 4, 8 into yo, xo, yi, xi"),
    "inlined": (BLUR, "inline rows\nsplit Y.x by 4"),
    "cumulative": (CUMULATIVE, ""),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize(
    "sizes", [{"M": 9, "N": 13, "K": 5}, {"M": 8, "N": 16, "K": 4}, {"M": 1, "N": 1, "K": 1}]
)
def test_exact_costs(name: str, sizes: Sizes) -> None:
    text, lines = CASES[name]
    check(scheduled(text, lines), {**sizes, "H": 3 + sizes["M"], "W": 4 + sizes["N"]})


QMM = """
op qmm(A: u8[M, K, 4], B: i8[K, N, 4]) -> C: i32[M, N] {
    C[i, j] = sum[k, q](i32(A[i, k, q]) * i32(B[k, j, q]))
}
"""
OTHERS = {
    "merged": (SOFTMAX, "merge e.i, Y_sum.i\nmerge e.j, Y_sum.k"),
    "apart again": (SOFTMAX, "merge e.i, Y_sum.i\nmerge e.j, Y_sum.k\nfission e.j at 1"),
    "two stages": (MATMUL, "split k by 4 into ko, ki\nrfactor ki of C as P"),
    "online": (SOFTMAX, "inline e\nonline j, Y_sum.k of m, Y_sum at Y.i by 4"),
    "tensorized": (QMM, "split j by 16 into jo, ji\nreorder i, jo, k, ji, q\ntensorize ji, q as vpdpbusd"),
    "folded": (BLUR, "compute_at rows at Y.y keep Y.y\nfold rows by 3"),
    "prefetched": (MATMUL, "reorder i, k, j\nprefetch B at k ahead 2"),
}


@pytest.mark.parametrize("name", [*PLACED, *OTHERS])
def test_limits_of_stages_inside_others(name: str) -> None:
    kernel = scheduled(*{**PLACED, **OTHERS}[name])
    check(kernel, dict.fromkeys(kernel.program.sizes, 7), is_exact=False)


@pytest.mark.parametrize("text", [TRIANGLE, EDGES])
@pytest.mark.parametrize("lines", ["", "split i by 4"])
def test_limits(text: str, lines: str) -> None:
    check(scheduled(text, lines), {"N": 7}, is_exact=False)


@settings(max_examples=25)
@given(
    factors=st.tuples(*[st.integers(1, 7)] * 3),
    sizes=st.fixed_dictionaries({name: st.integers(1, 8) for name in ("M", "N", "K")}),
    order=st.permutations(["io", "jo", "k", "ii", "ji"]),
)
def test_costs_of_any_tiles(factors: tuple[int, int, int], sizes: Sizes, order: list[str]) -> None:
    rows, columns, deep = factors
    lines = (
        f"tile i, j by {rows}, {columns} into io, jo, ii, ji\nreorder {', '.join(order)}\nsplit k by {deep}"
    )
    check(scheduled(MATMUL, lines), sizes)


def test_without_a_trip_nothing_is_computed() -> None:
    work = works(scheduled(MATMUL, "tile i, j by 4, 8"))[0]
    assert value_of(work.operations, {"M": 0, "N": 5, "K": 5}) == 0


def described(work: Work) -> str:
    touches = [f"{t.buffer.name}[{', '.join(map(print_expr, t.region))}]" for t in work.touches]
    return f"{print_expr(work.runs)} | {print_expr(work.operations)} | {' '.join(touches)}"


def loop_works(text: str, lines: str = "") -> dict[str, Work]:
    kernel = scheduled(text, lines)
    pairs = zip(walk_stmt(kernel.body), works(kernel), strict=True)
    return {s.var: work for (s, _), work in pairs if isinstance(s, For)}


def test_of_a_tile() -> None:
    found = loop_works(MATMUL, "tile i, j by 8, 32 into io, jo, ii, ji\nreorder io, jo, k, ii, ji")
    assert described(found["C.io"]) == "1 | 2 * (K * M * N) | A[M, K] B[K, N] C[M, N]"
    assert described(found["C.jo"]).endswith(
        "| 2 * (K * N * min(M, 8)) | A[min(M, 8), K] B[K, N] C[min(M, 8), N]"
    )
    assert described(found["C.ji"]).endswith("| 2 * min(N, 32) | A[1, 1] B[1, min(N, 32)] C[1, min(N, 32)]")


def test_partial_sums_are_read_and_written() -> None:
    found = loop_works(MATMUL, "reorder k, i, j")
    ways = {
        name: [(t.is_read, t.is_written) for t in work.touches if t.buffer.name == "C"]
        for name, work in found.items()
    }
    assert ways == {"C.k": [(False, True)], "C.i": [(True, True)], "C.j": [(True, True)]}
    assert print_expr(found["C.i"].moved) == "8 * (K * M * N) + 4 * (K * M) + 4 * (K * N)"


def test_windows_overlap() -> None:
    found = loop_works(BLUR, "tile Y.y, Y.x by 16, 64 into yo, xo, yi, xi")
    assert described(found["Y.yi"]).endswith(
        "rows[min(H, 18), min(W - 2, 64)] Y[min(H - 2, 16), min(W - 2, 64)]"
    )


def test_buffers_inside_move_nothing() -> None:
    work = works(scheduled(SOFTMAX, ""))[0]
    assert [touch.buffer.name for touch in work.touches] == ["X", "Y"]
    assert print_expr(work.moved) == "8 * (M * N)"


def test_an_index_from_data_may_touch_all() -> None:
    found = loop_works(LOOKUP)
    regions = {t.buffer.name: print_expr(t.region[0]) for t in found["Y.i"].touches}
    assert regions["X"] == "N"
    assert regions["I"] == "M"


def test_no_loop_variable_is_left_over() -> None:
    for text, lines in [*CASES.values(), *PLACED.values(), *OTHERS.values()]:
        kernel = scheduled(text, lines)
        for work in works(kernel):
            for e in (work.runs, work.operations, work.bytes, work.moved):
                assert variables(e) <= set(kernel.program.sizes)
