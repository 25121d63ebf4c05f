"""OpenVINO, in the precision of the workload: left alone, it takes bf16 where the CPU has it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from workload import Array, Prepared, Workload

from peers import installed
from peers.onnx_graph import model


def version() -> str | None:
    return installed("openvino") if installed("onnx") else None


def prepare(workload: Workload, arrays: Mapping[str, Array], threads: int) -> Prepared:
    made, _ = model(workload, arrays)
    import openvino

    core = openvino.Core()
    compiled = core.compile_model(
        core.read_model(made.SerializeToString()),
        "CPU",
        {
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "INFERENCE_PRECISION_HINT": "bf16" if workload.kind == "bf16" else "f32",
            "ENABLE_CPU_PINNING": False,
        },
    )
    request = compiled.create_infer_request()
    for name, array in arrays.items():
        if name not in workload.bound:
            request.set_tensor(name, _tensor(openvino, array))
    return Prepared(request.infer, lambda _: request.get_output_tensor().data)


def _tensor(openvino: Any, array: Array) -> Any:
    """A tensor in the array's memory."""
    if array.dtype.name == "bfloat16":
        return openvino.Tensor(array.view(np.uint16), array.shape, openvino.Type.bf16)
    return openvino.Tensor(array, shared_memory=True)
