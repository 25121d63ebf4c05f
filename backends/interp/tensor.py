"""The tensor IR on NumPy arrays: what a program means, computed as `te.ir.tensor` says it.

Data axes are computed at once, in blocks that bound the memory of temporaries.
Reduction axes are folded one point after the other in ascending order, as the
meaning of a float sum depends on it; their terms are evaluated in chunks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from math import prod

import numpy as np

from te.backends.interp.arithmetic import Value, combine, constant, fma, quietly
from te.backends.interp.evaluate import InterpreterError, evaluate, evaluate_integer
from te.backends.interp.inputs import bind_inputs, raise_failed_checks
from te.ir.expr import TRUE
from te.ir.tensor import Program, Recurrence, Reduction, Stage, fused_factors, identity
from te.ir.types import numpy_dtype

# Points evaluated at once: temporaries of 2 MiB stay in the second-level cache.
POINTS = 1 << 18


def run_program(
    program: Program, inputs: Mapping[str, np.ndarray], sizes: Mapping[str, int] | None = None
) -> dict[str, np.ndarray]:
    """The program's results, by name.

    `sizes` gives run-time sizes that are not to be taken from the inputs' shapes.
    Raises TypeError and ValueError for inputs that do not fit, IndexError for an index
    from data that lies outside, InterpreterError for a program that reads outside a tensor.
    """
    arrays, values = bind_inputs(program, inputs, sizes)
    with quietly():
        for recurrence, stages in program.groups():
            if recurrence is None:
                arrays[stages[0].name] = run_stage(stages[0], arrays, values)
            else:
                _run_recurrence(recurrence, stages, arrays, values)
    raise_failed_checks(program, arrays, values)
    return {name: arrays[name] for name in program.results}


def run_stage(stage: Stage, arrays: Mapping[str, np.ndarray], sizes: Mapping[str, int]) -> np.ndarray:
    """Every element of one stage's tensor."""
    shape = _shape(stage, sizes)
    result = np.empty(shape, numpy_dtype(stage.tensor.dtype))
    _fill(stage, result, [range(extent) for extent in shape], arrays, sizes)
    return result


def _shape(stage: Stage, sizes: Mapping[str, int]) -> tuple[int, ...]:
    shape = tuple(evaluate_integer(a.extent, sizes) for a in stage.axes)
    if shape != tuple(evaluate_integer(d, sizes) for d in stage.tensor.shape):
        raise InterpreterError(f"the axes of {stage.name} do not span its shape")
    if any(extent < 0 for extent in shape):
        raise ValueError(f"{stage.name} would have the shape {shape}")
    return shape


def _run_recurrence(
    recurrence: Recurrence, stages: Sequence[Stage], arrays: dict[str, np.ndarray], sizes: Mapping[str, int]
) -> None:
    """One point of the shared axes after the other, and there one stage after the other."""
    shapes = {stage.name: _shape(stage, sizes) for stage in stages}
    for stage in stages:
        arrays[stage.name] = np.empty(shapes[stage.name], numpy_dtype(stage.tensor.dtype))
    names = [axis.name for axis in recurrence.axes]
    for point in product(*[range(evaluate_integer(a.extent, sizes)) for a in recurrence.axes]):
        here = dict(zip(names, point, strict=True))
        for stage in stages:
            box = [
                range(here[a.name], here[a.name] + 1) if a.name in here else range(extent)
                for a, extent in zip(stage.axes, shapes[stage.name], strict=True)
            ]
            if all(r.stop <= n for r, n in zip(box, shapes[stage.name], strict=True)):
                _fill(stage, arrays[stage.name], box, arrays, sizes)


def _fill(
    stage: Stage,
    result: np.ndarray,
    box: Sequence[range],
    arrays: Mapping[str, np.ndarray],
    sizes: Mapping[str, int],
) -> None:
    """Compute the elements of a stage's tensor inside a box."""
    variables: dict[str, Value] = {name: np.int64(value) for name, value in sizes.items()}
    for block in _blocks(box):
        for axis, r in enumerate(block):
            # A leading axis is kept free for the points of a reduction.
            along = [1] * (result.ndim + 1)
            along[axis + 1] = len(r)
            variables[stage.axes[axis].name] = np.arange(r.start, r.stop).reshape(along)
        here = tuple(slice(r.start, r.stop) for r in block)
        block_shape = tuple(len(r) for r in block)
        if stage.reduction is None:
            value = evaluate(stage.value, variables, arrays)
            _check_dtype(stage, value)
            result[here] = np.broadcast_to(value, (1, *block_shape))[0]
        else:
            result[here] = _reduce(stage, stage.reduction, variables, arrays, block_shape)


def _blocks(box: Sequence[range]) -> Iterator[tuple[range, ...]]:
    """The box in pieces of at most POINTS points, whole along the inner axes as far as that goes."""
    pieces: list[list[range]] = []
    room = POINTS
    for along in reversed(box):
        step = max(1, min(len(along), room))
        room //= step
        pieces.append([along[i : i + step] for i in range(0, len(along), step)])
    return product(*reversed(pieces))


def _reduce(
    stage: Stage,
    reduction: Reduction,
    variables: Mapping[str, Value],
    arrays: Mapping[str, np.ndarray],
    shape: tuple[int, ...],
) -> Value:
    sizes = {name: int(v) for name, v in variables.items() if isinstance(v, np.integer)}
    extents = tuple(evaluate_integer(a.extent, sizes) for a in reduction.axes)
    factors = fused_factors(reduction.reducer, stage.value)
    total: Value = constant(identity(reduction.reducer, stage.tensor.dtype))
    if prod(shape) > 1:  # a single element stays a scalar, which is faster
        total = np.full(shape, total)
    chunk = max(1, POINTS // max(1, prod(shape)))
    for start in range(0, prod(extents), chunk):
        stop = min(start + chunk, prod(extents))
        points = np.unravel_index(np.arange(start, stop), extents)
        along = (stop - start, *[1] * len(shape))
        here = {
            **variables,
            **{a.name: p.reshape(along) for a, p in zip(reduction.axes, points, strict=True)},
        }
        where = None if reduction.where == TRUE else evaluate(reduction.where, here, arrays)
        if where is not None and not np.any(where):
            continue
        terms = [evaluate(e, here, arrays, where) for e in factors or (stage.value,)]
        for term in terms:
            _check_dtype(stage, term)
        rows = [_rows(t, stop - start, shape) for t in (*terms, *([] if where is None else [where]))]
        total = _fold(reduction.reducer, total, rows[: len(terms)], None if where is None else rows[-1])
    return total


def _rows(values: Value, count: int, shape: tuple[int, ...]) -> Value:
    """The values of `count` reduction points, each over all data points."""
    rows = np.broadcast_to(values, (count, *shape))
    return rows.reshape(count) if prod(shape) == 1 else rows


def _fold(reducer: str, total: Value, terms: list[Value], where: Value | None) -> Value:
    for point in range(len(terms[0])):
        taken = None if where is None else where[point]
        if taken is not None and not taken.any():
            continue
        if len(terms) == 2:
            step = fma(terms[0][point], terms[1][point], total)
        else:
            step = combine(reducer, total, terms[0][point])
        total = step if taken is None or taken.all() else np.where(taken, step, total)
    return total


def _check_dtype(stage: Stage, value: Value) -> None:
    if np.asarray(value).dtype != numpy_dtype(stage.tensor.dtype):
        raise InterpreterError(f"{stage.name} is {stage.tensor.dtype}, its value {np.asarray(value).dtype}")
