"""Reads at indices from data, `argmax`, and tables: compared with NumPy, on every level."""

from textwrap import dedent

import numpy as np
import pytest

import te
from te.backends.interp.loop import run_kernel
from te.backends.interp.tensor import run_program
from te.diagnostics import CompileError, Source
from te.elaborate.elaborate import check, elaborate
from te.grammar.parser import parse_file
from te.ir.print import print_program
from te.schedule.finalize import finalize
from te.schedule.nest import nest


def everywhere(text, inputs, op="f"):
    """What the interpreter, the loops and compiled code give, which must be the same: results or an error."""
    text = dedent(text)
    program = elaborate(parse_file(Source("t.te", text)), op)
    runs = [lambda: run_program(program, inputs)[program.results[0]]]
    for kernel in (nest(program), finalize(nest(program))):
        runs.append(lambda kernel=kernel: run_kernel(kernel, inputs)[program.results[0]])
    for schedule in ("none", "auto"):
        runs.append(lambda schedule=schedule: te.build(text, schedule, op=op)(**inputs))
    outcomes = []
    for run in runs:
        try:
            outcome = run()
            outcomes.append(outcome[0] if isinstance(outcome, tuple) else outcome)
        except IndexError as error:
            outcomes.append(str(error))
    for outcome in outcomes[1:]:
        np.testing.assert_array_equal(outcome, outcomes[0])
    return outcomes[0]


EMBEDDING = """
op f(E: f32[V, D], ids: i32[N]) -> Y: f32[N, D] {
    Y[i, d] = E[ids[i], d]
}
"""


def test_gather():
    table = np.arange(12, dtype=np.float32).reshape(4, 3)
    ids = np.array([3, 0, 0, 2], np.int32)
    np.testing.assert_array_equal(everywhere(EMBEDDING, {"E": table, "ids": ids}), table[ids])


@pytest.mark.parametrize(("ids", "at"), [([0, 4, -1], 1), ([0, 1, -1], 2), ([2**31 - 1], 0), ([-(2**31)], 0)])
def test_an_index_outside_names_its_position(ids, at):
    message = everywhere(EMBEDDING, {"E": np.zeros((4, 3), np.float32), "ids": np.array(ids, np.int32)})
    assert (
        message == f"f: `E[ids[i], d]` reads outside axis 0 of `E`, which spans 0 .. 3, at i = {at} (line 3)"
    )


def test_empty_tables_and_empty_ids():
    empty = np.zeros((0, 3), np.float32)
    assert everywhere(EMBEDDING, {"E": empty, "ids": np.zeros(0, np.int32)}).shape == (0, 3)
    assert "spans nothing" in everywhere(EMBEDDING, {"E": empty, "ids": np.zeros(1, np.int32)})


def test_what_a_condition_excludes_is_not_checked():
    text = """
    op f(X: f32[N], ids: i64[M], on: bool[M]) -> Y: f32[M] {
        Y[i] = where(on[i], sum[k < 2](X[ids[i] + k]), 0)
    }
    """
    x, ids = np.arange(5, dtype=np.float32), np.array([3, 99, 0])
    inputs = {"X": x, "ids": ids, "on": np.array([True, False, True])}
    np.testing.assert_array_equal(everywhere(text, inputs), [7, 0, 1])
    inputs["on"] = np.array([True, True, True])
    assert "at i = 1, k = 0" in everywhere(text, inputs)


def test_an_index_from_an_intermediate():
    text = """
    op f(X: f32[N], a: i64[M]) -> Y: f32[M] {
        b[i] = a[i] * 2
        Y[i] = X[b[i]]
    }
    """
    inputs = {"X": np.arange(6, dtype=np.float32), "a": np.array([0, 2, 1])}
    np.testing.assert_array_equal(everywhere(text, inputs), [0, 4, 2])
    assert "at i = 1" in everywhere(text, {**inputs, "a": np.array([0, 3, 4])})


def test_checks_in_called_ops():
    text = (
        EMBEDDING.replace("op f", "op embed")
        + "op f(T: f32[d, i], ids: i32[N]) -> Y: f32[N, i] { Y = embed(T, ids) }"
    )
    table = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.testing.assert_array_equal(everywhere(text, {"T": table, "ids": np.array([1], np.int32)}), table[[1]])
    assert "outside axis 0 of `T`" in everywhere(text, {"T": table, "ids": np.array([2], np.int32)})


