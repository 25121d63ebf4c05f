"""Blocks: accesses of a vector loop far apart in memory, whose neighbours an unrolled loop around touches.

    unrolled for i < 16:
      vector for j < 16:
        Y[16 * io + i, 16 * jo + j] = X[16 * jo + j, 16 * io + i]

Each vector of X is gathered, one element from each of 16 rows; all 16 vectors together are 16 pieces of
rows. So a backend may read rows and transpose them in registers, and store in the same way what would
be scattered. Nothing else changes: with the two loops exchanged, each access to such a row has its
neighbours in the lanes, and its mask from the same conditions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from te.ir.expr import Cast, Const, Expr, Load, Op, Select, Var
from te.ir.loop import (
    UNROLLED,
    VECTOR,
    Accumulate,
    For,
    If,
    Let,
    Seq,
    Stmt,
    Store,
    direct_exprs,
    walk_stmt,
)
from te.ir.visit import loads, variables

FEWEST, MOST = 4, 64  # trips of the unrolled loop


@dataclass(frozen=True, slots=True)
class Block:
    """A read or a store, in all trips of an unrolled loop and a vector loop inside."""

    access: Load | Store
    statement: Store | Accumulate  # in which it stands
    path: tuple[Stmt, ...]  # around the statement, from the unrolled loop's body on
    trips: int  # of the unrolled loop
    lanes: int  # of the vector loop

    @property
    def is_read(self) -> bool:
        return isinstance(self.access, Load)


def blocks_of(loop: For) -> tuple[Block, ...]:
    """The blocks that an unrolled loop holds; none in a loop that does more than read, compute and store."""
    if loop.kind != UNROLLED or not isinstance(loop.extent, Const):
        return ()
    if not FEWEST <= loop.extent.value <= MOST or not _is_plain(loop.body):
        return ()
    inside = list(walk_stmt(loop.body))
    found = [block for s, path in inside for block in _blocks_in(loop, s, path)]
    if not found:
        return ()
    written = [s.buffer for s, _ in inside if isinstance(s, Store | Accumulate)]
    read = {load.buffer for s, _ in inside for e in direct_exprs(s) for load in loads(e)}
    uses = [id(block.access) for block in found]
    return tuple(
        block
        for block in found
        if uses.count(id(block.access)) == 1
        and (
            block.access.buffer not in written
            if isinstance(block.access, Load)
            else written.count(block.access.buffer) == 1 and block.access.buffer not in read
        )
    )


def _is_plain(s: Stmt) -> bool:
    """Whether its statements stand in vector loops, under conditions that read nothing."""
    match s:
        case Seq(items=items):
            return all(_is_plain(item) for item in items)
        case For(kind=kind):
            return (kind == UNROLLED and _is_plain(s.body)) or (kind == VECTOR and _is_masked_leaf(s.body))
        case If():
            return _asks_indices(s) and _is_plain(s.body)
        case Let():
            return not any(True for _ in loads(s.value)) and _is_plain(s.body)
    return False


def _is_masked_leaf(s: Stmt) -> bool:
    return isinstance(s, Store | Accumulate) or (
        isinstance(s, If) and _asks_indices(s) and _is_masked_leaf(s.body)
    )


def _asks_indices(s: If) -> bool:
    return s.otherwise is None and not any(True for _ in loads(s.condition))


def _blocks_in(loop: For, s: Stmt, path: Sequence[Stmt]) -> Iterator[Block]:
    vector = next((outer for outer in path if isinstance(outer, For) and outer.kind == VECTOR), None)
    if vector is None or not isinstance(s, Store | Accumulate):
        return
    names = {outer.var: outer.value for outer in path if isinstance(outer, Let)}
    reads = {id(load): load for load in _certain_loads(s.value)}
    accesses: list[Load | Store] = [*reads.values()]
    if isinstance(s, Store) and not s.method:
        accesses.append(s)
    for access in accesses:
        if _is_block(access.index, loop.var, vector.var, names):
            yield Block(access, s, tuple(path), _constant(loop.extent), _constant(vector.extent))


def _constant(extent: Expr) -> int:
    assert isinstance(extent, Const)
    return int(extent.value)


def _certain_loads(e: Expr) -> Iterator[Load]:
    """The reads that are made whatever the values are."""
    match e:
        case Load():
            yield e
        case Cast(value=value):
            yield from _certain_loads(value)
        case Select(condition=condition):
            yield from _certain_loads(condition)
        case Op(args=args):
            for arg in args[:1] if e.op in ("and", "or") else args:
                yield from _certain_loads(arg)


def _is_block(index: Sequence[Expr], unrolled: str, lanes: str, names: Mapping[str, Expr]) -> bool:
    """Whether trips of the unrolled loop are neighbours, and lanes are not."""
    if not index:
        return False
    steps = [_step(i, unrolled, names) for i in index]
    if steps != [0] * (len(index) - 1) + [1]:
        return False
    strides = [_step(i, lanes, names) for i in index]
    return (
        None not in strides and any(strides) and strides != [0] * (len(index) - 1) + [strides[-1] in (1, -1)]
    )


def _step(e: Expr, name: str, names: Mapping[str, Expr]) -> int | None:
    """By how much an index grows with a variable; None where that differs, or is not seen."""
    match e:
        case Const():
            return 0
        case Var():
            if e.name == name:
                return 1
            return _step(names[e.name], name, names) if e.name in names else 0
        case Op(op="+" | "-", args=(a, b)):
            left, right = _step(a, name, names), _step(b, name, names)
            if left is None or right is None:
                return None
            return left + right if e.op == "+" else left - right
        case Op(op="neg", args=(a,)):
            inner = _step(a, name, names)
            return None if inner is None else -inner
        case Op(op="*", args=(Const(value=factor), a) | (a, Const(value=factor))):
            inner = _step(a, name, names)
            return None if inner is None else int(factor) * inner
    return None if _depends(e, name, names) else 0


def _depends(e: Expr, name: str, names: Mapping[str, Expr]) -> bool:
    used = variables(e)
    return name in used or any(_depends(names[n], name, names) for n in used if n in names)
