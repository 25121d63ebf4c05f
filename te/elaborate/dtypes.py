"""Dtypes of expressions: literals take the type of their context, nothing else converts by itself.

While an expression is elaborated, a literal (and what is computed from literals
alone) has the dtype `LITERAL_INT` or `LITERAL_FLOAT`. `coerce` gives it the type
of its context. A `const` parameter of kind `int` is a literal too: it stands as
`Load(name, (), LITERAL_INT)` until its context is known, then becomes a `Var`
(in index arithmetic) or a number.
"""

from __future__ import annotations

import math

from te.diagnostics import Diagnostic, Span, error
from te.elaborate.limits import limited
from te.elaborate.scope import Scope
from te.ir.expr import COMPARISONS, Cast, Const, Expr, Load, Op, Select, Var
from te.ir.floats import nearest
from te.ir.types import BOOL, F32, I64, LITERAL_FLOAT, LITERAL_INT, DType, integer_limits
from te.ir.visit import children

LITERALS = (LITERAL_INT, LITERAL_FLOAT)
MAX_POWER = 64


def is_literal(e: Expr) -> bool:
    return e.dtype in LITERALS


def coerce(scope: Scope, e: Expr, dtype: DType, span: Span) -> Expr:
    """`e` as a value of `dtype`: literals are retyped; anything else must have that type already."""
    if not is_literal(e):
        if e.dtype != dtype:
            scope.fail(_mismatch(e.dtype, dtype, span))
        return e
    if dtype == BOOL:
        scope.fail(
            error("number-as-bool", "expected a condition, found a number", span, help="compare it: `x != 0`")
        )
    if e.dtype == LITERAL_FLOAT and not dtype.is_float:
        scope.fail(
            error(
                "float-literal-in-integer",
                f"a float literal where {dtype} is expected",
                span,
                help=f"write an integer, or cast the other operand to a float, as in `f32(x)`; its type is {dtype}",
            )
        )
    return _retype(scope, e, dtype, span)


def _retype(scope: Scope, e: Expr, dtype: DType, span: Span) -> Expr:
    match e:
        case Const(value=value):
            return _literal(scope, value, dtype, span)
        case Load(buffer=name, index=index):
            if name in scope.consts:
                return _const_value(scope, name, dtype, span)
            return Load(name, index, dtype)  # of a tensor whose type is being looked for
        case Op(op="/") if not dtype.is_float:
            scope.fail(_integer_division(dtype, span))
        case Op(op="**", args=(base, exponent)):
            return power(scope, _retype(scope, base, dtype, span), exponent, span)
        case Op(op=op, args=args):
            return Op(op, tuple(_retype(scope, a, dtype, span) if is_literal(a) else a for a in args), dtype)
        case Select(condition=c, then=a, otherwise=b):
            return Select(c, _retype(scope, a, dtype, span), _retype(scope, b, dtype, span))
    raise AssertionError(f"not a literal expression: {e}")


def _literal(scope: Scope, value: int | float | bool, dtype: DType, span: Span) -> Const:
    if dtype.is_float:
        return _float_literal(scope, value, dtype, span)
    low, high = integer_limits(dtype)
    if not low <= value <= high:
        scope.fail(
            error(
                "literal-out-of-range",
                f"{value} does not fit {dtype}",
                span,
                f"{dtype} spans {low} .. {high}",
                help="cast it where wrapping is meant, or compute in a wider type",
            )
        )
    return Const(int(value), dtype)


def _float_literal(scope: Scope, value: int | float | bool, dtype: DType, span: Span) -> Const:
    """The nearest value of the type, so that equal constants are equal whatever was written.

    Expressions of narrow floats are computed in f32, and so are their literals f32.
    """
    rounded = nearest(value, F32 if dtype.is_narrow else dtype)
    if math.isinf(rounded) and abs(value) != math.inf:
        scope.fail(
            error(
                "literal-out-of-range",
                f"{value} does not fit {dtype}",
                span,
                help="compute in `f64`, or write `inf`",
            )
        )
    return Const(rounded, dtype)


def _const_value(scope: Scope, name: str, dtype: DType, span: Span) -> Expr:
    const = scope.consts[name]
    if dtype == I64 and const.kind == "int":
        return Var(name)
    # An unknown value only occurs while a file is checked; any number has the right type.
    return _literal(scope, const.value if const.value is not None else 1, dtype, span)


def zero(dtype: DType) -> Const:
    """Zero, or false."""
    if dtype == BOOL:
        return Const(False, BOOL)
    return Const(0.0 if dtype.is_float or dtype == LITERAL_FLOAT else 0, dtype)


def unify(scope: Scope, a: Expr, a_span: Span, b: Expr, b_span: Span) -> tuple[Expr, Expr]:
    """Two operands of one operator, brought to one dtype."""
    if a.dtype == b.dtype:
        return a, b
    if is_literal(a) and is_literal(b):
        return a, b  # an integer and a float literal: together a float literal
    if is_literal(a):
        return coerce(scope, a, b.dtype, a_span), b
    if is_literal(b):
        return a, coerce(scope, b, a.dtype, b_span)
    scope.fail(
        error(
            "operand-types-differ",
            f"the operands have different types, {a.dtype} and {b.dtype}",
            a_span.to(b_span),
            help=f"{_cast_help(a.dtype, b.dtype)}; nothing converts by itself",
        )
    )


def common_type(a: Expr, b: Expr) -> DType:
    """The dtype of two unified operands."""
    return LITERAL_FLOAT if LITERAL_FLOAT in (a.dtype, b.dtype) else a.dtype


