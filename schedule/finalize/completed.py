"""`Completed` becomes a condition on trips.

    for ko < n (reduce):                      if n <= 0: for io < m: S(io)
      for io < m:                             for ko < n (reduce):
        C[io] sum= ...                 ->       for io < m:
        complete over ko: S(io)                   C[io] sum= ...
                                                  if ko == n - 1: S(io)

The trip is asked, never a value: a guard of the loop's tail may keep the last trip from adding
anything, and the sum is complete all the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import reduce

from te.ir.bounds import Facts, prove
from te.ir.expr import Expr, Op, Var, compare, conjuncts, integer, sub
from te.ir.loop import Alloc, Completed, For, If, Let, Stmt, bodies, seq, walk_stmt, with_bodies
from te.ir.types import BOOL
from te.ir.visit import variables
from te.schedule.context import facts_inside
from te.schedule.finalize.guards import Path, guarded, tainted


def place_completed(s: Stmt, facts: Facts, outside: Sequence[For] = ()) -> Stmt:
    """Replace every `Completed` in `s`; `outside` are the loops around."""
    if isinstance(s, Completed):
        extents = {loop.var: loop.extent for loop in outside}
        last = [compare("==", Var(v), sub(extents[v], integer(1))) for v in sorted(s.over)]
        return guarded(last, place_completed(s.body, facts, outside))
    inside = (*outside, s) if isinstance(s, For) else outside
    new = tuple([place_completed(b, facts_inside(s, b, facts), inside) for b in bodies(s)])
    at_once = _without_trips(s, facts, {loop.var for loop in outside}) if isinstance(s, For) else []
    if any(a is not b for a, b in zip(bodies(s), new, strict=True)):
        s = with_bodies(s, new)
    return seq(*at_once, s) if at_once else s


def _without_trips(loop: For, facts: Facts, outside: set[str]) -> list[Stmt]:
    """What waits for `loop`, its outermost loop, and must run though one of the loops has no trip."""
    found: list[Stmt] = []
    for s, path in walk_stmt(loop):
        if isinstance(s, Completed) and loop.var in s.over and not s.over & outside:
            waits = [f for f in path if isinstance(f, For) and f.var in s.over]
            empty = [
                compare("<=", f.extent, integer(0))
                for f in waits
                if not prove(compare("<", integer(0), f.extent), facts)
            ]
            if empty:
                found.append(guarded([_any(empty)], _under_data_loops(s, path)))
    return found


def _under_data_loops(s: Completed, path: Path) -> Stmt:
    """The body under copies of the loops, `Let`s and guards that do not depend on the loops it waits for."""
    nest = s.body
    of_terms = tainted(path, set(s.over))
    for around in reversed(path):
        match around:
            case For() if around.var not in s.over:
                nest = replace(around, body=nest, prefetches=())  # they are those of the terms
            case Let() if around.var not in of_terms:
                nest = replace(around, body=nest)
            case If():
                nest = guarded([c for c in conjuncts(around.condition) if not variables(c) & of_terms], nest)
            case Alloc():
                nest = Alloc(around.buffer, nest)
    return nest


def _any(conditions: Sequence[Expr]) -> Expr:
    return reduce(lambda a, b: Op("or", (a, b), BOOL), conditions)
