"""Convolutions whose channels are neighbours in memory: tiles of pixels and channels, through shared memory.

    Y[n, y, x, k] = sum[r, s, c](X[n, y*2 + r - 3, x*2 + s - 3, c] else 0) * W[r, s, c, k]

As in `convolution.py`, what a slice of the terms needs of the filters and what the windows of a tile cover of the
picture is copied to shared memory, filled with zeros. Here both copies are made 16 bytes at a time, along the channels,
and a warp is 8 threads wide, over channels, and 4 high, over pixels. A thread has pixels that lie apart, so that the
threads of a warp read pixels side by side, and some channels, in groups that lie apart likewise. Filters whose
channels are not innermost are turned as they are stored.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod

from te.ir.expr import Load, Var, integer
from te.ir.tensor import Axis, Program, Stage
from te.ir.visit import variables
from te.schedule.auto.contraction import known_product
from te.schedule.auto.convolution import Convolution, convolution_of, is_of_one_group
from te.schedule.auto.gpu.blocks import kept_in_registers, names_of, on_threads
from te.schedule.auto.gpu.enough import multiprocessors_of
from te.schedule.auto.gpu.points import fused_loops, planes_on_blocks
from te.schedule.auto.gpu.windows import channels_of_image, covered, window_axes
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

ACCESS_BYTES = 16  # the most that a thread reads or writes at once
STAGES = 2  # slices of the terms in shared memory
MOST_OF_WINDOW = 16  # places of a filter up to which a slice has whole windows
TERMS = 72  # in a slice: eight windows of 3 by 3, of which each pixel fills a sector of memory
HIGH, WIDE = 16, 8  # threads, over pixels and over channels
BESIDE = 4  # threads along x, in a warp
OWN = ("own_v", "own_u", "group", "own_k")  # the loops over the elements of a thread


@dataclass(frozen=True, slots=True)
class Tile:
    """What a block computes at a time: pixels of a thread, and its channels, `lanes` in each group."""

    pixels: int
    groups: int
    lanes: int

    @property
    def height(self) -> int:
        return self.pixels * HIGH

    @property
    def width(self) -> int:
        return self.groups * WIDE * self.lanes


def plans_for_channels_last(stage: Stage, program: Program, target: Target) -> Iterator[Plan]:
    """Plans for a convolution whose places move windows, and whose result has the channels last."""
    c = convolution_of(stage)
    if c is None or c.stage.axes[-1] != c.channel:
        return
    if c.filters.buffer in {table.tensor.name for table in program.tables}:
        return  # a transform by a few constants
    windows, term = window_axes(c), channels_of_image(c)
    if not windows or term is None or term.name not in variables(c.image.index[-1]):
        return
    readers = pointwise_readers(stage, program)
    for tile in _tiles_for(c, multiprocessors_of(target)):
        if is_of_one_group(c, tile.width):
            made = _Tiled(c, tile, windows, term, _pixels_along(windows, tile))
            if readers:
                yield made.plan(readers)
            yield made.plan([])


def _tiles_for(c: Convolution, multiprocessors: int) -> Iterator[Tile]:
    """The tiles to try: the largest of which there are enough for so many multiprocessors, and the smaller ones."""
    bits = c.stage.value.dtype.bits
    lanes = min(4, 8 * ACCESS_BYTES // bits)
    large = 8 if bits <= 32 else 4
    channels, elements = size_of(c.channel), known_product(c.stage.axes)
    for tile in (Tile(large, 2, lanes), Tile(large, 1, lanes), Tile(4, 1, lanes)):
        if channels is None or elements is None:
            continue  # addresses that sizes decide take many registers
        if elements // (tile.height * tile.width) >= multiprocessors and 2 * channels > tile.width:
            yield tile
    yield Tile(2, 1, lanes)
    yield from (Tile(2, 1, fewer) for fewer in (2, 1) if fewer < lanes)  # for groups of few channels


def _pixels_along(windows: Sequence[Axis], tile: Tile) -> tuple[int, int]:
    """The pixels of a thread along y and x, with which the fewest of a tile are outside of the picture."""
    if len(windows) == 1:
        return 1, tile.pixels
    wide = [1 << n for n in range(tile.pixels.bit_length())]
    shapes = [(tile.pixels // n, n) for n in wide]
    down = HIGH // BESIDE
    return min(shapes, key=lambda shape: covered(windows, (down * shape[0], BESIDE * shape[1])))


@dataclass(frozen=True, slots=True)
class _Tiled:
    """A convolution on its way to its lines."""

    c: Convolution
    tile: Tile
    windows: tuple[Axis, ...]
    term: Axis  # the channels of the picture
    pixels: tuple[int, int]  # of a thread, along y and x

    @property
    def stage(self) -> Stage:
        return self.c.stage

    @property
    def name(self) -> str:
        return self.stage.name

    @property
    def is_line(self) -> bool:
        return len(self.windows) == 1

    @property
    def places(self) -> tuple[Axis, ...]:
        """The terms that are places of a window."""
        return tuple(axis for axis in self.c.terms if axis != self.term)

    @property
    def inner(self) -> tuple[Axis, ...]:
        """The places of a window that stand in a slice whole: where these are known and few."""
        size = known_product(self.places)
        return self.places if size is not None and size <= MOST_OF_WINDOW else ()

    @property
    def depth(self) -> int:
        """How many channels of the picture are in a slice."""
        size = prod(size_of(axis) or 1 for axis in self.inner)
        most = max(4, min(16, TERMS // size // 4 * 4))
        return min(most, size_of(self.term) or most)

    @property
    def binds(self) -> dict[str, str]:
        """The threads, the outermost first."""
        down = {} if self.is_line else {"thread_v": "thread.z"}
        return {**down, "thread_u": "thread.y", "thread_k": "thread.x"}

    @property
    def own(self) -> tuple[str, ...]:
        return OWN[1:] if self.is_line else OWN

    def loop(self, name: str) -> str:
        return loop_name(self.name, name)

    def plan(self, readers: Sequence[Stage]) -> Plan:
        lines = [*self._loops(), *self._result(readers), *self._blocks(), *on_threads(self.name, self.binds)]
        lines += self._copy(self.c.filters, f"{self.name}_filters")
        lines += self._copy(self.c.image, f"{self.name}_windows")
        lines.append(Pipeline(self.loop("slice"), depth=STAGES))
        return Plan(tuple(lines), (self.name, *(reader.name for reader in readers)))

    # ------------------------------------------------------------ loops

    def _loops(self) -> list[Directive]:
        """Lines for the loops of the convolution."""
        lines: list[Directive] = []
        for axis, name in zip(self.windows, "vu"[-len(self.windows) :], strict=True):
            cut = Split(self.loop(axis.name), by=self._along(name), into=(f"block_{name}", f"in_{name}"))
            lines.append(cut)
        lines += [
            Split(self.loop(self.c.channel.name), by=self.tile.width, into=("block_k", "in_k")),
            *self._shares(self.name, "in_v", "in_u", "in_k"),
            Split(self.loop(self.term.name), by=self.depth, into=("slice", "term")),
        ]
        inner = [axis.name for axis in self.inner]
        outer = [axis.name for axis in self.places if axis not in self.inner]
        order = [*self._planes(), "block_u", "block_k", *outer, "slice", *self.binds, *inner, "term"]
        lines.append(Reorder(tuple(map(self.loop, (*order, *self.own)))))
        return [*lines, Unroll((self.loop("term"),))]

    def _along(self, direction: str) -> int:
        """The pixels of a tile along y (`v`) or x (`u`)."""
        down, along = self.pixels
        return down * HIGH // BESIDE if direction == "v" else along * self._beside

    @property
    def _beside(self) -> int:
        """The threads along x."""
        return HIGH if self.is_line else BESIDE

    def _planes(self) -> list[str]:
        """The loops that tell blocks apart along z: images, groups of channels, and tiles along y."""
        cut = (*self.windows, self.c.channel)
        others = [axis.name for axis in self.stage.axes if axis not in cut]
        return others if self.is_line else [*others, "block_v"]

    def _blocks(self) -> list[Directive]:
        planes = planes_on_blocks(self.name, self._planes())
        return [*planes, Bind(self.loop("block_u"), "block.y"), Bind(self.loop("block_k"), "block.x")]

    def _shares(self, nest: str, down: str, along: str, channels: str) -> list[Directive]:
        """Lines that cut the pixels and channels of a tile for its threads."""
        lines: list[Directive] = []
        if not self.is_line:
            lines.append(Split(loop_name(nest, down), by=HIGH // BESIDE, into=("own_v", "thread_v")))
        return [
            *lines,
            Split(loop_name(nest, along), by=self._beside, into=("own_u", "thread_u")),
            Split(loop_name(nest, channels), by=WIDE * self.tile.lanes, into=("group", "in_group")),
            Split(loop_name(nest, "in_group"), by=self.tile.lanes, into=("thread_k", "own_k")),
        ]

    def _result(self, readers: Sequence[Stage]) -> list[Directive]:
        """Lines that bring the tile from registers to memory, or to the stages that read it."""
        kept = kept_in_registers(self.stage, self.loop("block_k"), readers)
        down, along, channel = (
            f"{kept.prefix}{axis.name}" for axis in (self.windows[0], self.windows[-1], self.c.channel)
        )
        lines = [*kept.lines]
        for nest in kept.nests:
            lines += self._shares(nest, down, along, channel)
            lines.append(Reorder(tuple(loop_name(nest, loop) for loop in (*self.binds, *self.own))))
            lines += [Vectorize((loop_name(nest, "own_k"),)), *on_threads(nest, self.binds)]
        return lines

    # ------------------------------------------------------------ copies

    def _copy(self, load: Load, copy: str) -> list[Directive]:
        """Lines that copy what a slice reads of a tensor, all threads together, along its last axis that is cut."""
        names, channel = names_of(load), self.c.channel.name
        of_channels = [n for n, i in zip(names, load.index, strict=True) if i == Var(channel)]
        is_turned = bool(of_channels) and of_channels[0] != names[-1]
        stored = (*(n for n in names if n not in of_channels), *of_channels)
        lines: list[Directive] = [
            CacheRead(
                TensorAxes(load.buffer, names),
                self.loop("slice"),
                as_=copy,
                in_=Scope.SHARED,
                layout=Layout(tuple(map(Var, stored))) if is_turned else None,
                fill=0,
            )
        ]
        if is_turned:  # so that the elements of a row, which one thread stores, lie in different banks
            lines.append(Align(copy, len(names) - 1, self.tile.width + ACCESS_BYTES // load.dtype.bytes))
        *rows, last = self._cut(load)
        wide = self.tile.width if last in of_channels else self.depth
        most = ACCESS_BYTES // load.dtype.bytes
        lanes = max(n for n in (1, 2, 4, 8, 16) if n <= most and wide % n == 0)
        lines.append(Split(loop_name(copy, last), by=lanes, into=("vector", "lane")))
        lines += fused_loops(copy, [*rows, "vector"], "element")
        along = self._beside * WIDE
        lines.append(
            Split(loop_name(copy, "element" if rows else "vector"), by=HIGH * WIDE, into=("trip", "at"))
        )
        if not self.is_line:
            lines.append(Split(loop_name(copy, "at"), by=along, into=("thread_v", "in_v")))
        lines += [
            Split(loop_name(copy, "at" if self.is_line else "in_v"), by=WIDE, into=("thread_u", "thread_k")),
            Reorder(tuple(loop_name(copy, loop) for loop in (*self.binds, "trip"))),
        ]
        if lanes > 1:
            lines.append(Vectorize((loop_name(copy, "lane"),)))
        return [*lines, *on_threads(copy, self.binds)]

    def _cut(self, load: Load) -> list[str]:
        """The axes of a copy of which a slice of a tile has more than one value."""
        cut = {self.term.name, *(axis.name for axis in self.inner if axis.extent != integer(1))}
        if load == self.c.image:
            cut |= {axis.name for axis in self.windows}
        else:
            cut.add(self.c.channel.name)
        return [n for n, i in zip(names_of(load), load.index, strict=True) if variables(i) & cut]
