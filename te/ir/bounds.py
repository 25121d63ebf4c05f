"""What follows from facts about index expressions: proofs, bounds, counterexamples.

`prove` is sound and incomplete: False means that no proof was found. Facts that contradict each
other may prove anything. How it searches is told in `te.ir.inequality`.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from te.ir.context import context_of
from te.ir.counterexample import counterexample
from te.ir.division import extreme, floor_divide
from te.ir.evaluate import evaluate
from te.ir.expr import COMPARISONS, Const, Expr, Op, Select, negation
from te.ir.facts import NO_FACTS, Facts
from te.ir.knowledge import Knowledge
from te.ir.linear import (
    Atom,
    Linear,
    TooManyTerms,
    add,
    atoms_of,
    collect,
    constant,
    divide_exactly,
    multiply,
    of_atom,
    plus,
    subtract,
    variables_of,
)
from te.ir.magnitude import magnitude_limit
from te.ir.normal import Context, holds_comparison, linear_of, simple
from te.ir.readable import to_expr
from te.ir.types import BOOL

__all__ = [
    "NO_FACTS",
    "Facts",
    "bounds",
    "counterexample",
    "evaluate",
    "magnitude_limit",
    "prove",
]

MAX_ELIMINATIONS = 24
UNBOUNDED = 1 << 62  # the limits of a 64-bit load say nothing


def prove(condition: Expr, facts: Facts) -> bool:
    """Whether the condition is proved to hold wherever the facts do.

    >>> from te.ir.expr import Var, compare, integer
    >>> i, n = Var("i"), Var("N")
    >>> facts = NO_FACTS.with_range("i", integer(0), n).with_assumption(compare("<", n, integer(8)))
    >>> prove(compare("<", i, integer(8)), facts), prove(compare("<", i, n), facts)
    (True, False)
    """
    try:
        context = context_of(facts)
        return context.known.is_empty or _holds(condition, context)
    except RecursionError:
        return False  # hundreds of levels deep


def _holds(condition: Expr, context: Context) -> bool:
    match condition:
        case Const(value, _):
            return bool(value)
        case Op("and", (left, right), _):
            return _holds(left, context) and _holds(right, context)
        case Op("or", (left, right), _):
            return (
                _holds(left, context)
                or _holds(right, context)
                or _holds(right, context.given(negation(left), right))
                or _holds(left, context.given(negation(right), left))
                or _is_known(condition, context)
            )
        case Op("not", (Op("and" | "or" as op, (left, right), _),), _):
            return _holds(
                Op("or" if op == "and" else "and", (negation(left), negation(right)), BOOL), context
            )
        case Op("not", (inner,), _) if negation(inner) != condition:
            return _holds(negation(inner), context)
        case Op(op, (a, b), _) if op in COMPARISONS and a.dtype.is_integer:
            return holds_comparison(op, a, b, context)
        case Select(test, then, otherwise):
            return _holds(then, context.given(test, then)) and _holds(
                otherwise, context.given(negation(test), otherwise)
            )
    return _is_known(condition, context)


def _is_known(condition: Expr, context: Context) -> bool:
    """Whether an assumption says it outright."""
    if not context.truths or condition in context.truths:
        return bool(context.truths)
    return simple(condition, context) in context.truths


# ---------------------------------------------------------------- bounds


def bounds(e: Expr, facts: Facts, over: Collection[str]) -> tuple[Expr | None, Expr | None]:
    """The lowest and the highest value that `e` may take over the ranges of the variables in `over`.

    The ends are simplified and mention other variables only; None stands where no end is found.
    They bound the values but need not be reached.

    >>> from te.ir.expr import Var, add, integer
    >>> bounds(add(Var("i"), Var("n")), NO_FACTS.with_range("i", integer(0), integer(7)), ["i"])[0]
    Var(name='n')
    """
    context = context_of(facts)
    elimination = _Elimination(frozenset(over), context.known)
    low, high = (elimination.end(linear_of(e, context), sign) for sign in (1, -1))
    return None if low is None else to_expr(low), None if high is None else to_expr(high)


@dataclass(frozen=True)
class _Elimination:
    """Ends of forms without the hidden variables: the lower end for `sign` 1, the upper one for -1."""

    hidden: frozenset[str]
    known: Knowledge

    def end(self, form: Linear, sign: int) -> Linear | None:
        try:
            plain = self.eliminate(form, sign, MAX_ELIMINATIONS)
            told = self.told(form, sign)
            if plain is None or told is None:
                return plain if told is None else told
            return extreme("max" if sign > 0 else "min", [plain, told], self.known)
        except TooManyTerms:
            return None

    def told(self, form: Linear, sign: int) -> Linear | None:
        """An end that a fact gives outright: `8*io + ii < N` gives `N - 1` above `8*io + ii`."""
        if self.is_free(form):
            return None
        ends = [add(form, fact.form, -sign) for fact in self.known.facts]
        return next((end for end in ends if self.is_free(end)), None)

    def is_free(self, form: Linear) -> bool:
        return self.hidden.isdisjoint(variables_of(form))

    def eliminate(self, form: Linear, sign: int, steps: int) -> Linear | None:
        atom = self.innermost(form)
        if atom is None:
            return form
        if not steps:
            return None
        a, b = collect(form, atom)
        direction = self.known.sign(a) * sign  # 1: the end of the form is at the lower end of the atom
        if direction:
            cancelled = self.cancel_quotient(atom, a, b, direction)
            if cancelled is not None:
                return self.eliminate(cancelled, sign, steps - 1)
            end = self.end_of_atom(atom, direction, steps - 1)
            return None if end is None else self.eliminate(add(multiply(a, end), b), sign, steps - 1)
        if not variables_of(a).isdisjoint(atom.variables):
            return None
        # A coefficient of unknown sign: the end is at one of the two ends of the atom.
        ends = [self.end_of_atom(atom, 1, steps - 1), self.end_of_atom(atom, -1, steps - 1)]
        forms = [add(multiply(a, end), b) for end in ends if end is not None]
        if len(forms) < 2:
            return None
        return self.eliminate(extreme("min" if sign > 0 else "max", forms, self.known), sign, steps - 1)

    def innermost(self, form: Linear) -> Atom | None:
        """The hidden atom whose own hidden variable is innermost; of those the deepest."""
        inside = [atom for atom in atoms_of(form) if not self.hidden.isdisjoint(atom.variables)]
        ranks = self.known.ranks
        return max(
            inside,
            key=lambda atom: (max(ranks.get(name, -1) for name in atom.variables & self.hidden), atom.depth),
            default=None,
        )

    def cancel_quotient(self, atom: Atom, a: Linear, b: Linear, direction: int) -> Linear | None:
        """`x - d*(x // d)` lies between 0 and d - 1, though its two terms go far."""
        ratio = divide_exactly(a, atom.parts[1]) if atom.kind == "//" else None
        if ratio is None:
            return None
        x, d = atom.parts
        result = add(multiply(ratio, x if direction < 0 else plus(subtract(x, d), 1)), b)
        own = atom.variables & self.hidden
        return result if own.isdisjoint(variables_of(result)) else None

    def end_of_atom(self, atom: Atom, direction: int, steps: int) -> Linear | None:
        if atom in self.known.ranges:
            return self.known.ranges[atom][direction < 0]
        told = self.told(of_atom(atom), direction)
        if told is not None:
            return told
        match atom.kind:
            case "//" if self.is_free(atom.parts[1]):
                end = self.eliminate(atom.parts[0], direction, steps)
                return None if end is None else floor_divide(end, atom.parts[1], self.known)
            case "min" | "max" | "select":
                ends = [self.eliminate(part, direction, steps) for part in atom.parts]
                found = [end for end in ends if end is not None]
                # The upper end of one part is above the `min`; everything else needs all parts.
                if len(found) < len(ends) and (not found or atom.kind != ("max" if direction > 0 else "min")):
                    return None
                hull = "min" if direction > 0 else "max"
                return extreme(hull if atom.kind == "select" else atom.kind, found, self.known)
            case "total %" if (
                direction < 0 and self.is_free(atom.parts[1]) and self.known.sign(atom.parts[1]) > 0
            ):
                return extreme("max", [plus(atom.parts[1], -1), constant(0)], self.known)
        number = self.known.interval(atom)[direction < 0]
        return None if number is None or abs(number) >= UNBOUNDED else constant(number)
