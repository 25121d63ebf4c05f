"""Scalar expressions: the one expression language of the tensor IR and the loop IR.

Meaning
-------
An expression is pure and denotes one value of its dtype (`te.ir.types` says what
arithmetic means there). Nothing is undefined, and nothing may be reordered,
contracted or approximated: `a + b + c` is `(a + b) + c`.

- `Const`: a literal. NaN and the sign of zero count for equality.
- `Var`: a size, an index or a loop variable, always `i64`. Index arithmetic (an
  expression of `Var`s and integer constants) does not overflow: a kernel refuses
  sizes for which it could. A `Var` cast to `i64` is data, and what is computed from
  it wraps (`te.ir.overflow`).
- `Load`: an element of a buffer, at logical indices. It must lie inside the
  buffer whenever it is evaluated.
- `Op`: an operator or a function; `OPS` lists them all. `and` and `or` evaluate
  their right side only where the left one does not decide. Operands and results
  are never narrow floats.
- `Cast`: conversion to another dtype.
- `Select`: evaluates `condition`, then only the side it takes. A `Load` in a side
  may therefore rely on the condition.

Nodes are frozen and compare by value, so sub-expressions may be shared.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from te.ir.types import BOOL, I64, DType


@dataclass(frozen=True, slots=True, eq=False)
class Const:
    value: int | float | bool
    dtype: DType

    def _key(self) -> tuple[object, ...]:
        # 0.0 == -0.0 and nan != nan, but as constants the first two differ and nan is nan.
        value = self.value
        return ("Const", repr(value) if isinstance(value, float) else value, self.dtype.name)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Const) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())


@dataclass(frozen=True, slots=True)
class Var:
    name: str

    @property
    def dtype(self) -> DType:
        return I64


@dataclass(frozen=True, slots=True)
class Load:
    buffer: str
    index: tuple[Expr, ...]
    dtype: DType


@dataclass(frozen=True, slots=True)
class Op:
    op: str
    args: tuple[Expr, ...]
    dtype: DType


@dataclass(frozen=True, slots=True)
class Cast:
    value: Expr
    dtype: DType


@dataclass(frozen=True, slots=True)
class Select:
    condition: Expr
    then: Expr
    otherwise: Expr

    @property
    def dtype(self) -> DType:
        return self.then.dtype


Expr: TypeAlias = Const | Var | Load | Op | Cast | Select

# Operand kinds an operator takes: "number" is int, uint or float; "any" adds bool.
# Every operator's arguments share one dtype; its result has that dtype, or bool.
ARITHMETIC = {
    "+": "number",
    "-": "number",
    "*": "number",
    "/": "float",
    "//": "integer",
    "%": "integer",
    "neg": "number",
}
BITWISE = {"&": "integer", "|": "integer", "^": "integer", "<<": "integer", ">>": "integer", "~": "integer"}
COMPARISONS = {"<": "number", "<=": "number", ">": "number", ">=": "number", "==": "any", "!=": "any"}
LOGICAL = {"and": "bool", "or": "bool", "not": "bool"}
# Functions by name: operand kind and number of arguments. `min` and `max` propagate NaN.
FUNCTIONS: dict[str, tuple[str, int]] = {
    "min": ("number", 2),
    "max": ("number", 2),
    "abs": ("number", 1),
    "sign": ("number", 1),
    "fma": ("float", 3),
    "pow": ("float", 2),
    "atan2": ("float", 2),
    **dict.fromkeys(
        (
            "floor ceil round trunc sqrt rsqrt exp exp2 expm1 log log2 log1p "
            "sin cos tan asin acos atan sinh cosh tanh asinh acosh atanh sigmoid erf erfc"
        ).split(),
        ("float", 1),
    ),
}
# Functions from a float to bool, and from an integer to itself.
PREDICATES = {"isnan": "float", "isinf": "float", "isfinite": "float"}
OPS = frozenset({*ARITHMETIC, *BITWISE, *COMPARISONS, *LOGICAL, *FUNCTIONS, *PREDICATES, "popcount"})

TRUE = Const(True, BOOL)
FALSE = Const(False, BOOL)


def integer(value: int) -> Const:
    """An index constant."""
    return Const(value, I64)


def add(a: Expr, b: Expr) -> Expr:
    return Op("+", (a, b), a.dtype)


def sub(a: Expr, b: Expr) -> Expr:
    return Op("-", (a, b), a.dtype)


def mul(a: Expr, b: Expr) -> Expr:
    return Op("*", (a, b), a.dtype)


def floor_div(a: Expr, b: Expr) -> Expr:
    return Op("//", (a, b), a.dtype)


def floor_mod(a: Expr, b: Expr) -> Expr:
    return Op("%", (a, b), a.dtype)


def minimum(a: Expr, b: Expr) -> Expr:
    return Op("min", (a, b), a.dtype)


def maximum(a: Expr, b: Expr) -> Expr:
    return Op("max", (a, b), a.dtype)


def compare(op: str, a: Expr, b: Expr) -> Expr:
    return Op(op, (a, b), BOOL)


def both(a: Expr, b: Expr) -> Expr:
    """`a and b`, without the constants that do not matter."""
    if a == TRUE:
        return b
    if b == TRUE or a == FALSE:
        return a
    return Op("and", (a, b), BOOL)


def negation(a: Expr) -> Expr:
    """`not a`; comparisons of integers are turned round instead."""
    turned = {"<": ">=", "<=": ">", ">": "<=", ">=": "<", "==": "!=", "!=": "=="}
    if isinstance(a, Op) and a.op in turned and not a.args[0].dtype.is_float:
        return Op(turned[a.op], a.args, BOOL)
    if isinstance(a, Op) and a.op == "not":
        return a.args[0]
    if a in (TRUE, FALSE):
        return FALSE if a == TRUE else TRUE
    return Op("not", (a,), BOOL)


def conjuncts(condition: Expr) -> list[Expr]:
    """The parts of a chain of `and`, left to right; `not (a or b)` is `not a and not b`."""
    match condition:
        case Op(op="and", args=(a, b)):
            return conjuncts(a) + conjuncts(b)
        case Op(op="not", args=(Op(op="or", args=(a, b)),)):
            return conjuncts(negation(a)) + conjuncts(negation(b))
    return [] if condition == TRUE else [condition]
