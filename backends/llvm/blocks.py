"""Blocks of an unrolled and a vector loop to code (`te/ir/blocks.py` says what they are).

Before the first trip of the unrolled loop, the rows of all blocks that are read are loaded and transposed;
the trips then find their vectors. What the trips store into a block is kept until the last one, and
stored as rows. A row is the access itself, written with the loops exchanged: the unrolled loop's trips in
the lanes, the vector loop's one by one. So its conditions become its mask by themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from te.backends.llvm import memory
from te.backends.llvm.context import Blocks, Context, Mask, Memory, Vectors
from te.backends.llvm.expressions import expression, index_of, load, position, stream_of
from te.backends.llvm.index import LANE_NUMBER, integer
from te.backends.llvm.transpose import transposed
from te.backends.llvm.values import Value, constant
from te.ir.blocks import Block, blocks_of
from te.ir.expr import Const
from te.ir.loop import UNROLLED, For, If, Let, Stmt, Store, walk_stmt


def blocks_in(ctx: Context, s: For) -> list[Block]:
    """The blocks of an unrolled loop that are to be written as such."""
    if ctx.blocks is not None or ctx.lanes > 1:
        return []
    return [b for b in blocks_of(s) if isinstance(ctx.buffers[b.access.buffer], Memory)]


def with_blocks(ctx: Context, s: For, found: Sequence[Block], write: Callable[[], None]) -> None:
    """Write an unrolled loop whose trips `write` writes."""
    between = {id(b.access): _unrolled_around(b) for b in found}
    vectors = {id(b.access): _fetched(ctx, s, b) if b.is_read else {} for b in found}
    ctx.blocks = Blocks(s.var, between, vectors)
    write()
    ctx.blocks = None
    for block in found:
        if not block.is_read:
            _put(ctx, s, block, vectors[id(block.access)])


def keep(ctx: Context, s: Store, value: Value) -> bool:
    """Keep what a trip stores into a block for the rows that follow the last trip; whether it is one."""
    vectors = ctx.blocks.of(ctx, s) if ctx.blocks else None
    if vectors is None:
        return False
    assert ctx.blocks is not None
    value = ctx.emit.splat(value, ctx.lanes)
    # Trips that a condition leaves out for certain have kept nothing.
    _lengthen(vectors, ctx.trip(ctx.blocks.loop), value)
    vectors.append(value)
    return True


def _lengthen(vectors: list[Value], trips: int, like: Value) -> None:
    """Stand in for the vectors of trips that store nothing: the rows' masks leave their elements out."""
    vectors += [constant(0, like.dtype, like.lanes)] * (trips - len(vectors))


def keeps(ctx: Context, s: Stmt) -> bool:
    """Whether the statement holds a store into a block, which must not stand behind a branch then."""
    if ctx.blocks is None:
        return False
    return any(isinstance(inner, Store) and id(inner) in ctx.blocks.between for inner, _ in walk_stmt(s))


def under(ctx: Context, condition: Value, write: Callable[[], None]) -> None:
    """Write statements under a scalar condition, which becomes a part of the masks of their vector loops."""
    assert ctx.blocks is not None
    before = ctx.blocks.condition
    if before is not None:
        text = f"and i1 {before.text}, {condition.text}"
        condition = ctx.emit.pure(text, condition.dtype, [before, condition])
    ctx.blocks.condition = condition
    write()
    ctx.blocks.condition = before


def mask(ctx: Context, lanes: int) -> Mask | None:
    """The mask of a vector loop under conditions that stand outside it."""
    if ctx.blocks is None or ctx.blocks.condition is None:
        return None
    return Mask(ctx.emit.splat(ctx.blocks.condition, lanes), is_active=False)


# ---------------------------------------------------------------- rows


def _unrolled_around(block: Block) -> tuple[str, ...]:
    return tuple(s.var for s in block.path if isinstance(s, For) and s.kind == UNROLLED)


def _fetched(ctx: Context, s: For, block: Block) -> Vectors:
    """The vectors of a read, one for each trip."""
    assert not isinstance(block.access, Store)
    access, rows = block.access, dict[tuple[int, ...], list[Value | None]]()

    def read(trips: tuple[int, ...], lane: int) -> None:
        value = memory.to_memory(ctx, load(ctx, access), access.dtype)
        rows.setdefault(trips, [None] * block.lanes)[lane] = value

    _each_row(ctx, s, block, read)
    result: Vectors = {}
    for trips, found in rows.items():
        first = next(row for row in found if row is not None)
        zero = constant(0, first.dtype, first.lanes)
        columns = transposed(ctx.emit, [row or zero for row in found], first.lanes)
        result[trips] = [memory.from_memory(ctx, column, access.dtype) for column in columns]
    return result


def _put(ctx: Context, s: For, block: Block, vectors: Vectors) -> None:
    """Store the rows of what all trips have given."""
    store = block.access
    assert isinstance(store, Store)
    buffer = ctx.buffers[store.buffer]
    assert isinstance(buffer, Memory)
    for columns in vectors.values():
        _lengthen(columns, block.trips, columns[0])
    rows = {
        trips: transposed(ctx.emit, [memory.to_memory(ctx, v, buffer.dtype) for v in columns], block.lanes)
        for trips, columns in vectors.items()
    }

    # Parts of lines would each wait for the rest, which other blocks write.
    stream = stream_of(ctx, store, in_lines=True)

    def put(trips: tuple[int, ...], lane: int) -> None:
        if trips not in rows:
            return
        flat = position(ctx, buffer, [index_of(ctx, i) for i in store.index])
        value = memory.from_memory(ctx, rows[trips][lane], buffer.dtype)
        memory.store(ctx, buffer, flat, value, stream=stream)

    with ctx.emit.at(store.stage):
        _each_row(ctx, s, block, put)


def _each_row(ctx: Context, s: For, block: Block, row: Callable[[tuple[int, ...], int], None]) -> None:
    """Write a row for each lane, where the conditions around the access leave one."""

    def inside(path: Sequence[Stmt], trips: tuple[int, ...], lane: int) -> None:
        if not path:
            row(trips, lane)
            return
        match path[0]:
            case For(extent=Const(value=extent)) as loop:
                for trip in range(int(extent)):
                    is_unrolled = loop.kind == UNROLLED
                    with ctx.bind(loop.var, integer(trip)):
                        inside(
                            path[1:], (*trips, trip) if is_unrolled else trips, lane if is_unrolled else trip
                        )
            case Let() as let:
                with ctx.bind(let.var, index_of(ctx, let.value)):
                    inside(path[1:], trips, lane)
            case If() as guard:
                condition = expression(ctx, guard.condition)
                if condition.constant is None:
                    with ctx.masked(condition):
                        inside(path[1:], trips, lane)
                elif condition.constant:
                    inside(path[1:], trips, lane)
            case _:
                inside(path[1:], trips, lane)

    with ctx.vector(block.trips), ctx.bind(s.var, LANE_NUMBER):
        inside(block.path, (), 0)
