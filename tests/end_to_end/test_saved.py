"""Bound kernels in files: what was computed from weights is not computed again, and a file cannot do harm."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from unittest import mock

import ml_dtypes
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import te
from te.runtime.kernel import Kernel
from te.runtime.saved import MARK

LINEAR = """
op linear(X: f32[M, K], param W: f32[N, K], param b: f32[N]) -> Y: f32[M, N] {
    Y[i, j] = b[j] + sum[k](X[i, k] * W[j, k])
}
schedule linear on llvm {
    layout W[j, k] as [j // 8, k, j % 8]
    vectorize Y.j by 8
}
"""
TAKEN = """
op f(X: f32[N], param I: i64[N]) -> Y: f32[N] {
    J[i] = clamp(I[i] + 1, 0, N - 1)
    Y[i] = X[J[i]]
}
schedule f on llvm { precompute J }
"""
GENERIC = "op f<T: float>(X: T[M, K], param W: T[K, N]) -> Y: T[M, N] { Y[i, j] = sum[k](X[i, k] * W[k, j]) }"
rng = np.random.default_rng(0)
W, B, X = (rng.integers(-5, 6, shape).astype(np.float32) for shape in ((20, 12), (20,), (3, 12)))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "weights"


def runs_ahead() -> mock._patch:  # type: ignore[type-arg]  # of functions
    return mock.patch.object(Kernel, "_run_ahead", autospec=True, side_effect=Kernel._run_ahead)


@pytest.mark.parametrize("mapped", [False, True])
def test_nothing_is_computed_again(path: Path, mapped: bool) -> None:
    kernel = te.build(LINEAR)
    bound = kernel.bind(W=W, b=B)
    expected = bound(X)
    bound.save(path)
    with runs_ahead() as ahead:
        again = te.build(LINEAR).bind_saved(path, mapped=mapped)
        np.testing.assert_array_equal(again(X), expected)
        np.testing.assert_array_equal(again(X[:1]), expected[:1])  # shared by all numbers of rows
        assert not ahead.called
        np.testing.assert_array_equal(again.bind(b=0 * B)(X), expected - B)
        assert ahead.called  # what is bound anew is computed anew
    assert [p.name for p in again.inputs] == ["X"]
    np.testing.assert_array_equal(again.bound["W"], W)


def test_a_saved_file_saves_again(path: Path) -> None:
    kernel = te.build(LINEAR)
    expected = kernel(X, W, B)
    kernel.bind(W=W, b=B).save(path)
    kernel.bind_saved(path).save(path)
    with runs_ahead() as ahead:
        np.testing.assert_array_equal(kernel.bind_saved(path)(X), expected)
        assert not ahead.called


def test_another_schedule_computes_anew(path: Path) -> None:
    te.build(LINEAR).bind(W=W, b=B).save(path)
    other = te.build(LINEAR, schedule="layout W[j, k] as [k // 4, j, k % 4]")
    with runs_ahead() as ahead:
        np.testing.assert_array_equal(other.bind_saved(path)(X), other(X, W, B))
        assert ahead.called


def test_open_dtypes_are_saved_after_a_call(path: Path) -> None:
    kernel = te.build(GENERIC, schedule="layout W[k, j] as [j // 4, k, j % 4]")
    for dtype in (np.float64, ml_dtypes.bfloat16):
        w, x = W.T.astype(dtype), X.astype(dtype)
        bound = kernel.bind(W=w)
        expected = bound(x)
        bound.save(path)
        with runs_ahead() as ahead:
            found = kernel.bind_saved(path)(x)
            assert not ahead.called
        assert found.dtype == dtype
        np.testing.assert_array_equal(found, expected)


def test_what_is_used_as_an_index_is_never_taken_from_a_file(path: Path) -> None:
    kernel = te.build(TAKEN)
    x, indices = np.arange(4, dtype=np.float32), np.array([2, -7, 9, 0])
    expected = kernel(x, indices)
    kernel.bind(I=indices).save(path)
    assert json.loads(header_of(path))["ahead"] == []
    with runs_ahead() as ahead:
        np.testing.assert_array_equal(kernel.bind_saved(path)(x), expected)
        assert ahead.called


def test_mistakes(path: Path) -> None:
    kernel = te.build(LINEAR)
    with pytest.raises(FileNotFoundError):
        kernel.bind_saved(path)
    path.write_bytes(b"something else")
    with pytest.raises(ValueError, match="weights is no file of a bound kernel"):
        kernel.bind_saved(path)
    te.build(GENERIC).bind(W=W).save(path)
    with pytest.raises(ValueError, match="is of the op f, and this kernel of linear"):
        kernel.bind_saved(path)
    te.build(LINEAR.replace("W", "V")).bind(V=W).save(path)
    with pytest.raises(ValueError, match="weights has an input `V`, and linear has "):
        kernel.bind_saved(path)
    te.build(GENERIC).bind(W=W).save(path)
    with pytest.raises(TypeError, match="W must be an array"):
        kernel.bind(W=3, b=B).save(path)
    with pytest.raises(TypeError, match="cannot be saved"):
        kernel.bind(W=W.astype(complex), b=B).save(path)
    assert list(path.parent.iterdir()) == [path]  # nothing unfinished stays


def header_of(path: Path) -> bytes:
    data = path.read_bytes()
    (length,) = struct.unpack_from("<Q", data, len(MARK))
    return data[len(MARK) + 8 :][:length]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_broken_file_is_refused_or_read_in_its_bounds(path: Path, data: st.DataObject) -> None:
    kernel = te.build(LINEAR)
    kernel.bind(W=W, b=B).save(path)
    content = bytearray(path.read_bytes())
    draw = data.draw
    match draw(st.sampled_from(["cut", "bytes", "header"]), "kind"):
        case "cut":
            content = content[: draw(st.integers(0, len(content) - 1), "length")]
        case "bytes":
            for _ in range(draw(st.integers(1, 4))):
                content[draw(st.integers(0, len(content) - 1), "place")] = draw(st.integers(0, 255), "byte")
        case "header":
            header = json.loads(header_of(path))
            noted = draw(st.sampled_from([header["bound"]["W"], *header["ahead"][0]["arrays"]]))
            sizes = st.integers(-1, 40) | st.sampled_from([1 << 61, 1 << 70, 1.5, None, "8"])
            noted["shape"] = draw(st.lists(sizes, max_size=4), "shape")
            noted["dtype"] = draw(st.sampled_from(["f32", "u8", "f64", "object", None]), "dtype")
            text = json.dumps(header).encode()
            content = bytearray(MARK + struct.pack("<Q", len(text)) + text + content[-4096:])
    path.write_bytes(content)
    mapped = draw(st.booleans(), "mapped")
    try:
        kernel.bind_saved(path, mapped=mapped)(X)
    except (ValueError, TypeError):
        return  # refused, or its arrays do not fit the op
