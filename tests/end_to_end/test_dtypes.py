"""Arrays and numbers of every dtype in and out of kernels, files and other libraries' arrays."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import te
from te.cli import main
from te.ir.types import DTYPES, DType, numpy_dtype

BF16 = np.dtype(ml_dtypes.bfloat16)
E4M3 = np.dtype(ml_dtypes.float8_e4m3fn)
NARROW = [t for t in DTYPES.values() if t.is_narrow]

DOUBLE = "op double(X: {0}[N]) -> Y: {0}[N] {{ Y[i] = X[i] * 2 }}"


@pytest.fixture(scope="module")
def double() -> Any:
    return te.build(DOUBLE.format("bf16"))


def refused(error: type[Exception], message: str, call: Any, *arguments: Any, **named: Any) -> None:
    with pytest.raises(error) as caught:
        call(*arguments, **named)
    assert str(caught.value) == message


# ---------------------------------------------------------------- arrays


@pytest.mark.parametrize("dtype", [t for t in DTYPES.values() if t.name != "bool"], ids=str)
def test_layouts(dtype: DType) -> None:
    kernel = te.build(DOUBLE.format(dtype))
    x = np.arange(1, 9).astype(numpy_dtype(dtype))
    out = np.zeros(4, x.dtype)
    octets = np.zeros(4 * x.itemsize + 1, np.uint8)
    misaligned = octets[1:].view(x.dtype)
    misaligned[...] = x[:4]
    for values in (x[:4], x[::2], x[::-1][:4], misaligned):
        wanted = (values.astype(np.float64) * 2).astype(x.dtype)
        assert kernel(values).dtype == x.dtype
        np.testing.assert_array_equal(kernel(values).astype(np.float64), wanted.astype(np.float64))
        assert kernel(values, out=out) is out
        np.testing.assert_array_equal(out.astype(np.float64), wanted.astype(np.float64))


def test_wrong_dtypes(double: Any) -> None:
    cast = "cast it with `.astype(ml_dtypes.bfloat16)`"
    refused(TypeError, f"double: `X` must be bf16, found float32: {cast}", double, np.zeros(3, np.float32))
    refused(TypeError, f"double: `X` must be bf16, found float16: {cast}", double, np.zeros(3, np.float16))
    refused(TypeError, f"double: `X` must be bf16, found float8_e4m3fn: {cast}", double, np.zeros(3, E4M3))
    half = te.build(DOUBLE.format("f16"))
    refused(
        TypeError,
        "double: `X` must be f16, found bfloat16: cast it with `.astype(np.float16)`",
        half,
        np.zeros(3, BF16),
    )


def test_bits_without_a_type(double: Any) -> None:
    """What `np.load` makes of a file of bf16."""
    refused(
        TypeError,
        "double: `X` must be bf16, found |V2: view it with `.view(ml_dtypes.bfloat16)`",
        double,
        np.ones(3, BF16).view("V2"),
    )


def test_dtype_variables() -> None:
    kernel = te.build("op double<T>(X: T[N]) -> Y: T[N] { Y[i] = X[i] * 2 }")
    for dtype in DTYPES.values():
        if dtype.name != "bool":
            assert kernel(np.ones(2, numpy_dtype(dtype))).dtype == numpy_dtype(dtype)
    floats = te.build("op double<T: float>(X: T[N]) -> Y: T[N] { Y[i] = X[i] * 2 }")
    refused(
        TypeError,
        "double: `T` cannot be f8e4m3 (one of f32, f64, f16, bf16); T by `X`",
        floats,
        np.ones(2, E4M3),
    )


# ---------------------------------------------------------------- numbers


@pytest.mark.parametrize("dtype", [t for t in DTYPES.values() if t.is_float], ids=str)
def test_python_numbers(dtype: DType) -> None:
    copy = te.build(f"op copy(x: {dtype}) -> y: {dtype} {{ y = x }}")
    largest = float(ml_dtypes.finfo(numpy_dtype(dtype)).max)
    for value in (0.5, -2, 1, -0.0, largest, -largest, float("nan")):
        found = copy(value)
        assert found.dtype == numpy_dtype(dtype)
        assert float(found) == value or np.isnan(value)
    if dtype.name != "f64":
        refused(ValueError, f"copy: `x` must be {dtype}, and 1e+39 does not fit", copy, 1e39)
    if dtype.name == "f8e4m3":
        refused(ValueError, "copy: `x` must be f8e4m3, and inf does not fit", copy, float("inf"))
    else:
        assert float(copy(float("inf"))) == float("inf")


def test_python_numbers_are_rounded_once() -> None:
    copy = te.build("op copy(x: bf16) -> y: bf16 { y = x }")
    assert float(copy(1 + 2**-8 + 2**-40)) == 1 + 2**-7  # by way of f32 it would be a tie
    assert float(copy(2**32 + 2**24 + 1)) == 2**32 + 2**25


@pytest.mark.parametrize("dtype", [t for t in DTYPES.values() if t.is_integer], ids=str)
def test_python_integers(dtype: DType) -> None:
    copy = te.build(f"op copy(x: {dtype}) -> y: {dtype} {{ y = x }}")
    limits = np.iinfo(numpy_dtype(dtype))
    for value in (int(limits.min), int(limits.max), 3):
        assert int(copy(value)) == value
    for value in (int(limits.min) - 1, int(limits.max) + 1):
        refused(ValueError, f"copy: `x` must be {dtype}, and {value} does not fit", copy, value)


# ---------------------------------------------------------------- other libraries


class Type:
    """A dtype of another library."""

    def __init__(self, name: str, like: Any):
        self.name, self.like = name, np.dtype(like)

    def __str__(self) -> str:
        return f"otherlib.{self.name}"


class Tensor:
    """An array of a library that has `view`, and whose narrow floats NumPy's DLPack refuses, as PyTorch's."""

    def __init__(self, array: Any, dtype: Type):
        self.array, self.dtype = array, dtype

    def view(self, dtype: Type) -> Tensor:
        return Tensor(self.array.view(dtype.like), dtype)

    def __dlpack__(self, **options: Any) -> Any:
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return self.array.__dlpack_device__()


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Any:
    module: Any = ModuleType("otherlib")
    for dtype in (np.int16, np.uint8, np.float16, BF16, E4M3):
        name = np.dtype(dtype).name
        setattr(module, name, Type(name, dtype))
    module.from_dlpack = lambda a: Tensor(np.from_dlpack(a), getattr(module, a.dtype.name))
    monkeypatch.setitem(sys.modules, "otherlib", module)
    monkeypatch.setattr(Tensor, "__module__", "otherlib")
    return module


@pytest.mark.parametrize("name", ["float16", "bfloat16", "float8_e4m3fn"])
def test_other_libraries(library: Any, name: str) -> None:
    te_name = {"float16": "f16", "bfloat16": "bf16", "float8_e4m3fn": "f8e4m3"}[name]
    kernel = te.build(DOUBLE.format(te_name))
    dtype = getattr(library, name)
    found = kernel(Tensor(np.array([1, 2, 3]).astype(dtype.like), dtype))
    assert isinstance(found, Tensor)
    assert found.dtype is dtype
    np.testing.assert_array_equal(found.array.astype(np.float32), [2, 4, 6])
    out = Tensor(np.zeros(3, dtype.like), dtype)
    assert kernel(np.ones(3, dtype.like), out=out) is out
    np.testing.assert_array_equal(out.array.astype(np.float32), [2, 2, 2])


def test_other_libraries_without_integers(library: Any, double: Any) -> None:
    del library.int16
    with pytest.raises(TypeError, match=r"double: `X` cannot be shared through DLPack: .*int16"):
        double(Tensor(np.ones(3, BF16), library.bfloat16))


# ---------------------------------------------------------------- files


def test_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A .npy file holds f16, and of bf16 only the bits."""
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", np.array([1.5, 2], np.float16))
    (tmp_path / "half.te").write_text(DOUBLE.format("f16"), encoding="utf-8")
    assert main(["run", "half.te", "--input", "X=x.npy"]) == 0
    assert capsys.readouterr().out == "Y: f16[2]\n[3. 4.]\n"
    (tmp_path / "brain.te").write_text(DOUBLE.format("bf16"), encoding="utf-8")
    assert main(["run", "brain.te", "--input", "X=x.npy"]) != 0
    assert (
        "x.npy: `X` holds bfloat16, which .npy files cannot: cast to f32 in the op" in capsys.readouterr().err
    )
    (tmp_path / "convert.te").write_text(
        "op convert(X: f16[N]) -> Y: bf16[N] { Y[i] = bf16(X[i]) }", encoding="utf-8"
    )
    assert main(["run", "convert.te", "--input", "X=x.npy"]) == 0
    assert capsys.readouterr().out == "Y: bf16[2]\n[1.5 2]\n"
    assert main(["run", "convert.te", "--input", "X=x.npy", "--output", "Y=y.npy"]) != 0
    assert "y.npy: `Y` holds bfloat16" in capsys.readouterr().err
