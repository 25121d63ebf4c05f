"""Attention and position embeddings of `nn` against formulas in NumPy."""

from __future__ import annotations

import numpy as np
from scipy import special

from tests.std.comparing import Array, Case, case, compare, comparisons


def attention(q: Array, k: Array, v: Array, sees: Array) -> Array:
    """Softmax attention where `sees`, broadcast to queries × keys, is true."""
    score = q @ np.swapaxes(k, -1, -2) / np.sqrt(q.shape[-1])
    with np.errstate(invalid="ignore"):
        return special.softmax(np.where(sees, score, -np.inf), -1) @ v


def masked(q: Array, k: Array, v: Array, sees: Array) -> Array:
    return np.where(sees.any(-1, keepdims=True), attention(q, k, v, sees), 0)


def plain(q: Array, k: Array, v: Array, is_causal: bool = False) -> Array:
    sees = np.tri(q.shape[-2], k.shape[-2], dtype=bool) if is_causal else np.bool_(True)
    return attention(q, k, v, sees)


def grouped(q: Array, k: Array, v: Array, is_causal: bool = False) -> Array:
    share = q.shape[1] // k.shape[1]
    k, v = (np.repeat(x, share, axis=1) for x in (k, v))
    queries, keys = q.shape[-2], k.shape[-2]
    sees = np.tri(queries, keys, keys - queries, dtype=bool) if is_causal else np.bool_(True)
    return attention(q, k, v, sees)


def cached(q: Array, k: Array, v: Array, length: int) -> Array:
    return grouped(q, k[:, :, :length], v[:, :, :length], is_causal=True)


def filled_to(length: int, *shape: int):
    """Keys or values of a cache: what lies behind `length` is NaN."""

    def fill(rng: np.random.Generator) -> Array:
        x = rng.normal(size=shape)
        x[:, :, length:] = np.nan
        return x

    return fill


def some(rng: np.random.Generator) -> Array:
    mask = rng.random(size=(3, 5)) < 0.5
    mask[0], mask[1] = True, False
    return mask


def rotations(x: Array, offset: int, base: float) -> Array:
    """The complex numbers by which the pairs of the last axis are turned."""
    length, width = x.shape[-2:]
    frequencies = base ** (-np.arange(0, width, 2) / width)
    return np.exp(1j * np.outer(np.arange(length) + offset, frequencies))


def rotary(x: Array, offset: int, base: float = 10000.0) -> Array:
    first, second = np.split(x, 2, -1)
    turned = (first + 1j * second) * rotations(x, offset, base)
    return np.concatenate([turned.real, turned.imag], -1)


def rotary_interleaved(x: Array, offset: int, base: float = 10000.0) -> Array:
    turned = (x[..., ::2] + 1j * x[..., 1::2]) * rotations(x, offset, base)
    return np.stack([turned.real, turned.imag], -1).reshape(x.shape)


def positions(x: Array) -> Array:
    waves = rotations(x, 0, 10000.0)
    return x + np.stack([waves.imag, waves.real], -1).reshape(x.shape[-2:])


PLAIN = [
    ((3, 4), (5, 4), (5, 2)),
    ((2, 3, 4), (2, 5, 4), (2, 5, 6)),
    ((2, 2, 5, 4), (2, 2, 5, 4), (2, 2, 5, 4)),
]
GROUPED = [((2, 4, 3, 4), (2, 2, 5, 4), (2, 2, 5, 2)), ((1, 2, 3, 4), (1, 1, 3, 4), (1, 1, 3, 4))]
POSITIONS = [((3, 6),), ((2, 5, 4),), ((2, 2, 7, 8),), ((0, 4),)]

CASES = [
    case("nn.scaled_dot_product_attention", plain, PLAIN),
    case("nn.scaled_dot_product_attention", plain, PLAIN, is_causal=True),
    case(
        "nn.masked_attention",
        masked,
        [((3, 4), (5, 4), (5, 2), some), ((2, 3, 4), (2, 5, 4), (2, 5, 2), some)],
    ),
    case("nn.grouped_query_attention", grouped, GROUPED),
    case("nn.grouped_query_attention", grouped, GROUPED, is_causal=True),
    case(
        "nn.cached_attention",
        cached,
        [
            ((2, 4, 1, 4), filled_to(3, 2, 2, 8, 4), filled_to(3, 2, 2, 8, 2), 3),
            ((1, 2, 3, 4), filled_to(5, 1, 2, 6, 4), filled_to(5, 1, 2, 6, 4), 5),
            ((1, 2, 3, 4), (1, 2, 6, 4), (1, 2, 6, 4), 6),
        ],
    ),
    case("nn.rotary_embedding", rotary, [(*x, offset) for x in POSITIONS for offset in (0, 7)]),
    case("nn.rotary_embedding", rotary, [((5, 8), 3)], base=100.0),
    case("nn.rotary_embedding_interleaved", rotary_interleaved, [(*x, 7) for x in POSITIONS]),
    case("nn.add_positions", positions, POSITIONS),
]


@comparisons(CASES)
def test_attention(case: Case, schedule: str, dtype: str) -> None:
    compare(case, schedule, dtype)
