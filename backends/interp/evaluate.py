"""One expression at many points at once.

Variables hold NumPy arrays that broadcast against each other, one element a point.
What the language evaluates only where a condition holds (a side of a `Select`, the
right side of `and` and `or`) is computed at every point too, which is harmless as no
operator can fail, except for reads: a mask says where an expression is really
evaluated, and elsewhere a read takes any element.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from te.backends.interp.arithmetic import FUNCTIONS, Value, cast, constant, quietly
from te.ir.expr import Cast, Const, Expr, Load, Op, Select, Var
from te.ir.print import print_expr
from te.ir.types import numpy_dtype


class InterpreterError(RuntimeError):
    """A program did what no verified program does: te has a bug, not its user."""

    def __init__(self, what: str):
        super().__init__(
            f"internal error in the interpreter: {what}\n"
            "This is a bug in te; please report it with the program that shows it."
        )


def evaluate(
    e: Expr, variables: Mapping[str, Value], buffers: Mapping[str, Value], where: Value | None = None
) -> Value:
    """The values of `e`; they mean something where `where` holds (None: everywhere)."""

    def sub(part: Expr, where: Value | None = where) -> Value:
        return evaluate(part, variables, buffers, where)

    match e:
        case Const():
            return constant(e)
        case Var():
            return variables[e.name]
        case Cast():
            return cast(sub(e.value), e.dtype)
        case Load():
            return _load(e, [sub(i) for i in e.index], buffers[e.buffer], where)
        case Select():
            condition = sub(e.condition)
            if np.all(condition):
                return sub(e.then)
            if not np.any(condition):
                return sub(e.otherwise)
            then = sub(e.then, _narrowed(where, condition))
            otherwise = sub(e.otherwise, _narrowed(where, np.logical_not(condition)))
            return np.asarray(np.where(condition, then, otherwise))[()]
        case Op(op="and", args=(left, right)):
            condition = sub(left)
            return np.logical_and(condition, sub(right, _narrowed(where, condition)))
        case Op(op="or", args=(left, right)):
            condition = sub(left)
            return np.logical_or(condition, sub(right, _narrowed(where, np.logical_not(condition))))
        case Op():
            return FUNCTIONS[e.op](*[sub(a) for a in e.args])


def evaluate_integer(e: Expr, values: Mapping[str, int]) -> int:
    """The value of an expression of sizes."""
    with quietly():
        return int(evaluate(e, {name: np.int64(value) for name, value in values.items()}, {}))


def _narrowed(where: Value | None, condition: Value) -> Value:
    return condition if where is None else where & condition


def _load(e: Load, index: list[Value], array: Value, where: Value | None) -> Value:
    if len(index) != array.ndim:
        raise InterpreterError(f"`{print_expr(e)}` has {len(index)} indices, its tensor {array.ndim} axes")
    if array.dtype != numpy_dtype(e.dtype):
        raise InterpreterError(f"`{print_expr(e)}` is read as {e.dtype} and holds {array.dtype}")
    inside = []
    for axis, (i, extent) in enumerate(zip(index, array.shape, strict=True)):
        i = np.asarray(i, dtype=np.int64)
        outside = (i < 0) | (i >= extent)
        wrong = outside if where is None else outside & where
        if np.any(wrong):
            value = np.broadcast_to(i, np.shape(wrong))[wrong].flat[0]
            raise InterpreterError(
                f"`{print_expr(e)}` reads at {value} on axis {axis}, whose extent is {extent}"
            )
        inside.append(i if where is None else np.where(outside, 0, i))
    if array.size == 0:  # every point is masked, else one would have been outside
        return array.dtype.type(0)
    return array[tuple(inside)]
