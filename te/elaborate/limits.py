"""How large an expression may grow: calls, `else` and powers copy what they are given."""

from __future__ import annotations

from te.diagnostics import Span, error
from te.elaborate.scope import Scope
from te.ir.expr import Expr
from te.ir.visit import children

MAX_NODES = 20_000
MAX_DEPTH = 200  # recursive passes stay well inside Python's own limit


def limited(scope: Scope, e: Expr, span: Span) -> Expr:
    """`e` itself, unless it has outgrown the limits."""
    if _is_too_large(e):
        scope.fail(
            error(
                "expression-too-large",
                f"this expression grows beyond {MAX_NODES} operations, or nests deeper than {MAX_DEPTH}",
                span,
                help="give parts of it names, in equations of their own",
            )
        )
    return e


def _is_too_large(e: Expr) -> bool:
    count = 0
    stack = [(e, 1)]
    while stack:
        node, depth = stack.pop()
        count += 1
        if count > MAX_NODES or depth > MAX_DEPTH:
            return True
        stack.extend((c, depth + 1) for c in children(node))
    return False
