"""`target="cuda-emulated"`: emitted kernels behind the same front door as all others."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import te
from te.backends.cuda.emulator.executable import EmulatedExecutable, Emulation, emulating, emulation_asked_for
from te.runtime.kernel import Kernel
from te.watch.timing import random_inputs
from tests.backends.emulator.running import needs_gxx

pytestmark = needs_gxx

SCALE = """
op scale(X: f32[M, N], by: f32) -> Y: f32[M, N] {
    require M >= 2
    Y[i, j] = by * X[i, j] + 1.0
}
schedule scale on cuda {
    split i by 4 into io, ii
    split j by 32 into jo, ji
    reorder io, jo, ii, ji
    bind io to block.y
    bind jo to block.x
    bind ii to thread.y
    bind ji to thread.x
}
"""


@pytest.fixture(autouse=True)
def _every_order(monkeypatch):
    monkeypatch.setenv("TE_EMULATOR_ORDERS", "forward,backward,5")


def built(text, **more):
    return te.build(text, target="cuda-emulated", **more)


def test_a_call():
    kernel = built(SCALE)
    x = np.random.default_rng(0).standard_normal((37, 45)).astype(np.float32)
    np.testing.assert_allclose(kernel(x, 3.0), 3 * x + 1, rtol=1e-6)
    out = np.empty_like(x)
    assert kernel(x, by=2.0, out=out) is out
    np.testing.assert_allclose(out, 2 * x + 1, rtol=1e-6)
    assert kernel(x, 1.0, out=x) is x
    assert kernel(np.zeros((2, 0), np.float32), 1.0).shape == (2, 0)
    assert "__global__" in kernel.ir("cuda")
    with pytest.raises(ValueError, match="M >= 2"):
        kernel(x[:1], 1.0)
    with pytest.raises(TypeError):
        kernel(x.astype(np.float64), 1.0)


def test_an_op_without_a_schedule():
    kernel = built("""
    op average(X: f32[N]) -> y: f32 {
        s = sum[i](X[i])
        y = s / f32(N)
    }""")
    x = np.arange(10, dtype=np.float32)
    assert kernel(x) == 4.5


@pytest.mark.parametrize("debug", [False, True])
def test_tables_and_indices_from_data(debug):
    kernel = built(
        """
        const W: f32[3] = [1, 2, 4]
        op pick(X: f32[N], I: i32[M]) -> Y: f32[M] {
            Y[i] = X[I[i]] * W[i % 3]
        }
        """,
        debug=debug,
    )
    x, i = np.arange(5, dtype=np.float32), np.array([4, 0, 2, 1], np.int32)
    assert kernel(x, i).tolist() == [4.0, 0.0, 8.0, 1.0]
    with pytest.raises(IndexError, match="I"):
        kernel(x, i + 3)


@pytest.mark.parametrize(
    "text",
    [
        "op f(X: f32[M, N]) -> Y: f32[M] { Y[i] = sum[j](X[i, j]) }",
        "op f(A: f32[M, K], B: f32[K, N]) -> C: f32[M, N] { C[i, j] = max(sum[k](A[i, k] * B[k, j]), 0.0) }",
        "op f(A: i8[M, K], B: i8[K, N]) -> C: i32[M, N] { C[i, j] = sum[k](i32(A[i, k]) * i32(B[k, j])) }",
    ],
)
def test_threads_run_in_order_where_indices_are_checked(text):
    kernel, plain = built(text, debug=True), te.build(text, "none")
    inputs = random_inputs(kernel.program, {"M": 70, "N": 65, "K": 9})
    np.testing.assert_allclose(kernel(**inputs), plain(**inputs), rtol=1e-5, atol=1e-5)
    assert "__launch_bounds__(1)" in kernel.ir("cuda")


def test_operators_of_indices():
    kernel = built("""
    op turned(X: f32[N]) -> Y: f32[N], Z: i64[N] {
        require N >= 1
        Y[i] = X[clamp(abs(i - 2) + sign(i - 3), 0, N - 1)]
        Z[i] = (i & 5) + (i << 2) * (i ^ 3) - (~i | 1)
    }""")
    x, i = np.arange(9, dtype=np.float32), np.arange(9)
    y, z = kernel(x)
    assert (y == x[np.clip(abs(i - 2) + np.sign(i - 3), 0, 8)]).all()
    assert (z == (i & 5) + (i << 2) * (i ^ 3) - (~i | 1)).all()


@pytest.mark.parametrize("dtype", ["f16", "bf16", "f64", "i8", "u8", "i64", "bool"])
def test_dtypes(dtype):
    from te.ir.types import DTYPES, numpy_dtype

    kernel = built(
        f"op choose(X: {dtype}[N], Y: {dtype}[N]) -> Z: {dtype}[N] {{ Z[i] = where(i % 2 == 0, X[i], Y[i]) }}"
    )
    x, y = (np.random.default_rng(n).integers(0, 2, 9).astype(numpy_dtype(DTYPES[dtype])) for n in (0, 1))
    assert (kernel(x, y) == np.where(np.arange(9) % 2 == 0, x, y)).all()


def test_what_the_environment_asks_for(monkeypatch):
    assert emulation_asked_for() == Emulation((0, 1, 5), True, 60.0)
    monkeypatch.setenv("TE_EMULATOR_CHECKS", "0")
    monkeypatch.setenv("TE_EMULATOR_SECONDS", "2.5")
    assert emulation_asked_for() == Emulation((0, 1, 5), False, 2.5)
    for name, wrong in [("ORDERS", "sideways"), ("CHECKS", "yes"), ("SECONDS", "long")]:
        with monkeypatch.context() as changed:
            changed.setenv(f"TE_EMULATOR_{name}", wrong)
            with pytest.raises(ValueError, match=wrong):
                emulation_asked_for()


def damaged(kernel: Kernel, old: str, new: str) -> Kernel:
    """The kernel with something else in its emitted text."""
    compilation = kernel._compilation
    artifact = compilation.artifact
    assert old in artifact.text
    executable = EmulatedExecutable(replace(artifact, text=artifact.text.replace(old, new)))
    return Kernel(kernel._interface, executable, lambda: compilation)


def test_a_mistake_in_what_is_emitted_is_told_with_the_line_of_the_op():
    kernel = damaged(built(SCALE), "* X[", "* X[1 + ")
    with pytest.raises(te.EmulationError) as caught:
        kernel(np.ones((4, 3), np.float32), 1.0)
    (finding,) = caught.value.findings
    assert (finding.kind, finding.array, finding.index) == ("out of bounds", "X", (12,))
    actor = finding.actors[0]
    assert actor.thread == (2, 3, 0)
    assert actor.span is not None
    assert actor.span.line == 4
    assert "Y[i, j] = by * X[i, j] + 1.0" in str(caught.value)


def test_results_that_depend_on_the_order_are_wrong():
    kernel = built(
        "op last(X: f32[N]) -> Y: f32[N] { Y[i] = X[i] }\nschedule last on cuda { bind i to block.x }"
    )
    kernel = damaged(kernel, "Y[i] = X[i]", "{ Y[i] = X[i]; Y[0] = X[i]; }")
    x = np.arange(3, dtype=np.float32)
    with pytest.raises(te.EmulationError, match="same time"):
        kernel(x)
    fast = emulating(Emulation((0, 1), is_checked=False))
    with fast, pytest.raises(te.EmulationError, match="depends on the order"):
        kernel(x)
