"""Convolutions whose channels are the last axis, as ops and with NumPy: for tests of their schedules."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

# The filters' axes, and how an op reads them.
FILTERS = {"rsck": ("R, S, CG, K", "r, s, c, k"), "krsc": ("K, R, S, CG", "k, r, s, c")}


def nhwc(dtype: str, sums: str, filters: str = "rsck") -> str:
    """The text of an op: a convolution of pictures [N, H, W, C], with a bias, in groups."""
    axes, index = FILTERS[filters]
    return f"""
op f(X: {dtype}[N, H, W, C], w: {dtype}[{axes}], b: {sums}[K],
     const stride: int = 1, const padding: int = 0, const dilation: int = 1, const groups: int = 1)
        -> Y: {sums}[N, (H + 2*padding - dilation*(R - 1) - 1) // stride + 1,
                     (W + 2*padding - dilation*(S - 1) - 1) // stride + 1, K] {{
    require C == CG * groups and K % groups == 0
    Y[n, y, x, k] = b[k] + sum[r, s, c](
        {sums}(X[n, y*stride + r*dilation - padding, x*stride + s*dilation - padding,
                 k // (K // groups) * CG + c] else 0) * {sums}(w[{index}]))
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

    def arrays(self, dtype: Any, sums: Any, filters: str = "rsck", seed: int = 0) -> list[np.ndarray]:
        """A picture, filters and bias of small whole numbers, whose sums every dtype has exactly."""
        rng = np.random.default_rng(seed)
        window = (*self.window, self.channels // self.groups)
        shape = (*window, self.filters) if filters == "rsck" else (self.filters, *window)
        shapes = [(self.n, *self.picture, self.channels), shape, (self.filters,)]
        values = [rng.integers(-3, 4, size=shape) for shape in shapes]
        return [v.astype(t) for v, t in zip(values, (dtype, dtype, sums), strict=True)]

    def expected(self, arrays: list[np.ndarray], filters: str = "rsck") -> np.ndarray:
        """The convolution by NumPy: for each place of the window a product of matrices."""
        x, w, b = (a.astype(np.float64) for a in arrays)
        w = w if filters == "rsck" else w.transpose(1, 2, 3, 0)
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
        return out
