"""Literals of CUDA C++."""

from __future__ import annotations

import math

from te.backends.cuda.prelude import type_name
from te.ir.expr import Const
from te.ir.floats import nearest
from te.ir.types import BOOL, F32, DType, numpy_dtype, wrap_integer


def literal(c: Const) -> str:
    """A constant, exactly."""
    if c.dtype == BOOL:
        return "true" if c.value else "false"
    if c.dtype.is_integer:
        return _integer(wrap_integer(int(c.value), c.dtype), c.dtype)
    if c.dtype.is_narrow:
        return f"({type_name(c.dtype)}){_bits(c):#x}"
    value = nearest(float(c.value), c.dtype)
    if not math.isfinite(value):
        return (
            f"__uint_as_float({_bits(c):#x}u)" if c.dtype == F32 else f"__longlong_as_double({_bits(c):#x}ll)"
        )
    text = repr(value)
    text = text if "." in text or "e" in text else f"{text}.0"
    return f"{text}f" if c.dtype == F32 else text


def _integer(value: int, dtype: DType) -> str:
    if dtype.bits < 32:
        return f"(te_{dtype}){value}"
    if dtype.kind == "uint":
        return f"{value}u" if dtype.bits == 32 else f"{value}ull"
    suffix = "" if dtype.bits == 32 else "ll"
    low = -(1 << (dtype.bits - 1))
    return f"({low + 1}{suffix} - 1)" if value == low else f"{value}{suffix}"


def _bits(c: Const) -> int:
    import numpy as np

    with np.errstate(all="ignore"):
        value = np.array(numpy_dtype(c.dtype).type(c.value))
    return int(value.view(f"u{value.dtype.itemsize}"))
