"""What a schedule does to an op, line by line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from te.diagnostics import ScheduleError
from te.elaborate.modules import Library
from te.ir.evaluate import NotAnIndex, evaluate
from te.ir.expr import TRUE, Expr
from te.ir.print import print_expr
from te.ir.tensor import Program
from te.module import Op, Options
from te.pipeline import Candidate, Given, candidates, reporting_bugs
from te.runtime.generic import FIRST_RANK
from te.schedule.apply import Step, next_steps
from te.schedule.directives import Directive
from te.schedule.schedule import Schedule
from te.target import Target

__all__ = ["History", "history"]


@dataclass(frozen=True, slots=True)
class History:
    """A schedule and the kernel after each of its lines, up to the end or to the line that is refused.

    `steps` starts with the plain nest. `sizes` are those that the reader has in mind: the build has
    fixed them, or they are only counted with.
    """

    program: Program
    schedule: Schedule
    condition: Expr
    steps: tuple[Step, ...]
    refused: Directive | None  # the line at which it ends
    refusal: ScheduleError | None
    sizes: Mapping[str, int]
    others: int  # schedules that serve other sizes

    @property
    def heading(self) -> str:
        """`schedule matmul on llvm when N >= 16`."""
        condition = "" if self.condition == TRUE else f" when {print_expr(self.condition)}"
        return f"schedule {self.schedule.op} on {self.schedule.target}{condition}"


def history(
    op: Op,
    options: Options,
    given: Given,
    target: Target,
    *,
    knobs: Mapping[str, object] | None = None,
    sizes: Mapping[str, int] | None = None,
) -> History:
    """Apply, line by line, the schedule that a build would use for a call with these sizes.

    Where the sizes do not decide, it is the first that may be used. What the call decides of dtypes
    and ranks is as in the kernel that a build compiles first. Raises CompileError where the program
    or the schedule cannot be read.
    """
    ranks = dict.fromkeys(op.packs, FIRST_RANK)
    with reporting_bugs(op):
        program, possible = candidates(op, options, ranks, given, knobs or {}, target, Library())
        known = {**dict(program.fixed), **(sizes or {})}
        chosen = next((c for c in possible if _may_serve(c, known)), possible[-1])
        steps, refused, refusal = _applied(chosen)
    return History(
        program, chosen.schedule, chosen.condition, tuple(steps), refused, refusal, known, len(possible) - 1
    )


def _applied(candidate: Candidate) -> tuple[list[Step], Directive | None, ScheduleError | None]:
    """The steps, and the line that ends them before the end of the schedule, with the reason."""
    steps = [Step(None, candidate.plain)]
    for directive in candidate.schedule.directives:
        try:
            for step in next_steps(tuple(steps), directive):
                steps.append(step)
        except ScheduleError as refusal:
            return steps, directive, refusal
    return steps, None, None


def _may_serve(candidate: Candidate, sizes: Mapping[str, int]) -> bool:
    try:
        return bool(evaluate(candidate.condition, sizes))
    except (KeyError, NotAnIndex):
        return True
