"""Calls of ops: on whole tensors their stages are copied in, on scalars they are functions.

`H = relu(linear(X, W, b))` adds the stages of both ops. A callee's result takes the
target's name, its intermediates stand as `H_m`, a nested call's result as `H_linear`.
The callee is elaborated anew for each call, with its sizes bound to the caller's
shapes, so that proofs may use what the caller knows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from te.diagnostics import Diagnostics, counted, did_you_mean, error
from te.elaborate.constants import constant_value
from te.elaborate.dtypes import coerce, is_literal
from te.elaborate.expressions import Env, lower
from te.elaborate.limits import limited
from te.elaborate.scope import Failed, Scope
from te.elaborate.syntax import index_names
from te.elaborate.unsupported import unsupported
from te.grammar import tree
from te.ir.expr import Const, Expr, Load, Var, compare
from te.ir.print import print_expr
from te.ir.simplify import simplify
from te.ir.tensor import Axis, Reduction, Requirement, Stage, Tensor
from te.ir.types import DTYPES, DType
from te.ir.visit import rewrite, substitute, variables

MAX_CALL_DEPTH = 32
LIMITS = ("calls-too-deep", "too-many-calls")


def is_op_call(scope: Scope, call: tree.Call) -> bool:
    """Whether a call applies an op to whole tensors (an op of scalars alone is a function)."""
    op = scope.module.ops.get(call.name.name)
    return op is not None and not is_function(op)


def is_function(op: tree.Op) -> bool:
    """Whether an op takes and gives scalars only."""
    types = [p.type for p in op.params if p.kind != "const"] + [r.type for r in op.results]
    return len(op.results) == 1 and all(not t.dims for t in types)


@dataclass(slots=True)
class _Call:
    """A call under way: the callee's parameters with what the caller gave for them."""

    op: tree.Op
    node: tree.Call
    tensors: dict[str, Tensor]
    consts: dict[str, int | float | bool]
    dtypes: dict[str, DType]
    shown: dict[str, Expr] = field(default_factory=dict)  # undoes `_hide_names`


# ------------------------------------------------- calls on whole tensors


def elaborate_call(scope: Scope, equation: tree.Equation) -> None:
    """`Y = f(X)`, or `Y, h = f(X)`: adds the callee's stages and defines the targets."""
    node = equation.value
    assert isinstance(node, tree.Call)
    for target in equation.targets:
        if target.index is not None:
            scope.fail(
                error(
                    "call-with-index",
                    "a call of an op defines a whole tensor",
                    target.span,
                    help=f"write `{target.name} = {node.name.name}(...)`",
                )
            )
    op = scope.module.ops[node.name.name]
    if len(equation.targets) != len(op.results):
        scope.fail(
            error(
                "result-count",
                f"`{op.name}` gives {counted(len(op.results), 'result')}, found {len(equation.targets)} names",
                equation.span,
                help="`_` discards a result",
            )
        )
    names = [
        scope.fresh_name(f"{op.name}_{r.name}") if t.name == "_" else t.name
        for t, r in zip(equation.targets, op.results, strict=True)
    ]
    _apply(scope, node, names)


def _apply(scope: Scope, node: tree.Call, names: list[str]) -> None:
    """Add the stages of a call whose results are to be called `names`."""
    op = scope.module.ops[node.name.name]
    _refuse_recursion(scope, op, node)
    call = _match_arguments(scope, op, node, names[0])
    sizes = _bind_sizes(scope, call)
    callee = Scope(op, scope.module, Diagnostics(), (*scope.callers, scope.op.name))
    hidden, call.shown = _hide_names(scope, op)
    sizes = {name: substitute(extent, hidden) for name, extent in sizes.items()}
    assumptions = tuple(substitute(a, hidden) for a in scope.knowledge.bound.assumptions)
    _elaborate_callee(scope, callee, call, sizes, assumptions)
    _check_shapes(scope, call, callee)
    _copy_stages(scope, call, callee, names)


def _refuse_recursion(scope: Scope, op: tree.Op, node: tree.Call) -> None:
    if op.name == scope.op.name or op.name in scope.callers:
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


