"""The benchmarks run: what they measure is there. How long it takes decides nothing."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pytest

import te

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def benchmark_named(monkeypatch):
    """A module of the folder; what it imports stands beside it."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module


def test_the_phases_of_a_build(benchmark_named):
    text = (BENCHMARKS / "matmul.te").read_text(encoding="utf-8")
    for action in benchmark_named("compile_time").phases(text, "matmul").values():
        action()


def test_kernels_at_sizes_that_no_tile_divides(benchmark_named):
    for kernel in benchmark_named("tails").kernels():
        compiled = te.build(kernel.source)
        for odd, even in kernel.sizes:
            for n in {odd, even}:
                arrays, expected = kernel.arrays(n)
                np.testing.assert_allclose(compiled(*arrays), expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(("m", "k", "n"), [(3, 1024, 1024), (65, 1025, 1030), (9, 2050, 513)])
def test_the_packed_matrix_product(m, k, n):
    random = np.random.default_rng(0)
    a, b = random.standard_normal((m, k), np.float32), random.standard_normal((k, n), np.float32)
    np.testing.assert_allclose(te.build(BENCHMARKS / "matmul.te")(a, b), a @ b, rtol=1e-4, atol=1e-3)
