"""tensorize: loops that an instruction runs. tests/errors has what is refused, tests/backends the code."""

from __future__ import annotations

import pytest

from te.diagnostics import Source
from te.ir.loop import For, Kernel, walk_stmt
from te.ir.print import print_kernel
from te.module import check_source
from te.schedule.directives import Tensorize
from te.schedule.finalize import finalize
from te.schedule.intrinsics import shipped
from te.schedule.nest import nest
from te.schedule.schedule import Schedule
from tests.schedule.scheduling import assert_same, loops, program, refused, scheduled

QMM = """
op qmm(A: u8[M, K, 4], B: i8[K, N, 4]) -> C: i32[M, N] {
    C[i, j] = sum[k, q](i32(A[i, k, q]) * i32(B[k, j, q]))
}
"""
TILED = """
tile i, j by 4, 16 into io, jo, ii, ji
reorder io, jo, k, ii, ji, q
tensorize ji, q as vpdpbusd
unroll ii
"""


def instructions(kernel: Kernel) -> int:
    """How many instructions stand in the text of a kernel."""
    return sum(isinstance(s, For) and s.intrinsic is not None for s, _ in walk_stmt(kernel.body))


def final(kernel: Kernel) -> str:
    return print_kernel(finalize(kernel))


def test_the_reduction_loop_stands_outside_the_lanes() -> None:
    assert (
        loops(QMM, TILED, sizes={"M": 4, "N": 16})
        == """
for C.io < 1:
  for C.jo < 1:
    for C.k < K (reduce):
      unrolled for C.ii < 4:
        tensorized for C.q < 4 (reduce, vpdpbusd):
          vector for C.ji < 16:
            C[ii, ji] sum= i32(A[ii, k, q]) * i32(B[k, ji, q])  # from 0 before C.k, C.q
"""
    )


def test_the_accumulators_stay_in_registers() -> None:
    kernel = scheduled(QMM, TILED, sizes={"M": 4, "N": 16})
    assert (
        final(kernel).split("\n", 1)[1]
        == """\
  alloc C.tile: i32[4, 16] in register:
    unrolled for C.ii < 4:
      vector for C.ji < 16:
        C.tile[ii, ji] = 0  # stage C
    for C.k < K (reduce):
      unrolled for C.ii < 4:
        tensorized for C.q < 4 (reduce, vpdpbusd):
          vector for C.ji < 16:
            C.tile[ii, ji] sum= i32(A[ii, k, q]) * i32(B[k, ji, q])  # stage C
    unrolled for C.ii < 4:
      vector for C.ji < 16:
        C[ii, ji] = C.tile[ii, ji]
"""
    )


@pytest.mark.parametrize(
    "lines",
    [
        "split j by 16\nreorder i, jo, k, ji, q\ntensorize ji, q as vpdpbusd",
        "split j by 32\nreorder i, jo, k, ji, q\ntensorize ji, q as vpdpbusd",
        "split j by 8\nreorder i, jo, k, q, ji\ntensorize ji, q as vpdpbusd",
        "split j by 4\nreorder jo, k, i, ji, q\ntensorize q, ji as vpdpbusd\nparallel jo",
        "tile i, j by 2, 16 into io, jo, ii, ji\nreorder io, jo, k, ii, ji, q\ntensorize ji, q as vpdpbusd\nunroll ii",
        "split j by 16 tail shift\nreorder i, jo, k, ji, q\ntensorize ji, q as vpdpbusd",
        "split j by 4 tail peel\nreorder i, jo, k, ji, q\ntensorize ji, q as vpdpbusd\nparallel i",
    ],
)
def test_it_computes_the_same(lines: str) -> None:
    plain = nest(program(QMM))
    sizes = [{"M": 5, "K": 3, "N": 35}, {"M": 1, "K": 1, "N": 1}, {"M": 4, "K": 2, "N": 16}]
    after = scheduled(plain, lines)
    assert_same(plain, after, *sizes)
    assert_same(plain, finalize(after), *sizes)


def test_the_factors_may_stand_the_other_way_round() -> None:
    text = QMM.replace("i32(A[i, k, q]) * i32(B[k, j, q])", "i32(B[k, j, q]) * i32(A[i, k, q])")
    assert instructions(scheduled(text, TILED)) == 1


def test_either_operand_may_be_shared_by_the_lanes_and_both() -> None:
    lanes_of_a = """
    op f(A: u8[M, K, 4], B: i8[K, N, 4]) -> C: i32[N, M] {
        C[j, i] = sum[k, q](i32(A[k, i, q]) * i32(B[j, k, q]))
    }
    """.replace("A: u8[M, K, 4], B: i8[K, N, 4]", "A: u8[K, M, 4], B: i8[N, K, 4]")
    lines = "split i by 16\nreorder j, io, k, ii, q\ntensorize ii, q as vpdpbusd"
    assert instructions(scheduled(lanes_of_a, lines)) == 1
    equal_lanes = (
        "op f(a: u8[K, 4], b: i8[K, 4]) -> C: i32[16] { C[j] = sum[k, q](i32(a[k, q]) * i32(b[k, q])) }"
    )
    plain = nest(program(equal_lanes))
    after = scheduled(plain, "reorder k, j, q\ntensorize j, q as vpdpbusd")
    assert instructions(after) == 1
    assert_same(plain, finalize(after), {"K": 3})


