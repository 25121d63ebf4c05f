"""Recurrences: stages that read each other, in an order that makes every read an earlier one.

A group of stages may recur over shared axes where each read between them is, at those
axes, lexicographically smaller than the element being defined (`h[t - 1, i]`), or of
the same point and of a stage that can run before (`z[t]` in `h[t]`). The axes are
looked for among the names that all stages of the group have.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import permutations

from te.diagnostics import error
from te.elaborate.order import components
from te.elaborate.scope import Knowledge, Scope
from te.ir.expr import TRUE, Expr, Load, Var, compare, conjuncts, maximum
from te.ir.print import print_expr
from te.ir.tensor import Axis, Recurrence, Stage
from te.ir.visit import loads
from te.ir.wellformed import guarded_loads

MAX_AXES = 5


def order_stages(scope: Scope, first: int) -> None:
    """Bring `scope.stages[first:]` into dependence order; what reads itself becomes a recurrence."""
    stages = scope.stages[first:]
    by_name = {s.name: s for s in stages}
    needs = {
        s.name: [n for n in dict.fromkeys(load.buffer for load in _reads(s)) if n in by_name] for s in stages
    }
    ordered: list[Stage] = []
    for group in components([s.name for s in stages], needs):
        members = [by_name[name] for name in group]
        if len(group) == 1 and group[0] not in needs[group[0]]:
            ordered += members
            continue
        recurrence, members = _recurrence(scope, members)
        scope.recurrences.append(recurrence)
        ordered += members
    scope.stages[first:] = ordered


def _reads(stage: Stage) -> Iterator[Load]:
    yield from loads(stage.value)
    if stage.reduction:
        yield from loads(stage.reduction.where)


def _recurrence(scope: Scope, stages: list[Stage]) -> tuple[Recurrence, list[Stage]]:
    common = [a.name for a in stages[0].axes if all(a.name in _axis_names(s) for s in stages)]
    for count in range(1, min(len(common), MAX_AXES) + 1):
        for names in permutations(common, count):
            order = _order_within(scope, stages, names)
            if order is not None:
                return Recurrence(_shared_axes(scope, order, names), tuple(s.name for s in order)), order
    _refuse(scope, stages, common)
    raise AssertionError


def _axis_names(stage: Stage) -> list[str]:
    return [a.name for a in stage.axes]


def _order_within(scope: Scope, stages: list[Stage], names: Sequence[str]) -> list[Stage] | None:
    """An order of the stages at one point of the axes `names`; None where a read is not an earlier one."""
    by_name = {s.name: s for s in stages}
    needs: dict[str, list[str]] = {s.name: [] for s in stages}
    for stage in stages:
        for load, knowledge in _guarded_reads(scope, stage):
            if load.buffer not in by_name:
                continue
            earlier = _is_earlier(by_name[load.buffer], load, names, knowledge)
            if earlier is None:
                return None
            if not earlier:
                needs[stage.name].append(load.buffer)
    groups = components([s.name for s in stages], needs)
    if any(len(g) > 1 or g[0] in needs[g[0]] for g in groups):
        return None
    return [by_name[g[0]] for g in groups]


def _is_earlier(read: Stage, load: Load, names: Sequence[str], knowledge: Knowledge) -> bool | None:
    """True: of an earlier point. False: of the same point. None: neither can be shown."""
    positions = _axis_names(read)
    for name in names:
        index = load.index[positions.index(name)]
        if knowledge.proves(compare("<", index, Var(name))):
            return True
        if index != Var(name) and not knowledge.proves(compare("==", index, Var(name))):
            return None
    return False


def _guarded_reads(scope: Scope, stage: Stage) -> Iterator[tuple[Load, Knowledge]]:
    """Every read of a stage with what is known where it happens."""
    knowledge = scope.knowledge
    for axis in (*stage.axes, *(stage.reduction.axes if stage.reduction else ())):
        knowledge = knowledge.with_range(axis.name, axis.extent)
    where = stage.reduction.where if stage.reduction else TRUE
    for load, facts in guarded_loads(where, knowledge.generic):
        yield load, _with(knowledge, facts.assumptions)
    for part in conjuncts(where):
        knowledge = knowledge.assuming(part)
    for load, facts in guarded_loads(stage.value, knowledge.generic):
        yield load, _with(knowledge, facts.assumptions)


def _with(knowledge: Knowledge, assumptions: Sequence[Expr]) -> Knowledge:
    for assumption in assumptions[len(knowledge.generic.assumptions) :]:
        knowledge = knowledge.assuming(assumption)
    return knowledge


def _shared_axes(scope: Scope, stages: Sequence[Stage], names: Sequence[str]) -> tuple[Axis, ...]:
    """The shared loops, as long as the longest of the stages' axes."""
    axes = []
    for name in names:
        extents = [a.extent for s in stages for a in s.axes if a.name == name]
        longest = extents[0]
        for extent in extents[1:]:
            if scope.knowledge.proves(compare("<=", extent, longest)):
                continue
            shorter = scope.knowledge.proves(compare("<=", longest, extent))
            longest = extent if shorter else maximum(longest, extent)
        axes.append(Axis(name, longest))
    return tuple(axes)


def _refuse(scope: Scope, stages: Sequence[Stage], common: Sequence[str]) -> None:
    """Name a read that no order of the axes makes an earlier one."""
    names = {s.name: s for s in stages}
    stage = next((s for s in stages if s.span is not None), stages[0])
    if not common:
        listed = ", ".join(f"`{s.name}[{', '.join(_axis_names(s))}]`" for s in stages)
        scope.fail(
            error(
                "recurrence-axes",
                f"{listed} depend on each other, and share no index to recur over",
                stage.span,
                help="name the index that runs along the recurrence alike in all of them, such as `t`",
            )
        )
    for reader in stages:
        for load, knowledge in _guarded_reads(scope, reader):
            if load.buffer not in names:
                continue
            if all(_is_earlier(names[load.buffer], load, (n,), knowledge) is None for n in common):
                _refuse_read(scope, reader, load)
    scope.fail(
        error(
            "recurrence-order",
            f"`{stages[-1].name}` depends on itself, and no order of its indices makes every read an earlier one",
            stage.span,
            help="each read must be of a smaller index, such as `h[t - 1, i]`",
        )
    )


def _refuse_read(scope: Scope, reader: Stage, load: Load) -> None:
    index = ", ".join(print_expr(i) for i in load.index)
    scope.fail(
        error(
            "recurrence-order",
            f"`{reader.name}` depends on itself: `{load.buffer}[{index}]` is not an earlier element",
            reader.span,
            help="each read must be of a smaller index, such as `h[t - 1, i]`, "
            "and an equation with a constant index gives the start: `h[0, i] = ...`",
        )
    )
