"""Fragments: which lane of a warp holds which element of a tile, as instructions of tensor cores take them.

The 32 lanes are 8 groups of 4 members. An index along an axis of a tile is cut into digits; each is the lane's
group, its member of the group, or chooses among the elements that a lane has, in its slots:

    C[16, 8] of mma.m16n8k16:  row = 8 * slot0 + group    column = 2 * member + slot1

So row 11 and column 5 are in lane 4 * 3 + 2, slots 1 and 1. (PTX ISA, "Matrix Fragments for mma.m16n8k16" and
those for the other shapes, which all are of this form: what differs is how many elements a register of 32 bits
has.) A buffer of such tiles is stored as `layout` says: tiles, then lanes, then slots. What belongs to a row, as its
maximum, has the row's digits alone (`along`): all lanes that have elements of the row know it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from math import prod

from te.ir.expr import Const, Expr, Var, add, floor_div, floor_mod, integer, mul
from te.ir.loop import Layout
from te.ir.tensor import Tensor
from te.schedule.intrinsics import Meaning

LANES, GROUPS, MEMBERS = 32, 8, 4
GROUP, MEMBER = "group", "member"
REGISTER_BITS = 32


@dataclass(frozen=True, slots=True)
class Digit:
    """A digit of an index: the lane's group or member, or one of its slots, by number."""

    extent: int
    of: str | int


GROUP_DIGIT, MEMBER_DIGIT = Digit(GROUPS, GROUP), Digit(MEMBERS, MEMBER)


@dataclass(frozen=True, slots=True)
class Fragment:
    """A tile over the lanes of a warp: the digits of the index along each axis, outermost first."""

    axes: tuple[tuple[Digit, ...], ...]

    @property
    def tile(self) -> tuple[int, ...]:
        return tuple(prod(d.extent for d in digits) for digits in self.axes)

    @property
    def is_shared(self) -> bool:
        """Whether several lanes have the same elements, each for itself: no digit is the group, or none the member."""
        return not {GROUP, MEMBER} <= {d.of for digits in self.axes for d in digits}

    @property
    def slots(self) -> tuple[int, ...]:
        """How many values each digit has that chooses among a lane's elements."""
        found = {d.of: d.extent for digits in self.axes for d in digits if isinstance(d.of, int)}
        return tuple(found[n] for n in sorted(found))

    def index(self, lane: Expr, slots: Sequence[Expr]) -> tuple[Expr, ...]:
        """Where in the tile the element is that a lane has in these slots."""
        values: dict[str | int, Expr] = {**_of_lane(lane), **dict(enumerate(slots))}
        found = []
        for digits in self.axes:
            total: Expr = integer(0)
            for digit in digits:
                total = add(mul(total, integer(digit.extent)), values[digit.of])
            found.append(total)
        return tuple(found)

    def place(self, element: Sequence[Expr]) -> tuple[Expr, ...]:
        """The lane that has an element of the tile, and its slots."""
        values = self.values(element)
        lane = add(mul(values[GROUP], integer(MEMBERS)), values[MEMBER])
        return (lane, *(values[n] for n in range(len(self.slots))))

    def values(self, element: Sequence[Expr]) -> dict[str | int, Expr]:
        """The digits of an element, by what they are of."""
        values: dict[str | int, Expr] = {}
        for digits, index in zip(self.axes, element, strict=True):
            weight = 1
            for digit in reversed(digits):
                values[digit.of] = floor_mod(floor_div(index, integer(weight)), integer(digit.extent))
                weight *= digit.extent
        return values

    def own(self, lane: Expr) -> dict[str | int, Expr]:
        """The digits that a lane's own elements have."""
        mine = {d.of for digits in self.axes for d in digits}
        return {digit: value for digit, value in _of_lane(lane).items() if digit in mine}

    def others(self, lane: Expr) -> dict[str | int, Expr]:
        """The digits of a lane in which those differ that have the same elements."""
        mine = self.own(lane)
        return {digit: value for digit, value in _of_lane(lane).items() if digit not in mine}

    def along(self, axis: int) -> Fragment:
        """The elements along one axis alone, as lanes know them that have the tile."""
        numbers = count()
        digits = [Digit(d.extent, next(numbers)) if isinstance(d.of, int) else d for d in self.axes[axis]]
        return Fragment((tuple(digits),))

    def layout(self, rank: int, axes: Sequence[int]) -> Layout:
        """How a buffer of that rank is stored whose axes `axes` are those of the tile."""
        names = tuple(f"x{n}" for n in range(rank))
        tiles = [
            floor_div(Var(name), integer(self.tile[axes.index(n)])) if n in axes else Var(name)
            for n, name in enumerate(names)
        ]
        values = self.values([Var(names[axis]) for axis in axes])
        slots = [values[n] for n in range(len(self.slots))]
        if self.is_shared:
            return Layout(names, (*tiles, *slots))
        return Layout(names, (*tiles, add(mul(values[GROUP], integer(MEMBERS)), values[MEMBER]), *slots))

    def shape(self, shape: Sequence[Expr], axes: Sequence[int]) -> tuple[Expr, ...]:
        """The extents of a buffer that is stored so, in as many tiles as hold it."""
        tiles = [
            integer(-(-int(extent.value) // self.tile[axes.index(n)]))
            if n in axes and isinstance(extent, Const)
            else extent
            for n, extent in enumerate(shape)
        ]
        lanes = () if self.is_shared else (integer(LANES),)
        return (*tiles, *lanes, *map(integer, self.slots))


def _of_lane(lane: Expr) -> dict[str | int, Expr]:
    return {GROUP: floor_div(lane, integer(MEMBERS)), MEMBER: floor_mod(lane, integer(MEMBERS))}


def fragment_of(meaning: Meaning, tensor: Tensor) -> Fragment:
    """How an instruction takes an operand, or its accumulator: along the axes `meaning.axes_of(tensor)`."""
    rows, columns = (axis.name for axis in meaning.data)
    in_register = REGISTER_BITS // tensor.dtype.bits
    parts: dict[str, tuple[Digit, ...]]
    if tensor == meaning.accumulator:
        parts = {rows: (Digit(2, 0), GROUP_DIGIT), columns: (MEMBER_DIGIT, Digit(2, 1))}
    elif rows in meaning.axes_of(tensor):
        parts = {
            rows: (Digit(2, 1), GROUP_DIGIT),
            meaning.k.name: (Digit(2, 0), MEMBER_DIGIT, Digit(in_register, 2)),
        }
    else:
        parts = {columns: (GROUP_DIGIT,), meaning.k.name: (Digit(2, 0), MEMBER_DIGIT, Digit(in_register, 1))}
    fragment = Fragment(tuple(parts[name] for name in meaning.axes_of(tensor)))
    wanted = tuple(meaning.tile[name] for name in meaning.axes_of(tensor))
    if fragment.tile != wanted:
        raise ValueError(
            f"{meaning.name} has tiles of {wanted} for {tensor.name}, and their layout {fragment.tile}"
        )
    return fragment
