"""cache_read: what a copy holds, and what is read of it."""

from __future__ import annotations

import numpy as np
import pytest

import te
from te.schedule.finalize import finalize
from te.schedule.nest import nest
from tests.schedule.scheduling import assert_same, loops, program, random_inputs, scheduled

DIAGONALS = "op f(X: i32[M]) -> Z: i32[M, M] { Z[j, i] = (X[i + j] else 0) - X[i] }"


def check(text: str, lines: str, *all_sizes: dict[str, int]) -> None:
    """The lines change no result: as they stand, and as they are run."""
    plain, kernel = nest(program(text)), scheduled(text, lines)
    assert_same(plain, kernel, *all_sizes)
    assert_same(plain, finalize(kernel), *all_sizes)
    built, expected = te.build(text, schedule=lines), te.build(text, schedule="none")
    for sizes in all_sizes:
        inputs = random_inputs(plain.program, sizes)
        np.testing.assert_array_equal(built(**inputs), expected(**inputs), err_msg=str(sizes))


SIZES = [{"M": m} for m in (1, 2, 5, 12)]


# ---------------------------------------------------------------- parts that differ between trips


@pytest.mark.parametrize("scope", ["", " in shared"])
def test_a_part_whose_extent_is_of_a_part_of_a_fused_loop_is_not_known(scope: str) -> None:
    """What is read is `X[0 .. j + i]`, where no loop runs over `j`, but a name stands for it."""
    lines = f"fuse Z.j, Z.i into f\nsplit Z.f by 4\ncache_read X[a] at Z.fi as S{scope}"
    assert "alloc S: i32[M]" in loops(DIAGONALS, lines)
    check(DIAGONALS, lines, *SIZES)


# ---------------------------------------------------------------- filled copies


GATHER = "op f(X: i32[V], U: i32[M]) -> Y: i32[M] { Y[i] = (X[U[i]] else 0) }"
PRODUCTS = "op f(X: i32[M], W: i32[N]) -> Z: i32[N, M] { Z[j, i] = (X[i * j] else 0) + W[j] }"
ROWS = "op f(X: i32[M, N], U: i32[M]) -> Y: i32[M, N] { Y[i, j] = (X[U[i], j - 1] else 7) }"


def test_an_index_from_data_may_lie_outside_of_a_filled_copy() -> None:
    lines = "cache_read X[a] as R fill 0"
    x, u = np.ones(4, np.int32), np.array([0, 3, 4, -1, 2**31 - 1, -(2**31)], np.int32)
    assert te.build(GATHER, schedule=lines)(x, u).tolist() == [1, 1, 0, 0, 0, 0]
    check(GATHER, lines, {"V": 3, "M": 9})


@pytest.mark.parametrize(
    ("text", "lines", "sizes"),
    [
        (DIAGONALS, "cache_read X[a] at Z.j as R fill 0", {"M": 50}),
        (PRODUCTS, "cache_read X[a] at Z.j as R fill 0", {"M": 5, "N": 300}),
        (ROWS, "cache_read X[a, b] at i as R fill 7", {"M": 6, "N": 5}),
    ],
)
def test_where_the_part_is_not_known_a_filled_copy_keeps_the_choice(
    text: str, lines: str, sizes: dict[str, int]
) -> None:
    assert "= where(" in loops(text, lines)
    check(text, lines, sizes)


@pytest.mark.parametrize(
    ("text", "lines", "reads"),
    [
        (DIAGONALS, "cache_read X[a] as R fill 0", "R[i + j] - R[i]"),  # the 2*M - 1 elements of all trips
        (PRODUCTS, "cache_read X[a] at Z.i as R fill 0", "R[i * j] + W[j]"),  # one element
    ],
)
def test_where_the_part_is_known_it_needs_none(text: str, lines: str, reads: str) -> None:
    assert f"Z[j, i] = {reads}" in loops(text, lines)
    check(text, lines, {"M": 1, "N": 1}, {"M": 5, "N": 9})
