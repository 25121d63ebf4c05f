"""The automatic schedule: an ordinary schedule, legal, and as the rules say."""

from __future__ import annotations

import dataclasses

import pytest

from te.schedule.auto import auto_schedule
from te.schedule.nest import nest
from te.target import Target, parse_target
from tests.schedule.scheduling import (
    CHAIN,
    MATMUL,
    PLANE,
    ROW_SUM,
    SOFTMAX,
    assert_same,
    program,
    read,
    setting_of,
)

AVX2 = dataclasses.replace(parse_target("llvm"), vector_bits=256)

HEAVY_TWICE = """
op f(X: f32[N]) -> Y: f32[N] {
    e[i] = exp(X[i])
    Y[i] = e[i] + (e[i - 1] else 0.0)
}
"""
HEAVY_ONCE = "op f(X: f32[N]) -> Y: f32[N] {\n e[i] = exp(X[i])\n Y[i] = e[i] + 1.0\n}"
HEAVY_BROADCAST = (
    "op f(X: f32[K], B: f32[K, N]) -> Y: f32[N] {\n e[k] = exp(X[k])\n Y[j] = sum[k](e[k] * B[k, j])\n}"
)
COLUMN_SUM = "op f(X: f32[M, N]) -> Y: f32[N] { Y[j] = sum[i](X[i, j]) }"
TOTAL = "op f(X: f32[N]) -> Y: f32 { Y = sum[i](X[i]) }"
MATVEC = "op f(A: f32[M, N], x: f32[N]) -> y: f32[M] { y[i] = sum[j](A[i, j] * x[j]) }"
BYTES = "op f(X: u8[N]) -> Y: u8[N] { Y[i] = X[i] & 3 }"
DOUBLES = "op f(X: f64[N]) -> Y: f64[N] { Y[i] = X[i] + 1.0 }"
PIXELS = "op f(X: f32[H, W, 3]) -> Y: f32[H, W, 3] { Y[y, x, c] = X[y, x, c] * 2.0 }"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (PLANE, ["vectorize Y.j by 8", "parallel Y.i"]),
        (CHAIN, ["inline e", "vectorize Y.i by 8", "parallel Y.io"]),
        (HEAVY_ONCE, ["inline e", "vectorize Y.i by 8", "parallel Y.io"]),
        (HEAVY_TWICE, ["vectorize e.i by 8", "parallel e.io", "vectorize Y.i by 8", "parallel Y.io"]),
        (HEAVY_BROADCAST, ["vectorize e.k by 8", "parallel e.ko", "vectorize Y.j by 8", "parallel Y.jo"]),
        (MATMUL, ["vectorize C.j by 8", "parallel C.i"]),
        (ROW_SUM, ["vectorize Y.j by 8", "parallel Y.i"]),
        (COLUMN_SUM, ["vectorize Y.j by 8", "parallel Y.jo"]),
        (TOTAL, ["vectorize Y.i by 8"]),
        (MATVEC, ["vectorize y.j by 8", "parallel y.i"]),
        (BYTES, ["vectorize Y.i by 32", "parallel Y.io"]),
        (DOUBLES, ["vectorize Y.i by 4", "parallel Y.io"]),
        (PIXELS, ["vectorize Y.c", "parallel Y.y"]),
    ],
)
def test_rules(text: str, expected: list[str]) -> None:
    assert [str(d) for d in auto_schedule(program(text), AVX2).directives] == expected


def test_small_work_stays_on_one_thread() -> None:
    lines = [str(d) for d in auto_schedule(program(PLANE, sizes={"M": 10, "N": 10}), AVX2).directives]
    assert lines == ["vectorize Y.j by 8"]
    lines = [str(d) for d in auto_schedule(program(PLANE, sizes={"M": 1, "N": 100000}), AVX2).directives]
    assert lines == ["vectorize Y.j by 8", "parallel Y.jo"]


@pytest.mark.parametrize(
    "text", [PLANE, CHAIN, SOFTMAX, MATMUL, HEAVY_TWICE, HEAVY_BROADCAST, ROW_SUM, COLUMN_SUM, PIXELS]
)
@pytest.mark.parametrize("target", [AVX2, parse_target("llvm")], ids=["256", "here"])
def test_results_stay_and_the_text_reads_back(text: str, target: Target) -> None:
    of = program(text)
    s = auto_schedule(of, target)
    small = [dict.fromkeys(of.sizes, n) for n in (1, 5, 17)]
    assert_same(nest(of), s.apply(nest(of)), *small, {n: 3 + 4 * i for i, n in enumerate(of.sizes)})
    assert read(setting_of(f"{text}\n{s}")).directives == s.directives
