"""What works row by row: softmax and normalisations."""

from __future__ import annotations

import numpy as np
from workload import Array, Floor, Workload, arrays, normal

FLOOR = Floor(1.3, aim=2.0, share=0.9)


def softmax(*shape: int, quick: bool = False) -> Workload:
    return Workload(
        f"softmax {_by(shape)}",
        "softmax",
        op="nn.softmax",
        inputs=arrays(X=normal(*shape)),
        reference=_softmax,
        floor=FLOOR,
        strongest=("onnxruntime",),
        quick=quick,
        torch=lambda torch, x: torch.softmax(x, -1),
        onnx=lambda graph, x: graph.Softmax(x, axis=-1),
        jax=lambda jax, x: jax.nn.softmax(x, -1),
    )


def layer_norm(*shape: int, quick: bool = False) -> Workload:
    return Workload(
        f"layer norm {_by(shape)}",
        "norms",
        op="nn.layer_norm",
        inputs=arrays(X=normal(*shape), weight=normal(shape[-1]), bias=normal(shape[-1])),
        bound=("weight", "bias"),
        reference=_layer_norm,
        floor=FLOOR,
        strongest=("onnxruntime", "torch"),
        quick=quick,
        torch=lambda torch, x, w, b: torch.nn.functional.layer_norm(x, x.shape[-1:], w, b, 1e-5),
        onnx=lambda graph, x, w, b: graph.LayerNormalization(x, w, b, axis=-1, epsilon=1e-5),
        jax=_jax_layer_norm,
    )


def rms_norm(*shape: int, quick: bool = False) -> Workload:
    return Workload(
        f"RMS norm {_by(shape)}",
        "norms",
        op="nn.rms_norm",
        inputs=arrays(X=normal(*shape), weight=normal(shape[-1])),
        bound=("weight",),
        reference=lambda x, w: x / np.sqrt((x * x).mean(-1, keepdims=True) + np.float32(1e-6)) * w,
        floor=FLOOR,
        strongest=("compile",),
        compiles=True,
        quick=quick,
        torch=lambda torch, x, w: torch.nn.functional.rms_norm(x, x.shape[-1:], w, 1e-6),
        onnx=_onnx_rms_norm,
        jax=lambda jax, x, w: x * jax.lax.rsqrt((x * x).mean(-1, keepdims=True) + 1e-6) * w,
    )


def _by(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape))


def _softmax(x: Array) -> Array:
    e = np.exp(x - x.max(-1, keepdims=True))
    e /= e.sum(-1, keepdims=True)
    return e


def _layer_norm(x: Array, w: Array, b: Array) -> Array:
    centred = x - x.mean(-1, keepdims=True)
    centred /= np.sqrt((centred * centred).mean(-1, keepdims=True) + np.float32(1e-5))
    return centred * w + b


def _jax_layer_norm(jax, x, w, b):
    centred = x - x.mean(-1, keepdims=True)
    return centred * jax.lax.rsqrt((centred * centred).mean(-1, keepdims=True) + 1e-5) * w + b


def _onnx_rms_norm(graph, x: str, w: str) -> str:
    mean = graph.ReduceMean(graph.Mul(x, x), graph.constant([-1], np.int64))
    root = graph.Sqrt(graph.Add(mean, graph.constant(1e-6)))
    return graph.Mul(graph.Div(x, root), w)


WORKLOADS = [
    softmax(4096, 4096, quick=True),
    softmax(4096, 1024),
    softmax(12, 512, 512, quick=True),
    softmax(512, 1000),
    softmax(32, 32000),
    layer_norm(4096, 1024, quick=True),
    layer_norm(384, 768),
    layer_norm(4096, 1000),
    rms_norm(4096, 1024, quick=True),
    rms_norm(384, 768),
]
