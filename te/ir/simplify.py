"""Expressions in their simplest form. How it is found is told in `te.ir.normal`."""

from __future__ import annotations

from te.ir.context import context_of
from te.ir.expr import Expr
from te.ir.facts import NO_FACTS, Facts
from te.ir.normal import simple


def simplify(e: Expr, facts: Facts = NO_FACTS) -> Expr:
    """An expression of the same value wherever the facts hold; equal polynomials become equal ones.

    >>> from te.ir.expr import Var, add, floor_div, integer, mul
    >>> facts = NO_FACTS.with_range("i", integer(0), integer(7))
    >>> simplify(floor_div(add(mul(integer(8), Var("N")), Var("i")), integer(8)), facts)
    Var(name='N')
    """
    try:
        return simple(e, context_of(facts))
    except RecursionError:
        return e  # hundreds of levels deep
