"""examples/small_numbers.te: products of bytes and of bf16 numbers by the CPU's instructions for them."""

from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

import te
from te.module import check_source
from te.sources import read_source
from te.target import parse_target

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "small_numbers.te"
SHAPES = [(1, 1, 1), (9, 13, 35), (8, 16, 32), (24, 1030, 70), (3, 0, 4)]


def test_te_check_finds_nothing() -> None:
    assert check_source(read_source(EXAMPLE)) == []


@pytest.mark.parametrize("shape", SHAPES)
def test_bytes(shape: tuple[int, int, int]) -> None:
    m, k, n = shape
    rng = np.random.default_rng(k)
    x, w = rng.integers(0, 256, (m, k)).astype(np.uint8), rng.integers(-128, 128, (k, n)).astype(np.int8)
    expected = x.astype(np.int64) @ w.astype(np.int64)
    np.testing.assert_array_equal(te.build(EXAMPLE, op="matmul_u8_i8")(x, w), expected)
    packed = te.build(EXAMPLE, op="pack_rows_by_4")(w)
    np.testing.assert_array_equal(te.build(EXAMPLE, op="matmul_packed")(x, packed), expected)


@pytest.mark.parametrize("shape", SHAPES)
def test_bf16(shape: tuple[int, int, int]) -> None:
    m, k, n = shape
    rng = np.random.default_rng(k)
    x = rng.normal(size=(m, k)).astype(ml_dtypes.bfloat16)
    w = rng.normal(size=(k, n)).astype(ml_dtypes.bfloat16)
    found = te.build(EXAMPLE, op="matmul_bf16", math="fast")(x, w)
    x64, w64 = x.astype(np.float64), w.astype(np.float64)
    bound = max(k, 1) * 2.0**-24 * (np.abs(x64) @ np.abs(w64))
    assert (np.abs(found - x64 @ w64) <= bound).all()


def test_the_instructions_are_used_where_the_machine_has_them() -> None:
    for op, target, instruction in (
        ("matmul_u8_i8", "llvm.avx512_vnni", "vpdpbusd"),
        ("matmul_packed", "llvm.avx512_vnni", "vpdpbusd"),
        ("matmul_bf16", "llvm.avx512_bf16", "vdpbf16ps"),
    ):
        if not parse_target("llvm").satisfies(target):
            pytest.skip(f"this CPU is no {target}")
        kernel = te.build(EXAMPLE, op=op, math="fast")
        assert instruction in kernel.ir("asm")
        assert instruction not in te.build(EXAMPLE, op=op, target="llvm.avx2").ir("asm")
