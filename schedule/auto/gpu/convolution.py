"""Convolutions as products whose right side is never stored: tiles of channels and pixels, through shared memory.

    Y[n, k, y, x] = sum[c, r, s](X[n, c, y*2 + r - 3, x*2 + s - 3] else 0) * W[k, c, r, s]

A block computes a tile of some channels (k) by some pixels, which are a rectangle of places (y, x), a slice of the
terms at a time: all its threads copy the slice's part of the filters, channels innermost, and of the picture to shared
memory, and each adds the products of some channels and pixels to its registers. What is copied of the picture are the
windows of all pixels of the tile, each element once, and zeros where they overhang; so padding and strides ask nothing
in the innermost loop. Where the size of the filters is known, a slice has whole windows of some c; else it has one
place (r, s) of more c. A warp is 4 threads high, over channels, and 8 wide, over pixels, as in `tiles.py`. Pointwise
stages that read the result alone are computed from the registers.

Nothing is written of the matrix of windows that this is the product with: an implicit GEMM, as in Chetlur et al.,
"cuDNN: Efficient Primitives for Deep Learning" (2014), section 3.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod

from te.ir.expr import Load, Var
from te.ir.tensor import Axis, Program, Stage
from te.ir.visit import variables
from te.schedule.auto.contraction import known_product
from te.schedule.auto.convolution import Convolution, convolution_of, is_of_one_group
from te.schedule.auto.gpu.blocks import kept_in_registers, names_of, on_threads
from te.schedule.auto.gpu.enough import multiprocessors_of
from te.schedule.auto.gpu.points import fused_loops, planes_on_blocks
from te.schedule.auto.gpu.tiles import ACCESS_BYTES, STAGES, Tile
from te.schedule.auto.gpu.windows import covered, window_axes
from te.schedule.auto.tiles import Plan, pointwise_readers, size_of
from te.schedule.directives import (
    Align,
    Bind,
    CacheRead,
    Pipeline,
    Reorder,
    Split,
    Unroll,
    Vectorize,
)
from te.schedule.forms import Directive, Layout, Scope, TensorAxes
from te.schedule.nest import loop_name
from te.target import Target

MOST_OF_WINDOW = 64  # places of a filter up to which a slice has whole windows
TERMS = 36  # in a slice: four windows of 3 by 3
OWN = ("own_k", "group", "own_u")  # the loops over the elements of a thread
UNROLLED = 16  # terms at most whose products stand one after the other


def plans_for_convolution(stage: Stage, program: Program, target: Target) -> Iterator[Plan]:
    """Plans for a convolution whose places move windows, and whose channels share them."""
    c = convolution_of(stage)
    if c is None or c.stage.axes[-1] == c.channel:
        return  # channels that are neighbours in memory want another order of threads
    if c.filters.buffer in {table.tensor.name for table in program.tables}:
        return  # a transform by a few constants
    windows = window_axes(c)
    if not windows:
        return
    for tile in _tiles_for(c, windows, multiprocessors_of(target)):
        if not is_of_one_group(c, tile.height):
            continue
        made = _Tiled(c, tile, windows, _threads_along(windows, tile))
        if not made.has_slices:
            continue
        readers = pointwise_readers(stage, program)
        if readers:
            yield made.plan(readers)
        yield made.plan([])


def _tiles_for(c: Convolution, windows: Sequence[Axis], multiprocessors: int) -> Iterator[Tile]:
    """The tiles to try: the largest of which there are enough for so many multiprocessors, and the smaller ones.

    Channels of several groups read different channels of the picture: groups of few have no tile.
    """
    bits = c.stage.tensor.dtype.bits
    terms = TERMS if c.terms[1:] and known_product(c.terms[1:]) not in (None, 1) else UNROLLED
    sizes = [
        Tile(8 if bits <= 32 else 4, 2, 4, terms, 1),
        Tile(4, 2, 4, terms, 1),
        Tile(2, 1, 4, terms, 1),
        Tile(2, 1, 4, terms, 1, high=8),
        Tile(1, 1, 4, terms, 1, high=4),
    ]
    channels, elements = size_of(c.channel), known_product(c.stage.axes)
    for position, tile in enumerate(sizes):
        if channels is None or elements is None:
            if position < 2:
                continue  # addresses that sizes decide take many registers
        elif position < 2:
            blocks = elements // (tile.height * tile.width)
            if blocks < multiprocessors or 2 * channels <= tile.height:
                continue
        yield tile


def _threads_along(windows: Sequence[Axis], tile: Tile) -> tuple[int, int]:
    """The threads along y and x, with which the fewest pixels of a tile are outside of the picture."""
    if len(windows) == 1:
        return 1, tile.wide
    if size_of(windows[-1]) is None:
        return tile.wide // 2, 2
    shapes = [(tile.wide // wide, wide) for wide in (1, 2, 4, 8)]
    return min(shapes, key=lambda shape: covered(windows, (shape[0] * tile.groups, shape[1] * tile.lanes)))


@dataclass(frozen=True, slots=True)
class _Tiled:
    """A convolution on its way to its lines."""

    c: Convolution
    tile: Tile
    windows: tuple[Axis, ...]
    threads: tuple[int, int]  # along y and x

    @property
    def stage(self) -> Stage:
        return self.c.stage

    @property
    def name(self) -> str:
        return self.stage.name

    @property
    def inner(self) -> tuple[Axis, ...]:
        """The terms that are places of a window and stand in a slice whole, where these are known and few."""
        places = self.c.terms[1:]
        size = known_product(places)
        return places if size is not None and size <= MOST_OF_WINDOW else ()

    @property
    def depth(self) -> int:
        """How many of the first terms (the channels of the picture) are in a slice."""
        size = prod(size_of(axis) or 1 for axis in self.inner)
        most = max(1, self.tile.terms // size)
        known = size_of(self.c.terms[0])
        if known is None:
            return most
        even = max(n for n in range(1, most + 1) if known % n == 0)  # so that no slice is cut off
        return even if 2 * even > most else min(most, known)

    @property
    def binds(self) -> dict[str, str]:
        """The threads: channels along z, so that a warp has 4, and pixels along y and x."""
        across = {"thread_v": "thread.y"} if self.windows[1:] else {}
        return {"thread_k": "thread.z", **across, "thread_u": "thread.x"}

    def loop(self, name: str) -> str:
        return loop_name(self.name, name)

    def plan(self, readers: Sequence[Stage]) -> Plan:
        lines = [*self._loops(), *self._result(readers), *self._blocks(), *on_threads(self.name, self.binds)]
        lines += self._copy_of_filters()
        lines += self._copy_of_image()
        lines.append(Pipeline(self.loop("slice"), depth=STAGES))
        return Plan(tuple(lines), (self.name, *(reader.name for reader in readers)))

    # ------------------------------------------------------------ loops

    def _loops(self) -> list[Directive]:
        """Lines for the loops of the convolution."""
        first, *places = self.c.terms
        down = self.threads[0] * self.tile.groups
        lines: list[Directive] = [
            Split(self.loop(self.c.channel.name), by=self.tile.height, into=("block_k", "in_k"))
        ]
        if self.windows[1:]:
            lines.append(Split(self.loop(self.windows[0].name), by=down, into=("block_v", "in_v")))
        lines += [
            Split(self.loop(self.windows[-1].name), by=self._along, into=("block_u", "in_u")),
            *self._shares(self.name, "in_k", "in_v", "in_u"),
            Split(self.loop(first.name), by=self.depth, into=("slice", "term")),
        ]
        planes = self._planes()
        outer = [axis.name for axis in places if axis not in self.inner]
        inner = [axis.name for axis in self.inner]
        order = [*planes, "block_k", "block_u", *outer, "slice", *self.binds, "term", *inner, *OWN]
        lines.append(Reorder(tuple(map(self.loop, order))))
        unrolled = self._unrolled()
        return [*lines, Unroll(tuple(map(self.loop, unrolled)))] if unrolled else lines

    @property
    def _along(self) -> int:
        """The pixels of a tile along x."""
        groups = 1 if self.windows[1:] else self.tile.groups
        return self.threads[1] * self.tile.lanes * groups

    def _unrolled(self) -> list[str]:
        """The innermost loops over terms, as many as have few trips together; none where the call decides these."""
        if size_of(self.c.terms[0]) is None and not self.inner:
            return []
        names, trips = [], 1
        loops = [("term", self.depth), *((axis.name, size_of(axis) or 1) for axis in self.inner)]
        for name, size in reversed(loops):
            trips *= size
            if trips > UNROLLED:
                break
            names.append(name)
        return names

    def _planes(self) -> list[str]:
        """The loops that tell blocks apart along z: images, groups of channels, and tiles along y."""
        cut = (*self.windows, self.c.channel)
        others = [axis.name for axis in self.stage.axes if axis not in cut]
        return [*others, *(["block_v"] if self.windows[1:] else [])]

    def _blocks(self) -> list[Directive]:
        planes = planes_on_blocks(self.name, self._planes())
        return [*planes, Bind(self.loop("block_k"), "block.y"), Bind(self.loop("block_u"), "block.x")]

    def _shares(self, nest: str, channels: str, down: str, along: str) -> list[Directive]:
        """Lines that cut the channels and pixels of a tile for its threads."""
        lanes = self.tile.lanes
        lines: list[Directive] = [
            Split(loop_name(nest, channels), by=self.tile.rows, into=("thread_k", "own_k"))
        ]
        if self.windows[1:]:  # groups of pixels lie below each other
            lines.append(Split(loop_name(nest, down), by=self.threads[0], into=("group", "thread_v")))
        else:
            lines.append(
                Split(loop_name(nest, along), by=self.threads[1] * lanes, into=("group", "in_group"))
            )
            along = "in_group"
        return [*lines, Split(loop_name(nest, along), by=lanes, into=("thread_u", "own_u"))]

    def _result(self, readers: Sequence[Stage]) -> list[Directive]:
        """Lines that bring the tile from registers to memory, or to the stages that read it."""
        kept = kept_in_registers(self.stage, self.loop("block_u"), readers)
        channel, down, along = (
            f"{kept.prefix}{axis.name}" for axis in (self.c.channel, self.windows[0], self.windows[-1])
        )
        lines = [*kept.lines]
        for nest in kept.nests:
            lines += self._shares(nest, channel, down, along)
            lines.append(Reorder(tuple(loop_name(nest, loop) for loop in (*self.binds, *OWN))))
            lines += [Vectorize((loop_name(nest, OWN[-1]),)), *on_threads(nest, self.binds)]
        return lines

    # ------------------------------------------------------------ copies

    @property
    def has_slices(self) -> bool:
        """Whether a slice has several elements along more than one axis of both tensors, for all threads to copy."""
        return all(len(self._extents(load)) > 1 for load in (self.c.filters, self.c.image))

    def _copy_of_filters(self) -> list[Directive]:
        """Lines that copy the filters of a slice to shared memory, channels innermost."""
        load, copy = self.c.filters, f"{self.name}_filters"
        if load.index[-1] == Var(self.c.channel.name):
            return [self._read(load, copy, None), *self._shared_out(copy, load)]
        names, channel = names_of(load), self.c.channel.name
        terms = [n for n, i in zip(names, load.index, strict=True) if variables(i) != {channel}]
        (last,) = (n for n in names if n not in terms)
        padded = self.tile.height + ACCESS_BYTES // load.dtype.bytes
        stored = Layout(tuple(map(Var, (*terms, last))))
        lines: list[Directive] = [
            self._read(load, copy, stored),
            Align(copy, len(names) - 1, padded),
        ]
        moving = [n for n in terms if n in self._extents(load)]
        return [*lines, *self._turned(copy, last, moving)]

    def _turned(self, copy: str, channel: str, terms: Sequence[str]) -> list[Directive]:
        """Lines for the copy of filters whose terms are neighbours in memory, but channels in shared memory.

        Eight threads have neighbouring terms, and the four such groups of a warp neighbouring channels: what a warp
        stores at once is in different banks, and the divisions that tell the axes of a term apart serve all channels.
        """
        term = "terms" if terms[1:] else terms[0]
        order = [*self.binds, "trip", "own_k"]
        return [
            *fused_loops(copy, terms, "terms"),
            Split(loop_name(copy, channel), by=self.tile.high, into=("own_k", "thread_k")),
            Split(loop_name(copy, term), by=self.tile.wide, into=("trip", "in_trip")),
            *self._pixel_threads(copy, "in_trip"),
            Reorder(tuple(loop_name(copy, loop) for loop in order)),
            Unroll((loop_name(copy, "own_k"),)),
            *on_threads(copy, self.binds),
        ]

    def _pixel_threads(self, copy: str, loop: str) -> list[Directive]:
        """Lines that put a loop on the threads that have pixels in the tile."""
        if self.windows[1:]:
            return [Split(loop_name(copy, loop), by=self.threads[1], into=("thread_v", "thread_u"))]
        return [Split(loop_name(copy, loop), by=1, into=("thread_u", "one"))]

    def _copy_of_image(self) -> list[Directive]:
        """Lines that copy the windows of a slice to shared memory."""
        load, copy = self.c.image, f"{self.name}_windows"
        return [self._read(load, copy, None), *self._shared_out(copy, load)]

    def _read(self, load: Load, copy: str, layout: Layout | None) -> CacheRead:
        tensor = TensorAxes(load.buffer, names_of(load))
        return CacheRead(tensor, self.loop("slice"), as_=copy, in_=Scope.SHARED, layout=layout, fill=0)

    def _shared_out(self, copy: str, load: Load) -> list[Directive]:
        """Lines for a copy in the order of memory: rows for threads along z, and neighbours for the others."""
        *rows, last = self._extents(load)
        lines: list[Directive] = [
            *fused_loops(copy, rows, "rows"),
            Split(loop_name(copy, last), by=self.tile.wide, into=("trip", "in_trip")),
            *self._pixel_threads(copy, "in_trip"),
        ]
        order = [*self.binds, "trip"]
        row = "rows" if rows[1:] else rows[0]
        lines.append(Split(loop_name(copy, row), by=self.tile.high, into=("own_k", "thread_k")))
        order.append("own_k")
        lines.append(Reorder(tuple(loop_name(copy, loop) for loop in order)))
        return [*lines, *on_threads(copy, self.binds)]

    def _extents(self, load: Load) -> list[str]:
        """The axes of a copy of which a slice of a tile has more than one value."""
        sizes = {self.c.channel.name: self.tile.height, self.c.terms[0].name: self.depth}
        sizes[self.windows[0].name] = self.threads[0] * self.tile.groups
        sizes[self.windows[-1].name] = self._along
        sizes |= {axis.name: size_of(axis) or 1 for axis in self.inner}
        moving = {name for name, size in sizes.items() if size > 1}
        return [n for n, i in zip(names_of(load), load.index, strict=True) if variables(i) & moving]
