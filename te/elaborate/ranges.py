"""How far an index runs.

In this order: what is written, what the declared shape of the defined tensor gives,
the axes of other tensors that it indexes directly, which must be provably equal.
"""

from __future__ import annotations

from collections.abc import Iterable

from te.diagnostics import Note, Span, error
from te.elaborate.dtypes import coerce
from te.elaborate.expressions import Env, lower
from te.elaborate.limits import exact
from te.elaborate.scope import Scope
from te.elaborate.syntax import walk_syntax
from te.elaborate.tables import find_table
from te.grammar import tree
from te.ir.expr import Expr, Var, compare
from te.ir.print import print_expr
from te.ir.simplify import simplify
from te.ir.types import I64
from te.ir.visit import variables


def written_extent(scope: Scope, env: Env, axis: tree.Range) -> Expr:
    """The extent in `i < N + 1`: sizes and `const`s only."""
    for node in walk_syntax(axis.extent):
        if isinstance(node, tree.Name) and node.name in env.index_names():
            condition = f"{axis.name} < {axis.extent.span.text}"
            scope.fail(
                error(
                    "extent-uses-index",
                    f"the extent of `{axis.name}` uses the index `{node.name}`",
                    node.span,
                    help=f"extents use sizes and `const`s only: write `[{axis.name} where {condition}]`",
                )
            )
    extent = lower(scope, Env.for_sizes(scope), axis.extent)
    return simplify(exact(scope, coerce(scope, extent, I64, axis.extent.span), axis.extent.span))


def inferred_extent(scope: Scope, name: str, span: Span, places: Iterable[tree.Expr]) -> Expr:
    """The extent that direct reads such as `X[i, j]` in `places` give the index `name`."""
    uses = [use for place in places for use in _direct_reads(scope, name, place)]
    plain = [(extent, node) for extent, node in uses if node.outside is None]
    candidates = plain or uses
    if not candidates:
        scope.fail(
            error(
                "extent-unknown",
                f"nothing says how far `{name}` runs",
                span,
                "no tensor is indexed with it directly",
                help=f"write its extent, as in `[{name} < N]`",
            )
        )
    first, first_node = candidates[0]
    for extent, node in candidates[1:]:
        if extent != first and not scope.knowledge.proves(compare("==", extent, first)):
            scope.fail(
                error(
                    "extents-differ",
                    f"`{name}` runs over axes that are not known to be equal",
                    node.span,
                    f"{print_expr(extent)} here",
                    help=_equality_help(name, first, extent),
                    notes=[Note(first_node.span, f"{print_expr(first)} here")],
                )
            )
    return first


def _equality_help(name: str, first: Expr, second: Expr) -> str:
    if isinstance(first, Var) and isinstance(second, Var):
        return f"declare both axes with the same size, or add `require {first.name} == {second.name}`"
    if not variables(first) | variables(second):
        return f"write the extent meant, as in `[{name} < {print_expr(first)}]`"
    return f"add `require {print_expr(first)} == {print_expr(second)}`, or write the extent, as in `[{name} < N]`"


def _direct_reads(scope: Scope, name: str, place: tree.Expr) -> list[tuple[Expr, tree.Read]]:
    found = []
    for node in walk_syntax(place):
        if isinstance(node, tree.Read) and node.name.name not in scope.places:
            find_table(scope, node.name.name)
        if isinstance(node, tree.Read) and node.name.name in scope.tensors:
            shape = scope.tensors[node.name.name].shape
            for axis, item in enumerate(node.index[: len(shape)]):
                if isinstance(item, tree.Name) and item.name == name:
                    found.append((shape[axis], node))
    return found


def axis_name(scope: Scope, env: Env, axis: tree.Axis, taken: set[str]) -> str:
    """The name of an axis in `sum[...]` or left of `=`, checked to be new."""
    match axis:
        case tree.Name(name=name) | tree.Range(name=name):
            pass
        case tree.Pack():
            from te.elaborate.unsupported import unsupported

            unsupported(scope, "packs (`*S`)", axis.span)
        case _:
            scope.fail(
                error(
                    "axis-not-a-name",
                    "an axis is a new name here",
                    axis.span,
                    help="write `[i]`, or `[i < N]` to give its extent",
                )
            )
    if name in taken or name in env.index_names():
        scope.fail(
            error(
                "index-reused",
                f"the index `{name}` is already in use here",
                axis.span,
                help="an index hides nothing: choose another name",
            )
        )
    if name in scope.places:
        note = Note(scope.places[name], "declared here")
        scope.fail(
            error(
                "index-takes-name",
                f"`{name}` already names something of op `{scope.op.name}`",
                axis.span,
                help="choose another name for the index",
                notes=[note],
            )
        )
    return name
