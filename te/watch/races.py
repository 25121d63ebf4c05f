"""What is wrong with an op's schedules on a GPU, written or automatic, as the emulator sees it: races, bounds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from te.backends.cuda.emulator.executable import Emulation, emulating
from te.backends.cuda.emulator.findings import EmulationError, Finding
from te.build import build
from te.grammar import tree
from te.module import Module, Op
from te.runtime.generic import GenericKernel
from te.runtime.kernel import Kernel
from te.target import EMULATED, parse_target
from te.watch.drawn_sizes import draw_sizes
from te.watch.timing import random_inputs

__all__ = ["Examined", "examine", "ops_for_gpus"]

ORDERS = (0, 1, 2, 3)  # forward, backward, two shufflings
CALLS = 2  # for each schedule of an op


@dataclass(frozen=True, slots=True)
class Examined:
    """One call of an op: the sizes that were drawn, and what was found. No sizes: none were found to try."""

    op: str
    schedule: int  # the number of the schedule that it used, of those of the build
    sizes: Mapping[str, int] | None
    findings: tuple[Finding, ...]


def ops_for_gpus(module: Module) -> list[Op]:
    """The ops of a module that have a schedule on a GPU in it, and those that can be built without being told more."""
    levels = parse_target(EMULATED).levels
    scheduled = {
        item.op for item in module.file.items if isinstance(item, tree.Schedule) and item.target in levels
    }
    return [op for op in module if op.name in scheduled or not _asks_for_a_const(op)]


def _asks_for_a_const(op: Op) -> bool:
    return any(p.kind == "const" and p.default is None for p in op.tree.params)


def examine(op: Op, *, seconds: float = 60.0) -> Iterator[Examined]:
    """Call an op with small random inputs in the emulator, under several orders of threads.

    Dtype variables take their first dtype. Raises CompileError for what does not compile, ValueError for a
    `const` without a value, and CudaUnavailable without g++.
    """
    built = build(op, target=EMULATED)
    kernel = built.specialized() if isinstance(built, GenericKernel) else built
    drawn = draw_sizes(kernel.program, kernel.conditions, CALLS)
    for number, choices in enumerate(drawn):
        if not choices:
            yield Examined(op.name, number, None, ())
        for sizes in choices:
            with emulating(Emulation(ORDERS, seconds=seconds)):
                yield Examined(op.name, number, sizes, _findings(kernel, sizes))


def _findings(kernel: Kernel, sizes: Mapping[str, int]) -> tuple[Finding, ...]:
    inputs = random_inputs(kernel.program, sizes)
    try:
        try:
            kernel(**inputs)
        except IndexError:  # indices from data: the first element is there
            kernel(**{name: _first_index(a) for name, a in inputs.items()})
    except EmulationError as wrong:
        return wrong.findings
    return ()


def _first_index(array: np.ndarray) -> np.ndarray:
    return np.zeros_like(array) if array.dtype.kind in "iu" else array
