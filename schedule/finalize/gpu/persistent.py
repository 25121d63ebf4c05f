"""Persistent blocks: as many as a GPU runs at a time, each of which takes one tile after the other.

    block.y for i < M:                       block.x for b < min(216, M * N):
      block.x for j < N: A(i, j)      ->       for r < (M * N + 215 - b) // 216:
                                                 let t = 216 * r + b: let i = t // N: let j = t % N: A(i, j)

The order of tiles is that in which a GPU starts blocks; with `grouped` it is that of groups of 8 rows, column by
column in each. The loop is one of a block, so barriers between its trips are placed as in all others.

How many blocks a multiprocessor runs at a time follows from the threads, the shared memory and the registers of a
block. Of registers it is an estimate, and of multiprocessors the number that a usual card of the target has: more
blocks than run at a time come later, and fewer leave some room; nothing else depends on it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import prod

from te.gpus import WARP, Multiprocessor
from te.ir.bounds import Facts
from te.ir.expr import Const, Expr, Var, add, floor_div, floor_mod, integer, minimum, mul, sub
from te.ir.loop import BLOCKS, THREADS, Alloc, For, Let, Prefetch, Stmt, rewrite_stmt, walk_stmt
from te.ir.simplify import simplify
from te.ir.visit import substitute
from te.schedule.context import ranging
from te.schedule.finalize.allocations import constant_bytes
from te.schedule.finalize.gpu.arena import end_of
from te.schedule.finalize.gpu.levels import free_name
from te.schedule.forms import BlockOrder
from te.schedule.names import made_name

GROUP = 8  # rows of tiles; as `te_grouped_block` has
OTHER_REGISTERS = 32  # of a thread, for addresses and what else is in no buffer
WORD = 4  # bytes of a register


def is_persistent(launch: Stmt) -> bool:
    return any(loop.order == BlockOrder.PERSISTENT for loop in _block_loops(launch))


def resident_blocks(launch: Stmt, has: Multiprocessor) -> int:
    """How many blocks of a settled launch a GPU runs at a time."""
    counts = {
        x.kind: int(x.extent.value)
        for x, _ in walk_stmt(launch)
        if isinstance(x, For) and x.kind in THREADS and isinstance(x.extent, Const)
    }
    axes = {kind: count for kind, count in counts.items() if kind.startswith("thread")}
    threads = prod((axes or counts).values())
    warps = max(1, -(-threads // WARP))
    allocs = [(x, path) for x, path in walk_stmt(launch) if isinstance(x, Alloc)]
    shared = max((end_of(x.buffer) for x, _ in allocs if x.buffer.scope == "shared"), default=0)
    own = max((sum(_words(s) for s in (x, *path)) for x, path in allocs), default=0)
    registers = min(own + OTHER_REGISTERS, has.registers_of_thread)
    fitting = (
        has.blocks,
        has.warps // warps,
        has.registers // (registers * WARP * warps),
        has.shared // (shared + has.shared_reserved) if shared else has.blocks,
    )
    return has.count * max(1, min(fitting))


def in_rounds(launch: Stmt, count: int, facts: Facts) -> Stmt:
    """A launch with so many blocks at most, each of which does what several did."""
    loops = {loop.kind: loop for loop in _block_loops(launch)}
    total: Expr = integer(1)
    for kind in sorted(loops):
        total = mul(total, loops[kind].extent)
    total = simplify(total, facts)
    if isinstance(total, Const) and total.value <= count:
        return _in_grid_order(launch)
    outermost = next(_block_loops(launch))
    taken = {x.var for x, _ in walk_stmt(launch) if isinstance(x, For | Let)}
    block, round, tile = (
        free_name(made_name(f"{outermost.var}_{word}"), taken) for word in ("block", "round", "tile")
    )
    number = add(mul(integer(count), Var(round)), Var(block))
    places: dict[str, Expr] = {}
    if len(loops) == 1:
        places[outermost.var] = number
    else:
        places = _places(loops, Var(tile))
    body = _named(launch, places)
    if len(loops) > 1:
        body = Let(tile, number, total, body)
    trips = floor_div(sub(add(total, integer(count - 1)), Var(block)), integer(count))
    fetched = _prefetches(launch, {**places, tile: number})
    rounds = For(round, trips, body, prefetches=fetched)
    return For(block, minimum(integer(count), total), rounds, "block.x")


def inside_blocks(launch: Stmt, facts: Facts) -> Facts:
    """What is known of where a block is, in whatever way that is computed."""
    for loop in _block_loops(launch):
        facts = ranging(facts, loop.var, loop.extent)
    return facts


def _places(loops: dict[str, For], tile: Expr) -> dict[str, Expr]:
    """The values of the loops' variables for the tile of a number."""
    by_axis = [loops[kind] for kind in sorted(loops)]
    if _is_grouped(loops):
        columns, rows = loops["block.x"], loops["block.y"]
        plane = mul(columns.extent, rows.extent)
        inside = floor_mod(tile, plane) if len(loops) == 3 else tile
        of_group = mul(integer(GROUP), columns.extent)
        first = mul(floor_div(inside, of_group), integer(GROUP))
        here = minimum(integer(GROUP), sub(rows.extent, first))
        inside = floor_mod(inside, of_group)
        places = {
            columns.var: floor_div(inside, here),
            rows.var: add(first, floor_mod(inside, here)),
        }
        return places | {loop.var: floor_div(tile, plane) for loop in by_axis[2:]}
    found: dict[str, Expr] = {}
    for n, loop in enumerate(by_axis):
        is_last = n == len(by_axis) - 1
        found[loop.var] = tile if is_last else floor_mod(tile, loop.extent)
        tile = floor_div(tile, loop.extent)
    return found


