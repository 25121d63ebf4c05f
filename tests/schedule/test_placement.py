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
