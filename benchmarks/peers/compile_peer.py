"""torch.compile. A kernel takes seconds to compile, and g++."""

from __future__ import annotations

import shutil
from collections.abc import Mapping

from workload import Array, Prepared, Unsupported, Workload

from peers import installed
from peers.torch_peer import read, tensor


def version() -> str | None:
    return installed("torch") if shutil.which("g++") else None


def prepare(workload: Workload, arrays: Mapping[str, Array], threads: int) -> Prepared:
    program = workload.torch
    if program is None:
        raise Unsupported("no program")
    import torch
    import torch._inductor.config as inductor

    torch.set_num_threads(threads)
    torch.set_float32_matmul_precision("highest")
    inductor.freezing = True  # weights are constants, and packed once
    torch._dynamo.reset()
    weights = {name: tensor(torch, array) for name, array in arrays.items() if name in workload.bound}
    names = list(arrays)
    module = _module(torch, program, names, weights).eval()
    compiled = torch.compile(module)
    values = [tensor(torch, array) for name, array in arrays.items() if name not in weights]

    def call() -> object:
        with torch.no_grad():
            return compiled(*values)

    return Prepared(call, read)


def _module(torch, program, names, weights):
    class Module(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            for name, weight in weights.items():
                self.register_parameter(f"w_{name}", torch.nn.Parameter(weight, requires_grad=False))

        def forward(self, *values):
            free = iter(values)
            given = [getattr(self, f"w_{n}") if n in weights else next(free) for n in names]
            return program(torch, *given)

    return Module()
