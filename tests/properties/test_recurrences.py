"""Random recurrences mean what loops in Python mean: orders of axes, starts, intermediates, several tensors."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import te

FEW = settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
SCHEDULES = st.sampled_from(["none", "auto"])
SIZES = st.sampled_from([1, 2, 3, 0, 7, 18])
SMALL = st.integers(-3, 3)


@dataclass(frozen=True)
class Term:
    """`factor * (tensor[i - down, j - right] else outside)`."""

    tensor: str
    down: int
    right: int
    factor: int
    outside: int

    def text(self) -> str:
        place = ", ".join(
            f"{i} - {by}" if by >= 0 else f"{i} + {-by}" for i, by in zip("ij", self.by, strict=True)
        )
        if self.by == (0, 0):  # never outside
            return f"{self.factor} * {self.tensor}[i, j]"
        return f"{self.factor} * ({self.tensor}[{place}] else {self.outside})"

    @property
    def by(self) -> tuple[int, int]:
        return self.down, self.right

    def value(self, tensors: dict[str, np.ndarray], i: int, j: int) -> int:
        of = tensors[self.tensor]
        row, column = i - self.down, j - self.right
        inside = 0 <= row < of.shape[0] and 0 <= column < of.shape[1]
        return self.factor * int(of[row, column] if inside else self.outside)


@st.composite
def terms(draw: st.DrawFn, tensor: str, *, is_earlier: bool = True) -> Term:
    """Of an earlier row; or of the same row, and an earlier column (or this one)."""
    down = draw(st.integers(0, 2))
    right = draw(st.integers(-2, 2) if down else st.integers(1 if is_earlier else 0, 2))
    return Term(tensor, down, right, draw(SMALL), draw(SMALL))


def wrapped(value: int) -> int:
    return (value + (1 << 63)) % (1 << 64) - (1 << 63)


@given(
    SCHEDULES, SIZES, SIZES, st.lists(terms("Y"), min_size=1, max_size=3), st.booleans(), st.integers(0, 99)
)
@FEW
def test_one_tensor(
    schedule: str, rows: int, columns: int, parts: list[Term], is_turned: bool, seed: int
) -> None:
    """In either order of the axes."""
    x = np.random.default_rng(seed).integers(-(1 << 62), 1 << 62, (rows, columns))
    value = " + ".join(part.text() for part in parts)
    index = "[j, i]" if is_turned else "[i, j]"
    text = f"op f(X: i64[M, N]) -> Y: i64[M, N] {{ Y[i, j] = X[i, j] + {value} }}"
    if is_turned:
        for part in parts:
            place = part.text().partition("[")[2].partition("]")[0]
            text = text.replace(f"[{place}]", f"[{', '.join(reversed(place.split(', ')))}]")
        text = text.replace("[i, j]", index)
    expected = np.zeros_like(x)
    for i, j in product(range(rows), range(columns)):
        expected[i, j] = wrapped(int(x[i, j]) + sum(part.value({"Y": expected}, i, j) for part in parts))
    given_x, wanted = (x.T.copy(), expected.T) if is_turned else (x, expected)
    np.testing.assert_array_equal(te.build(text, schedule)(given_x), wanted)


@given(
    SCHEDULES,
    SIZES,
    SIZES,
    st.tuples(terms("Y"), terms("Z")),
    st.tuples(terms("Y", is_earlier=False), terms("Z")),
    st.booleans(),
    st.integers(0, 99),
)
@FEW
def test_two_tensors(
    schedule: str,
    rows: int,
    columns: int,
    of_y: tuple[Term, Term],
    of_z: tuple[Term, Term],
    through_intermediate: bool,
    seed: int,
) -> None:
    """`Z` reads `Y`, perhaps of the same place, and both read both, perhaps through an intermediate."""
    x = np.random.default_rng(seed).integers(-9, 9, (rows, columns))
    sums = [" + ".join(part.text() for part in parts) for parts in (of_y, of_z)]
    gate = "G[i < M, j < N] = " + sums[0] if through_intermediate else ""
    text = f"""op f(X: i64[M, N]) -> Y: i64[M, N], Z: i64[M, N] {{
        {gate}
        Y[i, j] = X[i, j] - {"G[i, j]" if through_intermediate else f"({sums[0]})"}
        Z[i, j] = X[i, j] * 3 + {sums[1]}
    }}"""
    tensors = {"Y": np.zeros_like(x), "Z": np.zeros_like(x)}
    for i, j in product(range(rows), range(columns)):
        tensors["Y"][i, j] = wrapped(int(x[i, j]) - sum(part.value(tensors, i, j) for part in of_y))
        tensors["Z"][i, j] = wrapped(int(x[i, j]) * 3 + sum(part.value(tensors, i, j) for part in of_z))
    y, z = te.build(text, schedule)(x)
    np.testing.assert_array_equal(y, tensors["Y"])
    np.testing.assert_array_equal(z, tensors["Z"])


@given(SCHEDULES, SIZES, st.integers(1, 3), SMALL, SMALL, st.integers(0, 99))
@FEW
def test_starts_and_sums(schedule: str, size: int, starts: int, factor: int, step: int, seed: int) -> None:
    """Start equations, then all earlier elements."""
    x = np.random.default_rng(seed).integers(-9, 9, size)
    equations = "; ".join(f"Y[{k}] = {k * factor}" for k in range(starts))
    text = f"""op f(X: i64[N]) -> Y: i64[N] {{
        {equations}
        Y[i] = {factor} * Y[i - {starts}] + sum[j where j < i](({step} + X[j]) * Y[j])
    }}"""
    expected = np.zeros_like(x)
    for i in range(size):
        earlier = sum((step + int(x[j])) * int(expected[j]) for j in range(i))
        expected[i] = i * factor if i < starts else wrapped(factor * int(expected[i - starts]) + earlier)
    np.testing.assert_array_equal(te.build(text, schedule)(x), expected)
