"""onnxruntime, with inputs and result bound to memory."""

from __future__ import annotations

from collections.abc import Mapping

from workload import Array, Prepared, Workload

from peers import installed
from peers.onnx_graph import model


def version() -> str | None:
    return installed("onnxruntime") if installed("onnx") else None


def prepare(workload: Workload, arrays: Mapping[str, Array], threads: int) -> Prepared:
    made, result = model(workload, arrays)
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.force_spinning_stop", "1")
    session = onnxruntime.InferenceSession(
        made.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    binding = session.io_binding()
    for name, array in arrays.items():
        if name not in workload.bound:
            binding.bind_cpu_input(name, array)
    binding.bind_output(result, "cpu")
    session.run_with_iobinding(binding)
    binding.bind_ortvalue_output(result, binding.get_outputs()[0])
    return Prepared(lambda: session.run_with_iobinding(binding), lambda _: binding.get_outputs()[0].numpy())
