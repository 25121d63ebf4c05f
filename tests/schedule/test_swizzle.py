"""swizzle: the units of a row in another order. No result depends on it."""

from __future__ import annotations

import numpy as np
import pytest

import te
from te.backends.interp.loop import run_kernel
from te.backends.llvm import emit
from te.ir.bounds import NO_FACTS, evaluate
from te.ir.expr import Var, integer
from te.ir.loop import Alloc, Buffer, Layout, Swizzle, walk_stmt
from te.ir.print import print_kernel
from te.ir.types import F32
from te.schedule.finalize import finalize
from te.schedule.finalize.storage import physical_index
from te.schedule.nest import nest
from te.target import parse_target
from tests.schedule.scheduling import MATMUL, assert_same, program, random_inputs, refused, scheduled

TURNED = """
op f(X: f32[M, N]) -> Y: f32[N, M] {
    e[i, j] = X[i, j] + 1.0
    Y[i, j] = e[j, i]
}
"""
FIXED = TURNED.replace("M", "64").replace("N", "32")
BYTES = """
op f(X: u8[M, 64], param F: u8[64, 64]) -> Y: i32[M, 64] {
    Y[i, j] = sum[k](i32(X[i, k]) * i32(F[k, j]))
}
"""
TILES = """
tile i, j by 16, 16 into io, jo, ii, ji
split k by 16 into ko, ki
reorder io, jo, ko, ii, ji, ki
cache_read A[i, k] at ko as As in shared fill 0
cache_read B[k, j] at ko as Bs in shared fill 0
"""
ALIGNED = "align e axis 1 by 32\n"


def swizzle_of(lines: str, name: str, text: str) -> Swizzle | None:
    for s, _ in walk_stmt(scheduled(text, lines).body):
        if isinstance(s, Alloc) and s.buffer.name == name and s.buffer.layout:
            return s.buffer.layout.swizzle
    return None


# ---------------------------------------------------------------- the permutation


@pytest.mark.parametrize("by", [2, 4, 8, 16])
@pytest.mark.parametrize("unit", [1, 2, 4, 16])
@pytest.mark.parametrize("rows", [1, 2, 4])
def test_the_permutation_is_what_it_is_said_to_be(by: int, unit: int, rows: int) -> None:
    extents = 3 * by + 1, 2 * by * unit
    layout = Layout(("i", "j"), (Var("i"), Var("j")), swizzle=Swizzle(by, unit, rows))
    buffer = Buffer("b", F32, tuple(map(integer, extents)), "shared", layout=layout)
    row, column = physical_index(buffer, (Var("r"), Var("c")), NO_FACTS)
    for r in range(extents[0]):
        places = [int(evaluate(column, {"r": r, "c": c})) for c in range(extents[1])]
        assert evaluate(row, {"r": r}) == r
        assert sorted(places) == list(range(extents[1]))
        for c, place in enumerate(places):
            assert place == (c // unit ^ (r // rows) % by) * unit + c % unit


@pytest.mark.parametrize(("columns", "by"), [(16, 2), (32, 4), (64, 8)])
def test_rows_of_a_line_lie_as_cutlass_has_them(columns: int, by: int) -> None:
    """`Swizzle<B, 4, 3>` of a byte address: its bits 4 .. 3 + B take those 3 further up, by xor."""
    text = f"op f(X: f16[64, {columns}]) -> Y: f16[64, {columns}] {{ e[i, j] = X[i, j]\n Y[i, j] = e[i, j] }}"
    (buffer,) = [s.buffer for s, _ in walk_stmt(scheduled(text, "swizzle e").body) if isinstance(s, Alloc)]
    assert buffer.layout is not None
    assert buffer.layout.swizzle is not None
    assert buffer.layout.swizzle.by == by
    row, column = physical_index(buffer, (Var("r"), Var("c")), NO_FACTS)
    for r in range(64):
        for c in range(columns):
            plain = 2 * (r * columns + c)
            place = 2 * int(evaluate(row, {"r": r}) * columns + evaluate(column, {"r": r, "c": c}))
            assert place == plain ^ ((plain >> 3) & (by - 1) << 4)


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        ("swizzle e", Swizzle(8, 4)),
        ("swizzle e by 2", Swizzle(2, 4)),
        ("swizzle e by 2\nswizzle e by 4", Swizzle(4, 4)),
        ("layout e[i, j] as [i // 8, j, i % 8]\nswizzle e", Swizzle(2, 4, 4)),
        ("layout e[i, j] as [j, i]\nswizzle e", Swizzle(8, 4)),
        ("align e axis 1 by 24\nswizzle e", Swizzle(4, 4)),
        ("set_scope e in shared\nswizzle e by 8", Swizzle(8, 4)),
    ],
)
def test_units_and_rows(lines: str, found: Swizzle) -> None:
    assert swizzle_of(lines, "e", FIXED) == found


