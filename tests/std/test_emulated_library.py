"""The examples of the standard library's doc texts as they are emitted for a GPU, in the emulator."""

from __future__ import annotations

import importlib

import pytest

from te.backends.cuda.emulator.executable import Emulation, emulating
from te.target import EMULATED
from tests.backends.emulator.running import needs_gxx
from tests.std.comparing import Case, arguments, build, check, example, find, run_example
from tests.std.test_library import OPS, TESTED_IN

pytestmark = needs_gxx

# g++ takes 0.2 s for each.
QUICK = OPS[::16]


@pytest.mark.parametrize(
    "op", [pytest.param(op, marks=() if op in QUICK else pytest.mark.slow) for op in OPS], ids=OPS
)
def test_the_example_is_right_on_a_gpu(op: str) -> None:
    found = find(op)
    shown = example(found)
    assert shown is not None
    with emulating(Emulation(orders=(0, 1))):
        run_example(found, shown, "auto", EMULATED)


CASES = [case for name in TESTED_IN for case in importlib.import_module(f"tests.std.test_{name}").CASES]


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=str)
def test_an_op_is_its_formula_on_a_gpu(case: Case) -> None:
    dtype = "f32" if "f32" in case.dtypes else case.dtypes[0]
    kernel = build(case, "auto", dtype, EMULATED)
    for arrays in arguments(case, dtype):
        check(case, arrays, kernel(*arrays), dtype)
