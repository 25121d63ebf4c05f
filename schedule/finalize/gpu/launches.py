"""Launches: loops bound to blocks come to stand right inside each other, around all that a block does.

    block.y for i < M:                    block.y for i < M:
      block.x for j < N: A(i, j)    ->      block.x for j < N: A(i, j)
      block.x for j < N: B(i, j)          block.y for i < M:
                                            block.x for j < N: B(i, j)

The trips of a bound loop are independent, so it may be taken apart around the statements in it, and
exchanged with a serial loop in it. All blocks have done with one launch before the next one begins: what
a loop bound to blocks has written is seen behind it.

Outside of launches only loops, names and conditions over sizes are left: they are the host's. Where that
cannot be had, as for a number of blocks that data decide, the loops bound to blocks run in one block.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from te.ir.bounds import Facts, bounds
from te.ir.expr import Expr, Var, compare, negation
from te.ir.loop import (
    BLOCKS,
    SERIAL,
    Accumulate,
    Alloc,
    For,
    If,
    Let,
    Seq,
    Stmt,
    Store,
    joined,
    rewrite_stmt,
    seq,
    walk_stmt,
)
from te.ir.visit import loads, variables
from te.schedule.context import facts_inside


def separate_launches(s: Stmt, facts: Facts, blocks: tuple[For | Let, ...] = ()) -> Stmt:
    """Bring all block loops together. `blocks` are those around `s`, to be put around each launch in it."""
    if not _has_blocks(s):
        return _around(blocks, s)
    match s:
        case For() if s.kind in BLOCKS:
            loop = _rectangular(s, facts, blocks)
            if loop is None:
                return _around(blocks, in_one_block(s))
            outer = (*blocks, replace(loop, body=Seq(())))
            return separate_launches(loop.body, facts_inside(loop, loop.body, facts), outer)
        case Seq():
            # What stands between launches is a launch too, of neighbours together.
            return seq(*[separate_launches(item, facts, blocks) for item in joined(s.items, _has_blocks)])
        case For() if not _depends(s.extent, blocks):
            of_all = tuple(p for p in s.prefetches if not any(_depends(i, blocks) for i in p.index))
            inner = separate_launches(s.body, facts_inside(s, s.body, facts), blocks)
            return replace(s, body=inner, prefetches=of_all)
        case Let() if _depends(s.value, blocks):
            inside = facts_inside(s, s.body, facts, trust_lets=False)
            return separate_launches(s.body, inside, (*blocks, replace(s, body=Seq(()))))
        case Let() if not _reads(s.value):
            return replace(s, body=separate_launches(s.body, facts_inside(s, s.body, facts, False), blocks))
        case If():
            return _condition(s, facts, blocks)
        case Alloc() if s.buffer.scope == "global":
            return Alloc(s.buffer, separate_launches(s.body, facts, blocks))
    return _around(blocks, in_one_block(s))


def _condition(s: If, facts: Facts, blocks: tuple[For | Let, ...]) -> Stmt:
    """The host asks what it can; all else is asked inside of the launches."""
    sides = [
        (s.condition, s.body),
        *([(negation(s.condition), s.otherwise)] if s.otherwise is not None else []),
    ]
    if not _reads(s.condition) and not _depends(s.condition, blocks):
        inner = [separate_launches(b, facts_inside(s, b, facts, False), blocks) for _, b in sides]
        return If(s.condition, inner[0], inner[1] if len(inner) > 1 else None)
    written = {x.buffer for x, _ in walk_stmt(s) if isinstance(x, Store | Accumulate)}
    if any(load.buffer in written for load in loads(s.condition)):
        return _around(blocks, in_one_block(s))
    return seq(*[separate_launches(_asked_inside(c, body), facts, blocks) for c, body in sides])


def _asked_inside(condition: Expr, s: Stmt) -> Stmt:
    """`s`, whose parts without block loops run under the condition."""
    if not _has_blocks(s):
        return If(condition, s)
    match s:
        case Seq():
            return seq(*[_asked_inside(condition, item) for item in s.items])
        case If():
            otherwise = None if s.otherwise is None else _asked_inside(condition, s.otherwise)
            return replace(s, body=_asked_inside(condition, s.body), otherwise=otherwise)
        case For() | Let() | Alloc():
            return replace(s, body=_asked_inside(condition, s.body))
    raise ValueError(f"block loops in {type(s).__name__}")


def _rectangular(loop: For, facts: Facts, blocks: Sequence[For | Let]) -> For | None:
    """The loop with as many trips for each of the blocks around, where there is such a number.

    The surplus ones do nothing.
    """
    if not _depends(loop.extent, blocks):
        return loop
    over = {b.var for b in blocks}
    _, most = bounds(loop.extent, facts, over)
    if most is None or variables(most) & over or _reads(most):
        return None
    body = _asked_inside(compare("<", Var(loop.var), loop.extent), loop.body)
    return replace(loop, extent=most, body=body, prefetches=())


def in_one_block(s: Stmt) -> Stmt:
    """The statement with all its block loops run one trip after the other."""

    def serial(s: Stmt) -> Stmt:
        return replace(s, kind=SERIAL, order="", cluster=1) if isinstance(s, For) and s.kind in BLOCKS else s

    return rewrite_stmt(s, serial)


def _around(blocks: Sequence[For | Let], s: Stmt) -> Stmt:
    for outer in reversed(blocks):
        s = replace(outer, body=s)
    return s


def _has_blocks(s: Stmt) -> bool:
    return any(isinstance(x, For) and x.kind in BLOCKS for x, _ in walk_stmt(s))


def _depends(e: Expr, blocks: Sequence[For | Let]) -> bool:
    """Whether an expression is not the host's: it reads memory, or differs between blocks."""
    return _reads(e) or bool(variables(e) & {b.var for b in blocks})


def _reads(e: Expr) -> bool:
    return any(True for _ in loads(e))
