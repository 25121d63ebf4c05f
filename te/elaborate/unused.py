"""Warnings: what a program defines and never uses is probably a slip of the pen."""

from __future__ import annotations

from collections.abc import Iterator

from te.diagnostics import Diagnostic, warning
from te.elaborate.syntax import walk_syntax
from te.grammar import tree


def unused(op: tree.Op) -> Iterator[Diagnostic]:
    """A warning for each tensor, `const` and reduction index of an op that nothing uses."""
    nodes = list(_nodes(op))
    used = {n.name for n in nodes if isinstance(n, tree.Name | tree.Pack)}
    used |= {n.name.name for n in nodes if isinstance(n, tree.Read)}
    results = {r.name for r in op.results}
    warned: set[str] = set()
    for statement in op.body:
        if not isinstance(statement, tree.Equation):
            continue
        for target in statement.targets:
            if target.name not in used | results | warned and target.name != "_":
                warned.add(target.name)
                yield warning(
                    "unused-tensor",
                    f"`{target.name}` is defined and never used",
                    target.span,
                    help="`_` discards a result of a call" if len(statement.targets) > 1 else None,
                )
    for param in op.params:
        if param.kind == "const" and param.name not in used:
            yield warning("unused-const", f"the `const` `{param.name}` is never used", param.name_span)
    for node in nodes:
        if isinstance(node, tree.Reduce):
            yield from _unused_indices(node)


def _nodes(op: tree.Op) -> Iterator[tree.Expr | tree.Axis]:
    """Every node of an op at which something may be used (not the axes that equations define)."""
    for type_ in [p.type for p in op.params] + [r.type for r in op.results]:
        for dim in type_.dims or ():
            yield from walk_syntax(dim)
    for param in op.params:
        if param.default is not None:
            yield from walk_syntax(param.default)
    for statement in op.body:
        if isinstance(statement, tree.Require):
            yield from walk_syntax(statement.condition)
            continue
        for target in statement.targets:
            for axis in target.index or ():
                if isinstance(axis, tree.Range):
                    yield from walk_syntax(axis.extent)
        yield from walk_syntax(statement.value)


def _unused_indices(reduce: tree.Reduce) -> Iterator[Diagnostic]:
    if all(isinstance(a.value, tree.Number) for a in reduce.args):
        return  # `sum[i](1)` counts
    places = [a.value for a in reduce.args] + ([] if reduce.where is None else [reduce.where])
    used = {n.name for place in places for n in walk_syntax(place) if isinstance(n, tree.Name | tree.Pack)}
    for axis in reduce.axes:
        if isinstance(axis, tree.Name | tree.Range) and axis.name not in used:
            yield warning(
                "unused-index",
                f"the term does not depend on `{axis.name}`",
                axis.span,
                f"every trip of `{axis.name}` gives the same term",
            )
