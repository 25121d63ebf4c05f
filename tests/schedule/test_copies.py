"""cache_read: what a copy holds, and what is read of it."""

from __future__ import annotations

import numpy as np
import pytest

import te
from te.schedule.finalize import finalize
from te.schedule.nest import nest
from tests.schedule.scheduling import assert_same, loops, program, random_inputs, refused, scheduled

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


# ---------------------------------------------------------------- copies of copies


BEFORE = "op f(X: i32[N]) -> Y: i32[N] { Y[i] = (X[i - 1] else 5) }"
LONGER = "op f(X: i32[N], W: i32[M]) -> Y: i32[M] { Y[i] = (X[i] else 5) + W[i] }"
WINDOW = "op f(X: i32[N]) -> Y: i32[N - 4] { require N >= 5; Y[i] = sum[j < 5](X[i + j] * X[i + 3]) }"
CORNER = "op f(X: i32[N]) -> Y: i32[4, 4] { require N >= 10; Y[i, j] = X[i * j] }"
STRIDED = "op f(X: i32[N]) -> Y: i32[N] { Y[i] = (X[2 * i - 1] else 5) }"


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        (BEFORE, "cache_read X[a] as R fill 5\ncache_read R[a] as S"),
        (BEFORE, "cache_read X[a] as R fill 5\ncache_read R[a] as S fill 5"),
        (BEFORE, "cache_read X[a] as R fill 5\ncache_read R[a] as S\ncache_read S[a] as T"),
        (BEFORE, "cache_read X[a] as R fill 5\ncache_read R[a] as S\ncache_read S[a] at Y.i as T fill 5"),
        (BEFORE, "cache_read X[a] as R fill 4\ncache_read R[a] as S\ncache_read S[a] as T"),
        (BEFORE, "cache_read X[a] as R\ncache_read R[a] as S fill 5"),
        (STRIDED, "split i by 4\ncache_read X at io as R in shared fill 5\ncache_read R at ii as S"),
        (STRIDED, "split i by 4\ncache_read X at io as R in shared fill 5\ncache_read R at ii as S fill 5"),
    ],
)
def test_copies_of_a_filled_copy_hold_what_fills_it(text: str, lines: str) -> None:
    check(text, lines, {"N": 1}, {"N": 4}, {"N": 9})


def test_they_hold_no_other_number() -> None:
    found = refused(BEFORE, "cache_read X[a] as R fill 5\ncache_read R[a] as S fill 1")
    assert found.code == "copy-refused"
    assert found.message == "`R` is filled with 5, and so are the copies of it"


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        (PRODUCTS, "cache_read X[a] as R fill 0\ncache_read R[a] at Z.j as S"),
        (PRODUCTS, "cache_read X[a] as R\ncache_read R[a] at Z.j as S fill 0"),
        (WINDOW, "cache_read X at i as R\ncache_read R at j as S"),
        (CORNER, "cache_read X as R\ncache_read R at i as S"),
        (ROWS, "cache_read X as R fill 7\ncache_read R at i as S\ncache_read S at j as T fill 7"),
    ],
)
def test_where_the_part_is_not_known_all_of_the_source_is_copied(text: str, lines: str) -> None:
    check(text, lines, {"M": 5, "N": 10}, {"M": 7, "N": 30})


@pytest.mark.parametrize("fill", ["", " fill 5"])
def test_a_copy_that_overhangs_its_source_copies_what_that_holds(fill: str) -> None:
    lines = f"cache_read X[i] as R fill 5\nsplit Y.i by 8\ncache_read R at io as S{fill}"
    assert "8 * io + i < M" in loops(LONGER, lines)
    check(LONGER, lines, {"M": 21, "N": 3}, {"M": 3, "N": 21}, {"M": 8, "N": 8})


@pytest.mark.parametrize("fill", ["", " fill 5"])
def test_so_does_a_copy_of_that_one(fill: str) -> None:
    lines = f"""
    cache_read X as R fill 5
    split Y.i by 8
    cache_read R at io as S{fill}
    split ii by 4
    cache_read S at iio as T
    cache_read T at iii as V
    """
    check(LONGER, lines, {"M": 21, "N": 3}, {"M": 3, "N": 21}, {"M": 8, "N": 8})


@pytest.mark.parametrize("fill", ["", " fill 5"])
def test_a_part_that_is_not_filled_is_not_overhung(fill: str) -> None:
    lines = f"cache_read X as R\nsplit Y.i by 8\ncache_read R at io as S{fill}"
    found = refused(LONGER, lines)
    assert found.code == "copy-refused"
    assert "`R` holds a part of a tensor" in found.message
    check(
        "op f(X: i32[N]) -> Y: i32[N] { Y[i] = X[i] }", lines, {"N": 21}
    )  # all of it, but for what X has not


@pytest.mark.parametrize("inner", ["", " fill 5", " fill 4"])
def test_a_copy_of_the_tensor_inside_of_a_copy_changes_nothing_of_that(inner: str) -> None:
    """What `R` is made of is then `T`, and `R` still holds what it held."""
    for fill in ("", " fill 5"):
        lines = f"split i by 4\ncache_read X[a] at io as R{fill}\nsplit R.a by 2\ncache_read X at R.ao as T{inner}"
        check(BEFORE, lines + "\ncache_read R at ii as S", {"N": 1}, {"N": 9})


# ---------------------------------------------------------------- numbers that fill


@pytest.mark.parametrize("dtype", ["i32", "bool"])
@pytest.mark.parametrize("fill", ["nan", "inf", "-inf", "0.5", "1e300"])
def test_a_number_that_the_type_has_not(dtype: str, fill: str) -> None:
    otherwise = "false" if dtype == "bool" else "0"
    text = f"op f(X: {dtype}[N]) -> Y: {dtype}[N] {{ Y[i] = (X[i - 1] else {otherwise}) }}"
    found = refused(text, f"cache_read X fill {fill}")
    assert found.code == "copy-refused"
    assert found.message.endswith(f" is no value of type {dtype}")


def test_a_number_that_is_too_large_is_not_infinite() -> None:
    found = refused("op f(X: f16[N]) -> Y: f16[N] { Y[i] = (X[i - 1] else 0) }", "cache_read X fill 1e5")
    assert found.message == "100000.0 is too large for f16"


@pytest.mark.parametrize("fill", ["nan", "inf", "-inf", "1"])
def test_floats_have_them(fill: str) -> None:
    text = f"op f(X: f32[N]) -> Y: f32[N] {{ Y[i] = (X[i - 1] else {fill}) }}"
    assert "Y[i] = R[i - 1]" in loops(text, f"cache_read X as R fill {fill}\ncache_read R as S").replace(
        "S", "R"
    )
    check(text, f"cache_read X as R fill {fill}\ncache_read R as S fill {fill}", {"N": 4})
