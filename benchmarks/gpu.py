"""Kernels on an NVIDIA GPU: whether they are right, and how fast, beside PyTorch where it is.

    python benchmarks/gpu.py              # checks small sizes, measures large ones, and prints a table
    python benchmarks/gpu.py --emulated   # checks alone, in the emulator: no GPU is needed

The schedules are those of `gpu.te`. Times are of the GPU, by events; PyTorch runs in the same process. For a machine
without a network take this repository, wheels of lark, llvmlite, ml_dtypes and numpy, and what docs/cuda.md says of
PyCUDA: `docs/build_pycuda.py` builds it there.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import te
from te.backends.cuda.device import device_numbered
from te.backends.cuda.driver import why_unavailable

Array = np.ndarray[Any, Any]
FILE = Path(__file__).with_name("gpu.te")
Shapes = Sequence[tuple[int, ...]]


@dataclass(frozen=True)
class Row:
    """An op: the shapes of its inputs, small and large, its reference, PyTorch's way, and its work for shapes."""

    op: str
    small: Shapes
    large: Shapes
    reference: Callable[..., Array]
    torch: Callable[..., Any]
    work: Callable[[Shapes], tuple[float, str]]  # and its unit: bytes or FLOPs


def moved(*times: int) -> Callable[[Shapes], tuple[float, str]]:
    """Bytes of f32: as many times each of the inputs."""
    return lambda shapes: (sum(4.0 * n * np.prod(s) for n, s in zip(times, shapes, strict=True)), "GB/s")


def gelu(x: Array) -> Array:
    return 0.5 * x * (1 + np.tanh(0.7978845608028654 * (x + 0.044715 * x * x * x)))


ROWS = [
    Row(
        "scale_add",
        [(5000,), (5000,), ()],
        [(1 << 26,), (1 << 26,), ()],
        lambda x, b, a: a * x + b,
        lambda torch, x, b, a: torch.addcmul(b, a, x),
        moved(2, 1, 0),
    ),
    Row(
        "gelu",
        [(5000,)],
        [(1 << 26,)],
        gelu,
        lambda torch, x: torch.nn.functional.gelu(x, approximate="tanh"),
        moved(2),
    ),
    Row(
        "transpose",
        [(70, 45)],
        [(8192, 8192)],
        lambda x: x.T,
        lambda torch, x: x.T.contiguous(),
        moved(2),
    ),
    Row(
        "matmul",
        [(128, 32), (32, 64)],
        [(4096, 4096), (4096, 4096)],
        lambda a, b: a @ b,
        lambda torch, a, b: a @ b,
        lambda shapes: (2.0 * shapes[0][0] * shapes[0][1] * shapes[1][1], "GFLOP/s"),
    ),
]


def main() -> int:
    parser = argparse.ArgumentParser(description="Check and measure kernels on an NVIDIA GPU.")
    parser.add_argument("--emulated", action="store_true", help="check in the emulator, and measure nothing")
    parser.add_argument("ops", nargs="*", help=f"of {', '.join(row.op for row in ROWS)} (default: all)")
    options = parser.parse_args()
    rows = [row for row in ROWS if not options.ops or row.op in options.ops]
    module = te.load(FILE)
    target = "cuda-emulated" if options.emulated else "cuda"
    if not options.emulated and (missing := why_unavailable()):
        sys.exit(f"nothing can be measured: {missing}")
    wrong = 0
    for row in rows:
        error = largest_error(te.build(module, op=row.op, target=target), row)
        wrong += error > 1e-4
        print(f"{row.op:12} {'WRONG' if error > 1e-4 else 'right'}, largest error {error:.1e}")
    if not options.emulated and not wrong:
        measure(module, rows)
    return 1 if wrong else 0


def arrays(shapes: Shapes) -> list[Array]:
    rng = np.random.default_rng(0)
    return [np.asarray(rng.standard_normal(shape), np.float32) for shape in shapes]


def largest_error(kernel: Any, row: Row) -> float:
    given = arrays(row.small)
    wanted = row.reference(*[x.astype(np.float64) for x in given])
    return float(np.max(np.abs(kernel(*given) - wanted)))


def measure(module: te.Module, rows: Sequence[Row]) -> None:
    torch = torch_with_cuda()
    print(f"\n{device_numbered(0)}, PyTorch {torch.__version__ if torch else 'without CUDA, or none'}\n")
    print(f"{'op':12} {'te':>10} {'rate':>16} {'PyTorch':>10} {'ratio':>6}")
    for row in rows:
        given = arrays(row.large)
        seconds = te.build(module, op=row.op, target="cuda").time(*given).median
        work, unit = row.work(row.large)
        line = f"{row.op:12} {seconds * 1e3:7.3f} ms {work / seconds / 1e9:8.0f} {unit:>7}"
        if torch is not None:
            other = torch_seconds(torch, row, given)
            line += f" {other * 1e3:7.3f} ms {other / seconds:6.2f}"
        print(line)


def torch_with_cuda() -> Any:
    try:
        import torch
    except ImportError:
        return None
    torch.backends.cuda.matmul.allow_tf32 = False  # te's products are of f32
    return torch if torch.cuda.is_available() else None


def torch_seconds(torch: Any, row: Row, given: Sequence[Array]) -> float:
    tensors = [torch.from_numpy(x).cuda() for x in given]
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    found = []
    for _ in range(20):
        start.record()
        row.torch(torch, *tensors)
        end.record()
        end.synchronize()
        found.append(start.elapsed_time(end) * 1e-3)
    return float(np.median(found[1:]))


if __name__ == "__main__":
    sys.exit(main())
