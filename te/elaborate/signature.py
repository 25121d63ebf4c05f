"""An op's header: dtype variables, sizes, `const`s, inputs and results, and what they promise.

A size is bound by the first input that has it bare (`X: f32[N]`); everything else
that mentions it (`Y: f32[2*N]`) is checked at each call. Declared dimensions are
shapes of real arrays, so the prover may take each to be at least 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from te.diagnostics import Diagnostic, Span, did_you_mean, error
from te.elaborate.constants import constant_value
from te.elaborate.dtypes import coerce
from te.elaborate.expressions import Env, lower
from te.elaborate.limits import exact
from te.elaborate.scope import CONST_LIMIT, ConstValue, Failed, Knowledge, Scope, nonnegative
from te.elaborate.syntax import walk_syntax
from te.elaborate.unsupported import unsupported
from te.grammar import tree
from te.ir.bounds import Facts
from te.ir.expr import Const, Expr, Var, compare, integer
from te.ir.simplify import simplify
from te.ir.tensor import Requirement, Tensor
from te.ir.types import BOOL, DTYPES, GENERIC_KINDS, I64, DType
from te.ir.visit import substitute

MAX_DIMENSION = 1 << 40
CONST_KINDS = {"int": int, "float": float, "bool": bool}


def read_signature(
    scope: Scope,
    consts: Mapping[str, int | float | bool],
    dtypes: Mapping[str, DType],
    bindings: Mapping[str, Expr],
    assumptions: tuple[Expr, ...] = (),
) -> None:
    """Declare everything in the header of `scope.op`.

    `bindings` gives some sizes a value (a `Const`, or a caller's expression), and
    `assumptions` are the facts that hold for those values.
    """
    op = scope.op
    for generic in op.generics:
        _declare_dtype(scope, generic, dtypes)
    for param in op.params:
        if param.kind == "const":
            _attempt(partial(_declare_const, scope, param, consts))
    inputs = [p for p in op.params if p.kind != "const"]
    _bind_sizes(scope, inputs)
    values = dict(bindings)
    for name, const in scope.consts.items():
        if const.kind == "int" and const.value is not None:
            values[name] = integer(int(const.value))
    generic_facts, bound = Facts(), Facts(assumptions=assumptions)
    for name, const in scope.consts.items():
        if const.kind == "int":
            generic_facts = generic_facts.with_range(name, integer(-CONST_LIMIT), integer(CONST_LIMIT))
            if const.value is None:
                bound = bound.with_range(name, integer(-CONST_LIMIT), integer(CONST_LIMIT))
    scope.knowledge = Knowledge(generic_facts, bound, values)
    for param in inputs:
        _attempt(partial(_declare_input, scope, param))
    for result in op.results:
        _attempt(partial(_declare_result, scope, result))
    for statement in op.body:
        if isinstance(statement, tree.Require):
            _attempt(partial(_require, scope, statement))


def _attempt(action: Callable[[], None]) -> None:
    """Run one declaration; its failure does not stop the others."""
    try:
        action()
    except Failed:
        return


def _declare_dtype(scope: Scope, generic: tree.Generic, dtypes: Mapping[str, DType]) -> None:
    allowed = _generic_choices(scope, generic)
    dtype = dtypes.get(generic.name)
    if dtype is not None and dtype not in allowed:
        names = ", ".join(t.name for t in allowed)
        scope.diagnostics.add(
            error("dtype-not-allowed", f"`{generic.name}` cannot be {dtype}", generic.span, f"one of {names}")
        )
    scope.declare(generic.name, generic.span)
    # Without a choice (checking a file), the first allowed type stands for all.
    scope.dtypes[generic.name] = dtype or next((t for t in allowed if t.is_float), allowed[0])


def _generic_choices(scope: Scope, generic: tree.Generic) -> list[DType]:
    if not generic.choices:
        kinds = [t for kind in GENERIC_KINDS.values() for t in kind]
        return [*kinds, *(t for t in DTYPES.values() if t not in kinds and t != BOOL)]
    allowed: list[DType] = []
    for choice in generic.choices:
        match choice:
            case _ if choice in GENERIC_KINDS:
                allowed += GENERIC_KINDS[choice]
            case _ if choice in DTYPES:
                allowed.append(DTYPES[choice])
            case _:
                scope.fail(_unknown_type(choice, generic))
    return allowed


def _unknown_type(name: str, node: tree.Generic | tree.Type) -> Diagnostic:
    help_text = did_you_mean(name, DTYPES) or "the types are " + ", ".join(DTYPES)
    return error("unknown-type", f"there is no type `{name}`", node.span, help=help_text)


def _declare_const(scope: Scope, param: tree.Param, consts: Mapping[str, int | float | bool]) -> None:
    scope.declare(param.name, param.name_span)
    kind = param.type.name
    if kind not in CONST_KINDS or param.type.dims is not None:
        scope.fail(
            error(
                "const-type",
                "a `const` is int, float or bool",
                param.type.span,
                help="write `const name: int = 1`",
            )
        )
    value: int | float | bool | None = None
    if param.name in consts:
        value = consts[param.name]
    elif param.default is not None:
        value = _default_value(scope, param, kind)
    scope.consts[param.name] = ConstValue(kind, None if value is None else CONST_KINDS[kind](value))


def _default_value(scope: Scope, param: tree.Param, kind: str) -> int | float | bool | None:
    """None where it follows from a `const` that has no value yet: a file is checked for all values."""
    assert param.default is not None
    value = constant_value(scope, param.default)
    if value is None and _waits_for_consts(scope, param.default):
        return None
    fits = isinstance(value, bool) == (kind == "bool") and (kind != "int" or isinstance(value, int))
    if value is None or not fits:
        scope.fail(
            error(
                "const-default", f"the default of `{param.name}` is not a constant {kind}", param.default.span
            )
        )
    return value


def _waits_for_consts(scope: Scope, e: tree.Expr) -> bool:
    names = [n.name for n in walk_syntax(e) if isinstance(n, tree.Name)]
    return any(n in scope.consts and scope.consts[n].value is None for n in names)


def _bind_sizes(scope: Scope, inputs: list[tree.Param]) -> None:
    for param in inputs:
        for dim in param.type.dims or ():
            if isinstance(dim, tree.Name) and dim.name not in scope.consts and dim.name not in scope.sizes:
                _attempt(partial(_bind_size, scope, dim))


def _bind_size(scope: Scope, dim: tree.Name) -> None:
    scope.declare(dim.name, dim.span)
    scope.sizes.append(dim.name)


def _declare_input(scope: Scope, param: tree.Param) -> None:
    scope.declare(param.name, param.name_span)
    scope.tensors[param.name] = _tensor(scope, param.name, param.type, param.name_span)


def _declare_result(scope: Scope, result: tree.Result) -> None:
    if result.name in scope.tensors:
        scope.fail(
            error("result-is-input", f"`{result.name}` is an input and cannot be a result too", result.span)
        )
    scope.declare(result.name, result.span)
    scope.results[result.name] = _tensor(scope, result.name, result.type, result.span)


def _tensor(scope: Scope, name: str, written: tree.Type, span: Span) -> Tensor:
    dtype = scope.dtypes.get(written.name) or DTYPES.get(written.name)
    if dtype is None:
        scope.fail(_unknown_type(written.name, written))
    shape = tuple(_dimension(scope, dim) for dim in written.dims or ())
    return Tensor(name, dtype, shape, span)


def _dimension(scope: Scope, dim: tree.Axis) -> Expr:
    if isinstance(dim, tree.Pack):
        unsupported(scope, "packs (`*S`)", dim.span)
    if isinstance(dim, tree.Range):
        scope.fail(
            error(
                "range-in-type",
                "a dimension of a type is a size, not a range",
                dim.span,
                help=f"write `{dim.name}`",
            )
        )
    extent = simplify(
        exact(scope, coerce(scope, lower(scope, Env.for_sizes(scope), dim), I64, dim.span), dim.span)
    )
    bound = simplify(substitute(extent, scope.knowledge.bindings))
    if isinstance(bound, Const) and not 0 <= bound.value <= MAX_DIMENSION:
        message = (
            "a dimension cannot be negative" if bound.value < 0 else f"a dimension is at most {MAX_DIMENSION}"
        )
        scope.fail(error("dimension-out-of-range", message, dim.span, f"this is {bound.value}"))
    if not isinstance(extent, Var) or extent.name in scope.consts:
        scope.knowledge = scope.knowledge.assuming(nonnegative(extent))
    return extent


def _require(scope: Scope, statement: tree.Require) -> None:
    condition = exact(
        scope, lower(scope, Env.for_sizes(scope), statement.condition), statement.condition.span
    )
    if condition.dtype != BOOL:
        scope.fail(
            error(
                "number-as-bool",
                "`require` takes a condition",
                statement.condition.span,
                help="write `require M % 4 == 0`",
            )
        )
    bound = simplify(substitute(condition, scope.knowledge.bindings), scope.knowledge.bound)
    if bound == Const(False, BOOL):
        scope.fail(
            error(
                "require-fails",
                "this condition cannot hold",
                statement.condition.span,
                "false for every call",
            )
        )
    scope.requirements.append(Requirement(condition, statement.condition.span.text, statement.span))
    scope.knowledge = scope.knowledge.assuming(condition)


def equal(scope: Scope, a: Expr, b: Expr) -> bool:
    """Whether two sizes are provably equal in this build."""
    return a == b or scope.knowledge.proves(compare("==", a, b))
