"""Every op of the standard library with its automatic schedule for GPUs: in parallel, and right at ragged sizes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np
import pytest

import te
from te.backends.cuda.emulator.executable import Emulation, emulating
from te.backends.interp.tensor import run_program
from te.ir.expr import integer
from te.runtime.generic import GenericKernel
from te.runtime.kernel import Kernel
from te.target import EMULATED
from te.watch.drawn_sizes import draw_sizes
from te.watch.timing import random_inputs
from tests.backends.emulator.running import needs_gxx
from tests.std.comparing import Array, example, find
from tests.std.test_library import OPS

QUICK = OPS[::16]
EACH = pytest.mark.parametrize(
    "op", [pytest.param(op, marks=() if op in QUICK else pytest.mark.slow) for op in OPS], ids=OPS
)
CALLS = 2
SEED = 6
MOST_OPERATIONS = 20_000

# Ops with launches of one thread, each with its reason. Those of one element are none of them.
ONE_THREAD = {
    "linalg.solve_lower": "each element waits for the one before it",
}


def built(op: str, target: str) -> Kernel:
    found = find(op)
    shown = example(found)
    assert shown is not None
    kernel = te.build(found, "auto", target, consts=shown.consts)
    return kernel.specialized() if isinstance(kernel, GenericKernel) else kernel


@EACH
def test_each_launch_has_threads(op: str) -> None:
    kernel = built(op, "cuda.sm_80")
    launches = kernel.ir("cuda").split('extern "C" __global__')[1:]
    threads = [int(re.search(r"__launch_bounds__\((\d+)\)", text)[1]) for text in launches]  # type: ignore[index]
    of_one_element = [
        stage
        for stage in kernel.program.stages
        if stage.reduction is None and all(axis.extent == integer(1) for axis in stage.axes)
    ]
    if op not in ONE_THREAD:
        assert threads.count(1) <= len(of_one_element)


class TestAtRaggedSizes:
    pytestmark = needs_gxx

    @EACH
    def test_it_is_right(self, op: str) -> None:
        kernel = built(op, EMULATED)
        drawn = draw_sizes(kernel.program, kernel.conditions, CALLS, SEED, most_operations=MOST_OPERATIONS)
        for number, choices in enumerate(drawn):
            for sizes in choices:
                inputs, expected = answered(kernel, random_inputs(kernel.program, sizes, seed=number))
                with emulating(Emulation(orders=(0, 1, number + 2))):
                    found = kernel(**inputs)
                for have, want in zip(found if isinstance(found, tuple) else (found,), expected, strict=True):
                    close(np.asarray(have), want)


def answered(kernel: Kernel, inputs: Mapping[str, Array]) -> tuple[Mapping[str, Array], Sequence[Array]]:
    """Inputs, and what the interpreter makes of them; where they are no indices, zeros in their place."""
    try:
        found = run_program(kernel.program, inputs)
    except IndexError:
        inputs = {n: np.zeros_like(a) if a.dtype.kind in "iu" else a for n, a in inputs.items()}
        found = run_program(kernel.program, inputs)
    return inputs, [found[name] for name in kernel.program.results]


def close(found: Array, expected: Array) -> None:
    assert found.shape == expected.shape
    if found.dtype.kind in "iub":
        np.testing.assert_array_equal(found, expected)
    else:
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)
