"""What `gpu.py` checks at small sizes and measures at large ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from workload import Array, Floor, Workload, arrays, normal

COPY = Floor(1.0, share=0.9)  # at least as fast as PyTorch, at 0.9 of the speed of a copy of as many bytes
TOLERANCE = {"f4": 1e-4, "bfloat16": 3e-2}  # of the largest element of the result

# What of the device's memory a workload must move is counted once for each array; `flops` those of the definition.


def scale_add(size: int) -> Workload:
    return Workload(
        f"a * X + B, {size}",
        "elementwise",
        op="benchmarks/gpu.te:scale_add",
        inputs=arrays(X=normal(size), B=normal(size), a=normal()),
        reference=lambda x, b, a: a * x + b,
        torch=lambda torch, x, b, a: torch.addcmul(b, a, x),
        floor=COPY,
        strongest=("torch",),
    )


def gelu(rows: int, columns: int) -> Workload:
    return Workload(
        f"gelu_tanh(X + b) + R, {rows} × {columns}",
        "elementwise",
        op="benchmarks/gpu.te:bias_gelu",
        inputs=arrays(X=normal(rows, columns), b=normal(columns), R=normal(rows, columns)),
        reference=lambda x, b, r: _gelu(x + b) + r,
        torch=lambda torch, x, b, r: torch.nn.functional.gelu(x + b, approximate="tanh") + r,
        floor=COPY,
        strongest=("compile",),
        compiles=True,
    )


def softmax(rows: int, columns: int) -> Workload:
    return Workload(
        f"softmax {rows} × {columns}",
        "rows",
        op="nn.softmax",
        inputs=arrays(X=normal(rows, columns)),
        reference=_softmax,
        torch=lambda torch, x: torch.softmax(x, -1),
        floor=COPY,
        strongest=("torch", "compile"),
        compiles=True,
    )


def rms_norm(rows: int, columns: int) -> Workload:
    return Workload(
        f"RMS norm {rows} × {columns}",
        "rows",
        op="nn.rms_norm",
        inputs=arrays(X=normal(rows, columns), weight=normal(columns)),
        reference=lambda x, w: x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-6) * w,
        torch=lambda torch, x, w: torch.nn.functional.rms_norm(x, x.shape[-1:], w, 1e-6),
        floor=COPY,
        strongest=("torch", "compile"),
        compiles=True,
    )


def transpose(rows: int, columns: int) -> Workload:
    return Workload(
        f"transpose {rows} × {columns}",
        "moves",
        op="tensor.transpose",
        inputs=arrays(X=normal(rows, columns)),
        reference=lambda x: x.T,
        torch=lambda torch, x: x.T.contiguous(),
        floor=COPY,
        strongest=("torch",),
    )


def matmul(size: int, dtype: str, floor: float) -> Workload:
    """A product of squares. bf16 is read as it is, added up in f32, and rounded once."""
    return Workload(
        f"{size} × {size} × {size}, {'bf16' if dtype == 'bfloat16' else 'f32'}",
        "products",
        op="linalg.matmul",
        inputs=arrays(A=normal(size, size, dtype=dtype), B=normal(size, size, dtype=dtype)),
        reference=lambda a, b: a @ b,
        torch=lambda torch, a, b: a @ b,
        floor=Floor(floor),
        flops=2.0 * size**3,
        strongest=("torch",),
    )


def attention(heads: int, length: int, width: int, is_causal: bool) -> Workload:
    pairs = length * (length + 1) / 2 if is_causal else length * length
    return Workload(
        f"{heads} × {length} × {width}, bf16{', causal' if is_causal else ''}",
        "attention",
        op="nn.scaled_dot_product_attention",
        inputs=arrays(**{name: normal(heads, length, width, dtype="bfloat16") for name in "QKV"}),
        consts={"is_causal": is_causal},
        reference=lambda q, k, v: _attention(q, k, v, is_causal),
        torch=lambda torch, q, k, v: _flash_attention(torch, q, k, v, is_causal),
        floor=Floor(0.9),
        flops=4 * heads * pairs * width,
        strongest=("torch",),
    )


def mlp(tokens: int, width: int) -> Workload:
    """X + gelu(rms_norm(X) W1 + b1) W2: several launches, as one CUDA graph."""
    inner = 4 * width
    return Workload(
        f"MLP block {tokens} × {width} × {inner}, bf16",
        "blocks",
        op="benchmarks/gpu.te:mlp",
        inputs=arrays(
            X=normal(tokens, width, dtype="bfloat16"),
            scale=normal(width, dtype="bfloat16"),
            W1=normal(width, inner, dtype="bfloat16", scale=width**-0.5),
            b1=normal(inner, dtype="bfloat16"),
            W2=normal(inner, width, dtype="bfloat16", scale=inner**-0.5),
        ),
        reference=_mlp,
        torch=_torch_mlp,
        floor=Floor(1.0),
        flops=4.0 * tokens * width * inner,
        strongest=("compile",),
        compiles=True,
    )


def _gelu(x: Array) -> Array:
    return 0.5 * x * (1 + np.tanh(0.7978845608028654 * (x + 0.044715 * x * x * x)))


def _softmax(x: Array) -> Array:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def _attention(q: Array, k: Array, v: Array, is_causal: bool) -> Array:
    score = q @ k.swapaxes(-1, -2) * q.shape[-1] ** -0.5
    if is_causal:
        score = np.where(np.tri(*score.shape[-2:], dtype=bool), score, -np.inf)
    return _softmax(score) @ v


def _flash_attention(torch, q, k, v, is_causal: bool):
    from torch.nn.attention import SDPBackend, sdpa_kernel

    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
        return torch.nn.functional.scaled_dot_product_attention(
            q[None], k[None], v[None], is_causal=is_causal
        )[0]


def _mlp(x: Array, scale: Array, w1: Array, b1: Array, w2: Array) -> Array:
    normed = x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-6) * scale
    return x + _gelu(normed @ w1 + b1) @ w2


def _torch_mlp(torch, x, scale, w1, b1, w2):
    normed = torch.nn.functional.rms_norm(x, x.shape[-1:], scale, 1e-6)
    return x + torch.nn.functional.gelu(torch.addmm(b1, normed, w1), approximate="tanh") @ w2


# Each kind of work with its arguments where it is checked, none a multiple of a tile, and where it is measured.
SIZES: Sequence[tuple[Callable[..., Workload], tuple[object, ...], Sequence[tuple[object, ...]]]] = [
    (scale_add, (5001,), [(1 << 26,)]),
    (gelu, (37, 129), [(8192, 8192)]),
    (softmax, (5, 1003), [(8192, 4096), (16384, 1024), (512, 50257)]),
    (rms_norm, (5, 1003), [(8192, 4096), (16384, 1024)]),
    (transpose, (70, 45), [(8192, 8192)]),
    (matmul, (131, "f4", 0.9), [(4096, "f4", 0.9)]),
    (matmul, (131, "bfloat16", 0.6), [(4096, "bfloat16", 0.6), (8192, "bfloat16", 0.6)]),
    (
        attention,
        (3, 131, 64, True),
        [(64, 2048, width, is_causal) for width in (64, 128) for is_causal in (False, True)],
    ),
    (attention, (3, 131, 128, False), []),
    (mlp, (37, 64), [(4096, 2048)]),
]


def small() -> list[Workload]:
    return [_tolerant(make(*arguments)) for make, arguments, _ in SIZES]


def large() -> list[Workload]:
    return [_tolerant(make(*arguments)) for make, _, many in SIZES for arguments in many]


def _tolerant(workload: Workload) -> Workload:
    narrow = "bf16" in workload.name
    return replace(workload, tolerance=TOLERANCE["bfloat16" if narrow else "f4"])
