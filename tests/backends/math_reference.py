"""What the elementary functions should give, and how far a result is from it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import special

from te.backends import llvm
from te.ir.expr import Op
from te.ir.types import DType, numpy_dtype
from te.target import Target
from tests.backends.llvm_support import Block, map_kernel

Array = np.ndarray[Any, Any]


def _sigmoid(x: Array) -> Array:
    small = np.exp(-np.abs(x))
    return np.where(x < 0, small, 1.0) / (1.0 + small)


# In f64, where their errors of an ULP or four are 2^-27 ULP of f32.
UNARY: dict[str, Callable[[Array], Array]] = {
    "rsqrt": lambda x: 1.0 / np.sqrt(x),
    "exp": np.exp,
    "exp2": np.exp2,
    "expm1": np.expm1,
    "sigmoid": _sigmoid,
    "log": np.log,
    "log2": np.log2,
    "log1p": np.log1p,
    "sin": np.sin,
    "cos": np.cos,
    "tan": np.tan,
    "asin": np.arcsin,
    "acos": np.arccos,
    "atan": np.arctan,
    "sinh": np.sinh,
    "cosh": np.cosh,
    "tanh": np.tanh,
    "asinh": np.arcsinh,
    "acosh": np.arccosh,
    "atanh": np.arctanh,
    "erf": special.erf,
    "erfc": special.erfc,
}
BINARY: dict[str, Callable[[Array, Array], Array]] = {"pow": np.power, "atan2": np.arctan2}
REFERENCE: dict[str, Callable[..., Array]] = {**UNARY, **BINARY}


class Compiled:
    """A function on arrays of one size, compiled once."""

    def __init__(
        self, name: str, dtype: DType, count: int, lanes: int, target: Target, *, fast: bool = False
    ):
        arity = 2 if name in BINARY else 1
        kind = "scalar" if lanes == 1 else "vector"
        kernel = map_kernel(lambda *a: Op(name, a, dtype), [dtype] * arity, dtype, count, kind, lanes)
        self.executable = llvm.load(llvm.emit([kernel], target, has_fast_math=fast))
        self.dtype = numpy_dtype(dtype)
        self.count = count

    def __call__(self, *columns: Array) -> Array:
        result = np.empty(self.count, self.dtype)
        arrays = {f"X{n}": np.ascontiguousarray(c) for n, c in enumerate(columns)}
        assert all(c.shape == (self.count,) and c.dtype == self.dtype for c in columns)
        entry = self.executable.artifact.entries[0]
        block = Block(entry, self.executable.parallel_for, {**arrays, "Y": result}, {})
        self.executable(block.address)
        return result


def ulps_f32(got: Array, exact: Array) -> tuple[float, int]:
    """The largest error of f32 results in units in the last place of the exact (f64) values, and where.

    Half a unit, if all are correctly rounded. Infinite, if one is NaN where it should not be or has the
    wrong sign. Infinity counts as 2**128.
    """
    rounded = exact.astype(np.float32)
    differs = np.flatnonzero(got.view(np.uint32) != rounded.view(np.uint32))
    g, e = got[differs].astype(np.float64), exact[differs]
    both_nan = np.isnan(g) & np.isnan(e)
    differs, g, e = differs[~both_nan], g[~both_nan], e[~both_nan]
    if not len(differs):
        return 0.5, 0
    g, e = (np.clip(v, -(2.0**128), 2.0**128) for v in (g, e))
    unit = np.ldexp(1.0, np.maximum(np.frexp(e)[1] - 1, -126) - 23)
    error = np.abs(g - e) / unit
    error[np.isnan(g) | np.isnan(e) | (np.signbit(g) != np.signbit(e))] = np.inf
    worst = int(np.argmax(error))
    return max(0.5, float(error[worst])), int(differs[worst])


def all_f32(function: Compiled, reference: Callable[[Array], Array]) -> tuple[float, float]:
    """The largest error over all 2**32 arguments, and the argument."""
    worst, place = 0.5, 0.0
    for first in range(0, 1 << 32, function.count):
        x = np.arange(first, first + function.count, dtype=np.uint64).astype(np.uint32).view(np.float32)
        error, at = ulps_f32(function(x), reference(x.astype(np.float64)))
        if error > worst:
            worst, place = error, float(x[at])
    return worst, place


def samples_f32(rng: np.random.Generator) -> Array:
    """2**18 values: every sign and exponent with random mantissas, and all floats around special points."""
    heads = np.repeat(np.arange(512, dtype=np.uint32) << 23, 400)
    spread = (heads | rng.integers(0, 1 << 23, heads.size, dtype=np.uint32)).view(np.float32)
    halves = np.arange(1, 65) * (np.pi / 2)
    points = [0.0, 1e-30, 2.0**-18, 0.5, 0.625, 0.7071, 0.92, 1.0, 1.4142, 2.0, 4.0, 10.0, 10.05, 16.6, 20.0]
    points += [87.3, 88.7, 89.4, 103.9, 126.0, 128.0, 149.0, 2.0**20, 2.0**28, 2.0**127, *halves]
    near = np.array(points, np.float32).view(np.uint32)[:, None] + np.arange(-150, 151)[None, :]
    near = np.maximum(near, 0).astype(np.uint32).ravel().view(np.float32)
    rest = (1 << 18) - spread.size - 2 * near.size
    return np.concatenate([spread, near, -near, rng.uniform(-20, 20, rest).astype(np.float32)])
