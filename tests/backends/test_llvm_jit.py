"""Artifacts and loaded code: what they hold, limits, and that nothing is left behind."""

from __future__ import annotations

import dataclasses
import gc
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import llvmlite.binding as binding
import numpy as np
import pytest

from te.backends import llvm
from te.backends.llvm.compile import compile_text
from te.diagnostics import ScheduleError
from te.ir.expr import Const, Op, Var, add, integer, mul
from te.ir.loop import SCHEDULED, Buffer, Kernel
from te.ir.types import F32
from te.target import parse_target
from tests.backends.llvm_support import Block, argument, host, kernel, load, loop, run, store
from tests.backends.test_llvm_registers import matmul
from tests.backends.test_llvm_threads import row_sums


def plus(value: float, name: str = "plus") -> Kernel:
    x, y = argument("X", F32, "N"), argument("Y", F32, "N")
    body = loop("i", "N", store(y, ["i"], Op("+", (load(x, "i"), Const(value, F32)), F32)))
    return kernel([x, y], ["Y"], body, ["N"], name=name)


def test_several_kernels_in_one_artifact() -> None:
    """Names may be those of C functions, or equal."""
    names = ["exp", "malloc", "malloc", "f.g", "größe"]
    kernels = [plus(float(n), name) for n, name in enumerate(names)]
    artifact = llvm.emit(kernels, host())
    assert [entry.name for entry in artifact.entries] == names
    assert len({entry.symbol for entry in artifact.entries}) == len(names)
    executable = llvm.load(artifact)
    for n, entry in enumerate(artifact.entries):
        arrays = {"X": np.arange(5, dtype=np.float32), "Y": np.zeros(5, np.float32)}
        block = Block(entry, executable.parallel_for, arrays, {"N": 5})
        executable(block.address, n)
        np.testing.assert_array_equal(arrays["Y"], arrays["X"] + n)


def test_artifacts_do_not_change() -> None:
    artifact = llvm.emit([plus(1.0)], host())
    with pytest.raises(dataclasses.FrozenInstanceError):
        artifact.text = ""  # type: ignore[misc]
    assert artifact.object is artifact.object
    assert artifact.object[1:4] == b"ELF"
    assert "te_plus:" in artifact.asm()
    assert artifact == llvm.emit([plus(1.0)], host())


def test_only_final_kernels_are_taken() -> None:
    with pytest.raises(ValueError, match="takes final kernels"):
        llvm.emit([dataclasses.replace(plus(1.0), level=SCHEDULED)], host())


def test_loops_of_other_machines_are_refused() -> None:
    y = argument("Y", F32, 4)
    with pytest.raises(ValueError, match=r"bound to block\.x, which a CPU does not have"):
        llvm.emit([kernel([y], ["Y"], loop("i", 4, store(y, ["i"], Const(0.0, F32)), "block.x"))], host())


def test_memory_is_not_allocated_inside_parallel_loops() -> None:
    from te.ir.loop import Alloc

    y = argument("Y", F32, 4)
    inside = Alloc(Buffer("B", F32, (integer(4),), "global"), store(y, ["i"], Const(0.0, F32)))
    with pytest.raises(ValueError, match="inside the parallel loop `i`"):
        llvm.emit([kernel([y], ["Y"], loop("i", 4, inside, "parallel"))], host())


def test_code_for_another_machine_is_not_loaded() -> None:
    artifact = llvm.emit([plus(1.0)], dataclasses.replace(parse_target("llvm"), is_native=False))
    assert artifact.asm()
    with pytest.raises(ValueError, match="this machine cannot run"):
        llvm.load(artifact)


def test_too_much_code_is_refused_early() -> None:
    """While it is written, before LLVM sees it; the message names the loops."""
    y = argument("Y", F32, 4096, 4096)
    value = Op("*", (Const(1.5, F32), load(y, "j", "i")), F32)
    body = loop("i", 4096, loop("j", 4096, store(y, ["i", "j"], value), "unrolled"), "unrolled")
    with pytest.raises(ScheduleError) as caught:
        llvm.emit([kernel([y], ["Y"], body)], host())
    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.code == "code-too-large"
    assert "`i` (4096 trips), `j` (4096 trips)" in diagnostic.message


