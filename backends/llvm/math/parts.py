"""The exponent and the significand of a float, and products with powers of two.

AVX-512 has an instruction for each (`vgetexp`, `vgetmant`, `vscalef`): right for subnormal numbers, 0 and
infinity, where the integer code of other machines needs questions. The instructions take registers: a
scalar or a few lanes are widened to one, many lanes are cut into several.
"""

from __future__ import annotations

from collections.abc import Sequence

from te.backends.llvm.math.code import Number
from te.backends.llvm.values import type_of
from te.ir.types import DType

# vgetmant: of a negative number NaN (0b1100; of -0 it is 1), else in [3/4, 3/2) (0b0011).
_THREE_QUARTERS = 0b1111


def has_instructions(x: Number) -> bool:
    return x.code.module.has_avx512


def exponent_of(x: Number) -> Number:
    """floor(log2 |x|) as a float; -infinity of 0, infinity of infinity."""
    return _in_registers("getexp", x, [x])


def significand_of(x: Number) -> Number:
    """x / 2**n in [3/4, 3/2); 1 of 0 and of infinity, NaN of what is below 0."""
    return _in_registers("getmant", x, [x], _THREE_QUARTERS)


def scale_by_power(x: Number, n: Number) -> Number:
    """x * 2**n, rounded once; n is a whole number, or infinite."""
    return _in_registers("scalef", x, [x, n])


def _in_registers(name: str, x: Number, args: Sequence[Number], *immediate: int) -> Number:
    """An instruction of AVX-512 on all lanes, in as many registers as they fill."""
    code, dtype, lanes = x.code, x.dtype, x.code.lanes
    width = next((n for n in (128, 256, 512) if lanes * dtype.bits <= n), 512) // dtype.bits
    count = -(-lanes // width)
    parts = [
        _call(name, dtype, width, [_part(a, p * width, width) for a in args], immediate, x)
        for p in range(count)
    ]
    return Number(code, dtype, _joined(parts, x, width))


def _call(
    name: str, dtype: DType, width: int, args: Sequence[str], immediate: Sequence[int], x: Number
) -> str:
    kind = type_of(dtype, width)
    symbol = f"llvm.x86.avx512.mask.{name}.p{'s' if x.is_f32 else 'd'}.{width * dtype.bits}"
    # What stands in lanes that are masked out (none is), the mask, and of 512 bits how to round.
    operands = (
        [(kind, a) for a in args]
        + [("i32", str(i)) for i in immediate]
        + [(kind, "zeroinitializer"), (f"i{max(8, width)}", "-1")]
    )
    if width * dtype.bits == 512:
        operands.append(("i32", "4"))
    types, values = ", ".join(t for t, _ in operands), ", ".join(" ".join(o) for o in operands)
    x.code.module.declare(f"declare {kind} @{symbol}({types})")
    return x.code.write(f"call {kind} @{symbol}({values})", dtype).text


def _part(x: Number, first: int, width: int) -> str:
    """Some of the lanes, as a vector of `width`; lanes beyond the last are undefined."""
    if x.code.lanes == width:
        return x.text
    wide = type_of(x.dtype, width)
    if x.code.lanes == 1:
        return x.code.write(f"insertelement {wide} poison, {x.typed}, i64 0", x.dtype).text
    return x.code.write(
        f"shufflevector {x.typed}, {x.type} poison, {_lanes(range(first, first + width), x.code.lanes)}",
        x.dtype,
    ).text


def _joined(parts: Sequence[str], x: Number, width: int) -> str:
    """The lanes of all the parts."""
    lanes, code, dtype = x.code.lanes, x.code, x.dtype
    if lanes == width:
        return parts[0]
    if lanes == 1:
        return code.write(f"extractelement {type_of(dtype, width)} {parts[0]}, i64 0", dtype).text
    while len(parts) > 1:
        parts = [*parts, "poison"] if len(parts) % 2 else parts
        kind = type_of(dtype, width)
        mask = _lanes(range(2 * width), 2 * width)
        parts = [
            code.write(f"shufflevector {kind} {a}, {kind} {b}, {mask}", dtype).text
            for a, b in zip(parts[::2], parts[1::2], strict=True)
        ]
        width *= 2
    if lanes == width:
        return parts[0]
    kind = type_of(dtype, width)
    return code.write(
        f"shufflevector {kind} {parts[0]}, {kind} poison, {_lanes(range(lanes), width)}", dtype
    ).text


def _lanes(chosen: Sequence[int], there_are: int) -> str:
    """The mask of a shuffle; lanes that there are not are undefined."""
    indices = ", ".join(f"i32 {i}" if i < there_are else "i32 poison" for i in chosen)
    return f"<{len(chosen)} x i32> <{indices}>"
