"""Registers of tiles that overhang are computed like the others.

    for own < 4:                                            for own < 4:
      if 64*block + 4*t + own < M:                    ->      C_tile[own] sum= A_copy[4*t + own]
        C_tile[own] sum= A_copy[4*t + own]

A guard that says which elements there are takes longer to ask than it takes to compute one that nobody wants, and in
the innermost loop it keeps reads apart that would be one. So it goes, where that is proved to do no harm:

- What is written is a register that no other trip writes: its indices are numbers of digits (`digits.py`), inside
  the buffer, with each loop around in one of them. No element that is wanted is another one, then.
- What is read are copies of which every element holds a value (`cache_read .. fill`), inside of them.

What is in a register that no element belongs to is never read: that was not allowed before, either.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from te.ir.bounds import Facts
from te.ir.expr import Const, Expr, conjuncts, integer, sub
from te.ir.loop import Accumulate, Alloc, Buffer, For, If, Let, Stmt, Store, bodies, direct_exprs, with_bodies
from te.ir.simplify import simplify
from te.ir.visit import loads, substitute, variables
from te.schedule.context import facts_inside
from te.schedule.finalize.gpu.digits import digits_of, reach_of
from te.schedule.finalize.guards import guarded, is_index_condition


@dataclass(frozen=True, slots=True)
class _Place:
    """What stands around a statement."""

    facts: Facts
    loops: Mapping[str, Expr] = field(default_factory=dict)
    names: Mapping[str, Expr] = field(default_factory=dict)  # what they stand for, over loops
    buffers: Mapping[str, Buffer] = field(default_factory=dict)
    around: Mapping[str, frozenset[str]] = field(default_factory=dict)  # the loops around a buffer

    def inside(self, s: Stmt, body: Stmt) -> _Place:
        facts = facts_inside(s, body, self.facts, False)
        match s:
            case For():
                return replace(self, facts=facts, loops={**self.loops, s.var: s.extent})
            case Let():
                return replace(
                    self, facts=facts, names={**self.names, s.var: substitute(s.value, self.names)}
                )
            case Alloc(buffer=buffer):
                around = {**self.around, buffer.name: frozenset(self.loops)}
                return replace(self, buffers={**self.buffers, buffer.name: buffer}, around=around)
        return replace(self, facts=facts)

    def plain(self, e: Expr) -> Expr:
        return substitute(e, self.names)

    def in_buffer(self, buffer: Buffer, index: Sequence[Expr]) -> list[Expr]:
        """Where an element lies, from the buffer's first one on."""
        origin = buffer.origin or tuple(integer(0) for _ in index)
        return [
            simplify(sub(self.plain(i), self.plain(o)), self.facts)
            for i, o in zip(index, origin, strict=True)
        ]


def compute_overhang(s: Stmt, facts: Facts) -> Stmt:
    """Take away the guards of registers that may as well be computed. Indices are those of the tensors still."""
    return _computed(s, _Place(facts))


def _computed(s: Stmt, place: _Place) -> Stmt:
    if isinstance(s, If):
        guards, leaf = _guards_of(s)
        asks_data = any(load for g in guards for load in loads(g))  # that may not be there, of no element
        if isinstance(leaf, Store | Accumulate) and not asks_data and _does_no_harm(leaf, place):
            terms = leaf.over if isinstance(leaf, Accumulate) else frozenset()
            kept = [g for g in guards if not _says_which_element(g, terms, place)]
            return guarded(kept, leaf)
    new = tuple([_computed(b, place.inside(s, b)) for b in bodies(s)])
    return with_bodies(s, new) if any(a is not b for a, b in zip(bodies(s), new, strict=True)) else s


def _guards_of(s: Stmt) -> tuple[list[Expr], Stmt]:
    """Conditions around a statement that stand in each other. A reduction's `where` is none of them."""
    guards: list[Expr] = []
    while isinstance(s, If) and s.otherwise is None and not s.of_terms:
        guards += conjuncts(s.condition)
        s = s.body
    return guards, s


def _says_which_element(guard: Expr, terms: frozenset[str], place: _Place) -> bool:
    asked = variables(place.plain(guard))
    return is_index_condition(guard) and not asked & terms and bool(asked & place.loops.keys())


def _does_no_harm(leaf: Store | Accumulate, place: _Place) -> bool:
    target = place.buffers.get(leaf.buffer)
    if target is None or target.scope != "register" or target.fold is not None:
        return False
    terms = leaf.over if isinstance(leaf, Accumulate) else frozenset()
    own = {name for name in place.loops if name not in place.around[target.name] | terms}
    used: list[str] = []
    for i, extent in zip(place.in_buffer(target, leaf.index), target.shape, strict=True):
        digits = digits_of(i, place.loops, place.facts)
        if digits is None or not _ends_before(reach_of(i, place.loops, place.facts), extent):
            return False
        used += [digit.name for digit in digits]
    wide = {name for name in own if place.loops[name] != integer(1)}
    if sorted(used) != sorted(wide):
        return False
    return all(_is_filled(load.buffer, load.index, place) for e in direct_exprs(leaf) for load in loads(e))


def _is_filled(name: str, index: Sequence[Expr], place: _Place) -> bool:
    buffer = place.buffers.get(name)
    return (
        buffer is not None
        and buffer.filled
        and all(
            _ends_before(reach_of(i, place.loops, place.facts), extent)
            for i, extent in zip(place.in_buffer(buffer, index), buffer.shape, strict=True)
        )
    )


def _ends_before(reach: int | None, extent: Expr) -> bool:
    return reach is not None and isinstance(extent, Const) and reach < extent.value
