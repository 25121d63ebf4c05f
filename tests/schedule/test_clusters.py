"""Clusters: neighbouring blocks that start together, on GPUs that have them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import te
from te.backends.cuda.artifact import CudaArtifact
from te.backends.cuda.compile import compiler_version
from te.backends.cuda.host import sized_launches
from te.backends.cuda.launches import LIMITS
from te.backends.interp.loop import run_kernel
from te.diagnostics import ScheduleError
from te.ir.expr import integer
from te.ir.verify import verify_kernel
from te.schedule.finalize import finalize
from te.schedule.finalize.gpu.threads import without_threads
from tests.backends.emulator.running import launch, needs_gxx
from tests.schedule.scheduling import MATMUL, assert_same, random_inputs, refused, scheduled
from tests.schedule.test_bind import on_gpu

TILES = """
tile C.i, C.j by 4, 8 into bi, bj, i0, j0
split C.bj by 4 into cluster, b
reorder C.cluster, C.bi, C.b, C.i0, C.j0
bind C.b to block.x
bind C.bi to block.y
bind C.i0 to thread.y
bind C.j0 to thread.x
"""
CLUSTERS = f"{TILES}bind C.cluster to cluster.x\n"
SIZES = [{"M": 5, "N": 70, "K": 3}, {"M": 4, "N": 32, "K": 1}, {"M": 1, "N": 1, "K": 0}]


def test_clusters_compute_the_same() -> None:
    plain = on_gpu(MATMUL)
    kernel = scheduled(plain, CLUSTERS)
    assert_same(plain, kernel, *SIZES)
    for final in (finalize(kernel), finalize(without_threads(kernel))):
        verify_kernel(final)
        for sizes in SIZES:
            inputs = random_inputs(plain.program, sizes)
            expected = run_kernel(plain, inputs, sizes)["C"]
            np.testing.assert_allclose(
                run_kernel(final, inputs, sizes, order="shuffled")["C"], expected, 1e-5
            )


def built() -> CudaArtifact:
    artifact = te.build(MATMUL, CLUSTERS, target="cuda.sm_90")._compilation.artifact
    assert isinstance(artifact, CudaArtifact)
    return artifact


def test_a_launch_has_whole_clusters() -> None:
    (program,) = built().programs
    (first,) = sized_launches(program, [5, 3, 70])
    assert (first.launch.cluster, first.grid) == (4, (12, 2, 1))
    assert program.sizes == ("M", "K", "N")
    host = replace(first.launch, grid=(integer(4 << 30), integer(1), integer(1)))
    (cut,) = sized_launches(replace(program, host=host), [5, 3, 70])
    assert cut.grid == (LIMITS[0] - 3, 1, 1)


@needs_gxx[0]
@needs_gxx[1]
def test_emitted_clusters_compute_the_op() -> None:
    artifact = built()
    assert "__cluster_dims__(4, 1, 1) __launch_bounds__(32) te_matmul(" in artifact.text
    a, b = (
        np.random.default_rng(n).integers(0, 5, s).astype(np.float32) for n, s in enumerate([(5, 3), (3, 70)])
    )
    c = np.zeros((5, 70), np.float32)
    arrays = {"A": a, "B": b, "C": c}
    found = launch(artifact.text, "te_matmul", (12, 2), (8, 4), arrays, 5, 3, 70, results=["C"])
    assert not found
    np.testing.assert_array_equal(c, a @ b)


@pytest.mark.nvcc
@pytest.mark.skipif(compiler_version() is None, reason="needs NVRTC or nvcc")
def test_clusters_compile() -> None:
    (found,) = te.build(MATMUL, CLUSTERS, target="cuda.sm_90").resources()
    assert (found.usage.spill_stores, found.threads) == (0, 32)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("bind C.i to cluster.x", "holds no loop bound to block.x, or more than that"),
        (CLUSTERS.replace("b to block.x", "b to block.x order persistent"), "have an order of their own"),
        (CLUSTERS.replace("C.bj by 4", "C.bj by 9"), "the blocks of a cluster, are not 1 to 8"),
        (
            "split C.i by 4 into c, b\nbind C.j to block.x\nbind C.c to cluster.x",
            "holds no loop bound to block.x",
        ),
    ],
)
def test_refused(text: str, reason: str) -> None:
    diagnostic = refused(on_gpu(MATMUL), text)
    assert (diagnostic.code, reason in diagnostic.message) == ("bind-target", True)


@pytest.mark.parametrize("target", ["cuda.sm_80", "cuda-emulated"])
def test_older_gpus_have_none(target: str) -> None:
    with pytest.raises(ScheduleError, match=r"has no `cluster\.x`"):
        te.build(MATMUL, CLUSTERS, target=target)