def test_vectors_of_any_width() -> None:
    for lanes in [*range(2, 40), 63, 64, 65, 127, 128, 255, 256]:
        x, y = argument("X", F32, lanes * 2), argument("Y", F32, lanes * 2)
        i = add(mul(Var("o"), integer(lanes)), Var("v"))
        value = Op("+", (load(x, i), Const(1.0, F32)), F32)
        arrays = {"X": np.arange(2 * lanes, dtype=np.float32), "Y": np.zeros(2 * lanes, np.float32)}
        run(kernel([x, y], ["Y"], loop("o", 2, loop("v", lanes, store(y, [i], value), "vector"))), arrays)
        np.testing.assert_array_equal(arrays["Y"], arrays["X"] + 1)


def test_threads_compile_and_run_at_once() -> None:
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for step in range(5):
                arrays = {"X": np.arange(100, dtype=np.float32), "Y": np.zeros(100, np.float32)}
                run(plus(float(10 * number + step)), arrays, {"N": 100})
                np.testing.assert_array_equal(arrays["Y"], arrays["X"] + 10 * number + step)
        except BaseException as e:
            failures.append(e)

    workers = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not failures


def test_code_lives_as_long_as_its_executable() -> None:
    executables = [llvm.load(llvm.emit([plus(float(n))], host())) for n in range(20)]
    del executables[::2]
    gc.collect()
    for executable, value in zip(executables, range(1, 20, 2), strict=True):
        arrays = {"X": np.zeros(3, np.float32), "Y": np.zeros(3, np.float32)}
        block = Block(executable.artifact.entries[0], executable.parallel_for, arrays, {"N": 3})
        executable(block.address)
        assert arrays["Y"].tolist() == [value] * 3


# ---------------------------------------------------------------- memory


def resident() -> int:
    """This process's memory, in bytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


def growth(builds: int) -> float:
    """Bytes that building, calling and dropping a kernel leaves behind."""

    def build(number: int) -> None:
        k = matmul(2, 1, 8) if number % 3 == 0 else row_sums() if number % 3 == 1 else plus(float(number))
        executable = llvm.load(llvm.emit([k], host()))
        if number % 3 == 2:
            arrays = {"X": np.zeros(3, np.float32), "Y": np.zeros(3, np.float32)}
            block = Block(executable.artifact.entries[0], 0, arrays, {"N": 3})
            executable(block.address)

    for number in range(60):
        build(number)
    gc.collect()
    before = resident()
    for number in range(builds):
        build(number)
    gc.collect()
    return (resident() - before) / builds


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads /proc")
def test_dropped_kernels_leave_nothing_behind() -> None:
    assert growth(300) < 2000


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads /proc")
def test_ten_thousand_dropped_kernels_leave_nothing_behind() -> None:
    assert growth(10_000) < 400


def test_importing_the_backend_does_not_load_llvm() -> None:
    program = "import sys, te.backends.llvm, te.target, te.backends.base; print('llvmlite' in sys.modules)"
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=root)
    assert done.stdout == "False\n", done.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_compiles_though_another_thread_was_compiling() -> None:
    """A fork waits until LLVM's locks are open: in the child nobody would open them."""
    text = llvm.emit([plus(1.0)], host()).text
    stop = threading.Event()

    def compile_on() -> None:
        while not stop.is_set():
            compile_text(text, host())

    thread = threading.Thread(target=compile_on)
    thread.start()
    try:
        for _ in range(20):
            child = os.fork()
            if not child:
                signal.alarm(20)  # ends a child that waits
                compile_text(text, host())
                os._exit(0)
            assert os.waitpid(child, 0)[1] == 0
    finally:
        stop.set()
        thread.join()


def test_others_who_use_llvm_get_the_code_that_they_expect() -> None:
    text = llvm.emit([matmul(4, 2, 8)], host()).text
    before = plain_object(text)
    binding.set_option("test", "-disable-lsr=true")
    try:
        without = plain_object(text)
    finally:
        binding.set_option("test", "-disable-lsr=false")
    compile_text(text, host())
    assert before == plain_object(text) != without


def plain_object(text: str) -> bytes:
    """What LLVM makes of the text with its options as they are."""
    target = host()
    machine = binding.Target.from_triple(binding.get_process_triple()).create_target_machine(
        cpu=target.cpu, features=target.features, opt=3, reloc="pic"
    )
    module = binding.parse_assembly(text, context=binding.create_context())
    return bytes(machine.emit_object(module))
