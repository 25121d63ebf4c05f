"""Element types.

A `DType` is plain data; NumPy's twin of it is made on demand, so that importing
te does not import NumPy.

Meaning of arithmetic on each kind:

- `int`, `uint`: wraps modulo 2**bits. `//` and `%` round toward minus infinity;
  `x // 0` and `x % 0` are 0; the smallest integer `// -1` wraps to itself.
  A shift count is taken modulo the width; `>>` of a signed value keeps the sign.
- `float`: IEEE 754, round to nearest even, subnormals kept. No operation traps.
- `bool`: only `and`, `or`, `not`, comparison and selection.
- Casts: float to integer truncates, saturates, and takes NaN to 0; integer to a
  narrower integer wraps; to `bool` is `!= 0`.

`LITERAL_INT` and `LITERAL_FLOAT` are the types of literals that have not met a
context yet. They occur only inside `te.elaborate`.
"""

from __future__ import annotations

from dataclasses import dataclass
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
    def is_integer(self) -> bool:
        return self.kind in ("int", "uint")

    @property
    def is_signed(self) -> bool:
        return self.kind in ("int", "float")


BOOL = DType("bool", "bool", 1)
I32 = DType("i32", "int", 32)
I64 = DType("i64", "int", 64)
U8 = DType("u8", "uint", 8)
F32 = DType("f32", "float", 32)
F64 = DType("f64", "float", 64)

LITERAL_INT = DType("integer literal", "literal", 0)
LITERAL_FLOAT = DType("float literal", "literal", 0)

DTYPES: dict[str, DType] = {t.name: t for t in (BOOL, U8, I32, I64, F32, F64)}

_NUMPY_NAMES = {"bool": "bool", "u8": "uint8", "i32": "int32", "i64": "int64", "f32": "float32", "f64": "float64"}


def numpy_dtype(dtype: DType) -> np.dtype:
    """NumPy's dtype for an element type."""
    import numpy as np

    return np.dtype(_NUMPY_NAMES[dtype.name])


def integer_limits(dtype: DType) -> tuple[int, int]:
    """The smallest and the largest value of an integer type."""
    if dtype.kind == "int":
        return -(1 << (dtype.bits - 1)), (1 << (dtype.bits - 1)) - 1
    return 0, (1 << dtype.bits) - 1


def wrap_integer(value: int, dtype: DType) -> int:
    """`value` modulo 2**bits, in the range of `dtype`."""
    low, _ = integer_limits(dtype)
    return (value - low) % (1 << dtype.bits) + low