def _elaborate_callee(
    scope: Scope, callee: Scope, call: _Call, sizes: dict[str, Expr], assumptions: tuple[Expr, ...]
) -> None:
    from te.elaborate.elaborate import elaborate_op

    scope.module.count_call(scope, call.node.span)
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


def _hide_names(scope: Scope, op: tree.Op) -> tuple[dict[str, Expr], dict[str, Expr]]:
    """Other names for the caller's sizes that the callee uses as indices, and the way back.

    While the callee is elaborated its sizes stand for expressions of the caller's;
    its own index `h` must not be taken for a size `h` of the caller.
    """
    facts = scope.knowledge.bound
    visible = {*scope.sizes, *scope.consts, *(v for a in facts.assumptions for v in variables(a))}
    for value in scope.knowledge.bindings.values():
        visible |= variables(value)
    clashes = sorted(visible & index_names(op))
    return {n: Var(f"{n}'") for n in clashes}, {f"{n}'": Var(n) for n in clashes}


def _shown(call: _Call, callee: Scope, e: Expr) -> Expr:
    """An expression of the callee in the caller's terms."""
    return simplify(substitute(substitute(e, callee.knowledge.bindings), call.shown))


def _match_arguments(scope: Scope, op: tree.Op, node: tree.Call, owner: str) -> _Call:
    call = _Call(op, node, {}, {}, {})
    given = _by_parameter(scope, op, node)
    generics = {g.name for g in op.generics}
    for param in op.params:
        argument = given.get(param.name)
        if param.kind == "const":
            if argument is not None:
                call.consts[param.name] = _const_argument(scope, param, argument)
            elif param.default is None:
                scope.fail(
                    error(
                        "argument-missing",
                        f"the call gives no `{param.name}`",
                        node.span,
                        help=f"write `{param.name}=...`",
                    )
                )
            continue
        if argument is None:
            scope.fail(
                error(
                    "argument-missing",
                    f"the call gives no `{param.name}`",
                    node.span,
                    help=f"`{op.name}` takes {_parameters(op)}",
                )
            )
        expected = DTYPES.get(param.type.name) or call.dtypes.get(param.type.name)
        tensor = _tensor_argument(scope, param, argument, owner, expected)
        if param.type.name in generics:
            call.dtypes.setdefault(param.type.name, tensor.dtype)
            expected = call.dtypes[param.type.name]
        if expected is not None and tensor.dtype != expected:
            scope.fail(
                error(
                    "argument-type",
                    f"`{param.name}` of `{op.name}` is {expected}, found {tensor.dtype}",
                    argument.span,
                    help=f"cast it in an equation before: `A[i] = {expected}(X[i])`",
                )
            )
        call.tensors[param.name] = tensor
    return call


def _parameters(op: tree.Op) -> str:
    return ", ".join(p.name for p in op.params if p.default is None)


def _by_parameter(scope: Scope, op: tree.Op, node: tree.Call) -> dict[str, tree.Expr]:
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
        if name not in positions:
            if any(g.name == name for g in op.generics):
                unsupported(scope, "dtype arguments of calls", argument.span)
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


def _const_argument(scope: Scope, param: tree.Param, argument: tree.Expr) -> int | float | bool:
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


def _tensor_argument(
    scope: Scope, param: tree.Param, argument: tree.Expr, owner: str, expected: DType | None
) -> Tensor:
    rank = len(param.type.dims or ())
    if isinstance(argument, tree.Name) and argument.name in scope.tensors:
        tensor = scope.tensors[argument.name]
    elif isinstance(argument, tree.Call) and is_op_call(scope, argument):
        tensor = _nested_call(scope, argument, owner)
    elif rank == 0:
        return _scalar_argument(scope, param, argument, owner, expected)
    else:
        known = ", ".join(scope.tensors)
        scope.fail(
            error(
                "argument-not-tensor",
                f"`{param.name}` takes a whole tensor",
                argument.span,
                help=f"name a tensor ({known}), or compute it in an equation before",
            )
        )
    if len(tensor.shape) != rank:
        scope.fail(
            error(
                "argument-rank",
                f"`{param.name}` has {counted(rank, 'axis')}, `{tensor.name}` has {len(tensor.shape)}",
                argument.span,
            )
        )
    return tensor


