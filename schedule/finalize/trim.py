"""Guards become loop bounds, and leave the loops they do not depend on.

    for j < N (reduce):                  for j < min(N, i + 1) (reduce):
      if j <= i:                  ->       Y[i] sum= A[i, j]
        Y[i] sum= A[i, j]

A loop runs from the first to the last trip in which any statement inside may have
an effect, where all statements inside agree on that trip. A guard that such a
bound says completely goes away; one that also depends on inner loops stays, as
the mask or the diagonal of a tile. Bounds from below shift the loop variable.

An unrolled loop whose bound is not constant becomes serial, unless it walks over
registers, or holds blocks to be transposed; a vector loop keeps its extent, and its guard is a mask.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from te.ir.blocks import blocks_of
from te.ir.bounds import Facts, prove
from te.ir.expr import Const, Expr, Var, add, compare, conjuncts, integer, maximum, minimum, sub
from te.ir.loop import (
    SERIAL,
    UNROLLED,
    Accumulate,
    Alloc,
    Commit,
    For,
    If,
    Let,
    Seq,
    Stmt,
    Store,
    bodies,
    direct_exprs,
    map_prefetches,
    seq,
    substitute_stmt,
    walk_stmt,
    with_bodies,
)
from te.ir.simplify import simplify
from te.ir.visit import loads, substitute, variables
from te.schedule.context import facts_inside
from te.schedule.finalize.guards import (
    FROM,
    Path,
    drop_guards,
    float_names,
    guarded,
    hull,
    inline_lets,
    is_index_condition,
    is_plain,
    leaves,
    solve,
)

Binder = TypeVar("Binder", For, Let)


@dataclass(frozen=True, slots=True)
class Bound:
    """The trips of a loop in which a guard can hold: those `below` the limit, or `from` it on."""

    side: str
    limit: Expr


def trim_loops(
    s: Stmt, facts: Facts, kinds: Collection[str], registers: frozenset[str] = frozenset()
) -> Stmt:
    """Trim all loops of these kinds, inner ones first."""
    if isinstance(s, Alloc) and s.buffer.scope == "register":
        registers = registers | {s.buffer.name}
    if bodies(s):
        new = [
            trim_loops(b, facts_inside(s, b, facts, trust_lets=False), kinds, registers) for b in bodies(s)
        ]
        s = with_bodies(s, tuple(new))
    match s:
        case Seq():
            floated = float_names(s.items)
            return _share_guards(floated) if isinstance(floated, Seq) else floated
        case For():
            invariant, s = _take_invariant_guards(s)
            is_free = not _walks_registers(s, registers) and not _counts_trips(s) and not blocks_of(s)
            may_trim = s.kind in kinds and is_free and s.cluster == 1
            return guarded(invariant, _trim(s, facts) if may_trim else s)
        case Let():
            invariant, s = _take_invariant_guards(s)
            return guarded(invariant, s)
        case _:
            return s


def _share_guards(s: Seq) -> Stmt:
    """`if c: A; if c: B` is `if c: A; B`."""
    first = s.items[0] if s.items else None
    if len(s.items) < 2 or not isinstance(first, If):
        return s
    if not all(isinstance(item, If) and item.otherwise is None for item in s.items):
        return s
    shared = [
        part
        for part in conjuncts(first.condition)
        if is_index_condition(part)
        and all(isinstance(item, If) and part in conjuncts(item.condition) for item in s.items)
    ]
    if not shared:
        return s
    return guarded(shared, seq(*[_without(item, shared) for item in s.items]))


def _without(s: Stmt, parts: Sequence[Expr]) -> Stmt:
    assert isinstance(s, If)
    return guarded([part for part in conjuncts(s.condition) if part not in parts], s.body)


def _take_invariant_guards(s: Binder) -> tuple[list[Expr], Binder]:
    """The guards around the whole body that do not depend on the variable, and the rest."""
    if not isinstance(s.body, If) or s.body.otherwise is not None:
        return [], s
    parts = conjuncts(s.body.condition)
    taken = [part for part in parts if is_index_condition(part) and s.var not in variables(part)]
    return taken, replace(s, body=_without(s.body, taken)) if taken else s


def _walks_registers(loop: For, registers: frozenset[str]) -> bool:
    """Is some register chosen by the loop's variable?"""
    for s, _ in walk_stmt(loop.body):
        indexed = [(load.buffer, load.index) for e in direct_exprs(s) for load in loads(e)]
        if isinstance(s, Store | Accumulate):
            indexed.append((s.buffer, s.index))
        if any(name in registers and loop.var in variables(i) for name, index in indexed for i in index):
            return True
    return False


