"""From facts to what `te.ir.normal` and `te.ir.inequality` work with: replaced variables, linear facts."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import dataclass

from te.ir.division import floor_divide
from te.ir.expr import COMPARISONS, FALSE, Cast, Const, Expr, Load, Op, Var, sub
from te.ir.facts import Facts
from te.ir.inequality import is_positive
from te.ir.knowledge import Knowledge
from te.ir.linear import (
    Linear,
    TooManyTerms,
    atoms_of,
    composite,
    constant,
    multiply,
    of_atom,
    plus,
    reads_data,
    scale,
    subtract,
    variable,
    variables_of,
)
from te.ir.normal import (
    Context,
    comparison_forms,
    condition_parts,
    linear_of,
    primitive,
    simple,
    variable_form,
)
from te.ir.readable import to_expr
from te.ir.visit import variables, walk


def context_of(facts: Facts) -> Context:
    """The facts in linear form, worked out once for each `Facts`."""
    found = facts.cache.get("context")
    if not isinstance(found, Context):
        found = facts.cache["context"] = _extend(facts) or _build(facts)
    return found


def _build(facts: Facts, prior: _Prior | None = None) -> Context:
    """Equations first, since they replace variables; then what the ranges may need; the rest last."""
    context = Context(facts, context_of, divisors=dict(prior.divisors) if prior else {})
    known = context.known
    known.ranks = {name: rank for rank, (name, _, _) in enumerate(facts.ranges)}
    parts = [part for assumption in facts.assumptions for part in condition_parts(assumption)]
    parts = [part for part in parts if not _replace_variable(part, context)]
    parts = [part for part in parts if not _note_divisor(part, context)]
    for form in prior.positive if prior else ():
        known.tell(plus(form, -1))
    for name in context.divisors:
        if name not in known.ranks:
            known.tell(variable_form(name, context))
    early = [part for part in parts if _is_about_sizes(part, context)]
    for part in early:
        _assume(part, context)
    for name, low, high in facts.ranges:
        with suppress(TooManyTerms):
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
        facts,
        context_of,
        known=known,
        replaced=dict(base.replaced),
        divisors=dict(base.divisors),
        truths=set(base.truths),
        unequal=list(base.unequal),
    )
    if len(facts.ranges) > len(facts.base.ranges):
        name, low, high = facts.ranges[-1]
        if _is_mentioned(name, context):
            return None
        known.ranks[name] = len(known.ranks)
        with suppress(TooManyTerms):
            _tell_range(name, linear_of(low, context), linear_of(high, context), context)
    else:
        for part in condition_parts(facts.assumptions[-1]):
            if isinstance(part, Op) and part.op == "==":
                return None
            _assume(part, context)
    is_news = any(is_positive(d, known) and not is_positive(d, base.known) for d in _doubtful_divisors(known))
    return None if is_news else _completed(context)


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
    value = variable_form(name, context)
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
            try:
                gap = subtract(linear_of(a, context), linear_of(b, context))
            except TooManyTerms:
                return False
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
    plain = Context(context.facts, context_of, replaced=context.replaced)  # without the divisors noted so far
    plain.known.ranks = context.known.ranks
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
    forms = comparison_forms(condition, context)
    fails = condition == FALSE or any(not form.terms and form.constant < 0 for form in forms or ())
    if fails and not any(isinstance(node, Load | Cast) for node in walk(condition)):
        context.known.is_empty = (
            True  # what follows from data is told by few, and the verifier is none of them
        )
    if forms is None:
        context.truths |= {condition, simple(condition, context)}
        return
    for form in forms:
        context.known.tell(form)
    pair = _divisible(condition)
    with suppress(TooManyTerms):
        if isinstance(condition, Op) and condition.op == "!=":
            a, b = condition.args
            context.unequal.append(primitive(subtract(linear_of(a, context), linear_of(b, context))))
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
