"""From the canonical form back to an expression that a person would have written.

Equal forms give equal expressions. Positive terms come first, of higher degree first; the
constant comes last; `x - 8*(x // 8)` is written `x % 8` and `12*(M // 12)`, where 12 is known to
divide M, is written `M`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from math import gcd
from operator import attrgetter

from te.ir.expr import (
    Expr,
    Op,
    Select,
    add,
    compare,
    floor_div,
    floor_mod,
    integer,
    maximum,
    minimum,
    mul,
    sub,
)
from te.ir.linear import (
    Atom,
    Linear,
    Product,
    TooManyTerms,
    atoms_of,
    composite,
    constant,
    divide_exactly,
    monomial,
    multiply,
    of_atom,
    plus,
    scale,
    subtract,
    tighten,
    variables_of,
    weight,
    without,
)
from te.ir.linear import (
    add as add_forms,
)
from te.ir.types import I64

DEEP = 16


def to_expr(form: Linear) -> Expr:
    """The expression of a form.

    >>> from te.ir.linear import of_atom, variable
    >>> to_expr(plus(of_atom(variable("N")), -1))
    Op(op='-', args=(Var(name='N'), Const(value=1, dtype=i64)), dtype=i64)
    """
    form = _readable(form)
    signed = sorted(form.terms.items(), key=_place)
    result: Expr | None = (
        integer(form.constant) if form.constant > 0 and all(k < 0 for _, k in signed) else None
    )
    shown = result is not None
    for product, coefficient in signed:
        if result is None:
            result = _term(product, coefficient)
        elif coefficient > 0:
            result = add(result, _term(product, coefficient))
        else:
            result = sub(result, _term(product, -coefficient))
    if result is None:
        return integer(form.constant)
    if form.constant and not shown:
        result = (add if form.constant > 0 else sub)(result, integer(abs(form.constant)))
    return result


def comparison(op: str, gap: Linear, ranks: Mapping[str, int]) -> Expr:
    """The comparison `a op b` of integers for `gap == b - a`, each term on the side where it is positive.

    Equivalent comparisons of polynomials give equal expressions. The innermost variable, by
    `ranks`, stands on the left.
    """
    if op in (">", ">="):
        gap = scale(gap, -1)
    if op in ("==", "!="):
        return _equality(op, gap, ranks)
    return _inequality(_readable(tighten(gap if op in ("<=", ">=") else plus(gap, -1))), ranks)


def _inequality(form: Linear, ranks: Mapping[str, int]) -> Expr:
    """`form >= 0`."""
    less, more, offset = _part(form, -1), _part(form, 1), form.constant
    if not less.terms or _rank(more, ranks) > _rank(less, ranks):
        if offset == -1 and less.terms:
            return compare(">", to_expr(more), to_expr(less))
        return compare(">=", to_expr(more), to_expr(plus(less, -offset)))
    if offset == 0 and more.terms:
        return compare("<=", to_expr(less), to_expr(more))
    return compare("<", to_expr(less), to_expr(plus(more, offset + 1)))


def _equality(op: str, gap: Linear, ranks: Mapping[str, int]) -> Expr:
    common = gcd(*gap.terms.values(), gap.constant) or 1
    form = _readable(Linear({p: k // common for p, k in gap.terms.items()}, gap.constant // common))
    ends = _rank(_part(form, -1), ranks), _rank(_part(form, 1), ranks)
    first = min(form.terms, key=lambda p: (-len(p), [atom.text for atom in p]), default=())
    if ends[0] > ends[1] or (ends[0] == ends[1] and form.terms.get(first, 1) < 0):
        form = scale(form, -1)
    left, right = _part(form, 1), _part(form, -1)
    if form.constant > 0 and right.terms:
        left = plus(left, form.constant)
    else:
        right = plus(right, -form.constant)
    return compare(op, to_expr(left), to_expr(right))


def _part(form: Linear, sign: int) -> Linear:
    """The positive terms, or the negative ones turned positive; no constant."""
    return Linear({p: sign * k for p, k in form.terms.items() if sign * k > 0}, 0)


def _rank(form: Linear, ranks: Mapping[str, int]) -> int:
    return max((ranks.get(name, -1) for name in variables_of(form)), default=-2)


def _readable(form: Linear) -> Linear:
    if not any(atom.depth for product in form.terms for atom in product):
        return form
    try:
        return _fold_remainders(_without_exact(form))
    except TooManyTerms:
        return form  # the atoms print as they are


def _place(term: tuple[Product, int]) -> tuple[bool, int, int, list[str]]:
    product, coefficient = term
    return coefficient < 0, -len(product), -abs(coefficient), [atom.text for atom in product]


def _term(product: Product, coefficient: int) -> Expr:
    whole = reduce(mul, [_atom(atom) for atom in product])
    if coefficient == 1:
        return whole
    if coefficient == -1:
        return Op("neg", (whole,), I64)
    return mul(integer(coefficient), whole)


def _atom(atom: Atom) -> Expr:
    if atom.expr is None:
        pending = _inside(atom) if atom.depth > DEEP else [atom]
        for inner in pending:
            inner.expr = inner.expr or _expr_of_atom(inner)
    assert atom.expr is not None
    return atom.expr


def _inside(atom: Atom) -> list[Atom]:
    """The atom and all inside it that have no expression yet, innermost first: no deep recursion."""
    found: dict[Atom, None] = {}
    pending = [atom]
    while pending:
        current = pending.pop()
        if current.expr is None and current not in found:
            found[current] = None
            pending += [inner for part in current.parts for inner in atoms_of(part)]
    return sorted(found, key=lambda inner: inner.depth)


def _expr_of_atom(atom: Atom) -> Expr:
    parts = [to_expr(part) for part in atom.parts]
    match atom.kind:
        case "//" | "total //" | "exact":
            return floor_div(parts[0], parts[1])
        case "total %":
            return floor_mod(parts[0], parts[1])
        case "select":
            assert atom.source is not None
            return Select(atom.source, parts[0], parts[1])
        case "max" if len(parts) == 2 and atom.parts[0] == scale(atom.parts[1], -1):
            return Op("abs", (parts[0],), I64)
        case "min" | "max":
            return reduce(minimum if atom.kind == "min" else maximum, parts)
    return Op(atom.kind.removeprefix("raw "), tuple(parts), I64)


def _without_exact(form: Linear) -> Linear:
    """`12k * exact(M, 12)` becomes `k*M`; `3 * exact(M, 12)` becomes `M // 4`."""
    for product, coefficient in form.terms.items():
        atom = next((atom for atom in product if atom.kind == "exact"), None)
        if atom is not None:
            others = Linear({p: k for p, k in form.terms.items() if p is not product}, form.constant)
            restored = _restored(atom, without(product, (atom,)) or (), coefficient)
            return _without_exact(add_forms(others, restored))
    return form


def _restored(atom: Atom, rest: Product, coefficient: int) -> Linear:
    x, d = atom.parts
    if not d.terms:
        common = gcd(coefficient, d.constant)
        left = constant(d.constant // common)
        value = x if common == d.constant else of_atom(composite("//", x, left))
        return multiply(monomial(rest, coefficient // common), value)
    factor = divide_exactly(monomial(rest, coefficient), d)
    if factor is not None:
        return multiply(factor, x)
    return multiply(monomial(rest, coefficient), of_atom(composite("//", x, d)))


def _fold_remainders(form: Linear) -> Linear:
    """Write `x % d` for `x - d*(x // d)` wherever that leaves fewer terms; the deepest divisions first."""
    quotients = [
        (-atom.depth, atom.text, [other.text for other in product], atom, product)
        for product in form.terms
        for atom in product
        if atom.kind == "//"
    ]
    for _, _, _, atom, product in sorted(quotients, key=lambda quotient: quotient[:3]):
        term = monomial(without(product, (atom,)) or (), form.terms[product])
        for x, d in [atom.parts, *_nested_divisions(form, atom)]:
            folded = _fold(form, atom, term, x, d)
            if folded is not None:
                return _fold_remainders(folded)
    return form


def _nested_divisions(form: Linear, atom: Atom) -> list[tuple[Linear, Linear]]:
    """Other ways to see the atom as `y // d`: `x // (b*d)` is `(x // b) // d`, if `x // b` occurs."""
    x, whole = atom.parts
    found: list[tuple[Linear, Linear]] = []
    for other in sorted(atoms_of(form), key=attrgetter("text")):
        if other.kind != "//" or other is atom:
            continue
        inner, b = other.parts
        d = divide_exactly(whole, b)
        shift = subtract(x, inner)
        offset = divide_exactly(shift, b)
        if d is not None and offset is not None and not offset.terms:
            found.append((plus(of_atom(other), offset.constant), d))
    return found


def _fold(form: Linear, atom: Atom, term: Linear, x: Linear, d: Linear) -> Linear | None:
    """Replace `-t*d*atom + t*x`, where `atom == x // d` and `term` is a part of `-t*d*atom`."""
    try:
        leading = max(d.terms, key=weight) if d.terms else ()
        ((product, coefficient),) = term.terms.items() if term.terms else (((), term.constant),)
        rest, by = without(product, leading), d.terms.get(leading, d.constant)
        if rest is None or coefficient % by:
            return None
        factor = monomial(rest, -coefficient // by)
        remainder = subtract(of_atom(composite("total %", x, d)), subtract(x, multiply(d, of_atom(atom))))
        folded = add_forms(form, multiply(factor, remainder))
    except TooManyTerms:
        return None
    return folded if _size(folded) < _size(form) else None


def _size(form: Linear) -> int:
    return len(form.terms) + (form.constant != 0)
