"""The small example ops, each beside the formula in NumPy or SciPy that it must agree with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from report import Report
from scipy import ndimage, special

import te

HERE = Path(__file__).parent
# f32 keeps 24 bits; a sum of some hundred terms and `exp` may lose the last few of them.
CLOSE = 1e-5


def run(report: Report, size: int = 256) -> None:
    """Build every small op, hold it against its formula and time both."""
    random = np.random.default_rng(1)
    _matmul(report, random, size)
    _softmax(report, random, size)
    _attention(report, random, size)
    _layernorm(report, random, size)
    _matmul_bias_gelu(report, random, size)
    _blur(report, random, size)
    _heat(report, random, size)


def _matmul(report: Report, random: np.random.Generator, n: int) -> None:
    matmul = te.build(HERE / "quickstart.te", op="matmul")
    a, b = normal(random, n, n), normal(random, n, n)
    report.compare("matmul", matmul(a, b), a @ b, CLOSE, CLOSE * n**0.5)
    report.time("matmul", f"{n} × {n} × {n}", lambda: matmul(a, b), lambda: a @ b)


def _softmax(report: Report, random: np.random.Generator, n: int) -> None:
    softmax = te.build(HERE / "softmax.te", op="softmax")
    x = 10 * normal(random, n, 4 * n)

    def in_numpy() -> np.ndarray:
        e = np.exp(x - x.max(axis=1, keepdims=True))
        return e / e.sum(axis=1, keepdims=True)

    expected = special.softmax(x.astype(np.float64), axis=1).astype(np.float32)
    report.compare("softmax", softmax(x), expected, CLOSE, 1e-9)
    report.time("softmax", f"{n} × {4 * n}", lambda: softmax(x), in_numpy)


def _attention(report: Report, random: np.random.Generator, n: int) -> None:
    attention = te.build(HERE / "attention.te", op="attention")
    q, k, v = (normal(random, 4, n, 64) for _ in range(3))

    def in_numpy(q: np.ndarray = q) -> np.ndarray:
        logits = np.where(np.tri(n, dtype=bool), q @ k.swapaxes(1, 2) / 8, -np.inf)
        p = np.exp(logits - logits.max(axis=2, keepdims=True))
        return p @ v / p.sum(axis=2, keepdims=True)

    expected = in_numpy(q.astype(np.float64)).astype(np.float32)
    report.compare("attention", attention(q, k, v), expected, 10 * CLOSE, CLOSE)
    report.time("attention", f"4 × {n} × {n} × 64", lambda: attention(q, k, v), in_numpy)


def _layernorm(report: Report, random: np.random.Generator, n: int) -> None:
    layernorm = te.build(HERE / "layernorm.te", op="layernorm")
    x, gamma, beta = 3 + normal(random, n, 4 * n), normal(random, 4 * n), normal(random, 4 * n)

    def in_numpy() -> np.ndarray:
        centred = x - x.mean(axis=1, keepdims=True)
        variance = (centred * centred).mean(axis=1, keepdims=True)
        return centred / np.sqrt(variance + np.float32(1e-5)) * gamma + beta

    report.compare("layernorm", layernorm(x, gamma, beta), in_numpy(), CLOSE, 10 * CLOSE)
    report.time("layernorm", f"{n} × {4 * n}", lambda: layernorm(x, gamma, beta), in_numpy)


def _matmul_bias_gelu(report: Report, random: np.random.Generator, n: int) -> None:
    layer = te.build(HERE / "matmul_bias_gelu.te", op="matmul_bias_gelu")
    x, weights, bias = normal(random, n, n), normal(random, n, n) / np.float32(n**0.5), normal(random, n)

    def in_scipy() -> np.ndarray:
        z = x @ weights + bias
        return np.float32(0.5) * z * special.erfc(z * np.float32(-(0.5**0.5)))

    report.compare("matmul_bias_gelu", layer(x, weights, bias), in_scipy(), 10 * CLOSE, CLOSE)
    report.time("matmul_bias_gelu", f"{n} × {n} × {n}", lambda: layer(x, weights, bias), in_scipy)


def _blur(report: Report, random: np.random.Generator, n: int) -> None:
    blur = te.build(HERE / "blur.te", op="blur")
    x = random.random((4 * n, 4 * n), dtype=np.float32)

    def in_numpy() -> np.ndarray:
        rows = (x[:, :-2] + x[:, 1:-1] + x[:, 2:]) / np.float32(3)
        return (rows[:-2] + rows[1:-1] + rows[2:]) / np.float32(3)

    report.compare("blur", blur(x), in_numpy())
    by_scipy = ndimage.uniform_filter(x.astype(np.float64), 3)[1:-1, 1:-1].astype(np.float32)
    report.compare("blur, against SciPy", blur(x), by_scipy, CLOSE)
    report.time("blur", f"{4 * n} × {4 * n}", lambda: blur(x), in_numpy)


def _heat(report: Report, random: np.random.Generator, n: int) -> None:
    heat = te.build(HERE / "blur.te", op="heat")
    t = 20 + normal(random, 4 * n, 4 * n)
    border, rate = np.float32(100), np.float32(0.2)

    def in_numpy() -> np.ndarray:
        wide = np.pad(t, 1, constant_values=border)
        around = wide[:-2, 1:-1] + wide[2:, 1:-1] + wide[1:-1, :-2] + wide[1:-1, 2:]
        return t + rate * (around - 4 * t)

    report.compare("heat", heat(t, border), in_numpy())
    report.time("heat", f"{4 * n} × {4 * n}", lambda: heat(t, border), in_numpy)


def normal(random: np.random.Generator, *shape: int) -> np.ndarray:
    return random.standard_normal(shape, dtype=np.float32)
