"""Boxes: which part of a tensor a statement reads or writes.

    for ii < 8: for r < 3: ... X[8 * io + ii + r]      reads X from 8 * io, 10 elements

A box has a low corner and extents, over the variables outside the statement. Guards do not
count: what overhangs a tensor is guarded where it is computed. So extents are constant
where loops are, which registers, vectors and `unroll` need.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence, Set
from dataclasses import dataclass, replace
from typing import TypeAlias

from te.ir.bounds import NO_FACTS, Facts, bounds, prove
from te.ir.expr import (
    TRUE,
    Const,
    Expr,
    Op,
    Var,
    add,
    both,
    compare,
    conjuncts,
    floor_div,
    floor_mod,
    integer,
    maximum,
    minimum,
    sub,
)
from te.ir.loop import Accumulate, Alloc, Completed, For, If, Let, Stmt, Store, direct_exprs, walk_stmt
from te.ir.simplify import simplify
from te.ir.visit import loads, substitute, variables
from te.schedule.context import facts_inside
from te.schedule.finalize.guards import coefficient
from te.schedule.names import Path

Index: TypeAlias = tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Box:
    """Indices from `low`, `extents` of them along each axis.

    Where it says what is written, it is empty unless `guard` holds, a condition on what stands outside.
    Where it says what is read, no index lies outside of it along the axes `held`, guarded or not.
    """

    low: Index
    extents: Index
    guard: Expr = TRUE
    held: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Use:
    """An index at which a region reads or writes, and what stands around it there."""

    index: Index
    path: Path


def reads_in(region: Stmt, tensor: str) -> list[Use]:
    """Where a region reads a tensor."""
    return [
        Use(load.index, path)
        for s, path in walk_stmt(region)
        for e in direct_exprs(s)
        for load in loads(e)
        if load.buffer == tensor
    ]


def writes_in(region: Stmt, tensor: str) -> list[Use]:
    """Where a region writes a tensor."""
    return [
        Use(s.index, path)
        for s, path in walk_stmt(region)
        if isinstance(s, Store | Accumulate) and s.buffer == tensor
    ]


def waits_for_loops(uses: Sequence[Use], loops: Set[str]) -> bool:
    """Whether a use stands in an epilogue that waits for the last trip of one of the loops.

    Where that loop has no trip, the epilogue runs all the same, and nothing else of the loop's body.
    """
    return any(isinstance(s, Completed) and s.over & loops for use in uses for s in use.path)


def box_of(
    uses: Sequence[Use],
    shape: Index,
    facts: Facts,
    sizes: Collection[str],
    whole: bool = True,
    origin: Index = (),
    scope: str | None = None,
) -> Box:
    """The smallest box, as far as it is known, that holds all uses of a tensor of that shape.

    `facts` hold around the region; the tensor begins at `origin`, or at zeros. An axis whose part is
    not known, or would have an extent over more than the `sizes` of the program, is taken whole; with
    `whole`, so is one whose part is no smaller. In registers that part has to begin at the same element in
    all trips: which one is meant is known for the place in the part alone.
    """
    ends = [_ends(use, facts) for use in uses]
    low: list[Expr] = []
    extents: list[Expr] = []
    held: set[int] = set()
    for axis, all_of_it in enumerate(shape):
        part = _hull([e[axis] for e in ends], facts)
        extent = None if part is None else _extent(*part, facts, sizes)
        first = origin[axis] if origin else integer(0)
        may_be_whole = whole and (scope != "register" or part is None or _is_fixed(part[0], first, facts))
        if part is None or extent is None or (may_be_whole and _is_whole(extent, all_of_it, facts)):
            part, extent = (first, all_of_it), all_of_it
        else:
            held.add(axis)
        low.append(part[0])
        extents.append(extent)
    return Box(tuple(low), tuple(extents), held=frozenset(held))


def _ends(use: Use, facts: Facts) -> list[tuple[Expr, Expr] | None]:
    """The lowest and the highest value of each index over the loops in the region; None if unknown."""
    hidden: list[str] = []
    values: dict[str, Expr] = {}
    for s in use.path:
        if isinstance(s, Let) and not variables(s.value) & {*hidden}:
            values[s.var] = substitute(s.value, values)
        elif isinstance(s, For | Let):
            # A `Let` of the loops inside takes all values of its range: the parts of a fused loop do.
            hidden.append(s.var)
            last = sub(substitute(s.extent, values), integer(1))
            facts = facts.with_range(s.var, integer(0), last)
    ends: list[tuple[Expr, Expr] | None] = []
    for e in use.index:
        e = substitute(e, values)
        if any(True for _ in loads(e)):
            ends.append(None)
            continue
        low, high = bounds(e, facts, hidden)
        ends.append(None if low is None or high is None else (low, high))
    return ends


def _hull(ends: Sequence[tuple[Expr, Expr] | None], facts: Facts) -> tuple[Expr, Expr] | None:
    hull: tuple[Expr, Expr] | None = None
    for end in ends:
        if end is None:
            return None
        hull = end if hull is None else (_smaller(hull[0], end[0], facts), _larger(hull[1], end[1], facts))
    return hull


def _smaller(a: Expr, b: Expr, facts: Facts) -> Expr:
    if prove(compare("<=", a, b), facts):
        return a
    return b if prove(compare("<=", b, a), facts) else simplify(minimum(a, b), facts)


def _larger(a: Expr, b: Expr, facts: Facts) -> Expr:
    if prove(compare("<=", a, b), facts):
        return b
    return a if prove(compare("<=", b, a), facts) else simplify(maximum(a, b), facts)


def _extent(low: Expr, high: Expr, facts: Facts, sizes: Collection[str]) -> Expr | None:
    """How many values there are, if that is the same in all trips of all loops."""
    extent = simplify(add(sub(high, low), integer(1)), facts)
    if not variables(extent) <= {*sizes}:
        return None
    # Where a loop inside has no trip, its last index lies before the first.
    return extent if prove(compare(">=", extent, integer(0)), facts) else maximum(extent, integer(0))


def _is_whole(extent: Expr, whole: Expr, facts: Facts) -> bool:
    return extent == whole or prove(compare("<=", whole, extent), facts)


def _is_fixed(low: Expr, first: Expr, facts: Facts) -> bool:
    """Whether an index is the same number from the first one in all trips."""
    return isinstance(simplify(sub(low, first), facts), Const)


def inside_names(s: Stmt, facts: Facts, change: Callable[[Stmt, Facts], Stmt]) -> Stmt:
    """`change` applied inside the names and allocations around all of a statement, with what holds there.

    A name's range is no fact for it: what `change` adds may have effects where old effects had none.
    """
    if isinstance(s, Let | Alloc):
        inner = facts_inside(s, s.body, facts, trust_lets=False)
        return replace(s, body=inside_names(s.body, inner, change))
    return change(s, facts)


# ---------------------------------------------------------------- exact boxes


def exact_box(region: Stmt, tensor: str, shape: Index, facts: Facts, sizes: Collection[str]) -> Box | None:
    """The box that a region's one write to a tensor fills: its loops take the index through every element.

    `8 * io + ii` over `ii < 8` fills one, and over `io` too; `8 * ii` does not. Each loop may count in
    one axis only. Loops that no axis mentions repeat the same elements. None where there are several
    writes, or the box is not known, or there are elements between.
    """
    writes = [
        (s, path) for s, path in walk_stmt(region) if isinstance(s, Store | Accumulate) and s.buffer == tensor
    ]
    if len(writes) != 1:
        return None
    ((write, path),) = writes
    use = Use(write.index, path)
    guard = _guard_of_whole(use, write.over if isinstance(write, Accumulate) else frozenset(), shape, facts)
    if guard is None or not _is_filled(use):
        return None
    low: list[Expr] = []
    extents: list[Expr] = []
    for end, whole in zip(_ends(use, facts), shape, strict=True):
        extent = None if end is None else _extent(*end, facts, sizes)
        if end is None or extent is None:
            return None
        is_whole = _is_whole(extent, whole, facts) and prove(compare("<=", end[0], integer(0)), facts)
        low.append(integer(0) if is_whole else end[0])
        extents.append(whole if is_whole else extent)
    return Box(tuple(low), tuple(extents), guard)


def _guard_of_whole(use: Use, over: frozenset[str], shape: Index, facts: Facts) -> Expr | None:
    """The guards that decide about the whole box; None where one leaves out a part of it.

    What lies outside the tensor may be left out: no box has it.
    """
    known = facts
    inside: set[str] = set()
    of_terms = set(over)
    for s in use.path:
        if isinstance(s, For | Let):
            inside.add(s.var)
            known = known.with_range(s.var, integer(0), sub(s.extent, integer(1)))
        if isinstance(s, Let) and variables(s.value) & of_terms:
            of_terms.add(s.var)
    for i, extent in zip(use.index, shape, strict=True):
        known = known.with_assumption(compare("<", i, extent))
    guard: Expr = TRUE
    for s in use.path:
        for part in conjuncts(s.condition) if isinstance(s, If) and not s.of_terms else []:
            if variables(part) & of_terms or prove(part, known):
                continue
            if variables(part) & inside:
                return None
            guard = both(guard, part)
    return guard


def _is_filled(use: Use) -> bool:
    """Whether loops count through an index without gaps, each in one axis."""
    loops: list[For | Let] = []
    inside: set[str] = set()
    for s in use.path:
        # A name of what stands outside of the region has one value in it.
        if isinstance(s, For) or (isinstance(s, Let) and variables(s.value) & inside):
            loops.append(s)
            inside.add(s.var)
    taken: set[str] = set()
    for e in use.index:
        mine = [s for s in loops if s.var in variables(e)]
        if any(s.var in taken for s in mine) or not _is_contiguous(e, mine):
            return False
        taken |= {s.var for s in mine}
    parts = [s for s in loops if isinstance(s, Let) and s.var in taken and variables(s.value) & inside]
    return all(_is_part_of_fused(s, loops, taken) for s in parts)


def _is_contiguous(e: Expr, loops: Sequence[For | Let]) -> bool:
    """Whether a sum of loop variables takes each value between its ends."""
    steps: list[tuple[int, Expr]] = []
    for loop in loops:
        factor = coefficient(e, loop.var)
        if factor is None or factor < 0:
            return False
        steps.append((factor, loop.extent))
    reached: Expr = integer(0)  # all values from 0 to here are taken by the loops so far
    for factor, extent in sorted(steps, key=lambda step: step[0]):
        if not prove(compare("<=", integer(factor), add(reached, integer(1))), NO_FACTS):
            return False
        reached = add(reached, Op("*", (integer(factor), sub(extent, integer(1))), e.dtype))
    return True


def _is_part_of_fused(s: Let, loops: Sequence[For | Let], taken: Set[str]) -> bool:
    """Whether a `Let` is `f // n` or `f % n` of a loop `f` that is a box of its parts."""
    for loop in loops:
        if not isinstance(loop, For) or loop.var not in variables(s.value):
            continue
        f = Var(loop.var)
        inner = [p.extent for p in loops if isinstance(p, Let) and p.value == floor_mod(f, p.extent)]
        is_part = any(s.value in (floor_mod(f, n), floor_div(f, n)) for n in inner)
        return is_part and loop.var not in taken
    return False
