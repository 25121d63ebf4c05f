"""The automatic schedule: an ordinary schedule, legal, and as the rules say."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import te
from te.grammar import tree
from te.schedule.auto import auto_schedule, case_for
from te.schedule.auto.contraction import Regime
from te.schedule.nest import nest
from te.schedule.schedule import Schedule
from te.schedule.written import Written, read_lines
from te.target import Target, levels_of, parse_target
from tests.schedule.legal import PROGRAMS
from tests.schedule.scheduling import (
    CHAIN,
    MATMUL,
    PLANE,
    ROW_SUM,
    SOFTMAX,
    assert_built_same,
    assert_same,
    program,
    random_inputs,
    setting_of,
    sizes_around,
)

AVX2 = dataclasses.replace(
    parse_target("llvm"),
    vector_bits=256,
    vector_registers=16,
    cores=2,
    caches=(32 << 10, 1 << 20, 32 << 20),
    levels=levels_of("llvm.avx2"),
)

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
LOOK_UP = "op f(X: f32[K, N], ids: i64[M]) -> Y: f32[M, N] { Y[i, j] = X[ids[i], j] }"
PIXELS = "op f(X: f32[H, W, 3]) -> Y: f32[H, W, 3] { Y[y, x, c] = X[y, x, c] * 2.0 }"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (PLANE, ["vectorize Y.j by 8", "parallel Y.i", "stream Y of 16777216"]),
        (CHAIN, ["inline e", "vectorize Y.i by 8", "parallel Y.io", "stream Y of 16777216"]),
        (HEAVY_ONCE, ["inline e", "vectorize Y.i by 8", "parallel Y.io", "stream Y of 16777216"]),
        (
            HEAVY_TWICE,
            [
                "vectorize e.i by 8",
                "parallel e.io",
                "vectorize Y.i by 8",
                "parallel Y.io",
                "stream Y of 16777216",
            ],
        ),
        (
            HEAVY_BROADCAST,
            [
                "vectorize e.k by 8",
                "parallel e.ko",
                "split Y.j by 2048 into jb, jt",
                "split Y.jt by 16 into jo, ji",
                "split Y.k by 8",
                "reorder Y.jb, Y.ko, Y.jo, Y.ki, Y.ji",
                "vectorize Y.ji",
                "parallel Y.jb",
            ],
        ),
        (ROW_SUM, ["vectorize Y.j by 32", "parallel Y.i"]),
        (
            COLUMN_SUM,
            [
                "split Y.i by 256",
                "split Y.ii by 8 into it, iv",
                "split Y.j by 4096",
                "split Y.ji by 16 into jt, jv",
                "reorder Y.io, Y.jo, Y.it, Y.jt, Y.iv, Y.jv",
                "unroll Y.iv",
                "vectorize Y.jv",
                "rfactor Y.io of Y as Y_part",
                "fuse Y_part.io, Y_part.jo into chunk",
                "parallel Y_part.chunk",
                "split Y.j by 16",
                "reorder Y.jo, Y.io, Y.ji",
                "vectorize Y.ji",
            ],
        ),
        (
            TOTAL,
            [
                "split Y.i by 8192",
                "vectorize Y.ii by 32",
                "rfactor Y.io of Y as Y_part",
                "parallel Y_part.io",
                "vectorize Y.io by 32",
            ],
        ),
        (MATVEC, ["vectorize y.j by 32", "parallel y.i"]),
        (BYTES, ["vectorize Y.i by 32", "parallel Y.io", "stream Y of 16777216"]),
        (DOUBLES, ["vectorize Y.i by 4", "parallel Y.io", "stream Y of 16777216"]),
        (PIXELS, ["vectorize Y.c", "parallel Y.y"]),
    ],
)
def test_rules(text: str, expected: list[str]) -> None:
    assert [str(d) for d in auto_schedule(program(text), AVX2).directives] == expected


def program_lines(text: str, sizes: dict[str, int]) -> list[str]:
    return [str(line) for line in auto_schedule(program(text, sizes=sizes), AVX2).directives]


DENSE = """
op dense(X: f32[M, K], param W: f32[K, N], b: f32[N]) -> Y: f32[M, N] {
    C[i, j] = sum[k](X[i, k] * W[k, j])
    P[i, j] = C[i, j] + b[j]
    Y[i, j] = max(P[i, j], 0)
}
"""
LINEAR = """
op linear(X: f32[P, M, K], W: f32[N, K], b: f32[N]) -> Y: f32[P, M, N] {
    C[p, i, j] = sum[k](X[p, i, k] * W[j, k])
    Y[p, i, j] = C[p, i, j] + b[j]
}
"""
BATCHED = "op f(A: f32[P, M, K], B: f32[P, K, N]) -> C: f32[P, M, N] { C[b, i, j] = sum[k](A[b, i, k] * B[b, k, j]) }"
TURNED = "op f(A: f32[K, M], B: f64[K, N]) -> C: f64[M, N] { C[i, j] = sum[k](B[k, j] * f64(A[k, i])) }"
HEADS = """
op f(Q: f32[L, H, E], Z: f32[S, H, E]) -> Y: f32[H, L, S] {
    Y[h, i, j] = sum[e](Q[i, h, e] * Z[j, h, e])
}
"""
SQUARES = "op f(X: f32[M, N]) -> Y: f32[M] { Y[i] = sum[j](X[i, j] * X[i, j]) }"
MASKED = (
    "op f(A: f32[M, K], B: f32[K, N]) -> C: f32[M, N] { C[i, j] = sum[k where k <= i](A[i, k] * B[k, j]) }"
)
VECMAT = """
op f(x: f32[K], B: f32[K, N], c: f32[N]) -> y: f32[N] {
    z[j] = sum[k](x[k] * B[k, j])
    y[j] = z[j] + c[j]
}
"""
BYTES_MM = "op f(A: u8[M, K], B: i8[K, N]) -> C: i32[M, N] { C[i, j] = sum[k](i32(A[i, k]) * i32(B[k, j])) }"
QUANTISED = """
op f(X: u8[M, K], param W: i8[N, K], s: f32) -> Y: u8[M, N] {
    Z[i, j] = sum[k](i32(X[i, k]) * i32(W[j, k]))
    Y[i, j] = u8(round(f32(Z[i, j]) * s) + 128)
}
"""
SCALED = """
op f(X: f32[M, K], W: i8[K, N], s: f32[N]) -> Y: f32[M, N] {
    Y[i, j] = sum[k](X[i, k] * (f32(W[k, j]) * s[j]))
}
"""
CONTRACTIONS = [MATMUL, DENSE, LINEAR, BATCHED, TURNED, HEADS, VECMAT, BYTES_MM, QUANTISED, SCALED]


def lines_of(text: str, target: Target = AVX2, **options: object) -> str:
    return str(auto_schedule(program(text, **options), target))  # type: ignore[arg-type]  # sizes


def test_a_contraction_runs_in_tiles() -> None:
    assert (
        lines_of(MATMUL, sizes={"M": 256, "N": 256, "K": 256})
        == """\
