"""Loops over clusters become loops over blocks, of which so many start together.

cluster.x for c < C:              block.x for x < 4 * C, 4 of them together:
  block.x for b < 4: A(c, b)  ->    let c = x // 4: let b = x % 4: A(c, b)
"""

from __future__ import annotations

from dataclasses import replace

from te.diagnostics import error
from te.ir.bounds import Facts
from te.ir.expr import Const, Expr, Var, floor_div, floor_mod, mul
from te.ir.loop import For, Let, Stmt, bodies, walk_stmt, with_bodies
from te.ir.simplify import simplify
from te.schedule.clusters import CLUSTER, blocks_of, why_no_cluster
from te.schedule.context import facts_inside
from te.schedule.finalize.gpu.levels import free_name
from te.schedule.late import LateRefusal
from te.schedule.names import made_name


def blocks_of_clusters(s: Stmt, facts: Facts) -> Stmt:
    """The statement without loops over clusters. Raises `ScheduleError` for what other lines have made no cluster."""
    if isinstance(s, For) and s.kind == CLUSTER:
        why_not = why_no_cluster(s)
        if why_not is not None:
            refused = error("bind-target", f"`{s.var}` is bound to {CLUSTER}: {why_not}", None)
            raise LateRefusal(refused, (s.var,), "bound here")
        return _as_blocks(s, facts)
    if not bodies(s):
        return s
    return with_bodies(s, tuple(blocks_of_clusters(b, facts_inside(s, b, facts)) for b in bodies(s)))


def _as_blocks(loop: For, facts: Facts) -> For:
    blocks = blocks_of(loop)
    assert blocks is not None
    assert isinstance(blocks.extent, Const)
    taken = {x.var for x, _ in walk_stmt(loop) if isinstance(x, For | Let)}
    place = Var(free_name(made_name(f"{loop.var}_block"), taken))
    inner = _named(loop.body, blocks, floor_mod(place, blocks.extent))
    body = Let(loop.var, floor_div(place, blocks.extent), loop.extent, inner)
    extent = simplify(mul(loop.extent, blocks.extent), facts)
    together = int(blocks.extent.value)
    return replace(loop, var=place.name, extent=extent, kind=blocks.kind, body=body, cluster=together)


def _named(s: Stmt, blocks: For, value: Expr) -> Stmt:
    if s is blocks:
        return Let(blocks.var, value, blocks.extent, blocks.body)
    return with_bodies(s, tuple(_named(b, blocks, value) for b in bodies(s)))
