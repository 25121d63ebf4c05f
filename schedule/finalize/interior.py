"""Borders: what an expression asks of an index, and almost always gets.

`X[max(x - 1, 0)]` and `where(x >= 1, X[x - 1], 0.0)` differ from `X[x - 1]` at one
border only. Where all lanes of a vector lie inside, one load of neighbours does
what would be a gather, or a masked load, otherwise. These conditions are asked
with the guards of tails (see `split`); the simplifier then finds that they hold.
"""

from __future__ import annotations

from collections.abc import Set

from te.ir.expr import Expr, Op, Select, compare, conjuncts, negation
from te.ir.types import I64
from te.ir.visit import loads, rewrite, variables
from te.schedule.finalize.guards import is_index_condition


def interior_conditions(e: Expr, varying: Set[str]) -> list[Expr]:
    """What holds inside, for the indices that depend on `varying`."""
    found: list[Expr] = []

    def inside(n: Expr) -> Expr:
        """What is left of a clamp or a choice inside."""
        match n:
            case Op(op="min" | "max", args=(a, b)) if n.dtype == I64 and is_index_condition(n):
                if bool(variables(a) & varying) == bool(variables(b) & varying):
                    return n
                index, limit = (a, b) if variables(a) & varying else (b, a)
                found.append(compare("<=" if n.op == "min" else ">=", index, limit))
                return index
            case Select() if variables(n.condition) & varying and is_index_condition(n.condition):
                is_then = _reads(n.then) >= _reads(n.otherwise)
                found.extend(_parts(n.condition if is_then else negation(n.condition)))
                return n.then if is_then else n.otherwise
            case _:
                return n

    rewrite(e, inside)
    return found


def _reads(e: Expr) -> int:
    return sum(1 for _ in loads(e))


def _parts(condition: Expr) -> list[Expr]:
    """The parts of a conjunction. What is left of a negation says that one of several things fails."""
    return [part for part in conjuncts(condition) if not (isinstance(part, Op) and part.op == "not")]
