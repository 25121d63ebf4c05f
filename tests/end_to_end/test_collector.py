"""The garbage collector waits while a kernel is built, and goes on as it was set."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Iterator

import numpy as np
import pytest

import te
from te.collector import paused_collector

DOUBLE = "op double(X: f32[N]) -> Y: f32[N] { Y[i] = 2 * X[i] }"


@pytest.fixture(autouse=True)
def enabled() -> Iterator[None]:
    gc.enable()
    yield
    gc.enable()


def test_a_build_leaves_the_collector_enabled() -> None:
    te.build(DOUBLE)
    assert gc.isenabled()


def test_a_failed_build_leaves_the_collector_enabled() -> None:
    with pytest.raises(te.CompileError):
        te.build(DOUBLE.replace("X[i]", "Z[i]"))
    assert gc.isenabled()


def test_a_collector_that_was_off_stays_off() -> None:
    gc.disable()
    te.build(DOUBLE)
    assert not gc.isenabled()


def test_a_generic_kernel_that_is_built_by_a_call_leaves_it_enabled() -> None:
    kernel = te.build("op twice<T: float>(X: T[N]) -> Y: T[N] { Y[i] = 2 * X[i] }")
    kernel(np.ones(3, np.float32))
    assert gc.isenabled()


def test_the_last_of_several_threads_enables_it() -> None:
    inside, leave = threading.Barrier(4), threading.Event()

    def hold() -> None:
        with paused_collector():
            inside.wait()
            leave.wait()

    threads = [threading.Thread(target=hold) for _ in range(3)]
    for thread in threads:
        thread.start()
    inside.wait()
    with paused_collector():
        assert not gc.isenabled()
    assert not gc.isenabled()  # the others still build
    leave.set()
    for thread in threads:
        thread.join()
    assert gc.isenabled()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_child_of_a_fork_during_a_build_collects_again() -> None:
    inside, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with paused_collector():
            inside.set()
            leave.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    inside.wait()
    child = os.fork()
    if child == 0:
        with paused_collector():
            paused = not gc.isenabled()
        os._exit(0 if paused and gc.isenabled() else 1)
    leave.set()
    thread.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert gc.isenabled()
