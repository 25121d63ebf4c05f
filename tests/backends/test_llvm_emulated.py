"""What older CPUs lack, to the same bits: multiply-adds and rounding of x86 before SSE4.1, AVX2 and FMA."""

from __future__ import annotations

import re
from fractions import Fraction

import numpy as np
import pytest

from te.backends import llvm
from te.ir.expr import Op
from te.ir.types import F32, F64, DType, numpy_dtype
from te.target import parse_target
from tests.backends.llvm_support import map_arrays, map_kernel, running_on
from tests.machines import NATIVE

LANES = [1, 4, 7, 16]
WITHOUT_FMA = [t for t in ("llvm.sse2", "llvm.sse4") if t in NATIVE]
EMULATED = [("fma", F32), *((f, t) for f in ("floor", "ceil", "trunc", "round") for t in (F32, F64))]

pytestmark = pytest.mark.skipif(not WITHOUT_FMA, reason="builds for x86")


def on(target: str, name: str, columns: list[np.ndarray], dtype: DType, lanes: int) -> np.ndarray:
    with running_on(target):
        return map_arrays(lambda *args: Op(name, args, dtype), columns, [dtype] * len(columns), dtype, lanes)


def assert_same_bits(found: np.ndarray, expected: np.ndarray, *columns: np.ndarray) -> None:
    kind = f"u{found.dtype.itemsize}"
    same = (found.view(kind) == expected.view(kind)) | (np.isnan(found) & np.isnan(expected))
    at = np.flatnonzero(~same)
    assert same.all(), (*[c[at[0]] for c in columns], found[at[0]], expected[at[0]])


@pytest.mark.parametrize(("name", "dtype"), EMULATED, ids=str)
def test_the_c_library_is_not_called(name: str, dtype: DType) -> None:
    inputs = [dtype] * (3 if name == "fma" else 1)
    for target in WITHOUT_FMA:
        for lanes in LANES:
            k = map_kernel(lambda *args: Op(name, args, dtype), inputs, dtype, lanes, "vector", lanes)
            asm = llvm.emit([k], parse_target(target)).asm()
            called = re.findall(r"^\s+(?:callq?|jmp)\s+(\S+)", asm, re.MULTILINE)
            assert [c for c in called if not c.startswith((".L", "te_test"))] == []


def triples() -> list[np.ndarray]:
    """Factors and addends of f32: of all magnitudes, and such that the sum is near a tie."""
    rng = np.random.default_rng(0)
    count = 1 << 14
    bits = [rng.integers(0, 1 << 32, count, dtype=np.uint32).view(np.float32) for _ in range(3)]
    small = [(rng.integers(-64, 65, count) / 16).astype(np.float32) for _ in range(3)]
    a, b = (
        np.float32(1) + rng.integers(0, 1 << 12, count).astype(np.float32) * np.float32(2.0**-12)
        for _ in range(2)
    )
    # The product has 25 bits, or 24 and a half: with a tiny addend it is just beside the tie.
    tiny = (rng.choice([-1, 1, 0], count) * 2.0 ** rng.integers(-149, -30, count)).astype(np.float32)
    near = [a, b, tiny]
    c = -(a * b)
    cancelling = [a, b, c]
    scale = np.float32(2.0**-70)
    subnormal = [a * scale, b * scale, (rng.integers(-9, 10, count) * 2.0**-149).astype(np.float32)]
    special = np.array(
        [0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, 3.4e38, -3.4e38, 1e-45, -1e-45, 1.1754944e-38],
        np.float32,
    )
    every = [g.ravel() for g in np.meshgrid(special, special, special)]
    with np.errstate(all="ignore"):
        return [
            np.concatenate(columns)
            for columns in zip(bits, small, near, cancelling, subnormal, every, strict=True)
        ]


@pytest.mark.parametrize("lanes", LANES)
@pytest.mark.parametrize("target", WITHOUT_FMA)
def test_multiply_adds_of_f32(target: str, lanes: int) -> None:
    columns = triples()
    found = on(target, "fma", columns, F32, lanes)
    if parse_target("llvm").satisfies("llvm.avx2"):
        assert_same_bits(found, on("llvm", "fma", columns, F32, 16), *columns)
    a, b, c = columns
    for n in range(0, len(a), 37):
        if np.isfinite([a[n], b[n], c[n], found[n]]).all():
            exact = Fraction(float(a[n])) * Fraction(float(b[n])) + Fraction(float(c[n]))
            error = abs(Fraction(float(found[n])) - exact)
            for neighbour in (-np.inf, np.inf):
                other = np.nextafter(found[n], np.float32(neighbour))
                assert not np.isfinite(other) or error <= abs(Fraction(float(other)) - exact)


@pytest.mark.parametrize("lanes", LANES)
@pytest.mark.parametrize("dtype", [F32, F64], ids=str)
@pytest.mark.parametrize(
    ("name", "formula"), [("floor", np.floor), ("ceil", np.ceil), ("trunc", np.trunc), ("round", np.rint)]
)
def test_rounding(name: str, formula: np.ufunc, dtype: DType, lanes: int) -> None:
    rng = np.random.default_rng(0)
    kind = numpy_dtype(dtype)
    bits = rng.integers(0, 1 << dtype.bits, 1 << 14, dtype=f"u{kind.itemsize}").view(kind)
    near = (rng.integers(-40, 41, 2000) / 8).astype(kind)
    limit = 2.0 ** (23 if dtype == F32 else 52)
    large = np.array([limit * f + d for f in (0.5, 1, 2, -1) for d in (-1, -0.5, 0, 0.5, 1)], kind)
    tiny = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 5e-324, -1e-45, 0.49999997, -0.49999997], kind)
    x = np.concatenate([bits, near, np.nextafter(near, kind.type(np.inf)), large, tiny])
    with np.errstate(invalid="ignore"):
        assert_same_bits(on(WITHOUT_FMA[0], name, [x], dtype, lanes), formula(x), x)
