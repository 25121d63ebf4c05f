"""The fences hold: an access outside is told, and nothing else is."""

from __future__ import annotations

import ctypes
import os
import signal

import numpy as np
import pytest

import te
from tests.fences import HAS_FENCES, Fence, fenced_runtime, in_child, note

pytestmark = pytest.mark.skipif(not HAS_FENCES, reason="takes fork and mprotect as Linux has them")


def touch(address: int) -> None:
    ctypes.c_byte.from_address(address).value = 1


@pytest.mark.parametrize(("at_end", "byte"), [(True, 20), (False, -1)])
def test_a_byte_outside_ends_the_process_with_a_message(at_end: bool, byte: int) -> None:
    array = Fence(at_end=at_end).array(np.arange(5, dtype=np.float32))

    def work() -> None:
        note("the first element")
        touch(array.ctypes.data)
        note("a byte too far")
        touch(array.ctypes.data + byte)

    with pytest.raises(pytest.fail.Exception, match=r"SIGSEGV ended .*\na byte too far"):
        in_child(work)


def test_what_a_child_raises_fails_the_test() -> None:
    with pytest.raises(pytest.fail.Exception, match="ZeroDivisionError"):
        in_child(lambda: print(1 // 0))


def test_what_the_child_does_stays_there() -> None:
    seen: list[int] = []
    in_child(lambda: seen.append(1))
    assert seen == []


@pytest.mark.parametrize("at_end", [True, False])
def test_results_and_precomputed_tables_lie_in_the_fence(at_end: bool) -> None:
    kernel = te.build("""
        op f(X: f32[N], param W: f32[N]) -> Y: f32[N] {
            V[i] = W[i] + 1
            Y[i] = V[i] * X[i]
        }
        schedule f on llvm { precompute V }
    """)
    x, w = np.arange(5, dtype=np.float32), np.ones(5, np.float32)
    with fenced_runtime(at_end=at_end) as fence:
        y = kernel.bind(W=fence.array(w))(fence.array(x))
        np.testing.assert_array_equal(y, 2 * x)
        assert len(fence.maps) == 5  # two arguments, X while it is not known, the table, the result

    def beyond() -> None:
        note("beyond the result")
        touch(y.ctypes.data + (y.nbytes if at_end else -1))

    with pytest.raises(pytest.fail.Exception, match=f"{signal.SIGSEGV.name}.*\nbeyond the result"):
        in_child(beyond)


def test_a_kernel_that_reads_too_far_is_found() -> None:
    """The oracle itself: code that is told a larger size than the array has."""
    kernel = te.build("op f(X: f32[N]) -> Y: f32[N] { Y[i] = X[i] + 1 }")

    def work() -> None:
        with fenced_runtime(at_end=True) as fence:
            short = fence.array(np.zeros(7, np.float32))
            long = np.lib.stride_tricks.as_strided(short, (8,), (4,))
            note("eight of seven")
            kernel(long)

    with pytest.raises(pytest.fail.Exception, match="eight of seven"):
        in_child(work)
    assert os.getpid()  # and this process lives
