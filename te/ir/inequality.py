"""Is a linear form never negative? The search for a proof.

A proof of `goal >= 0` eliminates the atoms of the goal one at a time, innermost variables first,
until what is left is plainly not negative. An atom is eliminated

- by the end of its range, if it is a ranged variable;
- by `x - d + 1 <= d*(x // d) <= x`, or by moving a variable inside `x` to its end;
- by cases, if it is a `min`, a `max` or a `select`;
- by a fact that has it with the same sign: `m*goal - t*fact >= 0` proves the goal.

This is Fourier-Motzkin elimination run backwards from the goal, with polynomials of known sign
for coefficients. Whatever is multiplied by m on the way gains m - 1, since `m*goal > -m` proves
an integer goal: this is how rounding stays exact. Facts are used at most `len(STEPS) - 1` times
on one path and a search ends after a fixed number of steps, so it ends soon, proof or not.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from math import gcd

from te.ir.knowledge import Fact, Knowledge, fact
from te.ir.linear import (
    ONE,
    Atom,
    Linear,
    TooManyTerms,
    add,
    atoms_of,
    collect,
    constant,
    divide_exactly,
    monomial,
    multiply,
    of_atom,
    plus,
    scale,
    subtract,
    tighten,
    without,
)

STEPS = (24, 40, 80, 120)  # for the searches that use at most 0, 1, 2, 3 facts

# Goals that must all hold, each with the facts that may be assumed for it.
Cases = list[tuple[Linear, tuple[Fact, ...]]]


def is_nonnegative(form: Linear, known: Knowledge, uses: int = len(STEPS) - 1) -> bool:
    """Whether `form >= 0` is proved with at most `uses` facts. False means that no proof was found."""
    goal = tighten(form)
    if not goal.terms:
        return goal.constant >= 0
    if known.is_plain(goal) or known.includes(goal):
        return True
    key = (goal.key, uses)
    answer = known.answers.get(key)
    if answer is None:
        answer = any(_Search(known, STEPS[n]).holds(goal, (), n) for n in range(uses + 1))
        known.answers[key] = answer
    return answer


class _Search:
    """One search with a limit on its steps."""

    def __init__(self, known: Knowledge, steps: int, *, proves_signs: bool = True):
        self.known = known
        self.left = steps
        self.proves_signs = proves_signs
        self.failed: set[Hashable] = set()
        self.used: list[Fact] = []

    def holds(self, goal: Linear, assumed: tuple[Fact, ...], uses: int) -> bool:
        goal = tighten(goal)
        if not goal.terms:
            return goal.constant >= 0
        if self.known.is_plain(goal) or self.known.includes(goal):
            return True
        if any(goal.terms == f.form.terms and goal.constant >= f.form.constant for f in assumed):
            return True
        key = (goal.key, uses, len(assumed))
        self.left -= 1
        if self.left < 0 or key in self.failed:
            return False
        try:
            if any(
                all(self.holds(case, assumed + more, uses) for case, more in cases)
                for cases in self.eliminations(goal)
            ):
                return True
            if uses and self.holds_by_facts(goal, assumed, uses):
                return True
        except TooManyTerms:
            pass
        self.failed.add(key)
        return False

    # ------------------------------------------------------------ without facts

    def eliminations(self, goal: Linear) -> Iterator[Cases]:
        """Ways to get rid of the innermost atom; each way proves the goal by proving its cases."""
        atom = self.known.next_atom(goal)
        if atom is None:
            shifted = self.shift(goal)
            if shifted is not None:
                yield [(shifted, ())]
            return
        a, b = collect(goal, atom)
        sign = self.sign(a)
        if atom.kind in ("min", "max"):
            if sign and (sign < 0) == (atom.kind == "min"):
                # One part that is large (small) enough suffices, whichever is chosen.
                for part in atom.parts:
                    yield [(add(multiply(a, part), b), ())]
            yield [(add(multiply(a, part), b), self.chosen(atom, part)) for part in atom.parts]
        elif atom.kind == "select":
            tells = self.known.cases.get(atom, ([], []))
            yield [(add(multiply(a, p), b), tuple(t)) for p, t in zip(atom.parts, tells, strict=True)]
        elif sign:
            for m, bound in self.known.lower_bounds(atom, a, b, sign):
                yield [(bound if m is ONE else plus(add(bound, m), -1), ())]
        elif atom in self.known.ranges and atom not in atoms_of(a):
            # Linear in the variable: smallest at one of the ends, whatever the sign of its coefficient.
            yield [(add(multiply(a, end), b), ()) for end in self.known.ranges[atom]]

    def chosen(self, atom: Atom, part: Linear) -> tuple[Fact, ...]:
        """What holds where the atom, a `min` or a `max`, is that part."""
        others = [other for other in atom.parts if other is not part]
        gaps = [subtract(o, part) if atom.kind == "min" else subtract(part, o) for o in others]
        return tuple([fact(tighten(gap)) for gap in gaps])

    def sign(self, form: Linear) -> int:
        """The sign of a coefficient, by a short proof where it is not plain."""
        plain = self.known.sign(form)
        if plain or not self.proves_signs:
            return plain
        key = ("sign", form.key)
        if key not in self.known.signs:
            signs = [
                s for s in (1, -1) if _Search(self.known, 16, proves_signs=False).holds(scale(form, s), (), 1)
            ]
            self.known.signs[key] = signs[0] if signs else 0
        return self.known.signs[key]

    def shift(self, goal: Linear) -> Linear | None:
        """The goal over `atom - low` in the place of each atom, if that shows it to be natural.

        `N*M - N` for `M >= 1` is `N*M'`, which plain intervals do not see.
        """
        if all(len(product) == 1 for product in goal.terms):
            return None
        shifted = goal
        for atom in atoms_of(goal):
            low, _ = self.known.interval(atom)
            if low is None:
                return None
            if low:
                shifted = _replace(shifted, atom, plus(of_atom(atom), low))
        return ONE if shifted.constant >= 0 and all(k > 0 for k in shifted.terms.values()) else None

    # ------------------------------------------------------------ with facts

    def holds_by_facts(self, goal: Linear, assumed: tuple[Fact, ...], uses: int) -> bool:
        """Whether the goal follows with the help of a fact that cancels a term of it."""
        atom = self.known.next_atom(goal)
        for used in (*assumed, *self.known.facts):
            if any(used is other for other in self.used):
                continue
            rests = self.cancel_atom(goal, atom, used) if atom else self.cancel_term(goal, used)
            for rest in rests:
                self.used.append(used)
                holds = self.holds(rest, assumed, uses - 1)
                self.used.pop()
                if holds:
                    return True
        return False

    def cancel_atom(self, goal: Linear, atom: Atom, used: Fact) -> Iterator[Linear]:
        """The goal less a multiple of the fact, so that the atom is gone."""
        if atom not in used.atoms:
            return
        a, b = collect(goal, atom)
        fact_a, fact_b = collect(used.form, atom)
        if not fact_a.terms:
            sign = self.sign(a)
            if sign == 0 or (sign > 0) != (fact_a.constant > 0):
                return
            m, t = abs(fact_a.constant), scale(a, sign)
            common = gcd(m, t.constant, *t.terms.values())
            m, t = m // common, divide_exactly(t, constant(common)) or t
            yield plus(subtract(scale(b, m), multiply(t, fact_b)), m - 1)
        else:
            ratio = divide_exactly(a, fact_a)
            if ratio is not None and self.sign(ratio) > 0:
                yield subtract(b, multiply(ratio, fact_b))

    def cancel_term(self, goal: Linear, used: Fact) -> Iterator[Linear]:
        """The same for a goal over sizes: cancels its first term that counts against it."""
        against = next((p for p, k in goal.terms.items() if k < 0 or not self.known.is_natural(p)), None)
        if against is None and used.form.constant >= 0:
            return
        targets = [against] if against is not None else list(goal.terms)
        for product in targets:
            k = goal.terms[product]
            for divisor, fact_k in used.form.terms.items():
                rest = without(product, divisor) if (k > 0) == (fact_k > 0) else None
                if rest is None or not self.known.is_natural(rest):
                    continue
                common = gcd(k, fact_k)
                m, t = abs(fact_k) // common, monomial(rest, abs(k) // common)
                yield plus(subtract(scale(goal, m), multiply(t, used.form)), m - 1)


def _replace(form: Linear, atom: Atom, by: Linear) -> Linear:
    a, b = collect(form, atom)
    if not a.terms and not a.constant:
        return form
    return add(multiply(_replace(a, atom, by), by), b)


def is_positive(form: Linear, known: Knowledge, uses: int = len(STEPS) - 1) -> bool:
    """Whether `form >= 1` is proved."""
    return is_nonnegative(plus(form, -1), known, uses)


def is_never_zero(form: Linear, known: Knowledge) -> bool:
    """Whether `form != 0` is proved, by its sign or because no integers make it 0."""
    if not form.terms:
        return form.constant != 0
    if form.constant % gcd(*form.terms.values()):
        return True
    return is_positive(form, known) or is_positive(scale(form, -1), known)
