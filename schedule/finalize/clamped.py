"""Clamped reads of vectors: neighbours, and one element for the lanes at the border.

    vector j < 16:                          vector j < 16:
      Y[j] = X[max(0, 16 * jo + j - 1)]  ->   Y[j] = where(16 * jo + j - 1 >= 0, X[16 * jo + j - 1], X[0])

Lanes that share an element make a gather of what is otherwise one load under a mask. Stencils read so at their
borders; inside, the clamps are gone before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from te.ir.bounds import Facts
from te.ir.expr import Expr, Load, Op, Select, Var, add, compare, integer, sub
from te.ir.loop import VECTOR, Accumulate, Buffer, For, Stmt, Store, rewrite_stmt
from te.ir.simplify import simplify
from te.ir.visit import rewrite, substitute, variables

# How the first argument compares with the second where it is the result.
_KEEPS_FIRST = {"max": ">=", "min": "<="}


def choose_clamped_reads(body: Stmt, facts: Facts, buffers: Mapping[str, Buffer]) -> Stmt:
    """Let the lanes of vector loops choose between neighbours and the element at a border."""

    def of_loop(s: Stmt) -> Stmt:
        if not isinstance(s, For) or s.kind != VECTOR:
            return s

        def of_read(e: Expr) -> Expr:
            if not isinstance(e, Load) or not e.index or buffers[e.buffer].scope == "register":
                return e
            return _chosen(e, s.var, facts)

        def of_value(inner: Stmt) -> Stmt:
            if isinstance(inner, Store | Accumulate):
                return replace(inner, value=rewrite(inner.value, of_read))
            return inner

        return replace(s, body=rewrite_stmt(s.body, of_value))

    return rewrite_stmt(body, of_loop)


def _chosen(load: Load, lane: str, facts: Facts) -> Expr:
    """The choice that a read with a clamped last index is, if the lanes are neighbours where it is not clamped."""
    *outer, last = load.index
    if not isinstance(last, Op) or last.op not in _KEEPS_FIRST or any(lane in variables(i) for i in outer):
        return load
    moving, border = last.args if lane in variables(last.args[0]) else reversed(last.args)
    if lane in variables(border) or not _is_consecutive(moving, lane, facts):
        return load
    inside = _chosen(Load(load.buffer, (*outer, moving), load.dtype), lane, facts)
    at_border = Load(load.buffer, (*outer, border), load.dtype)
    return Select(compare(_KEEPS_FIRST[last.op], moving, border), inside, at_border)


def _is_consecutive(index: Expr, lane: str, facts: Facts) -> bool:
    """Whether the next lane reads the next element, but for clamps."""
    if isinstance(index, Op) and index.op in _KEEPS_FIRST:
        return any(lane in variables(arg) and _is_consecutive(arg, lane, facts) for arg in index.args)
    following = substitute(index, {lane: add(Var(lane), integer(1))})
    return simplify(sub(following, index), facts) == integer(1)
