"""Element types.

A `DType` is plain data; NumPy's twin of it is made on demand, so that importing
te does not import NumPy.

Meaning of arithmetic on each kind:

- `int`, `uint`: wraps modulo 2**bits. `//` and `%` round toward minus infinity;
  `x // 0` and `x % 0` are 0; the smallest integer `// -1` wraps to itself.
  A shift count is taken modulo the width; `>>` of a signed value keeps the sign.
- `float`: IEEE 754, round to nearest even, subnormals kept. No operation traps.
  The narrow ones (f16, bf16, f8e4m3, f8e5m2) are stored, selected and cast, and
  take part in no operator: a value is cast to f32 first (`te.elaborate.narrow`).
  f8e4m3 is the OCP type: largest 448, no infinity; what overflows is NaN.
- `bool`: only `and`, `or`, `not`, comparison and selection.
- Casts: to a float rounds once, whatever the source; float to integer truncates,
  saturates, and takes NaN to 0; integer to a narrower integer wraps; to `bool` is
  `!= 0`.

`LITERAL_INT` and `LITERAL_FLOAT` are the types of literals that have not met a
context yet. They occur only inside `te.elaborate`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, slots=True)
class DType:
    name: str
    kind: str  # "bool", "int", "uint", "float" or "literal"
    bits: int

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return self.name

    @property
    def bytes(self) -> int:
        return max(1, self.bits // 8)

    @property
    def is_float(self) -> bool:
        return self.kind == "float"

    @property
    def is_narrow(self) -> bool:
        """Whether it is a float that is stored in fewer bits than it is computed with."""
        return self.kind == "float" and self.bits < 32

    @property
    def is_integer(self) -> bool:
        return self.kind in ("int", "uint")

    @property
    def is_signed(self) -> bool:
        return self.kind in ("int", "float")


BOOL = DType("bool", "bool", 1)
I8 = DType("i8", "int", 8)
I16 = DType("i16", "int", 16)
I32 = DType("i32", "int", 32)
I64 = DType("i64", "int", 64)
U8 = DType("u8", "uint", 8)
U16 = DType("u16", "uint", 16)
U32 = DType("u32", "uint", 32)
U64 = DType("u64", "uint", 64)
F16 = DType("f16", "float", 16)
BF16 = DType("bf16", "float", 16)
F32 = DType("f32", "float", 32)
F64 = DType("f64", "float", 64)
F8E4M3 = DType("f8e4m3", "float", 8)
F8E5M2 = DType("f8e5m2", "float", 8)

LITERAL_INT = DType("integer literal", "literal", 0)
LITERAL_FLOAT = DType("float literal", "literal", 0)

DTYPES: dict[str, DType] = {
    t.name: t for t in (BOOL, I8, I16, I32, I64, U8, U16, U32, U64, F16, BF16, F32, F64, F8E4M3, F8E5M2)
}
# What `<T: float>` and `<T: int>` stand for; the first one stands for all where nothing decides.
GENERIC_KINDS: dict[str, tuple[DType, ...]] = {
    "float": (F32, F64, F16, BF16),
    "int": (I32, I64, I8, I16, U8, U16, U32, U64),
}

_NUMPY_NAMES = {
    "bool": "bool",
    "i8": "int8",
    "i16": "int16",
    "i32": "int32",
    "i64": "int64",
    "u8": "uint8",
    "u16": "uint16",
    "u32": "uint32",
    "u64": "uint64",
    "f16": "float16",
    "f32": "float32",
    "f64": "float64",
}
_ML_DTYPES_NAMES = {"bf16": "bfloat16", "f8e4m3": "float8_e4m3fn", "f8e5m2": "float8_e5m2"}


def numpy_name(dtype: DType) -> str:
    """How a Python program writes NumPy's dtype for an element type: `np.float32`, `ml_dtypes.bfloat16`."""
    if dtype.name in _ML_DTYPES_NAMES:
        return f"ml_dtypes.{_ML_DTYPES_NAMES[dtype.name]}"
    return f"np.{_NUMPY_NAMES[dtype.name]}"


@cache
def numpy_dtype(dtype: DType) -> np.dtype:
    """NumPy's dtype for an element type. Those that NumPy lacks are from ml_dtypes, which loads here."""
    import numpy as np

    if dtype.name in _ML_DTYPES_NAMES:
        import ml_dtypes

        return np.dtype(getattr(ml_dtypes, _ML_DTYPES_NAMES[dtype.name]))
    return np.dtype(_NUMPY_NAMES[dtype.name])


def dtype_named(numpy_name: str) -> DType | None:
    """The element type whose NumPy twin has that name, such as `float32` or `bfloat16`."""
    return _BY_NUMPY_NAME.get(numpy_name)


_BY_NUMPY_NAME = {name: DTYPES[te] for te, name in (_NUMPY_NAMES | _ML_DTYPES_NAMES).items()}


def integer_limits(dtype: DType) -> tuple[int, int]:
    """The smallest and the largest value of an integer type."""
    if dtype.kind == "int":
        return -(1 << (dtype.bits - 1)), (1 << (dtype.bits - 1)) - 1
    return 0, (1 << dtype.bits) - 1


def wrap_integer(value: int, dtype: DType) -> int:
    """`value` modulo 2**bits, in the range of `dtype`."""
    low, _ = integer_limits(dtype)
    return (value - low) % (1 << dtype.bits) + low
