"""Schedules of contractions: tiles that stay in registers, and how B is stored and read.

A tile of rows and columns is summed up in registers; for each term, its vectors of B are loaded
once, and each element of A is broadcast. What differs is how B comes:

- *packed* in panels as wide as a tile, each one stream of memory: in each call where B is larger than
  the caches hold and used often, or does not lie as a tile reads it; where B is bound, once;
- *as it is* where the caches hold what neighbouring tiles need of it;
- *streamed* where rows are few: some rows of B at a time, along their whole length, so that each is
  one stream of memory, and added to the result. Time is that of reading B, once.

An instruction that sums several terms at once (`vpdpbusd`) takes packed panels, with the terms of
a lane beside each other.

The tile sizes and the order of loops are those of Goto and van de Geijn, "Anatomy of
high-performance matrix multiplication" (2008); docs/performance.md has what was measured.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import gcd

from te.ir.expr import Expr, Var, floor_div, floor_mod, integer
from te.ir.tensor import Program, Stage
from te.schedule.auto.contraction import Contraction, Regime, instruction_for, known_product
from te.schedule.auto.loops import PARALLEL_WORK, lanes_of
from te.schedule.auto.register_tiles import Sizes, Tile, best_tile
from te.schedule.auto.tiles import Plan, fused, pointwise_readers, size_of
from te.schedule.auto.vector_products import lines_by_parts
from te.schedule.directives import (
    CacheRead,
    ComputeAt,
    Parallel,
    Reorder,
    SetLayout,
    SetScope,
    Split,
    Tensorize,
    Unroll,
    Vectorize,
)
from te.schedule.forms import Directive, Layout, Scope, TensorAxes
from te.schedule.intrinsics import Meaning
from te.schedule.nest import loop_name
from te.target import Target

PANEL_BYTES = 4096  # of a column of a packed panel: 128 KiB in 32 columns
UNPACKED_TERMS = 512  # of B as it is, that many tiles in a column read from the caches
CACHE_WAYS = 8  # lines of the second-level cache at the same place
STREAMED_TERMS = 16  # rows of B that are read side by side; for a single row of A half as many
SINGLE_VECTORS = 4  # in a panel for a single row of A, whose multiply-adds must not wait for each other
PANELS_OF_A_THREAD = 4  # at least, so that threads have as much to do
STREAMED_COLUMNS = 4096  # of B, at most, that a thread reads of each row


@dataclass(frozen=True, slots=True)
class Way:
    """How B is read: `packed` once (bound), in each call, or not (None); or `streamed`; by what instruction."""

    packed: str | None = None
    streamed: bool = False
    instruction: Meaning | None = None


def lines_for(
    c: Contraction, program: Program, target: Target, regime: Regime, fast_math: bool
) -> Iterator[Plan]:
    """Plans for a contraction, the best one first; the first that is legal serves.

    `regime` is what to assume where the sizes do not tell.
    """
    for way in _ways(c, program, target, regime, fast_math):
        if way.streamed and _is_single(c):
            yield from lines_by_parts(c, target, tile_for(c, target, way).columns)
        for with_readers in (True, False):
            yield _plan(c, program, target, way, with_readers)


def _ways(c: Contraction, program: Program, target: Target, regime: Regime, fast_math: bool) -> Iterator[Way]:
    is_bound = c.right.buffer in program.params
    instruction = instruction_for(c, target, fast_math)
    if instruction is not None:
        yield Way("bound" if is_bound else "call", instruction=instruction)
    if is_bound and _is_single(c) and _has_panels(c, target):
        yield Way("bound")
    if _is_single(c) or (not (is_bound or c.is_turned) and c.is_of(Regime.FEW, regime)):
        yield Way(streamed=True)
    if is_bound:
        yield Way("bound")
    if c.rows and (c.is_turned or (not is_bound and c.is_of(Regime.LARGE, regime))):
        yield Way("call")
    if not (is_bound and c.is_turned):
        yield Way()


def _is_single(c: Contraction) -> bool:
    """Whether A is one row: of a bound B, too, nothing is read twice then."""
    return known_product(c.rows) == 1 and not c.is_turned


def _has_panels(c: Contraction, target: Target) -> bool:
    """Whether a bound B has panels enough for all threads: each is one stream of memory, summed up in registers."""
    columns = known_product(c.columns)
    panel = lanes_of(c.stage, target) * SINGLE_VECTORS
    return target.cores == 1 or columns is None or columns >= PANELS_OF_A_THREAD * target.cores * panel


def tile_for(c: Contraction, target: Target, way: Way) -> Tile:
    """The tile for the sizes that are known, at most two vectors wide where panels are packed.

    Four vectors where B is read as it lies, whose rows are then read in longer pieces.
    """
    lanes = lanes_of(c.stage, target)
    many = target.vector_registers >= 32
    if way.instruction is not None:
        return _fixed_tile(c, lanes, 8 if many else 6, 2)
    if way.streamed:
        return _fixed_tile(c, lanes, 4, 4 if many else 2)
    if _is_single(c):
        return _fixed_tile(c, lanes, 1, SINGLE_VECTORS)
    vectors = 4 if many and way.packed is None else 2
    near = target.caches[1] // 2 if len(target.caches) > 1 else target.caches[-1]
    return best_tile(_sizes(c), lanes, target.vector_registers, vectors, near)


def _fixed_tile(c: Contraction, lanes: int, rows: int, vectors: int) -> Tile:
    """A tile of so many rows and vectors, and of no more than there are."""
    columns, known = size_of(c.columns[-1]), size_of(c.rows[-1]) if c.rows else 1
    while columns is not None and vectors > 1 and vectors * lanes // 2 >= columns:
        rows, vectors = 2 * rows, vectors // 2
    return Tile(min(rows, known) if known else rows, vectors * lanes)


def _sizes(c: Contraction) -> Sizes:
    """The sizes of a product that decide about its tile."""
    rows, columns = size_of(c.rows[-1]) if c.rows else 1, size_of(c.columns[-1])
    left_bytes = row_bytes = terms = known_product(c.terms)
    if terms is not None:
        every = known_product((*c.rows, *c.terms))
        left_bytes = None if every is None else every * c.left.dtype.bytes
        row_bytes = terms * c.left.dtype.bytes
    if c.rows and c.left.index[-1] == Var(c.rows[-1].name):
        row_bytes = c.left.dtype.bytes
    return Sizes(rows, columns, terms, c.right.dtype.bytes, left_bytes, row_bytes)


@dataclass(slots=True)
class _Loops:
    """The loops of a plan by their places, from the outermost: names that the lines make."""

    batches: list[str]
    blocks: list[str]  # of terms; of columns first where B is streamed
    tiles: list[str]
    terms: list[str]
    inside: list[str]


def _plan(c: Contraction, program: Program, target: Target, way: Way, with_readers: bool) -> Plan:
    tile = tile_for(c, target, way)
    axes = tuple(i.name for i in c.right.index if isinstance(i, Var))
    lines: list[Directive] = []
    if way.packed == "bound":
        lines.append(SetLayout(TensorAxes(c.right.buffer, axes), _panels(c, axes, tile, way)))
    loops = _split(c, tile, target, way, lines)
    order = (*loops.batches, *loops.blocks, *loops.tiles, *loops.terms, *loops.inside)
    lines.append(Reorder(order))
    if way.packed == "call":
        lines += _packed(c, tile, loops.blocks[-1] if loops.blocks else None, axes, way)
    if way.streamed:
        at = loops.blocks[0]
    else:
        at = fused(c.stage, loops.tiles if loops.blocks else [*loops.batches, *loops.tiles], lines)

    readers = pointwise_readers(c.stage, program) if with_readers else []
    if readers:
        lines.append(ComputeAt(tuple(s.name for s in readers), at))
        if not loops.blocks:
            lines += [SetScope(s, Scope.REGISTER) for s in (c.stage.name, *(r.name for r in readers[:-1]))]
    lines += _kinds(c, loops, way)
    for reader in readers:
        lines += _reader(reader, c, target, way, in_registers=not loops.blocks)
    if _is_much(c):
        lines.append(Parallel((at,)))
        lines += [Parallel((f"{_copy(c)}.{c.columns[-1].name}o",))] if way.packed == "call" else []
    return Plan(tuple(lines), (c.stage.name, *(s.name for s in readers)))


def _split(c: Contraction, tile: Tile, target: Target, way: Way, lines: list[Directive]) -> _Loops:
    """Split the loops of a contraction: outside the tile batches, blocks, columns, rows; then terms, and the tile."""
    column = c.columns[-1]
    width = [c.loop(column, "i")]
    row_tiles, rows = [], []
    if c.rows:
        row = c.rows[-1]
        lines.append(Split(c.loop(row), by=tile.rows))
        row_tiles, rows = [*map(c.loop, c.rows[:-1]), c.loop(row, "o")], [c.loop(row, "i")]
    block = _column_block(c, tile, target) if way.streamed else None
    if block:
        lines.append(Split(c.loop(column), by=block, into=(f"{column.name}b", f"{column.name}t")))
        lines.append(Split(c.loop(column, "t"), by=tile.columns, into=(f"{column.name}o", f"{column.name}i")))
    else:
        lines.append(Split(c.loop(column), by=tile.columns))
    columns = [*map(c.loop, c.columns[:-1]), c.loop(column, "o")]
    tiles = [*row_tiles, *columns] if not way.packed and _keeps_right(c, target) else [*columns, *row_tiles]
    blocks = [c.loop(column, "b")] if block else []

    *outer, last = map(c.loop, c.terms)
    size = _block_of_terms(c, tile, target, way)
    if size:
        lines.append(Split(last, by=size))
        blocks, outer, last = [*blocks, *outer, f"{last}o"], [], f"{last}i"
    terms = [*outer, last]
    if way.instruction is not None:
        group = [loop_name(c.stage.name, f"{c.terms[-1].name}{part}") for part in ("g", "t")]
        into = (f"{c.terms[-1].name}g", f"{c.terms[-1].name}t")
        lines.append(Split(last, by=way.instruction.terms, into=into))
        terms = [*outer, group[0]]
        return _Loops([*map(c.loop, c.batches)], blocks, tiles, terms, [*rows, *width, group[1]])
    return _Loops([*map(c.loop, c.batches)], blocks, tiles, terms, [*rows, *width])


def _keeps_right(c: Contraction, target: Target) -> bool:
    """Whether B stays in the second-level cache and A or the result does not: then each of their rows comes once."""
    rows, columns, terms = (known_product(axes) for axes in (c.rows, c.columns, c.terms))
    if rows is None or columns is None or terms is None or len(target.caches) < 2:
        return False
    half = target.caches[1] // 2
    others = rows * (terms * c.left.dtype.bytes + columns * c.stage.tensor.dtype.bytes)
    return columns * terms * c.right.dtype.bytes <= half < others


def _block_of_terms(c: Contraction, tile: Tile, target: Target, way: Way) -> int | None:
    """How many terms are added up before the next tile, where that is not all of them."""
    if way.streamed:
        return STREAMED_TERMS // 2 if known_product(c.rows) == 1 else STREAMED_TERMS
    known = known_product(c.terms)
    if way.packed == "call":
        size = PANEL_BYTES // c.right.dtype.bytes
        # So many small numbers are rarely summed up, and each block would be code of its own.
        is_small = way.instruction is not None and not c.batches and (known is None or known <= size)
        return None if is_small else size
    if way.packed or c.batches or known is None:  # unknown, it would cost 100 ms of each build
        return None
    return UNPACKED_TERMS if known > UNPACKED_TERMS and not _stays(c, known, tile, target) else None


def _stays(c: Contraction, terms: int, tile: Tile, target: Target) -> bool:
    """Whether what a column of tiles reads of B stays in the second-level cache from one tile to the next.

    Rows of B whose distance is a multiple of much compete for few places in it.
    """
    columns = known_product(c.columns)
    if columns is None or len(target.caches) < 2:
        return False
    cache, row = target.caches[1], tile.columns * c.right.dtype.bytes
    apart = gcd(columns * c.right.dtype.bytes, cache // CACHE_WAYS)
    return 2 * terms * row <= cache * min(1, row / apart)


def _column_block(c: Contraction, tile: Tile, target: Target) -> int:
    """How many columns of a streamed B a thread reads at a time."""
    known = size_of(c.columns[-1])
    if known is None:
        return STREAMED_COLUMNS // 2 if target.cores > 1 else STREAMED_COLUMNS
    share = -(-known // (target.cores * tile.columns)) * tile.columns
    return min(STREAMED_COLUMNS, share)


def _kinds(c: Contraction, loops: _Loops, way: Way) -> list[Directive]:
    """The kinds of the loops inside the tile."""
    lines: list[Directive] = [Unroll((loops.inside[0],))] if c.rows else []
    if way.instruction is not None:
        return [*lines, Tensorize((loops.inside[-2], loops.inside[-1]), way.instruction.name)]
    return [*lines, Vectorize((loops.inside[-1],))]


def _reader(
    reader: Stage, c: Contraction, target: Target, way: Way, *, in_registers: bool
) -> list[Directive]:
    """An epilogue in vectors: of a tile, or of all columns of a thread."""
    column = loop_name(reader.name, c.columns[-1].name)
    if way.streamed:
        return [Vectorize((column,), by=lanes_of(reader, target))]
    lines: list[Directive] = []
    if in_registers and c.rows:
        lines.append(Unroll((loop_name(reader.name, c.rows[-1].name),)))
    return [*lines, Vectorize((column,))]


def _panels(c: Contraction, axes: Sequence[str], tile: Tile, way: Way) -> Layout:
    """Panels of columns outermost, in each the other axes, innermost a row of the panel.

    For an instruction, what it adds in one lane lies beside each other, then the next lane's.
    """
    width, column = integer(tile.columns), Var(c.columns[-1].name)
    others: list[Expr] = [Var(axis) for axis in axes if axis != column.name]
    inner: list[Expr] = [floor_mod(column, width)]
    if way.instruction is not None:
        term, terms = Var(c.terms[-1].name), integer(way.instruction.terms)
        others = [axis for axis in others if axis != term] + [floor_div(term, terms)]
        inner.append(floor_mod(term, terms))
    return Layout((floor_div(column, width), *others, *inner))


def _copy(c: Contraction) -> str:
    return f"{c.right.buffer}_packed"


def _packed(c: Contraction, tile: Tile, at: str | None, axes: tuple[str, ...], way: Way) -> list[Directive]:
    """A copy of B in panels: of all of it, or of each block of terms."""
    column = c.columns[-1].name
    copy = _copy(c)
    batches = {b.name for b in c.batches}
    order = [f"{copy}.{a}" for a in axes if a not in batches and a != column]
    inner: list[str] = []
    lines: list[Directive] = [
        CacheRead(TensorAxes(c.right.buffer, axes), at, copy, layout=_panels(c, axes, tile, way)),
        Split(f"{copy}.{column}", by=tile.columns),
    ]
    if way.instruction is not None:
        term = f"{copy}.{c.terms[-1].name}"
        lines.append(Split(term, by=way.instruction.terms))
        order, inner = [f"{term}o" if name == term else name for name in order], [f"{term}i"]
    lines.append(Reorder((f"{copy}.{column}o", *order, *inner, f"{copy}.{column}i")))
    lines += [Unroll(tuple(inner))] if inner else []
    return [*lines, Vectorize((f"{copy}.{column}i",))]


def _is_much(c: Contraction) -> bool:
    trips = known_product((*c.batches, *c.rows, *c.columns, *c.terms))
    return trips is None or 2 * trips >= PARALLEL_WORK
