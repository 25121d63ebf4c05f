"""online, on drawn programs: logits, weights, conditions, places, blocks and the lines that follow.

What is drawn is mostly accepted; whatever is accepted computes what the plain program does, with NaN
and infinities at the same places.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, event, given, settings
from hypothesis import strategies as st

from te.backends.interp.loop import run_kernel
from te.diagnostics import ScheduleError
from te.ir.verify import verify_kernel
from te.schedule.finalize import finalize
from te.schedule.nest import nest
from tests.schedule.scheduling import program, scheduled

COMMON = settings(deadline=None, print_blob=True, suppress_health_check=list(HealthCheck))
QUICK = settings(
    COMMON, max_examples=20, derandomize=True, phases=[Phase.explicit, Phase.reuse, Phase.generate]
)
THOROUGH = settings(COMMON, max_examples=1000)

LOGITS = [
    "X[i, j]",
    "X[i, j] * 0.5",
    "B[i, j] + X[i, j]",
    "X[i, j] / t[i]",
    "5.0 * tanh(X[i, j] / 5.0)",
    "where(B[i, j] > 0.0, X[i, j], -inf)",
    "max(X[i, j], B[j, i])",
]
# `{s}` stands for the logits, `{d}` for their distance from the maximum.
TERMS = [
    "exp({d})",
    "exp2({d} * 1.5)",
    "exp({d}) * B[i, j]",
    "B[i, j] * exp({d} / t[i]) * X[i, j]",
    "X[i, j] / exp(0.0 - {d})",
    "exp({d}) * exp({d} * 0.5) + exp(1.5 * {d}) * B[i, j]",
    "where(X[i, j] > 0.0, exp({d}), B[i, j] * exp({d}))",
    "-(exp({d}) * {s})",
]
LINEAR = ["exp({d}) * {d}", "-2.0 * {d} * exp({d})"]
CONDITIONS = [
    "",
    "j <= i",
    "j + 2 <= i",
    "j >= i",
    "j < i + 3 and i < 4",
    "B[i, j] > 0.0",
    "j <= i and B[i, j] > 0.0",
]
PLACES = ["", "split Y.i by 2", "split Y.i by 3 tail peel", "fuse Y.i, Y.k into f"]
FOLLOWING = [
    "vectorize m.ji by 2",
    "vectorize l.ji by 4",
    "unroll l.ji by 2",
    "split A.ji by 3",
    "split m.jo by 2",
    "reorder A.i, A.ji",
    "reorder A.ji, A.i",
    "parallel Y.io",
    "parallel Y.i",
    "vectorize p.j by 4",
    "vectorize A.i by 2",
    "compute_at S at m.jo",
    "rfactor l.ji of l as part",
    "cache_write A at A.i",
    "fission m.jo at 1",
    "parallel m.jo",
    "reorder l.ji, l.i",
]


@dataclass(frozen=True)
class Drawn:
    text: str
    lines: tuple[str, ...]


@st.composite
def drawn(draw: st.DrawFn) -> Drawn:
    s, extreme = draw(st.sampled_from(LOGITS)), draw(st.sampled_from(["max", "min"]))
    logits = "S[i, j]" if draw(st.booleans()) else f"({s})"
    distance = f"({logits} - m[i])"
    terms = [draw(st.sampled_from(TERMS)), draw(st.sampled_from([*TERMS, *LINEAR]))]
    terms = [t if draw(st.booleans()) else t.replace("exp({d})", "p[i, j]") for t in terms]
    terms = [t.format(s=logits, d=distance) for t in terms]
    condition = draw(st.sampled_from(CONDITIONS))
    over = f"[j where {condition}]" if condition else "[j]"
    equations = [
        *([f"S[i < N, j < N] = {s}"] if logits == "S[i, j]" else []),
        *([f"p[i < N, j < N] = exp({distance})"] if any("p[" in t for t in terms) else []),
        f"m[i < N] = {extreme}{over}({logits})",
        f"l[i < N] = sum{over}({terms[0]})",
        f"A[i < N] = sum{over}({terms[1]})",
        f"u[i < N] = sum{over}(exp({distance}))",
        "Y[i, k] = l[i] + 2.0 * A[i] + (m[i] - u[i]) * W[k]",
    ]
    used = "\n    ".join(equations)
    text = f"op f(X: f64[N, N], B: f64[N, N], t: f64[N], W: f64[2]) -> Y: f64[N, 2] {{\n    {used}\n}}\n"
    place = draw(st.sampled_from(PLACES))
    at = "Y.f" if "fuse" in place else "Y.io" if place else draw(st.sampled_from(["Y.i", "Y.i"]))
    online = f"online j of m, l, A, u at {at} by {draw(st.sampled_from([1, 2, 3, 4, 16]))}"
    after = draw(st.lists(st.sampled_from(FOLLOWING), max_size=4, unique=True))
    return Drawn(text, tuple(line for line in (place, online, *after) if line))


def inputs_for(size: int, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    arrays = {name: rng.standard_normal((size, size)) * rng.choice([1, 20]) for name in "XB"}
    if seed % 2:
        for a in arrays.values():
            a[rng.random(a.shape) < rng.choice([0.2, 0.8])] = -np.inf
            a[rng.random(a.shape) < 0.03] = np.inf
            a[rng.random(a.shape) < 0.03] = np.nan
    return arrays | {"t": rng.uniform(0.5, 2, size), "W": rng.standard_normal(2)}


@given(drawn(), st.integers(0, 9), st.integers(0, 1000))
@QUICK
def test_what_is_accepted_computes_the_same(case: Drawn, size: int, seed: int) -> None:
    _hold(case, size, seed)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@given(drawn(), st.integers(0, 9), st.integers(0, 1000))
@THOROUGH
def test_thoroughly(case: Drawn, size: int, seed: int) -> None:
    _hold(case, size, seed)


def _hold(case: Drawn, size: int, seed: int) -> None:
    plain = nest(program(case.text))
    kernel = plain
    for number, line in enumerate(case.lines):
        try:
            kernel = scheduled(kernel, line)
        except ScheduleError as refused:
            event(f"{line.split()[0]} refused" if number else f"refused: {refused}")
            continue
        event(f"{line.split()[0]} accepted")
        verify_kernel(kernel)
    final = finalize(kernel)
    verify_kernel(final)
    inputs = inputs_for(size, seed)
    expected = run_kernel(plain, inputs, {"N": size})["Y"]
    for level in (kernel, final):
        found = run_kernel(level, inputs, {"N": size}, order="shuffled")["Y"]
        largest = abs(expected[np.isfinite(expected)]).max(initial=1)
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9 * largest)
