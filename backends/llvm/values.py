"""Values of LLVM IR while a function is written: a text with a type, and where it may be used."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from te.ir.floats import bits_of, nearest
from te.ir.types import BOOL, I64, DType

POINTER = DType("pointer", "pointer", 64)


@dataclass(frozen=True, slots=True)
class Value:
    """A constant, or the name of an instruction's result.

    With `lanes > 1` it is a vector with one element for each trip of the vector loop. `depth` is
    the position of the scope that defines it (`emitter.py`). `constant` is known for scalars and
    for vectors of equal lanes.
    """

    text: str
    dtype: DType
    lanes: int = 1
    depth: int = 0
    constant: int | float | bool | None = None
    is_nonnegative: bool = False

    @property
    def type(self) -> str:
        return type_of(self.dtype, self.lanes)

    @property
    def typed(self) -> str:
        return f"{self.type} {self.text}"


def scalar_type(dtype: DType) -> str:
    """LLVM's type for values. Narrow floats are integers, which `narrow.py` makes floats of."""
    match dtype.kind:
        case "bool":
            return "i1"
        case "pointer":
            return "ptr"
        case "float" if not dtype.is_narrow:
            return "float" if dtype.bits == 32 else "double"
        case _:
            return f"i{dtype.bits}"


def type_of(dtype: DType, lanes: int = 1) -> str:
    scalar = scalar_type(dtype)
    return scalar if lanes == 1 else f"<{lanes} x {scalar}>"


def memory_type(dtype: DType, lanes: int = 1) -> str:
    """The type of an element in memory: a bool takes a byte there."""
    scalar = "i8" if dtype == BOOL else scalar_type(dtype)
    return scalar if lanes == 1 else f"<{lanes} x {scalar}>"


def suffix(dtype: DType, lanes: int = 1) -> str:
    """How intrinsics name the type: `v16f32`."""
    letter = "f" if dtype.is_float and not dtype.is_narrow else "i"
    scalar = "p0" if dtype == POINTER else f"{letter}{dtype.bits}"
    return scalar if lanes == 1 else f"v{lanes}{scalar}"


def parameter(name: str, dtype: DType = POINTER) -> Value:
    """A function's parameter. Numbers are sizes and the like: at least 0."""
    return Value(f"%{name}", dtype, is_nonnegative=dtype == I64)


def constant(value: int | float | bool, dtype: DType, lanes: int = 1) -> Value:
    """A literal, in every lane."""
    if dtype.is_float:
        value = float(value)
        text = float_text(value, dtype)
    elif dtype == BOOL:
        value = bool(value)
        text = "true" if value else "false"
    else:
        value = int(value)
        text = str(value)
    if lanes > 1:
        text = f"splat ({scalar_type(dtype)} {text})"
    return Value(text, dtype, lanes, constant=value, is_nonnegative=dtype == I64 and value >= 0)


def float_text(value: float, dtype: DType) -> str:
    """LLVM writes floats of 32 and 64 bits as the bits of a double. Narrow ones are integers here."""
    if dtype.is_narrow:
        return str(bits_of(nearest(value, dtype), dtype))
    if value != value:
        return "0x7FF8000000000000"
    if dtype.bits == 32:
        value = round_to_f32(value)
    return f"0x{struct.unpack('<Q', struct.pack('<d', value))[0]:016X}"


def round_to_f32(value: float) -> float:
    try:
        return float(struct.unpack("<f", struct.pack("<f", value))[0])
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")


def lane_numbers(lanes: int, start: int = 0, step: int = 1, dtype: DType = I64) -> Value:
    """The constant vector `start, start + step, ...`."""
    scalar = scalar_type(dtype)
    numbers = ", ".join(f"{scalar} {start + step * lane}" for lane in range(lanes))
    return Value(f"<{numbers}>", dtype, lanes)


def shuffle_mask(numbers: Sequence[int]) -> str:
    """The mask of a `shufflevector`; what a negative number picks is undefined."""
    return f"<{len(numbers)} x i32> <{', '.join(f'i32 {n}' if n >= 0 else 'i32 poison' for n in numbers)}>"


def ascii_name(name: str) -> str:
    """A name that LLVM takes without quotes."""
    return "".join(c if c.isascii() and (c.isalnum() or c in "._") else "_" for c in name)
