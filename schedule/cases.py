"""The cases of a schedule: what `specialize` expands to.

    tile i, j by 6, 32 into io, jo, ii, ji
    specialize M % 6 == 0 { unroll ii }
    vectorize ji

is two schedules, tried in this order at each call: where M % 6 == 0, the first line and the
block's; else the first and the last. A condition that the build decides leaves one of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from te.diagnostics import ScheduleError, Source, error
from te.grammar.parser import parse_expression
from te.ir.expr import FALSE, TRUE, Expr, both
from te.ir.tensor import Call, Program
from te.schedule.condition import lower_condition
from te.schedule.directives import Specialize, Use
from te.schedule.forms import Directive, span_of
from te.schedule.reuse import lines_of
from te.schedule.text import names_in
from te.schedule.written import assuming, find_call

MAX_CASES = 16  # each is a copy of the code


@dataclass(frozen=True, slots=True)
class Case:
    """The lines for the sizes for which a condition holds, and none of the cases before it."""

    condition: Expr
    lines: tuple[Directive, ...]


def cases_of(lines: Sequence[Directive], program: Program, call: Call | None = None) -> list[Case]:
    """The cases of a schedule, in the order in which they are tried; the last one always holds.

    `call`: in whose terms the lines are written, if not the program's.
    """
    for position, line in enumerate(lines):
        before, after = tuple(lines[:position]), lines[position + 1 :]
        match line:
            case Specialize():
                condition = condition_in(line, program, call)
                found = _special(line, condition, program, call)
                if condition != TRUE:
                    found += cases_of(after, program, call)
            case Use():
                inner = find_call(program, line, call)
                found = [
                    Case(both(used.condition, rest.condition), (replace(line, lines=used.lines), *rest.lines))
                    for used in cases_of(lines_of(line), program, inner)
                    for rest in cases_of(after, assuming(program, used.condition), call)
                ]
            case _:
                continue
        _refuse_many(found, line)
        return [Case(case.condition, before + case.lines) for case in found]
    return [Case(TRUE, tuple(lines))]


def _special(line: Specialize, condition: Expr, program: Program, call: Call | None) -> list[Case]:
    if condition == FALSE:
        return []
    inside = cases_of(line.block, assuming(program, condition), call)
    return [Case(both(condition, case.condition), case.lines) for case in inside]


def condition_in(line: Specialize, program: Program, call: Call | None = None) -> Expr:
    """The condition in the program's sizes: TRUE or FALSE where the build decides it."""
    written = parse_expression(Source("condition", line.condition))
    return lower_condition(written, names_in(program, call), program)


def _refuse_many(cases: list[Case], line: Directive) -> None:
    if len(cases) > MAX_CASES:
        raise ScheduleError(
            error(
                "too-many-cases",
                f"this schedule has {len(cases)} cases, each a copy of the code",
                span_of(line),
                f"at most {MAX_CASES} cases",
                help="join conditions with `or`, or leave out the cases that matter least",
            )
        )
