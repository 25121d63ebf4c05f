"""prefetch, stream: hints that change no result."""

from __future__ import annotations

import numpy as np
import pytest

import te
from te.backends.llvm import emit
from te.ir.loop import Store, walk_stmt
from te.ir.print import print_kernel
from te.ir.verify import verify_kernel
from te.schedule.finalize import finalize
from te.schedule.nest import nest
from te.target import parse_target
from tests.schedule.scheduling import (
    CHAIN,
    MATMUL,
    PLANE,
    POINTWISE,
    ROW_SUM,
    assert_same,
    loops,
    program,
    random_inputs,
    refused,
    scheduled,
)

GATHER = "op f(X: f32[N], U: i32[M]) -> Y: f32[M] { Y[i] = X[U[i]] }"
COMPUTED = """
op f(X: f32[N], U: i32[M]) -> Y: f32[M] {
    v[i] = U[i] // 2
    Y[i] = X[v[i]]
}
"""
BORDER = "op f(X: f32[M, N]) -> Y: f32[M, N] { Y[i, j] = (X[i, j - 1] else 0.0) + X[i, j] }"
SIZES = [{"M": m, "N": n} for m, n in ((3, 5), (1, 1), (4, 16), (7, 33), (2, 0), (0, 2))]


# ---------------------------------------------------------------- prefetch


def test_a_prefetch_is_clamped_into_the_tensor() -> None:
    assert (
        loops(PLANE, "prefetch X at i ahead 2")
        == """
for Y.i < M (prefetch X[max(0, min(M - 1, i + 2)), 0]):
  for Y.j < N:
    Y[i, j] = X[i, j] * 2.0 + 1.0
"""
    )


def test_a_trip_fetches_what_it_reads_first() -> None:
    text = loops(
        BORDER, "split j by 16\nvectorize ji\nprefetch X at jo ahead 1 of i", sizes={"M": 9, "N": 64}
    )
    assert "prefetch X[min(i + 1, 8), min(16 * jo, 63)]" in text
    assert "prefetch X[min(i + 1, 8), max(0, min(16 * jo - 1, 63))]" in text
    assert text.count("prefetch") == 2  # the element on the left, too


@pytest.mark.parametrize(
    "lines",
    [
        "prefetch X at j ahead 1 of i",
        "prefetch X at j ahead 3",
        "vectorize j by 16\nprefetch X at jo ahead 1 of i\nparallel i",
        "fuse i, j into f\nprefetch X at f ahead 7",
        "fuse i, j into f\nvectorize f by 8\nparallel fo\nprefetch X at fo",
        "split j by 4 tail peel\nunroll ji\nprefetch X at jo ahead 2 of i",
        "split j by 4 tail shift\nprefetch X at ji ahead 2 of i",
        "prefetch X at i ahead 2\nvectorize j by 4",
        "prefetch X at j ahead 1 of i\nsplit i by 2\nparallel io",
        "split i by 2\nprefetch X at j ahead 2 of ii\nvectorize ii",
    ],
)
@pytest.mark.parametrize("text", [PLANE, BORDER])
def test_prefetches_change_nothing(text: str, lines: str) -> None:
    plain = nest(program(text))
    kernel = scheduled(plain, lines)
    assert_same(plain, kernel, *SIZES)
    built, expected = te.build(text, schedule=lines), te.build(text, schedule="none")
    for sizes in SIZES:
        x = np.arange(sizes["M"] * sizes["N"], dtype=np.float32).reshape(sizes["M"], sizes["N"])
        np.testing.assert_array_equal(built(x), expected(x))
    assert "call void @llvm.prefetch" in emit([finalize(kernel)], parse_target("llvm")).text


@pytest.mark.parametrize(
    "lines",
    [
        "prefetch e at Y.i ahead 2",
        "split Y.i by 4\nlayout e[i] as [i % 2, i // 2]\nparallel io\nprefetch e at io",
        "prefetch e at Y.i\nlayout e[i] as [i // 8, i % 8]\nalign e axis 1 by 16",
        "set_scope e in shared\nprefetch e at Y.i",
        "cache_read X as Xc\nparallel e.i\nprefetch Xc at e.i ahead 8",
        "merge e.i, Y.i\nprefetch X at e.i",
    ],
)
def test_what_is_stored_whole_is_fetched(lines: str) -> None:
    plain, kernel = nest(program(CHAIN)), scheduled(CHAIN, lines)
    assert_same(plain, kernel, {"N": 0}, {"N": 1}, {"N": 37})
    assert_same(plain, finalize(kernel), {"N": 0}, {"N": 1}, {"N": 37})
    verify_kernel(finalize(kernel))
    x = np.arange(37, dtype=np.float32)
    np.testing.assert_array_equal(te.build(CHAIN, schedule=lines)(x), (x + 1) ** 2)
    assert "call void @llvm.prefetch" in emit([finalize(kernel)], parse_target("llvm")).text


