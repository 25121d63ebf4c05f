"""Which reductions of a program follow which running values, when they run over one axis together.

Stages go in, and for each comes out what `algebra.py` proved of it. Nothing is said about loops.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from te.diagnostics import Span
from te.ir.bounds import prove
from te.ir.expr import Expr, Load, Var, compare, conjuncts
from te.ir.simplify import simplify
from te.ir.tensor import Axis, Program, Reduction, Stage
from te.ir.visit import loads, substitute, variables
from te.schedule.context import program_facts
from te.schedule.online.algebra import (
    NotRescalable,
    Rescaling,
    Running,
    expanded,
    rescaling,
    same_terms,
    unmasked,
)
from te.schedule.placement import reads_of


@dataclass(frozen=True, slots=True)
class Follows:
    """How a sum follows a running value. `read` is that value in the sum's indices."""

    read: Load
    rescaling: Rescaling
    partner: Load | None = None  # the sum that its linear part is made of, in the sum's indices

    @property
    def running(self) -> str:
        return self.read.buffer


@dataclass(frozen=True, slots=True)
class Member:
    """A reduction, the axis that it shares with others, and where it was named."""

    stage: Stage
    axis: Axis
    span: Span | None = None
    follows: Follows | None = None

    @property
    def name(self) -> str:
        return self.stage.name

    @property
    def reduction(self) -> Reduction:
        assert self.stage.reduction is not None
        return self.stage.reduction


def dependents(program: Program, names: Collection[str]) -> set[str]:
    """The stages that read one of these, directly or through others."""
    found: set[str] = set()
    for stage in program.stages:
        if any(load.buffer in names or load.buffer in found for load in reads_of(stage)):
            found.add(stage.name)
    return found - {*names}


def followers(program: Program, members: Sequence[Member]) -> list[Member]:
    """The members with what each follows. Raises `NotRescalable`, which names the member."""
    group = _Group(program, {member.name: member for member in members})
    found: dict[str, Member] = {}
    for member in members:
        try:
            found[member.name] = replace(member, follows=group.follows(member))
        except NotRescalable as refused:
            refused.stage = member.name
            raise
    return list(found.values())


