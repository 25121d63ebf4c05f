"""Matrix products in f32 and f64: squares, odd sizes, tall and wide, few rows, batches, with an epilogue."""

from __future__ import annotations

import math

import numpy as np
from workload import Array, Floor, Workload, arrays, normal

SQUARE = Floor(1.0, aim=1.08)
FEW_ROWS = Floor(1.0, aim=1.2)
EPILOGUE = Floor(1.05, aim=1.2)
LIBRARIES = ("numpy", "openvino", "onnxruntime")


def product(
    m: int, n: int, k: int, group: str = "gemm", *, floor: Floor = SQUARE, quick: bool = False
) -> Workload:
    """C[M, N] = A[M, K] B[K, N] in f32."""
    return Workload(
        f"{m} × {n} × {k}",
        group,
        op="linalg.matmul",
        inputs=arrays(A=normal(m, k), B=normal(k, n)),
        reference=np.matmul,
        flops=2 * m * n * k,
        floor=floor,
        strongest=LIBRARIES,
        quick=quick,
        torch=lambda torch, a, b: a @ b,
        onnx=lambda graph, a, b: graph.MatMul(a, b),
        jax=lambda jax, a, b: a @ b,
        halide=lambda hl, threads, a, b: (
            halide_product(hl, threads, a, b, m, n, k) if m % 8 == n % 32 == 0 else None
        ),
    )