def _nested_call(scope: Scope, argument: tree.Call, owner: str) -> Tensor:
    op = scope.module.ops[argument.name.name]
    if len(op.results) != 1:
        scope.fail(
            error(
                "result-count",
                f"`{op.name}` gives {counted(len(op.results), 'result')}, an argument is one",
                argument.span,
                help="write the call as a statement of its own",
            )
        )
    name = scope.fresh_name(f"{owner}_{op.name}")
    scope.places[name] = argument.span
    _apply(scope, argument, [name])
    return scope.tensors[name]


def _scalar_argument(
    scope: Scope, param: tree.Param, argument: tree.Expr, owner: str, expected: DType | None
) -> Tensor:
    env = Env(scope.knowledge, scope.knowledge, owner=owner)
    value = lower(scope, env, argument)
    if is_literal(value):
        if expected is None:
            scope.fail(
                error(
                    "float-needs-type",
                    f"nothing says which type `{param.name}` has here",
                    argument.span,
                    help="cast it: `f32(...)`",
                )
            )
        value = coerce(scope, value, expected, argument.span)
    name = scope.fresh_name(f"{owner}_{param.name}")
    tensor = Tensor(name, value.dtype, (), argument.span)
    scope.places[name] = argument.span
    scope.tensors[name] = tensor
    scope.stages.append(Stage(tensor, (), value, None, argument.span))
    return tensor


def _bind_sizes(scope: Scope, call: _Call) -> dict[str, Expr]:
    """The callee's sizes, each as the caller's extent that it stands for."""
    bindings = scope.knowledge.bindings
    sizes: dict[str, Expr] = {}
    consts = {p.name for p in call.op.params if p.kind == "const"}
    for param in call.op.params:
        if param.kind == "const":
            continue
        for dim, extent in zip(param.type.dims or (), call.tensors[param.name].shape, strict=True):
            if isinstance(dim, tree.Name) and dim.name not in consts and dim.name not in sizes:
                sizes[dim.name] = simplify(substitute(extent, bindings))
    return sizes


def _check_shapes(scope: Scope, call: _Call, callee: Scope) -> None:
    """Every axis of an argument must provably have the extent that the callee declares."""
    for param in call.op.params:
        if param.kind == "const":
            continue
        declared = callee.tensors[param.name].shape
        actual = call.tensors[param.name].shape
        for number, (want, have) in enumerate(zip(declared, actual, strict=True)):
            wanted = _shown(call, callee, want)
            if not scope.knowledge.proves(compare("==", have, wanted)):
                scope.fail(
                    error(
                        "argument-shape",
                        f"axis {number} of `{param.name}` must be {print_expr(wanted)} here, found {print_expr(have)}",
                        call.node.span,
                        help="declare both with the same size, "
                        f"or add `require {print_expr(have)} == {print_expr(wanted)}`",
                    )
                )


def _copy_stages(scope: Scope, call: _Call, callee: Scope, names: list[str]) -> None:
    results = {r.name: name for r, name in zip(call.op.results, names, strict=True)}
    renamed = {param: tensor.name for param, tensor in call.tensors.items()} | results
    for stage in callee.stages:
        if stage.name not in renamed:
            renamed[stage.name] = scope.fresh_name(f"{names[0]}_{stage.name}")
            scope.places[renamed[stage.name]] = call.node.span
    for requirement in callee.requirements:
        condition = simplify(
            substitute(requirement.condition, callee.knowledge.bindings), scope.knowledge.bound
        )
        if not isinstance(condition, Const):
            scope.requirements.append(
                Requirement(condition, f"{requirement.text} (in {call.op.name})", requirement.span)
            )
    for stage in callee.stages:
        _copy_stage(scope, call, callee, stage, renamed)


