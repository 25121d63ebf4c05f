"""Pipelines of loops of a few trips: what is under way where they begin is waited for before it is used."""

from __future__ import annotations

import numpy as np
import pytest

import te
from te.backends.cuda.emulator.executable import Emulation, emulating
from tests.backends.emulator.running import needs_gxx

pytestmark = needs_gxx

# Of a copy that was begun before the loop, the group is still open in the first trip, and closed in the second.
SHORT = """
op f(X: f32[N], W: f32[{size}]) -> Y: f32[N] {{ Y[i] = sum[k](X[i] * W[k]) }}

schedule f on cuda {{
    split i by 32
    split k by 4
    reorder io, ko, ki, ii
    cache_read W[b] at Y.ki as Ws in shared by cp_async
    pipeline Y.ki depth {depth}
    bind Y.io to block.x
    bind Y.ii to thread.x
}}
"""
TWO = """
op f(X: f32[N, R, 8], W: f32[R, 8]) -> Y: f32[N] { Y[i] = sum[r, k](X[i, r, k] * W[r, k]) }

schedule f on cuda {
    split i by 32
    split k by 4
    reorder io, r, ko, ki, ii
    cache_read X[a, b, c] at Y.ko as Xs in shared fill 0 by cp_async
    cache_read W[a, b] at Y.ki as Ws in shared fill 0 by cp_async
    bind Xs.a to thread.x
    pipeline Y.ki depth 3
    pipeline Y.ko depth 4
    bind Y.io to block.x
    bind Y.ii to thread.x
}
"""
ALL = Emulation((0, 1, 5))


@pytest.mark.parametrize("size", ["8", "K"])
@pytest.mark.parametrize("depth", [2, 3, 4])
def test_a_short_loop(size: str, depth: int) -> None:
    x, w = np.ones(40, np.float32), np.arange(8, dtype=np.float32)
    with emulating(ALL):
        found = te.build(SHORT.format(size=size, depth=depth), target="cuda-emulated")(x, w)
    np.testing.assert_array_equal(found, x * w.sum())


def test_one_in_another() -> None:
    rng = np.random.default_rng(0)
    x, w = (rng.integers(-3, 4, shape).astype(np.float32) for shape in ((40, 3, 8), (3, 8)))
    with emulating(ALL):
        found = te.build(TWO, target="cuda-emulated")(x, w)
    np.testing.assert_array_equal(found, (x * w).sum((1, 2)))
