"""Reducers of your own: a state, and how two states combine.

`mu[i], q[i], c[i] = welford[j](X[i, j], 0, 1)` runs along `j` as a recurrence: at each
point the state so far is combined with the term's, and the last point's state is the
result. Several indices run as one, the last fastest. The combination is the reducer's
body as an op of scalars (`combination`), put in like any function.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from te.diagnostics import counted, error
from te.elaborate.arguments import Call
from te.elaborate.definitions import Definition, check_rank, tensor_axes
from te.elaborate.dtypes import coerce, is_literal, settle
from te.elaborate.expressions import Env, lower
from te.elaborate.functions import inlined_results
from te.elaborate.limits import limited
from te.elaborate.modules import Definition as OpDefinition
from te.elaborate.reductions import Domain, enter_domain, leave_domain
from te.elaborate.scope import Scope
from te.grammar import tree
from te.ir.expr import TRUE, Expr, Load, Select, Var, compare, floor_div, floor_mod, integer, mul, sub
from te.ir.simplify import simplify
from te.ir.tensor import Axis, Recurrence, Stage, Tensor
from te.ir.types import DTYPES, DType
from te.ir.visit import substitute, variables

NEXT = "'"  # a state's new value, in the op that combines two states


def find_reducer(scope: Scope, name: str) -> tree.Reducer | None:
    return next((i for i in scope.module.file.items if isinstance(i, tree.Reducer) and i.name == name), None)


def combination(reducer: tree.Reducer) -> tree.Op:
    """How two states combine, as an op of scalars: old state and other state in, new state out.

    Right sides see the old state, so a state's new value has a name of its own.
    """
    states = [p.name for p in reducer.state]
    others = [replace(p, name=o, default=None) for p, o in zip(reducer.state, reducer.other, strict=False)]
    body: list[tree.Statement] = []
    updated: set[str] = set()
    for statement in reducer.body:
        if isinstance(statement, tree.Equation):
            updated |= {t.name for t in statement.targets if t.name in states}
            targets = tuple(
                replace(t, name=t.name + NEXT) if t.name in states else t for t in statement.targets
            )
            statement = replace(statement, targets=targets)
        body.append(statement)
    for param in reducer.state:
        if param.name not in updated:  # a state that no equation changes
            target = tree.Target(param.name + NEXT, None, param.span)
            body.append(tree.Equation((target,), tree.Name(param.name, param.name_span), param.span))
    return tree.Op(
        name=reducer.name,
        generics=reducer.generics,
        params=(*(replace(p, default=None) for p in reducer.state), *others),
        results=tuple(tree.Result(p.name + NEXT, p.type, p.span) for p in reducer.state),
        body=tuple(body),
        doc=reducer.doc,
        span=reducer.span,
        name_span=reducer.name_span,
    )


def check_reducer(scope: Scope, reducer: tree.Reducer) -> None:
    """Refuse a reducer whose head is not whole."""
    if len(reducer.other) != len(reducer.state):
        scope.fail(
            error(
                "reducer-states",
                f"`{reducer.name}` has {counted(len(reducer.state), 'state')} and names "
                f"{len(reducer.other)} of the other side",
                reducer.name_span,
                help="write one name for each state in `with (...)`",
            )
        )
    for param in reducer.state:
        if param.default is None or param.type.dims is not None:
            scope.fail(
                error(
                    "reducer-identity",
                    f"the state `{param.name}` needs a scalar type and its identity value",
                    param.span,
                    help="as in `total: f32 = 0`",
                )
            )


# ------------------------------------------------------------------ uses


def define_states(scope: Scope, equation: tree.Equation, reduce: tree.Reduce, reducer: tree.Reducer) -> None:
    """`mu[i], q[i] = welford[j](...)`: one tensor for each component of the state."""
    if len(equation.targets) != len(reducer.state):
        scope.fail(
            error(
                "result-count",
                f"`{reducer.name}` has {counted(len(reducer.state), 'state')}, "
                f"found {counted(len(equation.targets), 'name')}",
                equation.span,
                help="`_` discards one",
            )
        )
    first = next((t for t in equation.targets if t.name != "_"), equation.targets[0])
    axes = tensor_axes(scope, Definition((first.name,), replace(equation, targets=(first,))))
    knowledge = scope.knowledge
    for axis in axes:
        knowledge = knowledge.with_range(axis.name, axis.extent)
    env = Env(knowledge, knowledge, axes, first.name)
    for target, value in zip(equation.targets, reduce_states(scope, env, reduce, reducer), strict=True):
        if target.name == "_":
            continue
        declared = scope.results.get(target.name)
        check_rank(scope, target, declared, len(axes))
        if target.index != first.index:
            scope.fail(
                error("targets-differ", "the targets of one reduction have the same indices", target.span)
            )
        if declared is not None:
            value = coerce(scope, value, declared.dtype, equation.value.span)
        tensor = declared or Tensor(target.name, value.dtype, tuple(a.extent for a in axes), target.span)
        scope.tensors[target.name] = tensor
        scope.stages.append(Stage(tensor, axes, value, None, equation.span))


def reduce_one(scope: Scope, env: Env, e: tree.Reduce, reducer: tree.Reducer) -> Expr:
    """A reducer of one state inside an expression."""
    if len(reducer.state) != 1:
        names = ", ".join(p.name for p in reducer.state)
        scope.fail(
            error(
                "reducer-of-several",
                f"`{reducer.name}` gives {counted(len(reducer.state), 'value')} ({names})",
                e.span,
                help=f"give each a name: `a[i], b[i] = {reducer.name}[j](...)`",
            )
        )
    return reduce_states(scope, env, e, reducer)[0]


def reduce_states(scope: Scope, env: Env, e: tree.Reduce, reducer: tree.Reducer) -> list[Expr]:
    """The final state of a reduction, one expression for each component."""
    check_reducer(scope, reducer)
    if len(e.args) != len(reducer.state) or any(a.name for a in e.args):
        scope.fail(
            error(
                "reducer-arguments",
                f"`{reducer.name}` takes a state as its term: {counted(len(reducer.state), 'value')}, "
                f"found {len(e.args)}",
                e.span,
            )
        )
    domain = enter_domain(scope, env, e)
    op = combination(reducer)
    call = Call(op, tree.Call(e.name, e.args, e.span))
    dtypes, terms = _terms(scope, domain, e, reducer, call)
    where, outer = leave_domain(scope, env, domain, terms)
    identities = [
        coerce(scope, lower(scope, Env.for_sizes(scope), p.default), dtype, p.span)
        for p, dtype in zip(reducer.state, dtypes, strict=True)
        if p.default is not None
    ]
    run, flat = _one_axis(domain.axes, {a.name for a in outer} | variables(where) | {*scope.places})
    where = substitute(where, flat)
    terms = [substitute(t, flat) for t in terms]
    names = [scope.fresh_name(f"{env.owner}_{p.name}") for p in reducer.state]
    scope.places |= dict.fromkeys(names, e.span)
    here = tuple(Var(a.name) for a in outer)
    before = [
        Select(
            compare(">=", Var(run.name), integer(1)), Load(n, (*here, sub(Var(run.name), integer(1))), d), i
        )
        for n, d, i in zip(names, dtypes, identities, strict=True)
    ]
    given: dict[str, Expr] = {p.name: b for p, b in zip(reducer.state, before, strict=True)}
    given |= dict(zip(reducer.other, terms, strict=True))
    combined = inlined_results(scope, OpDefinition(op, scope.module), call, given)
    shape = (*(a.extent for a in outer), run.extent)
    for name, dtype, new, old in zip(names, dtypes, combined, before, strict=True):
        value = new if where == TRUE else Select(where, new, old)
        tensor = Tensor(name, dtype, shape, e.span)
        scope.stages.append(Stage(tensor, (*outer, run), limited(scope, value, e.span), None, e.span))
    scope.recurrences.append(Recurrence((run,), tuple(names)))
    last = simplify(sub(run.extent, integer(1)))
    return [
        Select(compare(">=", run.extent, integer(1)), Load(n, (*here, last), d), i)
        for n, d, i in zip(names, dtypes, identities, strict=True)
    ]


def _terms(
    scope: Scope, domain: Domain, e: tree.Reduce, reducer: tree.Reducer, call: Call
) -> tuple[list[DType], list[Expr]]:
    """The term's state; what it is made of decides the reducer's dtype variables."""
    values = [lower(scope, domain.inner, a.value) for a in e.args]
    generics = {g.name for g in reducer.generics}
    for param, value in zip(reducer.state, values, strict=True):
        if param.type.name in generics and not is_literal(value):
            call.dtypes.setdefault(param.type.name, value.dtype)
    dtypes: list[DType] = []
    terms: list[Expr] = []
    for param, value, argument in zip(reducer.state, values, e.args, strict=True):
        dtype = DTYPES.get(param.type.name) or call.dtypes.get(param.type.name)
        if dtype is None:
            value = settle(scope, value, argument.span)
            dtype = call.dtypes[param.type.name] = value.dtype
        dtypes.append(dtype)
        terms.append(coerce(scope, value, dtype, argument.span))
    return dtypes, terms


def _one_axis(axes: Sequence[Axis], taken: set[str]) -> tuple[Axis, Mapping[str, Expr]]:
    """Several reduction axes as one, the last fastest, and each of them in terms of it."""
    if len(axes) == 1:
        return axes[0], {}
    name = "step"
    while name in taken:
        name += "_"
    flat: dict[str, Expr] = {}
    stride: Expr = integer(1)
    for axis in reversed(axes):
        flat[axis.name] = floor_mod(floor_div(Var(name), stride), axis.extent)
        stride = mul(stride, axis.extent)
    return Axis(name, simplify(stride)), flat
