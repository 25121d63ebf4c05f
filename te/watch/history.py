"""What a schedule does to an op, line by line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
from te.schedule.directives import Directive
from te.schedule.schedule import Schedule, Step, apply_each
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
    refusal: ScheduleError | None
    sizes: Mapping[str, int]
    others: int  # schedules that serve other sizes

    @property
    def refused(self) -> Directive | None:
        """The line that is refused."""
        return self.schedule.directives[len(self.steps) - 1] if self.refusal else None

    @property
    def heading(self) -> str:
        """`schedule matmul on llvm when N >= 16`."""
        condition = "" if self.condition == TRUE else f" when {print_expr(self.condition)}"
        return f"schedule {self.schedule.op} on {self.schedule.target}{condition}"


def history(
    op: Op, options: Options, given: Given, target: Target, sizes: Mapping[str, int] | None = None
) -> History:
    """Apply, line by line, the schedule that a build would use for a call with these sizes.

    Where the sizes do not decide, it is the first that may be used. What the call decides of dtypes
    and ranks is as in the kernel that a build compiles first. Raises CompileError where the program
    or the schedule cannot be read.
    """
    ranks = dict.fromkeys(op.packs, FIRST_RANK)
    with reporting_bugs(op):
        program, possible = candidates(op, options, ranks, given, target, Library())
        return _applied(program, possible, {**dict(program.fixed), **(sizes or {})})


def _applied(program: Program, possible: Sequence[Candidate], sizes: Mapping[str, int]) -> History:
    chosen = next((c for c in possible if _may_serve(c, sizes)), possible[-1])
    steps: list[Step] = []
    refusal = None
    try:
        for step in apply_each(chosen.plain, chosen.schedule.directives):
            steps.append(step)
    except ScheduleError as refused:
        refusal = refused
    return History(
        program, chosen.schedule, chosen.condition, tuple(steps), refusal, sizes, len(possible) - 1
    )


def _may_serve(candidate: Candidate, sizes: Mapping[str, int]) -> bool:
    try:
        return bool(evaluate(candidate.condition, sizes))
    except (KeyError, NotAnIndex):
        return True
