"""A tensor's definition: one general equation, and start equations for constant indices.

`h[0, i] = h0[i]` holds where the first index is 0, `h[t, i] = ...` everywhere else.
Together they become one stage, `h[t, i] = where(t == 0, h0[i], ...)`; what the general
equation reads is proved for the indices that no start equation gives. Where two start
equations overlap, the one with more constants holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from te.diagnostics import Note, error
from te.elaborate.dtypes import coerce, settle
from te.elaborate.expressions import Env, lower
from te.elaborate.narrow import refuse_overflow
from te.elaborate.ranges import axis_name, inferred_extent, written_extent
from te.elaborate.reductions import reduce_term
from te.elaborate.scope import Scope, nonnegative
from te.elaborate.signature import equal
from te.elaborate.syntax import names_read
from te.grammar import tree
from te.ir.expr import TRUE, Expr, Select, Var, both, compare, integer, negation
from te.ir.print import print_expr
from te.ir.tensor import REDUCERS, Axis, Reduction, Requirement, Stage, Tensor
from te.ir.types import LITERAL_INT
from te.ir.visit import substitute


@dataclass(eq=False, slots=True)
class Definition:
    """The equations that define one tensor together (or a call that defines several)."""

    names: tuple[str, ...]
    general: tree.Equation | None = None
    starts: list[tree.Equation] = field(default_factory=list)

    @property
    def equations(self) -> list[tree.Equation]:
        return [*self.starts, *([self.general] if self.general else [])]

    def reads(self) -> list[str]:
        return list(dict.fromkeys(name for e in self.equations for name, _ in names_read(e.value)))


def constants_of(target: tree.Target) -> dict[int, int]:
    """The constant indices of a start equation's target, by axis."""
    index = target.index or ()
    return {n: int(i.value) for n, i in enumerate(index) if isinstance(i, tree.Number)}


def is_start(equation: tree.Equation) -> bool:
    return len(equation.targets) == 1 and bool(constants_of(equation.targets[0]))


# ------------------------------------------------------------------ stages


def define(scope: Scope, definition: Definition) -> None:
    """Add the stages of a definition by equations."""
    equation = definition.general or definition.starts[0]
    target = equation.targets[0]
    declared = scope.results.get(target.name)
    axes = tensor_axes(scope, definition)
    knowledge = scope.knowledge
    for axis in axes:
        knowledge = knowledge.with_range(axis.name, axis.extent)
    env = Env(knowledge, knowledge, axes, target.name)
    reduction: Reduction | None = None
    if definition.starts:
        value = _with_starts(scope, env, definition)
    else:
        value, reduction = _right_side(scope, env, equation.value)
    span = equation.value.span
    value = coerce(scope, value, declared.dtype, span) if declared else settle(scope, value, span)
    refuse_overflow(scope, value, value.dtype, span)
    tensor = declared or Tensor(target.name, value.dtype, tuple(a.extent for a in axes), target.span)
    scope.tensors[target.name] = tensor
    scope.stages.append(Stage(tensor, axes, value, reduction, equation.span))


def _right_side(scope: Scope, env: Env, e: tree.Expr) -> tuple[Expr, Reduction | None]:
    """A reduction that is the whole right side makes the tensor's own stage reduce."""
    if isinstance(e, tree.Reduce) and e.name.name in REDUCERS:
        lowered = reduce_term(scope, env, e)
        return lowered.term, lowered.reduction
    return lower(scope, env, e), None


def find_types(scope: Scope, definitions: Sequence[Definition]) -> None:
    """Find the dtypes of intermediates that read each other.

    Each stands as a literal first, which takes the type of whatever it meets; what its
    definition then gives is its type. The trial's stages are forgotten.
    """
    for definition in definitions:
        shape = tuple(a.extent for a in tensor_axes(scope, definition))
        (name,) = definition.names
        scope.tensors[name] = Tensor(name, LITERAL_INT, shape, scope.places[name])
    for definition in definitions:
        (name,) = definition.names
        stages, places, requirements = len(scope.stages), dict(scope.places), list(scope.requirements)
        define(scope, definition)
        found = scope.tensors[name]
        del scope.stages[stages:]
        scope.places, scope.requirements = places, requirements
        scope.tensors[name] = found


