"""How much work an expression is, roughly."""

from __future__ import annotations

import math

from te.ir.expr import COMPARISONS, LOGICAL, Cast, Const, Expr, Op, Select
from te.ir.visit import children

# Rough costs, in multiplications. What is not listed here and takes a float is a function such as `exp`.
FUNCTION_COST = 12
DIVISION_COST = 5
SIMPLE = {
    "min",
    "max",
    "abs",
    "neg",
    "fma",
    "floor",
    "ceil",
    "round",
    "trunc",
    "+",
    "-",
    "*",
    *COMPARISONS,
    *LOGICAL,
}


def cost(e: Expr) -> int:
    """How much work an expression is, roughly, in multiplications."""
    return _cost(e)[0]


def _cost(e: Expr) -> tuple[int, bool]:
    """How much work an expression is, and whether it is a constant: what is made of constants alone is none."""
    found = [_cost(child) for child in children(e)]
    if isinstance(e, Const) or (isinstance(e, Op | Cast) and all(is_constant for _, is_constant in found)):
        return 0, True
    return _own_cost(e) + sum(child for child, _ in found), False


def _own_cost(e: Expr) -> int:
    match e:
        case Op(op="/", args=(_, divisor)) if _is_power_of_two(divisor):
            return 1  # a multiplication, by the exact inverse
        case Op(op="/" | "//" | "%" | "sqrt", args=(_, *_)) if e.dtype.is_float:
            return DIVISION_COST
        case Op(op=op) if e.dtype.is_float and op not in SIMPLE:
            return FUNCTION_COST
        case Op() | Select() | Cast():
            return 1
    return 0


def _is_power_of_two(e: Expr) -> bool:
    match e:
        case Const(value=float(value)) if 0 < value < math.inf:
            return math.frexp(value)[0] == 0.5
        case Op(op="sqrt", args=(Const(value=float(value)),)) if 0 < value < math.inf:
            return math.frexp(math.sqrt(value))[0] == 0.5
    return False
