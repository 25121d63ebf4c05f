"""Recurrences: what reads itself, in an order that is found, compared with loops in Python."""

from textwrap import dedent

import numpy as np
import pytest

import te
from te.backends.interp.loop import run_kernel
from te.backends.interp.tensor import run_program
from te.diagnostics import CompileError, Source
from te.elaborate.elaborate import elaborate
from te.grammar.parser import parse_file
from te.schedule.finalize import finalize
from te.schedule.nest import nest

RNG = np.random.default_rng(0)


def results(text, inputs, op="f"):
    """The results by interpreter, by loops, and compiled: all three agree."""
    text = dedent(text)
    program = elaborate(parse_file(Source("t.te", text)), op)
    expected = run_program(program, inputs)
    plain = nest(program)
    for kernel in (plain, finalize(plain)):
        for name, array in run_kernel(kernel, inputs).items():
            np.testing.assert_array_equal(array, expected[name])
    for schedule in ("none", "auto"):
        found = te.build(text, schedule, op=op)(**inputs)
        for name, array in zip(program.results, found if isinstance(found, tuple) else (found,), strict=True):
            np.testing.assert_allclose(array, expected[name], rtol=1e-6, atol=1e-6)
    return expected


def refused(text):
    with pytest.raises(CompileError) as caught:
        elaborate(parse_file(Source("t.te", dedent(text))), "f")
    return [d.code for d in caught.value.diagnostics]


@pytest.mark.parametrize("n", [0, 1, 2, 9])
def test_cumulative_sum(n):
    x = RNG.integers(-9, 9, n)
    out = results("op f(X: i64[N]) -> Y: i64[N] { Y[i] = X[i] + (Y[i - 1] else 0) }", {"X": x})
    np.testing.assert_array_equal(out["Y"], np.cumsum(x))


def test_start_equations():
    text = """
    op f(X: i64[N]) -> F: i64[N] {
        F[0] = 1
        F[1] = 1
        F[i] = F[i - 1] + F[i - 2] + 0 * X[i]
    }
    """
    out = results(text, {"X": np.zeros(8, np.int64)})
    np.testing.assert_array_equal(out["F"], [1, 1, 2, 3, 5, 8, 13, 21])
    assert results(text, {"X": np.zeros(1, np.int64)})["F"].tolist() == [1]
    assert results(text, {"X": np.zeros(0, np.int64)})["F"].tolist() == []


def test_rnn():
    text = """
    op f(x: f64[T, N], U: f64[N, N], h0: f64[N]) -> h: f64[T + 1, N] {
        h[0, i] = h0[i]
        h[t, i] = tanh(x[t - 1, i] + sum[j](U[i, j] * h[t - 1, j]))
    }
    """
    x, u, h0 = RNG.normal(size=(5, 3)), RNG.normal(size=(3, 3)), RNG.normal(size=3)
    h = [h0]
    for row in x:
        h.append(np.tanh(row + u @ h[-1]))
    np.testing.assert_allclose(results(text, {"x": x, "U": u, "h0": h0})["h"], h, rtol=1e-12)


LSTM = """
op f(x: f64[T, I], W: f64[G, I], R: f64[G, H], h0: f64[H], c0: f64[H]) -> h: f64[T + 1, H], c: f64[T + 1, H] {
    require G == 4 * H
    z[t < T, g] = sum[i](W[g, i] * x[t, i]) + sum[j](R[g, j] * h[t, j])
    c[0, j] = c0[j]
    c[t, j] = sigmoid(z[t - 1, H + j]) * c[t - 1, j] + sigmoid(z[t - 1, j]) * tanh(z[t - 1, 2*H + j])
    h[0, j] = h0[j]
    h[t, j] = sigmoid(z[t - 1, 3*H + j]) * tanh(c[t, j])
}
"""


