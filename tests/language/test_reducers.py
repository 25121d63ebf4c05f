"""Reducers of your own, compared with NumPy on every level."""

import numpy as np
import pytest

import te
from te.backends.interp.loop import run_kernel
from te.backends.interp.tensor import run_program
from te.diagnostics import CompileError, Source
from te.elaborate.elaborate import elaborate
from te.grammar.parser import parse_file
from te.ir.verify import verify_program
from te.schedule.nest import nest

WELFORD = """
reducer welford(mean: f32 = 0, m2: f32 = 0, n: f32 = 0) with (mean_, m2_, n_) {
    d    = mean_ - mean
    w    = where(n + n_ > 0, n_ / (n + n_), 0)
    mean = mean + d * w
    m2   = m2 + m2_ + d * d * n * w
    n    = n + n_
}
reducer absmax<T: float>(a: T = 0) with (b) { a = max(abs(a), abs(b)) }
reducer largest(k: i64 = -1) with (j) { k = max(k, j) }
"""


def results(text, inputs):
    text = WELFORD + text
    program = elaborate(parse_file(Source("t.te", text)), "f")
    verify_program(program)
    expected = run_program(program, inputs)
    for name, array in run_kernel(nest(program), inputs).items():
        np.testing.assert_array_equal(array, expected[name])
    for schedule in ("none", "auto"):
        found = te.build(text, schedule, op="f")(**inputs)
        for name, array in zip(program.results, found if isinstance(found, tuple) else (found,), strict=True):
            np.testing.assert_allclose(array, expected[name], rtol=1e-6, atol=1e-6)
    return expected


@pytest.mark.parametrize("shape", [(3, 7), (2, 1), (2, 0)])
def test_welford(shape):
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    out = results(
        """
        op f(X: f32[M, N]) -> mu: f32[M], var: f32[M] {
            mu[i], q[i], c[i] = welford[j](X[i, j], 0, 1)
            var[i] = q[i] / c[i]
        }
        """,
        {"X": x},
    )
    if shape[1]:
        np.testing.assert_allclose(out["mu"], x.mean(1), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(out["var"], x.var(1), rtol=1e-4, atol=1e-6)
    else:
        np.testing.assert_array_equal(out["mu"], [0, 0])


def test_several_indices_and_a_condition():
    x = np.random.default_rng(1).normal(size=(3, 4, 5)).astype(np.float32)
    out = results(
        """
        op f(X: f32[M, K, N]) -> mu: f32[M], c: f32[M] {
            mu[i], _, c[i] = welford[k, j where j != k](X[i, k, j], 0, 1)
        }
        """,
        {"X": x},
    )
    keep = np.arange(4)[:, None] != np.arange(5)
    np.testing.assert_allclose(out["mu"], [x[i][keep].mean() for i in range(3)], rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(out["c"], [keep.sum()] * 3)


def test_a_reducer_of_one_value_stands_in_an_expression():
    x = np.random.default_rng(2).normal(size=(3, 4))
    out = results("op f(X: f64[M, N]) -> Y: f64[M, N] { Y[i, j] = X[i, j] / absmax[k](X[i, k]) }", {"X": x})
    np.testing.assert_allclose(out["Y"], x / np.abs(x).max(1, keepdims=True))


def test_integer_states():
    x = np.array([[0, 0, 3, 4], [0, 0, 0, 0]])
    out = results("op f(X: i64[M, N]) -> k: i64[M] { k[i] = largest[j where X[i, j] > 0](j) }", {"X": x})
    np.testing.assert_array_equal(out["k"], [3, -1])


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("op f(X: f32[N]) -> y: f32 { y = welford[j](X[j], 0, 1) }", "reducer-of-several"),
        ("op f(X: f32[N]) -> y: f32, z: f32 { y, z = welford[j](X[j], 0, 1) }", "result-count"),
        ("op f(X: f32[N]) -> y: f32, z: f32 { y, z, _ = welford[j](X[j], 0) }", "reducer-arguments"),
        ("op f(X: f64[N]) -> y: f64 { y, _, _ = welford[j](X[j], 0, 1) }", "type-mismatch"),
    ],
)
def test_wrong_uses(text, code):
    with pytest.raises(CompileError) as caught:
        elaborate(parse_file(Source("t.te", WELFORD + text)), "f")
    assert [d.code for d in caught.value.diagnostics] == [code]