def _counts_trips(loop: For) -> bool:
    """Does each trip count, by closing a group of copies?"""
    return any(isinstance(s, Commit) for s, _ in walk_stmt(loop.body))


def _trim(loop: For, facts: Facts) -> Stmt:
    """Leave out the trips at both ends that have no effect."""
    per_leaf = [_bounds(path, loop, facts) for _, path in leaves(loop.body)]
    common = [b for b in per_leaf[0] if all(b in others for others in per_leaf)] if per_leaf else []
    if loop.kind == UNROLLED:  # worth it only for a guard that goes away
        common = [b for b in common if any(others[b] for others in per_leaf)]
    if not common:
        return loop

    def is_bound(guard: Expr, path: Path) -> bool:
        known = _bound(guard, path, loop, facts)
        return known is not None and known[1] and known[0] in common

    low, high = _range(loop, common, facts)
    name = Let(loop.var + FROM, _at_most(low, loop.extent, facts), add(loop.extent, integer(1)), loop)
    if not is_plain(low):
        low = Var(name.var)
    extent = sub(high, low)
    if not prove(compare("<=", integer(0), extent), facts):
        extent = maximum(extent, integer(0))
    extent = simplify(extent, facts)
    body = drop_guards(loop.body, is_bound)
    if low != integer(0):
        later = {loop.var: add(Var(loop.var), low)}
        body = substitute_stmt(body, later)
        loop = replace(loop, prefetches=map_prefetches(loop, lambda i: substitute(i, later)))
    kind = SERIAL if loop.kind == UNROLLED and not isinstance(extent, Const) else loop.kind
    trimmed = replace(loop, extent=extent, body=body, kind=kind)
    return replace(name, body=trimmed) if low == Var(name.var) else trimmed


def _at_most(e: Expr, limit: Expr, facts: Facts) -> Expr:
    return e if prove(compare("<=", e, limit), facts) else minimum(e, limit)


def _range(loop: For, common: list[Bound], facts: Facts) -> tuple[Expr, Expr]:
    """The first trip and the end of the trips within all bounds; bounds that say nothing new are left out."""
    low: Expr = integer(0)
    high = loop.extent
    for bound in common:
        if bound.side == "below" and not prove(compare("<=", high, bound.limit), facts):
            high = minimum(high, bound.limit)
        if bound.side == "from" and not prove(compare("<=", bound.limit, low), facts):
            low = maximum(low, bound.limit)
    return simplify(low, facts), simplify(high, facts)


def _bounds(path: Path, loop: For, facts: Facts) -> dict[Bound, bool]:
    """What the guards on a path inside the loop say about its trips, and whether one says nothing else."""
    found: dict[Bound, bool] = {}
    for i, s in enumerate(path):
        if isinstance(s, If):
            for guard in conjuncts(s.condition):
                known = _bound(guard, path[:i], loop, facts)
                if known is not None:
                    found[known[0]] = found.get(known[0], False) or known[1]
    return found


def _bound(guard: Expr, path: Path, loop: For, facts: Facts) -> tuple[Bound, bool] | None:
    """What a guard says about the loop's trips, and whether it says nothing else."""
    inner = [s for s in path if isinstance(s, For)]
    guard = inline_lets(guard, path, {loop.var, *(s.var for s in inner)}, facts)
    if loop.var not in variables(guard):
        return None
    e = hull(guard, inner, facts, every=False)
    solved = None if e is None else solve(e, loop.var, facts)
    if solved is None:
        return None
    side, limit = solved
    inside = {s.var for s in path if isinstance(s, For | Let)}
    if variables(limit) & inside:
        return None
    return Bound(side, limit), not variables(guard) & inside
