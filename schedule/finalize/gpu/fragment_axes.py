"""How loops run along the axes of tiles that lanes hold, and what they become over lanes and slots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

from te.diagnostics import error
from te.ir.expr import Const, Expr, Var, compare, integer, sub
from te.ir.loop import (
    SERIAL,
    TENSORIZED,
    UNROLLED,
    VECTOR,
    Alloc,
    For,
    If,
    Let,
    Stmt,
    direct_exprs,
    walk_stmt,
)
from te.ir.visit import substitute, variables
from te.schedule.finalize.guards import coefficient, conjunction
from te.schedule.fragments import Fragment
from te.schedule.late import LateRefusal
from te.schedule.matrices import Placed
from te.schedule.names import Path


def refuse_access(buffer: str, reason: str) -> NoReturn:
    raise LateRefusal(
        error(
            "fragment-access",
            f"`{buffer}`, which lies over the lanes of a warp as an instruction has it, cannot be used so: {reason}",
            None,
            help="loops over its rows and columns run through whole tiles of the instruction: split them by "
            "its numbers of rows and columns",
        ),
        (buffer,),
        "lies over the lanes",
    )


@dataclass(frozen=True, slots=True)
class Along:
    """How an access goes along an axis of a tile: what loops step inside of the tile, with their steps."""

    inside: tuple[tuple[int, For], ...]  # the smallest step first
    across: tuple[tuple[int, For], ...]  # that go on into the next tiles


def along(index: Expr, extent: int, loops: Sequence[For]) -> Along:
    """What loops do to an index along an axis of tiles with so many elements."""
    inside: list[tuple[int, For]] = []
    across: list[tuple[int, For]] = []
    for loop in loops:
        step = coefficient(index, loop.var)
        if step is None or step < 0:
            continue
        if step % extent == 0:
            continue
        trips = int(loop.extent.value) if isinstance(loop.extent, Const) else 0
        (inside if 0 < step * trips <= extent else across).append((step, loop))
    return Along(tuple(sorted(inside, key=lambda x: x[0])), tuple(across))


def loops_inside(path: Path, buffer: str) -> list[For]:
    """The loops of a path, inside of an allocation, in which a statement is repeated by one thread."""
    start = next(n for n, s in enumerate(path) if isinstance(s, Alloc) and s.buffer.name == buffer)
    kinds = (SERIAL, UNROLLED, VECTOR, TENSORIZED)
    return [s for s in path[start:] if isinstance(s, For) and s.kind in kinds]


def relative(index: Expr, axis: int, at: Placed, path: Path) -> Expr:
    """An index from the beginning of the buffer on, over the loops around it."""
    values: dict[str, Expr] = {}
    for s in path:
        if isinstance(s, Let):
            values[s.var] = substitute(s.value, values)
    low = at.buffer.origin[axis] if at.buffer.origin else integer(0)
    whole = sub(index, low)
    return substitute(whole, {n: v for n, v in values.items() if not _is_division(v)})


def _is_division(e: Expr) -> bool:
    """Whether a name stands for a part of a fused loop."""
    return not all(coefficient(e, name) is not None for name in variables(e))


@dataclass(frozen=True, slots=True)
class Nest:
    """What the loops in a tile are over the lane and its slots."""

    lane: str
    slots: tuple[tuple[str, int], ...]
    values: Mapping[str, Expr]  # by the variables of the loops that go
    fragment: Fragment

    def used(self, s: Stmt) -> list[tuple[str, int]]:
        """The slots that a statement runs through."""
        names = {v for x, _ in walk_stmt(s) for e in direct_exprs(x) for v in variables(e)}
        return [slot for slot in self.slots if slot[0] in names]

    def by_one_lane(self, s: Stmt) -> Stmt:
        """What is done once, where several lanes have the same elements."""
        others = self.fragment.others(Var(self.lane)).values()
        first = [compare("==", digit, integer(0)) for digit in others]
        return If(conjunction(first), s) if first else s
