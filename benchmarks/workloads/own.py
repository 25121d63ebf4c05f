"""te beside itself: the automatic schedule beside written ones, odd sizes beside the next multiple."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from te_side import called, dtypes_of, find, sizes_of
from workload import ROOT, Array, Floor, Workload, arrays, normal

import te

AUTO = Floor(0.95, aim=1.0)
ODD = Floor(0.9, aim=0.95)


# ---------------------------------------------------------------- the automatic schedule


def automatic(
    name: str, file: str, op: str, inputs: dict[str, Any], reference: Callable[..., Array], **more: Any
):
    """The automatic schedule of an op, beside the one that stands in its file."""
    path = ROOT / file

    def written(*values: Array) -> Callable[[], Any]:
        by_name = dict(zip(inputs, values, strict=True))
        chosen = te.load(path)[op]
        kernel = te.build(
            chosen,
            sizes=sizes_of(chosen, by_name),
            dtypes=dtypes_of(chosen, by_name),
            math=more.get("math", "strict"),
        )
        return called(kernel, more.get("bound", ()), by_name).call

    return Workload(
        name,
        "auto",
        op=f"{file}:{op}",
        inputs=arrays(**inputs),
        reference=reference,
        options={"schedule": "auto", "math": more.get("math", "strict")},
        bound=more.get("bound", ()),
        flops=more.get("flops", 0),
        kind=more.get("kind", "f32"),
        tolerance=more.get("tolerance", 1e-3),
        floor=AUTO,
        strongest=("written",),
        quick=more.get("quick", False),
        versus={"written": written},
    )


def _matmul(m: int, n: int, k: int, quick: bool = False) -> Workload:
    shapes = {"A": normal(m, k), "B": normal(k, n)}
    return automatic(
        f"auto, product {m} × {n} × {k}",
        "benchmarks/matmul.te",
        "matmul",
        shapes,
        np.matmul,
        flops=2 * m * n * k,
        quick=quick,
    )


def _softmax(x: Array) -> Array:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def _causal(q: Array, k: Array, v: Array) -> Array:
    score = q @ k.swapaxes(-1, -2) / np.float32(q.shape[-1] ** 0.5)
    return _softmax(score + np.triu(np.full(score.shape[-2:], -np.inf, np.float32), 1)) @ v


def _conv_relu(x: Array, f: Array, b: Array) -> Array:
    padded = np.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (1, 2))
    return np.maximum(np.einsum("nhwcrs,rsck->nhwk", windows, f, optimize=True) + b, np.float32(0))


# ---------------------------------------------------------------- odd sizes

SCALE = "op scale(X: f32[M, N]) -> Y: f32[M, N] { Y[i, j] = 2 * X[i, j] + 1 }"
SMOOTH = """
op smooth(X: f32[M, N]) -> Y: f32[M, N] {
    Y[i, j] = X[i, clamp(j - 1, 0, N - 1)] + 2 * X[i, j] + X[i, clamp(j + 1, 0, N - 1)]
}
"""
ROWS = 512  # of each row-wise kernel: they stay in the second-level cache, so that the code is what counts
# An odd number and the next multiple of 16, the lanes of a vector of f32.
WIDTHS = ((17, 32), (61, 64), (127, 128), (251, 256), (509, 512))


def odd(
    name: str,
    op: str,
    shape_of: Callable[[int], dict[str, Any]],
    sizes: tuple[int, int],
    reference: Any,
    **more: Any,
):
    """An odd size beside the next multiple, which does more work: at least as fast would be a perfect tail."""
    small, large = sizes

    def next_multiple(*_: Array) -> Callable[[], Any]:
        by_name = arrays(**shape_of(large))(np.random.default_rng(1))
        chosen = find(op)
        return called(
            te.build(chosen, sizes=sizes_of(chosen, by_name), dtypes=dtypes_of(chosen, by_name)), (), by_name
        ).call

    return Workload(
        f"{name} {small}",
        "tails",
        op=op,
        inputs=arrays(**shape_of(small)),
        reference=reference,
        tolerance=1e-3,
        floor=ODD,
        strongest=("next multiple",),
        versus={"next multiple": next_multiple},
        **more,
    )


def _smooth(x: Array) -> Array:
    left, right = np.roll(x, 1, axis=1), np.roll(x, -1, axis=1)
    left[:, 0], right[:, -1] = x[:, 0], x[:, -1]
    return left + 2 * x + right


def _rows(n: int) -> dict[str, Any]:
    return {"X": normal(ROWS, n)}


def _square(n: int) -> dict[str, Any]:
    return {"A": normal(n, n), "B": normal(n, n)}


WORKLOADS = [
    *[_matmul(n, n, n, n == 512) for n in (128, 256, 512, 1024)],
    _matmul(16, 4096, 4096),
    _matmul(64, 4096, 512),
    automatic(
        "auto, softmax 4096 × 1024",
        "benchmarks/rows.te",
        "softmax",
        {"X": normal(4096, 1024)},
        _softmax,
        quick=True,
    ),
    automatic(
        "auto, row sums 4096 × 4096",
        "benchmarks/rows.te",
        "row_sums",
        {"X": normal(4096, 4096)},
        lambda x: x.sum(1),
    ),
    automatic(
        "auto, column sums 4096 × 4096",
        "benchmarks/rows.te",
        "column_sums",
        {"X": normal(4096, 4096)},
        lambda x: x.sum(0),
    ),
    automatic(
        "auto, causal attention 12 × 512 × 64",
        "examples/attention.te",
        "attention",
        {name: normal(12, 512, 64) for name in "QKV"},
        _causal,
        flops=2 * 12 * 512 * 513 * 64,
    ),
    automatic(
        "auto, convolution of digits, batch 32",
        "examples/digits.te",
        "conv_relu",
        {"X": normal(32, 8, 8, 16), "F": normal(3, 3, 16, 32), "b": normal(32)},
        _conv_relu,
        bound=("F", "b"),
        flops=2 * 32 * 64 * 9 * 16 * 32,
    ),
    *[odd("scale", SCALE, _rows, sizes, lambda x: 2 * x + 1) for sizes in WIDTHS],
    *[odd("row sums", "reduce.reduce_sum", _rows, sizes, lambda x: x.sum(1)) for sizes in WIDTHS],
    *[odd("softmax", "nn.softmax", _rows, sizes, _softmax) for sizes in WIDTHS],
    *[odd("smooth", SMOOTH, _rows, sizes, _smooth) for sizes in WIDTHS],
    *[
        odd(
            "product",
            "linalg.matmul",
            _square,
            sizes,
            np.matmul,
            flops=2 * sizes[0] ** 3,
            quick=sizes[0] == 127,
        )
        for sizes in ((61, 64), (127, 128), (251, 256), (509, 512), (1000, 1024))
    ],
]
