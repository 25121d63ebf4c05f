"""What instructions compute, against formulas in NumPy. tests/backends has the instructions themselves."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.std.comparing import Array, Case, case, compare, comparisons


def codes(dtype: str, *shape: int) -> Any:
    limits = np.iinfo(dtype)
    return lambda rng: rng.integers(limits.min, limits.max + 1, shape).astype(dtype)


def pairs(lanes: int) -> Any:
    import ml_dtypes

    return lambda rng: rng.integers(-9, 10, (lanes, 2)).astype(ml_dtypes.bfloat16)


def start(lanes: int) -> Any:
    return lambda rng: rng.integers(-9, 10, lanes).astype(np.float32)


def dot(a: Array, b: Array, c: Array) -> Array:
    """Wraps as the accumulator does."""
    total = c.astype(np.int64) + (a.astype(np.int64) * b).sum(axis=1)
    return total.astype(c.dtype)


CASES = [
    case(
        "x86.dot_u8_i8",
        dot,
        [(codes("u1", n, 4), codes("i1", n, 4), codes("i4", n)) for n in (4, 8, 16)],
        "f32",
    ),
    case(
        "x86.dot_bf16",
        lambda a, b, c: c + (a.astype(np.float64) * b.astype(np.float64)).sum(axis=1),
        [(pairs(n), pairs(n), start(n)) for n in (4, 8, 16)],
        "f32",
    ),
]


@comparisons(CASES)
def test_x86(case: Case, schedule: str, dtype: str) -> None:
    compare(case, schedule, dtype)
