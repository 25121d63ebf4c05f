"""Persistent blocks take one tile after the other, and each tile is computed once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import te
from te.backends.cuda.emulator.executable import Emulation, emulating
from te.backends.interp.loop import run_kernel
from te.gpus import multiprocessor
from te.ir.loop import Barrier, For, walk_stmt
from te.schedule.finalize import gpu
from te.schedule.finalize.gpu.persistent import resident_blocks
from tests.backends.emulator.running import needs_gxx

pytestmark = needs_gxx

PRODUCT = (Path(__file__).parent.parent / "cuda" / "persistent.te").read_text()
REVERSED = """
op reversed(X: f32[M, 64]) -> Y: f32[M, 64] {
    Y[i, j] = X[i, 63 - j]
}

schedule reversed on cuda {
    cache_read X[r, c] at i as Xs in shared
    bind i to block.x order persistent
    bind Xs.c to thread.x
    bind j to thread.x
}
"""
CUBE = """
op cube(X: f32[L, M, N]) -> Y: f32[L, M, N] {
    Y[h, i, j] = X[h, i, j] + 1.0
}

schedule cube on cuda {
    split j by 4
    bind h to block.z order persistent
    bind i to block.y
    bind jo to block.x
    bind ji to thread.x
}
"""


@pytest.fixture
def _three_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "resident_blocks", lambda launch, has: 3)


@pytest.mark.usefixtures("_three_blocks")
@pytest.mark.parametrize("order", ["", " order grouped"])
def test_products(order: str) -> None:
    kernel = te.build(PRODUCT.replace(" order grouped", order), target="cuda-emulated")
    final = kernel._compilation.variants[-1].final
    assert final is not None
    for m, n, k in ((1, 1, 1), (50, 70, 3), (150, 40, 20), (0, 3, 4), (3, 0, 4)):
        random = np.random.default_rng(m)
        a = random.integers(-9, 9, (m, k)).astype(np.float32)
        b = random.integers(-9, 9, (k, n)).astype(np.float32)
        with emulating(Emulation((0, 5))):
            np.testing.assert_array_equal(kernel(a, b), a @ b)
        if m * n < 100 or k < 4:
            found = run_kernel(final, {"A": a, "B": b}, {"M": m, "N": n, "K": k}, order="shuffled")
            np.testing.assert_array_equal(found["C"], a @ b)


@pytest.mark.usefixtures("_three_blocks")
def test_rounds_wait_for_each_other() -> None:
    kernel = te.build(REVERSED, target="cuda-emulated")
    final = kernel._compilation.variants[-1].final
    assert final is not None
    assert (
        sum(isinstance(s, Barrier) for s, _ in walk_stmt(final.body)) == 2
    )  # before the copy, and behind it
    for m in (0, 1, 2, 3, 4, 11):
        x = np.arange(m * 64, dtype=np.float32).reshape(m, 64)
        with emulating(Emulation((0, 5))):
            np.testing.assert_array_equal(kernel(x), x[:, ::-1])


@pytest.mark.usefixtures("_three_blocks")
def test_three_axes() -> None:
    kernel = te.build(CUBE, target="cuda-emulated")
    for shape in ((1, 1, 1), (2, 3, 9), (5, 2, 4), (0, 2, 3), (2, 0, 3)):
        x = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
        np.testing.assert_array_equal(kernel(x), x + 1)


def test_tiles_for_all_blocks_at_a_time_need_no_rounds() -> None:
    final = te.build(REVERSED, target="cuda", sizes={"M": 108})._compilation.variants[-1].final
    assert final is not None
    assert next(s.kind for s, _ in walk_stmt(final.body) if isinstance(s, For)) == "block.x"
    assert not any(isinstance(s, For) and "round" in s.var for s, _ in walk_stmt(final.body))


@pytest.mark.parametrize(("sm", "count"), [(75, 40 * 16), (80, 108 * 32), (90, 132 * 32)])
def test_blocks_that_fit(sm: int, count: int) -> None:
    """64 threads that share 256 bytes: the number of blocks is the limit, of sm_75 that of warps, too."""
    final = te.build(REVERSED, target=f"cuda.sm_{sm}")._compilation.variants[-1].final
    assert final is not None
    assert resident_blocks(final.body, multiprocessor(sm)) == count
    assert f"min({count}, M)" in te.build(REVERSED, target=f"cuda.sm_{sm}").ir("final")
