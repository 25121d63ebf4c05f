"""Convolutions on tensor cores: products of pixels and filters, one place of the windows after the other.

    Y[n, y, x, k] = sum[r, s, c](f32(X[n, y + r - 1, x + s - 1, c] else 0) * f32(W[r, s, c, k]))

For one place (r, s) of the windows, what a tile of pixels reads of the picture is a matrix [pixels, c], and what it
reads of the filters one of [c, k]: a slice of the terms is one place and some c, which are copied to shared memory with
zeros around the picture, and all slices are one loop, so that they follow each other without a pause. The rest is as
in `tensor_cores.py`: several slices on the way, rows swizzled, tiles of the instruction by `ldmatrix`.

Channels that are the last axis of the result are the columns of a tile, and else its rows, so that neighbours in memory
are neighbours in a lane. Pixels are a rectangle along two of the places: of an axis (`u`) as many as are a multiple of
the instruction's rows or columns, and of another one (`v`) what is left. Which axes these are, pictures of a batch
among them, follows from where the fewest pixels are outside.

Not the whole matrix of windows is ever there, but a slice of it: the implicit GEMM of CUTLASS ("Implicit GEMM
Convolution"), with the places of the windows outermost in the terms.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod

from te.ir.expr import Const, Expr, Load, Select, Var
from te.ir.tensor import Axis, Program, Stage
from te.ir.visit import rewrite, variables
from te.schedule.auto.convolution import Convolution, convolution_of, is_of_one_group
from te.schedule.auto.gpu.blocks import kept_in_registers, names_of
from te.schedule.auto.gpu.enough import multiprocessors_of
from te.schedule.auto.gpu.points import fused, fused_loops, planes_on_blocks
from te.schedule.auto.gpu.tensor_cores import (
    ACCESS_BYTES,
    DEPTH,
    SLICE_BYTES,
    TILES,
    Tile,
    instruction_computing,
)
from te.schedule.auto.gpu.windows import channels_of_image, window_axes
from te.schedule.auto.tiles import Plan, pointwise_readers, size_of
from te.schedule.directives import (
    Align,
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
from te.schedule.intrinsics import Meaning
from te.schedule.nest import loop_name
from te.target import Target

OF_CHANNELS_LAST = (TILES[0], Tile(128, 64, 2, 2), *TILES[1:])  # rows are pixels, and columns channels
OF_PLACES_LAST = (TILES[0], Tile(64, 128, 2, 2), *TILES[1:])


@dataclass(frozen=True, slots=True)
class Pixels:
    """A rectangle of pixels: so many along `u`, in whole tiles of an instruction, and along `v`, if there is one."""

    u: Axis
    along: int
    v: Axis | None = None
    down: int = 1

    @property
    def sides(self) -> tuple[tuple[Axis, int], ...]:
        return ((self.u, self.along), *(((self.v, self.down),) if self.v else ()))

    @property
    def used(self) -> float:
        """How much of the rectangles that cover the picture lies in it; sizes that are not known fit."""
        sizes = [(size_of(axis), extent) for axis, extent in self.sides]
        return prod(size / (-(-size // extent) * extent) for size, extent in sizes if size)


def plans_for_convolution_cores(
    stage: Stage, program: Program, target: Target, fast_math: bool, *, is_large: bool
) -> Iterator[Plan]:
    """Plans for a convolution whose products an instruction of the target computes.

    `is_large` is what to assume of sizes that are not known.
    """
    c = convolution_of(stage, of_integers=True)
    if c is None or not window_axes(c):
        return
    meaning = instruction_computing(_as_copied(stage.value), target, fast_math)
    term = channels_of_image(c)
    if meaning is None or term is None:
        return
    known = size_of(term)
    is_last = c.stage.axes[-1] == c.channel
    if not is_last and (known is None or size_of(c.channel) is None or not _are_windows_known(c, term)):
        return  # where pixels are copied one by one and all of that is the call's, registers do not suffice
    if known is not None and 2 * known < meaning.tile[meaning.k.name]:
        return  # most terms would be zeros
    tile = _tile_for(c, meaning, target, is_large)
    channels_of_tile = tile.width if is_last else tile.height
    if not is_of_one_group(c, channels_of_tile):
        return
    product = _Product(c, meaning, term, tile, _pixels_of(c, meaning, tile))
    readers = pointwise_readers(stage, program)
    if len(readers) == 1:
        yield product.plan(readers)
    yield product.plan([])


def _are_windows_known(c: Convolution, term: Axis) -> bool:
    return all(size_of(axis) is not None for axis in c.terms if axis != term)


def _as_copied(terms: Expr) -> Expr:
    """The terms of a sum where a copy holds the zeros around the picture."""

    def read(e: Expr) -> Expr:
        match e:
            case Select(then=Load() as inside, otherwise=Const(value=0)):
                return inside
        return e

    return rewrite(terms, read)


def _tile_for(c: Convolution, meaning: Meaning, target: Target, is_large: bool) -> Tile:
    """The largest tile of which there are enough for all multiprocessors, or the smallest."""
    is_last = c.stage.axes[-1] == c.channel
    for tile in (OF_CHANNELS_LAST if is_last else OF_PLACES_LAST)[:-1]:
        blocks = _blocks_of(c, tile, _pixels_of(c, meaning, tile))
        if blocks is None:
            return TILES[0 if is_large else 1]
        if blocks >= multiprocessors_of(target) and 2 * (size_of(c.channel) or 0) > (
            tile.width if is_last else tile.height
        ):
            return tile
    return TILES[-1]


def _blocks_of(c: Convolution, tile: Tile, pixels: Pixels) -> int | None:
    """How many tiles there are; None of unknown sizes."""
    width = tile.width if c.stage.axes[-1] == c.channel else tile.height
    parts = {axis.name: extent for axis, extent in pixels.sides} | {c.channel.name: width}
    blocks = 1
    for axis in c.stage.axes:
        size = size_of(axis)
        if size is None:
            return None
        blocks *= -(-size // parts.get(axis.name, 1))
    return blocks


def _pixels_of(c: Convolution, meaning: Meaning, tile: Tile) -> Pixels:
    """The rectangle of a tile's pixels of which the fewest are outside of the picture; of equal ones the squarest."""
    is_last = c.stage.axes[-1] == c.channel
    rows, columns, _ = meaning.tile.values()
    unit, count, warps = (rows, tile.height, tile.high) if is_last else (columns, tile.width, tile.wide)
    found = []
    for u in reversed(c.places if is_last else c.places[-1:]):
        for v in (axis for axis in reversed(c.places) if axis != u):
            for down in range(warps, count // unit + 1, warps):
                if count % down == 0 and count // down % unit == 0:
                    found.append(Pixels(u, count // down, v, down))
        found.append(Pixels(u, count))
    return max(found, key=lambda pixels: (pixels.used, -abs(pixels.along - pixels.down)))


@dataclass(frozen=True, slots=True)
class _Product:
    """A convolution on its way to its lines."""

    c: Convolution
    meaning: Meaning
    term: Axis  # the channels of the picture
    tile: Tile
    pixels: Pixels

    @property
    def stage(self) -> Stage:
        return self.c.stage

    @property
    def name(self) -> str:
        return self.stage.name

    @property
    def is_last(self) -> bool:
        """Whether channels are the columns of a tile: where they are the result's last axis."""
        return self.stage.axes[-1] == self.c.channel

    @property
    def in_slice(self) -> int:
        """How many channels of the picture are in a slice."""
        terms, size = self.meaning.tile[self.meaning.k.name], size_of(self.term)
        most = SLICE_BYTES // self.c.image.dtype.bytes
        return most if size is None else min(most, -(-size // terms) * terms)

    def loop(self, name: str) -> str:
        return loop_name(self.name, name)

    def plan(self, readers: Sequence[Stage]) -> Plan:
        """Lines for the convolution, and for the stage that is computed from its registers."""
        copies = {self.c.image: f"{self.name}_windows", self.c.filters: f"{self.name}_filters"}
        lines = [*self._tiles(), *self._result(readers)]
        lines += [self._copy(load, copy) for load, copy in copies.items()]
        lines.append(Pipeline(self.loop("slice"), depth=DEPTH))
        for load, copy in copies.items():
            lines += self._banks(load, copy)
        lines.append(Fuse(tuple(map(self.loop, self._by_rows("warp_p", "warp_k"))), "warp"))
        lines += [self._fragments(load, copy) for load, copy in copies.items()]
        inner = tuple(self.loop(name) for name in ("row", "column", "term"))
        lines += [Tensorize(inner, as_=self.meaning.name), Unroll((self.loop("step"),))]
        lines.append(Bind(self.loop("warp"), "warp"))
        for load, copy in copies.items():
            lines += self._on_threads(load, copy)
        return Plan(tuple(lines), (self.name, *(reader.name for reader in readers)))

    # ------------------------------------------------------------ loops

    def _by_rows(self, pixels: str, channels: str) -> tuple[str, str]:
        """Two loops, that of the rows of a tile first."""
        return (pixels, channels) if self.is_last else (channels, pixels)

    def _tiles(self) -> list[Directive]:
        """Lines for the loops of the convolution."""
        rows, columns, terms = self.meaning.tile.values()
        p, unit = self.pixels, dict(zip(("row", "column"), (rows, columns), strict=True))
        of_pixels, of_channels = self._by_rows("row", "column")
        channels = self.tile.width if self.is_last else self.tile.height
        lines: list[Directive] = [Split(self.loop(p.u.name), by=p.along, into=("block_u", "in_u"))]
        if p.v:
            lines.append(Split(self.loop(p.v.name), by=p.down, into=("block_v", "in_v")))
        lines += [
            Split(self.loop(self.c.channel.name), by=channels, into=("block_k", "in_k")),
            *self._warps(self.name, "in_u", "in_v", "in_k"),
            Split(self.loop("in_u" if p.v else "own_u"), by=unit[of_pixels], into=("tile_u", of_pixels)),
            Split(self.loop("own_k"), by=unit[of_channels], into=("tile_k", of_channels)),
            Split(self.loop(self.term.name), by=self.in_slice, into=("part", "in_slice")),
            Split(self.loop("in_slice"), by=terms, into=("step", "term")),
        ]
        slices = [*(axis.name for axis in self.c.terms if axis != self.term), "part"]
        own = ["own_v", "tile_u"] if p.v else ["tile_u"]
        inner = [*own, "tile_k"] if self.is_last else ["tile_k", *own]
        order = [*self._planes(), "block_u", "block_k", *slices, *self._by_rows("warp_p", "warp_k"), "step"]
        lines.append(Reorder(tuple(map(self.loop, (*order, *inner, "row", "column", "term")))))
        return [*lines, *self._blocks(), *self._slices(slices)]

    def _slices(self, loops: Sequence[str]) -> list[Directive]:
        """Lines that make one loop of those over places of the windows and parts of the channels."""
        if loops[1:]:
            return fused(self.stage, loops, "slice")
        return [Split(self.loop(loops[0]), by=1, into=("slice", "one"))]

    def _planes(self) -> list[str]:
        """The loops that tell blocks apart along z."""
        cut = {axis.name for axis, _ in self.pixels.sides} | {self.c.channel.name}
        others = [axis.name for axis in self.stage.axes if axis.name not in cut]
        return [*others, "block_v"] if self.pixels.v else others

    def _blocks(self) -> list[Directive]:
        planes = planes_on_blocks(self.name, self._planes())
        return [*planes, Bind(self.loop("block_u"), "block.y"), Bind(self.loop("block_k"), "block.x")]

    def _warps(self, nest: str, along: str, down: str, channels: str) -> list[Directive]:
        """Lines that cut the pixels and channels of a tile for its warps."""
        high, wide = self.tile.high, self.tile.wide
        of_pixels, of_channels = (high, wide) if self.is_last else (wide, high)
        width = self.tile.width if self.is_last else self.tile.height
        p = self.pixels
        cut, extent, own = (down, p.down, "own_v") if p.v else (along, p.along, "own_u")
        return [
            Split(loop_name(nest, cut), by=extent // of_pixels, into=("warp_p", own)),
            Split(loop_name(nest, channels), by=width // of_channels, into=("warp_k", "own_k")),
        ]

    def _result(self, readers: Sequence[Stage]) -> list[Directive]:
        """Lines that bring the tile from registers to memory, or to the stage that reads it."""
        kept, p = kept_in_registers(self.stage, self.loop("block_k"), readers), self.pixels
        (nest,) = kept.nests
        along, down, channels = (
            f"{kept.prefix}{axis.name}" if axis else "" for axis in (p.u, p.v, self.c.channel)
        )
        lines = [*kept.lines, *self._warps(nest, along, down, channels)]
        rows, columns, _ = self.meaning.tile.values()
        unit = rows if self.is_last else columns
        lines.append(Split(loop_name(nest, along if p.v else "own_u"), by=unit, into=("tile_u", "in_tile")))
        own = ["own_v", "tile_u", "in_tile"] if p.v else ["tile_u", "in_tile"]
        warps = [loop_name(nest, name) for name in self._by_rows("warp_p", "warp_k")]
        inner = [loop_name(nest, n) for n in ([*own, "own_k"] if self.is_last else ["own_k", *own])]
        lines += [Reorder((*warps, *inner)), Fuse((warps[0], warps[1]), "warp")]
        return [*lines, Bind(loop_name(nest, "warp"), "warp")]

    # ------------------------------------------------------------ factors

    def _axis_of_terms(self, load: Load) -> str:
        """What the axis of a copy is called that the channels of the picture move along."""
        (found,) = [
            n for n, i in zip(names_of(load), load.index, strict=True) if self.term.name in variables(i)
        ]
        return found

    def _copy(self, load: Load, copy: str) -> Directive:
        """The line that copies what a slice reads. What `ldmatrix` cannot transpose has the terms innermost."""
        names, terms, cut = names_of(load), self._axis_of_terms(load), list(self._cut(load))
        if self._is_turned(load):
            cut = [*(n for n in cut if n != terms), terms]
        stored = (*(n for n in names if n not in cut), *cut)
        layout = Layout(tuple(map(Var, stored))) if stored != names and cut[-1] != names[-1] else None
        axes = TensorAxes(load.buffer, names)
        return CacheRead(axes, self.loop("slice"), as_=copy, in_=Scope.SHARED, layout=layout, fill=0)

    def _is_turned(self, load: Load) -> bool:
        """Whether the copy has the terms innermost, and the tensor has not."""
        return load.dtype.bits != 16 and names_of(load)[-1] != self._axis_of_terms(load)

    def _banks(self, load: Load, copy: str) -> list[Directive]:
        """Lines by which `ldmatrix` reads rows that lie in different banks."""
        names, cut = names_of(load), list(self._cut(load))
        lines: list[Directive] = []
        row = ACCESS_BYTES // load.dtype.bytes
        if load == self.c.image and not self._is_turned(load) and cut[-1] != self._axis_of_terms(load):
            # Its rows are those of one term, and as many apart as a term has of them: an odd number.
            if self.pixels.v:
                lines.append(Align(copy, names.index(cut[-2]), self.pixels.down | 1))
            if self.pixels.along == row:
                return lines
        return [*lines, Swizzle(copy)]

    def _fragments(self, load: Load, copy: str) -> Directive:
        """The line that loads the instruction's tiles of a factor from its copy."""
        return CacheRead(
            TensorAxes(copy, names_of(load)),
            self.loop("step"),
            as_=f"{copy}_own",
            in_=Scope.REGISTER,
            by=CopyMethod.LDMATRIX,
        )

    def _on_threads(self, load: Load, copy: str) -> list[Directive]:
        """Lines that share the copying of a slice among all threads of the block.

        The threads of a trip have all elements along one axis, the innermost in memory or that of the terms, so that
        trips store different rows: rows are swizzled, and what trips store of one is not for all to see.
        """
        sizes, terms, lines = self._cut(load), self._axis_of_terms(load), list[Directive]()
        *_, last = names = list(sizes)
        if last == names_of(load)[-1] and (last == terms or load == self.c.filters):
            by = ACCESS_BYTES // load.dtype.bytes
            lines.append(Split(loop_name(copy, last), by=by, into=("group", "lane")))
            lines.append(Vectorize((loop_name(copy, "lane"),)))
            names[-1], sizes["group"] = "group", -(-sizes[last] // by)
        of_trip = terms if self._is_turned(load) else names[-1]
        others = [name for name in names if name != of_trip]
        inside = ["in_trip", of_trip] if names[-1] == of_trip else [of_trip, "in_trip"]
        rows = max(1, self.tile.threads // sizes[of_trip])
        cut = others[-1]
        if others[1:] and sizes[cut] < rows:
            lines += fused_loops(copy, others, "rows")
            cut, others = "rows", ["rows"]
        order = [*others[:-1], "trip", *inside]
        return [
            *lines,
            Split(loop_name(copy, cut), by=rows, into=("trip", "in_trip")),
            Reorder(tuple(loop_name(copy, name) for name in order)),
            Fuse((loop_name(copy, inside[0]), loop_name(copy, inside[1])), "thread"),
            Bind(loop_name(copy, "thread"), "thread.x"),
        ]

    def _cut(self, load: Load) -> dict[str, int]:
        """The axes of a copy of which a slice of a tile has more than one value, with how many it has."""
        sizes = {self.term.name: self.in_slice}
        if load == self.c.filters:
            sizes[self.c.channel.name] = self.tile.width if self.is_last else self.tile.height
        else:
            sizes |= {axis.name: extent for axis, extent in self.pixels.sides}
        found: dict[str, int] = {}
        for name, index in zip(names_of(load), load.index, strict=True):
            for axis in variables(index) & sizes.keys():
                found[name] = sizes[axis]
        return found