def settle(scope: Scope, e: Expr, span: Span) -> Expr:
    """Give an expression without context its type: an integer literal is i64, a float needs a cast."""
    if e.dtype == LITERAL_INT:
        return coerce(scope, e, I64, span)
    if e.dtype == LITERAL_FLOAT:
        scope.fail(
            error(
                "float-needs-type",
                "nothing here says which float type this literal has",
                span,
                help="cast it: `f32(...)` or `f64(...)`",
            )
        )
    return e


def power(scope: Scope, base: Expr, exponent: Expr, span: Span) -> Expr:
    """`base ** exponent`. An integer power is written out as multiplications."""
    if base.dtype.is_float:
        exponent = coerce(scope, exponent, base.dtype, span)
        if isinstance(exponent, Const) and exponent.value == 2.0:
            return Op("*", (base, base), base.dtype)
        return Op("pow", (base, exponent), base.dtype)
    count = literal_integer(scope, exponent)
    if count is None or count < 0:
        scope.fail(
            error(
                "integer-power",
                "an integer power needs a literal or `const` exponent that is not negative",
                span,
                help="cast the base to a float, as in `f32(x) ** y`",
            )
        )
    if count > MAX_POWER:
        scope.fail(
            error(
                "power-too-large",
                f"the exponent {count} is larger than {MAX_POWER}",
                span,
                help="write a loop or a float power",
            )
        )
    return limited(scope, _repeated_product(base, count), span)


def _repeated_product(base: Expr, count: int) -> Expr:
    result: Expr | None = None
    square = base
    while count:
        if count & 1:
            result = square if result is None else Op("*", (result, square), base.dtype)
        count >>= 1
        if count:
            square = Op("*", (square, square), base.dtype)
    return result if result is not None else Const(1, base.dtype)


def literal_integer(scope: Scope, e: Expr) -> int | None:
    """The value of a constant integer expression of small size, else None.

    Works on what stands before and after `coerce`. Values stay below 2**64, so
    that `9 ** 9 ** 9` is refused instead of computed.
    """
    match e:
        case Const(value=bool()):
            return None
        case Const(value=int(value)):
            return value
        case Load(buffer=name, index=()) | Var(name=name) if name in scope.consts:
            fixed = scope.consts[name].value
            return fixed if isinstance(fixed, int) else None
        case Op(op=op, args=args):
            values = [literal_integer(scope, a) for a in args]
            known = [v for v in values if v is not None]
            return _fold(op, known) if len(known) == len(values) else None
    return None


def _fold(op: str, values: list[int]) -> int | None:
    match op, values:
        case "neg", [a]:
            result = -a
        case "+", [a, b]:
            result = a + b
        case "-", [a, b]:
            result = a - b
        case "*", [a, b]:
            result = a * b
        case "//", [a, b]:
            result = a // b if b else 0
        case "%", [a, b]:
            result = a % b if b else 0
        case "**", [a, b] if 0 <= b <= MAX_POWER:
            result = a**b
        case _:
            return None
    return result if abs(result) < 1 << 64 else None


def check_operand(scope: Scope, op: str, kind: str, operand: Expr, span: Span) -> None:
    """Refuse an operator on a dtype that it does not take."""
    dtype = operand.dtype
    if dtype == BOOL:
        if kind in ("bool", "any"):
            return
        help_text = "`and`, `or`, `not` combine conditions; `where(c, 1, 0)` makes a number of one"
        scope.fail(error("arithmetic-on-bool", f"`{op}` does not take bool", span, help=help_text))
    if kind == "bool":
        scope.fail(
            error(
                "number-as-bool",
                f"`{op}` takes a condition, found {dtype}",
                span,
                help="compare it: `x != 0`",
            )
        )
    if kind == "integer" and (dtype.is_float or dtype == LITERAL_FLOAT):
        scope.fail(
            error(
                "integers-only",
                f"`{op}` is for integers, found {dtype}",
                span,
                help=f"cast: `i32(x) {op} ...`",
            )
        )
    if kind == "float" and dtype.is_integer:
        if op == "/":
            scope.fail(_integer_division(dtype, span))
        scope.fail(
            error(
                "floats-only",
                f"`{op}` is for floats, found {dtype}",
                span,
                help=f"cast the argument: `{op}(f32(x))`",
            )
        )


def coerce_index(scope: Scope, e: Expr, span: Span) -> Expr:
    """An index, as i64; data of another integer type is widened."""
    if is_literal(e):
        return coerce(scope, e, I64, span)
    if e.dtype.is_integer:
        return e if e.dtype == I64 else Cast(e, I64)
    scope.fail(
        error("index-not-integer", f"an index is an integer, found {e.dtype}", span, help="cast: `i64(...)`")
    )


def result_type(op: str, operand: DType) -> DType:
    return BOOL if op in COMPARISONS else operand


def depends_on_data(e: Expr) -> bool:
    """Whether an expression reads a tensor or a run-time scalar."""
    if isinstance(e, Load) and e.dtype not in LITERALS:
        return True
    return any(depends_on_data(c) for c in children(e))


def _mismatch(found: DType, expected: DType, span: Span) -> Diagnostic:
    help_text = f"cast it: `{expected}(...)`" if expected != BOOL else "compare it: `x != 0`"
    return error("type-mismatch", f"expected {expected}, found {found}", span, help=help_text)


def _integer_division(dtype: DType, span: Span) -> Diagnostic:
    return error(
        "integer-division",
        f"`/` on integers ({dtype})",
        span,
        help="`//` divides and rounds down; `f32(a) / f32(b)` divides exactly",
    )


def _cast_help(a: DType, b: DType) -> str:
    if a.is_narrow and b.is_narrow:  # neither holds the other's values
        return "cast both, as in `f32(...)`"
    ranked = sorted((a, b), key=lambda t: (t.is_float, t.bits))
    return f"cast one of them, as in `{ranked[-1] if ranked[-1] != BOOL else ranked[0]}(...)`"
