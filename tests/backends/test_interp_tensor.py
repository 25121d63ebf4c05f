"""The tensor interpreter against NumPy formulas and plain Python loops written here."""

import math
from itertools import product

import numpy as np
import pytest

from te.backends.interp import tensor as interpreter
from te.backends.interp.evaluate import InterpreterError
from te.backends.interp.tensor import run_program
from te.ir.types import BOOL, F32, F64, I32, I64, U8
from tests.hand_built import Builder

RNG = np.random.default_rng(0)


def normal(*shape, dtype=np.float32):
    return RNG.standard_normal(shape).astype(dtype)


def run(builder, results=(), sizes=None, **inputs):
    out = run_program(builder.program(*results), inputs, sizes)
    return out if results else next(iter(out.values()))


def matmul(dtype=F32):
    b = Builder("matmul").input("A", dtype, "M", "K").input("B", dtype, "K", "N")
    return b.define("C", dtype, "i < M, j < N", "A[i, k] * B[k, j]", "sum", "k < K")


def softmax():
    return (
        Builder("softmax")
        .input("X", F32, "M", "N")
        .define("m", F32, "i < M", "X[i, j]", "max", "j < N")
        .define("e", F32, "i < M, j < N", "exp(X[i, j] - m[i])")
        .define("s", F32, "i < M", "e[i, k]", "sum", "k < N")
        .define("Y", F32, "i < M, j < N", "e[i, j] / s[i]")
    )


@pytest.mark.parametrize(
    ("m", "k", "n"), [(3, 5, 4), (1, 1, 1), (2, 0, 3), (0, 4, 2), (7, 3, 0), (40, 50, 60)]
)
def test_matmul(m, k, n):
    a, b = normal(m, k), normal(k, n)
    np.testing.assert_allclose(run(matmul(), A=a, B=b), a @ b, rtol=1e-4, atol=1e-5)


def test_sum_of_products_is_a_chain_of_fma():
    """Bit by bit: f32 products are exact in f64, and exact sums of few terms round once with longdouble."""
    a, b = normal(4, 9), normal(9, 5)
    expected = np.zeros((4, 5), np.float32)
    for k in range(9):
        exact = a[:, k, None].astype(np.longdouble) * b[None, k, :].astype(np.longdouble)
        expected = (exact + expected.astype(np.longdouble)).astype(np.float32)
    np.testing.assert_array_equal(run(matmul(), A=a, B=b), expected)


def test_sum_runs_in_ascending_order():
    x = np.float32([1e8, 1, -1e8, 1])
    total = Builder("total").input("X", F32, "N").define("s", F32, "", "X[i]", "sum", "i < N")
    assert run(total, X=x) == np.float32(1)  # 1e8 + 1 is 1e8 in f32
    b = Builder("total").input("X", F32, "M", "N").define("s", F32, "", "X[i, j]", "sum", "i < M, j < N")
    expected = np.float32(0)
    many = (normal(13, 17) * 1e3).astype(np.float32)
    for i, j in product(range(13), range(17)):
        expected = np.float32(expected + many[i, j])
    assert run(b, X=many) == expected


def test_softmax():
    x = normal(6, 9)
    e = np.exp(x - x.max(axis=1, keepdims=True))
    np.testing.assert_allclose(run(softmax(), X=x), e / e.sum(axis=1, keepdims=True), rtol=1e-5)


def test_stencil_with_select():
    b = Builder("blur").input("X", F32, "N")
    b.define("Y", F32, "i < N", "where(i > 0, X[i - 1], 0) + X[i] + where(i < N - 1, X[i + 1], 0)")
    for n in (1, 2, 9):
        x = normal(n)
        padded = np.pad(x, 1)
        np.testing.assert_array_equal(run(b, X=x), (padded[:-2] + padded[1:-1]) + padded[2:])