@pytest.mark.parametrize("lines", ["prefetch X at Y.i ahead 3", "parallel Y.i\nprefetch X at Y.i"])
@pytest.mark.parametrize("count", [0, 1, 5])
def test_which_element_is_fetched_may_depend_on_data(lines: str, count: int) -> None:
    verify_kernel(finalize(scheduled(GATHER, lines)))
    built = te.build(GATHER, schedule=lines)
    x, u = np.arange(7, dtype=np.float32), np.array([6, 0, 3, 3, 1], dtype=np.int32)[:count]
    np.testing.assert_array_equal(built(x, u), x[u])
    assert "prefetch X[max(0, min(N - 1, i64(where(" in loops(GATHER, lines)


def test_indices_fetched_ahead_may_lie_outside_of_a_copy() -> None:
    lines = "split Y.i by 4\nprefetch X at Y.ii ahead 2 of Y.io\ncache_read U at Y.io as W in stack"
    kernel = scheduled(GATHER, lines)
    assert "U[" in print_kernel(kernel).split("prefetch")[1].splitlines()[0]
    assert "X[i64(W[" in print_kernel(kernel)
    verify_kernel(finalize(kernel))
    built = te.build(GATHER, schedule=lines)
    x, u = np.arange(7, dtype=np.float32), np.array([6, 0, 3, 3, 1, 2], dtype=np.int32)
    np.testing.assert_array_equal(built(x, u), x[u])


def test_indices_fetched_ahead_that_overflow_are_refused_at_the_call() -> None:
    far = "split Y.i by 1048576 into io, a\nsplit Y.io by 1048576 into b, c\nsplit Y.b by 1048576 into d, e"
    x, u = np.arange(7, dtype=np.float32), np.array([6, 0, 3], dtype=np.int32)
    np.testing.assert_array_equal(te.build(GATHER, schedule=far)(x, u), x[u])
    built = te.build(GATHER, schedule=f"{far}\nprefetch X at Y.a ahead 7 of Y.d")
    with pytest.raises(ValueError, match="too large for 64-bit indices"):
        built(x, u)


def test_a_reduction_keeps_its_registers() -> None:
    lines = "tile i, j by 2, 16 into io, jo, ii, ji\nreorder io, jo, k, ii, ji\nunroll ii\nvectorize ji"
    with_prefetch = finalize(scheduled(MATMUL, f"{lines}\nprefetch B at k ahead 4"))
    text = print_kernel(with_prefetch)
    assert "in register" in text
    assert "prefetch B[min(k + 4, K - 1), 16 * jo]" in text


@pytest.mark.parametrize(
    ("text", "lines", "code"),
    [
        (CHAIN, "compute_at e at Y.i\nprefetch e at Y.i", "prefetch-refused"),
        (CHAIN, "prefetch e at Y.i\ncompute_at e at Y.i", "prefetch-refused"),
        (CHAIN, "prefetch e at Y.i\ninline e", "stage-touched"),
        (CHAIN, "prefetch nothing at Y.i", "unknown-tensor"),
        (CHAIN, "prefetch X at Y.i", "prefetch-refused"),
        (PLANE, "prefetch X at i of j", "prefetch-refused"),
        (PLANE, "prefetch X at j ahead 0", "prefetch-refused"),
        (PLANE, "prefetch X at j ahead 1048577", "prefetch-refused"),
        (GATHER, "prefetch X at Y.i ahead 18446726481523507200", "prefetch-refused"),
        (PLANE, "vectorize j by 4\nprefetch X at ji", "prefetch-refused"),
        (COMPUTED, "prefetch X at Y.i", "prefetch-refused"),
        (PLANE, "prefetch X at k", "unknown-loop"),
        (PLANE, "prefetch X at j\nsplit j by 4", "loop-kind"),
        (PLANE, "prefetch X at j\nreorder j, i", "loop-kind"),
    ],
)
def test_refused(text: str, lines: str, code: str) -> None:
    assert refused(text, lines).code == code


# ---------------------------------------------------------------- stream


def test_stream_marks_the_stores() -> None:
    kernel = scheduled(POINTWISE, "vectorize i by 16\nstream Y")
    assert [s.stream for s, _ in walk_stmt(kernel.body) if isinstance(s, Store)] == [True]
    assert [s.stream for s, _ in walk_stmt(finalize(kernel).body) if isinstance(s, Store)] == [True, True]


