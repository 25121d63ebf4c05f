"""Reductions along the rows of a tile that lies over the lanes of a warp, or along its columns.

    for ii < 16:                                    alloc part[2] in register of each lane:
      m[ii] = -inf                                    lane for l < 32: for s0 < 2: part[s0] = -inf
      for jo < 4:                                     for jo < 4: lane for l < 32: for s0 < 2: for s1 < 2:
        for jj < 8:                          ->         part[s0] max= C[.., 8*jo + 2*(l % 4) + s1]
          m[ii] max= C[ii, 8*jo + jj]                 combine part by max over 4 of lane
                                                      lane for l < 32: for s0 < 2: m[s0] max= part[s0]

Each lane reduces the elements that it has of a row, and the lanes of the row put their results together in halves, as
threads do everywhere (`combining.py`); then all of them know it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from te.ir.expr import Load, Var, integer
from te.ir.loop import (
    UNROLLED,
    Accumulate,
    Alloc,
    Buffer,
    Combine,
    For,
    If,
    Let,
    Seq,
    Stmt,
    Store,
    direct_exprs,
    seq,
    substitute_stmt,
    walk_stmt,
)
from te.ir.tensor import identity
from te.ir.visit import loads, variables
from te.schedule.finalize.gpu.fragment_axes import Nest, refuse_access
from te.schedule.finalize.gpu.fragment_rows import LANE
from te.schedule.fragments import GROUP, LANES, MEMBERS
from te.schedule.matrices import Placed

Around: TypeAlias = For | If | Let


@dataclass(frozen=True, slots=True)
class Reducing:
    """A nest in a tile that holds such reductions, on the way to what lanes do."""

    nest: Nest
    buffers: Mapping[str, Placed]
    in_slots: Callable[[Store | Accumulate, Nest, Sequence[If | Let]], Stmt]  # of another statement

    def reduced(self, loop: For) -> Stmt:
        """The nest, each of its statements by itself: lanes put results together between them."""
        return seq(*[self._one(step, around) for step, around in self._steps(loop, ())])

    def _steps(
        self, s: Stmt, around: tuple[Around, ...]
    ) -> Iterator[tuple[Store | Accumulate, Sequence[Around]]]:
        """The statements with what stands around them, without the loops in the tile."""
        match s:
            case Store() | Accumulate():
                yield s, around
            case Seq():
                for item in s.items:
                    yield from self._steps(item, around)
            case For() if s.var in self.nest.values:
                yield from self._steps(s.body, around)
            case For() | Let() | If() if not (isinstance(s, If) and s.otherwise is not None):
                if not self._is_for_one(s):
                    refuse_access(
                        next(iter(self.buffers)), "a reduction of it stands in a loop with other statements"
                    )
                yield from self._steps(s.body, (*around, s))
            case _:
                refuse_access(next(iter(self.buffers)), "its reduction stands among other statements")

    def _is_for_one(self, s: Around) -> bool:
        """Whether each statement in a loop, condition or name can have it for itself."""
        steps = [x for x, _ in walk_stmt(s.body) if isinstance(x, Store | Accumulate)]
        if len(steps) == 1:
            return True
        asked = {load.buffer for e in direct_exprs(s) for load in loads(e)}
        return not isinstance(s, For) and not asked & {x.buffer for x in steps}

    def _one(self, step: Store | Accumulate, around: Sequence[Around]) -> Stmt:
        loops = [x for x in around if isinstance(x, For)]
        others = [x for x in around if not isinstance(x, For)]
        inner = {x.var for x in others if isinstance(x, Let)} | self.nest.values.keys()
        if any(variables(x.extent) & inner for x in loops):
            refuse_access(step.buffer, "its loops end in different places")
        if isinstance(step, Accumulate) and step.over & self.nest.values.keys():
            return self._reduction(step, loops, others)
        return _within(loops, self._on_lanes(self.in_slots(step, self.nest, others)))

    def _reduction(self, step: Accumulate, loops: Sequence[For], others: Sequence[If | Let]) -> Stmt:
        """Partial results of lanes, put together, and with what there is."""
        at = holding_rows(step.buffer, self.buffers)
        target = Load(step.buffer, step.index, at.buffer.dtype)
        kept = self.nest.used(
            substitute_stmt(Store(step.buffer, step.index, target, step.stage), self.nest.values)
        )
        every = self.nest.used(substitute_stmt(replace(step, over=frozenset()), self.nest.values))
        reduced = [slot for slot in every if slot not in kept]
        part = Buffer(
            f"{step.buffer}.of_lane",
            at.buffer.dtype,
            tuple(integer(n) for _, n in kept),
            "register",
            private=(LANE,),
        )
        own = tuple(Var(name) for name, _ in kept)
        clear = Store(part.name, own, identity(step.reducer, part.dtype), step.stage)
        over = step.over.difference(self.nest.values)  # `- keys()` would be no frozenset
        each: Stmt = replace(step, buffer=part.name, index=own, over=over | {name for name, _ in reduced})
        for x in reversed(others):
            each = replace(x, body=each)
        result = Load(part.name, own, part.dtype)
        update: Stmt = replace(step, value=result, over=frozenset())
        for x in reversed(_of_elements(others, step)):
            update = replace(x, body=update)
        run = self._on_lanes(_slots(kept, _slots(reduced, self._own(each), is_reduction=True)))
        body = seq(
            self._on_lanes(_slots(kept, clear)),
            _within([loop for loop in loops if loop.var in over], run),
            Combine(part.name, step.reducer, LANE, step.stage, MEMBERS),
            self._on_lanes(_slots(kept, self._own(update))),
        )
        return _within([loop for loop in loops if loop.var not in over], Alloc(part, body))

    def _own(self, s: Stmt) -> Stmt:
        return substitute_stmt(s, self.nest.values)

    def _on_lanes(self, s: Stmt) -> Stmt:
        return For(self.nest.lane, integer(LANES), s, LANE)


def holding_rows(name: str, buffers: Mapping[str, Placed]) -> Placed:
    """What holds the results of a reduction: of neighbouring lanes."""
    at = buffers.get(name)
    if at is None or not at.fragment.is_shared or GROUP not in at.fragment.own(integer(0)):
        refuse_access(name, "what neighbouring lanes reduce are rows of a result, to values in registers")
    return at


def _of_elements(around: Sequence[If | Let], step: Accumulate) -> list[If | Let]:
    """The conditions that are those of an element, and not of a term, with the names in them."""
    terms = set(step.over)
    kept: list[If | Let] = []
    for x in around:
        used = {name for e in direct_exprs(x) for name in variables(e)}
        is_of_terms = bool(used & terms) or (isinstance(x, If) and x.of_terms)
        if not is_of_terms:
            kept.append(x)
        elif isinstance(x, Let):
            terms.add(x.var)
    return kept


def _slots(slots: Sequence[tuple[str, int]], s: Stmt, is_reduction: bool = False) -> Stmt:
    for name, count in reversed(slots):
        s = For(name, integer(count), s, UNROLLED, is_reduction=is_reduction)
    return s


def _within(loops: Sequence[For], s: Stmt) -> Stmt:
    for loop in reversed(loops):
        s = replace(loop, body=s)
    return s
