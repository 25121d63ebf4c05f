"""Expressions to text.

Index arithmetic does not overflow, and is written with C++'s own operators (`indices.py`). Of data, floats
have operators that mean what the language says: sources are compiled without contraction and with exact
division. Integers wrap, which C++ says of unsigned types alone; for the others, and for all functions, the
text calls `te_NAME_TYPE` of the prelude. `where`, `and` and `or` are lazy in both languages.
"""

from __future__ import annotations

from te.backends.cuda.indices import (
    AND,
    ATOM,
    BIT_AND,
    BIT_OR,
    BIT_XOR,
    CHOICE,
    EQUALITY,
    OR,
    PRODUCT,
    RELATION,
    SUM,
    UNARY,
    Index,
    Text,
    add,
    divide,
    extreme,
    modulo,
    multiply,
    negate,
    number,
    subtract,
    xor,
)
from te.backends.cuda.literals import literal
from te.backends.cuda.prelude import cast_name, function_name, type_name
from te.backends.cuda.scope import Place, Scope
from te.ir.expr import COMPARISONS, Cast, Const, Expr, Load, Op, Select, Var
from te.ir.overflow import reads_data
from te.ir.tensor import fused_factors
from te.ir.types import F32, I32, I64, DType

_STRENGTHS = {
    "+": SUM,
    "-": SUM,
    "*": PRODUCT,
    "/": PRODUCT,
    "and": AND,
    "or": OR,
    **dict.fromkeys(COMPARISONS, RELATION),
    "==": EQUALITY,
    "!=": EQUALITY,
}
_SYMBOLS = {"and": "&&", "or": "||"}


def value(scope: Scope, e: Expr) -> Text:
    """An expression whose value is an element of its dtype."""
    if scope.lanes and e in scope.lanes:
        return Text(scope.lanes[e])
    match e:
        case Const():
            text = literal(e)
            return Text(text, UNARY if text[0] in "-(" else ATOM)
        case Var():
            return index(scope, e)
        case Load():
            return Text(element(scope, scope.buffers[e.buffer], e.index))
        case Cast():
            return _cast(scope, e)
        case Select():
            return choice(value(scope, e.condition), value(scope, e.then), value(scope, e.otherwise))
        case Op() if _is_index(e):
            return index(scope, e)
        case Op() if e.op in COMPARISONS and all(a.dtype == I64 for a in e.args):
            return _infix(e.op, index(scope, e.args[0]), index(scope, e.args[1]))
        case Op():
            args = [value(scope, a) for a in e.args]
            return apply(e.op, e.args[0].dtype, args, has_fast_math=scope.has_fast_math)


def apply(op: str, dtype: DType, args: list[Text], *, has_fast_math: bool = False) -> Text:
    """An operator of the language on values of a dtype."""
    if op in COMPARISONS or op in _SYMBOLS:
        return _infix(op, *args)
    if op == "not":
        return Text(f"!{args[0].within(UNARY)}", UNARY)
    if op == "neg" and dtype.is_float:
        return Text(f"-{args[0].within(ATOM)}", UNARY)
    if op in ("+", "-", "*", "/") and dtype.is_float:
        return _infix(op, *args)
    if op in ("&", "|", "^", "~"):
        return _bitwise(op, dtype, args)
    return call(function_name(op, dtype, fast=has_fast_math), *args)


def call(function: str, *args: Text) -> Text:
    return Text(f"{function}({', '.join(a.code for a in args)})")


def choice(condition: Text, then: Text, otherwise: Text) -> Text:
    return Text(
        f"{condition.within(OR)} ? {then.within(OR)} : {otherwise.within(CHOICE)}",
        CHOICE,
    )


def step(reducer: str, dtype: DType, total: Text, terms: list[Text]) -> Text:
    """One step of a reduction; two terms are the factors of a fused one."""
    if len(terms) == 2:
        return call(function_name("fma", dtype), *terms, total)
    op = {"sum": "+", "prod": "*", "any": "or", "all": "and"}.get(reducer, reducer)
    return apply(op, dtype, [total, terms[0]])


def terms_of(scope: Scope, reducer: str, term: Expr) -> list[Text]:
    """What `step` takes."""
    return [value(scope, e) for e in fused_factors(reducer, term) or (term,)]


