"""Vector loops of a CPU have as many lanes as a power of two.

    vector ji < 48:                    unrolled ji_part < 3:
      C[ji] sum= A[k] * B[k, ji]  ->     vector ji < 16:
                                           C[16*ji_part + ji] sum= A[k] * B[k, 16*ji_part + ji]

LLVM fills up what is no power of two, and what it makes of 48 lanes takes 20 times as long. A register of so
many lanes becomes several. Loops over partial results of a reduction stay as they are: their lanes are
combined in an order that their number decides.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from te.ir.expr import Const, Expr, Load, Var, add, integer, mul
from te.ir.loop import (
    UNROLLED,
    VECTOR,
    Accumulate,
    Alloc,
    Buffer,
    For,
    Stmt,
    Store,
    direct_exprs,
    map_exprs,
    rewrite_stmt,
    substitute_stmt,
    walk_stmt,
)
from te.ir.visit import loads, rewrite
from te.schedule.names import made_name

FEWEST = 4  # lanes of a part, of which LLVM makes better code than of all lanes together


def even_vector_loops(body: Stmt) -> Stmt:
    """Take vector loops apart whose lanes are no power of two. Each has one statement in it."""
    registers = {
        s.buffer.name: s.buffer
        for s, _ in walk_stmt(body)
        if isinstance(s, Alloc) and s.buffer.scope == "register"
    }
    whole = _whole(body, registers)

    def one(s: Stmt) -> Stmt:
        if isinstance(s, Alloc) and s.buffer.name in registers.keys() - whole:
            return replace(s, buffer=_in_parts(s.buffer))
        if not isinstance(s, For) or s.kind != VECTOR or _parts(s) is None:
            return s
        used = {name for name, _ in _register_accesses(s, registers)}
        return s if used & whole else _even(s, used)

    return rewrite_stmt(body, one)


def _width(lanes: int) -> int | None:
    """How many lanes a part has; None where they stay together."""
    width = lanes & -lanes
    return None if width == lanes or width < FEWEST else width


def _parts(loop: For) -> int | None:
    """The lanes of each part of a vector loop; None where it stays as it is."""
    if not isinstance(loop.extent, Const):
        return None
    is_reduced = any(isinstance(s, Accumulate) and loop.var in s.over for s, _ in walk_stmt(loop.body))
    return None if is_reduced else _width(int(loop.extent.value))


def _register_accesses(s: Stmt, registers: Mapping[str, Buffer]) -> Iterator[tuple[str, tuple[Expr, ...]]]:
    """The accesses of registers in a statement."""
    for x, _ in walk_stmt(s):
        if isinstance(x, Store | Accumulate) and x.buffer in registers:
            yield x.buffer, x.index
        for e in direct_exprs(x):
            yield from ((load.buffer, load.index) for load in loads(e) if load.buffer in registers)


def _whole(body: Stmt, registers: Mapping[str, Buffer]) -> set[str]:
    """The registers that are not taken apart: some access is of other lanes than all, in their order."""
    whole = {name for name, buffer in registers.items() if not buffer.shape}
    together: list[set[str]] = []  # registers that one loop uses
    for s, path in walk_stmt(body):
        if isinstance(s, For) and s.kind == VECTOR:
            used = list(_register_accesses(s, registers))
            together.append({name for name, _ in used})
            whole |= {name for name, index in used if not _is_all(index, s, registers[name])}
        elif isinstance(s, Store | Accumulate) and not any(
            isinstance(x, For) and x.kind == VECTOR for x in path
        ):
            whole |= {name for name, _ in _register_accesses(s, registers)}
    while grown := {name for names in together if names & whole for name in names} - whole:
        whole |= grown
    return whole


def _is_all(index: tuple[Expr, ...], loop: For, buffer: Buffer) -> bool:
    """Whether the trips of a loop that is taken apart are the lanes of a register."""
    return (
        bool(index) and index[-1] == Var(loop.var) and loop.extent == buffer.shape[-1] and bool(_parts(loop))
    )


def _in_parts(buffer: Buffer) -> Buffer:
    *shape, lanes = buffer.shape
    assert isinstance(lanes, Const), "one element a lane"
    width = _width(int(lanes.value))
    assert width is not None, "of a loop that is taken apart"
    return replace(buffer, shape=(*shape, integer(int(lanes.value) // width), integer(width)))


def _even(loop: For, registers: set[str]) -> Stmt:
    width, lanes = _parts(loop), loop.extent
    assert width is not None, "it is taken apart"
    assert isinstance(lanes, Const), "it is taken apart"
    part, lane = Var(made_name(f"{loop.var}_part")), Var(loop.var)
    here = add(mul(integer(width), part), lane)

    def index(at: tuple[Expr, ...], buffer: str) -> tuple[Expr, ...]:
        return (*at[:-1], part, lane) if buffer in registers else at

    def expr(e: Expr) -> Expr:
        return replace(e, index=index(e.index, e.buffer)) if isinstance(e, Load) else e

    def stmt(s: Stmt) -> Stmt:
        return replace(s, index=index(s.index, s.buffer)) if isinstance(s, Store | Accumulate) else s

    body = substitute_stmt(loop.body, {loop.var: here})
    body = rewrite_stmt(map_exprs(body, lambda e: rewrite(e, expr)), stmt)
    inner = replace(loop, extent=integer(width), body=body)
    return For(part.name, integer(int(lanes.value) // width), inner, UNROLLED)