TURNED = "op f(X: f32[M, N]) -> Y: f32[N, M] { Y[i, j] = X[j, i] }"
TILES = "tile i, j by 4, 16 into io, jo, ii, ji\n"


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        (MATMUL, TILES + "reorder io, jo, k, ii, ji\ncache_write C at jo\nvectorize ji, C_tile.j\nstream C"),
        (
            MATMUL,
            TILES
            + "reorder io, jo, k, ii, ji\ncache_write C at jo in register\nunroll ii\nvectorize ji, C_tile.j\n"
            "stream C\nparallel io",
        ),
        (TURNED, TILES + "cache_write Y at jo in stack\nvectorize Y_tile.j\nstream Y\nparallel io"),
        (TURNED, "cache_read X as Xc layout [j, i]\nvectorize Xc.i by 4\nstream Xc, Y\nparallel Y.i"),
        (TURNED, TILES + "cache_read X at jo as Xc\nstream Xc\npipeline jo depth 2"),
    ],
)
def test_copies_and_what_is_written_back_are_streamed(text: str, lines: str) -> None:
    plain, kernel = nest(program(text)), scheduled(text, lines)
    assert any(s.stream for s, _ in walk_stmt(finalize(kernel).body) if isinstance(s, Store))
    sizes = [
        {n: s[n] for n in plain.program.sizes} for s in ({"M": 5, "N": 33, "K": 3}, {"M": 8, "N": 64, "K": 1})
    ]
    assert_same(plain, kernel, *sizes)
    built, expected = te.build(text, schedule=lines), te.build(text, schedule="none")
    for values in sizes:
        inputs = random_inputs(plain.program, values)
        np.testing.assert_array_equal(built(**inputs), expected(**inputs))


@pytest.mark.parametrize("lanes", [2, 4, 8, 16, 32, 12])
@pytest.mark.parametrize("dtype", ["f32", "f64", "u8", "f16"])
def test_streamed_stores_write_the_same_wherever_the_array_begins(lanes: int, dtype: str) -> None:
    text = (
        POINTWISE.replace("f32", dtype) if dtype != "u8" else "op f(X: u8[N]) -> Y: u8[N] { Y[i] = X[i] + 1 }"
    )
    built = te.build(text, schedule=f"vectorize i by {lanes}\nstream Y\nparallel io")
    expected = te.build(text, schedule="none")
    for n in (0, 1, 7, 64, 1001, 70_000):
        x = (np.arange(n) % 100).astype(built(np.zeros(1, _numpy(dtype))).dtype)
        for offset in (0, 1, 3, 4):
            memory = np.zeros(n + offset, x.dtype)
            built(x, out=memory[offset:])
            np.testing.assert_array_equal(memory[offset:], expected(x))


def _numpy(dtype: str) -> str:
    return {"f32": "float32", "f64": "float64", "u8": "uint8", "f16": "float16"}[dtype]


def test_streamed_vectors_go_past_the_caches() -> None:
    kernel = finalize(scheduled(POINTWISE, "vectorize i by 16\nparallel io\nstream Y"))
    artifact = emit([kernel], parse_target("llvm"))
    assert "!nontemporal" in artifact.text
    assert (
        artifact.text.count("sfence()") >= 3
    )  # where it is declared, before the threads, at the end of each
    assert "movnt" in artifact.asm()


PLANE = "op f(X: f32[M, N]) -> Y: f32[M, N] { Y[i, j] = X[i, j] * 2.0 + 1.0 }"


@pytest.mark.parametrize(("columns", "is_streamed"), [(64, True), (50, False), (None, True)])
def test_rows_that_share_a_line_stay_in_the_caches(columns: int | None, is_streamed: bool) -> None:
    """Where the call decides whether to stream, it asks for rows of whole lines, too."""
    sizes = {} if columns is None else {"N": columns}
    lines = "vectorize j by 16\nstream Y of 64"
    artifact = emit([finalize(scheduled(PLANE, lines, sizes=sizes))], parse_target("llvm"))
    assert ("!nontemporal" in artifact.text) == is_streamed
    built = te.build(PLANE, schedule=lines, sizes=sizes)
    for n in (columns,) if columns else (0, 1, 15, 16, 50, 64, 100):
        x = np.random.default_rng(0).random((9, n), np.float32)
        np.testing.assert_array_equal(built(x), x * 2 + 1)


def test_what_was_streamed_may_be_read_by_other_threads() -> None:
    text = CHAIN.replace("e[i] * e[i]", "e[N - 1 - i] * 2.0")
    built = te.build(
        text, schedule="vectorize e.i by 16\nparallel e.io\nstream e\nvectorize Y.i by 16\nparallel Y.io"
    )
    x = np.random.default_rng(0).random(1_000_003, np.float32)
    np.testing.assert_array_equal(built(x), (x + 1)[::-1] * 2)


@pytest.mark.parametrize(
    ("text", "lines", "code"),
    [
        (ROW_SUM, "stream Y", "stream-refused"),
        (CHAIN, "compute_at e at Y.i in stack\nstream e", "stream-refused"),
        (CHAIN, "inline e\nstream e", "unknown-stage"),
        (CHAIN, "stream e\ncompute_at e at Y.i", "stage-touched"),
    ],
)
def test_stream_refused(text: str, lines: str, code: str) -> None:
    assert refused(text, lines).code == code
