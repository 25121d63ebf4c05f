"""Walking and rewriting expressions: the one walker and the one rewriter."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from te.ir.expr import Cast, Const, Expr, Load, Op, Select, Var


def children(e: Expr) -> tuple[Expr, ...]:
    match e:
        case Load():
            return e.index
        case Op():
            return e.args
        case Cast():
            return (e.value,)
        case Select():
            return (e.condition, e.then, e.otherwise)
        case Const() | Var():
            return ()


def with_children(e: Expr, new: tuple[Expr, ...]) -> Expr:
    """The same node over other children."""
    match e:
        case Load():
            return Load(e.buffer, new, e.dtype)
        case Op():
            return Op(e.op, new, e.dtype)
        case Cast():
            return Cast(new[0], e.dtype)
        case Select():
            return Select(*new)
        case Const() | Var():
            return e


def rewrite(e: Expr, f: Callable[[Expr], Expr]) -> Expr:
    """Apply `f` to every node, children first. What does not change keeps its identity."""
    old = children(e)
    if old:
        new: list[Expr] = []
        is_changed = False
        for child in old:
            rewritten = rewrite(child, f)
            is_changed = is_changed or rewritten is not child
            new.append(rewritten)
        if is_changed:
            e = with_children(e, tuple(new))
    return f(e)


def substitute(e: Expr, values: Mapping[str, Expr]) -> Expr:
    """Put expressions in the place of variables, all at once."""
    if not values:
        return e
    return rewrite(e, lambda n: values.get(n.name, n) if isinstance(n, Var) else n)


def walk(e: Expr) -> Iterator[Expr]:
    """Every node, parents first, left to right."""
    pending = [e]  # no recursion: each node would pass through the generators of all above it
    while pending:
        e = pending.pop()
        yield e
        inner = children(e)
        if inner:
            pending += reversed(inner)


def variables(e: Expr) -> set[str]:
    """The names of all variables in an expression."""
    if isinstance(e, Var):
        return {e.name}
    return {n.name for n in walk(e) if isinstance(n, Var)}


def loads(e: Expr) -> Iterator[Load]:
    return (n for n in walk(e) if isinstance(n, Load))