schedule matmul on llvm {
    split C.i by 6
    split C.j by 16
    reorder C.jo, C.io, C.k, C.ii, C.ji
    fuse C.jo, C.io into tile
    unroll C.ii
    vectorize C.ji
    parallel C.tile
}"""
    )


def test_a_large_operand_is_packed_in_panels() -> None:
    assert (
        lines_of(MATMUL, sizes={"M": 2048, "N": 2048, "K": 2048})
        == """\
schedule matmul on llvm {
    split C.i by 6
    split C.j by 16
    split C.k by 1024
    reorder C.ko, C.jo, C.io, C.ki, C.ii, C.ji
    cache_read B[k, j] at C.ko as B_packed layout [j // 16, k, j % 16]
    split B_packed.j by 16
    reorder B_packed.jo, B_packed.k, B_packed.ji
    vectorize B_packed.ji
    fuse C.jo, C.io into tile
    unroll C.ii
    vectorize C.ji
    parallel C.tile
    parallel B_packed.jo
}"""
    )


def test_where_the_call_decides_the_sizes_there_are_three_cases() -> None:
    text = lines_of(MATMUL)
    assert "specialize K * N >= 1048576 and M >= 256 {" in text
    assert "specialize M < 33 and K * N >= 65536 {" in text
    assert text.count("cache_read") == 1
    assert "specialize" not in lines_of(MATMUL, sizes={"M": 64})


def test_few_rows_stream_the_other_operand() -> None:
    assert (
        str(auto_schedule(program(MATMUL, sizes={"M": 16, "N": 4096, "K": 4096}), AVX2))
        == """\
schedule matmul on llvm {
    split C.i by 4
    split C.j by 2048 into jb, jt
    split C.jt by 16 into jo, ji
    split C.k by 16
    reorder C.jb, C.ko, C.jo, C.io, C.ki, C.ii, C.ji
    unroll C.ii
    vectorize C.ji
    parallel C.jb
}"""
    )


def test_a_vector_times_a_matrix_streams_the_matrix() -> None:
    alone = dataclasses.replace(AVX2, cores=1)
    assert (
        str(auto_schedule(program(VECMAT, sizes={"N": 1000, "K": 1000}), alone))
        == """\
schedule f on llvm {
    split z.j by 1008 into jb, jt
    split z.jt by 16 into jo, ji
    split z.k by 8
    reorder z.jb, z.ko, z.jo, z.ki, z.ji
    compute_at y at z.jb
    vectorize z.ji
    vectorize y.j by 8
    parallel z.jb
}"""
    )


def test_each_thread_reads_rows_of_a_matrix_that_is_multiplied_by_a_vector() -> None:
    text = lines_of(VECMAT, sizes={"N": 1000, "K": 1001})
    assert "split z.k by 501 into kc, kr" in text
    assert "rfactor z.kc of z as z_part" in text
    assert "reorder z_part.kc, z_part.kro, z_part.jo, z_part.kri, z_part.ji" in text
    assert "parallel z_part.kc" in text
    assert "rfactor" not in lines_of(VECMAT, sizes={"N": 1000, "K": 20})
    assert_built_same(VECMAT, {"N": 1000, "K": 1001}, sizes={"N": 1000, "K": 1001})


def test_a_bound_matrix_that_is_multiplied_by_a_vector_has_panels() -> None:
    bound = VECMAT.replace("B: f32", "param B: f32")
    assert bound != VECMAT
    text = lines_of(bound, sizes={"N": 1000, "K": 1001})
    assert "layout B[k, j] as [j // 32, k, j % 32]" in text  # four vectors
    assert "parallel z.jo" in text
    assert "layout" not in lines_of(bound, sizes={"N": 100, "K": 5000})  # too few panels for two threads
    assert_built_same(bound, {"N": 1000, "K": 1001}, sizes={"N": 1000, "K": 1001})


VNNI = dataclasses.replace(AVX2, vector_bits=512, vector_registers=32, levels=levels_of("llvm.avx512_vnni"))


def test_an_instruction_takes_what_it_computes() -> None:
    assert (
        lines_of(QUANTISED, VNNI, sizes={"M": 64})
        == """\
schedule f on llvm {
    layout W[j, k] as [j // 32, k // 4, j % 32, k % 4]
    split Z.i by 8
    split Z.j by 32
    split Z.k by 4 into kg, kt
    reorder Z.jo, Z.io, Z.kg, Z.ii, Z.ji, Z.kt
    fuse Z.jo, Z.io into tile
    compute_at Y at Z.tile
    set_scope Z in register
    unroll Z.ii
    tensorize Z.ji, Z.kt as vpdpbusd
    unroll Y.i
    vectorize Y.j
    parallel Z.tile
    stream Y of 16777216
}"""
    )
    assert "tensorize" not in lines_of(QUANTISED)
    assert "cache_read B[k, j] as B_packed layout [j // 32, k // 4, j % 32, k % 4]" in lines_of(
        BYTES_MM, VNNI
    )


def test_what_follows_a_contraction_is_computed_tile_by_tile() -> None:
    text = lines_of(DENSE)
    assert "layout W[k, j] as [j // 16, k, j % 16]" in text  # once, where W is bound
    assert "compute_at Y at C.tile\n    set_scope C in register" in text


def test_rows_of_a_turned_operand_are_packed() -> None:
    assert "cache_read W[j, k] at C.ko as W_packed layout [j // 16, k, j % 16]" in lines_of(LINEAR)


def test_short_rows_are_computed_several_at_a_time() -> None:
    short = lines_of(NORM, sizes={"M": 100, "N": 100})
    assert "split" in short
    assert "io" in short.split("compute_at")[1].split("\n")[0]
    for sizes in ({"M": 100, "N": 1000}, {"M": 99, "N": 100}, {"N": 100}):
        assert "compute_at" in lines_of(NORM, sizes=sizes)
        assert "split" not in lines_of(NORM, sizes=sizes)
    text = PROGRAMS["softmax"]
    for sizes in ({"M": 8, "N": 30}, {"M": 12, "N": 1}, {"M": 4, "N": 200}):
        inputs = random_inputs(program(text), sizes)
        built = te.build(text, schedule="auto", sizes=sizes)
        np.testing.assert_allclose(built(**inputs), te.build(text, schedule="none")(**inputs), rtol=2e-6)


def test_a_transpose_of_known_sizes_has_no_masked_tiles() -> None:
    text = "op f(X: f32[M, N]) -> Y: f32[N, M] { Y[i, j] = X[j, i] }"
    assert "split Y.j by 8 tail shift" in lines_of(text, sizes={"M": 1000, "N": 1000})  # strips of one tile
    # Rows are 4 KiB apart.
    assert "split Y.j by 32 tail shift" in lines_of(text, sizes={"M": 1024, "N": 1000})
    assert "split Y.j by 32\n" in lines_of(text)
    for sizes in (
        {"M": 45, "N": 70},
        {"M": 8, "N": 9},
        {"M": 40, "N": 8},
        {"M": 256, "N": 19},
        {"M": 5, "N": 3},
    ):
        assert_built_same(text, sizes, sizes=sizes)


@pytest.mark.parametrize(
    ("pictures", "shared"), [(1, ["fuse Y.n, Y.h into tile", "parallel Y.tile"]), (32, ["parallel Y.n"])]
)
def test_threads_share_enough_trips_of_a_transpose(pictures: int, shared: list[str]) -> None:
    text = "op f(X: f32[N, C, H, W]) -> Y: f32[N, H, W, C] { Y[n, h, w, c] = X[n, c, h, w] }"
    lines = program_lines(text, {"N": pictures, "C": 256, "H": 56, "W": 56})
    assert [line for line in lines if line.startswith(("fuse", "parallel"))] == shared


@pytest.mark.parametrize(("columns", "share"), [(5323, 2672), (1000, 1008), (8192, 4096)])
def test_threads_share_columns_equally(columns: int, share: int) -> None:
    text = "op f(X: f32[M, N]) -> Y: f32[N] { Y[j] = sum[i](X[i, j]) }"
    assert f"split Y.j by {share}" in program_lines(text, {"M": 169, "N": columns})
    assert "split Y.j by 4096" in program_lines(text, {"M": 169})


def test_a_large_transpose_with_more_rows_than_columns_is_written_by_rows() -> None:
    text = "op f(X: f32[M, N]) -> Y: f32[N, M] { Y[i, j] = X[j, i] }"

    def order(m: int, n: int) -> str:
        lines = program_lines(text, {"M": m, "N": n})
        return next(line for line in lines if line.startswith("reorder"))

    assert order(1000, 3000).startswith("reorder Y.io, Y.jo")
    assert order(3000, 1000).startswith("reorder Y.jo, Y.io")
    assert order(100, 30000).startswith("reorder Y.jo, Y.io")  # rows of the result lie in the same pages
    assert order(2500, 2500).startswith("reorder Y.io, Y.jo")  # beyond the caches, but no whole lines
    assert order(2560, 2560).startswith("reorder Y.jo, Y.io")  # stored past the caches


@pytest.mark.parametrize(("columns", "is_streamed"), [(2048, True), (2056, False), (2052, False)])
def test_only_whole_lines_are_stored_past_the_caches(columns: int, is_streamed: bool) -> None:
    assert ("stream Y" in program_lines(PLANE, {"M": 4096, "N": columns})) == is_streamed


@pytest.mark.parametrize(
    ("rows", "columns", "is_fetched"), [(500, 1000, True), (4096, 1000, False), (8192, 1024, True)]
)
def test_the_next_row_is_fetched_unless_stores_fetch_as_much(
    rows: int, columns: int, is_fetched: bool
) -> None:
    lines = program_lines(SOFTMAX, {"M": rows, "N": columns})
    assert any(line.startswith("prefetch") for line in lines) == is_fetched


@pytest.mark.parametrize(("columns", "is_fetched"), [(1000, False), (1024, True)])
def test_where_the_call_decides_how_many_rows_they_count_as_many(columns: int, is_fetched: bool) -> None:
    lines = program_lines(SOFTMAX, {"N": columns})
    assert any(line.startswith("prefetch") for line in lines) == is_fetched


def test_the_next_row_that_is_looked_up_is_fetched_unless_the_table_is_small() -> None:
    assert "prefetch X at Y.jo of Y.i" in program_lines(LOOK_UP, {})
    lines = program_lines(LOOK_UP, {"K": 100, "N": 100, "M": 1000})
    assert not any(line.startswith("prefetch") for line in lines)
    for sizes in ({"K": 1 << 14, "N": 40, "M": 37}, {"K": 1 << 14, "N": 33, "M": 1}):
        text = LOOK_UP.replace("ids[i]", "min(max(ids[i], 0), K - 1)")
        assert_built_same(text, sizes, sizes=sizes)


@pytest.mark.parametrize("empty", ["M", "N", "K"])
def test_sizes_may_be_fixed_to_0(empty: str) -> None:
    assert_built_same(MATMUL, {"M": 3, "N": 4, "K": 5} | {empty: 0}, sizes={empty: 0})


def test_what_stays_in_the_cache_is_read_again_and_the_rest_once() -> None:
    assert "reorder C.io, C.jo" in lines_of(MATMUL, sizes={"M": 4000, "N": 600, "K": 20})
    assert "reorder C.jo, C.io" in lines_of(MATMUL, sizes={"M": 100, "N": 600, "K": 20})
    assert "reorder C.jo, C.io" in lines_of(MATMUL, sizes={"M": 200, "N": 4000, "K": 100})


def test_narrow_results_get_narrow_tiles() -> None:
    text = lines_of(MATMUL, sizes={"M": 100, "N": 8, "K": 100})
    assert "split C.j by 8" in text
    assert "split C.i by 2" in lines_of(MATMUL, sizes={"M": 2, "N": 100, "K": 100})


@pytest.mark.parametrize(
    ("sizes", "rows", "columns"),
    [
        ({"M": 512, "N": 512, "K": 512}, 6, 64),
        ({"M": 609, "N": 73, "K": 419}, 21, 16),  # five tiles aside, of 80 columns, not two of 128
        ({"M": 17, "N": 333, "K": 99}, 17, 16),  # one tile down, and no row of it is empty
        ({"M": 12, "N": 40, "K": 100}, 12, 16),  # one tile down, three aside
        ({"M": 96, "N": 96, "K": 1024}, 8, 32),  # rows of A 4 KiB apart: a set of the cache holds eight
    ],
)
def test_the_tile_wastes_few_rows_and_columns(sizes: dict[str, int], rows: int, columns: int) -> None:
    wide = dataclasses.replace(AVX2, vector_bits=512, vector_registers=32, levels=levels_of("llvm.avx512"))
    text = lines_of(MATMUL, wide, sizes=sizes)
    assert f"split C.i by {rows}\n" in text
    assert f"split C.j by {columns}\n" in text


NORM = """
op norm(X: f32[M, N], g: f32[N]) -> Y: f32[M, N] {
    s[i]    = sum[j](X[i, j] * X[i, j])
    Y[i, j] = X[i, j] * rsqrt(s[i] + 1) * g[j]
}
"""
KEPT = """
op f(X: f32[M, N]) -> Y: f32[M, N], m: f32[M] {
    m[i]    = max[j](X[i, j])
    s[i]    = sum[j](X[i, j])
    Y[i, j] = X[i, j] - m[i] * s[i]
}
"""
OTHER_ROW = """
op f(X: f32[M, N]) -> Y: f32[M, N] {
    s[i]    = sum[j](X[i, j])
    Y[i, j] = X[i, j] + s[M - 1 - i]
}
"""


def test_rows_stay_in_the_caches_from_their_first_pass_to_the_last() -> None:
    assert (
        lines_of(SOFTMAX)
        == """\
schedule softmax on llvm {
    compute_at m, e, Y_sum at Y.i
    vectorize m.j by 32
    vectorize e.j by 8
    vectorize Y_sum.k by 32
    vectorize Y.j by 8
    parallel Y.i
    prefetch X at e.jo of Y.i
    stream Y of 16777216
}"""
    )
    assert "compute_at s at Y.i" in lines_of(NORM)
    assert "vectorize s.j by 8" in lines_of(NORM, sizes={"N": 24})


def test_results_and_what_other_rows_need_are_computed_whole() -> None:
    assert "compute_at s at Y.i" in lines_of(KEPT)
    assert "vectorize m.j by 32" in lines_of(KEPT)
    assert "compute_at" not in lines_of(OTHER_ROW)


@pytest.mark.parametrize(
    "text", [NORM, KEPT, OTHER_ROW, *(PROGRAMS[n] for n in ("layer norm", "attention", "causal"))]
)
def test_rows_compute_the_same(text: str) -> None:
    built, plain = te.build(text, schedule="auto"), te.build(text, schedule="none")
    of = program(text)
    for extent in (1, 7, 40):
        inputs = random_inputs(of, {n: extent + i for i, n in enumerate(of.sizes)})
        for found, expected in zip(results_of(built(**inputs)), results_of(plain(**inputs)), strict=True):
            np.testing.assert_allclose(found, expected, rtol=2e-5, atol=1e-5)


def results_of(found: object) -> tuple[np.ndarray, ...]:
    return found if isinstance(found, tuple) else (found,)  # type: ignore[return-value]  # one array


@pytest.mark.parametrize("text", [SQUARES, MASKED, MATVEC, ROW_SUM])
def test_other_sums_are_no_contractions(text: str) -> None:
    assert "tile" not in lines_of(text)


@pytest.mark.parametrize("text", CONTRACTIONS)
@pytest.mark.parametrize("target", [AVX2, parse_target("llvm")], ids=["256", "here"])
def test_contractions_compute_the_same(text: str, target: Target) -> None:
    plain = nest(program(text))
    for regime in Regime:
        lines = case_for(program(text), target, regime).directives
        kernel = Schedule(plain.program, directives=lines).steps()[-1].kernel
        sizes = [dict.fromkeys(plain.program.sizes, n) for n in (0, 1)]
        assert_same(plain, kernel, *sizes, {n: 3 + 7 * i for i, n in enumerate(plain.program.sizes)})


@pytest.mark.parametrize("text", CONTRACTIONS)
def test_compiled_contractions(text: str) -> None:
    assert_built_same(text, *sizes_around(text, (1, 7, 40, 130)))


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
    setting = setting_of(f"{text}\n{s}")
    item = next(i for i in setting.own.file.items if isinstance(i, tree.Schedule))
    assert read_lines(Written(item, setting.own), setting) == s.directives


LOG_SUM = """
op f(X: f32[M, N]) -> Y: f32[M] {
    m[i] = max[j](X[i, j])
    Y[i] = m[i] + log(sum[j](exp(X[i, j] - m[i])))
}
"""
COLUMN_DEVIATION = """
op f(X: f32[M, N]) -> Y: f32[N] {
    mu[j] = mean[i](X[i, j])
    Y[j]  = sqrt(sum[i]((X[i, j] - mu[j]) * (X[i, j] - mu[j])))
}
"""


def test_one_value_for_each_row_is_computed_row_by_row() -> None:
    assert (
        lines_of(LOG_SUM)
        == """\
schedule f on llvm {
    compute_at m, Y_sum at Y.i
    vectorize m.j by 32
    vectorize Y_sum.j by 32
    parallel Y.i
    stream Y of 16777216
}"""
    )


def test_one_value_for_each_column_is_not() -> None:
    assert "compute_at" not in lines_of(COLUMN_DEVIATION)


@pytest.mark.parametrize("text", [LOG_SUM, COLUMN_DEVIATION])
@pytest.mark.parametrize("columns", [1, 31, 32, 33, 100])
def test_a_value_for_each_row_is_right(text: str, columns: int) -> None:
    x = np.random.default_rng(columns).standard_normal((7, columns)).astype(np.float32)
    plain = te.build(text, schedule="none")(x)
    np.testing.assert_allclose(te.build(text)(x), plain, rtol=1e-5, atol=1e-5)


STEPS = """
op steps(param W: f32[H, H], s0: f32[B, H]) -> S: f32[9, B, H] {
    S[0, b, i]     = s0[b, i]
    S[t < 9, b, i] = tanh(q[t - 1, b, i])
    q[t < 8, b, i] = sum[k](W[i, k] * S[t, b, k])
}
"""


def test_a_contraction_in_a_recurrence_runs_in_tiles_in_each_step() -> None:
    lines = lines_of(STEPS)
    assert "layout W[i, k] as [i // 16, k, i % 16]" in lines
    assert "reorder q.io, q.bo, q.k, q.bi, q.ii" in lines
    kernel = te.build(STEPS)
    random = np.random.default_rng(0)
    for batch, width in ((1, 5), (9, 33)):
        w = random.standard_normal((width, width), np.float32) / np.float32(width)
        expected = [random.standard_normal((batch, width), np.float32)]
        for _ in range(8):
            expected.append(np.tanh(expected[-1] @ w.T))
        np.testing.assert_allclose(kernel(w, expected[0]), np.stack(expected), rtol=1e-4, atol=1e-5)