# -------------------------------------------------------------------- axes


def tensor_axes(scope: Scope, definition: Definition) -> tuple[Axis, ...]:
    """The axes of a tensor, named as in its general equation."""
    equation = definition.general or definition.starts[0]
    target = equation.targets[0]
    declared = scope.results.get(target.name)
    for each in definition.equations:
        check_rank(scope, each.targets[0], declared, len(target.index or ()))
    env = Env.for_sizes(scope)
    axes: list[Axis] = []
    for number, item in enumerate(target.index or ()):
        if isinstance(item, tree.Number):
            axes.append(Axis(f"axis{number}", _constant_axis_extent(scope, target, item, declared, number)))
            continue
        name = axis_name(scope, env, item, {a.name for a in axes})
        if isinstance(item, tree.Range):
            extent = written_extent(scope, env, item)
            _check_written(scope, target, item, extent, declared.shape[number] if declared else None)
        elif declared is not None:
            extent = declared.shape[number]
        else:
            extent = inferred_extent(scope, name, item.span, [equation.value])
        axes.append(Axis(name, extent))
    return tuple(axes)


def check_rank(scope: Scope, target: tree.Target, declared: Tensor | None, rank: int) -> None:
    found = len(target.index or ())
    wanted = len(declared.shape) if declared else rank
    if found == wanted:
        return
    shape = f"its shape is [{', '.join(print_expr(d) for d in declared.shape)}]" if declared else None
    scope.fail(
        error(
            "wrong-rank",
            f"`{target.name}` {'is declared with' if declared else 'has'} "
            f"{wanted} {'axis' if wanted == 1 else 'axes'}, found {found}",
            target.span,
            help=shape,
        )
    )


def _constant_axis_extent(
    scope: Scope, target: tree.Target, item: tree.Number, declared: Tensor | None, number: int
) -> Expr:
    if declared is None:
        scope.fail(
            error(
                "extent-unknown",
                f"nothing says how many elements `{target.name}` has along axis {number}",
                item.span,
                help="write an equation for all indices, as in `h[t < T + 1, i] = ...`",
            )
        )
    return declared.shape[number]


def _check_written(
    scope: Scope, target: tree.Target, item: tree.Range, extent: Expr, declared: Expr | None
) -> None:
    if declared is not None and not equal(scope, extent, declared):
        scope.fail(
            error(
                "extent-not-declared",
                f"`{item.name}` runs to {print_expr(extent)}, "
                f"but `{target.name}` is declared with {print_expr(declared)}",
                item.span,
                help="one equation defines every element: leave the extent out",
            )
        )
    if declared is None and not scope.knowledge.proves(nonnegative(extent)):
        text = f"{print_expr(extent)} >= 0 (axis {item.name} of {target.name})"
        scope.requirements.append(Requirement(nonnegative(extent), text, item.span))
        scope.knowledge = scope.knowledge.assuming(nonnegative(extent))


# ------------------------------------------------------------------ starts


def _with_starts(scope: Scope, env: Env, definition: Definition) -> Expr:
    """The value by cases: start equations, those with more constants first, then the general one."""
    starts = sorted(definition.starts, key=lambda s: -len(constants_of(s.targets[0])))
    _refuse_ties(scope, starts)
    conditions = [_condition(env.indices, constants_of(s.targets[0])) for s in starts]
    values = [_start_value(scope, env, s) for s in starts]
    if definition.general is None:
        _check_all_covered(scope, env, starts, conditions)
        value, conditions, values = values[-1], conditions[:-1], values[:-1]
    else:
        elsewhere = env
        for condition in (*_beyond_starts(env.indices, starts), *map(negation, conditions)):
            elsewhere = elsewhere.guarded_by(condition)
        value = lower(scope, elsewhere, definition.general.value)
    declared = scope.results.get(starts[0].targets[0].name)
    span = (definition.general or starts[-1]).value.span
    value = coerce(scope, value, declared.dtype, span) if declared else settle(scope, value, span)
    for start, condition, start_value in reversed(list(zip(starts, conditions, values, strict=False))):
        value = Select(condition, coerce(scope, start_value, value.dtype, start.value.span), value)
    return value


