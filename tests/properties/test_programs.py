"""Random programs mean the same to NumPy, to the interpreter and to compiled code, whatever the schedule.

`generated/` draws a program as text, together with its evaluation in NumPy, which imports nothing of te.
Integers, bools and all floats that have one right value must agree to the bit. The others must lie within the
error that `generated/reference.py` derives for them. Compiled code runs on memory between pages that nobody may
touch, on one to eight threads.
"""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, event, given, settings
from hypothesis import strategies as st

import te
from te.backends.interp.tensor import run_program
from te.diagnostics import Source
from te.elaborate.elaborate import elaborate
from te.grammar.parser import parse_file
from tests.fences import fenced_runtime, in_child, note
from tests.machines import HERE, NARROWER
from tests.properties.generated.nodes import Sizes
from tests.properties.generated.programs import Program, draw_program
from tests.properties.generated.reference import STORED, Value, differences

Arrays = dict[str, np.ndarray]
# Choices that Hypothesis draws one by one can be shrunk; those of a seed give larger programs.
CHOICES = st.randoms(use_true_random=False) | st.integers(0, 2**32 - 1).map(random.Random)
# Calls of one program, each with other sizes: a kernel serves all sizes.
CALLS = 3

COMMON = settings(deadline=None, print_blob=True, suppress_health_check=list(HealthCheck))
# Shrinking may take minutes; the thorough tests do it.
QUICK = settings(
    COMMON, max_examples=50, derandomize=True, phases=[Phase.explicit, Phase.reuse, Phase.generate]
)
THOROUGH = settings(COMMON, max_examples=1000)


@given(rng=CHOICES)
@QUICK
def test_interpreter(rng: random.Random) -> None:
    _hold_interpreter(draw_program(rng), rng)


@pytest.mark.parametrize(
    ("schedule", "target", "examples"),
    [("none", HERE, 50), ("auto", HERE, 50), *[("auto", target, 25) for target in NARROWER]],
)
def test_compiled(schedule: str, target: str, examples: int) -> None:
    _hold_many_compiled(schedule, target, settings(QUICK, max_examples=examples))


@pytest.mark.slow
@given(rng=CHOICES)
@THOROUGH
def test_interpreter_thoroughly(rng: random.Random) -> None:
    _hold_interpreter(draw_program(rng), rng)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("target", [HERE, *NARROWER])
@pytest.mark.parametrize("schedule", ["none", "auto"])
def test_compiled_thoroughly(schedule: str, target: str) -> None:
    _hold_many_compiled(schedule, target, THOROUGH)


def _hold_many_compiled(schedule: str, target: str, how: settings) -> None:
    @given(rng=CHOICES)
    @how
    def programs(rng: random.Random) -> None:
        _hold_compiled(draw_program(rng), schedule, target, rng)

    in_child(programs)


def _hold_interpreter(program: Program, rng: random.Random) -> None:
    file = parse_file(Source("<generated>", program.text))
    elaborated = elaborate(file, program.op.name, consts=program.consts)
    for _ in range(CALLS):
        sizes, arrays = draw_call(program, rng)
        hold(program, sizes, arrays, run_program(elaborated, arrays))


def _hold_compiled(program: Program, schedule: str, target: str, rng: random.Random) -> None:
    calls = [draw_call(program, rng) for _ in range(CALLS)]
    fixed = calls[0][0] if rng.choice([False, False, False, False, True]) else None
    kernel = te.build(program.text, schedule, target, op=program.op.name, consts=program.consts, sizes=fixed)
    event("fixed sizes" if fixed else "run-time sizes")
    for sizes, arrays in calls[:1] if fixed else calls:
        at_end, threads = rng.choice([True, True, False]), rng.randint(1, 8)
        te.set_num_threads(threads)
        note(f"{program.text}\nsizes = {sizes}, consts = {program.consts}, {target}, {at_end=}, {threads=}")
        with fenced_runtime(at_end=at_end) as fence:
            got = kernel(*fence.copies([arrays[t.name] for t in program.op.inputs]))
            results = got if isinstance(got, tuple) else (got,)
            named = {t.name: np.asarray(r) for t, r in zip(program.op.results, results, strict=True)}
            hold(program, sizes, arrays, named)


def draw_call(program: Program, rng: random.Random) -> tuple[Sizes, Arrays]:
    sizes = program.sizes(rng)
    return sizes, program.arrays(sizes, np.random.default_rng(rng.randrange(2**32)))


def hold(program: Program, sizes: Sizes, arrays: Arrays, got: Arrays) -> None:
    for result in program.op.results:
        assert got[result.name].dtype == STORED[result.dtype]
    for name, expected in program.evaluate(sizes, arrays).items():
        wrong = differences(got[name], expected)
        if wrong.any():
            pytest.fail(_explained(program, sizes, arrays, name, got[name], expected, wrong))


def _explained(
    program: Program,
    sizes: Sizes,
    arrays: Arrays,
    name: str,
    got: np.ndarray,
    expected: Value,
    wrong: np.ndarray,
) -> str:
    place = tuple(int(axis[0]) for axis in np.nonzero(np.atleast_1d(wrong)))[: wrong.ndim]
    error = 0 if expected.error is None else np.broadcast_to(expected.error, wrong.shape)[place]
    lines = [
        f"{name}{list(place)} is {got[place]!r}, and should be {expected.data[place]!r}, give or take {error}",
        f"({wrong.sum()} of {wrong.size} elements are wrong)",
        program.text,
        f"sizes = {sizes}, consts = {program.consts}",
        *(f"{n} = {a!r}" for n, a in arrays.items()),
    ]
    return "\n".join(lines)
