"""What instructions of GPUs compute, against formulas in NumPy. tests/backends has the instructions themselves."""

from __future__ import annotations

from typing import Any

import numpy as np

from te.ir.types import DTYPES, numpy_dtype
from tests.std.comparing import Array, Case, case, compare, comparisons


def whole(dtype: str, *shape: int) -> Any:
    """All values of small types, small whole numbers of floats."""
    numpy = numpy_dtype(DTYPES[dtype])
    if DTYPES[dtype].is_float:
        return lambda rng: rng.integers(-9, 10, shape).astype(numpy)
    limits = np.iinfo(numpy)
    return lambda rng: rng.integers(limits.min, limits.max + 1, shape).astype(numpy)


def product(a: Array, b: Array, c: Array) -> Array:
    """Wraps as the accumulator does."""
    kind = np.int64 if c.dtype.kind in "iu" else np.float64
    return (c.astype(kind) + a.astype(kind) @ b.astype(kind)).astype(c.dtype)


def tile(name: str, a: str, b: str, c: str, terms: int) -> Case:
    calls = [(whole(a, 16, terms), whole(b, terms, 8), whole(c, 16, 8))] * 2
    return case(f"cuda.product_{name}", product, calls, "f32")


CASES = [
    tile("bf16", "bf16", "bf16", "f32", 16),
    tile("f16", "f16", "f16", "f32", 16),
    tile("tf32", "f32", "f32", "f32", 8),
    tile("i8", "i8", "i8", "i32", 32),
    tile("u8", "u8", "u8", "i32", 32),
    tile("u8_i8", "u8", "i8", "i32", 32),
    tile("i8_u8", "i8", "u8", "i32", 32),
]


@comparisons(CASES)
def test_cuda(case: Case, schedule: str, dtype: str) -> None:
    compare(case, schedule, dtype)
