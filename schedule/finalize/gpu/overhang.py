"""Registers of tiles that overhang are computed like the others.

    for own < 4:                                            for own < 4:
      if 64*block + 4*t + own < M:                    ->      C_tile[own] sum= A_copy[4*t + own]
        C_tile[own] sum= A_copy[4*t + own]

A guard that says which elements there are takes longer to ask than it takes to compute one that nobody wants, and in
the innermost loop it keeps reads apart that would be one. So it goes, where that is proved to do no harm:

- What is written is an element of registers or of shared memory: its indices are numbers of digits (`digits.py`),
  inside the buffer, with all loops that the guard asks for in them. No element that is wanted is another one, then.
- What is read are buffers of which every element holds a value, inside of them: copies that are filled
  (`cache_read .. fill`), and what was computed in the same way before, for all elements.

What is in an element that does not belong to the tensor is read for such elements alone: anything else was not
allowed before, either.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from te.ir.bounds import Facts
from te.ir.expr import Const, Expr, conjuncts, integer, sub
from te.ir.loop import (
    Accumulate,
    Alloc,
    Buffer,
    For,
    If,
    Let,
    Seq,
    Stmt,
    Store,
    bodies,
    direct_exprs,
    with_bodies,
)
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
    choices: int = 0  # how many statements around may run what is in them or not
    outside: Mapping[str, int] = field(default_factory=dict)  # how many of them are around a buffer
    whole: set[str] = field(default_factory=set)  # of these each element holds a value here; grows on the way
    terms: Mapping[str, int] = field(default_factory=dict)

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
                outside = {**self.outside, buffer.name: self.choices}
                known = {**self.buffers, buffer.name: buffer}
                return replace(self, buffers=known, around=around, outside=outside)
            case Seq():
                return replace(self, facts=facts)
        return replace(self, facts=facts, choices=self.choices + 1)

    def plain(self, e: Expr) -> Expr:
        return substitute(e, self.names)

    def in_buffer(self, buffer: Buffer, index: Sequence[Expr]) -> list[Expr]:
        """Where an element lies, from the buffer's first one on."""
        origin = buffer.origin or tuple(integer(0) for _ in index)
        return [
            simplify(sub(self.plain(i), self.plain(o)), self.facts)
            for i, o in zip(index, origin, strict=True)
        ]


def compute_overhang(
    s: Stmt,
    facts: Facts,
    whole: frozenset[str] = frozenset(),
    terms: Mapping[str, int] | None = None,
) -> Stmt:
    """Take away the guards of registers that may as well be computed. Indices are those of the tensors still.

    Each element of the buffers `whole` holds a value wherever they are read. `terms` are axes of buffers along which
    guards stay: what is left out there has a meaning.
    """
    return _computed(s, _Place(facts, whole=set(whole), terms=terms or {}))


def _computed(s: Stmt, place: _Place) -> Stmt:
    conditions, leaf = _conditions_of(s)
    digits = _digits_written(leaf, conditions, place) if isinstance(leaf, Store | Accumulate) else None
    if digits is not None:
        assert isinstance(leaf, Store | Accumulate)
        terms = leaf.over if isinstance(leaf, Accumulate) else frozenset()
        repeated = _inside(leaf.buffer, place) - terms - digits
        stays = terms | repeated
        if leaf.buffer in place.terms:
            stays |= variables(place.plain(leaf.index[place.terms[leaf.buffer]]))
        is_always = True
        inner: Stmt = leaf
        for c in reversed(conditions):
            if c.of_terms:
                inner = replace(c, body=inner)
                continue
            kept = [g for g in conjuncts(c.condition) if not _says_which_element(g, stays, place)]
            is_always = is_always and all(_is_about(g, terms, place) for g in kept)
            inner = guarded(kept, inner)
        if is_always and not repeated and _is_whole_after(leaf, place):
            place.whole.add(leaf.buffer)
        return inner
    new = tuple([_computed(b, place.inside(s, b)) for b in bodies(s)])
    return with_bodies(s, new) if any(a is not b for a, b in zip(bodies(s), new, strict=True)) else s


def _conditions_of(s: Stmt) -> tuple[list[If], Stmt]:
    """The conditions around a statement, outermost first: guards, and the `where` of a reduction."""
    found: list[If] = []
    while isinstance(s, If) and s.otherwise is None:
        found.append(s)
        s = s.body
    return found, s


def _says_which_element(guard: Expr, others: frozenset[str], place: _Place) -> bool:
    """Whether a guard is about the index of what is written alone: not about sizes, either."""
    is_of_loops = _is_about(guard, frozenset(place.loops), place)
    return is_index_condition(guard) and is_of_loops and not _is_about(guard, others, place)


def _is_about(guard: Expr, names: frozenset[str], place: _Place) -> bool:
    return bool(variables(place.plain(guard)) & names)


def _inside(buffer: str, place: _Place) -> frozenset[str]:
    """The loops inside a buffer's allocation that have more than one trip."""
    loops = {name for name, extent in place.loops.items() if extent != integer(1)}
    return frozenset(loops) - place.around[buffer]


def _digits_written(
    leaf: Store | Accumulate, conditions: Sequence[If], place: _Place
) -> frozenset[str] | None:
    """The loops that tell which element is written; None where more elements than are wanted would do harm."""
    target = place.buffers.get(leaf.buffer)
    if target is None or target.scope not in ("register", "shared") or target.fold is not None:
        return None
    terms = leaf.over if isinstance(leaf, Accumulate) else frozenset()
    used: list[str] = []
    for i, extent in zip(place.in_buffer(target, leaf.index), target.shape, strict=True):
        digits = digits_of(i, place.loops, place.facts)
        if digits is None or not _ends_before(reach_of(i, place.loops, place.facts), extent):
            return None
        used += [digit.name for digit in digits]
    if len(set(used)) < len(used) or not set(used) <= _inside(target.name, place) - terms:
        return None
    read = [*direct_exprs(leaf), *(c.condition for c in conditions)]
    is_known = all(_holds_values(load.buffer, load.index, place) for e in read for load in loads(e))
    return frozenset(used) if is_known else None


def _is_whole_after(leaf: Store | Accumulate, place: _Place) -> bool:
    """Whether a statement that does no harm gives each element of its buffer a value, whatever its terms."""
    target = place.buffers[leaf.buffer]
    is_first = isinstance(leaf, Store) or leaf.start is not None
    if not is_first or place.choices != place.outside[target.name]:
        return False
    for i, extent in zip(place.in_buffer(target, leaf.index), target.shape, strict=True):
        reached = 1
        for digit in digits_of(i, place.loops, place.facts) or ():
            if digit.weight != reached:
                return False
            reached *= digit.extent
        if extent != integer(reached):
            return False
    return True


def _holds_values(name: str, index: Sequence[Expr], place: _Place) -> bool:
    if not index:
        return True  # a number that the call gives, or that is computed for all threads
    buffer = place.buffers.get(name)
    if buffer is None or not (buffer.filled or name in place.whole):
        return False
    return all(
        _ends_before(reach_of(i, place.loops, place.facts), extent)
        for i, extent in zip(place.in_buffer(buffer, index), buffer.shape, strict=True)
    )


def _ends_before(reach: int | None, extent: Expr) -> bool:
    return reach is not None and isinstance(extent, Const) and reach < extent.value
