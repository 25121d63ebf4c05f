"""Chains of elementwise work: one pass over memory, if they are fused."""

from __future__ import annotations

import numpy as np
from workload import Array, Floor, Workload, arrays, normal

FLOOR = Floor(1.3, aim=2.0, share=0.9)

BIAS_RELU_MUL = """
op chain(X: f32[M, N], b: f32[N], S: f32[M, N]) -> Y: f32[M, N] {
    H[i, j] = max(X[i, j] + b[j], 0)
    Y[i, j] = H[i, j] * S[i, j]
}
"""

BIAS_GELU_RESIDUAL = """
use math

op chain(X: f32[M, N], b: f32[N], R: f32[M, N]) -> Y: f32[M, N] {
    Y[i, j] = math.gelu_tanh(X[i, j] + b[j]) + R[i, j]
}
"""


def bias_relu_mul(m: int, n: int, *, quick: bool = False) -> Workload:
    return Workload(
        f"relu(X + b) * S {m} × {n}",
        "elementwise",
        op=BIAS_RELU_MUL,
        inputs=arrays(X=normal(m, n), b=normal(n), S=normal(m, n)),
        reference=lambda x, b, s: np.maximum(x + b, np.float32(0)) * s,
        floor=FLOOR,
        strongest=("compile", "openvino"),
        compiles=True,
        quick=quick,
        torch=lambda torch, x, b, s: torch.relu(x + b) * s,
        onnx=lambda graph, x, b, s: graph.Mul(graph.Relu(graph.Add(x, b)), s),
        jax=lambda jax, x, b, s: jax.numpy.maximum(x + b, 0) * s,
    )


def swiglu(m: int, n: int, *, quick: bool = False) -> Workload:
    return Workload(
        f"silu(A) * B {m} × {n}",
        "elementwise",
        op="nn.swiglu",
        inputs=arrays(A=normal(m, n), B=normal(m, n)),
        reference=lambda a, b: a / (1 + np.exp(-a)) * b,
        floor=FLOOR,
        strongest=("compile", "openvino"),
        compiles=True,
        quick=quick,
        torch=lambda torch, a, b: torch.nn.functional.silu(a) * b,
        onnx=lambda graph, a, b: graph.Mul(graph.Mul(a, graph.Sigmoid(a)), b),
        jax=lambda jax, a, b: jax.nn.silu(a) * b,
    )


def gelu_residual(m: int, n: int) -> Workload:
    return Workload(
        f"gelu_tanh(X + b) + R {m} × {n}",
        "elementwise",
        op=BIAS_GELU_RESIDUAL,
        inputs=arrays(X=normal(m, n), b=normal(n), R=normal(m, n)),
        reference=_gelu_residual,
        floor=FLOOR,
        strongest=("compile", "openvino"),
        compiles=True,
        torch=lambda torch, x, b, r: torch.nn.functional.gelu(x + b, approximate="tanh") + r,
        onnx=lambda graph, x, b, r: graph.Add(graph.Gelu(graph.Add(x, b), approximate="tanh"), r),
        jax=lambda jax, x, b, r: jax.nn.gelu(x + b) + r,
    )


def _gelu_residual(x: Array, b: Array, r: Array) -> Array:
    z = x + b
    inner = np.float32(np.sqrt(2 / np.pi)) * (z + np.float32(0.044715) * z * z * z)
    return np.float32(0.5) * z * (1 + np.tanh(inner)) + r


WORKLOADS = [
    bias_relu_mul(4096, 4096, quick=True),
    bias_relu_mul(256, 512),
    swiglu(4096, 4096),
    swiglu(128, 1024, quick=True),
    gelu_residual(1024, 3072),
]
