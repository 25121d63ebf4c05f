"""Parallel loops: right with any number of threads, from several threads, after a fork, at the end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import te
from te.backends import llvm
from te.backends.llvm import threads
from te.backends.llvm.fork_join import has_native_workers
from te.ir.expr import Cast, Const, Expr, Op, Var, add, integer, minimum, mul, sub
from te.ir.loop import Alloc, Buffer, Kernel, Let, Stmt, seq
from te.ir.types import F32, F64, I64
from tests.backends.llvm_support import (
    Block,
    accumulate,
    argument,
    evaluate,
    host,
    kernel,
    load,
    loop,
    registers,
    run,
    store,
)

ROOT = Path(__file__).parents[2]
NEEDS_NATIVE = pytest.mark.skipif(
    not has_native_workers(), reason="needs Linux on a machine whose futex is known"
)


NATIVE = [pytest.param(True, id="native", marks=NEEDS_NATIVE), pytest.param(False, id="portable")]


@pytest.fixture(autouse=True, params=NATIVE)
def is_native(request: pytest.FixtureRequest) -> Iterator[bool]:
    """Four threads, whose helpers run native code or Python."""
    before = threads.num_threads()
    threads.set_num_threads(4)
    threads._start(native=request.param)
    yield request.param
    threads._start(native=has_native_workers())
    threads.set_num_threads(before)


def row_sums() -> Kernel:
    """Y[i] = i + sum of X[i, :], each row by whoever takes it."""
    x, y = argument("X", F64, "M", "N"), argument("Y", F64, "M")
    s = registers("s", F64)
    body = Alloc(
        s,
        seq(
            store(s, [], Cast(Var("i"), F64)),
            loop("j", "N", accumulate(s, [], "sum", load(x, "i", "j"))),
            store(y, ["i"], load(s)),
        ),
    )
    return kernel([x, y], ["Y"], loop("i", "M", body, "parallel"), ["M", "N"])


def check_rows(m: int, n: int) -> None:
    x = np.random.default_rng(0).integers(0, 9, (m, n)).astype(np.float64)
    arrays = {"X": x, "Y": np.zeros(m)}
    run(row_sums(), arrays, {"M": m, "N": n})
    np.testing.assert_array_equal(arrays["Y"], x.sum(axis=1) + np.arange(m))


@pytest.mark.parametrize("count", [1, 2, 3, 16])
def test_results_do_not_depend_on_the_number_of_threads(count: int) -> None:
    threads.set_num_threads(count)
    assert threads.num_threads() == count
    for m in (0, 1, 2, 3, 17, 1000):
        check_rows(m, 3000 if m < 100 else 300)


def test_little_work_stays_in_the_calling_thread() -> None:
    """Nobody is asked to help: a call with threads would take ten times as long as the work."""
    threads._start(native=False)
    executable = llvm.load(llvm.emit([row_sums()], host()))
    arrays = {"X": np.ones((4, 4)), "Y": np.zeros(4)}
    block = Block(executable.artifact.entries[0], executable.parallel_for, arrays, {"M": 4, "N": 4})
    runtime = threads._runtime
    assert runtime is not None
    seen: list[int] = []
    callback = threads._TOKEN_FUNCTION(seen.append)
    before = runtime.put.value
    runtime.put.value = threads.ctypes.cast(callback, threads.ctypes.c_void_p).value
    try:
        executable(block.address)
        assert not seen
        big = {"X": np.ones((4000, 100)), "Y": np.zeros(4000)}
        block = Block(executable.artifact.entries[0], executable.parallel_for, big, {"M": 4000, "N": 100})
        executable(block.address)  # nobody helps, and it ends all the same
        assert len(seen) == 3
        np.testing.assert_array_equal(big["Y"], 100 + np.arange(4000))
    finally:
        runtime.put.value = before


def test_a_parallel_loop_inside_others() -> None:
    """It sees the loops, names and registers around it; a parallel loop inside it runs serially."""
    x, y = argument("X", F32, "M", "N"), argument("Y", F32, 3, "M", "N")
    s = registers("s", F32, 2)
    scaled: Expr = Op("*", (load(s, 1), load(x, "row", "j")), F32)
    inner = loop("j", "N", store(y, ["t", "row", "j"], scaled), "parallel")
    body: Stmt = seq(
        store(s, [1], Cast(Var("t"), F32)),
        loop("i", "M", Let("row", sub(sub(Var("M"), integer(1)), Var("i")), Var("M"), inner), "parallel"),
    )
    k = kernel([x, y], ["Y"], loop("t", 3, Alloc(s, body)), ["M", "N"])
    data = np.random.default_rng(0).random((200, 700)).astype(np.float32)
    arrays = {"X": data, "Y": np.zeros((3, 200, 700), np.float32)}
    run(k, arrays, {"M": 200, "N": 700})
    for t in range(3):
        np.testing.assert_array_equal(arrays["Y"][t], np.float32(t) * data)


def test_a_parallel_loop_over_a_triangle() -> None:
    """The estimate of the work takes a middle row, also for the parallel loop itself."""
    x, y = argument("X", F32, "N", "N"), argument("Y", F32, "N", "N")
    row = loop("j", add(Var("i"), integer(1)), store(y, ["i", "j"], load(x, "i", "j")))
    k = kernel([x, y], ["Y"], loop("i", "N", row, "parallel"), ["N"])
    for n in (0, 1, 300):
        arrays = {"X": np.ones((n, n), np.float32), "Y": np.zeros((n, n), np.float32)}
        run(k, arrays, {"N": n})
        np.testing.assert_array_equal(arrays["Y"], np.tri(n))


def test_vectors_inside() -> None:
    x, y = argument("X", F32, "N"), argument("Y", F32, "N")
    i = add(mul(Var("o"), integer(64)), Var("v"))
    clamped = minimum(i, sub(Var("N"), integer(1)))
    chunk = loop("v", 64, store(y, [clamped], Op("+", (load(x, clamped), Const(1.0, F32)), F32)), "vector")
    count = Op("//", (add(Var("N"), integer(63)), integer(64)), I64)
    k = kernel([x, y], ["Y"], loop("o", count, chunk, "parallel"), ["N"])
    for n in (1, 100, 10_000_001):
        arrays = {"X": np.arange(n, dtype=np.float32), "Y": np.zeros(n, np.float32)}
        run(k, arrays, {"N": n})
        np.testing.assert_array_equal(arrays["Y"], arrays["X"] + 1)


def test_memory_for_each_thread() -> None:
    """As much as there are threads, however many trips: those of two loops, one inside the other, are apart."""
    x, y = argument("X", F32, "M", "K", "N"), argument("Y", F32, "M", "K", "N")
    a, b = (Buffer(name, F32, (Var("N"),), "thread") for name in "AB")
    back = sub(sub(Var("N"), integer(1)), Var("j"))

    def fill(target: Buffer, value: Expr) -> Stmt:
        return loop("j", "N", store(target, ["j"], value))

    first: Expr = Op("*", (load(x, "i", 0, "j"), Cast(Var("i"), F32)), F32)
    second: Expr = Op("+", (load(x, "i", "k", "j"), Cast(Var("k"), F32)), F32)
    both: Expr = Op("-", (load(a, back), load(b, "j")), F32)
    inner = Alloc(b, seq(fill(b, second), loop("j", "N", store(y, ["i", "k", "j"], both))))
    body = loop("i", "M", Alloc(a, seq(fill(a, first), loop("k", "K", inner, "parallel"))), "parallel")
    executable = llvm.load(llvm.emit([kernel([x, y], ["Y"], body, ["M", "K", "N"])], host()))
    (entry,) = executable.artifact.entries
    assert entry.workspace == integer(0)
    for count in range(1, 9):
        threads.set_num_threads(count)
        for m, k, n in ((50, 3, 2000), (9, 1, 20_000), (1, 5, 300), (3, 2, 17)):
            sizes = {"M": m, "K": k, "N": n}
            assert evaluate(entry.thread_workspace, sizes) == 2 * (-(-4 * n // 64) * 64)
            data = np.random.default_rng(0).random((m, k, n)).astype(np.float32)
            arrays = {"X": data, "Y": np.zeros((m, k, n), np.float32)}
            block = Block(entry, executable.parallel_for, arrays, sizes)
            executable(block.address)
            rows = data[:, :1, ::-1] * np.arange(m, dtype=np.float32)[:, None, None]
            columns = data + np.arange(k, dtype=np.float32)[:, None]
            np.testing.assert_array_equal(arrays["Y"], rows - columns)


def test_memory_for_each_thread_from_a_schedule(is_native: bool) -> None:
    """An intermediate row of any length, with a number of threads that changes between calls and during them."""
    text = """
    op f(X: f32[M, N]) -> Y: f32[M, N] {
        t[i, j] = 2 * X[i, j]
        Y[i, j] = t[i, N - 1 - j] + sum[k](t[i, k])
    }
    schedule f on llvm { compute_at t, Y_sum at Y.i; parallel Y.i }
    """
    f = te.build(text)
    assert "in thread" in f.ir("final")
    is_over = threading.Event()

    def change() -> None:
        while not is_over.is_set():
            for count in (1, 8, 2, 5):
                threads.set_num_threads(count)
                time.sleep(0.002)

    changing = threading.Thread(target=change)
    changing.start()
    try:
        for seed in range(40):
            rng = np.random.default_rng(seed)
            x = rng.integers(0, 9, rng.integers(1, 800, 2)).astype(np.float32)
            np.testing.assert_array_equal(f(x), 2 * x[:, ::-1] + 2 * x.sum(axis=1, keepdims=True))
    finally:
        is_over.set()
        changing.join()


def test_many_python_threads() -> None:
    """Eight at once, each with arrays of its own, some calls with threads and some without."""
    executable = llvm.load(llvm.emit([row_sums()], host()))
    failures: list[str] = []

    def work(seed: int) -> None:
        rng = np.random.default_rng(seed)
        for _ in range(30):
            m, n = int(rng.integers(1, 600)), int(rng.integers(1, 600))
            x = rng.integers(0, 9, (m, n)).astype(np.float64)
            arrays = {"X": x, "Y": np.zeros(m)}
            block = Block(executable.artifact.entries[0], executable.parallel_for, arrays, {"M": m, "N": n})
            executable(block.address)
            if not np.array_equal(arrays["Y"], x.sum(axis=1) + np.arange(m)):
                failures.append(f"{seed}: {m} x {n}")

    workers = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not failures


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_after_a_fork(is_native: bool) -> None:
    """The child has no helpers until it calls, and then helpers of its own."""
    check_rows(1000, 1000)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            assert threads._runtime is None
            runtime = threads._start(native=is_native)
            assert runtime.workers == 3
            check_rows(1000, 1000)
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    check_rows(1000, 1000)


def test_threads_are_counted_and_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        threads.set_num_threads(0)
    monkeypatch.setattr(threads, "_wanted", None)
    monkeypatch.setenv("TE_NUM_THREADS", "3")
    assert threads.num_threads() == 3
    monkeypatch.setenv("TE_NUM_THREADS", "many")
    with pytest.raises(ValueError, match="TE_NUM_THREADS is `many`"):
        threads.num_threads()
    monkeypatch.delenv("TE_NUM_THREADS")
    assert threads.num_threads() == host().cores


# ---------------------------------------------------------------- in processes of their own

PROGRAM = """
import atexit, os, signal, sys, threading, time
import numpy as np
sys.path.insert(0, {root!r})
import te
from te.backends import llvm
from te.backends.llvm import threads
from tests.backends.llvm_support import Block, host
from tests.backends.test_llvm_threads import row_sums

