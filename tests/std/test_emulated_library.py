"""The examples of the standard library's doc texts as they are emitted for a GPU, in the emulator."""

from __future__ import annotations

import pytest

from te.backends.cuda.emulator.executable import Emulation, emulating
from te.target import EMULATED
from tests.backends.emulator.running import needs_gxx
from tests.std.comparing import example, find, run_example
from tests.std.test_library import OPS

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
