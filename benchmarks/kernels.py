"""The speed of kernels beside NumPy's, on one thread each."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from measure import Row, versus

import te

HERE = Path(__file__).parent


def run() -> list[Row]:
    random = np.random.default_rng(0)
    return [
        *[_matmul(random, n) for n in (128, 256, 512, 1024, 2048)],
        _softmax(random, 4096, 1024),
        _sums(random, "row_sums", 1, 4096, 4096),
        _sums(random, "column_sums", 0, 4096, 4096),
    ]


def _matmul(random: np.random.Generator, n: int) -> Row:
    matmul = te.build(HERE / "matmul.te")
    a, b = _normal(random, n, n), _normal(random, n, n)
    out, peer_out = np.empty_like(a), np.empty_like(a)
    np.testing.assert_allclose(matmul(a, b), a @ b, rtol=1e-4, atol=1e-5 * n)
    row = versus(
        f"matmul {n} × {n} × {n}",
        lambda: matmul(a, b, out=out),
        "NumPy",
        lambda: np.matmul(a, b, out=peer_out),
    )
    speed = f"{2e-9 * n**3 / row.seconds:.0f} GFLOP/s" + (", aim: 0.5x" if n == 512 else "")
    return Row(row.name, row.seconds, row.best, row.peer, row.peer_seconds, speed)


def _softmax(random: np.random.Generator, m: int, n: int) -> Row:
    softmax = te.build(HERE / "rows.te", op="softmax")
    x = _normal(random, m, n)
    out = np.empty_like(x)

    def in_numpy() -> np.ndarray:
        e = np.exp(x - x.max(axis=1, keepdims=True))
        e /= e.sum(axis=1, keepdims=True)
        return e

    np.testing.assert_allclose(softmax(x), in_numpy(), rtol=1e-5)
    return versus(f"softmax {m} × {n}", lambda: softmax(x, out=out), "NumPy", in_numpy)


def _sums(random: np.random.Generator, op: str, axis: int, m: int, n: int) -> Row:
    sums = te.build(HERE / "rows.te", op=op)
    x = _normal(random, m, n)
    out = np.empty(x.sum(axis=axis).shape, np.float32)
    np.testing.assert_allclose(sums(x), x.sum(axis=axis), rtol=1e-4, atol=1e-2)
    row = versus(
        f"{op.replace('_', ' ')} {m} × {n}",
        lambda: sums(x, out=out),
        "NumPy",
        lambda: x.sum(axis=axis, out=out),
    )
    speed = f"{x.nbytes / row.seconds / 1e9:.0f} GB/s"
    return Row(row.name, row.seconds, row.best, row.peer, row.peer_seconds, speed)


def _normal(random: np.random.Generator, *shape: int) -> np.ndarray:
    return random.standard_normal(shape, dtype=np.float32)
