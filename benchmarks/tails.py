"""What a size costs that no vector and no tile divides: its time beside that of the next size that they do.

The larger size does more work, so the ratio of a perfect tail is a little above 1. Where it is
below, the tail costs more than the elements that it saves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from measure import Row, versus

import te

HERE = Path(__file__).parent
ROWS = (
    512  # of each row-wise kernel: together they stay in the second-level cache, so the code is what counts
)
# What is odd, and the next multiple of 16, the lanes of a vector of f32.
WIDTHS = ((1, 16), (17, 32), (61, 64), (127, 128), (251, 256), (509, 512))
# What is odd, and the next multiple of 8 and 32, a tile of the product.
SIDES = ((1, 32), (61, 64), (127, 128), (251, 256), (509, 512))

SCALE = """
op scale(X: f32[M, N]) -> Y: f32[M, N] {
    Y[i, j] = 2 * X[i, j] + 1
}

schedule scale on llvm {
    vectorize j by 16
}
"""
SUMS = """
op row_sums(X: f32[M, N]) -> s: f32[M] {
    s[i] = sum[j](X[i, j])
}

schedule row_sums on llvm {
    vectorize j by 16
}
"""
SOFTMAX = """
op softmax(X: f32[M, N]) -> Y: f32[M, N] {
    m[i]    = max[j](X[i, j])
    e[i, j] = exp(X[i, j] - m[i])
    Y[i, j] = e[i, j] / sum[k](e[i, k])
}

schedule softmax on llvm {
    vectorize m.j, e.j, Y_sum.k, Y.j by 16
}
"""
# Smooths each row; its ends go on. The windows at both ends ask whether their neighbours exist.
SMOOTH = """
op smooth(X: f32[M, N]) -> Y: f32[M, N] {
    Y[i, j] = X[i, clamp(j - 1, 0, N - 1)] + 2 * X[i, j] + X[i, clamp(j + 1, 0, N - 1)]
}

schedule smooth on llvm {
    vectorize j by 16
}
"""


@dataclass(frozen=True)
class Kernel:
    """A kernel of arrays of one size, and what that computes in NumPy."""

    name: str
    source: str | Path
    shapes: Callable[[int], tuple[tuple[int, ...], ...]]
    reference: Callable[..., np.ndarray]
    sizes: tuple[tuple[int, int], ...]

    def arrays(self, n: int) -> tuple[list[np.ndarray], np.ndarray]:
        """Random arrays of the size `n`, and the result for them."""
        random = np.random.default_rng(n)
        given = [random.standard_normal(shape, dtype=np.float32) for shape in self.shapes(n)]
        return given, self.reference(*given)


def run() -> list[Row]:
    return [_versus(kernel, odd, even) for kernel in kernels() for odd, even in kernel.sizes]


def kernels() -> list[Kernel]:
    rows = [Kernel(name, source, _rows, reference, WIDTHS) for name, source, reference in _ROW_WISE]
    return [*rows, Kernel("matmul", HERE / "matmul.te", _square, np.matmul, SIDES)]


def _versus(kernel: Kernel, odd: int, even: int) -> Row:
    """The time of the odd size beside that of the next multiple."""
    compiled = te.build(kernel.source)

    def call_of(n: int) -> Callable[[], object]:
        arrays, expected = kernel.arrays(n)
        np.testing.assert_allclose(compiled(*arrays), expected, rtol=1e-4, atol=1e-3)
        out = np.empty(expected.shape, np.float32)
        return lambda: compiled(*arrays, out=out)

    return versus(f"{kernel.name} {odd}", call_of(odd), f"size {even}", call_of(even))


def _rows(n: int) -> tuple[tuple[int, ...], ...]:
    return ((ROWS, n),)


def _square(n: int) -> tuple[tuple[int, ...], ...]:
    return (n, n), (n, n)


def _softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def _smooth(x: np.ndarray) -> np.ndarray:
    left, right = np.roll(x, 1, axis=1), np.roll(x, -1, axis=1)
    left[:, 0], right[:, -1] = x[:, 0], x[:, -1]
    return left + 2 * x + right


_ROW_WISE = (
    ("scale", SCALE, lambda x: 2 * x + 1),
    ("row sums", SUMS, lambda x: x.sum(axis=1)),
    ("softmax", SOFTMAX, _softmax),
    ("smooth", SMOOTH, _smooth),
)
