"""Shared buffers that are never in use together lie in the same bytes, and threads wait between them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import te
from te.backends.cuda.emulator.executable import Emulation, emulating
from te.ir.loop import Alloc, Barrier, walk_stmt
from te.schedule.finalize.gpu.arena import overlapping
from tests.backends.emulator.running import needs_gxx

pytestmark = needs_gxx

ONE_AFTER_THE_OTHER = Path(__file__).parent.parent / "cuda" / "shared_bytes.te"


def test_one_after_the_other() -> None:
    kernel = te.build(ONE_AFTER_THE_OTHER, target="cuda-emulated")
    final = kernel._compilation.variants[-1].final
    buffers = [
        s.buffer for s, _ in walk_stmt(final.body) if isinstance(s, Alloc) and s.buffer.scope == "shared"
    ]
    assert [b.place for b in buffers] == [0, 0]
    assert overlapping(final.body) == {"Xs": {"Ws"}, "Ws": {"Xs"}}
    assert sum(isinstance(s, Barrier) for s, _ in walk_stmt(final.body)) == 3


def test_in_a_loop_each_has_bytes_of_its_own() -> None:
    text = ONE_AFTER_THE_OTHER.read_text().replace("    bind Y.io to block.x\n", "")
    kernel = te.build(text, target="cuda-emulated")
    final = kernel._compilation.variants[-1].final
    shared = [
        s.buffer for s, _ in walk_stmt(final.body) if isinstance(s, Alloc) and s.buffer.scope == "shared"
    ]
    assert len({b.place for b in shared}) == len(shared)


@pytest.mark.parametrize("rows", [1, 33, 64])
def test_it_runs_without_races(rows: int) -> None:
    rng = np.random.default_rng(0)
    x, w = (rng.integers(-3, 4, (rows, 64)).astype(np.float32) for _ in range(2))
    kernel = te.build(ONE_AFTER_THE_OTHER, target="cuda-emulated")
    with emulating(Emulation((0, 1, 5))):
        y, z = kernel(x, w)
    np.testing.assert_array_equal(y, (x[:, ::-1] * x).sum(1))
    np.testing.assert_array_equal(z, (w[:, ::-1] * w).sum(1))
