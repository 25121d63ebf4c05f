"""Convolutions: sums of products of filters and the windows of a tensor.

    Y[n, k, y, x] = sum[c, r, s](X[n, c, y*2 + r - 3, x*2 + s - 3] else 0) * W[k, c, r, s]

Axes of the filters alone are *channels* (k), of the windows alone *places* (n, y, x; the last one are
*pixels*), and those that are summed over *terms* (c, r, s). Vectors run over the channels: a tile of
neighbouring pixels and some vectors of channels is summed up in registers; for each term, its filters
are loaded and each pixel is broadcast. So no vector is cut off where a row has few pixels, and
strides and dilations cost nothing. The filters are stored in panels as wide as a tile: where they are
bound, if they are a `param`. What lies outside of X is in a padded copy of it.

Where the result has its pixels last, a tile is turned as it is written: from the stack.

The tile is that of Georganas et al., "Anatomy of high-performance deep learning convolutions on SIMD
architectures" (2018), with other layouts outside; docs/performance.md has what was measured.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from te.ir.expr import TRUE, Const, Expr, Load, Op, Select, Var, floor_div, floor_mod, integer
from te.ir.tensor import Axis, Program, Stage
from te.ir.visit import walk
from te.schedule.auto.loops import PARALLEL_WORK, lanes_of
from te.schedule.auto.tiles import Plan, even_part, fused, is_affine, plain, pointwise_readers, size_of
from te.schedule.directives import (
    CacheRead,
    CacheWrite,
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

LATENCY = 8  # cycles of multiplications that must be under way at a time
LEAST_BUSY = 0.2  # of the multipliers; below it, other rules serve better
MOST_PIXELS = 28
PIXELS = 14  # in a tile where the call decides how many a row has: the rows of many networks are multiples
FILTERS_IN_CACHE = 1 << 17  # elements of all filters up to which they stay in the second-level cache


@dataclass(frozen=True, slots=True)
class Convolution:
    """A stage that sums products of filters and windows, with its axes by their roles."""

    stage: Stage
    image: Load
    is_padded: bool  # the image is 0 outside
    filters: Load
    places: tuple[Axis, ...]
    channels: tuple[Axis, ...]
    terms: tuple[Axis, ...]

    def loop(self, axis: Axis, part: str = "") -> str:
        """The loop of an axis, or a part of it."""
        return loop_name(self.stage.name, axis.name + part)

    @property
    def pixels(self) -> Axis:
        return self.places[-1]

    @property
    def channel(self) -> Axis:
        """The channels along which vectors run."""
        return self.channels[-1]

    @property
    def is_turned(self) -> bool:
        """Whether the channels, along which vectors run, are no neighbours in the result."""
        return self.stage.axes[-1] != self.channel


def convolution_of(stage: Stage, of_integers: bool = False) -> Convolution | None:
    """The roles of a stage's axes, if it sums products of filters and windows: of floats, or of integers, too."""
    reduction = stage.reduction
    if reduction is None or reduction.reducer != "sum" or reduction.where != TRUE or not stage.axes:
        return None
    value = stage.value
    if not (isinstance(value, Op) and value.op == "*" and (value.dtype.is_float or of_integers)):
        return None
    for image, filters in (value.args, value.args[::-1]):
        found = _with_roles(stage, image, filters)
        if found is not None:
            return found
    return None


def _with_roles(stage: Stage, image: Expr, filters: Expr) -> Convolution | None:
    read, is_padded = _image(image)
    weights = plain(filters)
    if read is None or not isinstance(weights, Load) or stage.reduction is None:
        return None
    names = [i.name for i in weights.index if isinstance(i, Var)]
    if len(names) != len(weights.index) or len(set(names)) != len(names):
        return None
    if not all(is_affine(i) for i in read.index):
        return None
    terms = tuple(stage.reduction.axes)
    if not all(axis.name in names for axis in terms):
        return None
    own = {name for i in read.index for name in _moving(i)}
    channels = tuple(axis for axis in stage.axes if axis.name in names and axis.name not in own)
    places = tuple(axis for axis in stage.axes if axis.name in own and axis.name not in names)
    if not channels or not places or len(channels) + len(places) < len(stage.axes):
        return None
    if all(isinstance(i, Var) for i in read.index) and not is_padded:
        return None  # a matrix product
    return Convolution(stage, read, is_padded, weights, places, channels, terms)


