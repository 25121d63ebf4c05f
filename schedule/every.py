"""Copies of every n-th element along an axis: of what windows with a stride read, and of nothing between.

    for x < 16: ... X[2*x + 32*b + s]      reads every second element from 32*b + s on

A copy in shared memory, which is scarce, holds those alone: element `q` of the copy is `low + 2 * q` of the tensor.
Along such an axis a copy has indices of its own, from 0 on; along the others it keeps those of the tensor.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import gcd

from te.ir.bounds import Facts
from te.ir.expr import Const, Expr, add, floor_div, integer, mul, sub
from te.ir.loop import For, Let, Stmt
from te.ir.simplify import simplify
from te.ir.tensor import Axis
from te.ir.visit import loads, substitute, variables
from te.schedule.finalize.guards import coefficient
from te.schedule.nest import guarded_copy, guards_of_box
from te.schedule.regions import Box, Use


def steps_of(uses: Sequence[Use], box: Box, facts: Facts) -> tuple[int, ...]:
    """How far apart the elements are that are read along each axis of a box."""
    return tuple(_step(uses, axis, box, facts) for axis in range(len(box.low)))


def _step(uses: Sequence[Use], axis: int, box: Box, facts: Facts) -> int:
    """The step that all loops inside take from the same first element; 1 where they take others, or it is not known."""
    step = 0
    for use in uses:
        values: dict[str, Expr] = {}
        inside: dict[str, For] = {}
        for s in use.path:
            if isinstance(s, Let):
                values[s.var] = substitute(s.value, values)
            elif isinstance(s, For):
                inside[s.var] = s
        index = substitute(use.index[axis], values)
        if any(True for _ in loads(index)):
            return 1
        moving = [loop for name, loop in inside.items() if name in variables(index)]
        for loop in moving:
            if loop.extent == integer(1):
                continue
            factor = coefficient(index, loop.var)
            if factor is None:
                return 1
            step = gcd(step, factor)
        first = simplify(
            sub(substitute(index, {loop.var: integer(0) for loop in moving}), box.low[axis]), facts
        )
        if not isinstance(first, Const):
            return 1
        step = gcd(step, int(first.value))
    return step if step > 1 and isinstance(box.extents[axis], Const) else 1


@dataclass(frozen=True, slots=True)
class Every:
    """Which elements of a tensor a copy holds: along each axis every so many from `low` on."""

    low: tuple[Expr, ...]
    steps: tuple[int, ...]

    def box(self, box: Box) -> Box:
        """What of the copy's own indices a box of the tensor is."""
        low = [integer(0) if step > 1 else i for i, step in zip(self.low, self.steps, strict=True)]
        extents = [
            integer(-(-int(n.value) // step)) if isinstance(n, Const) and step > 1 else n
            for n, step in zip(box.extents, self.steps, strict=True)
        ]
        return replace(box, low=tuple(low), extents=tuple(extents))

    def axes(self, axes: Sequence[Axis], box: Box) -> tuple[Axis, ...]:
        """The axes of the copy: those of the tensor, or of the box where elements are left out."""
        return tuple(
            replace(axis, extent=extent) if step > 1 else axis
            for axis, extent, step in zip(axes, box.extents, self.steps, strict=True)
        )

    def in_tensor(self, index: Sequence[Expr]) -> tuple[Expr, ...]:
        """Which element of the tensor an element of the copy is."""
        return tuple(
            add(low, mul(integer(step), i)) if step > 1 else i
            for i, low, step in zip(index, self.low, self.steps, strict=True)
        )

    def in_copy(self, index: Sequence[Expr], names: Mapping[str, Expr], facts: Facts) -> tuple[Expr, ...]:
        """Which element of the copy an element of the tensor is; `names` are those inside of the place."""
        return tuple(
            simplify(floor_div(sub(substitute(i, names), low), integer(step)), facts) if step > 1 else i
            for i, low, step in zip(index, self.low, self.steps, strict=True)
        )

    def guarded(self, nest: Stmt, shape: Sequence[Expr], facts: Facts) -> Stmt:
        """The nest that makes the copy, with guards of the elements that the tensor does not have."""
        own = [n for n, step in enumerate(self.steps) if step > 1]

        def inside(index: Sequence[Expr], known: Facts) -> Expr:
            return guards_of_box([index[n] for n in own], [shape[n] for n in own], known)

        return guarded_copy(nest, facts, inside)