def test_rows_of_any_size_take_turns_one_by_one() -> None:
    assert swizzle_of(ALIGNED + "swizzle e", "e", TURNED) == Swizzle(8, 4)


def test_it_is_printed() -> None:
    kernel = scheduled(MATMUL, TILES + "swizzle As")
    assert "layout [x0, x1] as [x0, x1] swizzle by 4 of 4 rows 2:" in print_kernel(kernel)
    assert "As[ii, 4 * (ki // 4 ^ ii // 2 % 4) + ki % 4]" in print_kernel(finalize(kernel))


def test_the_same_line_again_changes_nothing() -> None:
    once = scheduled(FIXED, "swizzle e by 8")
    assert scheduled(once, "swizzle e by 8\nswizzle e") is once


# ---------------------------------------------------------------- results


@pytest.mark.parametrize(
    "lines",
    [
        "",
        "vectorize Y.j by 8",  # rows: a gather
        "vectorize e.j by 4\nvectorize Y.i by 4",  # a unit
        "vectorize e.j by 2",
        "vectorize e.j by 16\nvectorize Y.i by 8",  # several units
        "vectorize e.j by 3\nparallel e.i",
        "split e.j by 4 tail peel\nunroll ji\nparallel Y.i",
        "fuse e.i, e.j into f\nvectorize f by 8\nparallel fo",
        "prefetch X at e.j ahead 2 of e.i",
    ],
)
@pytest.mark.parametrize("swizzled", [ALIGNED + "swizzle e", ALIGNED + "swizzle e by 2", "swizzle e by 2"])
def test_results_are_the_same(lines: str, swizzled: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TE_VERIFY", "1")
    text = TURNED if "align" in swizzled else FIXED
    all_lines = f"{swizzled}\n{lines}"
    plain, kernel = nest(program(text)), scheduled(text, all_lines)
    final, compiled = finalize(kernel), te.build(text, schedule=all_lines)
    names = plain.program.sizes
    sizes: list[dict[str, int]] = [{"M": 5, "N": 9}, {"M": 33, "N": 40}, {"M": 1, "N": 1}] if names else [{}]
    assert_same(plain, kernel, *sizes)
    for values in sizes:
        inputs = random_inputs(plain.program, values)
        expected = run_kernel(plain, inputs, values)["Y"]
        np.testing.assert_array_equal(run_kernel(final, inputs, values)["Y"], expected)
        np.testing.assert_array_equal(compiled(**inputs), expected)


@pytest.mark.parametrize(
    "lines",
    [
        "swizzle As\nswizzle Bs by 4",
        "swizzle As by 2\nvectorize ji",
        "swizzle Bs by 2\nunroll ii\nvectorize ji by 4\nvectorize As.k by 4",
        "pipeline ko depth 3\nswizzle As\nswizzle Bs",
        "swizzle As\nswizzle Bs\npipeline ko depth 2\nvectorize Bs.j by 4\nparallel io",
        "cache_write C at jo as Ct in local\nswizzle Ct\nvectorize ji",
        "cache_write C at jo as Ct in local\nswizzle Ct\nunroll ii\nvectorize ji by 4",
    ],
)
def test_copies_for_a_matmul(lines: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TE_VERIFY", "1")
    plain, kernel = nest(program(MATMUL)), scheduled(MATMUL, TILES + lines)
    final, compiled = finalize(kernel), te.build(MATMUL, schedule=TILES + lines)
    for m, n, k in ((5, 9, 3), (16, 16, 16), (17, 33, 35), (1, 1, 1), (4, 4, 0)):
        sizes = {"M": m, "N": n, "K": k}
        inputs = random_inputs(plain.program, sizes)
        expected = run_kernel(plain, inputs, sizes)["C"]
        for found in (run_kernel(kernel, inputs, sizes), run_kernel(final, inputs, sizes)):
            np.testing.assert_array_equal(found["C"], expected)
        np.testing.assert_array_equal(compiled(**inputs), expected)


def test_a_unit_is_read_as_a_vector() -> None:
    def code(lines: str) -> str:
        return emit([finalize(scheduled(FIXED, lines))], parse_target("llvm")).text

    assert "masked.scatter" not in code("swizzle e\nvectorize e.j by 4")
    assert "masked.scatter" in code("swizzle e\nvectorize e.j by 8")


def test_a_param_is_swizzled_once() -> None:
    lines = "layout F[k, j] as [j, k]\nswizzle F_copy by 4"
    kernel, expected = te.build(BYTES, schedule=lines), te.build(BYTES, schedule="none")
    rng = np.random.default_rng(0)
    x, f = (rng.integers(0, 9, shape, np.uint8) for shape in ((5, 64), (64, 64)))
    np.testing.assert_array_equal(kernel(x, f), expected(x, f))
    bound = kernel.bind(F=f)
    np.testing.assert_array_equal(bound(x), expected(x, f))
    np.testing.assert_array_equal(bound(x), expected(x, f))


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("text", "lines", "message"),
    [
        (FIXED, "swizzle e by 6", "power of two"),
        (FIXED, "swizzle e by 1", "power of two"),
        (FIXED, "swizzle e by 128", "power of two"),
        (FIXED, "swizzle e by 16", "multiple of 64"),
        (FIXED, "layout e[i, j] as [i, j // 4, j % 4]\nswizzle e", "multiple of 8"),
        (TURNED, "swizzle e", "multiple of 8"),
        (TURNED, "swizzle X", "the caller decides"),
        (FIXED, "swizzle Y", "the caller decides"),
        (FIXED, "swizzle e\nalign e axis 1 by 5", "after this line"),
        (FIXED, "swizzle e by 8\nfold e by 2", "cannot be folded"),
        (FIXED, "swizzle e\nlayout e[i, j] as [j, i]", "another layout"),
        ("op f(X: f32[64]) -> Y: f32[64] { e[i] = X[i]\n Y[i] = e[i] }", "swizzle e", "has no rows"),
        ("op f(X: f32[64]) -> Y: f32[64] { s = sum[i](X[i])\n Y[i] = s }", "swizzle s", "one element"),
        (MATMUL, TILES + "cache_write C at jo as Ct in register\nswizzle Ct", "in registers"),
        (MATMUL, TILES + "cache_write C at jo as Ct\nswizzle Ct\nset_scope Ct in register", "in registers"),
    ],
)
def test_refused(text: str, lines: str, message: str) -> None:
    found = refused(text, lines)
    assert message in found.message
    assert found.code == ("fold-refused" if "fold" in lines else "storage-refused")


def test_a_line_that_comes_too_late_says_before_which_line_it_belongs() -> None:
    found = refused(FIXED, "swizzle e by 8\nalign e axis 1 by 5")
    assert found.help == "write it before `swizzle e by 8`"


def test_an_instruction_writes_a_row_as_it_is() -> None:
    text = """
    op f(A: u8[8, 16, 4], B: i8[16, 4]) -> Y: i32[8, 16] {
        D[m, i] = sum[k](i32(A[m, i, k]) * i32(B[i, k]))
        Y[m, i] = D[m, i] + 1
    }
    """
    assert refused(text, "swizzle D\ntensorize D.i, k as vpdpbusd").code == "tensorize-address"
