"""Loops that finalize makes have names that no loop of a schedule has, whatever a schedule calls its own."""

from __future__ import annotations

import numpy as np
import pytest

import te
from tests.backends.emulator.running import needs_gxx

pytestmark = needs_gxx

ADD = "op f(X: f32[M, N]) -> Y: f32[M, N] { Y[i, j] = X[i, j] + 1.0 }"
SUM = "op f(X: f32[M, N]) -> Y: f32[M] { Y[i] = sum[j](X[i, j]) }"
CASES = {
    "turns": (ADD, "cuda", "split i by 4 into j_turn, j_thread; bind j to thread.x"),
    "rounds": (
        ADD,
        "cuda",
        "split j by 3 into i_block, jj; reorder i_block, i, jj; "
        "bind i to block.x order persistent; bind jj to thread.x",
    ),
    "combined": (
        SUM,
        "cuda",
        "split i by 4 into a, of; split j by 64; bind of to thread.y; bind ji to thread.x",
    ),
    "ahead": (
        SUM,
        "cuda",
        "split i by 3 into jo_first, a; split j by 5 into jo, ji; reorder jo_first, jo, a, ji; "
        "cache_read X[r, c] at jo as Xs in shared; pipeline jo depth 3; bind a to thread.x; bind Xs.c to thread.x",
    ),
    "ahead on a CPU": (
        SUM,
        "llvm",
        "split i by 3 into jo_first, a; split j by 5 into jo, ji; reorder jo_first, jo, a, ji; "
        "cache_read X[r, c] at jo as Xs; pipeline jo depth 3",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_schedule_may_use_any_name(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TE_VERIFY", "1")
    op, target, lines = CASES[name]
    text = f"{op}\nschedule f on {target} {{ {lines} }}"
    kernel = te.build(text, target="cuda-emulated" if target == "cuda" else target)
    x = np.random.default_rng(0).integers(-4, 5, (9, 70)).astype(np.float32)
    np.testing.assert_array_equal(kernel(x), x + 1 if op is ADD else x.sum(axis=1))
