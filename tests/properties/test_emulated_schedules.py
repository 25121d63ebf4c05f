"""Random schedules on GPUs: what is emitted runs in the emulator without findings, and gives what the op means.

Inputs are as in `test_random_schedules`: whole numbers, of which sums are exact in any order.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import Phase, assume, given, seed, settings
from hypothesis import strategies as st

from te.backends.cuda.artifact import emit_artifact
from te.backends.cuda.emulator.executable import EmulatedExecutable, Emulation, emulating
from te.backends.cuda.emulator.findings import EmulationError
from te.backends.interp.inputs import table_array
from te.backends.interp.loop import run_kernel
from te.diagnostics import ScheduleError
from te.ir.evaluate import evaluate
from te.ir.loop import Kernel
from te.ir.print import print_kernel
from te.ir.types import numpy_dtype
from te.schedule.finalize import finalize
from te.target import EMULATED, parse_target
from tests.backends.emulator.running import needs_gxx
from tests.properties.generated.gpu_schedules import gpu_schedules_of
from tests.properties.test_random_schedules import PLAIN, ROUNDED, assert_same, whole_numbers

pytestmark = needs_gxx

GPU = {name: replace(plain, target="cuda.sm_80") for name, plain in PLAIN.items()}


def emulated(kernel: Kernel, inputs: dict[str, np.ndarray], sizes: dict[str, int]) -> dict[str, np.ndarray]:
    """The results of a final kernel. Raises EmulationError for what is found wrong."""
    artifact = emit_artifact([kernel], parse_target(EMULATED), has_lines=False, has_fast_math=False)
    program = artifact.programs[0]
    arrays = {name: np.ascontiguousarray(array) for name, array in inputs.items()}
    arrays |= {t.tensor.name: table_array(t) for t in kernel.program.tables}
    for argument in program.arguments:
        if argument.name not in arrays:
            shape = [int(evaluate(extent, sizes)) for extent in argument.shape]
            arrays[argument.name] = np.zeros(shape, numpy_dtype(argument.dtype))
    addresses = [arrays[argument.name].ctypes.data for argument in program.arguments]
    found = EmulatedExecutable(artifact).run(program, addresses, [sizes[name] for name in program.sizes])
    if found:
        raise EmulationError(found)
    return {name: arrays[name] for name in kernel.program.results}


@pytest.mark.parametrize("part", range(4))
def test_random_schedules_on_a_gpu(part: int) -> None:
    check_many(part, 5)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("part", range(20))
def test_many_random_schedules_on_a_gpu(part: int) -> None:
    check_many(1000 + part, 200)


def check_many(part: int, examples: int) -> None:
    accepted: Counter[str] = Counter()

    @seed(part)
    @settings(max_examples=examples, phases=[Phase.generate])
    @given(st.sampled_from(sorted(GPU)), st.data())
    def schedules(name: str, data: st.DataObject) -> None:
        check(name, data)

    schedules()
    print(accepted)


def draw_sizes(data: st.DataObject, kernel: Kernel, *, are_small: bool) -> dict[str, int]:
    """Sizes of which one, unless they `are_small`, may be several tiles."""
    names = kernel.program.sizes
    sizes = {name: data.draw(st.integers(0, 9), label=name) for name in names}
    if names and not are_small and data.draw(st.booleans(), label="with a larger one"):
        sizes[data.draw(st.sampled_from(names), label="of")] = data.draw(
            st.sampled_from([17, 32, 33, 64, 70])
        )
    assume(all(evaluate(r.condition, sizes) for r in kernel.program.requirements))
    return sizes


def check(name: str, data: st.DataObject) -> None:
    plain = GPU[name]
    drawn = data.draw(gpu_schedules_of(plain), label="schedule")
    sizes = draw_sizes(data, plain, are_small=name in ROUNDED)  # errors grow with sums
    inputs = whole_numbers(plain, sizes, data.draw(st.integers(0, 99), label="seed"))
    orders = data.draw(st.sampled_from([(0, 1), (1, 5), (0, 7)]), label="orders")
    try:
        final = finalize(drawn.kernel)
    except ScheduleError:  # only the whole schedule shows whether a GPU can run it
        return
    expected = run_kernel(plain, inputs, sizes)
    with emulating(Emulation(orders, seconds=20)):
        try:
            found = emulated(final, inputs, sizes)
        except Exception as wrong:
            wrong.add_note(f"{sizes}\n{print_kernel(final)}")
            raise
    assert_same(found, expected, exact=name not in ROUNDED)
