"""Random reducers of the user's own, with states of several values, mean what folding in Python means."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import te

FEW = settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
LEAST, MOST = np.iinfo(np.int64).min, np.iinfo(np.int64).max


@dataclass(frozen=True)
class Part:
    """A value of the state that is combined by itself."""

    identity: int
    combined: str  # of `{0}` and `{1}`
    combine: Callable[[int, int], int]


PARTS = (
    Part(0, "{0} + {1}", lambda a, b: a + b),
    Part(1, "{0} * {1}", lambda a, b: a * b),
    Part(0, "{0} ^ {1}", lambda a, b: a ^ b),
    Part(-1, "{0} & {1}", lambda a, b: a & b),
    Part(int(LEAST), "max({0}, {1})", max),
    Part(int(MOST), "min({0}, {1})", min),
    Part(
        0,
        "where({0} == 0, {1}, where({1} == 0, {0}, max({0}, {1})))",
        lambda a, b: max(a, b) if a and b else a or b,
    ),
)
TERMS = ("X[i, j]", "X[i, j] * 3 - j", "j", "X[i, j] ** 2 + i", "1")
CONDITIONS = {
    "": lambda x, i, j: True,
    " where j <= i": lambda x, i, j: j <= i,
    " where X[i, j] > 0": lambda x, i, j: x > 0,
}


@given(
    st.lists(st.tuples(st.sampled_from(PARTS), st.sampled_from(TERMS)), min_size=1, max_size=4),
    st.sampled_from(sorted(CONDITIONS)),
    st.sampled_from(["none", "auto"]),
    st.tuples(st.integers(0, 5), st.sampled_from([0, 1, 3, 8, 37])),
    st.integers(0, 99),
)
@FEW
def test_parts(
    parts: list[tuple[Part, str]], condition: str, schedule: str, shape: tuple[int, int], seed: int
) -> None:
    names = "abcd"[: len(parts)]
    state = ", ".join(f"{n}: i64 = {part.identity}" for n, (part, _) in zip(names, parts, strict=True))
    body = "\n".join(
        f"{n} = {part.combined.format(n, n + '_')}" for n, (part, _) in zip(names, parts, strict=True)
    )
    results = ", ".join(f"{n.upper()}: i64[M]" for n in names)
    targets = ", ".join(f"{n.upper()}[i]" for n in names)
    terms = ", ".join(term for _, term in parts)
    text = f"""reducer r({state}) with ({", ".join(n + "_" for n in names)}) {{ {body} }}
    op f(X: i64[M, N]) -> {results} {{ {targets} = r[j < N{condition}]({terms}) }}"""
    x = np.random.default_rng(seed).integers(-9, 9, shape)
    found = te.build(text, schedule)(x)
    for result, (part, term) in zip(found if len(parts) > 1 else (found,), parts, strict=True):
        expected = [
            reduce(
                lambda a, b: wrapped(part.combine(a, b)),
                [
                    eval(term, {"X": x, "i": i, "j": j})
                    for j in range(shape[1])
                    if CONDITIONS[condition](x[i, j], i, j)
                ],
                part.identity,
            )
            for i in range(shape[0])
        ]
        np.testing.assert_array_equal(result, np.array(expected, np.int64))


@given(st.sampled_from(["none", "auto"]), st.tuples(st.integers(0, 4), st.integers(0, 9)), st.integers(0, 99))
@FEW
def test_state_whose_values_belong_together(schedule: str, shape: tuple[int, int], seed: int) -> None:
    """The largest value, where it stands first, and how often: an old value is seen until all are new."""
    text = f"""reducer top(v: i64 = {LEAST}, at: i64 = {MOST}, count: i64 = 0) with (v_, at_, count_) {{
        v     = max(v, v_)
        at    = where(v_ > v, at_, where(v_ < v, at, min(at, at_)))
        count = where(v_ > v, count_, where(v_ < v, count, count + count_))
    }}
    op f(X: i64[M, N]) -> V: i64[M], A: i64[M], C: i64[M] {{ V[i], A[i], C[i] = top[j < N](X[i, j], j, 1) }}"""
    x = np.random.default_rng(seed).integers(-3, 3, shape)
    values, places, counts = te.build(text, schedule)(x)
    for i, row in enumerate(x):
        largest = row.max(initial=LEAST)
        assert values[i] == largest
        assert places[i] == (row.argmax() if row.size else MOST)
        assert counts[i] == (row == largest).sum()


def wrapped(value: int) -> int:
    return (int(value) + (1 << 63)) % (1 << 64) - (1 << 63)
