"""Calls of ops on whole tensors: the callee's stages are copied in.

`H = relu(linear(X, W, b))` adds the stages of both ops. A callee's result takes the
target's name, its intermediates stand as `H_m`, a nested call's result as `H_linear`.
The callee is elaborated anew for each call, with its sizes bound to the caller's
shapes, so that proofs may use what the caller knows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from te.diagnostics import Diagnostics, Span, counted, error
from te.elaborate.arguments import (
    Call,
    by_parameter,
    const_argument,
    elaborate_callee,
    is_op_call,
    refuse_recursion,
    required_argument,
    share_tables,
)
from te.elaborate.dtypes import coerce, is_literal
from te.elaborate.expressions import Env, lower
from te.elaborate.modules import Definition
from te.elaborate.packs import expand_packs
from te.elaborate.scope import Failed, Scope
from te.elaborate.syntax import index_names
from te.grammar import tree
from te.ir.expr import Const, Expr, Load, Var, compare
from te.ir.print import print_expr
from te.ir.simplify import simplify
from te.ir.tensor import Axis, Check, Recurrence, Reduction, Requirement, Stage, Tensor
from te.ir.tensor import Call as CallRecord
from te.ir.types import DTYPES, DType
from te.ir.visit import rewrite, substitute, variables


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
    op = _definition(scope, node).op
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
    definition = _definition(scope, node)
    op = definition.op
    refuse_recursion(scope, definition, node)
    call = _match_arguments(scope, op, node, names[0])
    sizes = _bind_sizes(scope, call)
    callee = Scope(call.op, definition.module, Diagnostics(), (*scope.callers, scope.identity))
    hidden, call.shown = _hide_names(scope, call.op)
    sizes = {name: substitute(extent, hidden) for name, extent in sizes.items()}
    assumptions = tuple(substitute(a, hidden) for a in scope.knowledge.bound.assumptions)
    elaborate_callee(scope, callee, call, sizes, assumptions)
    _check_shapes(scope, call, callee)
    _copy_stages(scope, call, callee, names)


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


def _shown(call: Call, callee: Scope, e: Expr) -> Expr:
    """An expression of the callee in the caller's terms."""
    return simplify(substitute(substitute(e, callee.knowledge.bindings), call.shown))


def _match_arguments(scope: Scope, op: tree.Op, node: tree.Call, owner: str) -> Call:
    call = Call(op, node)
    given = by_parameter(scope, call)
    generics = {g.name for g in op.generics}
    for param in op.params:
        argument = required_argument(scope, call, given, param)
        if argument is None:
            continue
        if param.kind == "const":
            call.consts[param.name] = const_argument(scope, param, argument)
            continue
        expected = DTYPES.get(param.type.name) or call.dtypes.get(param.type.name)
        tensor = _tensor_argument(scope, call, param, argument, owner, expected)
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
    call.op = expand_packs(op, call.ranks, scope.diagnostics)
    return call


def _definition(scope: Scope, node: tree.Call) -> Definition:
    definition = scope.find_op(node.name.name)
    assert definition is not None, "`is_op_call` found it"
    return definition


def _tensor_argument(
    scope: Scope, call: Call, param: tree.Param, argument: tree.Expr, owner: str, expected: DType | None
) -> Tensor:
    if isinstance(argument, tree.Name) and argument.name in scope.tensors:
        tensor = scope.tensors[argument.name]
    elif isinstance(argument, tree.Call) and is_op_call(scope, argument):
        tensor = _nested_call(scope, argument, owner)
    elif not param.type.dims:
        return _scalar_argument(scope, param, argument, owner, expected)
    else:
        if isinstance(argument, tree.Name) and argument.name in scope.defined_names():
            raise Failed  # its own equation was given up, with a diagnostic
        known = ", ".join(scope.tensors)
        scope.fail(
            error(
                "argument-not-tensor",
                f"`{param.name}` takes a whole tensor",
                argument.span,
                help=f"name a tensor ({known}), or compute it in an equation before",
            )
        )
    _match_rank(scope, call, param, tensor, argument.span)
    return tensor


