"""Random programs, emitted as CUDA C++ and emulated, mean what NumPy says they do. See `test_programs`."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings

import te
from te.target import EMULATED
from tests.backends.emulator.running import needs_gxx
from tests.properties.generated.programs import draw_program
from tests.properties.test_programs import CALLS, CHOICES, QUICK, THOROUGH, draw_call, hold

pytestmark = needs_gxx


@given(rng=CHOICES)
@settings(QUICK, max_examples=8)
def test_programs(rng: random.Random) -> None:
    hold_emulated(rng)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@given(rng=CHOICES)
@THOROUGH
def test_programs_thoroughly(rng: random.Random) -> None:
    hold_emulated(rng)


def hold_emulated(rng: random.Random) -> None:
    program = draw_program(rng)
    kernel = te.build(program.text, "auto", EMULATED, op=program.op.name, consts=program.consts)
    for _ in range(CALLS):
        sizes, arrays = draw_call(program, rng)
        got = kernel(*[arrays[t.name] for t in program.op.inputs])
        results = got if isinstance(got, tuple) else (got,)
        named = {t.name: np.asarray(r) for t, r in zip(program.op.results, results, strict=True)}
        hold(program, sizes, arrays, named)