def halide_product(hl, threads: int, a, b, m: int, n: int, k: int):
    """Panels of B of 32 columns, packed; 8 × 32 elements of C in registers."""
    x, y, xi, yi, panel, row = (hl.Var(name) for name in ("x", "y", "xi", "yi", "panel", "row"))
    r = hl.RDom([(0, k)])
    packed, total, out = hl.Func("packed"), hl.Func("total"), hl.Func("out")
    packed[xi, row, panel] = b[panel * 32 + xi, row]
    total[x, y] = hl.f32(0)
    total[x, y] += packed[x % 32, r, x // 32] * a[r, y]
    out[x, y] = total[x, y]
    out.bound(x, 0, n).bound(y, 0, m)
    out.tile(x, y, xi, yi, 32, 8).reorder(xi, yi, y, x).vectorize(xi, 16).unroll(xi).unroll(yi)
    total.compute_at(out, y).bound_extent(x, 32).vectorize(x, 16).unroll(x).unroll(y)
    total.update().reorder(x, y, r).vectorize(x, 16).unroll(x).unroll(y)
    packed.compute_root().bound_extent(xi, 32).reorder(xi, row, panel).vectorize(xi, 16)
    if threads > 1:
        out.parallel(x)
        packed.parallel(panel)
    return out


def double(n: int) -> Workload:
    return Workload(
        f"{n} × {n} × {n}, f64",
        "gemm-forms",
        op="linalg.matmul",
        inputs=arrays(A=normal(n, n, dtype="f8"), B=normal(n, n, dtype="f8")),
        reference=np.matmul,
        flops=2 * n**3,
        kind="f64",
        tolerance=1e-10,
        floor=SQUARE,
        strongest=("numpy",),
        torch=lambda torch, a, b: a @ b,
        onnx=lambda graph, a, b: graph.MatMul(a, b),
    )


def transposed(which: str, n: int) -> Workload:
    """A Bᵀ (`nt`) or Aᵀ B (`tn`)."""
    is_nt = which == "nt"
    return Workload(
        f"{n} × {n} × {n}, {'A Bᵀ' if is_nt else 'Aᵀ B'}",
        "gemm-forms",
        op=f"linalg.matmul_{which}",
        inputs=arrays(A=normal(n, n), B=normal(n, n)),
        reference=(lambda a, b: a @ b.T) if is_nt else (lambda a, b: a.T @ b),
        flops=2 * n**3,
        floor=SQUARE,
        strongest=LIBRARIES,
        torch=(lambda torch, a, b: a @ b.T) if is_nt else (lambda torch, a, b: a.T @ b),
        onnx=lambda graph, a, b: graph.Gemm(a, b, transA=int(not is_nt), transB=int(is_nt)),
        jax=(lambda jax, a, b: a @ b.T) if is_nt else (lambda jax, a, b: a.T @ b),
    )


def batch(b: int, m: int, n: int, k: int) -> Workload:
    return Workload(
        f"{b} × ({m} × {n} × {k})",
        "gemm-forms",
        op="linalg.matmul",
        inputs=arrays(A=normal(b, m, k), B=normal(b, k, n)),
        reference=np.matmul,
        flops=2 * b * m * n * k,
        floor=SQUARE,
        strongest=LIBRARIES,
        torch=lambda torch, a, b: torch.bmm(a, b),
        onnx=lambda graph, a, b: graph.MatMul(a, b),
        jax=lambda jax, a, b: a @ b,
    )


FEW_ROWS_OP = """
op product(A: f32[M, K], param B: f32[K, N]) -> C: f32[M, N] {
    C[i, j] = sum[k](A[i, k] * B[k, j])
}
"""


def few_rows(m: int, n: int, k: int, *, quick: bool = False) -> Workload:
    """A few rows times weights that were given before, so that a library may pack them."""
    return Workload(
        f"{m} × {n} × {k}, weights bound",
        "skinny",
        op=FEW_ROWS_OP,
        inputs=arrays(A=normal(m, k), B=normal(k, n)),
        bound=("B",),
        reference=np.matmul,
        flops=2 * m * n * k,
        floor=FEW_ROWS,
        strongest=("numpy", "openvino"),
        quick=quick,
        torch=lambda torch, a, b: a @ b,
        onnx=lambda graph, a, b: graph.MatMul(a, b),
        jax=lambda jax, a, b: a @ b,
    )


GELU = """
use math

op feed_forward(X: f32[M, K], param W: f32[K, N], param b: f32[N]) -> Y: f32[M, N] {
    Z[i, j] = sum[k](X[i, k] * W[k, j])
    Y[i, j] = math.gelu(Z[i, j] + b[j])
}
"""


def gelu(m: int, n: int, k: int, *, quick: bool = False) -> Workload:
    return Workload(
        f"{m} × {n} × {k}, bias, GELU",
        "gelu",
        op=GELU,
        inputs=arrays(X=normal(m, k, scale=k**-0.5), W=normal(k, n), b=normal(n)),
        bound=("W", "b"),
        reference=_gelu,
        flops=2 * m * n * k,
        floor=EPILOGUE,
        strongest=("openvino",),
        quick=quick,
        torch=lambda torch, x, w, b: torch.nn.functional.gelu(torch.addmm(b, x, w)),
        onnx=lambda graph, x, w, b: graph.Gelu(graph.Add(graph.MatMul(x, w), b)),
        jax=lambda jax, x, w, b: jax.nn.gelu(x @ w + b, approximate=False),
    )


def _gelu(x: Array, w: Array, b: Array) -> Array:
    z = x @ w + b
    try:
        from scipy.special import erf
    except ImportError:
        erf = np.vectorize(math.erf, otypes=[np.float32])
    return 0.5 * z * (1 + erf(z * np.float32(0.5**0.5)))


WORKLOADS = [
    *[product(n, n, n, quick=n in (128, 512, 1024)) for n in (128, 256, 512, 1024, 2048)],
    *[product(n, n, n, "gemm-odd", quick=n == 127) for n in (127, 257, 1000)],
    product(257, 1000, 511, "gemm-odd"),
    product(4096, 64, 512, "gemm-forms"),
    product(64, 4096, 512, "gemm-forms"),
    product(4096, 4096, 64, "gemm-forms"),
    product(96, 96, 8192, "gemm-forms"),
    batch(12, 128, 128, 64),
    batch(96, 64, 64, 64),
    double(512),
    double(1024),
    transposed("nt", 768),
    transposed("tn", 768),
    few_rows(1, 4096, 4096, quick=True),
    few_rows(16, 4096, 4096, quick=True),
    few_rows(1, 1000, 2048),
    few_rows(4, 3072, 768),
    few_rows(16, 3072, 768),
    gelu(384, 3072, 768, quick=True),
    gelu(128, 3072, 768),
]
