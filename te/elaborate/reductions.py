"""Reductions inside expressions become stages of their own.

`Y[i, j] = e[i, j] / sum[k](e[i, k])` defines `Y_sum[i]` first: a stage over the
indices that the reduction uses, named after its tensor in reading order. The guards
around it that its reads need become its `where`, and their indices its axes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from te.diagnostics import Span, error
from te.elaborate.builtins import REDUCERS
from te.elaborate.dtypes import depends_on_data, settle
from te.elaborate.expressions import Env, lower, lower_condition
from te.elaborate.ranges import axis_name, inferred_extent, written_extent
from te.elaborate.scope import Scope
from te.grammar import tree
from te.ir.expr import TRUE, Cast, Expr, Load, Op, Select, Var, both, compare, integer, mul
from te.ir.simplify import simplify
from te.ir.tensor import NOWHERE, Axis, Reduction, Stage, Tensor
from te.ir.types import BOOL, F32, LITERAL_INT
from te.ir.visit import variables

ARG_REDUCERS = {"argmax": "max", "argmin": "min"}  # what each looks for


@dataclass(frozen=True, slots=True)
class LoweredReduction:
    reduction: Reduction
    term: Expr
    outer: tuple[Axis, ...]  # the indices around it that it uses


def lower_reduction(scope: Scope, env: Env, e: tree.Reduce) -> Expr:
    """A reduction as part of an expression: the read of a new stage (for `mean`, divided)."""
    from te.elaborate.reducers import find_reducer, reduce_one

    if e.name.name in ARG_REDUCERS:
        return _position_of_extreme(scope, env, e)
    own = find_reducer(scope, e.name.name)
    if own is not None:
        return reduce_one(scope, env, e, own)
    name = scope.fresh_name(f"{env.owner}_{_stage_suffix(e)}")
    scope.places[name] = e.span  # reading order: outer reductions are named before inner ones
    lowered = reduce_term(scope, env, e)
    term = settle(scope, lowered.term, e.args[0].span)
    total = _add_stage(scope, name, lowered, term, e.span)
    return mean_of(scope, total, lowered, e, name) if e.name.name == "mean" else total


def reduce_term(scope: Scope, env: Env, e: tree.Reduce) -> LoweredReduction:
    """The pieces of a reduction. A term of literals is left without a dtype."""
    reducer = _reducer(scope, e)
    if len(e.args) != 1 or e.args[0].name is not None:
        scope.fail(
            error(
                "reducer-arguments", f"`{reducer}` takes one term", e.span, help=f"write `{reducer}[i](term)`"
            )
        )
    domain = enter_domain(scope, env, e)
    term = lower(scope, domain.inner, e.args[0].value)
    _check_term(scope, reducer, term, e.args[0].span)
    where, outer = leave_domain(scope, env, domain, [term])
    kind = "sum" if reducer == "mean" else reducer
    return LoweredReduction(Reduction(kind, domain.axes, where), term, outer)


@dataclass(frozen=True, slots=True)
class Domain:
    """The points that a reduction runs over, and the place inside it."""

    axes: tuple[Axis, ...]
    where: Expr
    inner: Env


def enter_domain(scope: Scope, env: Env, e: tree.Reduce) -> Domain:
    """The axes and the condition of a reduction, and the place where its term stands."""
    axes = _axes(scope, env, e)
    base = env.base
    for axis in axes:
        base = base.with_range(axis.name, axis.extent)
    inner = Env(
        base,
        base,
        (*env.indices, *axes),
        env.owner,
        adoptable=(*env.adoptable, *env.guards),
        conditions=env.conditions,
    )
    if e.where is None:
        return Domain(axes, TRUE, inner)
    where = lower_condition(scope, inner, e.where)
    return Domain(axes, where, inner.guarded_by(where))


def leave_domain(
    scope: Scope, env: Env, domain: Domain, terms: Sequence[Expr]
) -> tuple[Expr, tuple[Axis, ...]]:
    """The condition with the guards that the terms' reads adopted, and the outer indices that are used.

    The proofs took every index in scope to have a value. Where one is not used, the stage runs
    without it, also where its extent is 0: that becomes a guard, unless it cannot happen.
    """
    where, adopted = domain.where, domain.inner.adopted
    for guard in reversed(_with_what_they_rest_on(domain.inner.adoptable, adopted)):
        where = both(guard, where)
    used = variables(where).union(*map(variables, terms))
    env.adopted.extend(g for g in adopted if g in env.adoptable)
    outer = tuple(axis for axis in env.indices if axis.name in used)
    return both(nothing_is_empty(scope, env.indices, (*outer, *domain.axes)), where), outer


def nothing_is_empty(scope: Scope, indices: Sequence[Axis], kept: Sequence[Axis]) -> Expr:
    """That the indices left out have values, as far as those kept do not show it."""
    knowledge, names = scope.knowledge, {axis.name for axis in kept}
    for axis in kept:
        knowledge = knowledge.with_range(axis.name, axis.extent)
    condition: Expr = TRUE
    for axis in indices:
        has_values = compare(">=", axis.extent, integer(1))
        if axis.name not in names and not knowledge.proves(has_values):
            condition = both(condition, has_values)
    return condition


def _position_of_extreme(scope: Scope, env: Env, e: tree.Reduce) -> Expr:
    """`argmax[j](x)`: the first `j` at which `x` equals its maximum, or is the first NaN; -1 if there is none."""
    if len(e.axes) != 1:
        scope.fail(
            error(
                "argmax-axes",
                f"`{e.name.name}` takes one index",
                e.span,
                help="reduce one index after the other",
            )
        )
    name = scope.fresh_name(f"{env.owner}_{e.name.name}")
    scope.places[name] = e.span
    extreme_name = scope.fresh_name(f"{env.owner}_{ARG_REDUCERS[e.name.name]}")
    scope.places[extreme_name] = e.span
    lowered = reduce_term(scope, env, e)
    term = settle(scope, lowered.term, e.args[0].span)
    extreme = _add_stage(scope, extreme_name, lowered, term, e.span)
    found: Expr = compare("==", term, extreme)
    if term.dtype.is_float:
        found = Op("or", (found, Op("isnan", (term,), BOOL)), BOOL)
    reduction = lowered.reduction
    positions = LoweredReduction(
        Reduction("min", reduction.axes, both(reduction.where, found)),
        Var(reduction.axes[0].name),
        lowered.outer,
    )
    first = _add_stage(scope, name, positions, positions.term, e.span)
    return Select(compare("==", first, integer(NOWHERE)), integer(-1), first)


def _with_what_they_rest_on(adoptable: tuple[Expr, ...], adopted: list[Expr]) -> list[Expr]:
    """The adopted guards, outermost first; one that reads data may rest on all those outside it."""
    readers = [n for n, guard in enumerate(adoptable) if guard in adopted and depends_on_data(guard)]
    last = max(readers, default=-1)
    return [guard for n, guard in enumerate(adoptable) if n <= last or guard in adopted]


def mean_of(scope: Scope, total: Expr, lowered: LoweredReduction, e: tree.Reduce, name: str) -> Expr:
    """The sum over the number of terms, which a `where` makes a reduction of its own."""
    if lowered.reduction.where == TRUE:
        count: Expr = integer(1)
        for axis in lowered.reduction.axes:
            count = mul(count, axis.extent)
    else:
        counting = scope.fresh_name(f"{name}_count")
        scope.places[counting] = e.span
        count = _add_stage(scope, counting, lowered, integer(1), e.span)
    divisor = Cast(simplify(count), F32 if total.dtype.is_narrow else total.dtype)
    return Op("/", (total, divisor), total.dtype)


def _add_stage(scope: Scope, name: str, lowered: LoweredReduction, term: Expr, span: Span) -> Load:
    shape = tuple(axis.extent for axis in lowered.outer)
    tensor = Tensor(name, term.dtype, shape, span)
    scope.stages.append(Stage(tensor, lowered.outer, term, lowered.reduction, span))
    return Load(name, tuple(Var(axis.name) for axis in lowered.outer), term.dtype)


def _reducer(scope: Scope, e: tree.Reduce) -> str:
    name = e.name.name
    if name in ARG_REDUCERS:
        return ARG_REDUCERS[name]
    if name in REDUCERS:
        return name
    from te.diagnostics import did_you_mean

    if name in scope.tensors:
        scope.fail(
            error(
                "tensor-as-reducer",
                f"`{name}` is a tensor, not a reducer",
                e.name.span,
                help=f"`{name}[...]` alone reads it",
            )
        )
    known = [*REDUCERS, *(i.name for i in scope.module.file.items if isinstance(i, tree.Reducer))]
    help_text = did_you_mean(name, known) or "the reducers are " + ", ".join(known)
    scope.fail(error("unknown-reducer", f"there is no reducer `{name}`", e.name.span, help=help_text))


def _axes(scope: Scope, env: Env, e: tree.Reduce) -> tuple[Axis, ...]:
    axes: list[Axis] = []
    places = [e.args[0].value, *(() if e.where is None else (e.where,))]
    for item in e.axes:
        name = axis_name(scope, env, item, {a.name for a in axes})
        extent = (
            written_extent(scope, env, item)
            if isinstance(item, tree.Range)
            else inferred_extent(scope, name, item.span, places)
        )
        axes.append(Axis(name, extent))
    # A pack that stands for no axis leaves one term: the passes that follow always find an axis.
    return tuple(axes) or (Axis("unit", integer(1)),)


def _check_term(scope: Scope, reducer: str, term: Expr, span: Span) -> None:
    if reducer in ("any", "all"):
        if term.dtype != BOOL:
            scope.fail(
                error(
                    "number-as-bool",
                    f"`{reducer}` takes a condition, found {term.dtype}",
                    span,
                    help="compare it: `x != 0`",
                )
            )
        return
    if term.dtype == BOOL:
        scope.fail(
            error(
                "arithmetic-on-bool",
                f"`{reducer}` does not take bool",
                span,
                help="`any`, `all`; or count: `sum[i where c](1)`",
            )
        )
    if reducer == "mean" and (term.dtype.is_integer or term.dtype == LITERAL_INT):
        scope.fail(
            error(
                "mean-of-integers", "the mean of integers", span, help="cast the term: `mean[i](f32(X[i]))`"
            )
        )


def _stage_suffix(e: tree.Reduce) -> str:
    return "sum" if e.name.name == "mean" else e.name.name
