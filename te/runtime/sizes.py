"""Expressions of sizes as functions.

They are computed exactly, in Python's integers: shapes are checked before anything runs, so sizes
may be anything here, and one too large for a kernel is found rather than wrapped around.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import TypeAlias

from te.ir.evaluate import NotAnIndex, evaluate
from te.ir.expr import Const, Expr, Var

SizeFunction: TypeAlias = Callable[[Sequence[int]], int]


def size_function(e: Expr, names: Sequence[str]) -> SizeFunction:
    """A function from the values of the sizes `names`, in order, to the value of `e`.

    >>> from te.ir.expr import floor_div, integer
    >>> size_function(floor_div(Var("N"), integer(2)), ["M", "N"])((3, 9))
    4
    """
    match e:
        case Const(value=value):
            return lambda sizes: int(value)
        case Var(name=name):
            return itemgetter(list(names).index(name))

    def value_of(sizes: Sequence[int]) -> int:
        values = dict(zip(names, sizes, strict=True))
        try:
            return int(evaluate(e, values))
        except NotAnIndex:  # `require sqrt(f32(N)) < 8.0` is what the interpreter says it is
            from te.backends.interp.evaluate import evaluate_integer

            return evaluate_integer(e, values)

    return value_of
