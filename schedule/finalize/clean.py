"""Say everything as simply as what is known at its place allows.

Guards that hold go, and so does what can never run; a loop of one trip is its
body, unless blocks run it; a `Let` of a variable or constant is put in its place; a `Let` that nobody
uses goes.
"""

from __future__ import annotations

from dataclasses import replace

from te.ir.bounds import Facts
from te.ir.expr import FALSE, TRUE, Const, Expr, Op, Var, both, conjuncts, integer, negation
from te.ir.loop import (
    BLOCKS,
    TENSORIZED,
    UNROLLED,
    VECTOR,
    Accumulate,
    Alloc,
    Barrier,
    Combine,
    Commit,
    Completed,
    For,
    If,
    Let,
    Seq,
    Stmt,
    Store,
    Wait,
    direct_exprs,
    map_buffer,
    map_prefetches,
    rewrite_stmt,
    seq,
    substitute_stmt,
    walk_stmt,
)
from te.ir.simplify import simplify
from te.ir.visit import children, variables, with_children
from te.schedule.context import assuming, facts_inside, facts_of_element
from te.schedule.finalize.guards import conjunction

NOTHING = Seq(())


def clean(s: Stmt, facts: Facts, lanes: frozenset[str] = frozenset()) -> Stmt:
    """Simplify a statement where `facts` hold, inside the loops `lanes` that are written out."""
    match s:
        case Seq():
            return seq(*[c for item in s.items if (c := clean(item, facts, lanes)) != NOTHING])
        case For():
            return _loop(s, facts, lanes)
        case If():
            return _guard(s, facts, lanes)
        case Let():
            return _let(s, facts, lanes)
        case Alloc():
            buffer = map_buffer(s.buffer, lambda e: simplify(e, facts))
            body = clean(s.body, facts, lanes)
            return body if body == NOTHING else Alloc(buffer, body)
        case Completed():
            raise ValueError("`place_completed` comes before `clean`")
        case Barrier() | Commit() | Wait() | Combine():
            return s
        case Store():
            return replace(s, index=_all(s.index, facts), value=_all((s.value,), facts)[0])
        case Accumulate():
            index = _all(s.index, facts_of_element(s, facts))
            return replace(s, index=index, value=_term(s, facts), kept=_all(s.kept, facts))


def _term(s: Accumulate, facts: Facts) -> Expr:
    """The simplified term, but never a product that was none: a float `sum` rounds that once, not twice."""
    (value,) = _all((s.value,), facts)
    if s.reducer != "sum" or not value.dtype.is_float or _is_product(s.value) or not _is_product(value):
        return value
    return with_children(s.value, _all(children(s.value), facts))


def _is_product(e: Expr) -> bool:
    return isinstance(e, Op) and e.op == "*"


def _all(index: tuple[Expr, ...], facts: Facts) -> tuple[Expr, ...]:
    # What is known is worked out at the first question: half the places have none to ask.
    return tuple(i if isinstance(i, Const | Var) else simplify(i, facts) for i in index)


def _loop(s: For, facts: Facts, lanes: frozenset[str]) -> Stmt:
    (extent,) = _all((s.extent,), facts)
    if isinstance(extent, Const) and extent.value <= 0:
        return NOTHING
    if extent == integer(1):
        body = clean(substitute_stmt(s.body, {s.var: integer(0)}), facts, lanes)
        # One block is a launch, too: what stands beside it may have other threads.
        is_launch = s.kind in BLOCKS and body != NOTHING and not _has_blocks(body)
        return replace(s, extent=extent, body=body, prefetches=()) if is_launch else body
    s = replace(s, extent=extent)
    if s.kind in (UNROLLED, VECTOR, TENSORIZED):
        lanes |= {s.var}
    inside = facts_inside(s, s.body, facts, trust_lets=False)
    s = replace(s, prefetches=map_prefetches(s, lambda i: simplify(i, inside)))
    body = clean(s.body, inside, lanes)
    if s.kind in BLOCKS:
        body = rewrite_stmt(body, _without_one_block)
    return body if body == NOTHING else replace(s, body=body)


def _has_blocks(s: Stmt) -> bool:
    return any(isinstance(x, For) and x.kind in BLOCKS for x, _ in walk_stmt(s))


def _without_one_block(s: Stmt) -> Stmt:
    return s.body if isinstance(s, For) and s.kind in BLOCKS and s.extent == integer(1) else s


def _guard(s: If, facts: Facts, lanes: frozenset[str]) -> Stmt:
    condition = simplify(s.condition, facts)
    if condition == FALSE:
        return NOTHING if s.otherwise is None else clean(s.otherwise, facts, lanes)
    if condition == TRUE:
        return clean(s.body, facts, lanes)
    s = If(condition, s.body, s.otherwise)
    body = clean(s.body, assuming(_without_equal_lanes(condition, lanes), facts), lanes)
    otherwise: Stmt = NOTHING
    if s.otherwise is not None:
        otherwise = clean(s.otherwise, facts_inside(s, s.otherwise, facts, trust_lets=False), lanes)
    if otherwise != NOTHING:
        return If(negation(condition), otherwise) if body == NOTHING else If(condition, body, otherwise)
    if isinstance(body, If) and body.otherwise is None:
        return If(both(condition, body.condition), body.body)
    return body if body == NOTHING else If(condition, body)


def _without_equal_lanes(condition: Expr, lanes: frozenset[str]) -> Expr:
    """The condition less what names the one lane, or trip, for which it holds.

    With `ji == i`, the simplifier could write `tile[i]` for `tile[ji]`; but a register is chosen by
    the loops that are written out, and an accumulator in a vector loop differs in every lane.
    """
    return conjunction(
        [
            part
            for part in conjuncts(condition)
            if not (isinstance(part, Op) and part.op == "==" and variables(part) & lanes)
        ]
    )


def _let(s: Let, facts: Facts, lanes: frozenset[str]) -> Stmt:
    value = simplify(s.value, facts)
    if isinstance(value, Const | Var):
        return clean(substitute_stmt(s.body, {s.var: value}), facts, lanes)
    s = replace(s, value=value, extent=simplify(s.extent, facts))
    if variables(value) & lanes:
        lanes |= {s.var}
    body = clean(s.body, facts_inside(s, s.body, facts, trust_lets=False), lanes)
    return replace(s, body=body) if any(_uses(inner, s.var) for inner, _ in walk_stmt(body)) else body


def _uses(s: Stmt, name: str) -> bool:
    fetched = [i for p in s.prefetches for i in p.index] if isinstance(s, For) else []
    return any(name in variables(e) for e in (*direct_exprs(s), *fetched))
