"""fold: buffers that keep the last elements along an axis."""

from __future__ import annotations

import numpy as np
import pytest

import te
from te.backends.interp.loop import run_kernel
from te.ir.loop import Alloc, walk_stmt
from te.ir.print import print_kernel
from te.schedule.finalize import finalize
from te.schedule.nest import nest
from tests.schedule.scheduling import CHAIN, MATMUL, assert_same, program, random_inputs, refused, scheduled

STATES = """
op f(X: i64[T, N]) -> Y: i64[N] {
    require T >= 1
    h[t, i] = X[t, i] + (h[t - 1, i] else 1)
    Y[i]    = h[T - 1, i]
}
"""
FAR = STATES.replace("t - 1", "t - 2")
SHIFTED = STATES.replace("h[t - 1, i] else 1", "h[t - 1, i - 1] else 1")
RNN = """
op rnn(X: i64[T, N], W: i64[N, N]) -> Y: i64[N] {
    require T >= 1
    s[t, i] = X[t, i] + sum[k](W[i, k] * (h[t - 1, k] else 0))
    h[t, i] = s[t, i] % 7
    Y[i]    = h[T - 1, i]
}
"""
WINDOW = """
op f(X: i64[N]) -> Y: i64[N - 2] {
    require N >= 3
    e[i] = X[i] * X[i]
    Y[i] = e[i] + e[i + 1] + e[i + 2]
}
"""
SIZES = [{"T": t, "N": n} for t, n in ((1, 1), (2, 3), (5, 4), (8, 1), (9, 7), (3, 0))]


def shape_of(lines: str, text: str, buffer: str) -> list[str]:
    final = finalize(scheduled(text, lines))
    (found,) = [
        s.buffer for s, _ in walk_stmt(final.body) if isinstance(s, Alloc) and s.buffer.name == buffer
    ]
    from te.ir.print import print_expr

    return [print_expr(d) for d in found.shape]


@pytest.mark.parametrize(
    ("text", "lines", "buffer", "shape"),
    [
        (STATES, "fold h by 2", "h", ["2", "N"]),
        (STATES, "fold h by 5", "h", ["5", "N"]),
        (SHIFTED, "fold h by 2", "h", ["2", "N"]),
        (FAR, "fold h by 3", "h", ["3", "N"]),
        (STATES, "split t by 4\nfold h by 2", "h", ["2", "N"]),
        (STATES, "fold h by 2\nsplit t by 4 into to, ti", "h", ["2", "N"]),
        (STATES, "fold h by 2\nvectorize h.i by 4", "h", ["2", "N"]),
        (STATES, "fold h by 2\nparallel h.i", "h", ["2", "N"]),
        (RNN, "fold h by 2", "h", ["2", "N"]),
        (RNN, "fold h by 1", "h", ["1", "N"]),  # the old state is read before the new one is written
        (CHAIN, "merge e.i, Y.i\nfold e by 1", "e", ["1"]),
    ],
)
def test_folded_buffers_compute_the_same(text: str, lines: str, buffer: str, shape: list[str]) -> None:
    assert shape_of(lines, text, buffer) == shape
    plain = nest(program(text))
    kernel = scheduled(plain, lines)
    sizes = [{n: s[n] for n in plain.program.sizes} for s in SIZES]
    assert_same(plain, kernel, *sizes)
    final, built = finalize(kernel), te.build(text, schedule=lines)
    for values in sizes:
        inputs = random_inputs(plain.program, values)
        expected = run_kernel(plain, inputs, values)["Y"]
        np.testing.assert_array_equal(run_kernel(final, inputs, values, order="shuffled")["Y"], expected)
        np.testing.assert_array_equal(built(**inputs), expected)


def test_a_sliding_window_is_as_long_as_what_is_read() -> None:
    lines = "compute_at e at Y.i keep Y.i\nfold e by 3"
    assert shape_of(lines, WINDOW, "e") == ["3"]
    plain = nest(program(WINDOW))
    final = finalize(scheduled(plain, lines))
    for n in (3, 4, 9):
        inputs = random_inputs(plain.program, {"N": n})
        np.testing.assert_array_equal(run_kernel(final, inputs)["Y"], run_kernel(plain, inputs)["Y"])
    assert refused(WINDOW, lines.replace("by 3", "by 2")).code == "fold-refused"


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        (STATES, "fold h by 1"),
        (STATES, "fold h by 0"),
        (FAR, "fold h by 2"),
        (CHAIN, "fold e by 2"),  # all is written before anything is read
        (CHAIN, "merge e.i, Y.i\nparallel i\nfold e by 1"),
        (CHAIN, "merge e.i, Y.i\nsplit i by 4\nvectorize ii\nfold e by 1"),
        (MATMUL, "fold C by 2"),
    ],
)
def test_refused(text: str, lines: str) -> None:
    assert refused(text, lines).code == "fold-refused"


@pytest.mark.parametrize(
    ("text", "before", "line"),
    [
        (CHAIN, "merge e.i, Y.i\nfold e by 1", "fission e.i at 1"),
        (CHAIN, "merge e.i, Y.i\nfold e by 1", "parallel e.i"),
        (CHAIN, "merge e.i, Y.i\nfold e by 1", "vectorize e.i by 4"),
        (STATES, "split h.t by 2\nfold h by 2", "reorder h.ti, h.to"),
    ],
)
def test_a_line_that_would_lose_elements_is_refused(text: str, before: str, line: str) -> None:
    assert scheduled(text, before)
    assert scheduled(text, f"{before[: before.rindex('fold')]}{line}") if "reorder" not in line else True
    assert refused(text, f"{before}\n{line}").code in ("fold-refused", "reorder-dependence")


def test_storage_is_printed() -> None:
    assert "in global fold axis 0 by 2" in print_kernel(scheduled(STATES, "fold h by 2"))
