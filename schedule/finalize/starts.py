"""Write what each reduction starts from.

An `Accumulate` with a `start` gets a `Store` of it before the outermost of its
reduction loops, under the data loops, `Let`s and guards that stand between:

    for k < K (reduce):                 for i < 8:
      for i < 8:                          if 8*io + i < M:
        if 8*io + i < M:          ->        C[8*io + i] = 0.0
          C[8*io + i] sum= A[k]         for k < K (reduce):
                                          for i < 8: ...  (as before, starting from what is there)

No reduction loop is copied. Guards of terms (the reduction's `where`, the tail of
a reduction loop) do not guard the start: a reduction over no terms is its start.
"""

from __future__ import annotations

from dataclasses import replace

from te.ir.bounds import Facts
from te.ir.expr import Expr, conjuncts, integer
from te.ir.loop import (
    Accumulate,
    For,
    If,
    Let,
    Stmt,
    Store,
    bodies,
    direct_exprs,
    rewrite_stmt,
    seq,
    walk_stmt,
    with_bodies,
)
from te.ir.simplify import simplify
from te.ir.tensor import Program
from te.ir.visit import substitute, variables
from te.schedule.finalize.guards import guarded, tainted


def place_starts(s: Stmt, program: Program, facts: Facts) -> Stmt:
    """Store all starts; afterwards every `start` is None."""
    starts: list[Stmt] = []
    if isinstance(s, Accumulate) and s.start is not None:
        starts.append(Store(s.buffer, s.index, s.start, s.stage))
        s = replace(s, start=None)
    if isinstance(s, For):
        loop = s
        for inner, path in walk_stmt(s):
            if isinstance(inner, Accumulate) and inner.start is not None and s.var in inner.over:
                starts.append(_start_nest(inner, path, program, facts))

        def clear(inner: Stmt) -> Stmt:
            ours = isinstance(inner, Accumulate) and inner.start is not None and loop.var in inner.over
            return replace(inner, start=None) if ours and isinstance(inner, Accumulate) else inner

        if starts:
            s = rewrite_stmt(s, clear)
    new = tuple([place_starts(b, program, facts) for b in bodies(s)])
    if any(a is not b for a, b in zip(bodies(s), new, strict=True)):
        s = with_bodies(s, new)
    return seq(*starts, s) if starts else s


def _start_nest(s: Accumulate, path: tuple[Stmt, ...], program: Program, facts: Facts) -> Stmt:
    """The store of the start, under copies of what stands on the path that defines elements."""
    assert s.start is not None
    of_terms = tainted(path, set(s.over))
    trimming = _conditions_on_terms(s, program, facts)
    nest: Stmt = Store(s.buffer, s.index, s.start, s.stage)
    for around in reversed(path):
        match around:
            case For() if around.var not in s.over:
                nest = replace(around, body=nest)
            case Let() if around.var not in of_terms and around.var in _used(nest):
                nest = replace(around, body=nest)
            case If():
                parts = [c for c in conjuncts(around.condition) if not variables(c) & of_terms]
                nest = guarded([c for c in parts if simplify(c, facts) not in trimming], nest)
    if _used(nest) & of_terms:
        raise ValueError(f"an element of {s.buffer} depends on a reduction loop of {s.stage}")
    return nest


def _conditions_on_terms(s: Accumulate, program: Program, facts: Facts) -> set[Expr]:
    """The parts of the stage's `where` that mention no reduction axis, as they read in the nest.

    Such a part looks like the guard of a tail, but the element exists: it is the identity.
    """
    stage = next((stage for stage in program.stages if stage.name == s.stage), None)
    if stage is None or stage.reduction is None or len(stage.axes) != len(s.index):
        return set()
    values = {axis.name: index for axis, index in zip(stage.axes, s.index, strict=True)}
    for axis in stage.reduction.axes:
        if simplify(axis.extent, facts) == integer(1):
            values[axis.name] = integer(0)  # the loop may be gone
    parts = [substitute(part, values) for part in conjuncts(stage.reduction.where)]
    return {simplify(part, facts) for part in parts}


def _used(s: Stmt) -> set[str]:
    return {name for inner, _ in walk_stmt(s) for e in direct_exprs(inner) for name in variables(e)}
