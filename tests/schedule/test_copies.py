"""cache_read: what a copy holds, and what is read of it."""

from __future__ import annotations

import numpy as np
import pytest

import te
from te.schedule.nest import nest
from tests.schedule.scheduling import assert_same, loops, program, random_inputs, scheduled

DIAGONALS = "op f(X: i32[M]) -> Z: i32[M, M] { Z[j, i] = (X[i + j] else 0) - X[i] }"


def check(text: str, lines: str, *all_sizes: dict[str, int]) -> None:
    """The lines change no result: as they stand, and as they are run."""
    from te.schedule.finalize import finalize

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
