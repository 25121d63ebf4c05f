"""Products with few rows and columns and many terms on GPUs: blocks share the terms, and a second launch adds parts."""

from __future__ import annotations

import numpy as np
import pytest

import te
from te.backends.cuda.emulator.executable import Emulation, emulating
from te.schedule.auto import auto_schedule
from te.target import EMULATED, parse_target
from tests.backends.emulator.running import needs_gxx
from tests.schedule.scheduling import MATMUL, program, random_inputs
from tests.schedule.test_auto_gpu import PRODUCT, PRODUCTS, WITH_RESIDUAL

pytestmark = needs_gxx


def lines(text: str, **sizes: int) -> list[str]:
    return [
        str(line) for line in auto_schedule(program(text, sizes=sizes), parse_target("cuda.sm_80")).directives
    ]


def test_parts_have_a_tile_for_every_multiprocessor() -> None:
    found = lines(MATMUL, M=64, N=64, K=1 << 16)
    assert found[:4] == [  # one tile of 64 x 64 for each of 108
        "split C.k by 608 into chunk, inside",
        "rfactor C.chunk of C as C_part",
        "split C_part.i by 64 into block_y, in_y",
        "split C_part.j by 64 into block_x, in_x",
    ]
    assert "bind C_part.chunk to block.z" in found
    assert "pipeline C_part.slice depth 2" in found


def test_parts_have_enough_terms() -> None:
    found = lines(MATMUL, M=64, N=64, K=1024)  # 4 parts, of smaller tiles
    assert found[0] == "split C.k by 256 into chunk, inside"
    assert found[2] == "split C_part.i by 32 into block_y, in_y"


def test_parts_are_computed_by_tensor_cores() -> None:
    halves = PRODUCT.format(a="f16[M, K]", b="f16[K, N]", c="f32", value="f32(A[i, k]) * f32(B[k, j])")
    found = lines(halves, M=64, N=64, K=1 << 16)
    assert found[:4] == [
        "split C.k by 608 into chunk, inside",
        "rfactor C.chunk of C as C_part",
        "split C_part.i by 64 into block_y, in_y",
        "split C_part.j by 64 into block_x, in_x",
    ]
    assert "tensorize C_part.row, C_part.column, C_part.term as mma_m16n8k16_f16" in found
    assert "bind C_part.chunk to block.z" in found


@pytest.mark.parametrize("sizes", [(64, 64, 511), (300, 300, 1 << 16), (2000, 2000, 1 << 16)])
def test_terms_are_not_shared_where_they_are_few_or_tiles_are_enough(sizes: tuple[int, int, int]) -> None:
    assert not [line for line in lines(MATMUL, **dict(zip("MNK", sizes, strict=True))) if "rfactor" in line]


def test_sizes_that_the_call_decides_are_not_shared() -> None:
    assert not [line for line in lines(MATMUL, M=64, N=64) if "rfactor" in line]


RAGGED: dict[str, tuple[str, dict[str, int]]] = {
    "rows": (MATMUL, {"M": 33, "N": 37, "K": 777}),
    "few": (MATMUL, {"M": 3, "N": 5, "K": 1030}),
    "batches": (PRODUCTS, {"A": 2, "M": 9, "N": 36, "K": 530}),
    "residual": (WITH_RESIDUAL, {"M": 17, "N": 40, "K": 513}),
    "turned": (
        PRODUCT.format(a="f32[K, M]", b="f32[N, K]", c="f32", value="A[k, i] * B[j, k]"),
        {"M": 35, "N": 12, "K": 516},
    ),
    "tensor cores": (
        PRODUCT.format(a="f16[M, K]", b="f16[K, N]", c="f32", value="f32(A[i, k]) * f32(B[k, j])"),
        {"M": 20, "N": 33, "K": 1001},
    ),
    "tensor cores, turned": (
        PRODUCT.format(a="i8[K, M]", b="i8[K, N]", c="i32", value="i32(A[k, i]) * i32(B[k, j])"),
        {"M": 35, "N": 20, "K": 530},
    ),
    "halves": (
        PRODUCT.format(a="f16[M, K]", b="bf16[K, N]", c="f32", value="f32(A[i, k]) * f32(B[k, j])"),
        {"M": 20, "N": 33, "K": 515},
    ),
    "integers": (
        PRODUCT.format(a="i16[M, K]", b="i32[N, K]", c="i32", value="i32(A[i, k]) * B[j, k]"),
        {"M": 20, "N": 33, "K": 523},
    ),
}


@pytest.mark.parametrize("name", RAGGED)
def test_sums_of_parts_are_those_of_the_op(name: str) -> None:
    text, sizes = RAGGED[name]
    of = program(text, sizes=sizes)
    gpu, plain = te.build(text, target=EMULATED, sizes=sizes), te.build(text, "none", sizes=sizes)
    assert "rfactor" in gpu.schedule
    arrays = random_inputs(of, {}).values()
    with emulating(Emulation(orders=(0, 3))):
        found = gpu(*arrays)
    expected = plain(*arrays)
    for one, other in zip(*[x if isinstance(x, tuple) else (x,) for x in (found, expected)], strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-3)
