"""The layers of ResNet-50, and depthwise ones, in NCHW with a bias. `conv-fast`: under math="fast", by Winograd."""

from __future__ import annotations

import numpy as np
from workload import Array, Floor, Workload, arrays, normal

FLOOR = Floor(0.85, aim=1.3)
GROUP_FLOOR = 1.0  # of the geometric mean


def conv(
    c: int,
    k: int,
    side: int,
    size: int,
    stride: int = 1,
    *,
    n: int = 1,
    group: str = "conv",
    math: str = "strict",
    quick: bool = False,
) -> Workload:
    """`size` × `size` filters, from C to K channels; `side` is the input's."""
    padding = size // 2
    out = (side + 2 * padding - size) // stride + 1
    name = (
        f"{size}×{size} {c}→{k} @{side}"
        + (f" /{stride}" if stride > 1 else "")
        + (f", batch {n}" if n > 1 else "")
    )
    return Workload(
        name,
        group,
        op="conv.conv2d",
        inputs=arrays(
            X=normal(n, c, side, side),
            weight=normal(k, c, size, size, scale=(c * size * size) ** -0.5),
            bias=normal(k),
        ),
        bound=("weight", "bias"),
        consts={"stride": stride, "padding": padding},
        options={"math": math},
        tolerance=1e-4 if math == "strict" else 1e-3,
        reference=lambda x, w, b: _conv(x, w, b, stride, padding),
        flops=2 * n * k * c * size * size * out * out,
        floor=FLOOR,
        strongest=("onnxruntime", "openvino"),
        quick=quick,
        torch=lambda torch, x, w, b: torch.nn.functional.conv2d(x, w, b, stride, padding),
        onnx=lambda graph, x, w, b: graph.Conv(x, w, b, strides=[stride] * 2, pads=[padding] * 4),
        jax=lambda jax, x, w, b: _jax_conv(jax, x, w, b, stride, padding, 1),
    )


def depthwise(c: int, side: int, size: int = 3, stride: int = 1, *, quick: bool = False) -> Workload:
    padding = size // 2
    out = (side + 2 * padding - size) // stride + 1
    return Workload(
        f"depthwise {size}×{size} {c} @{side}" + (f" /{stride}" if stride > 1 else ""),
        "depthwise",
        op="conv.depthwise_conv2d",
        inputs=arrays(X=normal(1, c, side, side), weight=normal(c, size, size), bias=normal(c)),
        bound=("weight", "bias"),
        consts={"stride": stride, "padding": padding},
        reference=lambda x, w, b: _depthwise(x, w, b, stride, padding),
        flops=2 * c * size * size * out * out,
        floor=FLOOR,
        strongest=("onnxruntime", "openvino"),
        quick=quick,
        torch=lambda torch, x, w, b: torch.nn.functional.conv2d(x, w[:, None], b, stride, padding, groups=c),
        onnx=lambda graph, x, w, b: graph.Conv(
            x,
            graph.Unsqueeze(w, graph.constant([1], np.int64)),
            b,
            strides=[stride] * 2,
            pads=[padding] * 4,
            group=c,
        ),
        jax=lambda jax, x, w, b: _jax_conv(jax, x, w[:, None], b, stride, padding, c),
    )


def _windows(x: Array, size: int, stride: int, padding: int) -> Array:
    """[N, C, H, W, R, S]"""
    padded = np.pad(x, [(0, 0), (0, 0), (padding, padding), (padding, padding)])
    views = np.lib.stride_tricks.sliding_window_view(padded, (size, size), (2, 3))
    return views[:, :, ::stride, ::stride]


def _conv(x: Array, w: Array, b: Array, stride: int, padding: int) -> Array:
    windows = _windows(x, w.shape[2], stride, padding)
    n, _, h, width = windows.shape[:4]
    columns = windows.transpose(0, 2, 3, 1, 4, 5).reshape(n * h * width, -1)
    out = columns @ w.reshape(len(w), -1).T + b
    return np.ascontiguousarray(out.reshape(n, h, width, -1).transpose(0, 3, 1, 2))


def _depthwise(x: Array, w: Array, b: Array, stride: int, padding: int) -> Array:
    windows = _windows(x, w.shape[1], stride, padding)
    return np.einsum("nchwrs,crs->nchw", windows, w) + b[:, None, None]


def _jax_conv(jax, x, w, b, stride: int, padding: int, groups: int):
    out = jax.lax.conv_general_dilated(
        x, w, (stride, stride), [(padding, padding)] * 2, feature_group_count=groups
    )
    return out + b[:, None, None]


WORKLOADS = [
    conv(3, 64, 224, 7, 2),
    conv(64, 64, 56, 1),
    conv(64, 64, 56, 3, quick=True),
    conv(64, 256, 56, 1, quick=True),
    conv(256, 128, 56, 1),
    conv(128, 128, 56, 3, 2),
    conv(128, 128, 28, 3),
    conv(128, 512, 28, 1),
    conv(256, 512, 56, 1, 2),
    conv(256, 256, 14, 3, quick=True),
    conv(256, 1024, 14, 1),
    conv(1024, 256, 14, 1),
    conv(512, 512, 7, 3),
    conv(512, 2048, 7, 1),
    conv(2048, 512, 7, 1),
    *[
        conv(c, c, side, 3, group="conv-fast", math="fast")
        for c, side in ((64, 56), (128, 28), (256, 14), (512, 7))
    ],
    conv(64, 64, 56, 3, n=32, group="conv-batch"),
    conv(256, 256, 14, 3, n=32, group="conv-batch"),
    depthwise(192, 28, quick=True),
    depthwise(32, 112),
    depthwise(96, 112, stride=2),
    depthwise(576, 14),
    depthwise(960, 7, 5),
]
