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
    new = tuple([rewrite(c, f) for c in old])
    if any(a is not b for a, b in zip(old, new, strict=True)):
        e = with_children(e, new)
    return f(e)


def substitute(e: Expr, values: Mapping[str, Expr]) -> Expr:
    """Put expressions in the place of variables, all at once."""
    if not values:
        return e
    return rewrite(e, lambda n: values.get(n.name, n) if isinstance(n, Var) else n)


def walk(e: Expr) -> Iterator[Expr]:
    """Every node, parents first, left to right."""
    yield e
    for child in children(e):
        yield from walk(child)


def variables(e: Expr) -> set[str]:
    return {n.name for n in walk(e) if isinstance(n, Var)}


def loads(e: Expr) -> Iterator[Load]:
    return (n for n in walk(e) if isinstance(n, Load))
