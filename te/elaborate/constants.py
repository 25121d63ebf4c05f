"""Values known when the text is read: defaults of `const`s, arguments for them, numbers in schedules."""

from __future__ import annotations

from collections.abc import Mapping

from te.elaborate.builtins import CONSTANTS
from te.elaborate.dtypes import MAX_POWER
from te.elaborate.scope import Scope
from te.grammar import tree

Value = int | float | bool


def constant_value(
    scope: Scope | None, e: tree.Expr, names: Mapping[str, Value] | None = None
) -> Value | None:
    """The value of an expression of literals and named constants, or None.

    Integers stay below 2**64, so that no text makes te compute `9 ** 9 ** 9`.
    """
    match e:
        case tree.Number(value=value):
            return value
        case tree.Name(name=name):
            return _named(scope, name, names or {})
        case tree.Unary(op="-" | "+" | "not" as op, operand=operand):
            inner = constant_value(scope, operand, names)
            if inner is None or isinstance(inner, bool) != (op == "not"):
                return None
            return (not inner) if op == "not" else -inner if op == "-" else inner
        case tree.Binary(op=op, left=left, right=right):
            return _binary(op, constant_value(scope, left, names), constant_value(scope, right, names))
    return None


def _named(scope: Scope | None, name: str, names: Mapping[str, Value]) -> Value | None:
    if name in names:
        return names[name]
    if scope is not None and name in scope.consts:
        return scope.consts[name].value
    return CONSTANTS.get(name)


def _binary(op: str, a: Value | None, b: Value | None) -> Value | None:
    if a is None or b is None or isinstance(a, bool) or isinstance(b, bool):
        return None
    integers = isinstance(a, int) and isinstance(b, int)
    result: Value
    try:
        match op:
            case "+":
                result = a + b
            case "-":
                result = a - b
            case "*":
                result = a * b
            case "//" if integers and b:
                result = a // b
            case "%" if integers and b:
                result = a % b
            case "/" if not integers and b:
                result = a / b
            case "**" if 0 <= b <= MAX_POWER and abs(a) < 1 << 64:
                result = a**b
            case _:
                return None
    except OverflowError:
        return None
    return None if isinstance(result, int) and abs(result) >= 1 << 64 else result
