"""online: every program computes what its plain form does, NaN for NaN; what does not pass says why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import te
from te.backends.interp.loop import run_kernel
from te.ir.bounds import evaluate
from te.ir.expr import Const, Var, integer
from te.ir.loop import Alloc, For, Let, Seq, Stmt, walk_stmt
from te.ir.print import print_expr
from te.ir.tensor import Program
from te.ir.types import numpy_dtype
from te.ir.verify import verify_kernel
from te.schedule.finalize import finalize
from te.schedule.nest import nest
from tests.schedule.scheduling import program, scheduled


@dataclass(frozen=True)
class Case:
    """An op of `T`, the line that runs it online, and the inputs that stand for something."""

    text: str
    lines: str
    positive: tuple[str, ...] = ()  # inputs that must be above 0


CASES = {
    "softmax": Case(
        """
        m[i]    = max[j](X[i, j])
        e[i, j] = exp(X[i, j] - m[i])
        Y[i, j] = e[i, j] / sum[k](e[i, k])
        """,
        "inline e\nonline j, Y_sum.k of m, Y_sum at Y.i by 4",
    ),
    "log-sum-exp": Case(
        """
        m[i] = max[j](X[i, j])
        Y[i] = log(sum[j](exp(X[i, j] - m[i]))) + m[i]
        """,
        "online j of m, Y_sum at Y.i by 4",
    ),
    "bias": Case(
        """
        m[i] = max[j](X[i, j] + B[i, j])
        l[i] = sum[j](exp(B[i, j] - m[i] + X[i, j]))
        Y[i] = l[i]
        """,
        "online j of m, l at Y.i by 4",
    ),
    "base 2": Case(
        """
        m[i] = max[j](X[i, j])
        l[i] = sum[j](exp2((X[i, j] - m[i]) * 1.442695))
        Y[i] = log(l[i]) + m[i]
        """,
        "online j of m, l at Y.i by 4",
    ),
    "temperature": Case(
        """
        m[i] = max[j](X[i, j])
        l[i] = sum[j](exp((X[i, j] - m[i]) / t[i]))
        A[i] = sum[j](exp(X[i, j] / t[i] - m[i] / t[i]) * B[i, j])
        Y[i] = A[i] / l[i]
        """,
        "online j of m, l, A at Y.i by 4",
        positive=("t",),
    ),
    "soft-capped": Case(
        """
        S[i, j] = 5.0 * tanh(X[i, j] / 5.0)
        m[i]    = max[j](S[i, j])
        p[i, j] = exp(S[i, j] - m[i])
        l[i]    = sum[j](p[i, j])
        A[i]    = sum[j](p[i, j] * B[i, j])
        Y[i]    = A[i] / l[i]
        """,
        "online j of m, l, A at Y.i by 4",
    ),
    "weighted average": Case(
        """
        m[i]    = max[j](X[i, j])
        w[i, j] = exp(X[i, j] - m[i])
        Y[i]    = sum[j](w[i, j] * B[i, j]) / sum[j](w[i, j])
        """,
        "online j of m, Y_sum, Y_sum2 at Y.i by 4",
    ),
    "minimum": Case(
        """
        m[i] = min[j](X[i, j])
        l[i] = sum[j](exp(m[i] - X[i, j]))
        A[i] = sum[j](B[i, j] / exp(X[i, j] - m[i]))
        Y[i] = A[i] / l[i]
        """,
        "online j of m, l, A at Y.i by 4",
    ),
    "entropy": Case(
        """
        m[i] = max[j](X[i, j])
        l[i] = sum[j](exp(X[i, j] - m[i]))
        h[i] = sum[j](exp(X[i, j] - m[i]) * (X[i, j] - m[i]))
        Y[i] = log(l[i]) - h[i] / l[i]
        """,
        "online j of m, l, h at Y.i by 4",
    ),
    "entropy of plain logits": Case(
        """
        m[i] = max[j](X[i, j])
        l[i] = sum[j](exp(X[i, j] - m[i]))
        h[i] = sum[j](exp(X[i, j] - m[i]) * X[i, j])
        Y[i] = m[i] + log(l[i]) - h[i] / l[i]
        """,
        "online j of m, l, h at Y.i by 4",
    ),
    "with a plain sum": Case(
        """
        m[i] = max[j](X[i, j])
        q[i] = sum[j](B[i, j] * B[i, j])
        l[i] = sum[j](exp(X[i, j] - m[i]))
        Y[i] = l[i] + q[i]
        """,
        "online j of m, q, l at Y.i by 4",
    ),
    "causal": Case(
        """
        m[i] = max[j where j <= i](X[i, j])
        l[i] = sum[j where j <= i](exp(X[i, j] - m[i]))
        A[i] = sum[j where j <= i](exp(X[i, j] - m[i]) * B[i, j])
        Y[i] = A[i] / l[i]
        """,
        "online j of m, l, A at Y.i by 4",
    ),
    "tiles of causal rows": Case(
        """
        m[i] = max[j where j <= i](X[i, j])
        l[i] = sum[j where j <= i](exp(X[i, j] - m[i]))
        Y[i] = log(l[i]) + m[i]
        """,
        "split Y.i by 3\nonline j of m, l at Y.io by 4",
    ),
    "rows that begin late": Case(
        """
        m[i] = max[j where j + 3 <= i](X[i, j])
        l[i] = sum[j where j + 3 <= i](exp(X[i, j] - m[i]))
        Y[i] = log(l[i]) + m[i]
        """,
        "split Y.i by 3\nonline j of m, l at Y.io by 4",
    ),
    "a sliding window": Case(
        """
        m[i] = max[j where j <= i and i < j + 5](X[i, j])
        l[i] = sum[j where j <= i and i < j + 5](exp(X[i, j] - m[i]))
        A[i] = sum[j where j <= i and i < j + 5](exp(X[i, j] - m[i]) * B[i, j])
        Y[i] = A[i] / l[i]
        """,
        "online j of m, l, A at Y.i by 4",
    ),
    "tiles of a sliding window": Case(
        """
        m[i] = max[j where 2 * j + 1 >= i and j < 3 * i](X[i, j])
        l[i] = sum[j where 2 * j + 1 >= i and j < 3 * i](exp(X[i, j] - m[i]))
        Y[i] = log(l[i]) + m[i]
        """,
        "split Y.i by 3\nonline j of m, l at Y.io by 4",
    ),
    "a window below": Case(
        """
        m[i] = max[j where j > i + 6](X[i, j])
        l[i] = sum[j where j > i + 6](exp(X[i, j] - m[i]))
        Y[i] = log(l[i]) + m[i]
        """,
        "split Y.i by 2\nonline j of m, l at Y.io by 4",
    ),
    "mask": Case(
        """
        m[i] = max[j where B[i, j] > 0.0](X[i, j])
        l[i] = sum[j where B[i, j] > 0.0](exp(X[i, j] - m[i]))
        A[i] = sum[j where B[i, j] > 0.0](exp(X[i, j] - m[i]) * X[i, j])
        Y[i] = A[i] / l[i]
        """,
        "split Y.i by 3\nonline j of m, l, A at Y.io by 4",
    ),
    "mask of the weights": Case(
        """
        m[i]    = max[j where B[i, j] > 0.0](X[i, j])
        p[i, j] = where(B[i, j] > 0.0, exp(X[i, j] - m[i]), 0.0)
        l[i]    = sum[j](p[i, j])
        A[i]    = sum[j](p[i, j] * B[i, j])
        Y[i]    = A[i] / l[i]
        """,
        "split Y.i by 3\nonline j of m, l, A at Y.io by 4",
    ),
    "a mask, and a condition": Case(
        """
        m[i] = max[j where j <= i and B[i, j] > 0.0](X[i, j])
        l[i] = sum[j where j <= i](where(B[i, j] > 0.0, exp(X[i, j] - m[i]), 0.0) / (1.0 + B[i, j] * B[i, j]))
        A[i] = sum[j where j <= i](where(B[i, j] > 0.0, exp(X[i, j] - m[i]), 0.0))
        Y[i] = A[i] / l[i]
        """,
        "split Y.i by 3\nonline j of m, l, A at Y.io by 4",
    ),
    "mask in the logits": Case(
        """
        S[i, j] = where(B[i, j] > 0.0, X[i, j], -inf)
        m[i]    = max[j](S[i, j])
        l[i]    = sum[j](exp(S[i, j] - m[i]))
        Y[i]    = log(l[i]) + m[i]
        """,
        "split Y.i by 3\nonline j of m, l at Y.io by 4",
    ),
}

HEADER = "op f(X: {T}[M, N], B: {T}[M, N], t: {T}[M]) -> Y: {T}[{shape}] {{"

ATTENTION = """
op attention(Q: f32[H, M, D], K: f32[G, N, D], V: f32[G, N, E]) -> O: f32[H, M, E] {
    require G >= 1 and H >= 1 and H % G == 0
    S[h, i, j] = sum[d](Q[h, i, d] * K[h // (H // G), j, d]) / sqrt(f32(D))
    m[h, i]    = max[j](S[h, i, j])
    p[h, i, j] = exp(S[h, i, j] - m[h, i])
    l[h, i]    = sum[j](p[h, i, j])
    A[h, i, e] = sum[j](p[h, i, j] * V[h // (H // G), j, e])
    O[h, i, e] = A[h, i, e] / l[h, i]
}
"""


def text_of(case: Case, dtype: str) -> str:
    equations = [line.strip() for line in case.text.strip().splitlines()]
    shape = "M, N" if any(line.startswith("Y[i, j]") for line in equations) else "M"
    used = {name: f"{name}[" in case.text for name in "Bt"}
    head = HEADER.format(T=dtype, shape=shape)
    for name, unwanted in (("B", f", B: {dtype}[M, N]"), ("t", f", t: {dtype}[M]")):
        head = head if used[name] else head.replace(unwanted, "")
    return "\n    ".join([head, *equations]) + "\n}\n"


def random_arrays(
    of: Program, sizes: Mapping[str, int], positive: tuple[str, ...] = (), spoiled: bool = False
) -> dict[str, np.ndarray]:
    """Floats of any size; with `spoiled`, many infinities and some NaN."""
    rng = np.random.default_rng(sum(sizes.values()))
    arrays = {}
    for tensor in of.inputs:
        shape = tuple(int(evaluate(extent, sizes)) for extent in tensor.shape)
        a = rng.standard_normal(shape) * rng.choice([1, 30])
        if spoiled:
            a[rng.random(shape) < 0.6] = -np.inf
            a[rng.random(shape) < 0.02] = np.inf
            a[rng.random(shape) < 0.02] = np.nan
            a[: shape[0] // 3] = -np.inf
        arrays[tensor.name] = (abs(a) + 0.5 if tensor.name in positive else a).astype(
            numpy_dtype(tensor.dtype)
        )
    return arrays


def assert_close(found: np.ndarray, expected: np.ndarray, message: str) -> None:
    """Equal up to rounding; NaN, infinities and their signs at the same places."""
    eps = np.finfo(expected.dtype).eps
    np.testing.assert_allclose(found, expected, rtol=200 * eps, atol=50 * eps, err_msg=message)


SIZES = [(M, N) for M in (1, 5) for N in (1, 3, 4, 7, 13)]


@pytest.mark.parametrize("dtype", ["f32", "f64"])
@pytest.mark.parametrize("name", CASES)
def test_online_computes_what_the_plain_program_does(name: str, dtype: str) -> None:
    case = CASES[name]
    plain = nest(program(text_of(case, dtype)))
    kernel = scheduled(plain, case.lines)
    verify_kernel(kernel)
    final = finalize(kernel)
    verify_kernel(final)
    for M, N in [*SIZES, (0, 3), (3, 0)]:
        for spoiled in (False, True):
            sizes = {"M": M, "N": N}
            inputs = random_arrays(plain.program, sizes, case.positive, spoiled)
            expected = run_kernel(plain, inputs, sizes)
            for k, level in ((kernel, "scheduled"), (final, "final")):
                found = run_kernel(k, inputs, sizes)
                assert_close(found["Y"], expected["Y"], f"{name} {level} {sizes} {spoiled=}")


@pytest.mark.parametrize("name", CASES)
def test_compiled_code_computes_it_too(name: str) -> None:
    case = CASES[name]
    text = text_of(case, "f32")
    lines = case.lines.replace("by 4", "by 16")
    plain, kernel = nest(program(text)), te.build(text, lines)
    for M, N in ((1, 1), (4, 16), (5, 37), (0, 3), (3, 0)):
        for spoiled in (False, True):
            inputs = random_arrays(plain.program, {"M": M, "N": N}, case.positive, spoiled)
            assert_close(kernel(**inputs), run_kernel(plain, inputs)["Y"], f"{name} {M} {N} {spoiled=}")


# ---------------------------------------------------------------- attention

TILED = """
    split O.i by 4
    online j of m, l, A at O.io by 16 into jo, ji
    reorder A.i, A.ji, A.e
    vectorize S_sum.d, S.j, p.j, m.ji, l.ji, A.e, O.e by 8
"""


def attention_in_numpy(Q: np.ndarray, K: np.ndarray, V: np.ndarray, past: int | None) -> np.ndarray:
    """In f64, row by row. Query i sees the keys up to i + past."""
    result = np.full((*Q.shape[:-1], V.shape[-1]), np.nan)
    group = max(1, Q.shape[0] // max(1, K.shape[0]))
    for h, i in np.ndindex(*Q.shape[:-1]):
        seen = slice(0, None if past is None else max(0, i + past + 1))
        logits = K[h // group, seen].astype(np.float64) @ Q[h, i] / np.sqrt(Q.shape[-1])
        if logits.size:
            p = np.exp(logits - logits.max())
            result[h, i] = (p / p.sum()) @ V[h // group, seen]
    return result


@pytest.mark.parametrize("lines", ["online j of m, l, A at O.i by 16", TILED], ids=["rows", "tiles"])
@pytest.mark.parametrize("is_causal", [False, True])
def test_attention(lines: str, is_causal: bool) -> None:
    where = "[j where j <= i + N - M]" if is_causal else "[j]"
    text = ATTENTION.replace("[j]", where)
    kernel = te.build(text, lines)
    sizes = [
        (4, 2, 33, 40, 16, 24),
        (1, 1, 1, 1, 1, 1),
        (2, 1, 7, 127, 3, 5),
        (2, 2, 13, 5, 8, 8),
        (1, 1, 3, 0, 2, 2),
    ]
    for H, G, M, N, D, E in sizes:
        inputs = random_arrays(program(text), {"H": H, "G": G, "M": M, "N": N, "D": D, "E": E})
        expected = attention_in_numpy(*inputs.values(), past=N - M if is_causal else None)
        np.testing.assert_allclose(kernel(**inputs), expected, rtol=2e-4, atol=1e-3)


def test_the_example() -> None:
    path = Path(__file__).parents[2] / "examples" / "attention.te"
    flash, plain = te.build(path), program(path.read_text())
    for M, N, D, E in (
        (1, 1, 1, 1),
        (5, 9, 3, 2),
        (70, 131, 24, 70),
        (9, 4, 8, 8),
        (3, 0, 2, 2),
        (0, 3, 2, 2),
    ):
        inputs = random_arrays(plain, {"H": 2, "M": M, "N": N, "D": D, "E": E})
        expected = attention_in_numpy(*inputs.values(), past=0)
        np.testing.assert_allclose(flash(**inputs), expected, rtol=2e-4, atol=1e-3)


def test_attention_holds_a_block_of_logits_at_a_time() -> None:
    kernel = scheduled(program(ATTENTION), "split O.i by 4\nonline j of m, l, A at O.io by 16")
    shapes = {s.buffer.name: s.buffer.shape for s, _ in walk_stmt(kernel.body) if isinstance(s, Alloc)}
    assert [d.value for d in shapes["S"] if isinstance(d, Const)] == [1, 4, 16]
    assert [d.value for d in shapes["p"] if isinstance(d, Const)] == [1, 4, 16]
    assert shapes["A"] == (integer(1), integer(4), Var("E"))


def test_blocks_end_where_the_condition_does() -> None:
    kernel = scheduled(program(ATTENTION.replace("[j]", "[j where j <= i]")), TILED)
    (loop,) = [s for s, _ in walk_stmt(kernel.body) if isinstance(s, For) and s.var == "m.jo"]
    assert print_expr(loop.extent) == "(min(min(M, N), 4 * O.io + 4) + 15) // 16"


def test_blocks_begin_where_the_condition_does() -> None:
    kernel = scheduled(program(ATTENTION.replace("[j]", "[j where j <= i and i < j + 256]")), TILED)
    (loop,) = [s for s, _ in walk_stmt(kernel.body) if isinstance(s, For) and s.var == "m.jo"]
    assert isinstance(loop.body, Let)
    first = "max(0, 4 * O.io - 255) // 16"
    assert print_expr(loop.body.value) in (f"m.jo + {first}", f"{first} + m.jo")
    ends = "(min(min(M, N), 4 * O.io + 4) + 15) // 16"
    assert print_expr(loop.extent) == f"max({ends} - {first}, 0)"


def test_what_a_block_does_not_need_alone_stays_outside() -> None:
    text = """
    op f(X: f32[M, N], B: f32[N]) -> Y: f32[M] {
        b[j]    = B[j] * 2.0
        c[i]    = sum[j](X[i, j])
        S[i, j] = X[i, j] * c[i] + b[j]
        m[i]    = max[j](S[i, j])
        l[i]    = sum[j](exp(S[i, j] - m[i]))
        Y[i]    = log(l[i]) + m[i]
    }
    """
    kernel = scheduled(program(text), "online j of m, l at Y.i by 4")
    outside = [s.stage for s in _items(kernel.body) if isinstance(s, For)]
    assert outside == ["b", "c", "Y"]


def _items(s: Stmt) -> tuple[Stmt, ...]:
    while isinstance(s, Alloc):
        s = s.body
    return s.items if isinstance(s, Seq) else (s,)


PLACES = [
    "online j of m, l at Y.i by 2",
    "split Y.i by 2\nonline j of m, l at Y.io by 2",
    "fuse Y.i, Y.k into f\nsplit f by 4\nonline j of m, l at Y.fi by 2",
    "fuse Y.i, Y.k into f\nsplit f by 4\nonline j of m, l at Y.fo by 2",
    "online j of m, l at Y.k by 2",
    "split Y.i by 2 tail shift\nonline j of m, l at Y.io by 2",
    "tile Y.i, Y.k by 2, 2 into a, b, c, d\nonline j of m, l at c by 2\nparallel a",
    "parallel Y.i\nonline j of m, l at Y.i by 2\nsplit m.jo by 2\nvectorize l.ji",
]


@pytest.mark.parametrize("lines", PLACES)
def test_any_loop_that_holds_the_readers_will_do(lines: str) -> None:
    text = """
    op f(X: f32[M, N], Z: f32[K]) -> Y: f32[M, K] {
        m[i < M] = max[j](X[i, j])
        l[i < M] = sum[j](exp(X[i, j] - m[i]))
        Y[i, k]  = (l[i] + (l[i - 1] else 0.0)) * Z[k] + m[i]
    }
    """
    plain = nest(program(text))
    kernel = scheduled(plain, lines)
    verify_kernel(kernel)
    for M, N, K in ((3, 5, 2), (1, 1, 1), (7, 4, 3), (0, 4, 3), (2, 0, 3)):
        inputs = random_arrays(plain.program, {"M": M, "N": N, "K": K})
        expected = run_kernel(plain, inputs)["Y"]
        for level in (kernel, finalize(kernel)):
            assert_close(run_kernel(level, inputs, order="shuffled")["Y"], expected, f"{M} {N} {K}")
