"""Quantised numbers against formulas in NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.std.comparing import Array, Case, case, compare, comparisons


def codes(dtype: str, *shape: int) -> Any:
    limits = np.iinfo(dtype)
    return lambda rng: rng.integers(limits.min, limits.max + 1, shape).astype(dtype)


def quantized(x: Array, scale: Array, zero: Array) -> Array:
    limits = np.iinfo(zero.dtype)
    return np.clip(np.rint(x / scale) + zero, limits.min, limits.max).astype(zero.dtype)


def dequantized(q: Array, scale: Array, zero: Array) -> Array:
    return (q.astype(np.float64) - zero.astype(np.float64)) * scale


def column(v: Array, x: Array) -> Array:
    return v.reshape(-1, *[1] * (x.ndim - 1))


def product(a: Array, b: Array, a_zero: Array, b_zero: Array) -> Array:
    return (a.astype(np.int64) - np.int64(a_zero)) @ (b.astype(np.int64) - np.int64(b_zero))


def qlinear_matmul(
    a: Array,
    a_scale: Array,
    a_zero: Array,
    b: Array,
    b_scale: Array,
    b_zero: Array,
    scale: Array,
    zero: Array,
) -> Array:
    return quantized(product(a, b, a_zero, b_zero) * (a_scale * b_scale), scale, zero)


def dynamic(x: Array) -> tuple[Array, float, int]:
    low, high = min(x.min(initial=0), 0), max(x.max(initial=0), 0)
    scale = np.float32((high - low) / 255) if high > low else np.float32(1)
    zero = np.uint8(np.rint(-low / scale))
    return quantized(x, scale, zero), scale, zero


def scattered(*shape: int) -> Any:
    """Multiples of 1/4, some of them far outside: exact in every float, many of them halfway."""
    return lambda rng: rng.integers(-2000, 2000, shape) / 4


def powers(*shape: int) -> Any:
    return lambda rng: 2.0 ** rng.integers(-2, 3, shape)


def zero(dtype: str) -> Any:
    return codes(dtype)


KINDS = ("uint8", "int8")
PAIRS = [(a, b) for a in KINDS for b in KINDS]

CASES = [
    case(
        "quant.quantize_linear",
        quantized,
        [(scattered(*shape), 0.5, zero(k)) for k in KINDS for shape in ((3, 40), (7,), (0,))],
    ),
    case(
        "quant.dequantize_linear",
        dequantized,
        [(codes(k, *shape), 0.3, zero(k)) for k in KINDS for shape in ((3, 40), (7,), (0,))],
    ),
    case(
        "quant.quantize_linear_per_channel",
        lambda x, s, z: quantized(x, column(s, x), column(z, x)),
        [(scattered(*shape), powers(3), codes(k, 3)) for k in KINDS for shape in ((3, 40), (3, 4, 5))],
    ),
    case(
        "quant.dequantize_linear_per_channel",
        lambda q, s, z: dequantized(q, column(s, q), column(z, q)),
        [(codes(k, *shape), (3,), codes(k, 3)) for k in KINDS for shape in ((3, 40), (3, 4, 5))],
    ),
    case("quant.dynamic_quantize_linear", dynamic, [((3, 40),), ((7,),), (lambda rng: np.ones(5),)], "f32"),
    case(
        "quant.matmul_integer",
        product,
        [
            (codes(a, *s), codes(b, *t), zero(a), zero(b))
            for a, b in PAIRS
            for s, t in (((3, 50), (50, 17)), ((2, 0), (0, 3)))
        ],
        "f32",
    ),
    case(
        "quant.qlinear_matmul",
        qlinear_matmul,
        [(codes(a, 3, 5), 0.25, zero(a), codes(b, 5, 7), 0.5, zero(b), 64.0, zero(a)) for a, b in PAIRS],
        "f32",
    ),
    case(
        "quant.linear_integer",
        lambda x, w, b, scale, zero: product(x, w.T, zero, 0) * scale + b,
        [(codes(a, *s), codes(b, 4, 5), (4,), 0.25, zero(a)) for a, b in PAIRS for s in ((3, 5), (2, 3, 5))],
        "f32",
    ),
]


@comparisons(CASES)
def test_quantised(case: Case, schedule: str, dtype: str) -> None:
    compare(case, schedule, dtype)
