"""TVM, untuned: an ONNX graph through Relax, compiled for this CPU. Threads: TVM_NUM_THREADS."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from workload import Array, Prepared, Unsupported, Workload

from peers import installed
from peers.onnx_graph import model

MOST_FLOPS = 5e8  # plain loops make less than 1 GFLOP/s


def version() -> str | None:
    return installed("apache-tvm") if installed("onnx") else None


def prepare(workload: Workload, arrays: Mapping[str, Array], threads: int) -> Prepared:
    if workload.flops > MOST_FLOPS:
        raise Unsupported("takes too long without tuning")
    made, _ = model(workload, arrays)
    import llvmlite.binding
    import tvm
    from tvm import relax
    from tvm.relax.frontend.onnx import from_onnx

    target = tvm.target.Target({"kind": "llvm", "mcpu": llvmlite.binding.get_host_cpu_name()})
    module = from_onnx(made)
    machine = relax.VirtualMachine(relax.build(module, target=target), tvm.cpu())
    values = [tvm.runtime.tensor(array) for name, array in arrays.items() if name not in workload.bound]
    main = machine["main"]
    return Prepared(lambda: main(*values), read)


def read(result: Any) -> Array:
    return result.numpy()