def test_scatter_add_is_a_sum_under_a_condition():
    text = """
    op f(G: i64[N], ids: i64[N], Z: i64[V]) -> Y: i64[V] {
        Y[v] = Z[v] + sum[i where ids[i] == v](G[i])
    }
    """
    ids, g = np.array([1, 0, 1, 7]), np.array([10, 20, 30, 40])
    np.testing.assert_array_equal(
        everywhere(text, {"G": g, "ids": ids, "Z": np.zeros(3, np.int64)}), [20, 40, 0]
    )


ARG = """
op f(X: {0}[M, N]) -> Y: i64[M], Z: i64[M] {{
    Y[i] = argmax[j](X[i, j])
    Z[i] = 1 + argmin[j where j > 0](X[i, j])
}}
"""


@pytest.mark.parametrize("dtype", ["f32", "i32", "u8"])
def test_argmax(dtype):
    x = np.random.default_rng(0).integers(0, 5, (7, 9)).astype({"f32": "f4", "i32": "i4", "u8": "u1"}[dtype])
    text = ARG.format(dtype)
    np.testing.assert_array_equal(everywhere(text, {"X": x}), x.argmax(1))
    np.testing.assert_array_equal(te.build(text)(x)[1], 2 + x[:, 1:].argmin(1))


def test_argmax_of_nan_and_of_nothing():
    x = np.array([[1, np.nan, 3, np.nan], [-np.inf] * 4, [np.inf, 1, np.inf, 2]], np.float32)
    np.testing.assert_array_equal(everywhere(ARG.format("f32"), {"X": x}), x.argmax(1))
    np.testing.assert_array_equal(
        everywhere(ARG.format("f32"), {"X": np.zeros((2, 0), np.float32)}), [-1, -1]
    )


TABLES = """
const G: f32[2, 3] = [[1, 2, 3], [-4, 5e-1, inf]]
const half: f32 = 0.5
const primes: i64[4] = [2, 3, 5, 7]
op third(x: f32) -> y: f32 { y = x * G[0, 2] * half }
op inner(X: f32[N]) -> Y: f32[N, 2] { Y[i, a] = sum[r where G[a, r] < 3](G[a, r] * X[i]) }
op f(X: f32[N]) -> Y: f32[N, 2], Z: f32[N], P: i64[4] {
    Y = inner(X)
    Z[i] = third(X[i])
    P[k] = primes[3 - k]
}
"""


def test_tables():
    x = np.array([1, -2], np.float32)
    np.testing.assert_array_equal(everywhere(TABLES, {"X": x}), np.stack([x * 3, x * -3.5], 1))
    _, z, p = te.build(TABLES, op="f")(x)
    np.testing.assert_array_equal(z, x * 1.5)
    np.testing.assert_array_equal(p, [7, 5, 3, 2])


def test_programs_with_tables_read_back():
    program = elaborate(parse_file(Source("t.te", TABLES)), "f")
    again = elaborate(parse_file(Source("t.te", print_program(program))), "f")
    assert again.tables == program.tables
    x = np.array([1, -2], np.float32)
    np.testing.assert_array_equal(run_program(again, {"X": x})["Y"], run_program(program, {"X": x})["Y"])


@pytest.mark.parametrize(
    ("item", "code"),
    [
        ("const G: f23[2] = [1, 2]", "table-type"),
        ("const G: f32[n] = [1, 2]", "table-extent"),
        ("const G: f32[3] = [1, 2]", "table-shape"),
        ("const G: i32[2] = [1, 2.5]", "table-value"),
        ("const G: u8[1] = [256]", "table-value"),
        ("const G: f32 = 1\nconst G: f32 = 2", "duplicate-table"),
    ],
)
def test_wrong_tables(item, code):
    assert [d.code for d in check(parse_file(Source("t.te", item + "\n")))] == [code]


def test_argmax_takes_one_index():
    with pytest.raises(CompileError, match="one index"):
        te.build("op f(X: f32[M, N]) -> y: i64 { y = argmax[i, j](X[i, j]) }")
