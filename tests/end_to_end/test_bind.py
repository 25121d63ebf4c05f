"""`kernel.bind`: inputs that are given once."""

import numpy as np
import pytest

import te

TEXT = """
op linear(X: f32[B, I], param W: f32[O, I], param b: f32[O]) -> Y: f32[B, O] {
    Y[n, o] = b[o] + sum[i](X[n, i] * W[o, i])
}
op scaled<T: float>(X: T[N], param w: T[N]) -> Y: T[N] { Y[i] = X[i] * w[i] }
"""
W = np.arange(6, dtype=np.float32).reshape(2, 3)
B = np.ones(2, np.float32)
X = np.arange(12, dtype=np.float32).reshape(4, 3)


@pytest.fixture
def kernel():
    return te.build(TEXT, op="linear")


def test_bound_inputs_are_left_out_of_calls(kernel):
    bound = kernel.bind(W=W, b=B)
    np.testing.assert_array_equal(bound(X), kernel(X, W, B))
    np.testing.assert_array_equal(bound(X=X), kernel(X, W, B))
    out = np.empty((4, 2), np.float32)
    assert bound(X, out=out) is out
    np.testing.assert_array_equal(out, kernel(X, W, B))
    assert [p.name for p in bound.inputs] == ["X"]
    assert "X" in repr(bound)
    assert bound.time(X, repeat=2).median > 0


def test_binding_in_steps_and_again(kernel):
    first = kernel.bind(W=W)
    np.testing.assert_array_equal(first(X, B), kernel(X, W, B))
    np.testing.assert_array_equal(first.bind(b=B)(X), kernel(X, W, B))
    np.testing.assert_array_equal(first.bind(W=2 * W)(X, B), kernel(X, 2 * W, B))


def test_kernels_of_any_dtype():
    kernel = te.build(TEXT, op="scaled")
    x = np.arange(3.0)
    np.testing.assert_array_equal(kernel.bind(w=x)(x), x * x)


def test_mistakes(kernel):
    with pytest.raises(TypeError, match="no input `w` to bind; its inputs are X, W, b"):
        kernel.bind(w=W)
    bound = kernel.bind(W=W, b=B)
    with pytest.raises(TypeError, match="those not bound are X"):
        bound(X, W)
    with pytest.raises(TypeError, match="`W` is bound already"):
        bound(X, W=W)
    with pytest.raises(TypeError, match="given twice"):
        bound(X, X=X)
    with pytest.raises(TypeError, match="missing"):
        bound()
    with pytest.raises(ValueError, match="axis 1 of `W`"):
        kernel.bind(W=W.T.copy(), b=B)(X)
