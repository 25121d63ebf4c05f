"""Index conditions as `slack >= 0`, and what they say about one loop or about all trips of some.

`8*io + ii < M` has the slack `M - 1 - 8*io - ii`. Over the inner loop `ii < 8`
it is smallest at 7 and largest at 0, so that

    M - 8 - 8*io >= 0    holds where the guard holds in every trip of `ii`
    M - 1 - 8*io >= 0    holds where it holds in some trip

and, solved for `io`, the first says `io < (M - 8) // 8 + 1`. Only the sign of a
variable's coefficient is used, so sizes and other terms may be symbolic.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import count
from typing import TypeAlias

from te.ir.bounds import Facts
from te.ir.expr import TRUE, Const, Expr, Op, Var, add, both, conjuncts, floor_div, integer, mul, sub
from te.ir.loop import Accumulate, For, If, Let, Stmt, Store, bodies, seq, substitute_stmt, with_bodies
from te.ir.simplify import simplify
from te.ir.types import I64
from te.ir.visit import loads, substitute, variables, walk

Path: TypeAlias = tuple[Stmt, ...]  # statements around a place, outermost first


def is_index_condition(condition: Expr) -> bool:
    """Can the condition be evaluated anywhere its variables are known? Not if it reads memory."""
    return not any(True for _ in loads(condition))


def slack(condition: Expr) -> Expr | None:
    """The `e` for which the condition says `e >= 0`, where it is an inequality of indices."""
    match condition:
        case Op(op="<" | "<=" | ">" | ">=", args=(a, b)) if a.dtype == I64 and is_index_condition(condition):
            match condition.op:
                case "<":
                    return sub(sub(b, a), integer(1))
                case "<=":
                    return sub(b, a)
                case ">":
                    return sub(sub(a, b), integer(1))
                case ">=":
                    return sub(a, b)
    return None


def coefficient(e: Expr, name: str) -> int | None:
    """How often the variable counts in a sum; None where `e` is not linear in it."""
    match e:
        case Var():
            return int(e.name == name)
        case Op(op="+" | "-", args=(a, b)):
            left, right = coefficient(a, name), coefficient(b, name)
            if left is None or right is None:
                return None
            return left + right if e.op == "+" else left - right
        case Op(op="neg", args=(a,)):
            inner = coefficient(a, name)
            return None if inner is None else -inner
        case Op(op="*", args=(Const(value=factor), a) | (a, Const(value=factor))):
            inner = coefficient(a, name)
            return None if inner is None else int(factor) * inner
        case _:
            return None if name in variables(e) else 0


def hull(condition: Expr, loops: Sequence[For], facts: Facts, every: bool) -> Expr | None:
    """A slack free of the loops' variables.

    With `every`, it is at least 0 only where the condition holds in every trip; without, wherever
    it holds in some trip. `loops` run from the outside in. None where the condition is not linear.
    """
    e = slack(condition)
    if e is None:
        return None
    for loop in reversed(loops):
        factor = coefficient(e, loop.var)
        if factor is None:
            return None
        last = sub(loop.extent, integer(1))
        smallest_at_last = factor < 0
        e = substitute(e, {loop.var: last if smallest_at_last == every else integer(0)}) if factor else e
    return simplify(e, facts)


def solve(e: Expr, name: str, facts: Facts) -> tuple[str, Expr] | None:
    """Solve `e >= 0` for a variable: ("below", n) for `name < n`, ("from", n) for `name >= n`."""
    factor = coefficient(e, name)
    if not factor:
        return None
    rest = substitute(e, {name: integer(0)})
    if factor < 0:
        return "below", simplify(add(floor_div(rest, integer(-factor)), integer(1)), facts)
    return "from", simplify(mul(integer(-1), floor_div(rest, integer(factor))), facts)


def inline_lets(e: Expr, path: Sequence[Stmt], of: set[str], facts: Facts) -> Expr:
    """Put the values of `Let`s on the path in place of their names, where they depend on `of`."""
    for i in reversed(range(len(path))):
        s = path[i]
        if isinstance(s, Let) and s.var in variables(e) and depends_on(s.value, path[:i], of):
            e = simplify(substitute(e, {s.var: s.value}), facts)
    return e


def depends_on(e: Expr, path: Sequence[Stmt], of: set[str]) -> bool:
    """Does `e` use one of the variables, directly or through `Let`s on the path?"""
    return bool(variables(e) & tainted(path, of))


def tainted(path: Sequence[Stmt], of: set[str]) -> set[str]:
    """The variables `of`, and the `Let`s on the path that depend on them."""
    found = set(of)
    for s in path:
        if isinstance(s, Let) and variables(s.value) & found:
            found.add(s.var)
    return found


def conjunction(parts: Sequence[Expr]) -> Expr:
    condition: Expr = TRUE
    for part in parts:
        condition = both(condition, part)
    return condition


def guarded(parts: Sequence[Expr], body: Stmt) -> Stmt:
    """The body under all the conditions."""
    return If(conjunction(parts), body) if parts else body


def guards_on(path: Sequence[Stmt]) -> list[Expr]:
    """The parts of all conditions on a path, outermost first."""
    return [part for s in path if isinstance(s, If) for part in conjuncts(s.condition)]


def leaves(s: Stmt, path: Path = ()) -> Iterator[tuple[Store | Accumulate, Path]]:
    """Every `Store` and `Accumulate` with what stands around it.

    An `If` is on the path only of what runs where its condition holds.
    """
    if isinstance(s, Store | Accumulate):
        yield s, path
    elif isinstance(s, If) and s.otherwise is not None:
        yield from leaves(s.body, (*path, s))
        yield from leaves(s.otherwise, path)
    else:
        for body in bodies(s):
            yield from leaves(body, (*path, s))


def drop_guards(s: Stmt, holds: Callable[[Expr, Path], bool], path: Path = ()) -> Stmt:
    """Leave out the parts of guards that hold; a guard with an `otherwise` stays as it is."""
    if isinstance(s, If) and s.otherwise is None:
        kept = [part for part in conjuncts(s.condition) if not holds(part, path)]
        body = drop_guards(s.body, holds, (*path, If(conjunction(kept), s.body)) if kept else path)
        return guarded(kept, body)
    return with_bodies(s, tuple([drop_guards(b, holds, (*path, s)) for b in bodies(s)])) if bodies(s) else s


# A bound that takes more than arithmetic to say gets a name: it is computed once, and what is
# built on it stays small (three nested tails took the simplifier seconds without).
FROM, FULL = ".from", ".full"


def name_ends_apart(s: Stmt, scope: frozenset[str] = frozenset()) -> Stmt:
    """Number the names of ends that hide another one: their ranges are facts of different variables."""
    if isinstance(s, Let) and s.var in scope:
        base, end = s.var.rsplit(".", 1)
        name = next(n for n in (f"{base}{number}.{end}" for number in count(2)) if n not in scope)
        s = replace(s, var=name, body=substitute_stmt(s.body, {s.var: Var(name)}))
    scope = scope | {s.var} if isinstance(s, For | Let) else scope
    old = bodies(s)
    new = tuple([name_ends_apart(body, scope) for body in old])
    return with_bodies(s, new) if any(a is not b for a, b in zip(old, new, strict=True)) else s


def is_plain(e: Expr) -> bool:
    """Is the expression short enough to be repeated wherever its value is used?"""
    return not any(isinstance(n, Op) and n.op in ("min", "max") for n in walk(e))


def float_names(items: Sequence[Stmt]) -> Stmt:
    """The statements in order, with named bounds around all of them, so that neighbours meet.

    Copies of one loop, such as that of a start, name their bounds alike: the same ones become one.
    """
    lets: dict[str, Let] = {}
    bare: list[Stmt] = []
    for item in items:
        while isinstance(item, Let) and item.var.endswith((FROM, FULL)):
            let = _apart_from(lets, item)
            lets[let.var] = let
            item = let.body
        bare.append(item)
    body = seq(*bare)
    for let in reversed(lets.values()):
        body = replace(let, body=body)
    return body


def _apart_from(others: Mapping[str, Let], let: Let) -> Let:
    """The bound under a name that no other bound has."""
    name, number = let.var, 2
    loop, kind = let.var.rsplit(".", 1)
    while name in others and (others[name].value, others[name].extent) != (let.value, let.extent):
        name, number = f"{loop}{number}.{kind}", number + 1
    return (
        let
        if name == let.var
        else replace(let, var=name, body=substitute_stmt(let.body, {let.var: Var(name)}))
    )