def _is_grouped(loops: dict[str, For]) -> bool:
    return {"block.x", "block.y"} <= loops.keys() and any(
        loop.order == BlockOrder.GROUPED for kind, loop in loops.items() if kind != "block.z"
    )


def _named(s: Stmt, places: dict[str, Expr]) -> Stmt:
    """What stands in the loops over blocks, with names for where the block is."""
    if isinstance(s, For) and s.kind in BLOCKS:
        return Let(s.var, places[s.var], s.extent, _named(s.body, places))
    if isinstance(s, Let) and _has_blocks(s.body):
        return replace(s, body=_named(s.body, places))
    return s


def _prefetches(s: Stmt, values: dict[str, Expr]) -> tuple[Prefetch, ...]:
    """What the loops over blocks fetch, by the number of a round."""
    found: list[Prefetch] = []
    lets: dict[str, Expr] = {}

    def resolved(e: Expr) -> Expr:
        return substitute(substitute(substitute(e, lets), values), values)

    while isinstance(s, For | Let) and _has_blocks(s):
        if isinstance(s, Let):
            lets[s.var] = substitute(s.value, lets)
        else:
            found += [replace(p, index=tuple(resolved(i) for i in p.index)) for p in s.prefetches]
        s = s.body
    return tuple(found)


def _in_grid_order(s: Stmt) -> Stmt:
    """All blocks at a time: none of them has another tile."""

    def in_order(x: Stmt) -> Stmt:
        return replace(x, order="") if isinstance(x, For) and x.order == BlockOrder.PERSISTENT else x

    return rewrite_stmt(s, in_order)


def _block_loops(s: Stmt) -> Iterator[For]:
    """Outermost first."""
    return (x for x, _ in walk_stmt(s) if isinstance(x, For) and x.kind in BLOCKS)


def _has_blocks(s: Stmt) -> bool:
    return any(True for _ in _block_loops(s))


def _words(s: Stmt) -> int:
    if isinstance(s, Alloc) and s.buffer.scope in ("register", "stack"):
        return -(-(constant_bytes(s.buffer) or 0) // WORD)
    return 0
