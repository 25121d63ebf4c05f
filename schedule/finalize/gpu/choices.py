"""What all lanes of a vector choose alike is chosen once, around the vector.

    vector for j < 4:                             if i < M:
      C[j] = where(i < M, A[4*i + j], 0.0)          vector for j < 4: C[j] = A[4*i + j]
                                            ->    else:
                                                    vector for j < 4: C[j] = 0.0

Each side is then a loop without conditions, and all that it reads may be accesses of several elements.
"""

from __future__ import annotations

from dataclasses import replace

from te.ir.expr import Select
from te.ir.loop import VECTOR, For, If, Stmt, Store, rewrite_stmt
from te.ir.visit import variables
from te.schedule.finalize.guards import is_index_condition


def choose_once(body: Stmt) -> Stmt:
    """Take choices of whole vectors out of them."""
    return rewrite_stmt(body, _chosen)


def _chosen(s: Stmt) -> Stmt:
    match s:
        case For(kind=kind, body=Store(value=Select() as choice, method="") as store) if kind == VECTOR:
            if s.var not in variables(choice.condition) and is_index_condition(choice.condition):
                then, otherwise = (
                    _chosen(replace(s, body=replace(store, value=value)))
                    for value in (choice.then, choice.otherwise)
                )
                return If(choice.condition, then, otherwise)
    return s
