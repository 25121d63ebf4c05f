"""softmax(Q Kᵀ / √E) V, full and causal."""

from __future__ import annotations

import numpy as np
from workload import Array, Floor, Workload, arrays, normal

FULL, CAUSAL = Floor(1.0), Floor(1.0, aim=1.5)


def attention(
    heads: int, length: int, width: int, is_causal: bool = False, *, quick: bool = False
) -> Workload:
    pairs = length * (length + 1) / 2 if is_causal else length * length
    return Workload(
        f"{heads} × {length} × {width}{', causal' if is_causal else ''}",
        "attention",
        op="nn.scaled_dot_product_attention",
        inputs=arrays(**{name: normal(1, heads, length, width) for name in "QKV"}),
        consts={"is_causal": is_causal},
        reference=lambda q, k, v: _attention(q, k, v, is_causal),
        flops=4 * heads * pairs * width,
        floor=CAUSAL if is_causal else FULL,
        strongest=("torch", "compile") if is_causal else ("openvino",),
        compiles=is_causal,
        quick=quick,
        torch=lambda torch, q, k, v: torch.nn.functional.scaled_dot_product_attention(
            q, k, v, is_causal=is_causal
        ),
        onnx=lambda graph, q, k, v: _onnx_attention(graph, q, k, v, length, width, is_causal),
        jax=lambda jax, q, k, v: _jax_attention(jax, q, k, v, is_causal),
    )


def _attention(q: Array, k: Array, v: Array, is_causal: bool) -> Array:
    score = q @ k.swapaxes(-1, -2) * np.float32(q.shape[-1] ** -0.5)
    if is_causal:
        score += np.triu(np.full(score.shape[-2:], -np.inf, np.float32), 1)
    score -= score.max(-1, keepdims=True)
    np.exp(score, out=score)
    score /= score.sum(-1, keepdims=True)
    return score @ v


def _onnx_attention(graph, q: str, k: str, v: str, length: int, width: int, is_causal: bool) -> str:
    score = graph.MatMul(q, graph.Transpose(k, perm=[0, 1, 3, 2]))
    score = graph.Mul(score, graph.constant(width**-0.5))
    if is_causal:
        mask = np.triu(np.full((length, length), -np.inf, np.float32), 1)
        score = graph.Add(score, graph.constant(mask))
    return graph.MatMul(graph.Softmax(score, axis=-1), v)


def _jax_attention(jax, q, k, v, is_causal: bool):
    score = q @ k.swapaxes(-1, -2) * q.shape[-1] ** -0.5
    if is_causal:
        mask = jax.numpy.tril(jax.numpy.ones(score.shape[-2:], bool))
        score = jax.numpy.where(mask, score, -jax.numpy.inf)
    return jax.nn.softmax(score, -1) @ v


WORKLOADS = [
    attention(12, 512, 64, quick=True),
    attention(12, 512, 64, True),
    attention(12, 2048, 64),
    attention(12, 2048, 64, True),
    attention(12, 128, 64),
]
