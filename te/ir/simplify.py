"""Expressions in their simplest form, and the linear forms of index expressions.

`simplify` preserves the value of any expression. Index arithmetic goes through the canonical
form, so equal polynomials become equal expressions. What depends on data (a `Load` or a `Cast`
inside) wraps and is no polynomial: sums and products of it stay as they are, over simplified
operands. `min`, `max`, `%` and division by a positive constant do not wrap, and are understood.
Float arithmetic is left alone.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass, field

from te.ir.division import extreme, floor_divide, remainder
from te.ir.evaluate import fold_integers
from te.ir.expr import (
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
    sub,
)
from te.ir.facts import NO_FACTS, Facts
from te.ir.inequality import is_never_zero, is_nonnegative, is_positive
from te.ir.knowledge import Fact, Knowledge, fact
from te.ir.linear import (
    Linear,
    TooManyTerms,
    add,
    atoms_of,
    composite,
    constant,
    divide_exactly,
    multiply,
    of_atom,
    opaque,
    plus,
    reads_data,
    scale,
    subtract,
    tighten,
    variable,
    variables_of,
    weight,
)
from te.ir.readable import comparison, to_expr
from te.ir.types import BOOL, I64, DType, integer_limits, wrap_integer
from te.ir.visit import children, variables, with_children

COMPARISONS = frozenset({"<", "<=", ">", ">=", "==", "!="})
MAX_REMEMBERED = 20_000


@dataclass
class Context:
    """Facts in linear form, and the forms found under them."""

    facts: Facts
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

    def given(self, condition: Expr, about: Expr) -> Context:
        """The context where the condition holds too, if that can matter for the expression."""
        if isinstance(about, Const) or not self.is_complete:
            return self
        if condition not in self.inner:
            self.inner[condition] = context_of(self.facts.with_assumption(condition))
        return self.inner[condition]

    def forget(self) -> None:
        self.forms, self.simple, self.inner = {}, {}, {}


def simplify(e: Expr, facts: Facts = NO_FACTS) -> Expr:
    """An expression of the same value wherever the facts hold.

    >>> from te.ir.expr import floor_div, integer
    >>> i, n = Var("i"), Var("N")
    >>> facts = NO_FACTS.with_range("i", integer(0), integer(7))
    >>> simplify(floor_div(Op("+", (Op("*", (integer(8), n), I64), i), I64), integer(8)), facts)
    Var(name='N')
    """
    try:
        return simple(e, context_of(facts))
    except RecursionError:
        return e  # hundreds of levels deep


def simple(e: Expr, context: Context) -> Expr:
    found = context.simple.get(id(e))
    if found is None:
        result = _simple(e, context)
        if len(context.simple) > MAX_REMEMBERED:
            context.forget()
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
            return _fold_cast(value, dtype) or e
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
    if reads_data(left) or reads_data(right):
        return compare(op, to_expr(left), to_expr(right))
    return comparison(op, subtract(right, left), context.known.ranks)


# ---------------------------------------------------------------- linear forms


def linear_of(e: Expr, context: Context) -> Linear:
    """The linear form of an integer expression: the same value wherever the facts hold."""
    found = context.forms.get(id(e))
    if found is None:
        found = context.forms[id(e)] = (e, _linear_of(e, context))
    return found[1]


def _linear_of(e: Expr, context: Context) -> Linear:
    match e:
        case Const(int(value), _):
            return constant(int(value))
        case Var(name):
            return _variable(name, context)
        case Op("+" | "-" | "*" | "//" | "%" | "neg" | "min" | "max" | "abs" as op, args, DType("i64")):
            operands: list[Linear] = []
            for arg in args:
                operands.append(linear_of(arg, context))
            try:
                if any(reads_data(operand) for operand in operands):
                    form = _of_data(op, operands, context)
                else:
                    form = _arithmetic(op, operands, context.known)
            except TooManyTerms:
                form = None
            if form is None:
                form = of_atom(opaque(Op(op, tuple([to_expr(operand) for operand in operands]), I64)))
            return form
        case Select(condition, then, otherwise):
            return _select(condition, then, otherwise, context)
    source = with_children(e, _simple_children(e, context))
    if isinstance(source, Op):
        source = fold_integers(source)
    if isinstance(source, Cast):
        source = _fold_cast(source.value, source.dtype) or source
    if source != e and not isinstance(source, Load | Cast | Op):
        return linear_of(source, context)
    return of_atom(opaque(source))


def _variable(name: str, context: Context) -> Linear:
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


def _of_data(op: str, operands: list[Linear], context: Context) -> Linear | None:
    """Operators on data that cannot wrap; None for the others."""
    if op not in ("//", "%", "min", "max"):
        return None
    if op in ("//", "%") and (operands[1].terms or operands[1].constant <= 0):
        return None
    # A sum could wrap where its terms were regrouped: it counts as one atom.
    whole = [_one_atom(operand) if reads_data(operand) else operand for operand in operands]
    return _arithmetic(op, whole, context.known)


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
        fact(tighten(form)) for part in _parts(condition) for form in _comparison_forms(part, context) or []
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
    return is_never_zero(gap, known) or _primitive(gap) in context.unequal


def _primitive(form: Linear) -> Linear:
    """The form up to a factor: it is 0 where the given one is."""
    common = math.gcd(*form.terms.values(), form.constant) or 1
    first = form.terms[min(form.terms, key=weight)] if form.terms else 1
    return divide_exactly(form, constant(common if first > 0 else -common)) or form


def _comparison_forms(condition: Expr, context: Context) -> list[Linear] | None:
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


def _parts(condition: Expr) -> list[Expr]:
    """The conjuncts, with `not` moved inward."""
    parts: list[Expr] = []
    for part in conjuncts(condition):
        match part:
            case Op("not", (Op("or", (a, b), _),), _):
                parts += _parts(negation(a)) + _parts(negation(b))
            case Op("not", (inner,), _) if negation(inner) != part:
                parts += _parts(negation(inner))
            case _:
                parts.append(part)
    return parts


# ---------------------------------------------------------------- from facts to a context


def context_of(facts: Facts) -> Context:
    """The facts in linear form, worked out once for each `Facts`."""
    found = facts.cache.get("context")
    if not isinstance(found, Context):
        found = facts.cache["context"] = _extend(facts) or _build(facts)
    return found


def _build(facts: Facts, prior: _Prior | None = None) -> Context:
    """Equations first, since they replace variables; then what the ranges may need; the rest last."""
    context = Context(facts, divisors=dict(prior.divisors) if prior else {})
    known = context.known
    known.ranks = {name: rank for rank, (name, _, _) in enumerate(facts.ranges)}
    parts = [part for assumption in facts.assumptions for part in _parts(assumption)]
    parts = [part for part in parts if not _replace_variable(part, context)]
    parts = [part for part in parts if not _note_divisor(part, context)]
    for form in prior.positive if prior else ():
        known.tell(plus(form, -1))
    for name in context.divisors:
        if name not in known.ranks:
            known.tell(_variable(name, context))
    early = [part for part in parts if _is_about_sizes(part, context)]
    for part in early:
        _assume(part, context)
    for name, low, high in facts.ranges:
        _tell_range(name, linear_of(low, context), linear_of(high, context), context)
    for part in parts:
        if part not in early:
            _assume(part, context)
    if prior is None:
        positive = [divisor for divisor in _doubtful_divisors(known) if is_positive(divisor, known)]
        prior = _Prior(_symbolic_divisors(parts, context), positive)
        if prior.divisors or prior.positive:
            return _build(facts, prior)
    return _completed(context)


@dataclass(frozen=True)
class _Prior:
    """What all facts together show, but some of them needed to be understood: they are told again."""

    divisors: dict[str, tuple[int, Linear]]
    positive: list[Linear]  # `ii < P` shows that P is none of the divisors that may be 0


def _extend(facts: Facts) -> Context | None:
    """From the context of the facts that these extend by one; None where that may change how those read."""
    if facts.base is None:
        return None
    base = context_of(facts.base)
    known = base.known.copy()
    context = Context(
        facts, known, dict(base.replaced), dict(base.divisors), set(base.truths), list(base.unequal)
    )
    if len(facts.ranges) > len(facts.base.ranges):
        name, low, high = facts.ranges[-1]
        if _is_mentioned(name, context):
            return None
        known.ranks[name] = len(known.ranks)
        _tell_range(name, linear_of(low, context), linear_of(high, context), context)
    else:
        for part in _parts(facts.assumptions[-1]):
            if isinstance(part, Op) and part.op == "==":
                return None
            _assume(part, context)
    return None if _doubtful_divisors(known) else _completed(context)


def _completed(context: Context) -> Context:
    context.forget()  # what was worked out on the way did not know all
    context.is_complete = True
    return context


def _is_mentioned(name: str, context: Context) -> bool:
    """Whether what is known takes the name for a size."""
    known = context.known
    forms = [*_forms_of(known), *context.unequal]
    return (
        name in context.replaced
        or name in context.divisors
        or any(name in variables(value) for value in context.replaced.values())
        or any(name in variables_of(form) for form in forms)
    )


def _forms_of(known: Knowledge) -> list[Linear]:
    return [form for ends in known.ranges.values() for form in ends] + [fact.form for fact in known.facts]


def _doubtful_divisors(known: Knowledge) -> list[Linear]:
    """Divisors that were taken for possible zeros."""
    pending, found = _forms_of(known), []
    while pending:
        for atom in atoms_of(pending.pop()):
            pending += atom.parts
            if atom.kind in ("total //", "total %"):
                found.append(atom.parts[1])
    return found


def _is_about_sizes(condition: Expr, context: Context) -> bool:
    match condition:
        case Op(op, (a, b), _) if op in COMPARISONS and a.dtype.is_integer:
            forms = [linear_of(a, context), linear_of(b, context)]
            return all(
                atom.kind in ("var", "exact") and atom.variables.isdisjoint(context.known.ranks)
                for form in forms
                for atom in atoms_of(form)
            )
    return False


def _tell_range(name: str, low: Linear, high: Linear, context: Context) -> None:
    known = context.known
    value = _variable(name, context)
    if name in context.replaced:
        known.tell(subtract(value, low))
        known.tell(subtract(high, value))
    elif name in context.divisors:
        offset, divisor = context.divisors[name]
        atom = composite("exact", plus(of_atom(variable(name)), offset), divisor)
        first = floor_divide(plus(low, offset + divisor.constant - 1), divisor, known)
        known.tell_range(atom, first, floor_divide(plus(high, offset), divisor, known))
    elif low == high:
        context.replaced[name] = to_expr(low)
        context.forget()
    else:
        known.tell_range(variable(name), low, high)


def _replace_variable(condition: Expr, context: Context) -> bool:
    """Take `v == e` as a definition of `v`, if `v` is innermost in it and stands alone."""
    match condition:
        case Op("==", (a, b), _) if a.dtype.is_integer:
            gap = subtract(linear_of(a, context), linear_of(b, context))
        case _:
            return False
    if any(atom.kind != "var" for atom in atoms_of(gap)):
        return False
    ranks = {name: context.known.ranks.get(name, -1) for name in variables_of(gap)}
    candidates: list[tuple[bool, str, Linear]] = []
    for product, k in gap.terms.items():
        name = product[0].text
        if len(product) > 1 or abs(k) != 1 or ranks[name] < max(ranks.values()):
            continue
        value = scale(Linear({p: c for p, c in gap.terms.items() if p is not product}, gap.constant), -k)
        if name not in variables_of(value):
            candidates.append((min(value.terms.values(), default=1) > 0, name, value))
    if not candidates:
        return False
    _, name, value = max(candidates, key=lambda candidate: candidate[:2])
    context.replaced[name] = to_expr(value)
    context.forget()
    if ranks[name] < 0:
        context.known.tell(value)
    return True


def _divisible(condition: Expr) -> tuple[Expr, Expr] | None:
    """`(x - r, d)` of the condition `x % d == r`."""
    match condition:
        case Op("==", (Op("%", (x, d), _), Const(0)), _) | Op("==", (Const(0), Op("%", (x, d), _)), _):
            return x, d
        case Op("==", (Op("%", (x, Const(int(by)) as d), _), Const(int(rest)) as r), _) if 0 < rest < by:
            return sub(x, r), d
    return None


def _note_divisor(condition: Expr, context: Context) -> bool:
    """Note `(v + c) % d == 0` for constants c and d."""
    pair = _divisible(condition)
    if pair is None:
        return False
    plain = Context(context.facts, replaced=context.replaced)  # without the divisors noted so far
    form, divisor = linear_of(pair[0], plain), linear_of(pair[1], plain)
    if divisor.terms or divisor.constant < 1 or len(form.terms) != 1:
        return False
    ((product, k),) = form.terms.items()
    if len(product) > 1 or product[0].kind != "var" or abs(k) != 1:
        return False
    name, offset = product[0].text, k * form.constant
    known_offset, known_divisor = context.divisors.get(name, (offset, constant(1)))
    if known_divisor.terms or (known_offset - offset) % known_divisor.constant:
        return False
    common = math.lcm(known_divisor.constant, divisor.constant)
    context.divisors[name] = (offset % common, constant(common))
    context.forget()
    return True


def _symbolic_divisors(parts: list[Expr], context: Context) -> dict[str, tuple[int, Linear]]:
    """From `M % P == 0`, where all else that is known shows that `P >= 1`."""
    divisors: dict[str, tuple[int, Linear]] = {}
    for x, d in filter(None, map(_divisible, parts)):
        divisor = linear_of(d, context)
        if not isinstance(x, Var) or not divisor.terms or len(divisor.terms) > 1 or divisor.constant:
            continue
        names = {x.name} | variables_of(divisor)
        taken = (
            context.replaced.keys() | context.divisors.keys() | divisors.keys() | context.known.ranks.keys()
        )
        if (
            x.name not in variables_of(divisor)
            and names.isdisjoint(taken)
            and is_positive(divisor, context.known)
        ):
            divisors[x.name] = (0, divisor)
    return divisors


def _assume(condition: Expr, context: Context) -> None:
    forms = _comparison_forms(condition, context)
    if forms is None:
        context.truths |= {condition, simple(condition, context)}
        return
    for form in forms:
        context.known.tell(form)
    if isinstance(condition, Op) and condition.op == "!=":
        a, b = condition.args
        context.unequal.append(_primitive(subtract(linear_of(a, context), linear_of(b, context))))
    pair = _divisible(condition)
    if pair is not None:
        _tell_multiple(linear_of(pair[0], context), linear_of(pair[1], context), context)


def _tell_multiple(form: Linear, divisor: Linear, context: Context) -> None:
    known = context.known
    if reads_data(form) or not is_positive(divisor, known) or divisor == constant(1):
        return
    rest = subtract(multiply(divisor, of_atom(composite("exact", form, divisor))), form)
    known.multiples.append((form, divisor))
    known.tell(rest)
    known.tell(scale(rest, -1))


# ---------------------------------------------------------------- casts of constants


def _fold_cast(value: Expr, dtype: DType) -> Expr | None:
    """The constant that a cast makes, where it is certain to the last bit; None for other casts."""
    if value.dtype == dtype:
        return value
    if not isinstance(value, Const):
        return None
    number = value.value
    if isinstance(number, float):
        rounded = _round_to(number, value.dtype)
        if rounded is None:
            return None
        if dtype == BOOL:
            return Const(rounded != 0, BOOL)
        if dtype.is_integer:
            return Const(_saturated(rounded, dtype), dtype)
        narrowed = _round_to(rounded, dtype)
        return None if narrowed is None else Const(narrowed, dtype)
    if dtype == BOOL:
        return Const(bool(number), BOOL)
    if dtype.is_integer:
        return Const(wrap_integer(int(number), dtype), dtype)
    exact = {"f32": 24, "f64": 53}.get(dtype.name)
    return Const(float(number), dtype) if exact is not None and abs(number) <= 1 << exact else None


def _round_to(number: float, dtype: DType) -> float | None:
    if dtype.name == "f64" or (dtype.name == "f32" and not math.isfinite(number)):
        return number
    if dtype.name != "f32":
        return None
    rounded: float = struct.unpack("f", struct.pack("f", number))[0]  # as C casts: too large gives inf
    return rounded


def _saturated(number: float, dtype: DType) -> int:
    low, high = integer_limits(dtype)
    if math.isnan(number):
        return 0
    return int(min(max(number, low), high)) if math.isinf(number) else min(max(int(number), low), high)
