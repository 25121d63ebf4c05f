"""Sizes for which a kernel's index arithmetic would overflow.

Every kernel has a size up to which nothing can overflow, whatever the other sizes. It is low where
many sizes are multiplied (2**15 for a tensor of four axes), so a larger one is not refused by it:
then the arithmetic is judged for the very sizes of the call.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from te.ir import loop
from te.ir.bounds import Facts, magnitude_limit
from te.ir.expr import Const, Expr, integer, mul, sub
from te.ir.loop import For, Let, Stmt
from te.ir.magnitude import LIMIT
from te.ir.visit import substitute

Range = tuple[str, Expr, Expr]
Part = tuple[list[Expr], tuple[Range, ...]]


class SizeLimit:
    """Which sizes a kernel can take. `limit` takes milliseconds."""

    def __init__(self, kernel: loop.Kernel):
        self._kernel = kernel

    def allows(self, sizes: Sequence[int]) -> bool:
        """Whether no index arithmetic overflows for these values of the kernel's run-time sizes."""
        values = dict(zip(self._kernel.program.sizes, map(integer, sizes), strict=True))
        return all(
            magnitude_limit([substitute(e, values) for e in exprs], Facts(_with_values(ranges, values)))
            == LIMIT
            for exprs, ranges in self._parts
        )

    @cached_property
    def limit(self) -> int:
        """No size up to this one overflows anything; 0 where that is never certain."""
        limit = LIMIT
        for exprs, ranges in self._parts:  # most are no stricter than those before, which is seen at once
            limit = magnitude_limit(exprs, Facts(ranges), limit)
        return limit

    @cached_property
    def _parts(self) -> list[Part]:
        """Expressions, with the ranges of the variables in them: of each loop's body, and of the buffers."""
        buffers = [*self._kernel.arguments]
        parts: list[Part] = [([], ())]
        _collect(self._kernel.body, parts[0], parts, buffers)
        parts.append(([_bytes(buffer) for buffer in buffers], ()))
        return parts


def _collect(s: Stmt, part: Part, parts: list[Part], buffers: list[loop.Buffer]) -> None:
    """Add the expressions of a statement to the part of the loop around it, and those inside to theirs."""
    exprs, ranges = part
    exprs += loop.direct_exprs(s)
    match s:
        case loop.Alloc():
            buffers.append(s.buffer)
        case For() | Let():
            fetched = [i for one in s.prefetches for i in one.index] if isinstance(s, For) else []
            part = (fetched, (*ranges, (s.var, integer(0), sub(s.extent, integer(1)))))
            parts.append(part)
    for body in loop.bodies(s):
        _collect(body, part, parts, buffers)


def _bytes(buffer: loop.Buffer) -> Expr:
    total: Expr = integer(buffer.dtype.bytes)
    for extent in buffer.shape:
        total = mul(total, extent)
    return total


def _with_values(ranges: tuple[Range, ...], values: dict[str, Const]) -> tuple[Range, ...]:
    return tuple((name, substitute(low, values), substitute(high, values)) for name, low, high in ranges)
