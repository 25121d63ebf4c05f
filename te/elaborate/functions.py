"""Ops of scalars only are functions: a call in an expression is their definition with the arguments put in."""

from __future__ import annotations

from collections.abc import Mapping

from te.diagnostics import Diagnostics, error
from te.elaborate.arguments import (
    Call,
    by_parameter,
    const_argument,
    elaborate_callee,
    is_function,
    refuse_recursion,
    required_argument,
    share_tables,
)
from te.elaborate.dtypes import coerce, is_literal
from te.elaborate.expressions import Env, lower
from te.elaborate.limits import limited
from te.elaborate.modules import Definition
from te.elaborate.scope import Scope
from te.grammar import tree
from te.ir.expr import Cast, Expr, Load
from te.ir.types import DTYPES
from te.ir.visit import rewrite, substitute


def lower_function(scope: Scope, env: Env, node: tree.Call, definition: Definition) -> Expr:
    """The value of a call of an op of scalars."""
    op = definition.op
    if not is_function(op):
        scope.fail(
            error(
                "op-in-expression",
                f"`{op.name}` works on whole tensors",
                node.span,
                help=f"write the call as a statement of its own: `H = {node.name.name}(...)`",
            )
        )
    refuse_recursion(scope, definition, node)
    call = Call(op, node)
    given = by_parameter(scope, call)
    arguments: dict[str, Expr] = {}
    for param in op.params:
        argument = required_argument(scope, call, given, param)
        if argument is None:
            continue
        if param.kind == "const":
            call.consts[param.name] = const_argument(scope, param, argument)
        else:
            arguments[param.name] = _value(scope, env, call, param, argument)
    return inlined_results(scope, definition, call, arguments)[0]


def _value(scope: Scope, env: Env, call: Call, param: tree.Param, argument: tree.Expr) -> Expr:
    value = lower(scope, env, argument)
    expected = DTYPES.get(param.type.name) or call.dtypes.get(param.type.name)
    if expected is None:
        if is_literal(value):
            scope.fail(
                error(
                    "float-needs-type",
                    f"nothing says which type `{param.name}` has here",
                    argument.span,
                    help="cast it: `f32(...)`",
                )
            )
        call.dtypes[param.type.name] = expected = value.dtype
    value = coerce(scope, value, expected, argument.span)
    # A parameter is a value of its type: what was computed in f32 is rounded.
    return Cast(value, expected) if expected.is_narrow else value


def put_in(n: Expr, values: Mapping[str, Expr], tables: Mapping[str, str]) -> Expr:
    """An argument, an intermediate or a table in the place of the callee's read of it."""
    if not isinstance(n, Load):
        return n
    return values[n.buffer] if n.buffer in values else Load(tables[n.buffer], n.index, n.dtype)


def inlined_results(
    scope: Scope, definition: Definition, call: Call, arguments: Mapping[str, Expr]
) -> list[Expr]:
    """The results of an op of scalars, its arguments put in."""
    callee = Scope(call.op, definition.module, Diagnostics(), (*scope.callers, scope.identity))
    elaborate_callee(scope, callee, call, {}, ())
    values = dict(arguments)
    tables = share_tables(scope, callee)
    for stage in callee.stages:
        if stage.reduction is not None:
            scope.fail(
                error(
                    "function-reduces",
                    f"`{call.op.name}` is used as a function, and a function cannot reduce",
                    call.node.span,
                )
            )
        value = substitute(stage.value, callee.knowledge.bindings)
        values[stage.name] = rewrite(value, lambda n: put_in(n, values, tables))
    return [limited(scope, values[r.name], call.node.span) for r in call.op.results]