def test_lstm_recurs_through_intermediates():
    steps, inputs, hidden = 4, 3, 2
    x, w = RNG.normal(size=(steps, inputs)), RNG.normal(size=(4 * hidden, inputs))
    r, h0, c0 = RNG.normal(size=(4 * hidden, hidden)), RNG.normal(size=hidden), RNG.normal(size=hidden)
    h, c = [h0], [c0]
    for row in x:
        z = w @ row + r @ h[-1]
        i, f, g, o = np.split(z, 4)
        s = lambda v: 1 / (1 + np.exp(-v))  # noqa: E731
        c.append(s(f) * c[-1] + s(i) * np.tanh(g))
        h.append(s(o) * np.tanh(c[-1]))
    out = results(LSTM, {"x": x, "W": w, "R": r, "h0": h0, "c0": c0})
    np.testing.assert_allclose(out["h"], h, rtol=1e-12)
    np.testing.assert_allclose(out["c"], c, rtol=1e-12)


def test_edit_distance_recurs_over_two_axes():
    text = """
    op f(a: i64[M], b: i64[N]) -> D: i64[M + 1, N + 1] {
        D[0, j] = j
        D[i, 0] = i
        D[0, 0] = 0
        D[i, j] = min(D[i - 1, j] + 1, D[i, j - 1] + 1, D[i - 1, j - 1] + where(a[i - 1] == b[j - 1], 0, 1))
    }
    """
    a, b = np.array([1, 2, 3, 4, 5]), np.array([1, 3, 4, 6])
    assert results(text, {"a": a, "b": b})["D"][-1, -1] == 2


def test_triangular_solve_reads_under_a_condition():
    text = """
    op f(L: f64[N, N], b: f64[N]) -> x: f64[N] {
        x[i] = (b[i] - sum[j where j < i](L[i, j] * x[j])) / L[i, i]
    }
    """
    low, b = np.tril(RNG.normal(size=(6, 6))) + 3 * np.eye(6), RNG.normal(size=6)
    np.testing.assert_allclose(results(text, {"L": low, "b": b})["x"], np.linalg.solve(low, b), rtol=1e-10)


def test_a_recurrence_in_a_called_op():
    text = """
    op scan(X: i64[t]) -> Y: i64[t] { Y[i] = X[i] + (Y[i - 1] else 0) }
    op f(X: i64[i]) -> Y: i64[i] { Y = scan(scan(X)) }
    """
    np.testing.assert_array_equal(results(text, {"X": np.ones(4, np.int64)})["Y"], [1, 3, 6, 10])


def test_backwards():
    text = """
    op f(X: i64[N]) -> Y: i64[N] {
        r[i < N] = X[N - 1 - i] + (r[i - 1] else 0)
        Y[i] = r[N - 1 - i]
    }
    """
    np.testing.assert_array_equal(results(text, {"X": np.arange(5)})["Y"], [10, 10, 9, 7, 4])


def test_what_is_no_earlier_element_is_refused():
    assert refused("op f(X: f32[N]) -> Y: f32[N] { Y[i] = X[i] + (Y[i + 1] else 0) }") == ["recurrence-order"]
    assert refused("op f(X: f32[N]) -> Y: f32[N] { Y[i] = X[i] + Y[i] }") == ["recurrence-order"]
    assert refused("op f(X: f32[N]) -> Y: f32[N], Z: f32[N] {\n Y[i] = Z[i]\n Z[i] = Y[i]\n}") == [
        "recurrence-order"
    ]


def test_the_general_equation_is_checked_where_no_start_holds():
    assert refused("op f(X: f32[N]) -> h: f32[N] {\n h[0] = X[0]\n h[t] = h[t - 2] + X[t]\n}") == [
        "read-out-of-range"
    ]


def test_parallel_over_the_recurrence_is_refused():
    text = "op f(X: i64[N, M]) -> Y: i64[N, M] { Y[i, j] = X[i, j] + (Y[i - 1, j] else 0) }"
    with pytest.raises(te.ScheduleError, match="parallel"):
        te.build(text, "parallel Y.i")
    x = RNG.integers(-9, 9, (7, 40))
    kernel = te.build(text, "vectorize Y.j by 8\nparallel Y.jo")
    np.testing.assert_array_equal(kernel(x), np.cumsum(x, 0))
