"""Contractions: tiles of the result for blocks, through shared memory, and tiles in the registers of threads.

    C[i, j] = sum[k](A[i, k] * B[k, j])

A block computes a tile, a slice of the terms at a time: all its threads copy the slice's part of both tensors to
shared memory, filled with zeros where a tile overhangs, and each adds the products of some rows and columns to its
registers. The next slice is copied while one is used. Both copies have the terms outermost, whatever the order of the
tensors' axes, so that rows and columns of a term are read 16 bytes at a time. A warp is 4 threads high and 8 wide: what
it reads of a copy at once lies side by side, and hits each bank of shared memory once. A thread with more than 16 bytes
of columns has them in groups that lie apart for the same reason. Pointwise stages that read the result alone are
computed from the registers.

The scheme is that of Volkov and Demmel, "Benchmarking GPUs to tune dense linear algebra" (2008), and the order of the
threads that of CUTLASS's kernels without tensor cores.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce

from te.ir.bounds import NO_FACTS
from te.ir.expr import FALSE, TRUE, Const, Expr, Load, Var, both, compare, integer, mul
from te.ir.simplify import simplify
from te.ir.tensor import Axis, Program, Stage
from te.ir.visit import loads, variables
from te.schedule.auto.contraction import Contraction, contraction_of
from te.schedule.auto.gpu.blocks import kept_in_registers, names_of, on_threads
from te.schedule.auto.gpu.enough import largest_tile, multiprocessors_of
from te.schedule.auto.gpu.points import bound, planes_on_blocks
from te.schedule.auto.tiles import Plan, pointwise_readers, size_of
from te.schedule.directives import (
    Align,
    CacheRead,
    Fuse,
    Pipeline,
    Reorder,
    Split,
    Unroll,
    Vectorize,
)
from te.schedule.forms import Directive, Layout, Scope, TensorAxes
from te.schedule.nest import loop_name
from te.target import Target

ACCESS_BYTES = 16  # the most that a thread reads or writes at once
SECTOR_BYTES = 32  # the least that is read of memory at once
MOST_CONDITIONS = 4  # of contractions that have a case of their own together
STAGES = 2  # slices of the terms in shared memory: while one is used, the next one is on its way
THREADS = {f"thread_{level}": f"thread.{level}" for level in "zyx"}


@dataclass(frozen=True, slots=True)
class Tile:
    """What a block computes at a time, and how its threads share that."""

    rows: int  # of a thread, side by side
    groups: int  # of columns of a thread, `lanes` in each
    lanes: int
    terms: int  # in a slice
    across: int  # groups of 16 by 8 threads, side by side: threads along z
    high: int = 16  # threads along y, over rows
    wide: int = 8  # threads along x, over columns

    @property
    def height(self) -> int:
        return self.high * self.rows

    @property
    def part(self) -> int:
        """The columns of the threads with one number along z."""
        return self.groups * self.wide * self.lanes

    @property
    def width(self) -> int:
        return self.across * self.part

    @property
    def threads(self) -> int:
        return self.across * self.high * self.wide


def plans_for_tiles(stage: Stage, program: Program, target: Target, is_large: bool) -> Iterator[Plan]:
    """Plans for a contraction with rows. `is_large` is what to assume of sizes that are not known."""
    c = contraction_of(stage)
    if (
        c is None
        or not c.rows
        or len({load.buffer for load in loads(stage.value)}) < len(set(loads(stage.value)))
    ):
        return
    row = row_of(c)
    tile = largest_tile(sizes_of_tiles(c), stage, row, c.columns[-1], target, is_large)
    product = Product(c, row, tile)
    readers = pointwise_readers(stage, program)
    if readers:
        yield product.plan(readers)
    yield product.plan([])


def are_large(stages: Sequence[Stage], target: Target) -> Expr | None:
    """What to ask whether all contractions have enough tiles of the largest kind; None where no call decides that."""
    found = [c for c in map(contraction_of, stages) if c is not None and c.rows]
    asked = [c for c in dict.fromkeys(_is_large(c, target) for c in found) if not isinstance(c, Const)]
    condition: Expr = TRUE
    for one in asked:
        condition = both(condition, one)
    return condition if 0 < len(asked) <= MOST_CONDITIONS else None


def _is_large(c: Contraction, target: Target) -> Expr:
    if not all(isinstance(axis.extent, Const | Var) for axis in c.stage.axes):
        return FALSE
    tile = sizes_of_tiles(c)[0]
    elements = reduce(mul, (axis.extent for axis in c.stage.axes))
    enough = compare(">=", elements, integer(multiprocessors_of(target) * tile.height * tile.width))
    for axis, extent in ((row_of(c), tile.height), (c.columns[-1], tile.width)):
        enough = both(enough, compare(">", axis.extent, integer(extent // 2)))
    return simplify(enough, NO_FACTS)


def row_of(c: Contraction) -> Axis:
    """The rows that are cut in tiles: the longest known ones, or the last."""
    sizes = [size_of(axis) for axis in c.rows]
    known = [n for n in sizes if n is not None]
    return c.rows[sizes.index(max(known))] if len(known) == len(sizes) else c.rows[-1]


def sizes_of_tiles(c: Contraction) -> list[Tile]:
    """The tiles to choose from, the largest first."""
    bits = c.stage.tensor.dtype.bits
    lanes = max(2, min(4, 8 * ACCESS_BYTES // max(bits, c.right.dtype.bits)))
    terms = max(8, SECTOR_BYTES // min(c.left.dtype.bytes, c.right.dtype.bytes))
    return [
        Tile(8 if bits <= 32 else 4, 2, lanes, terms, 2),
        Tile(4, 1, lanes, 2 * terms, 2),
        Tile(2, 1, lanes, 2 * terms, 1),
    ]


@dataclass(frozen=True, slots=True)
class Product:
    """A contraction on its way to its lines."""

    c: Contraction
    row: Axis
    tile: Tile

    @property
    def column(self) -> Axis:
        return self.c.columns[-1]

    @property
    def stage(self) -> Stage:
        return self.c.stage

    def loop(self, name: str) -> str:
        return loop_name(self.stage.name, name)

    def plan(self, readers: Sequence[Stage]) -> Plan:
        """Lines for the contraction, and for the stages that are computed from its registers."""
        lines = [*self._tiles(), *self._result(readers)]
        lines += [*bound(self.stage, "y")[:1], *bound(self.stage, "x")[:1]]
        lines += on_threads(self.stage.name, THREADS)
        read = [load for load in dict.fromkeys(loads(self.stage.value)) if any(map(self._is_cut, load.index))]
        for number, load in enumerate(read):  # what is the same for all of a block is near without a copy
            lines += self._copy(load, f"{self.stage.name}_of{number}")
        lines.append(Pipeline(self.loop("slice"), depth=STAGES))
        return Plan(tuple(lines), (self.stage.name, *(reader.name for reader in readers)))

    def _tiles(self) -> list[Directive]:
        """Lines for the loops of the contraction."""
        planes = [axis.name for axis in self.stage.axes if axis not in (self.row, self.column)]
        tile, terms = self.tile, self.c.terms
        lines: list[Directive] = [
            Split(self.loop(self.row.name), by=tile.height, into=("block_y", "in_y")),
            Split(self.loop(self.column.name), by=tile.width, into=("block_x", "in_x")),
            *self._shares(self.stage.name, "in_y", "in_x"),
            Split(self.loop(terms[-1].name), by=tile.terms, into=("slice", "term")),
        ]
        order = [*planes, "block_y", "block_x", *(axis.name for axis in terms[:-1]), "slice"]
        order += ["thread_z", "thread_y", "thread_x", "term", "own_y", "group", "own_x"]
        lines.append(Reorder(tuple(map(self.loop, order))))
        return [*lines, *planes_on_blocks(self.stage.name, planes), Unroll((self.loop("term"),))]

    def _shares(self, nest: str, rows: str, columns: str) -> list[Directive]:
        """Lines that cut the rows and columns of a tile for its threads."""
        tile = self.tile
        return [
            Split(loop_name(nest, rows), by=tile.rows, into=("thread_y", "own_y")),
            Split(loop_name(nest, columns), by=tile.part, into=("thread_z", "part")),
            Split(loop_name(nest, "part"), by=tile.wide * tile.lanes, into=("group", "in_group")),
            Split(loop_name(nest, "in_group"), by=tile.lanes, into=("thread_x", "own_x")),
        ]

    def _result(self, readers: Sequence[Stage]) -> list[Directive]:
        """Lines that bring the tile from registers to memory, or to the stages that read it."""
        kept = kept_in_registers(self.stage, self.loop("block_x"), readers)
        lines = [*kept.lines]
        for nest in kept.nests:
            lines += self._shares(nest, f"{kept.prefix}{self.row.name}", f"{kept.prefix}{self.column.name}")
            inner = ("thread_z", "thread_y", "thread_x", "own_y", "group", "own_x")
            lines.append(Reorder(tuple(loop_name(nest, loop) for loop in inner)))
            lines += [Vectorize((loop_name(nest, "own_x"),)), *on_threads(nest, THREADS)]
        return lines

    def _copy(self, load: Load, copy: str) -> list[Directive]:
        """Lines that copy what a slice reads of a tensor to shared memory, all threads of the block together."""
        names, term = names_of(load), self.c.terms[-1].name
        moving = [n for n, index in zip(names, load.index, strict=True) if self._is_cut(index)]
        of_terms = [n for n, index in zip(names, load.index, strict=True) if term in variables(index)]
        is_turned = bool(of_terms) and of_terms[-1] == names[-1] and len(moving) > 1
        stored = (*of_terms, *(n for n in names if n not in of_terms))
        lines: list[Directive] = [
            CacheRead(
                TensorAxes(load.buffer, names),
                self.loop("slice") if of_terms else self.loop("block_x"),
                as_=copy,
                in_=Scope.SHARED,
                layout=Layout(tuple(map(Var, stored))) if is_turned else None,
                fill=0,
            )
        ]
        if is_turned:  # so that the elements of a row, which one thread stores, lie in different banks
            extent = self.tile.height if load == self.c.left else self.tile.width
            padded = extent + ACCESS_BYTES // load.dtype.bytes
            lines.append(Align(copy, len(names) - 1, padded))
        *rows, last = (loop_name(copy, name) for name in moving)
        lanes = min(self.tile.terms // 2, ACCESS_BYTES // load.dtype.bytes)
        lines.append(Split(last, by=lanes, into=("group", "lane")))
        if rows:
            lines.append(Fuse((rows[0], loop_name(copy, "group")), "element"))
        element = loop_name(copy, "element" if rows else "group")
        lines += [
            Split(element, by=self.tile.threads, into=("trip", "at")),
            Split(loop_name(copy, "at"), by=self.tile.high * self.tile.wide, into=("thread_z", "in_z")),
            Split(loop_name(copy, "in_z"), by=self.tile.wide, into=("thread_y", "thread_x")),
            Reorder(tuple(loop_name(copy, name) for name in ("thread_z", "thread_y", "thread_x", "trip"))),
            Unroll((loop_name(copy, "trip"),)),
            Vectorize((loop_name(copy, "lane"),)),
        ]
        return [*lines, *on_threads(copy, THREADS)]

    def _is_cut(self, index: Expr) -> bool:
        return bool(variables(index) & {self.row.name, self.column.name, self.c.terms[-1].name})