def _match_rank(scope: Scope, call: Call, param: tree.Param, tensor: Tensor, span: Span) -> None:
    """The argument has as many axes as the parameter; what is over goes to the parameter's pack."""
    dims = param.type.dims or ()
    packs = [d.name for d in dims if isinstance(d, tree.Pack)]
    spare = len(tensor.shape) - (len(dims) - len(packs))
    if packs and spare >= 0 and call.ranks.setdefault(packs[0], spare) == spare:
        return
    if packs or spare != 0:
        wanted = counted(len(dims) - len(packs) + sum(call.ranks.get(p, 0) for p in packs), "axis")
        scope.fail(
            error(
                "argument-rank",
                f"`{param.name}` has {wanted}, `{tensor.name}` has {len(tensor.shape)}",
                span,
            )
        )


def _nested_call(scope: Scope, argument: tree.Call, owner: str) -> Tensor:
    op = _definition(scope, argument).op
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


def _bind_sizes(scope: Scope, call: Call) -> dict[str, Expr]:
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


def _check_shapes(scope: Scope, call: Call, callee: Scope) -> None:
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


def _copy_stages(scope: Scope, call: Call, callee: Scope, names: list[str]) -> None:
    results = {r.name: name for r, name in zip(call.op.results, names, strict=True)}
    renamed = {param: tensor.name for param, tensor in call.tensors.items()} | results
    renamed |= share_tables(scope, callee)
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
    for check in callee.checks:
        scope.checks.append(_copy_check(scope, call, callee, check, renamed))
    for recurrence in callee.recurrences:
        scope.recurrences.append(_copy_recurrence(scope, call, callee, recurrence, renamed))
    for stage in callee.stages:
        _copy_stage(scope, call, callee, stage, renamed)
    _record_call(scope, call, callee, names, renamed)


def _record_call(
    scope: Scope, call: Call, callee: Scope, names: list[str], renamed: Mapping[str, str]
) -> None:
    """Note what the callee's names became, for schedules that are written in its terms."""
    taken = {name: f"{name}_" for name in sorted(_capturing_names(scope))}
    for inner in callee.calls:
        indices = {**taken, **{name: taken.get(given, given) for name, given in inner.indices}}
        scope.calls.append(
            replace(
                inner,
                results=tuple(renamed[name] for name in inner.results),
                names=tuple((name, renamed[given]) for name, given in inner.names),
                indices=tuple(indices.items()),
                sizes=tuple((name, _shown(call, callee, size)) for name, size in inner.sizes),
            )
        )
    file, op = callee.identity
    scope.calls.append(
        CallRecord(
            file,
            op,
            results=tuple(names),
            names=tuple(renamed.items()),
            inputs=tuple(call.tensors),
            indices=tuple(taken.items()),
            sizes=tuple((name, _shown(call, callee, Var(name))) for name in callee.sizes),
            consts=tuple((n, c.value) for n, c in callee.consts.items() if c.value is not None),
            dtypes=tuple(callee.dtypes.items()),
        )
    )


def _copy_recurrence(
    scope: Scope, call: Call, callee: Scope, recurrence: Recurrence, renamed: Mapping[str, str]
) -> Recurrence:
    taken = _capturing_names(scope)
    axes = tuple(
        Axis(f"{a.name}_" if a.name in taken else a.name, _shown(call, callee, a.extent))
        for a in recurrence.axes
    )
    return Recurrence(axes, tuple(renamed[name] for name in recurrence.stages))


def _copy_check(scope: Scope, call: Call, callee: Scope, check: Check, renamed: Mapping[str, str]) -> Check:
    taken = _capturing_names(scope)
    axes = tuple(
        Axis(f"{a.name}_" if a.name in taken else a.name, _shown(call, callee, a.extent)) for a in check.axes
    )
    return replace(
        check,
        stage=renamed[check.stage],
        tensor=renamed[check.tensor],
        extent=_shown(call, callee, check.extent),
        axes=axes,
    )


def _capturing_names(scope: Scope) -> set[str]:
    """Names that an index of a callee must not keep, for they mean sizes here."""
    return {*scope.sizes, *scope.consts}


def _copy_stage(scope: Scope, call: Call, callee: Scope, stage: Stage, renamed: Mapping[str, str]) -> None:
    # A callee's index must not capture a size of the caller that has the same name.
    taken = _capturing_names(scope)
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


def _declared_result(scope: Scope, call: Call, found: Tensor, declared: Tensor) -> Tensor:
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
