"""The conditions of `when` and `specialize`: on sizes, `const`s, knobs and dtypes.

What the build knows is decided here. What depends on run-time sizes is left as an
expression over them: a fact for the schedule, and a question at each call.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NoReturn, TypeAlias

from te.diagnostics import ScheduleError, Span, did_you_mean, error
from te.elaborate.constants import constant_value
from te.grammar import tree
from te.ir.bounds import prove
from te.ir.expr import FALSE, TRUE, Const, Expr, Op, both, compare, integer, negation
from te.ir.simplify import simplify
from te.ir.tensor import Program
from te.ir.types import BOOL, DTYPES, F64, I64, DType
from te.schedule.context import program_facts

Constant: TypeAlias = int | float | bool

_COMPARE: dict[str, Callable[[float, float], bool]] = {
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
}


@dataclass(frozen=True, slots=True)
class Names:
    """What names stand for in a schedule: known values, dtype variables, sizes known at run time only.

    A size stands for itself, or for what the caller of the op has for it.
    """

    constants: Mapping[str, Constant]
    dtypes: Mapping[str, DType]
    sizes: Mapping[str, Expr]


def lower_condition(when: tree.Expr | None, names: Names, program: Program) -> Expr:
    """The condition as an expression over run-time sizes: TRUE or FALSE where the build decides it."""
    return TRUE if when is None else decided(condition_of(when, names), program)


def decided(condition: Expr, program: Program) -> Expr:
    """The condition, simplified: TRUE or FALSE where what is known of the program decides it."""
    facts = program_facts(program)
    condition = simplify(condition, facts)
    if prove(condition, facts):
        return TRUE
    return FALSE if prove(negation(condition), facts) else condition


def condition_of(e: tree.Expr, names: Names) -> Expr:
    """What a condition says, as it is written."""
    known = constant_value(None, e, names.constants)
    if isinstance(known, bool):
        return TRUE if known else FALSE
    match e:
        case tree.Binary(op="and", left=left, right=right):
            return both(condition_of(left, names), condition_of(right, names))
        case tree.Binary(op="or", left=left, right=right):
            return Op("or", (condition_of(left, names), condition_of(right, names)), BOOL)
        case tree.Unary(op="not", operand=operand):
            return negation(condition_of(operand, names))
        case tree.Compare(ops=ops, operands=operands):
            condition: Expr = TRUE
            for op, a, b in zip(ops, operands[:-1], operands[1:], strict=True):
                condition = both(condition, _comparison(op, a, b, names))
            return condition
    _refuse("a condition compares sizes, as in `K >= 64` and `M % 8 == 0`", e.span, "no condition")


def _comparison(op: str, a: tree.Expr, b: tree.Expr, names: Names) -> Expr:
    left, right = _operand(a, names), _operand(b, names)
    if isinstance(left, DType) or isinstance(right, DType):
        if not (isinstance(left, DType) and isinstance(right, DType) and op in ("==", "!=")):
            _refuse("a dtype can only be compared with `==` or `!=`, and with a dtype", a.span.to(b.span))
        return TRUE if (left == right) == (op == "==") else FALSE
    if isinstance(left, Const) and isinstance(right, Const):
        return TRUE if _COMPARE[op](left.value, right.value) else FALSE
    for side, node in ((left, a), (right, b)):
        if side.dtype != I64:
            _refuse("a size can only be compared with integers", node.span, "no integer")
    return compare(op, left, right)


def _operand(e: tree.Expr, names: Names) -> Expr | DType:
    known = constant_value(None, e, names.constants)
    if known is not None:
        return _constant(known)
    match e:
        case tree.Name(name=name) if name in names.dtypes:
            return names.dtypes[name]
        case tree.Name(name=name) if name in DTYPES:
            return DTYPES[name]
        case tree.Name(name=name) if name in names.sizes:
            return names.sizes[name]
        case tree.Name(name=name):
            known_names = (*names.constants, *names.dtypes, *names.sizes)
            _refuse(
                f"`{name}` is no size, `const`, dtype or knob",
                e.span,
                "unknown name",
                help=did_you_mean(name, known_names),
            )
        case tree.Unary(op="-", operand=operand):
            return Op("neg", (_index(operand, names),), I64)
        case tree.Binary(op="+" | "-" | "*" | "//" | "%" as op, left=left, right=right):
            return Op(op, (_index(left, names), _index(right, names)), I64)
        case tree.Call(name=tree.Name(name="min" | "max" as function), args=[first, *rest]) if rest:
            value = _index(first.value, names)
            for argument in rest:
                value = Op(function, (value, _index(argument.value, names)), I64)
            return value
    _refuse("a condition computes with sizes by `+ - * // %`, `min` and `max`", e.span, "not supported here")


def _index(e: tree.Expr, names: Names) -> Expr:
    value = _operand(e, names)
    if isinstance(value, DType) or value.dtype != I64:
        _refuse("arithmetic in a condition is on integers", e.span, "no integer")
    return value


def _constant(value: Constant) -> Const:
    if isinstance(value, bool):
        return Const(value, BOOL)
    return integer(value) if isinstance(value, int) else Const(value, F64)


def _refuse(message: str, span: Span, label: str = "", help: str | None = None) -> NoReturn:
    raise ScheduleError(error("schedule-condition", message, span, label, help=help))