def _copy_stage(scope: Scope, call: _Call, callee: Scope, stage: Stage, renamed: Mapping[str, str]) -> None:
    # A callee's index must not capture a size of the caller that has the same name.
    taken = {*scope.sizes, *scope.consts}
    axes = (*stage.axes, *(stage.reduction.axes if stage.reduction else ()))
    indices: dict[str, Expr] = {a.name: Var(f"{a.name}_") for a in axes if a.name in taken}

    def fix(e: Expr) -> Expr:
        e = substitute(substitute(e, {**callee.knowledge.bindings, **indices}), call.shown)
        return simplify(
            rewrite(e, lambda n: Load(renamed[n.buffer], n.index, n.dtype) if isinstance(n, Load) else n)
        )

    def fix_axis(axis: Axis) -> Axis:
        name = indices.get(axis.name)
        return Axis(name.name if isinstance(name, Var) else axis.name, fix(axis.extent))

    tensor = Tensor(
        renamed[stage.name], stage.tensor.dtype, tuple(fix(d) for d in stage.tensor.shape), call.node.span
    )
    declared = scope.results.get(tensor.name)
    if declared is not None:
        tensor = _declared_result(scope, call, tensor, declared)
    reduction = stage.reduction
    if reduction is not None:
        reduction = Reduction(
            reduction.reducer, tuple(fix_axis(a) for a in reduction.axes), fix(reduction.where)
        )
    scope.tensors[tensor.name] = tensor
    scope.stages.append(
        Stage(tensor, tuple(fix_axis(a) for a in stage.axes), fix(stage.value), reduction, stage.span)
    )


def _declared_result(scope: Scope, call: _Call, found: Tensor, declared: Tensor) -> Tensor:
    same_shape = len(found.shape) == len(declared.shape) and all(
        scope.knowledge.proves(compare("==", a, b)) for a, b in zip(found.shape, declared.shape, strict=True)
    )
    if found.dtype != declared.dtype or not same_shape:
        scope.fail(
            error(
                "call-result",
                f"`{call.op.name}` gives {_type_text(found)}, "
                f"but `{declared.name}` is declared as {_type_text(declared)}",
                call.node.span,
                help=f"declare `{declared.name}: {_type_text(found)}`",
            )
        )
    return declared


def _type_text(tensor: Tensor) -> str:
    dims = ", ".join(print_expr(d) for d in tensor.shape)
    return f"{tensor.dtype}[{dims}]" if tensor.shape else f"{tensor.dtype}"


# ------------------------------------------------------ ops of scalars only


def lower_function(scope: Scope, env: Env, node: tree.Call) -> Expr:
    """A call of an op of scalars inside an expression: its definition with the arguments put in."""
    op = scope.module.ops[node.name.name]
    if not is_function(op):
        scope.fail(
            error(
                "op-in-expression",
                f"`{op.name}` works on whole tensors",
                node.span,
                help=f"write the call as a statement of its own: `H = {op.name}(...)`",
            )
        )
    _refuse_recursion(scope, op, node)
    given = _by_parameter(scope, op, node)
    arguments: dict[str, Expr] = {}
    consts: dict[str, int | float | bool] = {}
    dtypes: dict[str, DType] = {}
    for param in op.params:
        if param.name not in given:
            if param.kind == "const" and param.default is not None:
                continue
            scope.fail(
                error(
                    "argument-missing",
                    f"the call gives no `{param.name}`",
                    node.span,
                    help=f"`{op.name}` takes {_parameters(op)}",
                )
            )
        argument = given[param.name]
        if param.kind == "const":
            consts[param.name] = _const_argument(scope, param, argument)
            continue
        value = lower(scope, env, argument)
        expected = DTYPES.get(param.type.name) or dtypes.get(param.type.name)
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
            dtypes[param.type.name] = expected = value.dtype
        arguments[param.name] = coerce(scope, value, expected, argument.span)
    return _definition(scope, op, node, arguments, consts, dtypes)


def _definition(
    scope: Scope,
    op: tree.Op,
    node: tree.Call,
    arguments: Mapping[str, Expr],
    consts: Mapping[str, int | float | bool],
    dtypes: Mapping[str, DType],
) -> Expr:
    callee = Scope(op, scope.module, Diagnostics(), (*scope.callers, scope.op.name))
    _elaborate_callee(scope, callee, _Call(op, node, {}, dict(consts), dict(dtypes)), {}, ())
    values = dict(arguments)
    for stage in callee.stages:
        if stage.reduction is not None:
            scope.fail(
                error(
                    "function-reduces",
                    f"`{op.name}` is used as a function, and a function cannot reduce",
                    node.span,
                )
            )
        value = substitute(stage.value, callee.knowledge.bindings)
        values[stage.name] = rewrite(value, lambda n: values[n.buffer] if isinstance(n, Load) else n)
    return limited(scope, values[op.results[0].name], node.span)
