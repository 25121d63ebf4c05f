"""Write what each reduction starts from.

An `Accumulate` with a `start` gets a `Store` of it before the outermost of its
reduction loops, under the data loops, `Let`s and guards that stand between:

    for k < K (reduce):                 for i < 8:
      for i < 8:                          if 8*io + i < M:
        if 8*io + i < M:          ->        C[8*io + i] = 0.0
          C[8*io + i] sum= A[k]         for k < K (reduce):
                                          for i < 8: ...  (as before, starting from what is there)

A reduction in blocks, with data loops inside its outermost loop, starts within the
first block instead, where its accumulators get filled anyway:

    for ko < n (reduce):                  if n <= 0: for io < m: C[io] = 0.0
      for io < m:                         for ko < n (reduce):
        for ki < 64 (reduce):       ->      for io < m:
          C[io] sum= A[64*ko + ki]            if ko == 0: C[io] = 0.0
                                              for ki < 64 (reduce): ...

(the product of two 512 x 512 matrices took 5% longer with a pass of its own).

No reduction loop is copied. Guards of terms (the reduction's `where`, the tail of
a reduction loop) do not guard the start: a reduction over no terms is its start.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import reduce

from te.ir.expr import Expr, Op, Var, compare, conjuncts, integer
from te.ir.loop import (
    CONCURRENT,
    SERIAL,
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
from te.ir.tensor import Program
from te.ir.types import BOOL
from te.ir.visit import variables
from te.schedule.finalize.guards import guarded, guards_on, is_index_condition, leaves, tainted


def place_starts(s: Stmt, program: Program, of: frozenset[str] | None = None) -> Stmt:
    """Store all starts; afterwards every `start` is None.

    With `of`, those of these buffers alone, which are in registers: all of them before the loops.
    """
    starts: list[Stmt] = []
    match s:
        case Accumulate(start=start) if start is not None and (of is None or s.buffer in of):
            starts = [Store(s.buffer, s.index, start, s.stage)]
            s = replace(s, start=None)
        case For(var=var):
            for step, path in leaves(s):
                if not isinstance(step, Accumulate) or (of is not None and step.buffer not in of):
                    continue
                if step.start is not None and var in step.over:
                    nest = _start_nest(step, path)
                    inner = _inside_first_block(step, path, program) if of is None else None
                    if inner is not None:
                        blocks = [f for f in path[:inner] if isinstance(f, For) and f.var in step.over]
                        first = [compare("==", Var(f.var), integer(0)) for f in blocks]
                        start_block = guarded(first, _start_nest(step, path[inner:]))
                        s = _insert_before(s, path[inner], step, start_block)
                        nest = guarded([_any_empty(blocks)], nest)
                    starts.append(nest)
            s = rewrite_stmt(s, lambda inner: _started(inner, var, of))
    new = tuple([place_starts(b, program, of) for b in bodies(s)])
    if any(a is not b for a, b in zip(bodies(s), new, strict=True)):
        s = with_bodies(s, new)
    return seq(*starts, s) if starts else s


def _started(s: Stmt, loop: str, of: frozenset[str] | None) -> Stmt:
    if not isinstance(s, Accumulate) or (of is not None and s.buffer not in of):
        return s
    return replace(s, start=None) if s.start is not None and loop in s.over else s


def _inside_first_block(s: Accumulate, path: tuple[Stmt, ...], program: Program) -> int | None:
    """Where the innermost block of a blocked reduction begins, if its accumulators are filled there.

    A start inside the outer loops would keep them from being trimmed by a `where` that depends on
    the element; so only their own tails may stand in the way.
    """
    loops = [(i, f) for i, f in enumerate(path) if isinstance(f, For)]
    outside = [i for i, f in loops if f.var not in s.over and f.kind in {SERIAL, *CONCURRENT}]
    inner = next((i for i, f in loops if outside and i > outside[-1] and f.var in s.over), None)
    if inner is None or any(isinstance(p, If) for p in path[:inner]) or any(f.overlaps for _, f in loops):
        return None
    known = {*s.over, *program.sizes}
    of_terms = tainted(path, set(s.over))
    guards = [c for c in guards_on(path) if variables(c) & of_terms]
    return inner if all(is_index_condition(c) and variables(c) <= known for c in guards) else None


def _any_empty(loops: Sequence[For]) -> Expr:
    """Does one of the loops not run at all?"""
    empty = [compare("<=", f.extent, integer(0)) for f in loops]
    return reduce(lambda a, b: Op("or", (a, b), BOOL), empty)


def _insert_before(s: Stmt, place: Stmt, step: Stmt, new: Stmt) -> Stmt:
    """`new` before the loop around a step. Others may have its name: each lane of a body has a vector loop."""
    assert isinstance(place, For)

    def holds_step(x: Stmt) -> bool:
        return isinstance(x, For) and x.var == place.var and any(y is step for y, _ in walk_stmt(x))

    return rewrite_stmt(s, lambda x: seq(new, x) if holds_step(x) else x)


def _start_nest(s: Accumulate, path: tuple[Stmt, ...]) -> Stmt:
    """The store of the start, under copies of what stands on the path that defines elements."""
    assert s.start is not None
    of_terms = tainted(path, set(s.over))
    nest: Stmt = Store(s.buffer, s.index, s.start, s.stage)
    for around in reversed(path):
        match around:
            case For() if around.var not in s.over:
                nest = replace(around, body=nest, prefetches=())  # they are those of the terms
            case Let() if around.var not in of_terms and around.var in _used(nest):
                nest = replace(around, body=nest)
            case If(of_terms=False):
                nest = guarded([c for c in conjuncts(around.condition) if not variables(c) & of_terms], nest)
    if _used(nest) & of_terms:
        raise ValueError(f"an element of {s.buffer} depends on a reduction loop of {s.stage}")
    return nest


def _used(s: Stmt) -> set[str]:
    return {name for inner, _ in walk_stmt(s) for e in direct_exprs(inner) for name in variables(e)}
