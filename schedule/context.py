"""What is known at a place of the loop IR: from the requirements and everything around it.

A `Let` states a range for its value that holds wherever the effects of its body
happen. A guard may be what makes it hold, so a proof that removes a guard must not
use it: `facts_at(..., trust_lets=False)` then keeps only the ranges that follow
from the loops alone.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence, Set
from contextlib import contextmanager
from contextvars import ContextVar

from te.ir.bounds import Facts, prove
from te.ir.expr import Expr, Op, Var, compare, conjuncts, integer, mul, negation, sub
from te.ir.loop import Accumulate, For, If, Let, Stmt
from te.ir.simplify import simplify
from te.ir.tensor import Program, Requirement
from te.ir.visit import loads, variables

_shared: ContextVar[dict[tuple[Requirement, ...], Facts] | None] = ContextVar("_shared", default=None)


@contextmanager
def shared_facts() -> Iterator[None]:
    """Keep what is derived from facts for all directives and passes of one build, and then forget it.

    Most loops stay as they are from one line of a schedule to the next, and so does what is known there.
    """
    token = _shared.set({})
    try:
        yield
    finally:
        _shared.reset(token)


def program_facts(program: Program) -> Facts:
    """The requirements hold."""
    shared = _shared.get()
    if shared is not None and program.requirements in shared:
        return shared[program.requirements]
    facts = Facts()  # not NO_FACTS, whose cache would never be freed
    for requirement in program.requirements:
        facts = facts.with_assumption(requirement.condition)
    if shared is not None:
        shared[program.requirements] = facts
    return facts


def facts_at(path: tuple[Stmt, ...], program: Program, trust_lets: bool = True) -> Facts:
    """What holds inside the last statement of `path`, which runs from the outside in.

    An `If` that ends the path and has an `otherwise` tells nothing: one cannot see which side is meant.
    """
    facts = program_facts(program)
    for i, s in enumerate(path):
        facts = facts_inside(s, path[i + 1] if i + 1 < len(path) else None, facts, trust_lets)
    return facts


def facts_inside(s: Stmt, body: Stmt | None, facts: Facts, trust_lets: bool = True) -> Facts:
    """What holds in `body`, which stands directly in `s`, where `facts` hold around `s`."""
    match s:
        case For():
            return ranging(facts, s.var, s.extent)
        case If():
            if s.otherwise is None or body is s.body:
                return assuming(s.condition, facts)
            if body is s.otherwise and len(conjuncts(s.condition)) == 1:
                return assuming(negation(s.condition), facts)
            return facts  # `not (a and b)` says too little to be worth a proof
        case Let():
            return ranging(facts, s.var, s.extent) if trust_lets or follows_from_loops(s, facts) else facts
        case _:
            return facts


def facts_of_element(s: Accumulate, facts: Facts) -> Facts:
    """What holds where the element of a reduction is stored, of the `facts` where a term of it is added.

    It is stored before and behind the loops over its terms, even where these have none. So what their trips and
    guards tell is known of terms alone: what is left are the ranges of loops over data in them.
    """
    outside, known = facts, facts
    while known.base is not None:
        before = known.base
        if len(before.ranges) < len(known.ranges) and known.ranges[-1][0] in s.over:
            outside = before
        known = before
    inside = facts.ranges[len(outside.ranges) :]
    names = frozenset(name for i in s.index for name in variables(i))
    return _remembered(facts, ("element", s.over, names), _with_ranges_of, names, outside, inside)


def _with_ranges_of(names: Set[str], facts: Facts, ranges: Sequence[tuple[str, Expr, Expr]]) -> Facts:
    """`facts` and those of the ranges that say what these variables are."""
    needed: list[tuple[str, Expr, Expr]] = []
    for name, low, high in reversed(ranges):
        if name in names:
            needed.append((name, low, high))
            names = names | variables(low) | variables(high)
    for name, low, high in reversed(needed):
        facts = facts.with_range(name, low, high)
    return facts


def assuming(condition: Expr, facts: Facts) -> Facts:
    """Add the parts of a condition that speak of indices alone."""
    for part in conjuncts(condition):
        if not any(True for _ in loads(part)):
            facts = _remembered(facts, ("if", part), facts.with_assumption, part)
    return facts


def ranging(facts: Facts, name: str, extent: Expr) -> Facts:
    """What is known where a variable runs through `0..extent`."""
    return _remembered(
        facts, ("for", name, extent), facts.with_range, name, integer(0), sub(extent, integer(1))
    )


def _remembered(facts: Facts, key: Hashable, make: Callable[..., Facts], *arguments: object) -> Facts:
    """One `Facts` for a place, though several passes come by: what was derived from it is kept."""
    inner = facts.cache.setdefault("inside", {})
    assert isinstance(inner, dict)
    if key not in inner:
        inner[key] = make(*arguments)
    found = inner[key]
    assert isinstance(found, Facts)
    return found


def follows_from_loops(s: Let, facts: Facts) -> bool:
    """Does the range that a `Let` states hold whatever guards stand in its body?

    The first part of a fused loop is `f // inner` with `f < outer * inner`. The product of two
    sizes is not something to prove again: it is recognised.
    """
    match s.value:
        case Op(op="//", args=(Var(name=name), inner)):
            high = next((high for known, _, high in facts.ranges if known == name), None)
            if high is not None and simplify(
                sub(sub(mul(s.extent, inner), integer(1)), high), facts
            ) == integer(0):
                return True
    return prove(compare("<=", integer(0), s.value), facts) and prove(compare("<", s.value, s.extent), facts)
