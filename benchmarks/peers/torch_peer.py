"""PyTorch, eager."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from workload import Array, Prepared, Unsupported, Workload

from peers import installed


def version() -> str | None:
    return installed("torch")


def prepare(workload: Workload, arrays: Mapping[str, Array], threads: int) -> Prepared:
    program = workload.torch
    if program is None:
        raise Unsupported("no program")
    import torch

    torch.set_num_threads(threads)
    torch.set_grad_enabled(False)
    torch.set_float32_matmul_precision("highest")
    values = [tensor(torch, array) for array in arrays.values()]
    return Prepared(lambda: program(torch, *values), read)


def tensor(torch: Any, array: Array) -> Any:
    """A tensor in the array's memory; NumPy has no bf16 that torch knows."""
    if array.dtype.name == "bfloat16":
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)


def read(result: Any) -> Array:
    return (result.float() if str(result.dtype) == "torch.bfloat16" else result).numpy()
