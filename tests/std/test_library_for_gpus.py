"""The standard library is emitted for GPUs and compiled by NVIDIA's compiler, where there is one; nothing runs."""

from __future__ import annotations

import pytest

import te
from te.backends.cuda.compile import compiler_version
from tests.std.comparing import example, find
from tests.std.test_library import OPS

pytestmark = [
    pytest.mark.nvcc,
    pytest.mark.skipif(compiler_version() is None, reason="needs NVRTC or nvcc"),
]

QUICK = OPS[::16]
DTYPES = ("f32", "f64", "bf16")


@pytest.mark.parametrize(
    "op", [pytest.param(op, marks=() if op in QUICK else pytest.mark.slow) for op in OPS], ids=OPS
)
def test_it_compiles(op: str) -> None:
    found = find(op)
    shown = example(found)
    assert shown is not None
    generics = {g.name: g.choices for g in found.tree.generics}
    floats = [name for name, choices in generics.items() if not choices or "float" in choices]
    for dtype in DTYPES if floats else DTYPES[:1]:
        dtypes = dict.fromkeys(floats, dtype)
        kernel = te.build(found, "auto", "cuda.sm_90", consts=shown.consts, dtypes=dtypes)
        assert all(resources.blocks > 0 for resources in kernel.resources())
