"""What scheduling compilers get wrong: last trips that add nothing, sums of no terms, tails that multiply, orders."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

import te
from te.backends.interp.loop import run_kernel
from te.diagnostics import ScheduleError
from te.ir.print import print_kernel
from te.ir.verify import verify_kernel
from te.schedule.finalize import finalize
from te.schedule.nest import nest
from te.schedule.schedule import Schedule
from tests.schedule.scheduling import MATMUL, SOFTMAX, program, random_inputs, refused, scheduled

DENSE = """
op dense(A: f32[M, K], B: f32[K, N], b: f32[N]) -> Y: f32[M, N] {
    C[i, j] = sum[k](A[i, k] * B[k, j])
    Y[i, j] = max(C[i, j] + b[j], 0)
}
"""
FEW = DENSE.replace("sum[k]", "sum[k where k < 3]")
SOME = DENSE.replace("sum[k]", "sum[k where A[i, k] > 0]")
BELOW = DENSE.replace("sum[k]", "sum[k where k <= i]")
TILES = "tile C.i, C.j by 4, 8 into io, jo, ii, ji\nsplit k by 4 into ko, ki\n"
EPILOGUES = [
    "compute_at Y at C.j",
    "compute_at Y at C.k",
    "split k by 4\ncompute_at Y at C.ki",
    "split k parts 4\ncompute_at Y at C.ko",
    "split k by 4 tail peel\ncompute_at Y at C.i",
    TILES
    + "reorder io, jo, ko, ki, ii, ji\ncompute_at Y at C.jo\nset_scope C in register\nvectorize C.ji, Y.j",
    TILES + "reorder io, ko, jo, ki, ii, ji\ncompute_at Y at C.jo\nparallel C.io",
    "reorder k, C.i, C.j\ncompute_at Y at C.i",
]


def assert_computes_the_same(
    text: str, lines: str, inputs: dict[str, np.ndarray], sizes: dict[str, int]
) -> None:
    """Both interpreters and compiled code give what the plain program gives, NaN for NaN."""
    plain = nest(program(text))
    kernel = scheduled(plain, lines)
    with np.errstate(all="ignore"):
        expected = run_kernel(plain, inputs, sizes)
        results = [
            run_kernel(kernel, inputs, sizes, order="reverse"),
            run_kernel(finalize(kernel), inputs, sizes),
        ]
    built = te.build(text, schedule=lines)(**inputs)
    (name,) = plain.program.results
    for found in (*(r[name] for r in results), built):
        np.testing.assert_allclose(found, expected[name], rtol=1e-5, err_msg=f"{lines}, {sizes}")


@pytest.mark.parametrize("text", [DENSE, FEW, SOME, BELOW], ids=["all", "few", "some", "below"])
@pytest.mark.parametrize("lines", EPILOGUES)
def test_an_epilogue_runs_once_its_sum_is_complete_whatever_the_last_trips_add(text: str, lines: str) -> None:
    for m, n, k in ((5, 9, 7), (1, 1, 5), (4, 8, 0), (3, 2, 1)):
        sizes = {"M": m, "N": n, "K": k}
        assert_computes_the_same(text, lines, random_inputs(program(text), sizes, 2), sizes)


def test_an_epilogue_of_a_sum_of_no_terms() -> None:
    for lines in EPILOGUES:
        built = te.build(DENSE, schedule=lines)
        y = built(A=np.zeros((2, 0), np.float32), B=np.zeros((0, 3), np.float32), b=np.float32([1, -1, 2]))
        np.testing.assert_array_equal(y, [[1, 0, 2], [1, 0, 2]])


@pytest.mark.parametrize(
    "lines",
    [
        "reorder k, i\nsplit i by 8 tail shift",
        "reorder k, j\nsplit j by 8 tail shift",
        "split k by 4\nreorder ko, i, j, ki\nsplit j by 8 tail shift",
        "reorder k, i, j\nsplit j by 8 tail shift",
        "split k by 4 tail shift",
    ],
)
def test_a_shifted_tail_under_an_unfinished_sum_is_refused(lines: str) -> None:
    assert refused(MATMUL, lines).code == "split-shift"


def test_what_an_epilogue_computes_is_written_back_once_it_is_complete() -> None:
    """It was copied in every trip of the reduction around, from a buffer that only the last one fills."""
    lines = "compute_at Y at C.k\nreorder C.k, C.i, C.j\ncache_write Y at C.j in register"
    for sizes in ({"M": 2, "N": 3, "K": 4}, {"M": 2, "N": 3, "K": 0}):
        assert_computes_the_same(DENSE, lines, random_inputs(program(DENSE), sizes), sizes)


CAUSAL = "op f(X: f32[M, N]) -> m: f32[M] { m[i] = max[j where j <= i and i < j + 4](X[i, j]) }"


@pytest.mark.parametrize(
    "lines",
    ["split m.j parts 1\nunroll m.jo by 3", "tile m.j, m.i by 2, 4\nreorder m.ji, m.io\nvectorize m.ii by 8"],
)
def test_bounds_of_one_loop_in_another_keep_apart(lines: str) -> None:
    """Two names of bounds were the same, one inside the other."""
    verify_kernel(finalize(scheduled(CAUSAL, lines)))
    for sizes in ({"M": 9, "N": 7}, {"M": 3, "N": 9}):
        assert_computes_the_same(CAUSAL, lines, random_inputs(program(CAUSAL), sizes), sizes)


def test_a_start_stands_in_its_own_nest() -> None:
    """A vector loop around two nests is a loop in each; the start of the second stood in the first one, too."""
    lines = "tile m.i, m.j by 8, 8\ncache_write m at m.jo as U\nvectorize m.jo by 2"
    verify_kernel(finalize(scheduled(CAUSAL, lines)))
    for sizes in ({"M": 5, "N": 6}, {"M": 9, "N": 40}, {"M": 2, "N": 0}):
        assert_computes_the_same(CAUSAL, lines, random_inputs(program(CAUSAL), sizes), sizes)


def test_a_copy_where_a_loop_inside_has_no_trip() -> None:
    """Its extent was negative."""
    text = "op f(X: f32[M, N]) -> Y: f32[M, N] { Y[i, j] = X[i, j] + 1 }"
    lines = "split i by 2\nreorder ii, io\ncache_read X[a, b] at ii layout [b % 2, b // 2, a % 2, a // 2]"
    for sizes in ({"M": 0, "N": 1}, {"M": 3, "N": 3}):
        assert_computes_the_same(text, lines, random_inputs(program(text), sizes), sizes)


def test_a_register_in_vectors_is_chosen_by_the_lane_alone() -> None:
    lines = "split j by 2 tail peel\nvectorize jo by 8\ncache_write Y at joo as U in register"
    with pytest.raises(ScheduleError, match="an element a lane"):
        finalize(scheduled("op f(X: f32[M, N]) -> Y: f32[M, N] { Y[i, j] = X[i, j] * 2 }", lines))


@pytest.mark.parametrize(
    "lines", ["split k parts 4", "split k by 4\nsplit ko parts 3\nreorder i, koo, koi, j, ki"]
)
def test_the_part_of_a_trip_without_terms_is_there(lines: str) -> None:
    """What a trip adds was read and never written, where the trip lies behind the last term."""
    at = "ko" if "koi" not in lines else "koi"
    for sizes in ({"M": 2, "N": 3, "K": 3}, {"M": 1, "N": 1, "K": 9}, {"M": 2, "N": 2, "K": 0}):
        inputs = random_inputs(program(MATMUL), sizes)
        assert_computes_the_same(MATMUL, f"{lines}\ncache_write C at {at} as Ct", inputs, sizes)


def test_a_shifted_tail_around_a_whole_sum_is_not_moved_into_it() -> None:
    assert refused(MATMUL, "split i by 4 tail shift\nreorder k, io").code == "reorder-dependence"
    assert refused(DENSE, "split C.i by 4 tail shift\nparallel C.io").code == "parallel-dependence"


@pytest.mark.parametrize("parallel", ["", "\nparallel Y.i", "\nvectorize Y.j by 4"])
def test_online_blocks_that_are_all_minus_infinity(parallel: str) -> None:
    x = np.full((6, 9), -np.inf, np.float32)
    x[1, 8] = 2  # the last block alone has a number
    x[2, 0] = 3  # the first one
    x[3, 4:6] = 1
    x[4] = np.arange(9)
    x[5, 3] = np.inf
    lines = "inline e\nonline m.j, Y_sum.k of m, Y_sum at Y.i by 4" + parallel
    assert_computes_the_same(SOFTMAX, lines, {"X": x}, {"M": 6, "N": 9})


@pytest.mark.parametrize(
    "lines",
    [
        "split k by 4\nvectorize ki",
        "split k by 4\nreorder i, ko, j, ki\ncache_read A at ko as Ac fill 0\ncache_read B at ko as Bc fill 0",
        "split k by 4\nreorder i, ko, ki, j\ncache_read A at ko as Ac fill 0\nvectorize C.j by 8",
        "cache_read B as Bc fill 0\nalign Bc axis 0 by 8\nsplit C.k by 8\nvectorize ki",
        "split k by 4\nrfactor ki of C as P\nreorder P.i, P.j, P.ko, P.ki\nvectorize P.ki",
        "split k by 4\nreorder ko, i, j, ki\ncache_write C at i\nvectorize ki",
    ],
)
def test_what_fills_a_tail_is_never_multiplied(lines: str) -> None:
    sizes = {"M": 3, "N": 5, "K": 7}
    inputs = random_inputs(program(MATMUL), sizes, 3)
    inputs["A"][0, 6], inputs["A"][1, 0] = np.inf, -np.inf
    inputs["B"][5, 1], inputs["B"][6, 4] = np.inf, np.nan
    assert_computes_the_same(MATMUL, lines, inputs, sizes)


def test_a_padded_copy_beside_infinities() -> None:
    text = """
    op conv(X: f32[C, N], F: f32[K, C, 3]) -> Y: f32[K, N] {
        Y[k, x] = sum[c, r]((X[c, x + r - 1] else 0) * F[k, c, r])
    }
    """
    sizes = {"C": 2, "N": 9, "K": 3}
    inputs = random_inputs(program(text), sizes, 4)
    inputs["F"][0, 0, 0], inputs["F"][1, 1, 2] = (
        np.inf,
        np.nan,
    )  # 0 * inf at the edges, as the plain form has it
    for lines in (
        "cache_read X as Xp fill 0",
        "cache_read X at k as Xp fill 0\nvectorize x by 4",
        "split x by 4\nreorder k, xo, c, r, xi\ncache_read X at xo as Xp fill 0\nvectorize xi",
        "cache_read F as Fp fill 0\ncache_read X as Xp",
    ):
        assert_computes_the_same(text, lines, inputs, sizes)


# ---------------------------------------------------------------- orders


ORDERS = {
    "kinds of loops": (MATMUL, ["vectorize j by 4", "unroll k by 2", "parallel i"], 6),
    "stages": (SOFTMAX, ["inline e", "split m.j by 4", "parallel m.i", "vectorize Y.j by 4"], 12),
    "stages in a row": (
        DENSE,
        ["compute_at Y at C.i", "split k by 4", "vectorize C.j by 8", "parallel C.i"],
        12,
    ),
    "storage": (
        MATMUL,
        [
            "cache_read B[c, d] as Bc",
            "layout Bc[k, j] as [j, k]",
            "align Bc axis 1 by 8",
            "set_scope Bc in shared",
        ],
        2,
    ),
    "splits": (MATMUL, ["split i by 4", "split j by 8 tail peel", "split k by 2"], 6),
    "copies": (
        MATMUL,
        ["cache_read A[a, b] as Ac", "cache_read B[c, d] as Bc", "parallel i", "vectorize j by 4"],
        24,
    ),
}


@pytest.mark.parametrize("name", ORDERS)
def test_every_order_that_is_accepted_computes_the_same(name: str) -> None:
    text, lines, least = ORDERS[name]
    plain = nest(program(text))
    sizes = {n: {"M": 5, "N": 9, "K": 7}[n] for n in plain.program.sizes}
    inputs = random_inputs(plain.program, sizes)
    (result,) = plain.program.results
    expected = run_kernel(plain, inputs, sizes)[result]
    accepted = 0
    for order in permutations(lines):
        try:
            kernel = scheduled(plain, "\n".join(order))
        except ScheduleError:
            continue
        accepted += 1
        for found in (
            run_kernel(kernel, inputs, sizes, order="reverse"),
            run_kernel(finalize(kernel), inputs, sizes),
        ):
            np.testing.assert_allclose(found[result], expected, rtol=1e-5, err_msg=str(order))
    assert accepted >= least, accepted


def test_a_refused_line_leaves_the_schedule_usable() -> None:
    schedule = Schedule(program(DENSE))
    schedule.tile("C.i", "C.j", by=(4, 8), into=("io", "jo", "ii", "ji"))
    kept = print_kernel(schedule.steps()[-1].kernel), str(schedule)
    for refuse in (
        lambda: schedule.parallel("k"),
        lambda: schedule.vectorize("ii", "k", "nothing"),
        lambda: schedule.reorder("k", "io", "io"),
        lambda: schedule.compute_at("Y", at="k.k"),
        lambda: schedule.cache_read("C", at="jo"),
        lambda: schedule.inline("C"),
        lambda: schedule.merge("C.io", "Y.i"),
        lambda: schedule.fold("C", by=1),
    ):
        with pytest.raises(ScheduleError):
            refuse()
        assert (print_kernel(schedule.steps()[-1].kernel), str(schedule)) == kept
    schedule.reorder("io", "jo", "k", "ii", "ji").compute_at("Y", at="C.jo").parallel("C.io")
    sizes = {"M": 5, "N": 9, "K": 3}
    inputs = random_inputs(program(DENSE), sizes)
    found = run_kernel(schedule.steps()[-1].kernel, inputs, sizes, order="reverse")["Y"]
    np.testing.assert_array_equal(found, run_kernel(nest(program(DENSE)), inputs, sizes)["Y"])
