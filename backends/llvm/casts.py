"""Conversions between dtypes, with the meaning `te.ir.types` gives them."""

from __future__ import annotations

from te.backends.llvm.arithmetic import compare
from te.backends.llvm.emitter import Emitter
from te.backends.llvm.narrow import narrowed, widened
from te.backends.llvm.values import Value, constant, suffix, type_of
from te.ir.types import BOOL, DType


def cast(emit: Emitter, a: Value, to: DType) -> Value:
    """Conversion: integers wrap, floats round, float to integer saturates and takes NaN to 0."""
    source = a.dtype
    if source == to:
        return a
    if source.is_narrow:
        return cast(emit, widened(emit, a), to)
    if to.is_narrow:
        return narrowed(emit, a, to)
    if to == BOOL:
        return compare(emit, "!=", a, constant(0, source, a.lanes))
    if source.is_float and to.is_integer:
        name = f"llvm.fpto{'s' if to.is_signed else 'u'}i.sat.{suffix(to, a.lanes)}.{suffix(source, a.lanes)}"
        return emit.call(name, to, [a], a.lanes, costly=False)
    if source.is_float:
        name = "fpext" if to.bits > source.bits else "fptrunc"
    elif to.is_float:
        name = "sitofp" if source.is_signed else "uitofp"
    elif to.bits > source.bits:
        name = "sext" if source.is_signed else "zext"
    elif to.bits < source.bits:
        name = "trunc"
    else:
        name = "bitcast"
    return emit.pure(f"{name} {a.typed} to {type_of(to, a.lanes)}", to, [a], a.lanes)
