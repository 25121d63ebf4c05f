"""Layouts that are one to one: each axis whole, or cut into digits that make it up.

[k // 16, c, k % 16]        of `k`, the digits from 16 up and those below
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from te.diagnostics import did_you_mean
from te.ir.expr import Const, Expr, Op, Var
from te.ir.loop import (
    Layout,
)
from te.ir.visit import variables
from te.schedule.buffers import refuse_storage
from te.schedule.directives import CacheRead
from te.schedule.forms import Directive
from te.schedule.forms import Layout as LayoutForm


@dataclass(frozen=True, slots=True)
class _Digits:
    """`(x // low) % (high // low)`: the digits of an axis from one place value to another."""

    axis: str
    low: int
    high: int | None  # None: to the end


def checked_layout(d: Directive, axes: Sequence[str], form: LayoutForm, shape: Sequence[Expr]) -> Layout:
    """The layout, once it is shown that no two elements share a place."""
    clause = "layout" if isinstance(d, CacheRead) else "as_"
    found: dict[str, list[_Digits]] = {axis: [] for axis in axes}
    for dim in form.dims:
        unknown = sorted(variables(dim) - {*axes})
        if unknown:
            there_are = f"the axes are {', '.join(f'`{a}`' for a in axes)}"
            suggestion = did_you_mean(unknown[0], axes)
            refuse_storage(
                d,
                clause,
                f"the layout mentions `{unknown[0]}`, which is no axis",
                "unknown axis",
                help=f"{suggestion}\n{there_are}" if suggestion else there_are,
            )
        digits = _digits(dim)
        if digits is None:
            refuse_storage(
                d,
                clause,
                "a dimension of a layout is an axis `x`, `x // 16`, `x % 16` or `x // 4 % 16`",
                "of another form",
            )
        found[digits.axis].append(digits)
    for axis, extent in zip(axes, shape, strict=True):
        problem = _gap(found[axis], extent)
        if problem:
            refuse_storage(
                d, clause, f"elements would share a place: of `{axis}`, {problem}", "not one to one"
            )
    return Layout(tuple(axes), form.dims)


def _digits(e: Expr) -> _Digits | None:
    match e:
        case Var(name=name):
            return _Digits(name, 1, None)
        case Op(op="//", args=(Var(name=name), Const(value=low))) if low > 0:
            return _Digits(name, int(low), None)
        case Op(op="%", args=(Var(name=name), Const(value=high))) if high > 0:
            return _Digits(name, 1, int(high))
        case Op(op="%", args=(Op(op="//", args=(Var(name=name), Const(value=low))), Const(value=n))):
            return _Digits(name, int(low), int(low) * int(n)) if low > 0 and n > 0 else None
    return None


def _gap(parts: Sequence[_Digits], extent: Expr) -> str | None:
    """What is missing, or there twice, so that the parts are no mixed-radix number."""
    reached: int | None = 1
    for part in sorted(parts, key=lambda p: p.low):
        if reached is None or part.low < reached:
            return "some digits stand there twice"
        if part.low > reached:
            return (
                f"what lies between `// {reached}` and `// {part.low}` is missing"
                if reached > 1
                else (f"`% {part.low}` is missing")
            )
        reached = part.high
    is_whole = reached is None or (isinstance(extent, Const) and extent.value <= reached)
    return None if is_whole else f"`// {reached}` is missing" if reached != 1 else "nothing is there"
