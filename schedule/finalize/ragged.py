"""Tiles that overhang: what is computed where there is no element.

The registers of such a tile are all computed, and those of real elements written
back. What the others hold does not matter, but what they read must exist:

- Trips of an unrolled loop that overhang repeat the last real trip: `ii` becomes
  `min(ii, M - 1 - 8*io)`.
- Lanes that overhang read 0 in place of an element: a load that differs between
  lanes becomes `where(32*jo + ji < N, B[k, 32*jo + ji], 0)`. A load that is the
  same in all lanes stays, since there is a real lane that reads it, too; but not where a
  condition differs between lanes, for one that overhangs may be the only one that it holds for.

Both need a first trip that is real, which has to be proved; other guards stay
around the statement, and so do those of loops that choose a register to read, which
has no address for `min` to say. Against guards around everything, a ragged tile of a matrix
product runs twice as fast: no branch a row, and one masked load for all rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

from te.ir.bounds import Facts, prove
from te.ir.expr import Const, Expr, Load, Op, Select, Var, compare, integer, minimum, sub
from te.ir.loop import UNROLLED, For, Let, Stmt
from te.ir.simplify import simplify
from te.ir.types import DType
from te.ir.visit import children, substitute, variables, with_children
from te.schedule.finalize.guards import conjunction, hull, inline_lets, solve


@dataclass(frozen=True, slots=True)
class Ragged:
    """The last real trip of unrolled loops that overhang, the lanes that are real, and other guards."""

    clamps: Mapping[str, Expr]
    lane: str | None = None
    real: tuple[Expr, ...] = ()
    kept: tuple[Expr, ...] = ()

    def inside(self, e: Expr) -> Expr:
        """The expression, reading only what exists."""
        e = substitute(e, self.clamps)
        return e if self.lane is None else _masked(e, self.lane, conjunction(self.real))


WHOLE = Ragged({})


def find_ragged(
    around: Sequence[Stmt],
    axes: Sequence[For],
    guards: Sequence[Expr],
    facts: Facts,
    choosing: Set[str] = frozenset(),
) -> Ragged:
    """What the guards say about the axes of a tile. `around` leads from its outermost loop to its statement.

    The loops `choosing` say which registers are read there.
    """
    clamps: dict[str, Expr] = {}
    lane: str | None = None
    real: list[Expr] = []
    kept: list[Expr] = []
    loops = {loop.var: loop for loop in axes}
    for guard in guards:
        known = _last_trip(guard, around, loops, facts)
        if known is None or (loops[known[0]].kind == UNROLLED and known[0] in choosing):
            kept.append(guard)
        elif loops[known[0]].kind == UNROLLED:
            name, last = known
            clamps[name] = minimum(clamps.get(name, Var(name)), last)
        else:
            lane = known[0]
            real.append(guard)
    return Ragged(clamps, lane, tuple(real), tuple(kept))


def _last_trip(
    guard: Expr, around: Sequence[Stmt], axes: Mapping[str, For], facts: Facts
) -> tuple[str, Expr] | None:
    """The one loop that a guard depends on and its last trip in which the guard holds, if there is one."""
    guard = inline_lets(guard, around, set(axes), facts)
    inside = variables(guard) & {s.var for s in around if isinstance(s, For | Let)}
    slack = hull(guard, [], facts, every=True)
    if slack is None or len(inside) != 1:
        return None
    (name,) = inside
    solved = solve(slack, name, facts)
    if name not in axes or solved is None or solved[0] != "below":
        return None
    last = simplify(sub(solved[1], integer(1)), facts)
    return (name, last) if prove(compare("<=", integer(0), last), facts) else None


def _masked(e: Expr, lane: str, real: Expr, *, by_lane: bool = False) -> Expr:
    """Loads that differ between lanes, only where the lane is real. `by_lane`: so does whether they are reached."""
    match e:
        case Load():
            return Select(real, e, _zero(e.dtype)) if by_lane or lane in variables(e) else e
        case Select(condition=first) | Op(op="and" | "or", args=(first, *_)):
            sides = by_lane or lane in variables(first)
            masked = [_masked(c, lane, real, by_lane=by_lane if c is first else sides) for c in children(e)]
        case _:
            masked = [_masked(c, lane, real, by_lane=by_lane) for c in children(e)]
    return with_children(e, tuple(masked)) if masked else e


def _zero(dtype: DType) -> Const:
    return Const(0.0 if dtype.is_float else False if dtype.kind == "bool" else 0, dtype)