@dataclass(frozen=True, slots=True)
class _Group:
    program: Program
    members: Mapping[str, Member]

    def follows(self, member: Member) -> Follows | None:
        read = self._running_value(member)
        if read is None:
            return None
        if member.reduction.reducer != "sum":
            raise NotRescalable(
                f"it is a {member.reduction.reducer} whose terms read `{read.buffer}`, and only a sum can be rescaled"
            )
        leader = self.members[read.buffer]
        if leader.reduction.reducer not in ("max", "min"):
            raise NotRescalable(
                f"its terms read the {leader.reduction.reducer} `{read.buffer}`, which is complete only when "
                f"all of `{leader.axis.name}` was seen",
                "only a maximum or minimum is followed while it runs\n"
                f"use `{read.buffer}` behind the sum (divide the sum instead of its terms, say), or leave it out "
                "of this line, so that it is complete before",
            )
        names = self._in_indices_of(member, read, leader)
        own = substitute(self.term(leader), names)
        axes = frozenset(axis.name for axis in member.reduction.axes)
        conditions, term = unmasked(self.term(member), read.buffer)
        self._check_elements(member, conditions, leader, names)
        found = rescaling(term, Running(read, own, axes))
        partner = self._partner(member, read, found) if found.linear else None
        return Follows(read, _in_rows(found, read, leader, member), partner)

    def term(self, member: Member) -> Expr:
        """A member's terms, down to inputs and reductions."""
        pointwise = {s.name: s for s in self.program.stages if s.reduction is None and not self._recurs(s)}
        return expanded(member.stage.value, pointwise)

    def _recurs(self, stage: Stage) -> bool:
        return any(stage.name in r.stages for r in self.program.recurrences)

    def _running_value(self, member: Member) -> Load | None:
        """The one read of another member in a member's terms, if there is one."""
        late = dependents(self.program, self.members)
        found: dict[Load, None] = {}
        for load in loads(self.term(member)):
            if load.buffer in late:
                raise NotRescalable(
                    f"its terms read `{load.buffer}`, which depends on the others and is complete only behind them"
                )
            if load.buffer in self.members:
                found[load] = None
        for load in loads(member.reduction.where):
            if load.buffer in late or load.buffer in self.members:
                raise NotRescalable(f"which terms it takes depends on `{load.buffer}`")
        # A sum that is not complete yet is the worst that can be read, and says most.
        unfinished = [r for r in found if self.members[r.buffer].reduction.reducer not in ("max", "min")]
        if len(found) > 1 and not unfinished:
            names = list(dict.fromkeys(read.buffer for read in found))
            if len(names) == 1:
                raise NotRescalable(f"its terms read different elements of `{names[0]}`")
            shown = " and ".join(f"`{name}`" for name in names)
            raise NotRescalable(f"its terms read {shown}, and only one running value can be followed")
        return next(iter([*unfinished, *found]), None)

    def _in_indices_of(self, member: Member, read: Load, leader: Member) -> dict[str, Expr]:
        """What a running value's indices are where a member reads it."""
        axes = {axis.name for axis in member.reduction.axes}
        if any(axes & variables(i) for i in read.index):
            raise NotRescalable(f"its terms read different elements of `{read.buffer}`")
        facts = program_facts(self.program)
        theirs = [a for a in leader.reduction.axes if a != leader.axis]
        ours = [a for a in member.reduction.axes if a != member.axis]
        if len(ours) != len(theirs) or not all(
            prove(compare("==", a.extent, b.extent), facts) for a, b in zip(ours, theirs, strict=True)
        ):
            raise NotRescalable(f"it runs over other axes than `{read.buffer}`")
        names: dict[str, Expr] = {leader.axis.name: Var(member.axis.name)}
        names |= {theirs[k].name: Var(axis.name) for k, axis in enumerate(ours)}
        return names | {axis.name: i for axis, i in zip(leader.stage.axes, read.index, strict=True)}

    def _check_elements(
        self, member: Member, conditions: Sequence[Expr], leader: Member, names: Mapping[str, Expr]
    ) -> None:
        """The terms are those of the leader's elements; outside of them, `conditions` may make them 0."""
        facts = program_facts(self.program)
        ours = {simplify(c, facts) for c in (*conjuncts(member.reduction.where), *conditions)}
        theirs = {simplify(substitute(c, names), facts) for c in conjuncts(leader.reduction.where)}
        if ours != theirs:
            masks = " (a choice between terms and 0 counts as one)" if conditions else ""
            raise NotRescalable(
                f"it runs over other elements than `{leader.name}`: their conditions differ",
                f"give both the same `where`{masks}; `{leader.name}` may be the {leader.reduction.reducer} of the same "
                "elements only",
            )

    def _partner(self, member: Member, read: Load, found: Rescaling) -> Load:
        """The sum in the group whose terms are those of the linear part."""
        assert found.linear is not None
        for other in self.members.values():
            index = self._same_element(other, member, read)
            if index is None or other.reduction.reducer != "sum":
                continue
            names = {axis.name: i for axis, i in zip(other.stage.axes, index, strict=True)}
            names |= dict(zip(_names(other), map(Var, _names(member)), strict=False))
            if same_terms(substitute(unmasked(self.term(other), read.buffer)[1], names), found.linear.terms):
                return Load(other.name, index, other.stage.tensor.dtype)
        raise NotRescalable(
            f"its terms are linear in `{read.buffer}`, and it moves with a sum that is not in the group",
            "the sum of the same terms without that factor must be computed along with it",
        )

    def _same_element(self, other: Member, member: Member, read: Load) -> tuple[Expr, ...] | None:
        """The index of the other sum that reads the same running value as an element of this one."""
        theirs = self._running_value(other) if other is not member else None
        if theirs is None or theirs.buffer != read.buffer or len(_names(other)) != len(_names(member)):
            return None
        values = {i.name: own for i, own in zip(theirs.index, read.index, strict=True) if isinstance(i, Var)}
        if len(values) < len(theirs.index) or not all(axis.name in values for axis in other.stage.axes):
            return None
        return tuple(values[axis.name] for axis in other.stage.axes)


def _in_rows(found: Rescaling, read: Load, leader: Member, member: Member) -> Rescaling:
    """The factors in the indices of the running value, one for each of its elements."""
    rows = {
        i.name: Var(axis.name)
        for i, axis in zip(read.index, leader.stage.axes, strict=True)
        if isinstance(i, Var)
    }
    for factor in found.factors:
        other = variables(factor.rate) & {axis.name for axis in member.stage.axes} - rows.keys()
        if other:
            raise NotRescalable(
                f"it is rescaled by different factors along `{min(other)}`, which `{leader.name}` does not have"
            )
    factors = tuple(replace(factor, rate=substitute(factor.rate, rows)) for factor in found.factors)
    return replace(found, factors=factors)


def _names(member: Member) -> list[str]:
    """The reduction axes, the shared one first."""
    return [member.axis.name, *(a.name for a in member.reduction.axes if a != member.axis)]
