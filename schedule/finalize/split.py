"""Hot and cold: tiles that lie inside run without guards, whatever the sizes.

The guard of a tail, `8*io + ii < M`, depends on loops that are unrolled or
vectors. Its hull over them, `8*io + 7 < M`, is asked once, at the deepest place
where the other variables are known. Several guards of one statement are joined
there, so that the code grows to one hot and one cold version, not to 2^n:

    for io:                                     for io:
      for jo:                                     for jo:
        unrolled ii < 8:                   ->       if 8*io + 7 < M and 32*jo + 31 < N:
          vector ji < 32:                             ...  without guards
            if 8*io + ii < M:                       else:
              if 32*jo + ji < N: S                    ...  as before

What a statement asks of its indices at the borders of a tensor (`interior`) is
joined with the guards.

The tail of an innermost loop, of a reduction loop, and of a loop marked `peel`, is cut
off instead: the loop runs its full trips without the guard, then a second one runs the
rest. Where an innermost loop asks at a border too, one question in each trip stays: cut
at both ends, the rows of a 3 × 1 stencil took 7% longer (512 elements a row).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from te.ir.bounds import Facts, prove
from te.ir.expr import Const, Expr, Var, add, compare, conjuncts, integer, maximum, minimum, sub
from te.ir.loop import (
    CONCURRENT,
    SERIAL,
    TENSORIZED,
    THREADS,
    UNROLLED,
    VECTOR,
    Accumulate,
    Alloc,
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
from te.ir.visit import substitute, variables
from te.schedule.context import assuming, facts_inside
from te.schedule.finalize.guards import (
    FULL,
    Path,
    conjunction,
    drop_guards,
    float_names,
    hull,
    inline_lets,
    is_plain,
    leaves,
    solve,
)
from te.schedule.finalize.interior import interior_conditions

EXPANDED = (UNROLLED, VECTOR, TENSORIZED)
_MAY_BE_CUT = frozenset({SERIAL, *(CONCURRENT - THREADS)})  # all threads of a block run the same loops
SHORT = 16  # trips of a reduction loop over the taps of a stencil, at most


@dataclass(frozen=True, slots=True)
class Tail:
    """A guard that depends on unrolled, vector or tensorized loops.

    `hull` is a slack: the guard holds in all their trips where it is at least 0.
    `place` is the index, on the path, of the loop or `Let` just inside which the
    hull is known; -1 if it is known before all of them.
    """

    hull: Expr
    place: int


def split_hot_from_cold(s: Stmt, facts: Facts, known: frozenset[Expr] = frozenset()) -> Stmt:
    """Give every tail a version without its guard.

    `known` are the hulls that were asked around `s` and hold. They are not asked again: where no
    trip meets them all, what is known contradicts itself, and need not prove even what was asked.
    """
    new: list[Stmt] = []
    for hulls, group in _groups(s.items if isinstance(s, Seq) else (s,), facts, known):
        if hulls:
            asked = [h for h in hulls if not any(_implies(other, h, facts) for other in hulls)]
            condition = simplify(conjunction([_holds(h) for h in asked]), facts)
            hot = _without_tails(group, set(hulls), facts)
            hot = split_hot_from_cold(hot, assuming(condition, facts), known.union(hulls))
            new.append(If(condition, hot, _cold(group, facts, known.union(hulls))))
        else:
            new.append(_inside(group, facts, known))
    return float_names(new)


def _cold(s: Stmt, facts: Facts, known: frozenset[Expr]) -> Stmt:
    """The version with the guards that were asked. An instruction takes none, so reductions are cut here too."""
    if not any(isinstance(inner, For) and inner.kind == TENSORIZED for inner, _ in walk_stmt(s)):
        return s
    items = s.items if isinstance(s, Seq) else (s,)
    return float_names([_inside(item, facts, known) for item in items])


def _groups(items: Sequence[Stmt], facts: Facts, known: frozenset[Expr]) -> Iterator[tuple[list[Expr], Stmt]]:
    """Neighbours that ask the same are asked together; a statement that asks nothing stands alone.

    What a reduction starts from stays with it, though it may ask less.
    """
    group: list[Stmt] = []
    asked: list[Expr] = []
    for item in items:
        hulls = [] if isinstance(item, Alloc) else _hulls_known_here(item, facts, known)
        begins = bool(group) and not asked and _written(group[-1]) == _written(item)
        if group and not set(hulls) & set(asked) and not (hulls and begins):
            yield asked, seq(*group)
            group, asked = [], []
        group.append(item)
        asked = list(dict.fromkeys([*asked, *hulls]))
    if group:
        yield asked, seq(*group)


def _written(s: Stmt) -> set[str]:
    return {leaf.buffer for leaf, _ in leaves(s)}


def _inside(s: Stmt, facts: Facts, known: frozenset[Expr]) -> Stmt:
    """Nothing is to be asked before `s`: cut it if it is a loop with tails to cut off, and go on inside."""
    if isinstance(s, For) and s.kind in _MAY_BE_CUT:
        limits = _full_trips(s, facts)
        if limits:
            return _cut(s, limits, facts, known)
    if isinstance(s, Store | Accumulate):
        return s
    new = [split_hot_from_cold(b, facts_inside(s, b, facts, trust_lets=False), known) for b in bodies(s)]
    return with_bodies(s, tuple(new))


def _hulls_known_here(s: Stmt, facts: Facts, known: frozenset[Expr]) -> list[Expr]:
    """The hulls to ask before `s`: those of statements that have to wait for no other."""
    found: list[Expr] = []
    for leaf, path in leaves(s):
        tails = [tail for tail in _tails(path, facts) if not _is_cut(leaf, path, tail, facts)]
        tails += _border_tails(leaf, path, facts)
        tails = [tail for tail in tails if not _divides_threads(leaf, path, tail)]
        if tails and all(tail.place < 0 for tail in tails):
            found += [tail.hull for tail in tails if tail.hull not in known]
    return found


def _divides_threads(leaf: Store | Accumulate, path: Path, tail: Tail) -> bool:
    """Would the partial results of threads be combined in each trip of a reduction, for each answer apart?"""
    if not isinstance(leaf, Accumulate):
        return False
    on_threads = any(isinstance(s, For) and s.kind in THREADS and s.is_reduction for s in path)
    return on_threads and bool(variables(tail.hull) & leaf.over)


def _is_cut(leaf: Store | Accumulate, path: Path, tail: Tail, facts: Facts) -> bool:
    """Will the loop be cut into full trips and a rest?"""
    loop = path[tail.place] if tail.place >= 0 else None
    if not isinstance(loop, For) or loop.kind not in _MAY_BE_CUT:
        return False
    if loop.peel or (isinstance(leaf, Accumulate) and loop.var in leaf.over):
        return True
    if loop.kind != SERIAL or not _is_innermost(loop):
        return False
    solved = solve(tail.hull, loop.var, facts)
    asks_more = any(border.place == tail.place for border in _border_tails(leaf, path, facts))
    return solved is not None and solved[0] == "below" and not asks_more


def _is_innermost(loop: For) -> bool:
    """Is all that stands in the loop written out, so that to ask in it is to ask in the hottest code?"""
    return not any(isinstance(s, For) and s.kind not in EXPANDED for s, _ in walk_stmt(loop.body))


def _full_trips(loop: For, facts: Facts) -> dict[Expr, Expr]:
    """How many trips are full, for each hull of a tail to be cut off."""
    found: dict[Expr, Expr] = {}
    for leaf, path in leaves(loop):
        for tail in _tails(path, facts):
            if tail.place == 0 and _is_cut(leaf, path, tail, facts):
                solved = solve(tail.hull, loop.var, facts)
                if solved is not None and solved[0] == "below":
                    found[tail.hull] = solved[1]
    return found


def _cut(loop: For, limits: dict[Expr, Expr], facts: Facts, known: frozenset[Expr]) -> Stmt:
    """The full trips without the guards, then the others."""
    full = loop.extent
    for limit in limits.values():
        if not prove(compare("<=", full, limit), facts):
            full = limit if prove(compare("<=", limit, full), facts) else minimum(full, limit)
    if not prove(compare("<=", integer(0), full), facts):
        full = maximum(full, integer(0))
    full = simplify(full, facts)
    name = Let(loop.var + FULL, full, add(loop.extent, integer(1)), loop.body)
    if not is_plain(full):
        facts, full = facts_inside(name, None, facts), Var(name.var)
    hot = replace(loop, extent=full, peel=False)
    inside = facts_inside(hot, None, facts)
    for hull_ in limits:
        inside = assuming(_holds(hull_), inside)
    dropped = _without_tails(loop, set(limits), facts)
    assert isinstance(dropped, For)
    hot = replace(hot, body=split_hot_from_cold(dropped.body, inside, known))
    later = {loop.var: add(Var(loop.var), full)}
    fetched = map_prefetches(loop, lambda i: substitute(i, later))
    body = substitute_stmt(loop.body, later)
    rest = replace(
        loop, extent=simplify(sub(loop.extent, full), facts), body=body, peel=False, prefetches=fetched
    )
    return replace(name, body=seq(hot, rest)) if full == Var(name.var) else seq(hot, rest)


def _holds(slack: Expr) -> Expr:
    return compare("<=", integer(0), slack)


def _implies(a: Expr, b: Expr, facts: Facts) -> bool:
    """Is `a` the smaller slack by a constant?"""
    match simplify(sub(b, a), facts):
        case Const(value=difference):
            return difference > 0
        case _:
            return False


def _without_tails(s: Stmt, hulls: set[Expr], facts: Facts) -> Stmt:
    def holds(guard: Expr, path: Path) -> bool:
        tail = _tail(guard, path, facts)
        return tail is not None and tail.hull in hulls

    return drop_guards(s, holds)


def _tails(path: Path, facts: Facts) -> Iterator[Tail]:
    for i, s in enumerate(path):
        if isinstance(s, If) and s.otherwise is None:
            for guard in conjuncts(s.condition):
                tail = _tail(guard, path[:i], facts)
                if tail is not None:
                    yield tail


def _border_tails(leaf: Store | Accumulate, path: Path, facts: Facts) -> list[Tail]:
    """What holds for the indices of a statement inside, as if it were the guard of a tail.

    Short reduction loops, such as those over the taps of a stencil, are not worth asking in.
    """
    over = leaf.over if isinstance(leaf, Accumulate) else frozenset()
    short = [s for s in path if isinstance(s, For) and s.var in over and _is_short(s.extent)]
    wide = {s.var for s in path if isinstance(s, For) and s.kind in EXPANDED}
    conditions = [c for e in direct_exprs(leaf) for c in interior_conditions(e, wide)]
    tails = [_tail(c, path, facts, short) for c in dict.fromkeys(conditions)]
    return [
        tail
        for tail in tails
        if tail is not None
        and not any(isinstance(s, For) and s.var in over for s in path[tail.place : tail.place + 1])
        and not prove(_holds(tail.hull), facts)
        and not prove(compare("<", tail.hull, integer(0)), facts)  # it never holds
    ]


def _is_expanded(loop: For) -> bool:
    """Whether all trips are there at once: in lanes, written out, or on threads that share a reduction."""
    return loop.kind in EXPANDED or (loop.kind in THREADS and loop.is_reduction)


def _is_short(extent: Expr) -> bool:
    return isinstance(extent, Const) and extent.value <= SHORT


def _tail(guard: Expr, path: Path, facts: Facts, short: Sequence[For] = ()) -> Tail | None:
    expanded = [s for s in path if isinstance(s, For) and (_is_expanded(s) or s in short)]
    guard = inline_lets(guard, path, {s.var for s in expanded}, facts)
    loops = [s for s in expanded if s.var in variables(guard)]
    slack = hull(guard, loops, facts, every=True) if loops else None
    if slack is None or isinstance(slack, Const):
        return None
    bound = [i for i, s in enumerate(path) if isinstance(s, For | Let) and s.var in variables(slack)]
    return Tail(slack, max(bound, default=-1))