def test_concatenation_of_possibly_empty_tensors():
    b = Builder("concat").input("A", F32, "M").input("B", F32, "N")
    b.define("C", F32, "i < M + N", "where(i < M, A[i], B[i - M])")
    for m, n in [(3, 4), (0, 4), (3, 0), (0, 0)]:
        x, y = normal(m), normal(n)
        np.testing.assert_array_equal(run(b, A=x, B=y), np.concatenate([x, y]))


def test_masked_triangular_sum_skips_terms():
    b = (
        Builder("prefix")
        .input("X", F32, "N")
        .define("Y", F32, "i < N", "X[j] * X[j]", "sum", "j < N", "j <= i")
    )
    x = normal(8)
    x[5] = np.inf
    expected = np.array([np.sum(x[: i + 1] ** 2) for i in range(8)])
    np.testing.assert_allclose(run(b, X=x), expected, rtol=1e-6)
    assert np.isfinite(run(b, X=x)[:5]).all(), "a skipped term is not multiplied by zero"


def test_guarded_reads():
    """`and`, `or` and `where` guard reads that would lie outside; the guard may depend on data."""
    b = Builder("guards").input("X", F32, "N").input("I", I64, "M")
    b.define("a", BOOL, "i < N", "i > 0 and X[i - 1] > 0")
    b.define("o", BOOL, "i < N", "i == 0 or X[i - 1] > 0")
    b.define("g", F32, "m < M", "where(I[m] >= 0 and I[m] < N, X[I[m]], -1.0)")
    b.define("r", F32, "i < N", "X[i + j]", "sum", "j < N", "i + j < N")
    x, index = np.float32([1, -2, 3, 4]), np.array([0, -1, 3, 4, 2**62])
    out = run(b, ("a", "o", "g", "r"), X=x, I=index)
    assert out["a"].tolist() == [False, True, False, True]
    assert out["o"].tolist() == [True, True, False, True]
    assert out["g"].tolist() == [1, -1, 4, -1, -1]
    assert out["r"].tolist() == [6, 5, 7, 4]


@pytest.mark.parametrize(
    ("reducer", "dtype", "numpy"),
    [
        ("max", F32, lambda x: x.max(axis=1, initial=-math.inf)),
        ("min", F32, lambda x: x.min(axis=1, initial=math.inf)),
        ("max", I32, lambda x: x.max(axis=1, initial=-(2**31))),
        ("min", U8, lambda x: x.min(axis=1, initial=255)),
        ("prod", I32, lambda x: x.prod(axis=1, dtype=np.int32)),
        ("sum", U8, lambda x: x.sum(axis=1, dtype=np.uint8)),
        ("sum", I64, lambda x: x.sum(axis=1)),
        ("any", BOOL, lambda x: x.any(axis=1)),
        ("all", BOOL, lambda x: x.all(axis=1)),
    ],
)
@pytest.mark.parametrize("n", [0, 1, 5])
def test_reducers(reducer, dtype, numpy, n):
    b = Builder("reduce").input("X", dtype, "M", "N").define("Y", dtype, "i < M", "X[i, j]", reducer, "j < N")
    x = RNG.integers(0, 2 if dtype == BOOL else 200, (4, n)).astype(
        {F32: "f4", I32: "i4", U8: "u1", I64: "i8", BOOL: "?"}[dtype]
    )
    result = run(b, X=x)
    assert result.dtype == x.dtype
    np.testing.assert_array_equal(result, numpy(x))


def test_prod_of_floats():
    b = Builder("p").input("X", F64, "N").define("Y", F64, "", "X[j]", "prod", "j < N")
    x = normal(20, dtype=np.float64)
    expected = 1.0
    for value in x.tolist():
        expected *= value
    assert run(b, X=x) == expected


def test_max_propagates_nan():
    b = Builder("m").input("X", F32, "M", "N").define("Y", F32, "i < M", "X[i, j]", "max", "j < N")
    assert np.isnan(run(b, X=np.float32([[1, np.nan, 2], [1, 5, 2]]))).tolist() == [True, False]


