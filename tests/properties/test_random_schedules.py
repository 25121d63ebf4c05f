"""Random schedules of all verbs: each line is refused or changes no result.

A scheduled kernel is compared with the unscheduled one, both interpreted and both compiled. Inputs
are small whole numbers, of which sums and products are exact in any order: so results must agree
bit for bit, whatever a schedule reorders. Programs with functions that round get a tolerance.
"""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from te.backends.interp.loop import run_kernel
from te.diagnostics import ScheduleError
from te.ir.loop import Kernel
from te.ir.types import numpy_dtype
from te.schedule.finalize import finalize
from te.schedule.nest import nest
from tests.backends.llvm_support import evaluate, run
from tests.properties.generated.schedules import Drawn, schedules_of
from tests.schedule.scheduling import program

PROGRAMS = {
    "pointwise": "op f(X: f32[N]) -> Y: f32[N] { Y[i] = X[i] * 2.0 + 1.0 }",
    "matmul": "op f(A: f32[M, K], B: f32[K, N]) -> C: f32[M, N] { C[i, j] = sum[k](A[i, k] * B[k, j]) }",
    "epilogue": """
        op f(A: f32[M, K], B: f32[K, N], b: f32[N]) -> Y: f32[M, N] {
            C[i, j] = sum[k](A[i, k] * B[k, j])
            P[i, j] = C[i, j] + b[j]
            Y[i, j] = max(P[i, j], 0)
        }
    """,
    "stencil": """
        op f(X: f32[M, N]) -> Y: f32[M, N] {
            h[i, j] = (X[i - 1, j] else 0) + X[i, j] + (X[i + 1, j] else 0)
            Y[i, j] = (h[i, j - 1] else 0) + h[i, j] + (h[i, j + 1] else 0)
        }
    """,
    "conv": """
        op f(X: f32[C, N], F: f32[K, C, 3]) -> Y: f32[K, N] {
            Y[k, x] = sum[c, r]((X[c, x + r - 1] else 0) * F[k, c, r])
        }
    """,
    "triangle": "op f(X: i32[M, N]) -> Y: i32[M] { Y[i] = max[j where j <= i](X[i, j]) }",
    "rows": """
        op f(X: f32[M, N]) -> Y: f32[M, N] {
            m[i]    = max[j](X[i, j])
            e[i, j] = abs(X[i, j] - m[i])
            s[i]    = sum[j](e[i, j])
            Y[i, j] = e[i, j] * 2 + s[i]
        }
    """,
    "two results": """
        op f(X: i32[M, N]) -> rows: i32[M], total: i32 {
            rows[i] = sum[j](X[i, j])
            total   = max[i](rows[i])
        }
    """,
    "scan": """
        op f(X: f32[T, N]) -> h: f32[T, N] {
            g[t, i] = X[t, i] * 2 + 1
            h[t, i] = g[t, i] + (h[t - 1, i] else 0)
        }
    """,
    "gather": """
        op f(E: f32[V, N], ids: i64[M]) -> Y: f32[M, N] {
            Y[i, j] = E[clamp(ids[i], 0, V - 1), j] * 2
        }
    """,
    "masks": """
        op f(X: u8[M, N]) -> Y: u8[M, N] {
            odd[i]  = any[j](X[i, j] % 2 == 1)
            Y[i, j] = where(odd[i], X[i, j], 255 - X[i, j])
        }
    """,
}
ROUNDED = {
    "softmax": """
        op f(X: f32[M, N]) -> Y: f32[M, N] {
            m[i]    = max[j](X[i, j])
            e[i, j] = exp(X[i, j] - m[i])
            Y[i, j] = e[i, j] / sum[k](e[i, k])
        }
    """,
}
PLAIN = {name: nest(program(text)) for name, text in (PROGRAMS | ROUNDED).items()}


def whole_numbers(kernel: Kernel, sizes: dict[str, int], seed: int) -> dict[str, np.ndarray]:
    """Inputs of small whole numbers, as arrays of the types that the op takes."""
    rng = np.random.default_rng(seed)
    arrays = {}
    for t in kernel.program.inputs:
        shape = tuple(sizes[d.name] if hasattr(d, "name") else int(d.value) for d in t.shape)
        low = 0 if t.dtype.name.startswith("u") else -4
        arrays[t.name] = rng.integers(low, 5, shape).astype(numpy_dtype(t.dtype))
    return arrays


def draw_sizes(data: st.DataObject, kernel: Kernel) -> dict[str, int]:
    return {name: data.draw(st.integers(1, 9), label=name) for name in kernel.program.sizes}


@given(st.sampled_from(sorted(PLAIN)), st.data())
def test_random_schedules_change_no_result(name: str, data: st.DataObject) -> None:
    check(name, data)


def check(name: str, data: st.DataObject) -> None:
    plain = PLAIN[name]
    drawn: Drawn = data.draw(schedules_of(plain), label="schedule")
    sizes = draw_sizes(data, plain)
    inputs = whole_numbers(plain, sizes, data.draw(st.integers(0, 99), label="seed"))
    order = data.draw(st.sampled_from(["forward", "reverse", "shuffled"]), label="order")
    try:
        final = finalize(drawn.kernel)
    except ScheduleError as refused:  # only the whole schedule shows whether registers can be named
        if refused.diagnostics[0].code != "register-index":
            raise
        return
    expected = run_kernel(plain, inputs, sizes)
    exact = name in PROGRAMS
    for found in (run_kernel(drawn.kernel, inputs, sizes, order=order), run_kernel(final, inputs, sizes)):
        assert_same(found, expected, exact)
    assert_same(compiled(final, inputs, sizes), compiled(finalize(plain), inputs, sizes), exact)


def compiled(kernel: Kernel, inputs: dict[str, np.ndarray], sizes: dict[str, int]) -> dict[str, np.ndarray]:
    """The results of the compiled kernel."""
    program = kernel.program
    results = {}
    for name in program.outputs:
        tensor = program.tensor(name)
        results[name] = np.zeros([evaluate(d, sizes) for d in tensor.shape], numpy_dtype(tensor.dtype))
    run(kernel, {**inputs, **results}, sizes)
    return {name: results[name] for name in program.results}


def assert_same(found: dict[str, np.ndarray], expected: dict[str, np.ndarray], exact: bool) -> None:
    for result, array in expected.items():
        if exact:
            np.testing.assert_array_equal(found[result], array, err_msg=result)
        else:
            np.testing.assert_allclose(found[result], array, rtol=1e-5, err_msg=result)
