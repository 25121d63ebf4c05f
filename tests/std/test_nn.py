"""Layers of `nn` against formulas in NumPy: linear layers, softmax, normalisation, losses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import special

import te
from tests.std.comparing import Array, Case, case, compare, comparisons

ROWS = [((3, 7),), ((40,),), ((2, 3, 4),), ((0, 3),), ((3, 1),)]


def large(rng: np.random.Generator) -> Array:
    return rng.normal(size=(3, 20)) * 500


def positive(*shape: int) -> Any:
    return lambda rng: rng.random(size=shape) + 0.5


def probabilities(rng: np.random.Generator) -> Array:
    p = rng.random(size=(3, 4)) * (rng.random(size=(3, 4)) < 0.7)
    return p / (p.sum(-1, keepdims=True) + 1e-9)


def targets(rng: np.random.Generator) -> Array:
    return rng.integers(0, 2, 9).astype(np.float64)


def classes(dtype: str) -> Any:
    return lambda rng: rng.integers(0, 4, 9).astype(dtype)


def large_scores(rng: np.random.Generator) -> Array:
    return rng.normal(size=(9, 4)) * 300


def standardised(x: Array, axes: Any, eps: float) -> Array:
    return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + eps)


def along_channels(x: Array, v: Array) -> Array:
    return v.reshape(-1, *[1] * (x.ndim - 2))


def batch_norm(x: Array, mean: Array, var: Array, weight: Array, bias: Array, eps: float = 1e-5) -> Array:
    mean, var, weight, bias = (along_channels(x, v) for v in (mean, var, weight, bias))
    return (x - mean) / np.sqrt(var + eps) * weight + bias


def group_norm(x: Array, weight: Array, bias: Array, num_groups: int, eps: float = 1e-5) -> Array:
    groups = x.reshape(x.shape[0], num_groups, -1)
    y = standardised(groups, 2, eps).reshape(x.shape)
    return y * along_channels(x, weight) + along_channels(x, bias)


def instance_norm(x: Array, weight: Array, bias: Array, eps: float = 1e-5) -> Array:
    y = standardised(x, tuple(range(2, x.ndim)), eps)
    return y * along_channels(x, weight) + along_channels(x, bias)


NARROW = [
    case("nn.softmax", lambda x: special.softmax(x, -1), ROWS, "f16 bf16"),
    case("nn.gelu", lambda x: x * special.ndtr(x), ROWS, "f16 bf16"),
    case("nn.linear", lambda x, w, b: x @ w.T + b, [((3, 50), (4, 50), (4,))], "f16"),
    case(
        "nn.rms_norm",
        lambda x, w: standardised(np.stack([x, -x], -1), (-2, -1), 1e-6)[..., 0] * w,
        [((3, 7), (7,))],
        "f16 bf16",
    ),
]


def huber(x: Array, t: Array, delta: float = 1.0) -> Array:
    return special.huber(delta, x - t).mean()


CASES = [
    case("nn.prelu", lambda x, w: np.maximum(x, 0) + w * np.minimum(x, 0), [((3, 7), (7,)), ((7,), (7,))]),
    case(
        "nn.glu",
        lambda x: np.split(x, 2, -1)[0] * special.expit(np.split(x, 2, -1)[1]),
        [((3, 8),), ((2, 3, 2),)],
    ),
    case("nn.swiglu", lambda a, b: a * special.expit(a) * b, [((3, 8), (3, 8)), ((0,), (0,))]),
    case(
        "nn.linear",
        lambda x, w, b: x @ w.T + b,
        [((3, 5), (4, 5), (4,)), ((5,), (4, 5), (4,)), ((2, 3, 5), (4, 5), (4,)), ((3, 0), (4, 0), (4,))],
    ),
    case("nn.bias_add", np.add, [((3, 5), (5,)), ((2, 3, 5), (5,)), ((0, 5), (5,))], "f64 f32 i32"),
    case("nn.softmax", lambda x: special.softmax(x, -1), [*ROWS, (large,)]),
    case("nn.log_softmax", lambda x: special.log_softmax(x, -1), [*ROWS, (large,)]),
    case("nn.softmin", lambda x: special.softmax(-x, -1), [*ROWS, (large,)]),
    case(
        "nn.layer_norm",
        lambda x, w, b, eps=1e-5: standardised(x, -1, eps) * w + b,
        [((3, 7), (7,), (7,)), ((40,), (40,), (40,)), ((2, 3, 4), (4,), (4,)), ((0, 4), (4,), (4,))],
    ),
    case(
        "nn.rms_norm",
        lambda x, w, eps: x / np.sqrt((x**2).mean(-1, keepdims=True) + eps) * w,
        [((3, 7), (7,)), ((40,), (40,)), ((2, 3, 4), (4,))],
        eps=1e-3,
    ),
    case(
        "nn.batch_norm",
        batch_norm,
        [
            ((2, 3, 4, 5), (3,), positive(3), (3,), (3,)),
            ((7, 3), (3,), positive(3), (3,), (3,)),
            ((0, 3, 4), (3,), positive(3), (3,), (3,)),
        ],
    ),
    case("nn.group_norm", group_norm, [((2, 6, 4, 5), (6,), (6,)), ((2, 6), (6,), (6,))], num_groups=3),
    case("nn.group_norm", group_norm, [((2, 6, 4), (6,), (6,))], num_groups=1, eps=0.1),
    case("nn.instance_norm", instance_norm, [((2, 3, 4, 5), (3,), (3,)), ((2, 3, 9), (3,), (3,))]),
    case("nn.normalize", lambda x: x / np.linalg.norm(x, axis=-1, keepdims=True), ROWS),
    case("nn.mse_loss", lambda x, t: ((x - t) ** 2).mean(), [((3, 4), (3, 4)), ((1,), (1,))]),
    case("nn.l1_loss", lambda x, t: np.abs(x - t).mean(), [((3, 4), (3, 4)), ((1,), (1,))]),
    case("nn.huber_loss", huber, [((3, 4), (3, 4)), ((1,), (1,))]),
    case("nn.huber_loss", huber, [((30,), (30,))], delta=0.5),
    case(
        "nn.binary_cross_entropy_with_logits",
        lambda x, t: -(t * special.log_expit(x) + (1 - t) * special.log_expit(-x)).mean(),
        [((9,), targets)],
    ),
    case(
        "nn.cross_entropy",
        lambda x, t: -np.mean([special.log_softmax(row)[c] for row, c in zip(x, t, strict=True)]),
        [((9, 4), classes("i8")), (large_scores, classes("i4"))],
    ),
    case("nn.nll_loss", lambda x, t: -x[np.arange(9), t].mean(), [((9, 4), classes("u1"))]),
    case(
        "nn.embedding",
        lambda i, w: w[i],
        [
            (lambda rng: rng.integers(0, 5, (2, 3)), (5, 4)),
            (lambda rng: rng.integers(0, 5, 7).astype(np.int32), (5, 4)),
            (lambda rng: rng.integers(0, 5, 0), (5, 4)),
        ],
    ),
    case("nn.kl_div", lambda x, t: special.rel_entr(t, np.exp(x)).sum() / len(x), [((3, 4), probabilities)]),
]


@comparisons(CASES)
def test_layers(case: Case, schedule: str, dtype: str) -> None:
    compare(case, schedule, dtype)


@comparisons(NARROW)
def test_narrow_floats(case: Case, schedule: str, dtype: str) -> None:
    compare(case, schedule, dtype)


def test_a_class_that_does_not_exist() -> None:
    kernel = te.build(te.std.nn.cross_entropy, dtypes={"T": "f32", "I": "i64"})
    with pytest.raises(IndexError, match="target"):
        kernel(np.zeros((2, 3), "f4"), np.array([0, 3]))
