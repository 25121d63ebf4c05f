"""The value of integer expressions, in Python's integers."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from te.ir.expr import Const, Expr, Op, Select, Var
from te.ir.types import BOOL, DType


class NotAnIndex(ValueError):
    """The expression reads data, or is no integer expression."""


def divide(a: int, b: int) -> int:
    return a // b if b else 0


def modulo(a: int, b: int) -> int:
    return a % b if b else 0


# Operators by name. Shifts and `popcount` depend on a width: `integer_operation` adds them.
OPERATIONS: dict[str, Callable[..., int | bool]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "//": divide,
    "%": modulo,
    "neg": lambda a: -a,
    "min": min,
    "max": max,
    "abs": abs,
    "sign": lambda a: (a > 0) - (a < 0),
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "not": lambda a: not a,
    "&": lambda a, b: a & b,
    "|": lambda a, b: a | b,
    "^": lambda a, b: a ^ b,
    "~": lambda a: ~a,
}


def integer_operation(op: str, values: list[int], dtype: DType) -> int | bool | None:
    """What an operator makes of values of an integer type before wrapping; None if it is no such operator."""
    match op:
        case "<<":
            return values[0] << (values[1] % dtype.bits)
        case ">>":
            return values[0] >> (values[1] % dtype.bits)
        case "popcount":
            return (values[0] % (1 << dtype.bits)).bit_count()
    operation = OPERATIONS.get(op)
    return None if operation is None else operation(*values)


def evaluate(e: Expr, values: Mapping[str, int]) -> int | bool:
    """The value of an index expression or of a condition on index expressions.

    Raises `NotAnIndex` where the value depends on data, `KeyError` for a variable without a value.

    >>> from te.ir.expr import Var, floor_div, integer
    >>> evaluate(floor_div(Var("N"), integer(8)), {"N": 20})
    2
    """
    match e:
        case Var(name):
            return values[name]
        case Const(value, _) if not isinstance(value, float):
            return value
        case Op("and", (left, right), _):
            return bool(evaluate(left, values)) and bool(evaluate(right, values))
        case Op("or", (left, right), _):
            return bool(evaluate(left, values)) or bool(evaluate(right, values))
        case Op(op, args, _) if args[0].dtype.is_integer or args[0].dtype == BOOL:
            result = integer_operation(op, [evaluate(arg, values) for arg in args], args[0].dtype)
            if result is not None:
                return result
        case Select(condition, then, otherwise):
            return evaluate(then if evaluate(condition, values) else otherwise, values)
    raise NotAnIndex(e)
