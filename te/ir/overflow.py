"""Integer values that overflow: where arithmetic on indices is a value, it wraps as all arithmetic does.

Index arithmetic is exact (`te.ir.expr`): a kernel refuses sizes for which it could overflow. That is right
for an index and for a condition, which proofs rest on, and wrong for a value: `Y[i] = i * 6364136223846793005`
is a hash. A cast of a variable to its own type marks a value: what is computed from it is data, and wraps.
Only arithmetic that sizes in use could make overflow is marked, and arithmetic on data; the rest stays open to
simplification.
"""

from __future__ import annotations

from te.ir.expr import Cast, Const, Expr, Load, Op, Select, Var, integer, sub
from te.ir.facts import Facts
from te.ir.magnitude import overflows
from te.ir.tensor import Stage
from te.ir.types import I64
from te.ir.visit import children, walk, with_children

USUAL_SIZE = 1 << 30  # of larger sizes, a kernel asks whether the very sizes of the call are too large


def facts_of(stage: Stage) -> Facts:
    """The ranges of a stage's indices."""
    axes = (*stage.axes, *(stage.reduction.axes if stage.reduction else ()))
    return Facts(tuple((a.name, integer(0), sub(a.extent, integer(1))) for a in axes))


def wrap_values(e: Expr, facts: Facts) -> Expr:
    """`e`, which is a stage's value, with the index arithmetic in it that could overflow made data.

    The indices of its reads and the conditions of its choices stay as they are.

    >>> from te.ir.expr import mul
    >>> from te.ir.print import print_expr
    >>> i = Var("i")
    >>> facts = Facts((("i", integer(0), integer(9)),))
    >>> [print_expr(wrap_values(mul(i, integer(n)), facts)) for n in (3, 1 << 61)]
    ['i * 3', 'i64(i) * 2305843009213693952']
    """
    match e:
        case Load():
            return e
        case Select(condition, then, otherwise):
            return Select(condition, wrap_values(then, facts), wrap_values(otherwise, facts))
        case Op(_, _, dtype) if dtype == I64 and (reads_data(e) or overflows([e], facts, USUAL_SIZE)):
            return as_data(e)  # with data marked too: a later pass may find that it is a constant
    old = children(e)
    new = tuple([wrap_values(child, facts) for child in old])
    return with_children(e, new) if any(a is not b for a, b in zip(old, new, strict=True)) else e


def as_data(e: Expr) -> Expr:
    """The same value, computed from data."""
    match e:
        case Var():
            return Cast(e, I64)
        case Load() | Const():
            return e
        case Select(condition, then, otherwise):
            return Select(condition, as_data(then), as_data(otherwise))
    return with_children(e, tuple([as_data(child) for child in children(e)]))


def reads_data(e: Expr) -> bool:
    """Whether an integer expression is not computed from variables alone, and so does not count as exact."""
    return any(isinstance(node, Load | Cast) for node in walk(e))
