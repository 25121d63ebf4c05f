"""What a caller hands to the interpreter, checked against the program's signature."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from te.backends.interp.evaluate import evaluate_integer
from te.ir.checks import failure
from te.ir.expr import Var
from te.ir.print import print_expr
from te.ir.tensor import NOWHERE, Program, Table
from te.ir.types import numpy_dtype


def bind_inputs(
    program: Program, inputs: Mapping[str, np.ndarray], sizes: Mapping[str, int] | None
) -> tuple[dict[str, np.ndarray], dict[str, int]]:
    """The input arrays and the value of every size, which the arrays' shapes give where `sizes` does not.

    Raises TypeError for a missing, unknown or wrongly typed input, ValueError for a shape or a
    precondition that does not hold.
    """
    wanted = {t.name for t in program.inputs}
    if wanted != set(inputs):
        raise TypeError(f"{program.name} takes the inputs {sorted(wanted)}, not {sorted(inputs)}")
    arrays = {t.name: np.asarray(inputs[t.name]) for t in program.inputs}
    for t in program.inputs:
        array = arrays[t.name]
        if array.dtype != numpy_dtype(t.dtype):
            raise TypeError(f"{program.name}: {t.name} holds {array.dtype}, not {t.dtype}")
        if array.ndim != len(t.shape):
            raise ValueError(f"{program.name}: {t.name} has {array.ndim} axes, not {len(t.shape)}")
    values = _sizes(program, arrays, sizes or {})
    _check_shapes(program, arrays, values)
    for requirement in program.requirements:
        if not evaluate_integer(requirement.condition, values):
            raise ValueError(f"{program.name} requires {requirement.text}")
    arrays |= {t.tensor.name: table_array(t) for t in program.tables}
    return arrays, values


def table_array(table: Table) -> np.ndarray:
    """A constant tensor's values."""
    shape = [evaluate_integer(d, {}) for d in table.tensor.shape]
    return np.array(table.values, dtype=numpy_dtype(table.tensor.dtype)).reshape(shape)


def raise_failed_checks(program: Program, arrays: Mapping[str, np.ndarray], sizes: Mapping[str, int]) -> None:
    """Raise IndexError for the first check that found a read outside its tensor."""
    for check in program.checks:
        position = int(arrays[check.stage])
        if position != NOWHERE:
            raise IndexError(failure(program.name, check, position, sizes))


def _sizes(program: Program, arrays: Mapping[str, np.ndarray], given: Mapping[str, int]) -> dict[str, int]:
    values = {name: int(given[name]) for name in program.sizes if name in given}
    for t in program.inputs:
        for dimension, extent in zip(t.shape, arrays[t.name].shape, strict=True):
            if isinstance(dimension, Var):
                values.setdefault(dimension.name, extent)
    unknown = [name for name in program.sizes if name not in values]
    if unknown:
        raise ValueError(f"{program.name}: no input gives the size {unknown[0]}")
    return values


def _check_shapes(program: Program, arrays: Mapping[str, np.ndarray], values: Mapping[str, int]) -> None:
    for t in program.inputs:
        for axis, (dimension, extent) in enumerate(zip(t.shape, arrays[t.name].shape, strict=True)):
            expected = evaluate_integer(dimension, values)
            if extent != expected:
                raise ValueError(
                    f"{program.name}: axis {axis} of {t.name} is {extent}, "
                    f"and {print_expr(dimension)} is {expected}"
                )
