"""Scalar functions of `math`, and the same over whole tensors in `nn`, against SciPy's."""

from __future__ import annotations

import numpy as np
from scipy import special

from tests.std.comparing import Array, Case, case, compare, comparisons


def sigmoid(x: Array) -> Array:
    return special.expit(x)


def softplus(x: Array) -> Array:
    return np.logaddexp(0, x)


FUNCTIONS = {
    "relu": lambda x: np.where(x > 0, x, 0 * x),
    "relu6": lambda x: np.clip(x, 0, 6),
    "leaky_relu": lambda x, slope=0.01: np.maximum(x, 0) + slope * np.minimum(x, 0),
    "elu": lambda x, alpha=1.0: np.where(x > 0, x, alpha * (np.exp(np.minimum(x, 0)) - 1)),
    "selu": lambda x: (
        1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * np.expm1(np.minimum(x, 0)))
    ),
    "celu": lambda x, alpha=1.0: np.maximum(x, 0) + np.minimum(0, alpha * np.expm1(x / alpha)),
    "gelu": lambda x: x * special.ndtr(x),
    "gelu_tanh": lambda x: 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))),
    "silu": lambda x: x * sigmoid(x),
    "mish": lambda x: x * np.tanh(softplus(x)),
    "softplus": softplus,
    "softsign": lambda x: x / (1 + np.abs(x)),
    "log_sigmoid": lambda x: -softplus(-x),
    "hardsigmoid": lambda x: np.clip(x / 6 + 0.5, 0, 1),
    "hardswish": lambda x: x * np.clip(x / 6 + 0.5, 0, 1),
    "hardtanh": lambda x: np.clip(x, -1, 1),
    "hardshrink": lambda x, bound=0.5: x * (np.abs(x) > bound),
    "softshrink": lambda x, bound=0.5: np.sign(x) * np.maximum(np.abs(x) - bound, 0),
    "sigmoid_": sigmoid,
    "tanh_": np.tanh,
}
SCALARS_ONLY = ("celu", "hardshrink", "softshrink")
TENSORS_ONLY = ("sigmoid_", "tanh_")
CONSTS = {
    "leaky_relu": {"slope": 0.2},
    "elu": {"alpha": 1.5},
    "celu": {"alpha": 2.0},
    "hardshrink": {"bound": 1.0},
}


def spread(rng: np.random.Generator) -> Array:
    """Numbers of every size that a network sees, both signs."""
    return np.concatenate([rng.normal(size=20) * 3, [0.0, -0.0, 40.0, -40.0, 1e-3]])


NUMBERS = [(x,) for x in (-3.5, -0.75, 0.0, 0.25, 3.5, 30.0)]
CASES: list[Case] = []
for name, formula in FUNCTIONS.items():
    for consts in ({}, CONSTS[name]) if name in CONSTS else ({},):
        if name not in TENSORS_ONLY:
            CASES.append(case(f"math.{name}", formula, NUMBERS, **consts))
        if name not in SCALARS_ONLY and consts in ({}, {"slope": 0.2}, {"alpha": 1.5}):
            calls = [(spread,), ((0,),), ((1,),), (lambda rng: rng.normal(size=37) * 5,)]
            CASES.append(case(f"nn.{name}", formula, calls, **consts))

CASES += [
    case("math.logit", special.logit, [(0.25,), (0.5,), (0.9375,)]),
    case("math.hypot", np.hypot, [(3.0, 4.0), (-0.5, 0.25), (0.0, 0.0), (1e30, 1e30), (np.inf, 1.0)]),
    case("math.lerp", lambda a, b, w: (1 - w) * a + w * b, [(1.0, 3.0, 0.25), (2.0, -2.0, 1.5)]),
    case("math.clip", np.clip, [(5.0, 0.0, 3.0), (-1.0, 0.0, 3.0), (1.5, 0.0, 3.0)]),
]


@comparisons(CASES)
def test_functions(case: Case, schedule: str, dtype: str) -> None:
    compare(case, schedule, dtype)
