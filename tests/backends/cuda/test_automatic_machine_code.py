"""What NVIDIA's compiler makes of automatic schedules: 16 bytes a load, next to nothing spilled, enough threads."""

from __future__ import annotations

import re

import pytest

import te
from te.backends.cuda.compile import compiler_version
from te.backends.cuda.toolkit import find_program

pytestmark = [
    pytest.mark.nvcc,
    pytest.mark.skipif(compiler_version() is None, reason="needs NVRTC or nvcc"),
]

with_disassembler = pytest.mark.skipif(
    find_program("nvdisasm") is None and find_program("cuobjdump") is None,
    reason="needs nvdisasm or cuobjdump (PyPI: nvidia-cuda-nvdisasm)",
)

ARCHITECTURES = pytest.mark.parametrize("sm", ["sm_80", pytest.param("sm_90", marks=pytest.mark.slow)])
# What ptxas may put aside to have more threads at a time, as it does with as few as 32 registers of each.
PUT_ASIDE = 32  # bytes

F32 = {"T": "f32"}
SQUARE = {"M": 4096, "N": 4096}
# An op, its sizes, how many launches, and the share of a multiprocessor's threads that are there at the same time.
KERNELS = {
    "softmax of warps": ("nn.softmax", {"N": 512}, 1, 0.25),
    "softmax": ("nn.softmax", {"N": 1024}, 1, 0.25),
    "softmax of a block": ("nn.softmax", {"N": 8192}, 1, 0.5),
    "layer norm": ("nn.layer_norm", {"N": 768}, 1, 0.25),
    "RMS norm": ("nn.rms_norm", {"N": 4096}, 1, 0.25),
    "sums of rows": ("reduce.reduce_sum", {"N": 4096}, 1, 0.5),
    "a sum": ("reduce.reduce_sum_all", {}, 2, 0.5),
    "gelu": ("nn.gelu", {}, 1, 0.5),
}
SPARING = ("RMS norm", "a sum")  # 8 and 20 bytes
COLUMNS = "op f(X: f32[M, N]) -> Y: f32[N] { Y[j] = sum[i](X[i, j]) }"


def built(op: str, sizes: dict[str, int], sm: str) -> te.Kernel:
    module, _, name = op.partition(".")
    found = getattr(te.std, module)[name]
    kernel = te.build(found, target=f"cuda.{sm}", sizes=sizes, dtypes=F32)
    return kernel.specialized(S=1) if hasattr(kernel, "specialized") else kernel


@ARCHITECTURES
@pytest.mark.parametrize("name", KERNELS)
def test_reductions_and_elements(name: str, sm: str) -> None:
    op, sizes, launches, occupancy = KERNELS[name]
    resources = built(op, sizes, sm).resources()
    assert len(resources) == launches
    assert max(r.usage.spill_stores for r in resources) <= (PUT_ASIDE if name in SPARING else 0)
    assert min(r.occupancy for r in resources) >= occupancy


@with_disassembler
@pytest.mark.parametrize("name", KERNELS)
def test_loads_are_of_16_bytes(name: str) -> None:
    op, sizes, _, _ = KERNELS[name]
    assert re.search(r"LDG\.E\S*\.128", built(op, sizes, "sm_80").ir("sass"))


@ARCHITECTURES
def test_columns(sm: str) -> None:
    resources = te.build(COLUMNS, target=f"cuda.{sm}", sizes=SQUARE).resources()
    assert [r for r in resources if r.usage.stack or r.usage.spill_stores] == []
    assert min(r.occupancy for r in resources) >= 0.5


@ARCHITECTURES
def test_a_transpose(sm: str) -> None:
    (found,) = te.build(te.std.tensor["transpose"], target=f"cuda.{sm}", sizes=SQUARE, dtypes=F32).resources()
    assert (found.usage.stack, found.usage.spill_stores, found.occupancy) == (0, 0, 1.0)
