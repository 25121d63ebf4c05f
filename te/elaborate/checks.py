"""Run-time checks of reads whose index depends on data.

`E[ids[i], d]` cannot be proved in range. The read itself becomes one that gives 0
outside, and a stage of its own finds the first point at which the index lies outside:
the smallest position, over the indices that it depends on. A call that finds one
raises `IndexError` and discards its results.
"""

from __future__ import annotations

from te.elaborate.expressions import Env
from te.elaborate.reductions import nothing_is_empty
from te.elaborate.scope import Scope
from te.grammar import tree
from te.ir.expr import Expr, Var, add, both, integer, mul, negation
from te.ir.tensor import Axis, Check, Reduction, Stage, Tensor
from te.ir.types import I64
from te.ir.visit import variables


def check_at_run_time(scope: Scope, env: Env, e: tree.Read, tensor: Tensor, axis: int, inside: Expr) -> None:
    """Add the stage that finds where `inside` fails, under the conditions of this place."""
    where = negation(inside)
    for condition in reversed(env.conditions):
        where = both(condition, where)
    used = variables(where)
    axes = tuple(a for a in env.indices if a.name in used) or (Axis("unit", integer(1)),)
    where = both(nothing_is_empty(scope, env.indices, axes), where)
    reduction = Reduction("min", axes, where)
    position = _position(axes)
    if any(c.axis == axis and _same(scope.stages, c.stage, position, reduction) for c in scope.checks):
        return  # the same read twice in one equation
    name = scope.fresh_name(f"{env.owner}_check")
    scope.places[name] = e.span
    scope.stages.append(Stage(Tensor(name, I64, (), e.span), (), position, reduction, e.span))
    scope.checks.append(
        Check(name, e.name.span.to(e.span).text, tensor.name, axis, tensor.shape[axis], axes, e.span)
    )


def _same(stages: list[Stage], name: str, position: Expr, reduction: Reduction) -> bool:
    return any(s.name == name and s.value == position and s.reduction == reduction for s in stages)


def _position(axes: tuple[Axis, ...]) -> Expr:
    """The number of a point in row-major order."""
    position: Expr = Var(axes[0].name)
    for axis in axes[1:]:
        position = add(mul(position, axis.extent), Var(axis.name))
    return position
