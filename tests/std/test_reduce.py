"""Reductions against NumPy's and SciPy's."""

from __future__ import annotations

import numpy as np
from scipy import special, stats

from tests.std.comparing import Array, Case, Formula, case, compare, comparisons

NUMBERS = "f64 f32 i32"
ROWS = [((3, 7),), ((40,),), ((2, 3, 4),), ((0, 3),), ((3, 1),)]
WITH_EMPTY_ROWS = [*ROWS, ((3, 0),)]


def conditions(*shape: int) -> Formula:
    return lambda rng: rng.random(size=shape) < 0.5


def probabilities(rng: np.random.Generator) -> Array:
    """Distributions in rows, one of them with a zero."""
    p = rng.random(size=(4, 5))
    p[0, 2] = 0
    return p / p.sum(-1, keepdims=True)


def with_infinities(rng: np.random.Generator) -> Array:
    x = rng.normal(size=(4, 3)) * 100
    x[0] = -np.inf
    x[1, 1] = np.inf
    x[2, 2] = -np.inf
    return x


def with_nan(rng: np.random.Generator) -> Array:
    x = rng.normal(size=(4, 19))
    x[1, 3] = np.nan
    return x


def with_ties(rng: np.random.Generator) -> Array:
    return rng.integers(0, 4, (6, 50)).astype(np.float64)


CONDITIONS = [(conditions(3, 7),), (conditions(2, 3, 4),), (conditions(0, 3),), (conditions(3, 0),)]

CASES = [
    case("reduce.reduce_sum", lambda x: x.sum(-1), WITH_EMPTY_ROWS, NUMBERS),
    case("reduce.reduce_prod", lambda x: x.prod(-1), [((3, 4),), ((2, 3, 4),), ((3, 0),)], NUMBERS),
    case("reduce.reduce_mean", lambda x: x.mean(-1), ROWS),
    case("reduce.reduce_max", lambda x: x.max(-1), ROWS, NUMBERS),
    case("reduce.reduce_max", lambda x: x.max(-1), [(with_nan,)]),
    case("reduce.reduce_min", lambda x: x.min(-1), ROWS, NUMBERS),
    case("reduce.reduce_any", lambda x: x.any(-1), CONDITIONS, "f32"),
    case("reduce.reduce_all", lambda x: x.all(-1), CONDITIONS, "f32"),
    case("reduce.arg_max", lambda x: x.argmax(-1), [*ROWS, (with_nan,), (with_ties,)]),
    case("reduce.arg_min", lambda x: x.argmin(-1), [*ROWS, (with_nan,), (with_ties,)]),
    case("reduce.arg_max", lambda x: np.full(len(x), -1), [((3, 0),)]),
    case("reduce.reduce_l1", lambda x: np.linalg.norm(x, 1, -1), ROWS),
    case("reduce.reduce_l2", lambda x: np.linalg.norm(x, 2, -1), ROWS),
    case("reduce.norm", lambda x, p: np.linalg.norm(x, p, -1), ROWS, p=3.0),
    case(
        "reduce.variance",
        lambda x, correction: x.var(-1, ddof=correction),
        [((3, 7),), ((40,),)],
        correction=0,
    ),
    case("reduce.variance", lambda x: x.var(-1, ddof=1), [((3, 7),), ((40,),), ((2, 3, 4),)]),
    case("reduce.std", lambda x: x.std(-1, ddof=1), [((3, 7),), ((40,),)]),
    case("reduce.logsumexp", lambda x: special.logsumexp(x, -1), [*ROWS, (with_infinities,)]),
    case("reduce.entropy", lambda p: stats.entropy(p, axis=-1), [(probabilities,)]),
    case("reduce.count_nonzero", lambda x: np.count_nonzero(x, -1), WITH_EMPTY_ROWS, NUMBERS),
    case("reduce.reduce_sum_all", np.sum, WITH_EMPTY_ROWS, NUMBERS),
    case("reduce.reduce_prod_all", np.prod, [((3, 4),), ((0,),)], NUMBERS),
    case("reduce.reduce_mean_all", np.mean, [((3, 4),), ((9,),)]),
    case("reduce.reduce_max_all", np.max, [((3, 4),), ((90,),)], NUMBERS),
    case("reduce.reduce_min_all", np.min, [((3, 4),), ((90,),)], NUMBERS),
    case("reduce.reduce_any_all", np.any, CONDITIONS, "f32"),
    case("reduce.reduce_all_all", np.all, CONDITIONS, "f32"),
    case("reduce.cumsum", lambda x: np.cumsum(x, -1), WITH_EMPTY_ROWS, NUMBERS),
    case("reduce.cumprod", lambda x: np.cumprod(x, -1), [((3, 4),), ((5,),)], NUMBERS),
    case("reduce.cummax", lambda x: np.maximum.accumulate(x, -1), WITH_EMPTY_ROWS, NUMBERS),
    case("reduce.cummin", lambda x: np.minimum.accumulate(x, -1), WITH_EMPTY_ROWS, NUMBERS),
]


@comparisons(CASES)
def test_reductions(case: Case, schedule: str, dtype: str) -> None:
    compare(case, schedule, dtype)
