"""Convolutions whose channels are the last axis, as ops and with NumPy: for tests of their schedules."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

# How pictures and filters lie: their axes.
ORDERS = {
    "nhwc rsck": ("N, H, W, C", "R, S, CG, K"),
    "nhwc krsc": ("N, H, W, C", "K, R, S, CG"),
    "nchw kcrs": ("N, C, H, W", "K, CG, R, S"),
}
INDICES = {
    "N": "n",
    "H": "y*stride + r*dilation - padding",
    "W": "x*stride + s*dilation - padding",
    "C": "k // (K // groups) * CG + c",
}
RESULTS = {
    "N": ("n", "N"),
    "H": ("y", "(H + 2*padding - dilation*(R - 1) - 1) // stride + 1"),
    "W": ("x", "(W + 2*padding - dilation*(S - 1) - 1) // stride + 1"),
    "C": ("k", "K"),
}


def convolution(dtype: str, sums: str, order: str = "nhwc rsck") -> str:
    """The text of an op: a convolution of two axes, with a bias, in groups."""
    picture, filters = ORDERS[order]
    axes = picture.split(", ")
    indices, extents = zip(*(RESULTS[axis] for axis in axes), strict=True)
    read = ", ".join(INDICES[axis] for axis in axes)
    return f"""
op f(X: {dtype}[{picture}], w: {dtype}[{filters}], b: {sums}[K],
     const stride: int = 1, const padding: int = 0, const dilation: int = 1, const groups: int = 1)
        -> Y: {sums}[{", ".join(extents)}] {{
    require C == CG * groups and K % groups == 0
    Y[{", ".join(indices)}] = b[k] + sum[r, s, c](
        {sums}(X[{read}] else 0) * {sums}(w[{filters.replace("CG", "C").lower()}]))
}}
"""


@dataclass(frozen=True)
class Case:
    """Sizes of a convolution, and the numbers of the op."""

    n: int
    channels: int
    picture: tuple[int, int]
    filters: int
    window: tuple[int, int]
    groups: int = 1
    stride: int = 1
    padding: int = 0
    dilation: int = 1

    @property
    def consts(self) -> dict[str, int]:
        return {
            "stride": self.stride,
            "padding": self.padding,
            "dilation": self.dilation,
            "groups": self.groups,
        }

    @property
    def sizes(self) -> dict[str, int]:
        h, w = self.picture
        r, s = self.window
        return {
            "N": self.n,
            "H": h,
            "W": w,
            "C": self.channels,
            "CG": self.channels // self.groups,
            "K": self.filters,
            "R": r,
            "S": s,
        }

    def arrays(self, dtype: Any, sums: Any, order: str = "nhwc rsck", seed: int = 0) -> list[np.ndarray]:
        """A picture, filters and bias of small whole numbers, whose sums every dtype has exactly."""
        rng = np.random.default_rng(seed)
        shapes = [tuple(self.sizes[axis] for axis in axes.split(", ")) for axes in ORDERS[order]]
        values = [rng.integers(-3, 4, size=shape) for shape in (*shapes, (self.filters,))]
        return [v.astype(t) for v, t in zip(values, (dtype, dtype, sums), strict=True)]

    def expected(self, arrays: list[np.ndarray], order: str = "nhwc rsck") -> np.ndarray:
        """The convolution by NumPy: for each place of the window a product of matrices."""
        picture, filters = (axes.replace("CG", "C").split(", ") for axes in ORDERS[order])
        x, w, b = (a.astype(np.float64) for a in arrays)
        x = x.transpose([picture.index(axis) for axis in "NHWC"])
        w = w.transpose([filters.index(axis) for axis in "RSCK"])
        p, r, s = self.padding, *self.window
        x = np.pad(x, ((0, 0), (p, p), (p, p), (0, 0)))
        high, wide = (
            (size - self.dilation * (extent - 1) - 1) // self.stride + 1
            for size, extent in zip(x.shape[1:3], (r, s), strict=True)
        )
        own, per = self.channels // self.groups, self.filters // self.groups
        out = np.zeros((self.n, high, wide, self.filters)) + b
        for i in range(r):
            for j in range(s):
                at = np.s_[:, i * self.dilation :: self.stride, j * self.dilation :: self.stride]
                seen = x[at][:, :high, :wide]
                for g in range(self.groups):
                    of = np.s_[g * per : (g + 1) * per]
                    out[..., of] += seen[..., g * own : (g + 1) * own] @ w[i, j][:, of]
        return out.transpose(["NHWC".index(axis) for axis in picture])