def _infix(op: str, a: Text, b: Text) -> Text:
    strength = _STRENGTHS[op]
    right = b.within(strength + 1)
    right = f"({right})" if right.startswith("-") else right
    # C++ compilers warn where `and` stands in `or`.
    left = f"({a.code})" if op == "or" and a.strength == AND else a.within(strength)
    if op == "or" and b.strength == AND:
        right = f"({b.code})"
    return Text(f"{left} {_SYMBOLS.get(op, op)} {right}", strength)


def _bitwise(op: str, dtype: DType, args: list[Text]) -> Text:
    strength = {"&": BIT_AND, "|": BIT_OR, "^": BIT_XOR, "~": UNARY}[op]
    if op == "~":
        result = Text(f"~{args[0].within(UNARY)}", strength)
    else:
        # Nobody knows how strongly these bind.
        result = Text(f"{args[0].within(UNARY)} {op} {args[1].within(UNARY)}", strength)
    return result if dtype.bits >= 32 else Text(f"({type_name(dtype)})({result.code})", UNARY)


def _cast(scope: Scope, e: Cast) -> Text:
    inner = value(scope, e.value)
    source, to = e.value.dtype, e.dtype
    if source == to:
        return inner
    if isinstance(inner, Index) and inner.is_short:
        source = I32  # the same number, and converted in less time
        if to == I32:
            return inner
    if source.is_narrow and to != F32:
        inner, source = call(cast_name(source, F32), inner), F32
    return call(cast_name(source, to), inner)


# ---------------------------------------------------------------- indices


def _is_index(e: Expr) -> bool:
    """Whether `index` knows the operator, and the range of what it gives."""
    if isinstance(e, Op) and e.op not in ("neg", "min", "max", *_OPERATORS):
        return False
    return e.dtype == I64 and not reads_data(e) and isinstance(e, Var | Op)


def index(scope: Scope, e: Expr) -> Index:
    """An expression of dtype i64 as index arithmetic; what depends on data is a value in it."""
    match e:
        case Const():
            return number(int(e.value))
        case Var():
            return scope.variables[e.name]
        case Op() if reads_data(e):
            return _of_data(value(scope, e), e)
        case Op(op="neg", args=(a,)):
            return negate(index(scope, a))
        case Op(op="min" | "max" as op, args=(a, b)):
            return extreme(op, index(scope, a), index(scope, b))
        case Op(op="+" | "-" | "*" | "//" | "%" | "^" as op, args=(a, b)):
            return _OPERATORS[op](index(scope, a), index(scope, b))
        case Select():
            sides = index(scope, e.then), index(scope, e.otherwise)
            lows, highs = [s.low for s in sides], [s.high for s in sides]
            chosen = choice(value(scope, e.condition), *sides)
            low = None if None in lows else min(x for x in lows if x is not None)
            high = None if None in highs else max(x for x in highs if x is not None)
            return Index(chosen.code, chosen.strength, low, high)
    return _of_data(value(scope, e), e)


_OPERATORS = {"+": add, "-": subtract, "*": multiply, "//": divide, "%": modulo, "^": xor}


def _of_data(text: Text, e: Expr) -> Index:
    low = high = None
    if isinstance(e, Cast) and e.value.dtype.kind in ("uint", "bool"):
        low = 0
    return Index(text.code, text.strength, low, high)


def flat(scope: Scope, place: Place, at: tuple[Expr, ...]) -> Index:
    """Where an element lies in its buffer, in elements: row-major."""
    result = number(0)
    for i, extent in zip(at, place.shape, strict=True):
        result = add(multiply(result, index(scope, extent)), _inside(index(scope, i), extent))
    return result


def _inside(i: Index, extent: Expr) -> Index:
    """An index, which lies in its axis."""
    if not isinstance(extent, Const) or i.constant is not None:
        return i
    low = 0 if i.low is None else max(i.low, 0)
    high = int(extent.value) - 1 if i.high is None else min(i.high, int(extent.value) - 1)
    return Index(i.code, i.strength, low, high) if low <= high else i


def element(scope: Scope, place: Place, at: tuple[Expr, ...]) -> str:
    """An element of a buffer, to read or to write."""
    if place.is_register:
        return place.name + "".join(f"[{index(scope, i).code}]" for i in at)
    return f"{place.name}[{flat(scope, place, at).code}]"
