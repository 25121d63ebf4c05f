"""Expressions into their simplest form, and index expressions into linear forms.

What comes out has the value of what goes in wherever the facts hold. Index arithmetic goes through
the canonical form, so equal polynomials become equal expressions. What depends on data (a `Load`
or a `Cast` inside) wraps and is no polynomial: sums and products of it stay as they are, over
simplified operands. `min`, `max`, `%` and division by a positive constant do not wrap, and are
understood. Float arithmetic is left alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from te.ir.division import extreme, floor_divide, remainder
from te.ir.expr import (
    COMPARISONS,
    FALSE,
    TRUE,
    Cast,
    Const,
    Expr,
    Load,
    Op,
    Select,
    Var,
    both,
    compare,
    conjuncts,
    negation,
)
from te.ir.facts import Facts
from te.ir.fold import fold_cast, fold_integers
from te.ir.inequality import is_never_zero, is_nonnegative, is_positive
from te.ir.knowledge import Fact, Knowledge, fact
from te.ir.linear import (
    Linear,
    TooManyTerms,
    add,
    composite,
    constant,
    divide_exactly,
    multiply,
    of_atom,
    opaque,
    plus,
    reads_data,
    scale,
    size_of,
    subtract,
    tighten,
    variable,
    weight,
)
from te.ir.readable import comparison, to_expr
from te.ir.types import BOOL, I64, DType, wrap_integer
from te.ir.visit import children, with_children

MAX_REMEMBERED = 20_000
MAX_SIZE = 2_000  # nodes of an index expression; its subexpressions repeat in the canonical form
MAX_GIVEN = 4  # nested conditions taken into account: each is a context of its own


@dataclass
class Context:
    """Facts in linear form, and the forms found under them."""

    facts: Facts
    context_of: Callable[[Facts], Context]  # te.ir.context builds on this module
    known: Knowledge = field(default_factory=Knowledge)
    replaced: dict[str, Expr] = field(default_factory=dict)  # by what an equation says they are
    # `name: (c, d)` where d >= 1 divides `name + c`.
    divisors: dict[str, tuple[int, Linear]] = field(default_factory=dict)
    truths: set[Expr] = field(default_factory=set)  # conditions that are no comparison of integers
    unequal: list[Linear] = field(default_factory=list)
    # By the identity of the expression, which the entry keeps alive.
    forms: dict[int, tuple[Expr, Linear]] = field(default_factory=dict)
    simple: dict[int, tuple[Expr, Expr]] = field(default_factory=dict)
    inner: dict[Expr, Context] = field(default_factory=dict)
    is_complete: bool = False  # all facts are told
    given_times: int = 0

    def given(self, condition: Expr, about: Expr) -> Context:
        """The context where the condition holds too, if that can matter for the expression."""
        if isinstance(about, Const) or not self.is_complete or self.given_times == MAX_GIVEN:
            return self
        if condition not in self.inner:
            inner = self.context_of(self.facts.with_assumption(condition))
            inner.given_times = self.given_times + 1
            self.inner[condition] = inner
        return self.inner[condition]

    def forget(self) -> None:
        """Drop what was derived: because more is known, or to free memory."""
        self.forms, self.simple, self.inner = {}, {}, {}
        self.known.forget()


def simple(e: Expr, context: Context) -> Expr:
    found = context.simple.get(id(e))
    if found is None:
        result = _simple(e, context)
        found = context.simple[id(e)] = (e, e if result == e else result)
    return found[1]


def _simple(e: Expr, context: Context) -> Expr:
    match e:
        case Const():
            return e
        case Var() | Op(_, _, DType("i64")):
            return to_expr(linear_of(e, context))
        case Select(_, then, _) if then.dtype == I64:
            return to_expr(linear_of(e, context))
        case Select(condition, then, otherwise):
            condition = simple(condition, context)
            if isinstance(condition, Const):
                return simple(then if condition.value else otherwise, context)
            then = simple(then, context.given(condition, then))
            otherwise = simple(otherwise, context.given(negation(condition), otherwise))
            return then if then == otherwise else Select(condition, then, otherwise)
        case Op(op, (a, b), _) if op in COMPARISONS and a.dtype.is_integer:
            return _simple_comparison(op, a, b, context)
        case Op("and" | "or" | "not", _, _):
            return _simple_logic(e, context)
    e = with_children(e, _simple_children(e, context))
    match e:
        case Op():
            return fold_integers(e)
        case Cast(value, dtype):
            return fold_cast(value, dtype) or e
    return e


def _simple_children(e: Expr, context: Context) -> tuple[Expr, ...]:
    new: list[Expr] = []
    for child in children(e):  # no comprehension, here and below: it would deepen the recursion
        new.append(simple(child, context))
    return tuple(new)


def _simple_logic(e: Op, context: Context) -> Expr:
    if e.op == "not":
        turned = negation(e.args[0])
        if isinstance(turned, Op) and turned.op == "not":
            inner = simple(turned.args[0], context)
            return negation(inner) if inner == turned.args[0] else simple(negation(inner), context)
        return simple(turned, context)
    decisive = FALSE if e.op == "and" else TRUE
    left = simple(e.args[0], context)
    if isinstance(left, Const):
        return left if left == decisive else simple(e.args[1], context)
    right = simple(e.args[1], context.given(left if e.op == "and" else negation(left), e.args[1]))
    if isinstance(right, Const):
        return right if right == decisive else left
    return both(left, right) if e.op == "and" else Op("or", (left, right), BOOL)


def _simple_comparison(op: str, a: Expr, b: Expr, context: Context) -> Expr:
    if holds_comparison(op, a, b, context):
        return TRUE
    turned = negation(compare(op, a, b))
    assert isinstance(turned, Op)
    if holds_comparison(turned.op, a, b, context):
        return FALSE
    if a.dtype != I64:
        return compare(op, simple(a, context), simple(b, context))
    left, right = linear_of(a, context), linear_of(b, context)
    if not reads_data(left) and not reads_data(right):
        try:
            return comparison(op, subtract(right, left), context.known.ranks)
        except TooManyTerms:
            pass
    return compare(op, to_expr(left), to_expr(right))


# ---------------------------------------------------------------- linear forms


def linear_of(e: Expr, context: Context) -> Linear:
    """The linear form of an integer expression: the same value wherever the facts hold."""
    found = context.forms.get(id(e))
    if found is None:
        if len(context.forms) > MAX_REMEMBERED:
            context.forget()
        found = context.forms[id(e)] = (e, _linear_of(e, context))
    return found[1]


def _linear_of(e: Expr, context: Context) -> Linear:
    match e:
        case Const(int(value), _):
            return constant(int(value))
        case Var(name):
            return variable_form(name, context)
        case Op("+" | "-" | "*" | "//" | "%" | "neg" | "min" | "max" | "abs" as op, args, DType("i64")):
            operands: list[Linear] = []
            for arg in args:
                operands.append(linear_of(arg, context))
            form = _combine(op, operands, context.known)
            return of_atom(composite(f"raw {op}", *operands)) if form is None else form
        case Select(condition, then, otherwise):
            return _select(condition, then, otherwise, context)
    source = with_children(e, _simple_children(e, context))
    if isinstance(source, Op):
        source = fold_integers(source)
    if isinstance(source, Cast):
        source = fold_cast(source.value, source.dtype) or source
    if source != e and not isinstance(source, Load | Cast | Op):
        return linear_of(source, context)
    return of_atom(opaque(source))


def variable_form(name: str, context: Context) -> Linear:
    if name in context.replaced:
        return linear_of(context.replaced[name], context)
    raw = of_atom(variable(name))
    if name in context.divisors:
        offset, divisor = context.divisors[name]
        return plus(multiply(divisor, of_atom(composite("exact", plus(raw, offset), divisor))), -offset)
    return raw


def _arithmetic(op: str, operands: list[Linear], known: Knowledge) -> Linear:
    match op, operands:
        case "+", (a, b):
            return add(a, b)
        case "-", (a, b):
            return subtract(a, b)
        case "*", (a, b):
            return multiply(a, b)
        case "neg", (a,):
            return scale(a, -1)
        case "//", (a, b):
            return floor_divide(a, b, known)
        case "%", (a, b):
            return remainder(a, b, known)
        case "abs", (a,):
            return extreme("max", [a, scale(a, -1)], known)
    return extreme(op, operands, known)


def _combine(op: str, operands: list[Linear], known: Knowledge) -> Linear | None:
    """The form of an operator; None where it might wrap or where the form would be too large."""
    try:
        if not any(reads_data(operand) for operand in operands):
            form = _arithmetic(op, operands, known)
            if not any(part.terms for part in (form, *operands)):
                return constant(wrap_integer(form.constant, I64))  # what was data before it was known
            return form if size_of(form) <= MAX_SIZE else None
        # On data only some operators cannot wrap. A sum is one atom: regrouped, its terms could wrap.
        positive = not operands[-1].terms and operands[-1].constant > 0
        if op in ("min", "max") or (op in ("//", "%") and positive):
            return _arithmetic(op, [_one_atom(o) if reads_data(o) else o for o in operands], known)
    except TooManyTerms:
        pass
    return None


def _one_atom(form: Linear) -> Linear:
    if len(form.terms) == 1 and not form.constant:
        ((product, k),) = form.terms.items()
        if len(product) == 1 and k == 1:
            return form
    return of_atom(opaque(to_expr(form)))


def _select(condition: Expr, then: Expr, otherwise: Expr, context: Context) -> Linear:
    condition = simple(condition, context)
    if isinstance(condition, Const):
        return linear_of(then if condition.value else otherwise, context)
    opposite = negation(condition)
    first = linear_of(then, context.given(condition, then))
    second = linear_of(otherwise, context.given(opposite, otherwise))
    if first == second:
        return first
    atom = composite("select", first, second, condition=condition)
    context.known.cases[atom] = (_consequences(condition, context), _consequences(opposite, context))
    return of_atom(atom)


def _consequences(condition: Expr, context: Context) -> list[Fact]:
    return [
        fact(tighten(form))
        for part in condition_parts(condition)
        for form in comparison_forms(part, context) or []
    ]


# ---------------------------------------------------------------- conditions


def holds_comparison(op: str, a: Expr, b: Expr, context: Context) -> bool:
    """Whether a comparison of integers is proved."""
    known = context.known
    try:
        gap = subtract(linear_of(b, context), linear_of(a, context))
    except TooManyTerms:
        return False
    match op:
        case "<=":
            return is_nonnegative(gap, known)
        case "<":
            return is_positive(gap, known)
        case ">=":
            return is_nonnegative(scale(gap, -1), known)
        case ">":
            return is_positive(scale(gap, -1), known)
        case "==":
            return is_nonnegative(gap, known) and is_nonnegative(scale(gap, -1), known)
    return is_never_zero(gap, known) or primitive(gap) in context.unequal


def primitive(form: Linear) -> Linear:
    """The form up to a factor: it is 0 where the given one is."""
    common = math.gcd(*form.terms.values(), form.constant) or 1
    first = form.terms[min(form.terms, key=weight)] if form.terms else 1
    return divide_exactly(form, constant(common if first > 0 else -common)) or form


def comparison_forms(condition: Expr, context: Context) -> list[Linear] | None:
    """The forms that are >= 0 where a comparison of integers holds; None for other conditions."""
    match condition:
        case Op(op, (a, b), _) if op in COMPARISONS and a.dtype.is_integer:
            try:
                gap = subtract(linear_of(b, context), linear_of(a, context))
            except TooManyTerms:
                return []
            back = scale(gap, -1)
            match op:
                case "<=":
                    return [gap]
                case "<":
                    return [plus(gap, -1)]
                case ">=":
                    return [back]
                case ">":
                    return [plus(back, -1)]
                case "==":
                    return [gap, back]
            if is_nonnegative(gap, context.known):
                return [plus(gap, -1)]
            return [plus(back, -1)] if is_nonnegative(back, context.known) else []
    return None


def condition_parts(condition: Expr) -> list[Expr]:
    """The conjuncts, with `not` moved inward."""
    parts: list[Expr] = []
    for part in conjuncts(condition):
        match part:
            case Op("not", (Op("or", (a, b), _),), _):
                parts += condition_parts(negation(a)) + condition_parts(negation(b))
            case Op("not", (inner,), _) if negation(inner) != part:
                parts += condition_parts(negation(inner))
            case _:
                parts.append(part)
    return parts
