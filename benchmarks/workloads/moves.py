"""What moves or adds up memory: transposes, sums over either axis, every other column, rows by index."""

from __future__ import annotations

import numpy as np
from workload import Floor, Workload, arrays, normal

FLOOR = Floor(1.2, share=0.9)


def transpose(m: int, n: int, *, quick: bool = False) -> Workload:
    return Workload(
        f"transpose {m} × {n}",
        "transpose",
        op="tensor.transpose",
        inputs=arrays(X=normal(m, n)),
        reference=lambda x: np.ascontiguousarray(x.T),
        floor=FLOOR,
        strongest=("openvino", "onnxruntime"),
        quick=quick,
        torch=lambda torch, x: x.T.contiguous(),
        onnx=lambda graph, x: graph.Transpose(x, perm=[1, 0]),
        jax=lambda jax, x: x.T,
    )


def to_channels_last(n: int, c: int, h: int, w: int) -> Workload:
    return Workload(
        f"NCHW to NHWC {n} × {c} × {h} × {w}",
        "transpose",
        op="tensor.nchw_to_nhwc",
        inputs=arrays(X=normal(n, c, h, w)),
        reference=lambda x: np.ascontiguousarray(x.transpose(0, 2, 3, 1)),
        floor=FLOOR,
        strongest=("openvino", "onnxruntime"),
        torch=lambda torch, x: x.permute(0, 2, 3, 1).contiguous(),
        onnx=lambda graph, x: graph.Transpose(x, perm=[0, 2, 3, 1]),
        jax=lambda jax, x: x.transpose(0, 2, 3, 1),
    )


COLUMN_SUMS = """
op column_sums(X: f32[M, N]) -> s: f32[N] {
    s[j] = sum[i](X[i, j])
}
"""
EVERY_OTHER = """
op every_other(X: f32[M, N]) -> Y: f32[M, N // 2] {
    Y[i, j] = 2 * X[i, 2*j] + 1
}
"""


def sums(axis: int, m: int, n: int, *, quick: bool = False) -> Workload:
    return Workload(
        f"{'column' if axis == 0 else 'row'} sums {m} × {n}",
        "sums",
        op=COLUMN_SUMS if axis == 0 else "reduce.reduce_sum",
        inputs=arrays(X=normal(m, n)),
        reference=lambda x: x.sum(axis),
        tolerance=1e-3,
        floor=FLOOR,
        strongest=("numpy", "torch"),
        quick=quick,
        torch=lambda torch, x: x.sum(axis),
        onnx=lambda graph, x: graph.ReduceSum(x, graph.constant([axis], np.int64), keepdims=0),
        jax=lambda jax, x: x.sum(axis),
    )


def every_other_column(m: int, n: int) -> Workload:
    """Reads with a stride of two."""
    return Workload(
        f"2 * X[:, ::2] + 1 {m} × {n}",
        "strided",
        op=EVERY_OTHER,
        inputs=arrays(X=normal(m, n)),
        reference=lambda x: 2 * x[:, ::2] + 1,
        floor=FLOOR,
        strongest=("torch",),
        torch=lambda torch, x: 2 * x[:, ::2] + 1,
        onnx=_onnx_every_other,
        jax=lambda jax, x: 2 * x[:, ::2] + 1,
    )


def _onnx_every_other(graph, x: str) -> str:
    start, stop, axes, steps = (graph.constant([v], np.int64) for v in (0, 2**31, 1, 2))
    taken = graph.Slice(x, start, stop, axes, steps)
    return graph.Add(graph.Mul(taken, graph.constant(2)), graph.constant(1))


def look_up(rows: int, width: int, ids: int) -> Workload:
    return Workload(
        f"rows of {rows} × {width} by {ids} ids",
        "strided",
        op="tensor.index_select",
        inputs=lambda rng: {
            "X": normal(rows, width)(rng),
            "ids": rng.integers(0, rows, ids, dtype=np.int64),
        },
        reference=lambda x, ids: x[ids],
        bytes_read=4 * ids * width,
        floor=FLOOR,
        strongest=("onnxruntime", "torch"),
        torch=lambda torch, x, ids: torch.index_select(x, 0, ids),
        onnx=lambda graph, x, ids: graph.Gather(x, ids, axis=0),
        jax=lambda jax, x, ids: x[ids],
    )


WORKLOADS = [
    transpose(4096, 4096, quick=True),
    transpose(512, 512),
    transpose(1000, 3000),
    to_channels_last(1, 256, 56, 56),
    sums(1, 4096, 4096, quick=True),
    sums(0, 4096, 4096, quick=True),
    sums(1, 1000, 1000),
    sums(0, 1000, 1000),
    every_other_column(4096, 4096),
    look_up(30000, 768, 4096),
]
