"""How much work an expression is, roughly."""

from __future__ import annotations

import math

from te.ir.expr import COMPARISONS, LOGICAL, Cast, Const, Expr, Op, Select
from te.ir.visit import walk

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
    total = 0
    for node in walk(e):
        match node:
            case Op(op="/", args=(_, divisor)) if _is_power_of_two(divisor):
                total += 1  # a multiplication, by the exact inverse
            case Op(op="sqrt", args=(Const(),)):
                pass
            case Op(op="/" | "//" | "%" | "sqrt", args=(_, *_)) if node.dtype.is_float:
                total += DIVISION_COST
            case Op(op=op) if node.dtype.is_float and op not in SIMPLE:
                total += FUNCTION_COST
            case Op() | Select() | Cast():
                total += 1
    return total


def _is_power_of_two(e: Expr) -> bool:
    match e:
        case Const(value=float(value)) if 0 < value < math.inf:
            return math.frexp(value)[0] == 0.5
        case Op(op="sqrt", args=(Const(value=float(value)),)) if 0 < value < math.inf:
            return math.frexp(math.sqrt(value))[0] == 0.5
    return False