threads.set_num_threads(4)
threads._start(native={is_native})
executable = llvm.load(llvm.emit([row_sums()], host()))
x = np.ones((20000, 1000))

def call():
    arrays = dict(X=x, Y=np.zeros(len(x)))
    block = Block(executable.artifact.entries[0], executable.parallel_for, arrays, dict(M=x.shape[0], N=x.shape[1]))
    executable(block.address)
    assert (arrays["Y"] == 1000 + np.arange(len(x))).all()

{body}
"""


def run_alone(body: str, *, is_native: bool) -> subprocess.CompletedProcess[str]:
    program = PROGRAM.format(root=str(ROOT), is_native=is_native, body=textwrap.dedent(body))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120, env=environment
    )


def test_calls_while_the_interpreter_ends(is_native: bool) -> None:
    done = run_alone(
        """
        atexit.register(lambda: (call(), print("ended")))
        threading.Thread(target=lambda: [call() for _ in range(20)], daemon=True).start()
        call()
        """,
        is_native=is_native,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "ended\n"
    assert done.stderr == ""


@pytest.mark.skipif(sys.platform == "win32", reason="sends signals")
def test_interrupts_are_neither_lost_nor_harmful(is_native: bool) -> None:
    """A signal during a call ends the call's loop in Python, after the call, with the result whole."""
    done = run_alone(
        f"""
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job inherits that it is ignored
        interrupts = 0
        is_ready = threading.Event()  # for the next signal: the last one has been caught
        def pester():
            for _ in range(20):
                is_ready.wait()
                is_ready.clear()
                time.sleep(0.003)
                os.kill(os.getpid(), {int(signal.SIGINT)})
        threading.Thread(target=pester, daemon=True).start()
        while interrupts < 20:
            try:
                is_ready.set()
                while True:
                    call()
            except KeyboardInterrupt:
                interrupts += 1
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        print("interrupted", interrupts)
        """,
        is_native=is_native,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "interrupted 20\n"
    assert "Exception ignored" not in done.stderr