def test_integers_wrap():
    b = Builder("wrap").input("X", I32, "N").define("Y", I32, "i < N", "X[i] * X[i] + 1 - (X[i] << 33)")
    x = RNG.integers(-(2**31), 2**31, 50).astype(np.int32)
    expected = [((int(v) * int(v) + 1 - (int(v) << 1)) + 2**31) % 2**32 - 2**31 for v in x]
    assert run(b, X=x).tolist() == expected


def test_histogram_as_masked_sum():
    b = Builder("h").input("I", U8, "N").input("B", F32, "V")
    b.define("H", I64, "v < V", "1", "sum", "n < N", "i64(I[n]) == v")
    x = RNG.integers(0, 12, 300).astype(np.uint8)
    np.testing.assert_array_equal(run(b, I=x, B=normal(10)), np.bincount(x, minlength=12)[:10])


def test_convolution():
    b = Builder("conv").input("X", F32, "C", "H", "W").input("F", F32, "K", "C", "R", "S")
    b.define(
        "Y",
        F32,
        "k < K, y < H - R + 1, x < W - S + 1",
        "X[c, y + r, x + s] * F[k, c, r, s]",
        "sum",
        "c < C, r < R, s < S",
    )
    x, f = normal(3, 9, 8), normal(4, 3, 3, 2)
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3, 2))[0]
    np.testing.assert_allclose(
        run(b, X=x, F=f), np.einsum("yxcrs,kcrs->kyx", windows, f), rtol=1e-4, atol=1e-5
    )


def test_casts_sizes_and_several_results():
    b = Builder("mixed").input("X", U8, "N").require("N >= 1")
    b.define("mean", F32, "", "f32(X[i])", "sum", "i < N")
    b.define("Y", F32, "i < N", "f32(X[i]) - mean / f32(N)")
    b.define("even", BOOL, "i < N", "X[i] % 2 == 0")
    x = RNG.integers(0, 256, 11).astype(np.uint8)
    out = run(b, ("Y", "even"), X=x)
    np.testing.assert_allclose(out["Y"], x.astype("f4") - x.mean(dtype="f4"), rtol=1e-4)
    np.testing.assert_array_equal(out["even"], x % 2 == 0)
    with pytest.raises(ValueError, match="N >= 1"):
        run(b, ("Y",), X=x[:0])


@pytest.mark.parametrize("points", [1, 7, 64])
def test_blocks_do_not_change_results(monkeypatch, points):
    a, b, x = normal(5, 11), normal(11, 6), normal(5, 7)
    whole = run(matmul(), A=a, B=b), run(softmax(), X=x)
    monkeypatch.setattr(interpreter, "POINTS", points)
    for one, other in zip(whole, (run(matmul(), A=a, B=b), run(softmax(), X=x)), strict=True):
        np.testing.assert_array_equal(one, other)


def test_sizes_may_be_given():
    b = Builder("pad").input("X", F32, "N - 1").define("Y", F32, "i < N", "where(i > 0, X[i - 1], 0)")
    assert run(b, sizes={"N": 4}, X=np.float32([1, 2, 3])).tolist() == [0, 1, 2, 3]
    with pytest.raises(ValueError, match="no input gives the size N"):
        run(b, X=np.float32([1]))


def test_read_outside_is_an_internal_error():
    b = Builder("bad").input("X", F32, "N").define("Y", F32, "i < N", "X[i + 1]")
    with pytest.raises(InterpreterError, match=r"`X\[i \+ 1\]` reads at 3 on axis 0, whose extent is 3"):
        run(b, X=normal(3))


def test_wrong_inputs():
    with pytest.raises(TypeError, match="takes the inputs"):
        run(matmul(), A=normal(2, 2))
    with pytest.raises(TypeError, match="holds float64, not f32"):
        run(matmul(), A=normal(2, 2).astype("f8"), B=normal(2, 2))
    with pytest.raises(ValueError, match="axis 0 of B is 3, and K is 2"):
        run(matmul(), A=normal(2, 2), B=normal(3, 2))
    with pytest.raises(ValueError, match="has 1 axes, not 2"):
        run(matmul(), A=normal(2), B=normal(3, 2))
