"""Contractions: a sum of products of two tensors, in tiles that stay in registers.

    C[b, i, j] = sum[k](A[b, i, k] * B[b, k, j])

Axes of both tensors and the result are *batches* (b), of one of them *rows* (i) and *columns* (j), and
those that are summed over *terms* (k). The last axis of the result is a column, along which
vectors run. A tile of rows and columns is summed up in registers; for each term, its vectors of B
are loaded once, and each element of A is broadcast. Where B does not lie as the tile reads it, or is
larger than the caches hold, it is packed: panels as wide as a tile, each one stream of memory.

The tile sizes and the order of loops are those of Goto and van de Geijn, "Anatomy of
high-performance matrix multiplication" (2008); docs/performance.md has what was measured.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from math import prod

from te.ir.bounds import NO_FACTS
from te.ir.expr import (
    TRUE,
    Cast,
    Const,
    Expr,
    Load,
    Op,
    Var,
    both,
    compare,
    floor_div,
    floor_mod,
    integer,
    mul,
)
from te.ir.simplify import simplify
from te.ir.tensor import Axis, Program, Stage
from te.schedule.auto.loops import PARALLEL_WORK, lanes_of
from te.schedule.auto.tiles import fused, pointwise_readers
from te.schedule.directives import (
    CacheRead,
    ComputeAt,
    Parallel,
    Reorder,
    SetLayout,
    SetScope,
    Split,
    Unroll,
    Vectorize,
)
from te.schedule.forms import Directive, Layout, Scope, TensorAxes
from te.schedule.nest import loop_name
from te.target import Target

PACKED_ELEMENTS = 1 << 20  # of B from which on packing pays; smaller ones stay in the second-level cache
PACKED_ROWS = 256  # of A, below which a panel of B is not used often enough
BLOCK_OF_TERMS = 1024  # of a packed panel: 128 KiB of f32 in 32 columns


@dataclass(frozen=True, slots=True)
class Contraction:
    """A stage that sums products of two tensors, with its axes by their roles."""

    stage: Stage
    right: Load  # of the two, what moves along the vectors
    batches: tuple[Axis, ...]
    rows: tuple[Axis, ...]
    columns: tuple[Axis, ...]
    terms: tuple[Axis, ...]

    def loop(self, axis: Axis, part: str = "") -> str:
        """The loop of an axis, or a part of it."""
        return loop_name(self.stage.name, axis.name + part)

    @property
    def is_turned(self) -> bool:
        """Whether neighbours in a vector are no neighbours in memory."""
        return self.right.index[-1] != Var(self.columns[-1].name)

    def may_pack(self, program: Program) -> bool:
        """Whether it is a question of sizes, which a condition can ask, if B is packed."""
        extents = [axis.extent for axis in (*self.rows, *self.columns, *self.terms)]
        is_asked = all(isinstance(extent, Const | Var) for extent in extents)
        return is_asked and not self.is_turned and self.right.buffer not in program.params

    def is_large(self) -> Expr:
        """For which sizes packing pays: B does not fit into the second-level cache, and is used often."""
        elements = [axis.extent for axis in (*self.columns, *self.terms)]
        rows = [axis.extent for axis in self.rows]
        large = compare(">=", reduce(mul, elements), integer(PACKED_ELEMENTS))
        return simplify(both(large, compare(">=", reduce(mul, rows), integer(PACKED_ROWS))), NO_FACTS)


@dataclass(frozen=True, slots=True)
class Plan:
    """Lines that belong together, and the stages that they schedule."""

    lines: tuple[Directive, ...]
    stages: tuple[str, ...]


def contraction_of(stage: Stage) -> Contraction | None:
    """The roles of a stage's axes, if it is a contraction with rows, columns and terms."""
    reduction = stage.reduction
    if reduction is None or reduction.reducer != "sum" or reduction.where != TRUE or not stage.axes:
        return None
    factors = _factors(stage.value)
    if factors is None:
        return None
    names = [{i.name for i in load.index if isinstance(i, Var)} for load in factors]
    last = stage.axes[-1].name
    if (last in names[0]) == (last in names[1]):
        return None
    at = 0 if last in names[0] else 1
    right, in_right, in_left = factors[at], names[at], names[1 - at]
    terms = tuple(reduction.axes)
    if not all(axis.name in in_left & in_right for axis in terms):
        return None
    roles: dict[tuple[bool, bool], list[Axis]] = {(x, y): [] for x in (False, True) for y in (False, True)}
    for axis in stage.axes:
        roles[axis.name in in_left, axis.name in in_right].append(axis)
    if roles[False, False] or not roles[True, False]:
        return None
    batches, rows, columns = (tuple(roles[key]) for key in ((True, True), (True, False), (False, True)))
    return Contraction(stage, right, batches, rows, columns, terms)


def _factors(e: Expr) -> tuple[Load, Load] | None:
    """The two tensors whose elements a product multiplies, each with an index of different names."""
    if not (isinstance(e, Op) and e.op == "*" and e.dtype.is_float):
        return None
    found = []
    for factor in e.args:
        while isinstance(factor, Cast):
            factor = factor.value
        if not isinstance(factor, Load) or not all(isinstance(i, Var) for i in factor.index):
            return None
        if len(set(factor.index)) < len(factor.index):
            return None
        found.append(factor)
    return found[0], found[1]


# ---------------------------------------------------------------- lines


@dataclass(frozen=True, slots=True)
class Tile:
    """Rows and columns that are summed up in registers."""

    rows: int
    columns: int


