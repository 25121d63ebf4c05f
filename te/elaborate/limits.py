"""How large an expression may grow, since calls, `else` and powers copy what they are given; and its numbers."""

from __future__ import annotations

from te.diagnostics import Span, error
from te.elaborate.scope import Scope
from te.ir.bounds import NO_FACTS
from te.ir.expr import Expr
from te.ir.magnitude import overflows
from te.ir.visit import children, substitute

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


def exact(scope: Scope, e: Expr, span: Span) -> Expr:
    """`e` itself, an index, a condition or a size, unless its constants alone make arithmetic on indices overflow.

    What simplifies it and proves reads to lie inside takes that for exact. Sizes of a call are judged at the call.
    """
    if overflows([substitute(e, scope.knowledge.bindings)], NO_FACTS, 0):
        scope.fail(
            error(
                "index-too-large",
                "index arithmetic is exact, and this does not fit 64 bits",
                span,
                "too large, whatever the call",
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
