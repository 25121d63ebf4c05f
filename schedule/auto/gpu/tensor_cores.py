"""Contractions on tensor cores: tiles of the result for blocks and warps, by instructions that multiply matrices.

    C[i, j] = sum[k](f32(A[i, k]) * f32(B[k, j]))

A block computes a tile, a slice of the terms at a time, which is copied to shared memory, filled with zeros where it
overhangs, while those before are multiplied. A warp has some of the instruction's tiles in registers, and loads those
of the factors by `ldmatrix`: rows of the copies are swizzled, so that it hits each bank once. Elements of 8 and 32 bits
are copied with the terms innermost, since `ldmatrix` cannot transpose them. Stages that read the result alone, element
by element, are computed from the registers. The scheme is that of CUTLASS's kernels for sm_80.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from te.ir.expr import Expr, Load, Var
from te.ir.tensor import Axis, Program, Stage
from te.ir.visit import loads, variables
from te.schedule.auto.contraction import Contraction, contraction_of
from te.schedule.auto.gpu.blocks import kept_in_registers, names_of
from te.schedule.auto.gpu.enough import largest_tile
from te.schedule.auto.gpu.points import bound, planes_on_blocks
from te.schedule.auto.tiles import Plan, pointwise_readers, size_of
from te.schedule.directives import (
    Bind,
    CacheRead,
    Fuse,
    Pipeline,
    Reorder,
    Split,
    Swizzle,
    Tensorize,
    Unroll,
    Vectorize,
)
from te.schedule.forms import CopyMethod, Directive, Layout, Scope, TensorAxes
from te.schedule.intrinsics import DEVIATIONS, Meaning, bindings, shipped
from te.schedule.nest import loop_name
from te.target import Target

ACCESS_BYTES = 16  # the most that a thread copies at once
SLICE_BYTES = 64  # of a row: as much as a group of 4 threads copies at once
DEPTH = 3  # slices in shared memory
FEWEST_ROWS = 8  # and columns, for which a tile is not mostly empty
WARP = 32


@dataclass(frozen=True, slots=True)
class Tile:
    """What a block computes at a time, and how many warps share its rows and columns."""

    height: int
    width: int
    high: int
    wide: int

    @property
    def threads(self) -> int:
        return self.high * self.wide * WARP


TILES = (Tile(128, 128, 2, 4), Tile(64, 64, 2, 2), Tile(32, 32, 2, 2))
FLAT, NARROW = Tile(16, 64, 1, 4), Tile(64, 16, 4, 1)  # of few rows, or few columns, which all warps have


def plans_for_tensor_cores(
    stage: Stage, program: Program, target: Target, fast_math: bool, *, is_large: bool
) -> Iterator[Plan]:
    """Plans for a contraction with rows that an instruction of the target computes.

    `is_large` is what to assume of sizes that are not known.
    """
    c = contraction_of(stage)
    meaning = None if c is None else instruction_for(c, target, fast_math)
    if c is None or meaning is None:
        return
    tile = largest_tile(tiles_for(c), stage, c.rows[-1], c.columns[-1], target, is_large)
    product = MatrixProduct(c, meaning, tile)
    readers = pointwise_readers(stage, program)
    if len(readers) == 1:
        yield product.plan(readers)
    yield product.plan([])


def tiles_for(c: Contraction) -> tuple[Tile, Tile, Tile]:
    """The tiles to choose from, the largest first."""
    rows, columns = size_of(c.rows[-1]), size_of(c.columns[-1])
    if rows is not None and rows <= FLAT.height:
        return FLAT, FLAT, FLAT
    return (NARROW, NARROW, NARROW) if columns is not None and columns <= NARROW.width else TILES


def instruction_for(c: Contraction, target: Target, fast_math: bool) -> Meaning | None:
    """The instruction that computes a contraction, if it has rows and the target has one."""
    if not c.rows or len({c.left.buffer, c.right.buffer}) < len([*loads(c.stage.value)]):
        return None
    known = [size_of(axis) for axis in (c.rows[-1], c.columns[-1])]
    if any(n is not None and n <= FEWEST_ROWS for n in known):
        return None
    return instruction_computing(c.stage.value, target, fast_math)


def instruction_computing(terms: Expr, target: Target, fast_math: bool) -> Meaning | None:
    """The instruction that multiplies such matrices and adds the terms, if the target has one."""
    for meaning in shipped().values():
        if not meaning.is_matrix or not target.satisfies(meaning.target):
            continue
        if meaning.name in DEVIATIONS and not fast_math:
            continue
        if meaning.accumulator.dtype == terms.dtype and any(bindings(meaning.term, terms)):
            return meaning
    return None


@dataclass(frozen=True, slots=True)
class MatrixProduct:
    """A contraction on its way to its lines. Only one index of a factor may move with the last axis of its terms."""

    c: Contraction
    meaning: Meaning
    tile: Tile

    @property
    def row(self) -> Axis:
        return self.c.rows[-1]

    @property
    def column(self) -> Axis:
        return self.c.columns[-1]

    @property
    def stage(self) -> Stage:
        return self.c.stage

    @property
    def term(self) -> Axis:
        return self.c.terms[-1]

    def loop(self, name: str) -> str:
        return loop_name(self.stage.name, name)

    def plan(self, readers: Sequence[Stage]) -> Plan:
        """Lines for the contraction, and for the stage that is computed from its registers."""
        copies = {
            load: f"{self.stage.name}_of{number}" for number, load in enumerate((self.c.left, self.c.right))
        }
        lines = [*self._tiles(), *self._result(readers)]
        for load, copy in copies.items():
            lines.append(self._copy(load, copy))
        lines.append(Pipeline(self.loop("slice"), depth=DEPTH))
        lines += [Swizzle(copy) for copy in copies.values()]
        lines.append(Fuse((self.loop("warp_y"), self.loop("warp_x")), "warp"))
        lines += [self._fragments(load, copy) for load, copy in copies.items()]
        inner = tuple(self.loop(name) for name in ("row", "column", "term"))
        lines += [Tensorize(inner, as_=self.meaning.name), Unroll((self.loop("step"),))]
        lines += [*bound(self.stage, "y")[:1], *bound(self.stage, "x")[:1]]
        lines.append(Bind(self.loop("warp"), "warp"))
        for load, copy in copies.items():
            lines += self._on_threads(load, copy)
        return Plan(tuple(lines), (self.stage.name, *(reader.name for reader in readers)))

    def _tiles(self) -> list[Directive]:
        """Lines for the loops of the contraction."""
        rows, columns, terms = self.meaning.tile.values()
        in_slice = terms_of_slice(self.c)
        planes = [axis.name for axis in self.stage.axes if axis not in (self.row, self.column)]
        lines: list[Directive] = [
            Split(self.loop(self.row.name), by=self.tile.height, into=("block_y", "in_y")),
            Split(self.loop(self.column.name), by=self.tile.width, into=("block_x", "in_x")),
            *self._warps(self.stage.name, "in_y", "in_x"),
            Split(self.loop("own_y"), by=rows, into=("tile_y", "row")),
            Split(self.loop("own_x"), by=columns, into=("tile_x", "column")),
            Split(self.loop(self.term.name), by=in_slice, into=("slice", "in_slice")),
            Split(self.loop("in_slice"), by=terms, into=("step", "term")),
        ]
        order = [*planes, "block_y", "block_x", *(axis.name for axis in self.c.terms[:-1]), "slice"]
        order += ["warp_y", "warp_x", "step", "tile_y", "tile_x", "row", "column", "term"]
        lines.append(Reorder(tuple(map(self.loop, order))))
        return [*lines, *planes_on_blocks(self.stage.name, planes)]

    def _warps(self, nest: str, rows: str, columns: str) -> list[Directive]:
        """Lines that cut the rows and columns of a tile for its warps."""
        tile = self.tile
        return [
            Split(loop_name(nest, rows), by=tile.height // tile.high, into=("warp_y", "own_y")),
            Split(loop_name(nest, columns), by=tile.width // tile.wide, into=("warp_x", "own_x")),
        ]

    def _result(self, readers: Sequence[Stage]) -> list[Directive]:
        """Lines that bring the tile from registers to memory, or to the stage that reads it."""
        kept = kept_in_registers(self.stage, self.loop("block_x"), readers)
        (nest,) = kept.nests
        return [
            *kept.lines,
            *self._warps(nest, f"{kept.prefix}{self.row.name}", f"{kept.prefix}{self.column.name}"),
            Reorder(tuple(loop_name(nest, n) for n in ("warp_y", "warp_x", "own_y", "own_x"))),
            Fuse((loop_name(nest, "warp_y"), loop_name(nest, "warp_x")), "warp"),
            Bind(loop_name(nest, "warp"), "warp"),
        ]

    # ------------------------------------------------------------ factors

    def _is_cut(self, index: Expr) -> bool:
        return not variables(index).isdisjoint({self.row.name, self.column.name, self.term.name})

    def _is_turned(self, load: Load) -> bool:
        """Whether the copy has the terms innermost, and the tensor has not."""
        return load.dtype.bits != 16 and self.term.name not in variables(load.index[-1])

    def _copy(self, load: Load, copy: str) -> Directive:
        names = names_of(load)
        turned: Layout | None = None
        if self._is_turned(load):
            term = next(n for n, i in zip(names, load.index, strict=True) if self.term.name in variables(i))
            turned = Layout(tuple(map(Var, (*(n for n in names if n != term), term))))
        axes = TensorAxes(load.buffer, names)
        return CacheRead(axes, self.loop("slice"), as_=copy, in_=Scope.SHARED, layout=turned, fill=0)

    def _fragments(self, load: Load, copy: str) -> Directive:
        """The line that loads the instruction's tiles of a factor from its copy."""
        by = CopyMethod.LDMATRIX if self._is_turned(load) or self._is_cut(load.index[-1]) else None
        return CacheRead(
            TensorAxes(copy, names_of(load)), self.loop("step"), as_=f"{copy}_own", in_=Scope.REGISTER, by=by
        )

    def _on_threads(self, load: Load, copy: str) -> list[Directive]:
        """Lines that share the copying of a slice among all threads of the block."""
        moving = [n for n, i in zip(names_of(load), load.index, strict=True) if self._is_cut(i)]
        first, last = (loop_name(copy, name) for name in moving)
        return [
            Split(last, by=ACCESS_BYTES // load.dtype.bytes, into=("group", "lane")),
            Fuse((first, loop_name(copy, "group")), "element"),
            Split(loop_name(copy, "element"), by=self.tile.threads, into=("trip", "thread")),
            Vectorize((loop_name(copy, "lane"),)),
            Bind(loop_name(copy, "thread"), "thread.x"),
        ]


def terms_of_slice(c: Contraction) -> int:
    """How many terms are in shared memory at a time."""
    return SLICE_BYTES // c.left.dtype.bytes
