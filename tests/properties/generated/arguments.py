"""Arrays for the inputs of generated programs: special values, odd layouts. Nothing here imports te."""

from __future__ import annotations

import ml_dtypes
import numpy as np

from tests.properties.generated.nodes import INTEGERS, Sizes, Tensor
from tests.properties.generated.reference import STORED


def array(t: Tensor, sizes: Sizes, rng: np.random.Generator) -> np.ndarray:
    shape = tuple(d.of(sizes) for d in t.dims)
    dtype = STORED[t.dtype]
    if t.dtype == "bool":
        return _laid_out(rng.random(shape) < 0.5, rng)
    if t.dtype in INTEGERS:
        return _laid_out(_integers(t.values, dtype, shape, rng), rng)
    eighths = rng.integers(-32, 33, shape) / 8
    if t.values == "eighths":
        values = np.where(rng.random(shape) < 0.1, -0.0, eighths)
    else:
        scale = np.float64(10.0) ** rng.integers(-3, 4, shape)
        values = np.where(rng.random(shape) < 0.3, eighths, rng.standard_normal(shape) * scale)
        limits = ml_dtypes.finfo(dtype)
        ends = np.array(
            [limits.max, -limits.max, limits.tiny, limits.smallest_subnormal, 1e15, 2.0**31, 256.0], float
        )
        values = np.where(rng.random(shape) < 0.08, rng.choice(ends, shape), values)
    if rng.random() < 0.5:
        special = rng.choice([np.nan, np.inf, -np.inf, -0.0], shape)
        values = np.where(rng.random(shape) < 0.1, special, values)
    with np.errstate(all="ignore"):
        return _laid_out(values.astype(dtype), rng)


def _integers(values: str, dtype: np.dtype, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    limits = np.iinfo(dtype)
    low = max(limits.min, -4)
    small = rng.integers(low, 12, shape)
    if values == "small":
        return small.astype(dtype)
    ends = np.array([limits.min, limits.min + 1, limits.max - 1, limits.max, 0, 1], dtype)
    wide = rng.integers(limits.min, limits.max, shape, dtype=dtype, endpoint=True)
    chosen = np.where(rng.random(shape) < 0.5, small.astype(dtype), wide)
    return np.where(rng.random(shape) < 0.15, rng.choice(ends, shape), chosen).astype(dtype)


def _laid_out(a: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The same elements, sometimes not contiguous, read-only or not aligned."""
    a = np.asarray(a)
    match rng.integers(8):
        case 0 if a.ndim:
            return np.asfortranarray(a)
        case 1 if a.ndim:
            return np.repeat(a, 2, axis=-1)[..., ::2]
        case 2 if a.ndim:
            return np.ascontiguousarray(a[::-1])[::-1]
        case 3:
            a = a.copy()
            a.setflags(write=False)
            return a
        case 4 if a.size:
            octets = np.zeros(a.nbytes + 1, np.uint8)
            shifted = octets[1:].view(a.dtype).reshape(a.shape)
            shifted[...] = a
            return shifted
    return a
