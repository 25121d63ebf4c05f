"""Small values for which a condition fails: they make an error message concrete."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from te.ir.context import context_of
from te.ir.evaluate import NotAnIndex, evaluate
from te.ir.expr import Const, Expr, conjuncts
from te.ir.facts import Facts
from te.ir.linear import ONE
from te.ir.types import I64
from te.ir.visit import loads, variables, walk

# Sizes in the order in which they are tried: ones that read well, then the edges.
SIZES = (4, 3, 5, 8, 2, 1, 6, 0, 7, 16, 9, 12, 17, 32)
WIDTHS = (1, 3, 8, 24)  # how many values of each variable a round tries
MAX_STEPS = 300  # of one round; a step takes about 5 us


def counterexample(condition: Expr, facts: Facts, extra_sizes: Collection[str] = ()) -> dict[str, int] | None:
    """Values of all variables that satisfy the facts and make the condition false.

    They are small and found by trial, always the same ones. None where no such values are found
    soon, or where the condition depends on data. (Assumptions about data are taken to hold.)

    >>> from te.ir.expr import Var, compare, integer
    >>> facts = Facts().with_range("i", integer(0), Var("N"))
    >>> counterexample(compare("<", Var("i"), Var("N")), facts)
    {'N': 4, 'i': 4}
    """
    try:
        trial = _Trial(condition, facts, extra_sizes)
        return next((found for width in WIDTHS if (found := trial.run(width)) is not None), None)
    except NotAnIndex:
        return None


class _Trial:
    def __init__(self, condition: Expr, facts: Facts, extra_sizes: Collection[str]):
        self.condition = condition
        self.ranges = {name: (low, high) for name, low, high in facts.ranges}
        told = [part for assumption in facts.assumptions for part in conjuncts(assumption)]
        told = [part for part in told if not any(loads(part))]
        context = context_of(facts)
        self.replaced, self.divisors = context.replaced, context.divisors
        ends = [end for ends in self.ranges.values() for end in ends]
        sizes = [*_names([condition, *told, *ends]), *extra_sizes]
        sizes = list(dict.fromkeys(name for name in sizes if name not in self.ranges))
        self.order = [name for name in sizes if name not in self.replaced]
        self.order += _by_dependence([name for name in sizes if name in self.replaced], self.replaced)
        self.order += self.ranges
        self.matters = self.variables_that_matter(told)
        self.checks: dict[str, list[Expr]] = {}
        for part in told:
            last = max(variables(part), key=self.order.index, default="")
            self.checks.setdefault(last, []).append(part)
        literals = [
            n.value for e in (condition, *told) for n in walk(e) if isinstance(n, Const) and n.dtype == I64
        ]
        self.literals = sorted({int(value) + step for value in literals for step in (0, 1, -1)} - set(SIZES))

    def variables_that_matter(self, told: list[Expr]) -> set[str]:
        """Those whose value can decide the condition, directly or by what is assumed."""
        matters = variables(self.condition)
        links = [variables(part) for part in told]
        links += [{name} | variables(low) | variables(high) for name, (low, high) in self.ranges.items()]
        for _ in self.order:
            wider = matters.union(*(link for link in links if not link.isdisjoint(matters)))
            if wider == matters:
                break
            matters = wider
        return matters

    def run(self, width: int) -> dict[str, int] | None:
        self.left = MAX_STEPS
        values: dict[str, int] = {}
        if not all(evaluate(part, values) for part in self.checks.get("", ())):
            return None
        return values if self.search(0, values, width) else None

    def search(self, position: int, values: dict[str, int], width: int) -> bool:
        """Extend the values by the variables from `position` on, until the condition fails."""
        if position == len(self.order):
            return not evaluate(self.condition, values)
        name = self.order[position]
        for value in self.candidates(name, values)[: width if name in self.matters else 1]:
            self.left -= 1
            if self.left < 0:
                break
            values[name] = value
            if all(evaluate(part, values) for part in self.checks.get(name, ())) and self.search(
                position + 1, values, width
            ):
                return True
        values.pop(name, None)
        return False

    def candidates(self, name: str, values: dict[str, int]) -> list[int]:
        low, high = 0, None
        if name in self.ranges:
            low, high = (int(evaluate(end, values)) for end in self.ranges[name])
        if name in self.replaced:
            found = [int(evaluate(self.replaced[name], values))]
        elif high is not None:
            found = [low, high, low + 1, (low + high) // 2, high - 1, *range(low + 2, min(high - 1, low + 8))]
        else:
            offset, divisor = self.divisors.get(name, (0, ONE))
            step = divisor.constant or 1
            found = [step * size - offset for size in SIZES] + self.literals
        return list(dict.fromkeys(v for v in found if v >= low and (high is None or v <= high)))


def _names(exprs: Iterable[Expr]) -> list[str]:
    names: list[str] = []
    for e in exprs:
        names += sorted(variables(e))
    return names


def _by_dependence(names: list[str], replaced: dict[str, Expr]) -> list[str]:
    """The names such that each comes after those that its value mentions."""
    ordered: list[str] = []
    left = list(names)
    while left:
        ready = [name for name in left if variables(replaced[name]).isdisjoint(set(left) - {name})]
        ordered += ready or left
        left = [name for name in left if name not in ordered]
    return ordered