def tile_for(c: Contraction, target: Target, packed: bool) -> Tile:
    """A tile that leaves registers for two vectors of B and a broadcast element of A.

    Two vectors wide where panels are packed; four where B is read as it lies, whose rows are then
    read in longer pieces.
    """
    lanes = lanes_of(c.stage, target)
    many = target.vector_registers >= 32
    rows, vectors = ((8, 2) if packed else (6, 4)) if many else (6, 2)
    columns, width = _size(c.columns[-1]), vectors * lanes
    while columns is not None and width > lanes and width // 2 >= columns:
        width //= 2
        rows = min(2 * rows, 14 if many else 6)
    known = _size(c.rows[-1])
    return Tile(min(rows, known) if known else rows, width)


def lines_for(c: Contraction, program: Program, target: Target, large: bool) -> Iterator[Plan]:
    """Plans for a contraction, the best one first; the first that is legal serves.

    `large` says whether B is to be packed where the sizes do not tell.
    """
    for packing in _packings(c, program, large):
        for with_readers in (True, False):
            yield _plan(c, program, target, packing, with_readers)


def _packings(c: Contraction, program: Program, large: bool) -> list[str]:
    """How B may be stored: packed once where it is a `param`, packed in each call, or as it is."""
    if c.right.buffer in program.params:
        return ["bound", "call" if c.is_turned else "none"]
    decided = c.is_large()
    packed = c.is_turned or (bool(decided.value) if isinstance(decided, Const) else large)
    return ["call", "none"] if packed else ["none"]


def _plan(c: Contraction, program: Program, target: Target, packing: str, with_readers: bool) -> Plan:
    tile = tile_for(c, target, packing != "none")
    row, column = c.rows[-1], c.columns[-1]
    axes = tuple(i.name for i in c.right.index if isinstance(i, Var))
    lines: list[Directive] = []
    if packing == "bound":
        lines.append(SetLayout(TensorAxes(c.right.buffer, axes), _panels(axes, column, tile)))
    lines += [Split(c.loop(row), by=tile.rows), Split(c.loop(column), by=tile.columns)]

    # Outside the tile: batches, blocks of terms, columns, rows. Inside: terms, and the tile itself.
    batches = [c.loop(axis) for axis in c.batches]
    tiles = [*map(c.loop, c.columns[:-1]), c.loop(column, "o"), *map(c.loop, c.rows[:-1]), c.loop(row, "o")]
    blocks: list[str] = []
    terms = [c.loop(axis) for axis in c.terms]
    if packing == "call":
        lines.append(Split(terms[-1], by=BLOCK_OF_TERMS))
        blocks, terms = [*terms[:-1], c.loop(c.terms[-1], "o")], [c.loop(c.terms[-1], "i")]
    inside = (c.loop(row, "i"), c.loop(column, "i"))
    lines.append(Reorder((*batches, *blocks, *tiles, *terms, *inside)))
    if blocks:
        lines += _packed(c, tile, blocks[-1], axes)
    at = fused(c.stage, tiles if blocks else [*batches, *tiles], lines)

    readers = pointwise_readers(c.stage, program) if with_readers else []
    if readers:
        lines.append(ComputeAt(tuple(s.name for s in readers), at))
        if not blocks:
            lines += [SetScope(s, Scope.REGISTER) for s in (c.stage.name, *(r.name for r in readers[:-1]))]
    lines += [Unroll(inside[:1]), Vectorize(inside[1:])]
    for reader in readers:
        lines += [] if blocks else [Unroll((loop_name(reader.name, row.name),))]
        lines.append(Vectorize((loop_name(reader.name, column.name),)))
    if _is_much(c):
        lines.append(Parallel((at,)))
        lines += [Parallel((f"{_copy(c)}.{column.name}o",))] if blocks else []
    return Plan(tuple(lines), (c.stage.name, *(s.name for s in readers)))


def _panels(axes: Sequence[str], column: Axis, tile: Tile) -> Layout:
    """Panels of columns outermost, in each the other axes, innermost a row of the panel."""
    width, name = integer(tile.columns), Var(column.name)
    others = [Var(axis) for axis in axes if axis != column.name]
    return Layout((floor_div(name, width), *others, floor_mod(name, width)))


def _copy(c: Contraction) -> str:
    return f"{c.right.buffer}_packed"


def _packed(c: Contraction, tile: Tile, at: str, axes: tuple[str, ...]) -> list[Directive]:
    """A copy of B in panels, made for each block of terms."""
    column = c.columns[-1].name
    copy = _copy(c)
    moving = [axis for axis in axes if axis not in {b.name for b in c.batches}]
    order = [f"{copy}.{a}" for a in moving if a != column]
    layout = _panels(axes, c.columns[-1], tile)
    return [
        CacheRead(TensorAxes(c.right.buffer, axes), at, copy, layout=layout),
        Split(f"{copy}.{column}", by=tile.columns),
        Reorder((f"{copy}.{column}o", *order, f"{copy}.{column}i")),
        Vectorize((f"{copy}.{column}i",)),
    ]


def _size(axis: Axis) -> int | None:
    return int(axis.extent.value) if isinstance(axis.extent, Const) else None


def _is_much(c: Contraction) -> bool:
    sizes = [_size(axis) for axis in (*c.batches, *c.rows, *c.columns, *c.terms)]
    return None in sizes or 2 * prod(n for n in sizes if n) >= PARALLEL_WORK
