"""The loop interpreter: equal to the tensor interpreter bit by bit, and strict about memory."""

import numpy as np
import pytest

from te.backends.interp.evaluate import InterpreterError
from te.backends.interp.loop import python_source, run_kernel
from te.backends.interp.tensor import run_program
from te.ir.expr import Load, integer
from te.ir.loop import (
    PARALLEL,
    VECTOR,
    Accumulate,
    Alloc,
    Buffer,
    For,
    If,
    Kernel,
    Let,
    Store,
    seq,
)
from te.ir.tensor import identity
from te.ir.types import BOOL, F32, F64, I32, I64, U8
from te.ir.visit import rewrite
from te.schedule.nest import nest
from tests.hand_built import Builder, read

RNG = np.random.default_rng(1)
ORDERS = ["forward", "reverse", "shuffled"]
FLOATS = {"X": F32, "Y": F32, "A": F32, "B": F32, "C": F32, "T": F32}


def normal(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


# ---------------------------------------------------------------- against the tensor interpreter


def matmul():
    b = Builder("matmul").input("A", F32, "M", "K").input("B", F32, "K", "N")
    return b.define("C", F32, "i < M, j < N", "A[i, k] * B[k, j]", "sum", "k < K")


def softmax():
    return (
        Builder("softmax")
        .input("X", F32, "M", "N")
        .define("m", F32, "i < M", "X[i, j]", "max", "j < N")
        .define("e", F32, "i < M, j < N", "exp(X[i, j] - m[i])")
        .define("s", F32, "i < M", "e[i, k]", "sum", "k < N")
        .define("Y", F32, "i < M, j < N", "e[i, j] / s[i]")
    )


def blur():
    b = Builder("blur").input("X", F32, "N")
    return b.define("Y", F32, "i < N", "where(i > 0, X[i - 1], 0) + X[i] + where(i < N - 1, X[i + 1], 0)")


def prefix():
    return (
        Builder("prefix")
        .input("X", F32, "N")
        .define("Y", F32, "i < N", "X[j] * X[j]", "sum", "j < N", "j <= i")
    )


def double_prefix():
    b = Builder("prefix").input("X", F64, "N")
    return b.define("Y", F64, "i < N", "X[j] * X[j + i]", "sum", "j < N", "j + i < N")


def hashes():
    b = Builder("hash").input("X", I32, "N", "M")
    return b.define("Y", I32, "i < N, j < M", "(X[i, j] * 16777619 ^ X[i, M - 1 - j]) // (X[i, j] % 7) << 35")


def gather():
    b = Builder("gather").input("X", F32, "N").input("I", I64, "M")
    return b.define("Y", F32, "m < M", "where(I[m] >= 0 and I[m] < N, X[I[m]], -1.0)")


def histogram():
    b = Builder("h").input("I", U8, "N").input("B", F32, "V")
    return b.define("H", I64, "v < V", "1", "sum", "n < N", "i64(I[n]) == v")


def logic():
    b = Builder("logic").input("X", F32, "N", "M")
    b.define("a", BOOL, "i < N", "X[i, j] > 0 or j > 2", "any", "j < M")
    return b.define("Y", BOOL, "", "a[i] and not isnan(X[i, 0])", "all", "i < N")


def functions():
    b = Builder("functions").input("X", F32, "N").input("s", F32)
    return b.define("Y", F32, "i < N", "max(tanh(X[i]) * s, -X[i]) + sigmoid(f32(i) / f32(N)) ** 2.0")


def convolution():
    b = Builder("conv").input("X", F32, "C", "H", "W").input("F", F32, "K", "C", "3", "3")
    inside = "y + r >= 1 and y + r <= H and x + s >= 1 and x + s <= W"
    value = f"where({inside}, X[c, y + r - 1, x + s - 1], 0) * F[k, c, r, s]"
    return b.define("Y", F32, "k < K, y < H, x < W", value, "sum", "c < C, r < 3, s < 3")


def masked_rows():
    """A part of the condition speaks of the data axis alone: those elements are the identity."""
    b = Builder("masked").input("X", F32, "N", "M").input("L", I64, "N")
    b.define("Y", F32, "i < N", "X[i, j]", "sum", "j < M", "i % 3 != 0 and j <= i")
    return b.define("Z", F32, "i < N", "X[i, j]", "max", "j < M", "L[i] > 0")


PROGRAMS = {
    matmul: lambda n, m: {"A": normal(n, m), "B": normal(m, 5)},
    softmax: lambda n, m: {"X": normal(n, m)},
    blur: lambda n, m: {"X": normal(n)},
    prefix: lambda n, m: {"X": normal(n)},
    double_prefix: lambda n, m: {"X": normal(n).astype("f8") / 3},
    hashes: lambda n, m: {"X": RNG.integers(-(2**31), 2**31, (n, m)).astype("i4")},
    gather: lambda n, m: {"X": normal(n), "I": RNG.integers(-1, 5, m)},
    histogram: lambda n, m: {"I": RNG.integers(0, 9, n).astype("u1"), "B": normal(m)},
    logic: lambda n, m: {"X": normal(n, m + 1)},
    functions: lambda n, m: {"X": normal(n), "s": np.float32(0.7)},
    convolution: lambda n, m: {"X": normal(2, n, m), "F": normal(3, 2, 3, 3)},
    masked_rows: lambda n, m: {"X": normal(n, m), "L": RNG.integers(0, 2, n)},
}


@pytest.mark.parametrize("shape", [(4, 6), (1, 1), (7, 3), (0, 3), (3, 0)])
@pytest.mark.parametrize("build", PROGRAMS, ids=lambda f: f.__name__)
def test_nest_computes_what_the_program_says(build, shape):
    program = build().program(*(["Y", "Z"] if build is masked_rows else []))
    inputs = PROGRAMS[build](*shape)
    expected = run_program(program, inputs)
    result = run_kernel(nest(program), inputs)
    assert result.keys() == expected.keys()
    for name, array in expected.items():
        assert result[name].dtype == array.dtype
        np.testing.assert_array_equal(result[name], array)


# ---------------------------------------------------------------- starts


def kernel_of(program, body):
    return Kernel(program, nest(program).arguments, body)


def e(text):
    """An expression over loop variables `stage.index`, written `stage_index`."""
    expr = read(text, FLOATS)
    return rewrite(expr, lambda n: type(n)(n.name.replace("_", ".")) if hasattr(n, "name") else n)


def loop(var, extent, body, kind="serial", over=False):
    return For(var, e(extent), body, kind, is_reduction=over)


def accumulate(value="A[C_i, C_k] * B[C_k, C_j]", index="C_i, C_j", over=("C.k",), buffer="C"):
    indices = tuple(e(i) for i in index.split(","))
    return Accumulate(buffer, indices, "sum", e(value), frozenset(over), identity("sum", F32), buffer)


@pytest.mark.parametrize("order", ORDERS)
def test_start_when_the_reduction_loop_is_outside(order):
    program = matmul().program()
    inner = loop("C.i", "M", loop("C.j", "N", accumulate(), PARALLEL), PARALLEL)
    inputs = {"A": normal(3, 4), "B": normal(4, 5)}
    result = run_kernel(kernel_of(program, loop("C.k", "K", inner, over=True)), inputs, order=order)
    np.testing.assert_array_equal(result["C"], run_program(program, inputs)["C"])


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("k_outside", [False, True])
def test_start_under_guards_of_uneven_splits(order, k_outside):
    """i in tiles of 4, those in pieces of 3: the last piece overhangs into the next tile's elements."""
    program = matmul().program()
    i, k = "C_io * 4 + (C_iio * 3 + C_iii)", "C_ko * 3 + C_ki"
    body = accumulate(f"A[{i}, {k}] * B[{k}, C_j]", f"{i}, C_j", ("C.ko", "C.ki"))
    for guard in (f"{i} < M", "C_iio * 3 + C_iii < 4", f"{k} < K"):
        body = If(e(guard), body)
    pieces = [("C.iio", "2", False), ("C.iii", "3", False)]
    reduction = [("C.ko", "(K + 2) // 3", True), ("C.ki", "3", True)]
    inner = [*reduction, *pieces] if k_outside else [*pieces, *reduction]
    for var, extent, over in reversed(inner):
        body = loop(var, extent, body, over=over)
    kernel = kernel_of(program, loop("C.j", "N", loop("C.io", "(M + 3) // 4", body, PARALLEL)))
    for m in (1, 4, 9):
        for depth in (0, 1, 7):
            inputs = {"A": normal(m, depth), "B": normal(depth, 2)}
            result = run_kernel(kernel, inputs, order=order)
            np.testing.assert_array_equal(result["C"], run_program(program, inputs)["C"])


def test_start_through_fused_loops():
    program = matmul().program()
    body = Let("C.i", e("C_f // N"), e("M"), Let("C.j", e("C_f % N"), e("N"), accumulate()))
    kernel = kernel_of(program, loop("C.k", "K", loop("C.f", "M * N", body), over=True))
    inputs = {"A": normal(3, 4), "B": normal(4, 5)}
    np.testing.assert_array_equal(run_kernel(kernel, inputs)["C"], run_program(program, inputs)["C"])


def test_start_that_resumes_and_start_at_the_statement():
    """A block's partial sums are added to a running total; a sum over nothing stands at its statement."""
    b = Builder("total").input("X", F32, "N").define("Y", F32, "", "X[i]", "sum", "i < N")
    program = b.program()
    part = Accumulate("T", (), "sum", e("X[Y_io * 4 + Y_ii]"), frozenset({"Y.ii"}), identity("sum", F32), "T")
    add = Accumulate("Y", (), "sum", Load("T", (), F32), frozenset({"Y.io"}), identity("sum", F32), "Y")
    tile = Alloc(Buffer("T", F32, (), "register"), seq(loop("Y.ii", "4", part, over=True), add))
    x = normal(12)
    blocks = np.float32(0)
    for four in x.reshape(3, 4):
        total = np.float32(0)
        for value in four:
            total += value
        blocks += total
    result = run_kernel(kernel_of(program, loop("Y.io", "N // 4", tile, over=True)), {"X": x})
    assert result["Y"] == blocks
    once = Accumulate("Y", (), "sum", e("X[2]"), frozenset(), e("X[0] + X[1]"), "Y")
    assert run_kernel(kernel_of(program, once), {"X": x})["Y"] == (x[0] + x[1]) + x[2]


# ---------------------------------------------------------------- loop kinds


def copy():
    return Builder("copy").input("X", F32, "N").define("Y", F32, "i < N", "X[i]").program()


def test_vector_loops_run_in_lockstep():
    """Lane by lane, the second statement would read what the first has not written yet."""
    body = seq(
        Store("T", (e("Y_i"),), e("X[Y_i]"), "T"),
        Store("Y", (e("Y_i"),), e("T[7 - Y_i]"), "Y"),
        If(e("Y_i < 7"), Store("T", (e("Y_i + 1"),), e("T[Y_i]"), "T")),
        Let("Y.j", e("(Y_i + 1) % 8"), e("8"), If(e("Y_j > 0"), Store("Y", (e("Y_j"),), e("T[Y_j]"), "Y"))),
    )
    kernel = kernel_of(
        copy(), Alloc(Buffer("T", F32, (integer(8),), "register"), loop("Y.i", "8", body, VECTOR))
    )
    x = normal(8)
    expected = np.concatenate([x[7:], x[:7]])  # T is shifted by one, then copied where j > 0
    np.testing.assert_array_equal(run_kernel(kernel, {"X": x})["Y"], expected)


def test_vector_loop_around_a_reduction():
    program = matmul().program()
    lanes = loop("C.j", "5", loop("C.k", "K", accumulate(), over=True), VECTOR)
    inputs = {"A": normal(3, 4), "B": normal(4, 5)}
    result = run_kernel(kernel_of(program, loop("C.i", "M", lanes)), inputs)
    np.testing.assert_array_equal(result["C"], run_program(program, inputs)["C"])
    assert "pending" in python_source(kernel_of(program, loop("C.i", "M", lanes)))


def test_vector_loop_over_a_reduction():
    program = Builder("total").input("X", F32, "N").define("Y", F32, "", "X[i]", "sum", "i < N").program()
    step = Accumulate("Y", (), "sum", e("X[Y_i]"), frozenset({"Y.i"}), identity("sum", F32), "Y")
    body = loop("Y.i", "N", step, VECTOR, over=True)
    x = normal(9)
    assert run_kernel(kernel_of(program, body), {"X": x})["Y"] == run_program(program, {"X": x})["Y"]


def test_order_of_parallel_loops():
    """A loop that is wrongly parallel gives other results in another order."""
    running = seq(
        Store("Y", (integer(0),), e("X[0]"), "Y"),
        loop("Y.i", "N - 1", Store("Y", (e("Y_i + 1"),), e("Y[Y_i] + X[Y_i + 1]"), "Y"), PARALLEL),
    )
    kernel = kernel_of(copy(), running)
    x = np.arange(6, dtype=np.float32)
    np.testing.assert_array_equal(run_kernel(kernel, {"X": x})["Y"], np.cumsum(x))
    for order in ("reverse", "shuffled"):
        with pytest.raises(InterpreterError, match="nothing has written it"):
            run_kernel(kernel, {"X": x}, order=order)


def test_more_loops_than_python_nests():
    body = Store("Y", (e("Y_i"),), e("X[Y_i]"), "Y")
    for n in range(40):
        body = loop(f"Y.o{n}", "1", body)
    x = normal(3)
    np.testing.assert_array_equal(run_kernel(kernel_of(copy(), loop("Y.i", "N", body)), {"X": x})["Y"], x)


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (loop("Y.i", "N - 1", Store("Y", (e("Y_i"),), e("X[Y_i]"), "Y")), r"nothing has written Y\[3\]"),
        (loop("Y.i", "N", Store("Y", (e("Y_i"),), e("X[Y_i - 1]"), "Y")), r"X\[-1\] lies outside"),
        (loop("Y.i", "N", Store("Y", (e("Y_i + 1"),), e("X[Y_i]"), "Y")), r"Y\[4\] lies outside"),
        (loop("Y.i", "N", Store("Y", (e("Y_i"),), e("Y[Y_i]"), "Y")), r"Y\[0\] is read and nothing"),
        (
            loop("Y.i", "N", Store("X", (e("Y_i"),), e("X[Y_i]"), "Y")),
            r"X\[0\] is written, and X is an input",
        ),
        (loop("Y.i", "N", Store("Y", (e("Y_i"),), e("f64(X[Y_i])"), "Y")), "Y holds f32, not f64"),
        (loop("Y.i", "N", Store("Y", (), e("X[Y_i]"), "Y")), r"Y\[\] has 0 indices, not 1"),
        (
            loop("Y.i", "N", Let("Y.j", e("Y_i"), e("2"), Store("Y", (e("Y_j"),), e("X[0]"), "Y"))),
            "Y.j is 2 where",
        ),
    ],
)
def test_what_no_verified_kernel_does(body, message):
    with pytest.raises(InterpreterError, match=message):
        run_kernel(kernel_of(copy(), body), {"X": normal(4)})
