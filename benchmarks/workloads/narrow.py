"""Products of bytes and of bf16 numbers, with the instructions that CPUs have for them."""

from __future__ import annotations

import numpy as np
from workload import Array, Floor, Workload, normal

FLOOR = Floor(1.0, aim=1.1)

U8_I8 = """
op product(A: u8[M, K], param B: i8[K, N]) -> C: i32[M, N] {
    C[i, j] = sum[k](i32(A[i, k]) * i32(B[k, j]))
}
"""
BF16 = """
op product(A: bf16[M, K], param B: bf16[K, N]) -> C: f32[M, N] {
    C[i, j] = sum[k](f32(A[i, k]) * f32(B[k, j]))
}
"""


def bytes_product(m: int, n: int, k: int, *, quick: bool = False) -> Workload:
    """Weights bound. Bytes up to 127, so that libraries for signed bytes compute the same numbers."""
    return Workload(
        f"int8 {m} × {n} × {k}, weights bound",
        "int8",
        op=U8_I8,
        inputs=lambda rng: {
            "A": rng.integers(0, 128, (m, k), dtype=np.uint8),
            "B": rng.integers(-127, 128, (k, n), dtype=np.int8),
        },
        bound=("B",),
        options={"onnx_result": np.int32},
        reference=lambda a, b: (a.astype(np.float64) @ b.astype(np.float64)).astype(np.int32),
        tolerance=1e-6,
        flops=2 * m * n * k,
        kind="int8",
        floor=FLOOR,
        strongest=("torch", "onnxruntime"),
        quick=quick,
        torch=lambda torch, a, b: torch._int_mm(a.view(torch.int8), b),
        onnx=lambda graph, a, b: graph.MatMulInteger(a, b),
    )


def bf16_product(m: int, n: int, k: int, *, quick: bool = False) -> Workload:
    return Workload(
        f"bf16 {m} × {n} × {k}, weights bound",
        "bf16",
        op=BF16,
        inputs=lambda rng: {"A": _bf16(rng, m, k), "B": _bf16(rng, k, n)},
        bound=("B",),
        options={"math": "fast", "onnx_result": np.float32},
        reference=lambda a, b: a.astype(np.float32) @ b.astype(np.float32),
        tolerance=1e-2,
        flops=2 * m * n * k,
        kind="bf16",
        floor=FLOOR,
        strongest=("torch",),
        quick=quick,
        torch=lambda torch, a, b: a @ b,
        onnx=_onnx_bf16,
        jax=lambda jax, a, b: jax.numpy.matmul(a, b, preferred_element_type=jax.numpy.float32),
    )


def _bf16(rng: np.random.Generator, *shape: int) -> Array:
    import ml_dtypes

    return normal(*shape)(rng).astype(ml_dtypes.bfloat16)


def _onnx_bf16(graph, a: str, b: str) -> str:
    from onnx import TensorProto

    return graph.Cast(graph.MatMul(a, b), to=TensorProto.FLOAT)


WORKLOADS = [
    bytes_product(1024, 1024, 1024, quick=True),
    bytes_product(384, 3072, 768),
    bf16_product(1024, 1024, 1024, quick=True),
    bf16_product(384, 3072, 768),
]
