"""te's entry in the race: the op of a workload, compiled for the sizes of its arrays, with weights bound."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from workload import ROOT, Array, Prepared, Workload

import te
from te.grammar import tree


def prepare(workload: Workload, arrays: Mapping[str, Array]) -> Prepared:
    """Compile without a schedule, unless the op's file has one: what a user gets who writes none."""
    op = find(workload.op)
    options = {"sizes": sizes_of(op, arrays), "dtypes": dtypes_of(op, arrays)} | {
        key: value for key, value in workload.options.items() if not key.startswith("onnx")
    }
    return called(te.build(op, consts=workload.consts, **options), workload.bound, arrays)


def called(kernel: Any, bound: tuple[str, ...], arrays: Mapping[str, Array]) -> Prepared:
    """A call of a kernel, with some of its inputs given before."""
    if bound:
        kernel = kernel.bind(**{name: arrays[name] for name in bound})
    free = [array for name, array in arrays.items() if name not in bound]
    return Prepared(lambda: kernel(*free))


def find(op: str) -> te.Op:
    """An op of the standard library, of a file, or of a text."""
    if "{" in op:
        return te.parse(op).only()
    path, separator, name = op.partition(":")
    if separator:
        return te.load(ROOT / path)[name]
    module, _, name = op.partition(".")
    return getattr(te.std, module)[name]


def sizes_of(op: te.Op, arrays: Mapping[str, Array]) -> dict[str, int]:
    """What the arrays' shapes say of the sizes that have a name."""
    found: dict[str, int] = {}
    for param in op.inputs:
        dims = list(param.type.dims or ())
        shape = arrays[param.name].shape
        pack = next((n for n, dim in enumerate(dims) if isinstance(dim, tree.Pack)), None)
        if pack is None:
            pairs = list(zip(dims, shape, strict=True))
        else:
            behind = len(dims) - pack - 1
            pairs = [*zip(dims[:pack], shape, strict=False)]
            pairs += zip(dims[pack + 1 :], shape[len(shape) - behind :], strict=True)
        found.update({dim.name: n for dim, n in pairs if isinstance(dim, tree.Name)})
    return {name: found[name] for name in op.sizes if name in found}


def dtypes_of(op: te.Op, arrays: Mapping[str, Array]) -> dict[str, str]:
    """What the arrays say of the dtypes that have a name."""
    from te.ir.types import DTYPES, numpy_dtype

    by_dtype = {numpy_dtype(dtype): str(dtype) for dtype in DTYPES.values()}
    return {
        param.type.name: by_dtype[arrays[param.name].dtype]
        for param in op.inputs
        if param.type.name in op.dtype_variables
    }
