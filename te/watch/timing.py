"""How long an op takes with one schedule and another, measured fairly.

Each round measures every kernel once, in an order drawn anew, so that what the machine does meanwhile
(other programs, its temperature) falls on all of them alike. Medians of the rounds are compared.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Any

import numpy as np

from te.ir.evaluate import evaluate
from te.ir.tensor import Program
from te.ir.types import DType, numpy_dtype

__all__ = ["medians", "random_inputs"]

SMALL = 8  # integers are drawn below this: sums of products of them fit even into i16


def medians(stopwatches: Sequence[Callable[[], float]], rounds: int) -> list[float]:
    """The median of what each stopwatch measures, in the unit that they measure in.

    >>> medians([lambda: 1.0, lambda: 2.0], rounds=3)
    [1.0, 2.0]
    """
    order = list(range(len(stopwatches)))
    draw = random.Random(0)
    measured: list[list[float]] = [[] for _ in stopwatches]
    for _ in range(rounds):
        draw.shuffle(order)
        for number in order:
            measured[number].append(stopwatches[number]())
    return [median(times) for times in measured]


def random_inputs(
    program: Program, sizes: Mapping[str, int], seed: int = 0
) -> dict[str, np.ndarray[Any, Any]]:
    """An array for each input: floats near 0, small whole numbers, which may be indices, and truth values.

    Raises ValueError for sizes that give an input a negative extent.
    """
    rng = np.random.default_rng(seed)
    arrays = {}
    for tensor in program.inputs:
        shape = tuple(int(evaluate(extent, sizes)) for extent in tensor.shape)
        if min(shape, default=0) < 0:
            raise ValueError(
                f"{program.name}: with these sizes the input `{tensor.name}` has the shape {shape}"
            )
        arrays[tensor.name] = _random_array(rng, shape, tensor.dtype)
    return arrays


def _random_array(rng: np.random.Generator, shape: tuple[int, ...], dtype: DType) -> np.ndarray[Any, Any]:
    if dtype.kind == "bool":
        return rng.random(shape) < 0.5
    if dtype.is_float:
        return np.asarray(rng.standard_normal(shape, np.float32)).astype(numpy_dtype(dtype))
    return rng.integers(0, SMALL, shape).astype(numpy_dtype(dtype))
