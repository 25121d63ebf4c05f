"""ONNX graphs, written as calls: what onnxruntime, OpenVINO and TVM run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from workload import Array, Unsupported, Workload

OPSET = 20
IR_VERSION = 10


class Graph:
    """`graph.Softmax(x, axis=-1)` adds a node and gives the name of its result."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, value: Any, dtype: Any = np.float32) -> str:
        """An initializer: a weight, a shape, a number."""
        from onnx import numpy_helper

        name = f"constant{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def __getattr__(self, op: str) -> Callable[..., str]:
        from onnx import helper

        def node(*inputs: str, **attributes: Any) -> str:
            name = f"{op.lower()}{len(self.nodes)}"
            self.nodes.append(helper.make_node(op, inputs, [name], **attributes))
            return name

        return node


def model(workload: Workload, arrays: Mapping[str, Array]) -> tuple[Any, str]:
    """The workload's graph as an ONNX model, with bound inputs as constants; and the name of its result."""
    from onnx import helper

    if workload.onnx is None:
        raise Unsupported("no program")
    graph = Graph()
    names = {
        name: graph.constant(array, array.dtype) if name in workload.bound else name
        for name, array in arrays.items()
    }
    result = workload.onnx(graph, *names.values())
    free = [name for name in arrays if name not in workload.bound]
    inputs = [
        helper.make_tensor_value_info(
            name, helper.np_dtype_to_tensor_dtype(arrays[name].dtype), arrays[name].shape
        )
        for name in free
    ]
    output = helper.make_tensor_value_info(result, _element_type(workload, arrays), None)
    made = helper.make_graph(graph.nodes, "workload", inputs, [output], graph.constants)
    made_model = helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)])
    made_model.ir_version = IR_VERSION
    return made_model, result


def _element_type(workload: Workload, arrays: Mapping[str, Array]) -> int:
    from onnx import helper

    dtype = workload.options.get("onnx_result", next(iter(arrays.values())).dtype)
    return helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
