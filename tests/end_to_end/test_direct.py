"""Direct calls: from the third call on, arrays that need nothing go past the checks of the long way."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

import te

F32 = np.float32

ADD = "op add(A: f32[N], B: f32[N]) -> C: f32[N] { C[i] = A[i] + B[i] }"
SUMS = (
    "op sums(X: f32[M, N]) -> R: f32[M], C: f64[N] { R[i] = sum[j](X[i, j])\n C[j] = sum[i](f64(X[i, j])) }"
)
SOFTMAX = "op softmax(X: f32[M, N]) -> Y: f32[M, N] { e[i, j] = exp(X[i, j])\n Y[i, j] = e[i, j] / sum[k](e[i, k]) }"
TAKE = "op take(X: f32[N], at: i64[M]) -> Y: f32[M] { Y[i] = X[at[i]] }"
LINEAR = "op linear(X: f32[M, K], param W: f32[N, K]) -> Y: f32[M, N] { Y[i, j] = sum[k](X[i, k] * W[j, k]) }"
SCALED = "op scaled(X: f32[N], a: f32) -> Y: f32[N] { Y[i] = a * X[i] }"
COUNT = "op count<T: float>(X: T[N]) -> Y: T[N] { Y[i] = X[i] + 1 }"


def warm(call: Any, *arrays: Any, **named: Any) -> Any:
    """Call often enough that the next call is a direct one."""
    for _ in range(2):
        call(*arrays, **named)
    return call


def is_direct(kernel: te.Kernel, *arrays: Any) -> bool:
    return kernel.direct.call(*arrays) is not None


def numbers(*shape: int) -> Any:
    return np.arange(np.prod(shape, dtype=int), dtype=F32).reshape(shape) % 7 - 3


def test_two_calls_teach() -> None:
    add = te.build(ADD)
    a, b = numbers(5), numbers(5)
    assert not is_direct(add, a, b)
    add(a, b)
    assert not is_direct(add, a, b)
    add(a, b)
    assert is_direct(add, a, b)
    np.testing.assert_array_equal(add(a, b), a + b)
    assert not is_direct(add, a[:4].copy(), b[:4].copy())


def test_other_shapes_dtypes_and_strides_go_the_long_way() -> None:
    add = te.build(ADD)
    a, b = numbers(6), numbers(6)
    warm(add, a, b)
    np.testing.assert_array_equal(add(numbers(12)[::2], b), numbers(12)[::2] + b)
    np.testing.assert_array_equal(add(a.astype(">f4"), b), a + b)
    with pytest.raises(TypeError, match="must be f32, found float64"):
        add(a.astype(np.float64), b)
    with pytest.raises(ValueError, match="must be N = 6"):
        add(a, numbers(5))
    with pytest.raises(TypeError, match="takes 2 arguments"):
        add(a)


@pytest.mark.parametrize("shape", [(0, 3), (4, 0), (1, 1), (37, 19)])
def test_several_results(shape: tuple[int, ...]) -> None:
    x = numbers(*shape)
    rows, columns = warm(te.build(SUMS), x)(x)
    np.testing.assert_array_equal(rows, x.sum(axis=1, dtype=F32))
    np.testing.assert_array_equal(columns, x.sum(axis=0, dtype=np.float64))
    assert (rows.dtype, columns.dtype) == (F32, np.float64)


def test_a_workspace_is_aligned_and_new() -> None:
    softmax = te.build(SOFTMAX, schedule="compute_root e")
    x = numbers(9, 21)
    warm(softmax, x)
    assert is_direct(softmax, x)
    e = np.exp(x)
    np.testing.assert_allclose(softmax(x), e / e.sum(axis=1, keepdims=True), rtol=1e-6)


def test_checks_speak_up() -> None:
    take = te.build(TAKE)
    x, at = numbers(5), np.array([4, 0, 2])
    warm(take, x, at)
    assert is_direct(take, x, at)
    np.testing.assert_array_equal(take(x, at), x[at])
    at[1] = 5
    with pytest.raises(IndexError) as direct:
        take(x, at)
    with pytest.raises(IndexError) as first:
        te.build(TAKE)(x, at)
    assert str(direct.value) == str(first.value)
    with pytest.raises(IndexError):
        take(x, at, out=numbers(3))
    at[1] = 1
    np.testing.assert_array_equal(take(x, at), x[at])


def test_scalars() -> None:
    scaled = te.build(SCALED)
    x = numbers(4)
    for a in (np.array(2, F32), 2.0, np.float32(2)):
        np.testing.assert_array_equal(warm(scaled, x, a)(x, a), 2 * x)


def test_out() -> None:
    add = te.build(ADD)
    a, b, c = numbers(6), numbers(6) + 1, np.zeros(6, F32)
    warm(add, a, b, out=c)
    assert add.direct.call_into(a, b, c)
    assert add(a, b, out=c) is c
    np.testing.assert_array_equal(c, a + b)


def test_out_that_overlaps_or_does_not_fit() -> None:
    add = te.build(ADD)
    a, b = numbers(6), numbers(6) + 1
    warm(add, a, b, out=np.zeros(6, F32))
    expected = a + b
    both = np.zeros(9, F32)
    both[:6] = a
    assert add(both[:6], b, out=both[3:]) is not None  # views, of which the second begins in the first
    np.testing.assert_array_equal(both[3:], expected)
    mine = a.copy()
    assert not add.direct.call_into(mine, b, mine)
    np.testing.assert_array_equal(add(mine, b, out=mine), expected)
    read_only = np.zeros(6, F32)
    read_only.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        add(a, b, out=read_only)
    with pytest.raises(ValueError, match="must have the shape"):
        add(a, b, out=np.zeros(5, F32))
    with pytest.raises(TypeError, match="must be f32"):
        add(a, b, out=np.zeros(6))


def test_bound_arrays() -> None:
    w = numbers(40, 24)
    linear = te.build(LINEAR).bind(W=w)
    x = numbers(3, 24)
    warm(linear, x)
    assert linear._kept.direct.call(x) is not None
    np.testing.assert_allclose(linear(x), x @ w.T)
    out = np.zeros((3, 40), F32)
    assert linear(x, out=out) is out
    np.testing.assert_allclose(out, x @ w.T)
    y = numbers(5, 24)
    np.testing.assert_allclose(warm(linear, y)(y), y @ w.T)
    np.testing.assert_allclose(linear(X=x), x @ w.T)


def test_arrays_that_are_copied_are_not_bound_for_good() -> None:
    w = numbers(24, 40).T
    linear = te.build(LINEAR, schedule="none").bind(W=w)
    x = numbers(3, 24)
    warm(linear, x)
    w[:] = 1  # what is written later counts
    np.testing.assert_allclose(linear(x), x @ w.T)


def test_generic_kernels_bind_different_dtypes() -> None:
    count = te.build(COUNT)
    for dtype in (F32, np.float64, np.float16, F32):
        x = np.arange(5).astype(dtype)
        found = warm(count, x)(x)
        assert found.dtype == dtype
        np.testing.assert_array_equal(found, x + 1)
    scale = te.build("op s<T: float>(X: T[N], w: T[N]) -> Y: T[N] { Y[i] = w[i] * X[i] }")
    for dtype in (F32, np.float64):
        bound = scale.bind(w=np.full(5, 2, dtype))
        x = np.arange(5).astype(dtype)
        np.testing.assert_array_equal(warm(bound, x)(x), 2 * x)


def test_no_inputs() -> None:
    ones = te.build("op ones() -> Y: f32[3] { Y[i] = 1 }")
    np.testing.assert_array_equal(warm(ones)(), np.ones(3))
    np.testing.assert_array_equal(ones(out=np.zeros(3, F32)), np.ones(3))


def test_threads_learn_at_the_same_time() -> None:
    count = te.build(COUNT)
    bound = te.build("op s<T: float>(X: T[N], w: i64[1]) -> Y: T[N] { Y[i] = X[i] + T(w[0]) }").bind(
        w=np.array([1])
    )
    wrong: list[object] = []

    def work(dtype: Any, seed: int) -> None:
        for n in range(300):
            x = np.arange(seed + n % 5).astype(dtype)
            for call in (count, bound):
                found = call(x)
                if found.dtype != dtype or not np.array_equal(found, x + 1):
                    wrong.append((dtype, n))

    threads = [threading.Thread(target=work, args=(t, s)) for s, t in enumerate([F32, np.float64] * 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_generic_kernels_ask_the_kernel_of_the_last_call_first() -> None:
    total = te.build("op total<T: float>(A: T[*S], B: T[*S]) -> C: T[*S] { C[*s] = A[*s] + B[*s] }")
    shapes = [(3, 4), (12,), (2, 2, 3)]
    for dtype in (F32, np.float64):
        for shape in shapes:
            a, b = numbers(*shape).astype(dtype), numbers(*shape).astype(dtype)
            found = warm(total, a, b)(a, b)
            assert is_direct(total._last, a, b)
            assert found.dtype == dtype
            np.testing.assert_array_equal(found, a + b)
    for shape in shapes:  # what the last call had does not fit
        a, b = numbers(*shape), numbers(*shape)
        assert not is_direct(total._last, a, b)
        np.testing.assert_array_equal(total(a, b), a + b)
    with pytest.raises(TypeError):
        total(a, b.astype(np.float64))
    with pytest.raises(TypeError, match="takes 2 arguments"):
        total(a)
    np.testing.assert_array_equal(total(a, B=b), a + b)
