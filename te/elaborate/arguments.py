"""What a call gives for each parameter of an op, and the elaboration of the op for it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from te.diagnostics import counted, did_you_mean, error
from te.elaborate.constants import constant_value
from te.elaborate.modules import Definition
from te.elaborate.scope import Failed, Scope
from te.grammar import tree
from te.ir.expr import Expr
from te.ir.tensor import Tensor
from te.ir.types import DTYPES, DType

MAX_CALL_DEPTH = 32
LIMITS = ("calls-too-deep", "too-many-calls", "too-many-stages")


def is_op_call(scope: Scope, call: tree.Call) -> bool:
    """Whether a call applies an op to whole tensors (an op of scalars alone is a function)."""
    definition = scope.find_op(call.name.name)
    return definition is not None and not is_function(definition.op)


def is_function(op: tree.Op) -> bool:
    """Whether an op takes and gives scalars only."""
    types = [p.type for p in op.params if p.kind != "const"] + [r.type for r in op.results]
    return len(op.results) == 1 and all(not t.dims for t in types)


@dataclass(slots=True)
class Call:
    """A call under way: the callee's parameters with what the caller gave for them."""

    op: tree.Op
    node: tree.Call
    tensors: dict[str, Tensor] = field(default_factory=dict)
    consts: dict[str, int | float | bool] = field(default_factory=dict)
    dtypes: dict[str, DType] = field(default_factory=dict)
    ranks: dict[str, int] = field(default_factory=dict)  # of the callee's packs
    shown: dict[str, Expr] = field(
        default_factory=dict
    )  # the caller's sizes, hidden while the callee is elaborated


def parameters(op: tree.Op) -> str:
    """The parameters that a call must give."""
    return ", ".join(p.name for p in op.params if p.default is None)


def required_argument(
    scope: Scope, call: Call, given: dict[str, tree.Expr], param: tree.Param
) -> tree.Expr | None:
    """What a call gives for a parameter; None for a `const` left to its default."""
    if param.name in given:
        return given[param.name]
    if param.kind == "const" and param.default is not None:
        return None
    scope.fail(
        error(
            "argument-missing",
            f"the call gives no `{param.name}`",
            call.node.span,
            help=f"`{call.op.name}` takes {parameters(call.op)}",
        )
    )


def by_parameter(scope: Scope, call: Call) -> dict[str, tree.Expr]:
    """The arguments by parameter. Those that name a dtype variable go to `call.dtypes`."""
    op, node = call.op, call.node
    given: dict[str, tree.Expr] = {}
    positions = [p.name for p in op.params]
    for number, argument in enumerate(node.args):
        if argument.name is None and number >= len(positions):
            scope.fail(
                error(
                    "argument-count",
                    f"`{op.name}` takes {counted(len(positions), 'argument')}, found {len(node.args)}",
                    argument.span,
                )
            )
        name = argument.name or positions[number]
        if any(g.name == name for g in op.generics):
            call.dtypes[name] = _dtype_argument(scope, argument)
            continue
        if name not in positions:
            scope.fail(
                error(
                    "unknown-parameter",
                    f"`{op.name}` has no parameter `{name}`",
                    argument.span,
                    help=did_you_mean(name, positions) or f"it takes {', '.join(positions)}",
                )
            )
        if name in given:
            scope.fail(error("argument-twice", f"`{name}` is given twice", argument.span))
        given[name] = argument.value
    return given


def _dtype_argument(scope: Scope, argument: tree.Argument) -> DType:
    """`U=f64`, for a dtype variable that no input decides."""
    value = argument.value
    name = value.name if isinstance(value, tree.Name) else ""
    dtype = scope.dtypes.get(name) or DTYPES.get(name)
    if dtype is None:
        scope.fail(
            error(
                "dtype-argument",
                f"`{argument.name}` is a dtype variable",
                value.span,
                help=f"give a type, as in `{argument.name}=f32`",
            )
        )
    return dtype


def const_argument(scope: Scope, param: tree.Param, argument: tree.Expr) -> int | float | bool:
    value = constant_value(scope, argument)
    kinds: dict[str, tuple[type, ...]] = {"int": (int,), "float": (int, float), "bool": (bool,)}
    wanted = kinds.get(param.type.name, ())  # an unknown kind is reported where the op is declared
    right = isinstance(value, wanted) and isinstance(value, bool) == (bool in wanted)
    if value is None or not right:
        scope.fail(
            error(
                "const-argument",
                f"`{param.name}` is a `const {param.type.name}`, fixed when the op is built",
                argument.span,
                help="give a literal or a `const` of this op",
            )
        )
    return value


def refuse_recursion(scope: Scope, definition: Definition, node: tree.Call) -> None:
    op = definition.op
    if definition.identity in (scope.identity, *scope.callers):
        scope.fail(
            error(
                "op-calls-itself",
                f"`{op.name}` calls itself",
                node.span,
                help="write the repetition as a recurrence over an index",
            )
        )
    if len(scope.callers) >= MAX_CALL_DEPTH:
        scope.fail(error("calls-too-deep", f"calls of ops nest deeper than {MAX_CALL_DEPTH}", node.span))


def elaborate_callee(
    scope: Scope, callee: Scope, call: Call, sizes: dict[str, Expr], assumptions: tuple[Expr, ...]
) -> None:
    """Elaborate the called op in its own scope; what is wrong with it is the call's mistake too."""
    from te.elaborate.elaborate import elaborate_op

    scope.module.library.count_call(scope, call.node.span)
    elaborate_op(callee, call.consts, call.dtypes, sizes, assumptions)
    found = callee.diagnostics.errors
    if not found:
        return
    if all(d in scope.diagnostics.items for d in found):
        raise Failed  # the op is wrong by itself, and that was said
    for diagnostic in found:
        scope.diagnostics.add(diagnostic)
    if any(d.code in LIMITS for d in found):
        raise Failed  # each call on the way to a limit is not worth a message
    scope.fail(error("in-call", f"this call of `{call.op.name}` does not compile", call.node.span))


def share_tables(scope: Scope, callee: Scope) -> dict[str, str]:
    """The callee's tables under names that are free here."""
    renamed: dict[str, str] = {}
    for name, table in callee.tables.items():
        shared = name
        if (name in scope.tensors and scope.tables.get(name) != table) or name in scope.places:
            shared = scope.fresh_name(name)
        renamed[name] = shared
        tensor = replace(table.tensor, name=shared)
        scope.tables[shared] = replace(table, tensor=tensor)
        scope.tensors[shared] = tensor
    return renamed
