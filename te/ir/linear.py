"""The canonical form of index arithmetic: coefficient × product of atoms, summed, plus a constant.

Meaning
-------
A `Linear` denotes a mathematical integer; nothing wraps here. `8*io + ii - N*i + 3` has the
terms `{(io,): 8, (ii,): 1, (N, i): -1}` and the constant 3. No term has the coefficient 0, and
a product lists its atoms in the order of their texts, so equal polynomials are equal forms.

An `Atom` is what the arithmetic cannot take apart. Its `kind` says what it is:

- `var`: a variable.
- `//`: `parts = (x, d)`, the floor of `x / d`, made only where `d >= 1` is known.
- `total //`, `total %`: the same where `d` may be 0; then both are 0. (Where `d` is known to be
  positive there is no remainder: `x % d` is `x - d*(x // d)`, and `te.ir.readable` turns it back.)
- `exact`: `x // d` where `d` is known to divide `x`, so that `d` times the atom is `x`.
- `min`, `max`: of two or more parts.
- `select`: `parts = (then, otherwise)` under `source`, the condition.
- `opaque`: any other expression, kept whole in `source`.
- `raw +`, `raw *`, ...: an operator kept as it is, on its parts: its data may wrap, or expanding
  it would take too much room.

Atoms are interned: equal atoms are one object, which makes products cheap to hash.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from functools import reduce
from hashlib import sha1
from math import gcd
from operator import attrgetter
from typing import TypeAlias
from weakref import WeakValueDictionary

from te.ir.expr import Cast, Expr, Load, Var
from te.ir.visit import variables, walk

MAX_TERMS = 48  # a form that would grow beyond this stays an opaque product
MAX_DEGREE = 6
LONG_TEXT = 100


class TooManyTerms(Exception):
    """A product that would exceed the limits above. It never leaves `te.ir`."""


class Atom:
    """See the module. `text` identifies an atom, so that the order of atoms is the same in every process.

    `expr` is filled in by `te.ir.readable`.
    """

    __slots__ = (
        "__weakref__",
        "depth",
        "expr",
        "kind",
        "parts",
        "reads_data",
        "size",
        "source",
        "text",
        "variables",
    )

    def __init__(self, kind: str, parts: tuple[Linear, ...], source: Expr | None):
        self.kind = kind
        self.parts = parts
        self.source = source
        self.expr = source if kind in ("var", "opaque") else None
        inner = {atom for part in parts for product in part.terms for atom in product}
        self.depth: int = 0 if kind == "var" else 1 + max((atom.depth for atom in inner), default=0)
        self.size: int = (
            1 + sum(map(size_of, parts)) + (sum(1 for _ in walk(source)) if source is not None else 0)
        )
        names = frozenset(variables(source)) if source is not None else frozenset()
        self.variables: frozenset[str] = names.union(*(atom.variables for atom in inner))
        self.reads_data: bool = any(atom.reads_data for atom in inner) or (
            source is not None and any(isinstance(node, Load | Cast) for node in walk(source))
        )
        self.text = source.name if isinstance(source, Var) else _identify(kind, parts, source)

    def __repr__(self) -> str:
        return self.text


def _identify(kind: str, parts: tuple[Linear, ...], source: Expr | None) -> str:
    text = ", ".join([*map(text_of, parts), *([repr(source)] if source is not None else [])])
    if len(text) > LONG_TEXT:  # texts of texts would grow without limit
        text = text[:LONG_TEXT] + sha1(text.encode()).hexdigest()
    return f"{kind}({text})"


Product: TypeAlias = tuple[Atom, ...]


@dataclass(frozen=True, slots=True)
class Linear:
    terms: dict[Product, int]  # never changed after construction
    constant: int

    @property
    def key(self) -> Hashable:
        return frozenset(self.terms.items()), self.constant

    def __repr__(self) -> str:
        return text_of(self)


_interned: WeakValueDictionary[Hashable, Atom] = WeakValueDictionary()


def _intern(kind: str, parts: tuple[Linear, ...], source: Expr | None) -> Atom:
    key = (kind, tuple([part.key for part in parts]), source)
    atom = _interned.get(key)
    if atom is None:
        atom = _interned.setdefault(key, Atom(kind, parts, source))
    return atom


def variable(name: str) -> Atom:
    atom = _interned.get(name)
    return atom if atom is not None else _interned.setdefault(name, Atom("var", (), Var(name)))


def opaque(source: Expr) -> Atom:
    return _intern("opaque", (), source)


def composite(kind: str, *parts: Linear, condition: Expr | None = None) -> Atom:
    return _intern(kind, parts, condition)


def constant(value: int) -> Linear:
    return Linear({}, value)


ZERO, ONE = constant(0), constant(1)


def of_atom(atom: Atom, coefficient: int = 1) -> Linear:
    return Linear({(atom,): coefficient}, 0)


def text_of(form: Linear) -> str:
    terms = sorted(("*".join(atom.text for atom in product), k) for product, k in form.terms.items())
    return " + ".join([*(f"{k}*{text}" for text, k in terms), str(form.constant)])


def size_of(form: Linear) -> int:
    """How many nodes its expression has at most."""
    return 1 + sum(1 + sum(atom.size for atom in product) for product in form.terms)


# ---------------------------------------------------------------- ring operations


def add(a: Linear, b: Linear, factor: int = 1) -> Linear:
    """`a + factor*b`; `factor` is not 0."""
    if not b.terms:
        return Linear(a.terms, a.constant + factor * b.constant)
    terms = dict(a.terms)
    for product, coefficient in b.terms.items():
        total = terms.get(product, 0) + factor * coefficient
        if total:
            terms[product] = total
        else:
            del terms[product]
    if len(terms) > MAX_TERMS:
        raise TooManyTerms
    return Linear(terms, a.constant + factor * b.constant)


def subtract(a: Linear, b: Linear) -> Linear:
    return add(a, b, -1)


def plus(a: Linear, value: int) -> Linear:
    return Linear(a.terms, a.constant + value) if value else a


def scale(a: Linear, factor: int) -> Linear:
    if factor == 1:
        return a
    if factor == 0:
        return ZERO
    return Linear({p: factor * k for p, k in a.terms.items()}, factor * a.constant)


def multiply(a: Linear, b: Linear) -> Linear:
    if not b.terms:
        return scale(a, b.constant)
    if not a.terms:
        return scale(b, a.constant)
    if len(a.terms) * len(b.terms) > MAX_TERMS:
        raise TooManyTerms
    result = (
        add(scale(a, b.constant), scale(Linear(b.terms, 0), a.constant))
        if a.constant
        else scale(a, b.constant)
    )
    terms: dict[Product, int] = dict(result.terms)
    for p, k in a.terms.items():
        for q, m in b.terms.items():
            product = join(p, q)
            total = terms.get(product, 0) + k * m
            if total:
                terms[product] = total
            else:
                terms.pop(product, None)
    return Linear(terms, result.constant)


def join(p: Product, q: Product) -> Product:
    """The product of two products."""
    if len(p) + len(q) > MAX_DEGREE:
        raise TooManyTerms
    if len(p) == 1 and len(q) == 1:
        return p + q if p[0].text <= q[0].text else q + p
    return tuple(sorted(p + q, key=attrgetter("text")))


def without(product: Product, divisor: Iterable[Atom]) -> Product | None:
    """`product / divisor`, or None where it does not divide."""
    left = list(product)
    for atom in divisor:
        if atom not in left:
            return None
        left.remove(atom)
    return tuple(left)


def monomial(product: Product, coefficient: int) -> Linear:
    return Linear({product: coefficient}, 0) if product else constant(coefficient)


def divide_exactly(a: Linear, d: Linear) -> Linear | None:
    """`a / d` for a `d` of one term, where that leaves no remainder."""
    if not d.terms:
        by = d.constant
        if a.constant % by or any(k % by for k in a.terms.values()):
            return None
        return Linear({p: k // by for p, k in a.terms.items()}, a.constant // by)
    if len(d.terms) > 1 or d.constant or a.constant:
        return None
    ((divisor, by),) = d.terms.items()
    result = ZERO
    for product, k in a.terms.items():
        rest = without(product, divisor)
        if rest is None or k % by:
            return None
        result = add(result, Linear({rest: k // by} if rest else {}, 0 if rest else k // by))
    return result


def collect(form: Linear, atom: Atom) -> tuple[Linear, Linear]:
    """`(a, b)` with `form == a*atom + b`, one factor `atom` taken out of each term that has it."""
    inside: dict[Product, int] = {}
    outside: dict[Product, int] = {}
    inside_constant = 0
    for product, coefficient in form.terms.items():
        if atom not in product:
            outside[product] = coefficient
        elif len(product) == 1:
            inside_constant = coefficient
        else:
            rest = without(product, (atom,))
            assert rest is not None
            inside[rest] = coefficient
    return Linear(inside, inside_constant), Linear(outside, form.constant)


def tighten(form: Linear) -> Linear:
    """The form `f` with `f >= 0` where and only where `form >= 0`: coefficients without a common factor."""
    if not form.terms:
        return form
    common = gcd(*form.terms.values())
    if common == 1:
        return form
    return Linear({p: k // common for p, k in form.terms.items()}, form.constant // common)


def atoms_of(form: Linear) -> list[Atom]:
    """The atoms of a form, each once, in the order of its terms."""
    return list(dict.fromkeys(atom for product in form.terms for atom in product))


def variables_of(form: Linear) -> frozenset[str]:
    return frozenset().union(*(atom.variables for product in form.terms for atom in product))


def reads_data(form: Linear) -> bool:
    return any(atom.reads_data for product in form.terms for atom in product)


# ---------------------------------------------------------------- floor division by d >= 1


def quotient(a: Linear, d: Linear) -> Linear:
    """`a // d` for `d >= 1`, by algebra alone: no ranges are used."""
    multiple, rest = split_multiple(a, d)
    rest, d = without_common_factor(rest, d)
    if not rest.terms and (not d.terms or rest.constant in (0, -1)):
        return plus(multiple, rest.constant // d.constant if not d.terms else rest.constant)
    if not d.terms and d.constant == 1:
        return add(multiple, rest)
    nested = as_one_division(rest, d)
    if nested is not None:
        return add(multiple, quotient(*nested))
    return add(multiple, of_atom(composite("//", rest, d)))


def as_one_division(rest: Linear, d: Linear) -> tuple[Linear, Linear] | None:
    """`(x // b + r) // d` is `(x + r*b) // (b*d)`."""
    if len(rest.terms) != 1:
        return None
    ((product, coefficient),) = rest.terms.items()
    if len(product) != 1 or coefficient != 1 or product[0].kind != "//":
        return None
    x, b = product[0].parts
    return add(x, scale(b, rest.constant)) if rest.constant else x, multiply(b, d)


def split_multiple(a: Linear, d: Linear) -> tuple[Linear, Linear]:
    """`(q, r)` with `a == q*d + r`, where `r` has no term that `d` divides."""
    if not d.terms:
        divisor = d.constant
        taken = {p: q for p, k in a.terms.items() if (q := _truncate(k, divisor))}
        left = {p: r for p, k in a.terms.items() if (r := k - divisor * taken.get(p, 0))}
        whole, remainder = divmod(a.constant, divisor)
        return Linear(taken, whole), Linear(left, remainder)
    # Polynomial division, largest terms first, so that the result does not depend on their order.
    leading = max(d.terms, key=weight)
    result, rest = ZERO, a
    for _ in range(MAX_TERMS):
        steps = [
            (product, _truncate(coefficient, d.terms[leading]))
            for product, coefficient in rest.terms.items()
            if set(leading) <= set(product)
        ]
        steps = [(p, factor) for p, factor in steps if factor and without(p, leading) is not None]
        if not steps:
            break
        product, factor = max(steps, key=lambda step: weight(step[0])) if len(steps) > 1 else steps[0]
        step = monomial(without(product, leading) or (), factor)
        result = add(result, step)
        rest = subtract(rest, multiply(step, d))
    return result, rest


def weight(product: Product) -> tuple[int, list[str]]:
    """The order of products in which polynomials are divided: by degree, then by name."""
    return len(product), [atom.text for atom in product]


def _truncate(a: int, b: int) -> int:
    """`a / b` toward zero: keeps `-i` from becoming `7*i - 8*i`."""
    return a // b if (a >= 0) == (b > 0) else -(-a // b)


def without_common_factor(rest: Linear, d: Linear) -> tuple[Linear, Linear]:
    """`(g*x + r) // (g*d) == (x + r // g) // d` for an integer g >= 1."""
    common = reduce(gcd, rest.terms.values(), gcd(*d.terms.values(), d.constant))
    if common <= 1:
        return rest, d
    return (
        Linear({p: k // common for p, k in rest.terms.items()}, rest.constant // common),
        Linear({p: k // common for p, k in d.terms.items()}, d.constant // common),
    )
