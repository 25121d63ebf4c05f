"""Reduction loops on threads, lanes and warps: partial results, put together in halves."""

from __future__ import annotations

import numpy as np
import pytest

import te
from te.backends.interp.loop import run_kernel
from te.ir.loop import THREADS, Combine, For, Kernel, walk_stmt
from tests.backends.emulator.running import needs_gxx

ROWS = "op rows(X: i32[M, N]) -> Y: i32[M] { Y[i] = sum[j](X[i, j]) }"
PRODUCT = "op f(A: i32[M, N], B: i32[N, K]) -> Y: i32[M, K] { Y[i, c] = sum[k](A[i, k] * B[k, c]) }"
ANY = "op f(X: i32[M, N]) -> Y: bool[M] { Y[i] = any[j](X[i, j] == 3) }"

# Lines, and over how many neighbours registers are combined; what is left goes through shared memory.
ON_THREADS = {
    "part of a warp": (ROWS, "split j by 20\nbind ji to thread.x\nbind i to block.x", [32]),
    "several warps": (ROWS, "split j by 96\nbind ji to thread.x\nbind i to block.x", [32]),
    "rows of a warp": (
        ROWS,
        "split i by 4\nsplit j by 8\nreorder io, ii, jo, ji\n"
        "bind ji to thread.x\nbind ii to thread.y\nbind io to block.x",
        [8],
    ),
    "rows of several warps": (
        ROWS,
        "split i by 4\nsplit j by 64\nreorder io, ii, jo, ji\n"
        "bind ji to thread.x\nbind ii to thread.y\nbind io to block.x",
        [32],
    ),
    "columns": (
        ROWS,
        "split i by 8\nsplit j by 6\nreorder io, ii, jo, ji\n"
        "bind ii to thread.x\nbind ji to thread.y\nbind io to block.x",
        [],
    ),
    "many columns": (
        ROWS,
        "split i by 8\nsplit j by 48\nreorder io, ii, jo, ji\n"
        "bind ii to thread.x\nbind ji to thread.y\nbind io to block.x",
        [],
    ),
    "lanes": (ANY, "split j by 32\nbind ji to lane\nbind i to block.x", [32]),
    "lanes and warps": (
        ROWS,
        "split j by 128\nsplit ji by 32 into jw, jl\nbind jw to warp\nbind jl to lane\nbind i to block.x",
        [32],
    ),
    "vectors": (
        ROWS,
        "split j by 256\nsplit ji by 4 into jt, jv\nbind jt to thread.x\nvectorize jv\nbind i to block.x",
        [32],
    ),
    "threads around others": (
        ROWS,
        "split j by 8\nsplit jo by 4\nreorder i, joo, joi, ji\n"
        "bind joi to thread.x\nbind ji to thread.y\nbind i to block.x",
        [4],
    ),
    "two levels in memory": (
        ROWS,
        "split j by 8\nsplit jo by 4\nreorder i, joo, joi, ji\n"
        "bind joi to thread.z\nbind ji to thread.y\nbind i to block.x",
        [],
    ),
    "goes on in memory": (
        ROWS,
        "split i by 3\nsplit j by 4\nreorder io, jo, ii, ji\n"
        "bind io to block.x\nbind ii to thread.y\nbind ji to thread.x",
        [4],
    ),
    "goes on in shared memory": (
        ROWS,
        "split i by 3\nsplit j by 4\nreorder io, jo, ii, ji\ncache_write Y at jo in shared\n"
        "bind io to block.x\nbind Y.ii to thread.y\nbind ji to thread.x",
        [4],
    ),
    "reads what one lane copies": (
        ROWS,
        "bind i to block.x\nsplit j by 8\nbind ji to warp\ncache_read X at ji as P in shared",
        [],
    ),
    "three levels": (
        ROWS,
        "split j by 8\nsplit ji by 2\n"
        "bind jo to thread.x\nbind jio to thread.y\nbind jii to thread.z\nbind i to block.x",
        [32],
    ),
    "a loop of any extent": (ROWS, "bind j to thread.x\nbind i to block.x", [32]),
    "several results": (
        PRODUCT,
        "split c by 2\nsplit k by 32\nreorder i, co, ko, ki, ci\nunroll ci\nbind ki to thread.x\nbind i to block.x",
        [32],
    ),
}


def inputs_of(kernel: Kernel, size: int) -> tuple[dict[str, np.ndarray], dict[str, int]]:
    sizes = {name: size if name == "N" else 9 for name in kernel.program.sizes}
    rng = np.random.default_rng(size)
    shapes = {t.name: [sizes[d.name] for d in t.shape] for t in kernel.program.inputs}
    return {name: rng.integers(-5, 6, shape).astype(np.int32) for name, shape in shapes.items()}, sizes


def expected(text: str, inputs: dict[str, np.ndarray]) -> np.ndarray:
    if text == PRODUCT:
        return inputs["A"] @ inputs["B"]
    return (inputs["X"] == 3).any(1) if text == ANY else inputs["X"].sum(1)


@pytest.mark.parametrize("case", ON_THREADS)
@pytest.mark.parametrize("order", ["forward", "shuffled"])
def test_all_threads_add_up(case: str, order: str) -> None:
    text, lines, widths = ON_THREADS[case]
    final = te.build(text, lines, target="cuda")._compilation.variants[-1].final
    assert {s.width for s, _ in walk_stmt(final.body) if isinstance(s, Combine)} == set(widths)
    assert any(isinstance(s, For) and s.kind in THREADS and s.is_reduction for s, _ in walk_stmt(final.body))
    for size in (1, 20, 150):
        inputs, sizes = inputs_of(final, size)
        found = run_kernel(final, inputs, sizes, order=order)["Y"]
        np.testing.assert_array_equal(found, expected(text, inputs))


class TestEmulated:
    pytestmark = needs_gxx

    @pytest.mark.parametrize("case", ON_THREADS)
    def test_all_threads_add_up(self, case: str) -> None:
        text, lines, _ = ON_THREADS[case]
        kernel = te.build(text, lines, target="cuda-emulated")
        for size in (1, 20, 300):
            inputs, _ = inputs_of(kernel._compilation.variants[-1].final, size)
            np.testing.assert_array_equal(kernel(*inputs.values()), expected(text, inputs))


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        (ROWS, "split i by 8\nsplit j by 4\nreorder io, jo, ji, ii\nbind ji to thread.x\nbind io to block.x"),
        (ROWS, "split j by 32\nbind jo to thread.x\nbind ji to lane\nbind i to block.x"),
    ],
)
def test_what_threads_cannot_share_runs_in_order(text: str, lines: str) -> None:
    final = te.build(text, lines, target="cuda")._compilation.variants[-1].final
    assert not any(isinstance(s, Combine) for s, _ in walk_stmt(final.body))
    inputs, sizes = inputs_of(final, 50)
    np.testing.assert_array_equal(run_kernel(final, inputs, sizes)["Y"], expected(text, inputs))
