"""The schedules of `legal.py`: all are accepted, and compute what the unscheduled program does."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

import te
from te.backends import llvm
from te.backends.interp.loop import run_kernel
from te.grammar import tree
from te.ir.evaluate import evaluate
from te.ir.loop import Kernel
from te.ir.types import numpy_dtype
from te.schedule.directives import VERBS
from te.schedule.finalize import finalize
from te.schedule.nest import nest
from te.schedule.schedule import ChosenCase, read_schedule
from te.schedule.written import Written, assuming
from tests.backends.llvm_support import Block, host
from tests.schedule.legal import PROGRAMS, ROUNDED, SCHEDULES
from tests.schedule.scheduling import program, random_inputs, setting_of

CASES = [(verb, *case) for verb, cases in SCHEDULES.items() for case in cases]

# Of one element; not divided by tiles; divided by them, and sums of no terms.
SIZES = (
    {"M": 1, "N": 3, "K": 1, "P": 1, "T": 1, "C": 1, "H": 1, "W": 1, "V": 1},
    {"M": 5, "N": 9, "K": 7, "P": 3, "T": 4, "C": 2, "H": 6, "W": 7, "V": 4},
    {"M": 8, "N": 16, "K": 0, "P": 2, "T": 6, "C": 4, "H": 4, "W": 8, "V": 3},
)
BUILT = ("use", "specialize", "precompute")
NEEDED = {"vpdpbusd": "llvm.avx512_vnni", "vdpbf16ps": "llvm.avx512_bf16"}
Arrays = dict[str, np.ndarray]


@cache
def plain(name: str) -> Kernel:
    return nest(program(PROGRAMS[name], "f"))


def sizes_of(name: str, which: int) -> dict[str, int]:
    return {size: SIZES[which][size] for size in plain(name).program.sizes}


@cache
def inputs_of(name: str, which: int) -> Arrays:
    return random_inputs(plain(name).program, sizes_of(name, which), which)


@cache
def expected(name: str, which: int) -> Arrays:
    return run_kernel(plain(name), inputs_of(name, which), sizes_of(name, which))


def assert_same(found: Arrays, name: str, which: int) -> None:
    for result, wanted in expected(name, which).items():
        if name in ROUNDED:
            np.testing.assert_allclose(found[result], wanted, rtol=1e-5, atol=1e-6, err_msg=result)
        else:
            np.testing.assert_array_equal(found[result], wanted, err_msg=result)


def cases_of(text: str) -> list[ChosenCase]:
    """The cases of the schedule of `f` in a text."""
    setting = setting_of(text, "f")
    items = [i for i in setting.own.file.items if isinstance(i, tree.Schedule) and i.op == "f"]
    return read_schedule(Written(items[0], setting.own), setting)


@pytest.mark.parametrize(("verb", "name", "lines"), CASES, ids=lambda text: text.partition(";")[0])
def test_legal(verb: str, name: str, lines: str) -> None:
    target = "cuda" if verb in ("bind", "distribute") else "llvm"
    text = f"{PROGRAMS[name]}\nschedule f on {target} {{ {lines} }}"
    kernels = []
    for case in cases_of(text):
        kernel = case.schedule.apply(nest(assuming(plain(name).program, case.condition)))
        kernels.append((case.condition, kernel, finalize(kernel)))
    for which in range(len(SIZES)):
        sizes, inputs = sizes_of(name, which), inputs_of(name, which)
        kernel, final = next((k, f) for when, k, f in kernels if evaluate(when, sizes))
        assert_same(run_kernel(kernel, inputs, sizes, order="reverse"), name, which)
        assert_same(run_kernel(final, inputs, sizes, order="shuffled"), name, which)
    if verb in BUILT:
        check_built(text, name)
    elif target == "llvm" and all(host().satisfies(t) for i, t in NEEDED.items() if i in lines):
        check_compiled(kernels[0][2], name)


def check_built(text: str, name: str) -> None:
    """Cases are chosen, and stages computed ahead, by what `te.build` gives."""
    kernel = te.build(text, op="f")
    for which in range(len(SIZES)):
        found = kernel(**inputs_of(name, which))
        results = found if isinstance(found, tuple) else (found,)
        assert_same(dict(zip(plain(name).program.results, results, strict=True)), name, which)


def check_compiled(final: Kernel, name: str) -> None:
    executable = llvm.load(llvm.emit([final], host()))
    for which in range(len(SIZES)):
        sizes = sizes_of(name, which)
        tensors = [final.program.tensor(result) for result in final.program.outputs]
        results = {
            t.name: np.zeros([int(evaluate(d, sizes)) for d in t.shape], numpy_dtype(t.dtype))
            for t in tensors
        }
        arrays = inputs_of(name, which) | results
        block = Block(executable.artifact.entries[0], executable.parallel_for, arrays, sizes)
        executable(block.address)
        assert_same(results, name, which)


def test_every_verb_has_ten() -> None:
    assert set(SCHEDULES) == set(VERBS)
    few = {verb: len(cases) for verb, cases in SCHEDULES.items() if len(cases) < 10}
    assert not few
    strange = [(verb, lines) for verb, _, lines in CASES if verb not in lines]
    assert not strange
    assert len(set(CASES)) == len(CASES)