def _condition(axes: Sequence[Axis], constants: dict[int, int]) -> Expr:
    condition: Expr = TRUE
    for number, value in constants.items():
        condition = both(condition, compare("==", Var(axes[number].name), integer(value)))
    return condition


def _beyond_starts(axes: Sequence[Axis], starts: Sequence[tree.Equation]) -> list[Expr]:
    """`t >= 2` where `h[0]` and `h[1]` are given: the form in which the prover uses it best."""
    given: dict[int, set[int]] = {}
    for start in starts:
        constants = constants_of(start.targets[0])
        if len(constants) == 1:
            ((axis, value),) = constants.items()
            given.setdefault(axis, set()).add(value)
    bounds = []
    for axis, values in given.items():
        first = next(n for n in range(len(values) + 1) if n not in values)
        if first:
            bounds.append(compare(">=", Var(axes[axis].name), integer(first)))
    return bounds


def _start_value(scope: Scope, env: Env, start: tree.Equation) -> Expr:
    """A start equation's value, in terms of the general equation's indices."""
    target = start.targets[0]
    knowledge = scope.knowledge
    axes: list[Axis] = []
    renamed: dict[str, Expr] = {}
    for item, axis in zip(target.index or (), env.indices, strict=True):
        if isinstance(item, tree.Number):
            continue
        name = axis_name(scope, Env.for_sizes(scope), item, {a.name for a in axes})
        axes.append(Axis(name, axis.extent))
        renamed[name] = Var(axis.name)
        knowledge = knowledge.with_range(name, axis.extent)
    place = Env(knowledge, knowledge, tuple(axes), target.name)
    for number, value in constants_of(target).items():
        place = place.guarded_by(compare("<", integer(value), env.indices[number].extent))
    return substitute(lower(scope, place, start.value), renamed)


def _refuse_ties(scope: Scope, starts: Sequence[tree.Equation]) -> None:
    for number, second in enumerate(starts):
        b = constants_of(second.targets[0])
        for first in starts[:number]:
            a = constants_of(first.targets[0])
            meet = all(a[axis] == b[axis] for axis in a.keys() & b.keys())
            between = {**a, **b}
            settled = any(constants_of(s.targets[0]) == between for s in starts if s is not second)
            if meet and len(a) == len(b) and not (settled and a != b):
                scope.fail(
                    error(
                        "starts-overlap",
                        "two start equations give the same element",
                        second.targets[0].span,
                        help=_tie_help(second.targets[0], between) if a != b else None,
                        notes=[Note(first.targets[0].span, "the other one")],
                    )
                )


def _tie_help(target: tree.Target, constants: dict[int, int]) -> str:
    index = ", ".join(str(constants.get(n, "i")) for n in range(len(target.index or ())))
    return f"say which holds by an equation with more constants: `{target.name}[{index}] = ...`"


def _check_all_covered(
    scope: Scope, env: Env, starts: Sequence[tree.Equation], conditions: Sequence[Expr]
) -> None:
    covered: Expr | None = None
    for condition in conditions:
        covered = condition if covered is None else negation(both(negation(covered), negation(condition)))
    assert covered is not None
    target = starts[0].targets[0]
    if not _every_index_is_constant(env, starts):
        scope.fail(
            error(
                "starts-only",
                f"the equations of `{target.name}` do not give every element",
                target.span,
                help=f"add one for all other indices, as in `{target.name}[i] = ...`",
            )
        )


def _every_index_is_constant(env: Env, starts: Sequence[tree.Equation]) -> bool:
    """Whether single constants along one axis reach over its whole extent."""
    for number, axis in enumerate(env.indices):
        values = {c[number] for s in starts if (c := constants_of(s.targets[0])).keys() == {number}}
        count = next(n for n in range(len(values) + 1) if n not in values)
        if env.knowledge.proves(compare("<", Var(axis.name), integer(count))):
            return True
    return False