def _image(e: Expr) -> tuple[Load | None, bool]:
    """The windows' tensor, and whether there is 0 outside of it."""
    e = plain(e)
    match e:
        case Load():
            return e, False
        case Select(_, then, Const(value)) if value == 0 and isinstance(plain(then), Load):
            read = plain(then)
            assert isinstance(read, Load)
            return read, True
    return None, False


def _moving(e: Expr) -> set[str]:
    """The indices that move an element of each window: not those that only choose a group."""
    match e:
        case Op("//", (_, Const())):
            return set()
        case Var(name):
            return {name}
        case Op(_, args):
            return {name for arg in args for name in _moving(arg)}
    return set()


# ---------------------------------------------------------------- lines


@dataclass(frozen=True, slots=True)
class Tile:
    """Pixels and channels that are summed up in registers."""

    pixels: int
    channels: int


def tile_for(c: Convolution, target: Target) -> Tile | None:
    """The tile that keeps the multipliers busiest; None where most lanes of any would be idle.

    Registers hold the sums, the filters of one term and a pixel. What counts is how many of the
    lanes and pixels exist, and how much of a trip is multiplication: a trip loads its filters and
    pixels, and takes about a cycle and a half for itself.
    """
    lanes = lanes_of(c.stage, target)
    row, many = size_of(c.pixels), size_of(c.channel)
    best, best_tile = LEAST_BUSY, None
    for vectors in (4, 2, 1):  # LLVM takes vectors of other widths apart
        most = min((target.vector_registers - 1) // vectors - 1, MOST_PIXELS)
        pixels = min(most, PIXELS) if row is None else even_part(row, most)
        width = vectors * lanes
        if pixels < 1 or not is_of_one_group(c, width):
            continue
        work = vectors * pixels
        busy = work / (max(work, vectors + pixels, LATENCY) + 1.5)
        busy *= _used(row, pixels) * _used(many, width)
        if busy > best:
            best, best_tile = busy, Tile(pixels, width)
    return best_tile


def _used(extent: int | None, part: int) -> float:
    """How much of the parts that cover an extent lies in it."""
    return 1.0 if extent is None else extent / (-(-extent // part) * part)


def is_of_one_group(c: Convolution, width: int) -> bool:
    """Whether neighbouring channels of a tile read the same channels of the image."""
    for i in c.image.index:
        for node in walk(i):
            match node:
                case Op("//", (Var(name), Const(size))) if name == c.channel.name and int(size) % width:
                    return False
                case Op("//", (Var(name), by)) if name == c.channel.name and not isinstance(by, Const):
                    return False
    return True


def lines_for(c: Convolution, program: Program, target: Target) -> Plan | None:
    """The lines for a convolution and what is computed from its elements."""
    tile = tile_for(c, target)
    if tile is None:
        return None
    lines = _filters(c, program, tile)
    lines += [Split(c.loop(c.channel), by=tile.channels), Split(c.loop(c.pixels), by=tile.pixels)]
    images = [c.loop(axis) for axis in _images(c)]
    rows = [c.loop(axis) for axis in c.places[len(images) : -1]]
    panels = [*map(c.loop, c.channels[:-1]), c.loop(c.channel, "o")]
    tiles = [*rows, *panels] if _stay_in_cache(c) else [*panels, *rows]
    tiles.append(c.loop(c.pixels, "o"))
    inside = (c.loop(c.pixels, "i"), c.loop(c.channel, "i"))
    lines.append(Reorder((*images, *tiles, *map(c.loop, c.terms), *inside)))
    lines += _padded(c, target)
    at = fused(c.stage, tiles, lines)
    written, readers = _written(c, program, target, tile, at)
    lines += [*written, Unroll(inside[:1]), Vectorize(inside[1:])]
    if _is_much(c):
        lines.append(Parallel((at,)))
    return Plan(tuple(lines), (c.stage.name, *readers))


def _images(c: Convolution) -> tuple[Axis, ...]:
    """The axes that only choose an image: the padded copy is one image's."""
    alone = {i.name for i in c.image.index if isinstance(i, Var)}
    count = 0
    for axis in c.places[:-1]:
        if axis.name not in alone:
            break
        count += 1
    return c.places[:count]


def _filters(c: Convolution, program: Program, tile: Tile) -> list[Directive]:
    """Panels of channels outermost, in each the other axes, innermost a row of the panel."""
    axes = tuple(i.name for i in c.filters.index if isinstance(i, Var))
    width, name = integer(tile.channels), Var(c.channel.name)
    others = [Var(axis) for axis in axes if axis != c.channel.name]
    layout = Layout((floor_div(name, width), *others, floor_mod(name, width)))
    tensor = TensorAxes(c.filters.buffer, axes)
    if c.filters.buffer in program.params:
        return [SetLayout(tensor, layout)]
    return [CacheRead(tensor, as_=f"{c.filters.buffer}_packed", layout=layout)]


def _padded(c: Convolution, target: Target) -> list[Directive]:
    """A copy of one image with zeros around it."""
    if not c.is_padded:
        return []
    axes = tuple(f"x{position}" for position in range(len(c.image.index)))
    copy = f"{c.image.buffer}_padded"
    images = _images(c)
    at = c.loop(images[-1]) if images else None
    lines: list[Directive] = [
        CacheRead(TensorAxes(c.image.buffer, axes), at, copy, fill=0),
        Vectorize((f"{copy}.{axes[-1]}",), by=lanes_of(c.stage, target)),
    ]
    if _is_much(c) and len(axes) > len(images) + 1:
        lines.append(Parallel((f"{copy}.{axes[len(images)]}",)))
    return lines


def _written(
    c: Convolution, program: Program, target: Target, tile: Tile, at: str
) -> tuple[list[Directive], list[str]]:
    """How a tile gets into memory, with what is computed from its elements; and the stages that do that."""
    readers = [reader.name for reader in pointwise_readers(c.stage, program)]
    if not readers and not c.is_turned:
        return [], []
    name = c.stage.name
    axes = tuple(axis.name for axis in c.stage.axes)
    if not c.is_turned:
        lines: list[Directive] = [ComputeAt(tuple(readers), at)]
        lines += [SetScope(s, Scope.REGISTER) for s in (name, *readers[:-1])]
        for reader in readers:
            lines.append(Unroll((loop_name(reader, c.pixels.name),)))
            lines.append(Vectorize((loop_name(reader, c.channel.name),)))
        return lines, readers
    turned = Layout(tuple(Var(a) for a in (*(a for a in axes if a != c.channel.name), c.channel.name)))
    if not readers:
        buffer = f"{name}_tile"
        lines = [CacheWrite(TensorAxes(name), at, buffer, Scope.STACK)]
        lines.append(SetLayout(TensorAxes(buffer, axes), turned))
        return [*lines, *_turned(buffer, c, target)], []
    lines = [ComputeAt(tuple(readers), at)]
    lines += [SetScope(s, Scope.STACK) for s in (name, *readers[:-1])]
    lines.append(SetLayout(TensorAxes(name, axes), turned))
    for reader in readers:
        lines += _turned(reader, c, target)
    return lines, readers


def _turned(stage: str, c: Convolution, target: Target) -> list[Directive]:
    """Vectors of pixels, as many as a vector has lanes: the backend transposes these in registers."""
    channel = loop_name(stage, c.channel.name)
    return [
        Split(channel, by=lanes_of(c.stage, target)),
        Unroll((f"{channel}i",)),
        Vectorize((loop_name(stage, c.pixels.name),)),
    ]


def _stay_in_cache(c: Convolution) -> bool:
    """Whether all filters stay in the cache, so that rows of the image may come one after the other."""
    elements = [size_of(axis) for axis in (*c.channels, *c.terms)]
    return None not in elements and prod(n for n in elements if n) <= FILTERS_IN_CACHE


def _is_much(c: Convolution) -> bool:
    sizes = [size_of(axis) for axis in (*c.places, *c.channels, *c.terms)]
    return None in sizes or 2 * prod(n for n in sizes if n) >= PARALLEL_WORK