def test_all_of_a_reduction_may_be_one_instruction() -> None:
    text = "op f(A: u8[16, 4], B: i8[16, 4]) -> D: i32[16] { D[i] = sum[k](i32(A[i, k]) * i32(B[i, k])) }"
    plain = nest(program(text))
    after = scheduled(plain, "tensorize i, k as vpdpbusd")
    assert_same(plain, finalize(after), {})
    assert instructions(finalize(after)) == 1


# ---------------------------------------------------------------- tails


def test_a_ragged_tile_is_instructions_that_read_0_beyond_its_last_lane() -> None:
    hot, cold = final(scheduled(QMM, TILED)).split("else:")
    assert "i32(A[4 * io + ii, k, q]) * i32(B[k, 16 * jo + ji, q])" in hot
    assert "tensorized for C.q < 4 (reduce, vpdpbusd):" in cold
    assert "* i32(where(16 * jo + ji < N, B[k, 16 * jo + ji, q], 0))" in cold


def test_a_tail_of_rows_is_instructions_too() -> None:
    kernel = scheduled(QMM, TILED, sizes={"N": 32})
    assert instructions(finalize(kernel)) == 2
    assert_same(nest(kernel.program), finalize(kernel), {"M": 5, "K": 3}, {"M": 3, "K": 1})


def test_the_tail_of_the_terms_is_cut_off() -> None:
    text = "op f(A: u8[K], B: i8[K]) -> C: i32[16] { C[j] = sum[k](i32(A[k]) * i32(B[k])) }"
    kernel = scheduled(text, "split k by 4\nreorder ko, j, ki\ntensorize j, ki as vpdpbusd")
    assert instructions(finalize(kernel)) == 1
    assert_same(nest(kernel.program), finalize(kernel), *[{"K": k} for k in (1, 3, 4, 9, 16)])


def test_a_condition_of_the_sum_may_stand_inside_where_it_is_linear() -> None:
    text = QMM.replace("[k, q]", "[k, q where k <= j]")
    lines = "split j by 16\nreorder i, jo, k, ji, q\ntensorize ji, q as vpdpbusd"
    kernel = scheduled(text, lines)
    assert_same(nest(kernel.program), kernel, {"M": 2, "K": 20, "N": 35})
    assert_same(nest(kernel.program), finalize(kernel), {"M": 2, "K": 20, "N": 35}, {"M": 1, "K": 1, "N": 1})


# ---------------------------------------------------------------- forms


def test_python_and_text_say_the_same() -> None:
    s = Schedule("qmm").split("j", by=16).tensorize("ji", "q", as_="vpdpbusd")
    assert s.directives[1] == Tensorize(("ji", "q"), "vpdpbusd")
    assert str(s).endswith("    tensorize ji, q as vpdpbusd\n}")


def test_a_refusal_leaves_the_schedule_as_it_was() -> None:
    diagnostic = refused(QMM, "split j by 16\ntensorize ji, q as vpdpbusd")
    assert diagnostic.code == "not-nested"


@pytest.mark.parametrize("place", ["ji", "q"])
def test_nothing_is_copied_inside_an_instruction(place: str) -> None:
    lines = "split j by 16\nreorder i, jo, k, ji, q\ntensorize ji, q as vpdpbusd\n"
    assert refused(QMM, lines + f"cache_read A at {place}").code == "tensorize-operands"


def test_the_meanings_read_as_what_they_are() -> None:
    texts = {name: str(meaning) for name, meaning in shipped().items() if not meaning.is_matrix}
    assert texts == {
        "vpdpbusd": "D[l] sum= i32(A[l, k]) * i32(B[l, k]), with A: u8, B: i8, D: i32",
        "vdpbf16ps": "D[l] sum= f32(A[l, k]) * f32(B[l, k]), with A: bf16, B: bf16, D: f32",
    }
    meaning = shipped()["vpdpbusd"]
    assert [n for n in range(40) if meaning.allows(n)] == [4, 8, 16]
    assert [meaning.width(n) for n in (3, 4, 8, 12, 16, 24, 32, 36, 48)] == [None, 4, 8, 4, 16, 8, 16, 4, 16]


@pytest.mark.parametrize(
    "op",
    [
        "op dot(A: u8[L, 4], B: i8[L, 4], C: i32[L]) -> D: i32[L] {\n"
        "    D[l] = sum[k](i32(B[l, k]) * i32(A[l, k])) + C[l]\n}",
        "op dot(x: u8[16, 4], y: i8[16, 4], start: i32[16]) -> total: i32[16] {\n"
        "    s[i] = sum[q](i32(x[i, q]) * i32(y[i, q]))\n    total[i] = start[i] + s[i]\n}",
    ],
)
def test_a_file_may_say_again_what_an_instruction_computes(op: str) -> None:
    text = f"{op}\n\nintrinsic vpdpbusd on llvm.avx512_vnni = dot\n"
    assert check_source(Source("mine.te", text)) == []
