"""inline."""

from __future__ import annotations

import numpy as np
import pytest

from te.backends.interp.loop import run_kernel
from te.schedule.nest import nest
from tests.schedule.scheduling import CHAIN, SOFTMAX, assert_same, loops, program, refused, scheduled

STENCIL = """
op f(X: f32[N]) -> Y: f32[N] {
    e[i] = X[i] + 1.0
    g[i] = (e[i - 1] else 0.0) + e[i] + (e[i + 1] else 0.0)
    Y[i] = g[i] * 2.0
}
"""


def test_inline_leaves_no_trace_of_the_stage() -> None:
    kernel = scheduled(CHAIN, "inline e")
    assert (
        loops(kernel)
        == """
for Y.i < N:
  Y[i] = (X[i] + 1.0) * (X[i] + 1.0)
"""
    )
    assert [stage.name for stage in kernel.program.stages] == ["Y"]


def test_inline_of_a_chain_in_any_order() -> None:
    plain = nest(program(STENCIL))
    for lines in ("inline e, g", "inline g, e", "inline e\ninline g"):
        kernel = scheduled(plain, lines)
        assert loops(kernel).count("for ") == 1
        assert_same(plain, kernel, {"N": 1}, {"N": 2}, {"N": 9})


def test_inline_keeps_the_loops_of_other_stages() -> None:
    kernel = scheduled(SOFTMAX, "split m.j by 4\ninline e")
    text = loops(kernel)
    assert "m.jo" in text
    assert "alloc e" not in text
    assert_same(nest(program(SOFTMAX)), kernel, {"M": 2, "N": 5})


def test_a_product_is_still_rounded_on_its_own() -> None:
    text = """
    op f(A: f32[N], B: f32[N]) -> Y: f32 {
        e[i] = A[i] * B[i]
        Y    = sum[i](e[i])
    }
    """
    plain = nest(program(text))
    kernel = scheduled(plain, "inline e")
    rng = np.random.default_rng(1)
    inputs = {name: rng.standard_normal(20).astype(np.float32) for name in "AB"}
    assert run_kernel(plain, inputs)["Y"] == run_kernel(kernel, inputs)["Y"]
    fused = nest(program("op f(A: f32[N], B: f32[N]) -> Y: f32 { Y = sum[i](A[i] * B[i]) }"))
    assert run_kernel(fused, inputs)["Y"] != run_kernel(kernel, inputs)["Y"]


RECURRENT = """
op f(X: i64[T, N], U: i64[N, N]) -> Y: i64[T, N], Z: i64[T, N] {
    g[t, i] = X[t, i] * 2 + 1
    s[t, i] = g[t, i] + sum[k](U[i, k] * (h[t - 1, k] else 0))
    a[t, i] = s[t, i] % 7
    h[t, i] = a[t, i] - (Y[t - 1, i] else 3)
    Y[t, i] = h[t, i] + a[t, i]
    Z[t, i] = h[t, i]
}
"""


@pytest.mark.parametrize(
    "lines", ["inline g", "inline a", "inline g, s, a", "inline h", "inline a, h", "inline h, a"]
)
def test_inline_in_a_recurrence(lines: str) -> None:
    plain = nest(program(RECURRENT))
    kernel = scheduled(plain, lines)
    assert not {s.name for s in kernel.program.stages} & set(lines.removeprefix("inline ").split(", "))
    assert_same(plain, kernel, *({"T": t, "N": n} for t, n in ((1, 1), (4, 3), (6, 2))))


def test_a_recurrence_keeps_its_shared_loop() -> None:
    text = "op f(X: i64[T, N]) -> h: i64[T, N] { g[t, i] = X[t, i] + 1\nh[t, i] = g[t, i] * (h[t - 1, i] else 2) }"
    assert (
        loops(text, "inline g")
        == """
for h.t < T:
  for h.i < N:
    h[t, i] = (X[t, i] + 1) * where(t >= 1, h[t - 1, i], 2)
"""
    )


def test_inline_comes_before_the_loops_of_a_recurrence_change() -> None:
    diagnostic = refused(RECURRENT, "parallel Y.i\ninline g")
    assert diagnostic.code == "stage-touched"


@pytest.mark.parametrize(
    ("text", "lines", "code"),
    [
        (CHAIN, "inline Y", "inline-refused"),
        (SOFTMAX, "inline m", "inline-refused"),
        (CHAIN, "inline X", "unknown-stage"),
        (CHAIN, "inline ee", "unknown-stage"),
        (STENCIL, "inline e, e", "repeated-stage"),
        (CHAIN, "split e.i by 4\ninline e", "stage-touched"),
        (CHAIN, "split Y.i by 4\ninline e", "stage-touched"),
        (RECURRENT, "set_scope s in local\ninline a", "stage-touched"),
    ],
)
def test_refused(text: str, lines: str, code: str) -> None:
    assert refused(text, lines).code == code


def test_a_late_inline_says_which_line_it_must_precede() -> None:
    diagnostic = refused(STENCIL, "split e.i by 4\nvectorize Y.i by 4\nparallel Y.io\ninline g")
    assert diagnostic.help == "write it before `vectorize Y.i by 4`"


def test_inlining_has_a_limit() -> None:
    stages = "\n".join(f"    e{n + 1}[i] = e{n}[i] * e{n}[i]" for n in range(20))
    text = f"op f(X: f32[N]) -> Y: f32[N] {{\n    e0[i] = X[i] + 1.0\n{stages}\n    Y[i] = e20[i]\n}}"
    diagnostic = refused(text, "inline " + ", ".join(f"e{n}" for n in range(21)))
    assert diagnostic.code == "inline-size"
