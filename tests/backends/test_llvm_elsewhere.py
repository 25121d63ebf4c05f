"""Code for AArch64 under an emulator, and code for AVX2 under valgrind: many kernels in one run of one program.

AArch64: memory between pages that nobody may touch. Valgrind: memory from `malloc`, exactly as long as arguments
and results are, results not initialised: no byte outside is touched, and none decides anything, or is a result,
before something was stored to it.
"""

from __future__ import annotations

import random
import shutil
from importlib import import_module
from itertools import chain
from pathlib import Path

import numpy as np
import pytest

import te
from tests.backends.elsewhere import Machine, elsewhere, given
from tests.machines import NATIVE
from tests.properties.generated.programs import draw_program
from tests.properties.test_programs import draw_call, hold
from tests.std import comparing

FILES = "attention conv linalg math nn quant recurrent reduce tensor"
MODULES = [import_module(f"tests.std.test_{name}") for name in FILES.split()]
CASES: list[comparing.Case] = list(chain.from_iterable(module.CASES for module in MODULES))

AARCH64 = "aarch64-linux-gnu-gcc -static"
VALGRIND = "valgrind --quiet --error-exitcode=9 --leak-check=no"

needs_qemu = pytest.mark.skipif(
    not (shutil.which("qemu-aarch64") and shutil.which(AARCH64.split()[0])),
    reason="needs qemu-aarch64 and aarch64-linux-gnu-gcc with its C library",
)
needs_valgrind = pytest.mark.skipif(
    not (shutil.which("valgrind") and shutil.which("gcc") and "llvm.avx2" in NATIVE),
    reason="needs valgrind, gcc and a machine with AVX2",
)


def call_std(machine: Machine, case: comparing.Case, schedule: str, dtype: str) -> None:
    kernel = comparing.build(case, schedule, dtype)
    for arrays in comparing.arguments(case, dtype):
        found = kernel(*given(machine, arrays))
        machine.later(lambda arrays=arrays, found=found: comparing.check(case, arrays, found, dtype))


def call_program(machine: Machine, seed: int) -> None:
    rng = random.Random(seed)
    program = draw_program(rng)
    kernel = te.build(program.text, "auto" if seed % 3 else "none", op=program.op.name, consts=program.consts)
    for _ in range(2):
        sizes, arrays = draw_call(program, rng)
        got = kernel(*given(machine, [arrays[t.name] for t in program.op.inputs]))
        results = got if isinstance(got, tuple) else (got,)
        named = {t.name: np.asarray(r) for t, r in zip(program.op.results, results, strict=True)}
        machine.later(lambda s=sizes, a=arrays, n=named: hold(program, s, a, n))


def call_many(target: str, part: int, parts: int, programs: range) -> Machine:
    """Every op of the library that falls to this part, and random programs."""
    with elsewhere(target) as machine:
        for case in CASES[part::parts]:
            call_std(machine, case, "auto", case.dtypes[-1])
        for seed in programs:
            call_program(machine, seed)
    return machine


# Debian: qemu-user, gcc-aarch64-linux-gnu, libc6-dev-arm64-cross.
@pytest.mark.qemu
@needs_qemu
def test_aarch64(tmp_path: Path) -> None:
    machine = call_many("llvm.neon", 3, 20, range(15))
    machine.run(tmp_path, AARCH64, "qemu-aarch64", "fenced")


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.qemu
@needs_qemu
@pytest.mark.parametrize("part", range(4))
def test_aarch64_thoroughly(part: int, tmp_path: Path) -> None:
    machine = call_many("llvm.neon", part, 4, range(100 + 50 * part, 150 + 50 * part))
    machine.run(tmp_path, AARCH64, "qemu-aarch64", "fenced")


@pytest.mark.slow
@pytest.mark.timeout(1800)
@needs_valgrind
@pytest.mark.parametrize("target", ["llvm.avx2", "llvm.sse2"])
@pytest.mark.parametrize("part", range(4))
def test_valgrind(part: int, target: str, tmp_path: Path) -> None:
    machine = call_many(target, part, 4, range(1000 + 25 * part, 1025 + 25 * part))
    machine.run(tmp_path, "gcc", VALGRIND, "malloc")
