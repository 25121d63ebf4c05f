"""Schedules in files: which are meant for an op, and what their lines are.

The schedules that are given to a build come before those in the op's own file; for the op of a
`use` line, those in the file with the line come first.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from te.diagnostics import Diagnostic, Note, ScheduleError, Span, did_you_mean, error
from te.elaborate.modules import Definition, Module
from te.grammar import tree
from te.ir.expr import FALSE, TRUE, Expr
from te.ir.print import print_expr
from te.ir.tensor import Call, Program, Requirement
from te.schedule.condition import condition_of, decided
from te.schedule.directives import Specialize, Use
from te.schedule.forms import Directive, span_of
from te.schedule.knobs import Knob, read_knobs
from te.schedule.text import names_in, read_directives
from te.target import EMULATED, TARGET_NAMES

MAX_USES = 12  # each line may double the number of lines, so that few levels make many
# All targets that schedules are for, on this machine or another: a schedule for one is legal anywhere.
TARGETS = tuple(name for name in TARGET_NAMES if name != EMULATED)


@dataclass(frozen=True, slots=True)
class Written:
    """A schedule and the file that it stands in, whose names it means."""

    item: tree.Schedule
    module: Module


@dataclass(frozen=True, slots=True)
class Setting:
    """What the schedules of a build are read with.

    `own` is the file of the op. Schedules that stand in the `given` one may say which op they are
    for by its name alone.
    """

    program: Program
    target: str
    levels: frozenset[str]  # the names of all targets whose schedules may be used
    own: Module
    given: Module | None = None
    knobs: Mapping[str, object] = field(default_factory=dict)

    def schedules(self, op: Definition, *first: Module) -> list[Written]:
        """The schedules of an op for this target, in the order in which they are to be tried."""
        modules = [*first, *([self.given] if self.given else []), self.own, op.module]
        return [
            Written(item, module)
            for module in dict.fromkeys(modules)
            for item in module.file.items
            if isinstance(item, tree.Schedule)
            and item.target in self.levels
            and is_for(item, module, op, by_name=module is self.given)
        ]

    def assuming(self, condition: Expr) -> Setting:
        return replace(self, program=assuming(self.program, condition))


def is_for(item: tree.Schedule, module: Module, op: Definition, by_name: bool) -> bool:
    """Whether a schedule in a file is for an op; `by_name`: one of that name in any file."""
    found = module.find(item.op)
    if found is not None and found.op.name == op.op.name and _file(found) == _file(op):
        return True
    return by_name and item.op == op.op.name


def _file(op: Definition) -> str:
    name = op.module.file.source.name
    return os.path.realpath(name) if name.endswith(".te") else name


def assuming(program: Program, condition: Expr) -> Program:
    """The program where a condition holds: a fact for the directives."""
    if condition == TRUE:
        return program
    requirement = Requirement(condition, print_expr(condition))
    return replace(program, requirements=(*program.requirements, requirement))


# ---------------------------------------------------------------- which schedule


@dataclass(frozen=True, slots=True)
class Choice:
    """A schedule that may be used, and the condition on run-time sizes under which it is."""

    schedule: Written
    condition: Expr


def schedules_for(setting: Setting) -> list[Choice]:
    """The schedules of the program's op that fit the target, in the order in which they are to be tried.

    Those whose `when` is false for this build are left out, and the list ends at the first
    one that always holds: its condition is TRUE. Where there is none, what the conditions
    leave over is for the automatic schedule.
    """
    choices: list[Choice] = []
    for written in setting.schedules(own_definition(setting)):
        condition = condition_for(written, setting)
        if condition != FALSE:
            choices.append(Choice(written, condition))
        if condition == TRUE:
            break
    return choices


def own_definition(setting: Setting) -> Definition:
    return Definition(setting.own.ops[setting.program.name], setting.own)


def condition_for(written: Written, setting: Setting, call: Call | None = None) -> Expr:
    """The `when` of a schedule, in the program's sizes."""
    knobs = knobs_of(written.item, setting, call)  # if they are wrong, that is said
    if written.item.when is None:
        return TRUE
    names = names_in(setting.program, call, knobs)
    return decided(condition_of(written.item.when, names), setting.program)


def knobs_of(item: tree.Schedule, setting: Setting, call: Call | None = None) -> tuple[Knob, ...]:
    """The knobs of a schedule with the values that the build gives them."""
    return read_knobs(item, names_in(setting.program, call).constants, setting.knobs)


# ---------------------------------------------------------------- its lines


def read_lines(
    written: Written, setting: Setting, call: Call | None = None, inside: tuple[tree.Schedule, ...] = ()
) -> tuple[Directive, ...]:
    """The directives of a schedule; with `call`, of the op that is called there.

    `inside`: the schedules whose `use` lines led here. Raises `ScheduleError` with all malformed lines.
    """
    names = names_in(setting.program, call, knobs_of(written.item, setting, call))
    return read_directives(written.item.directives, names, Library(written, setting, call, inside))


@dataclass(frozen=True, slots=True)
class Library:
    """What the `use` lines of one schedule find (`Reuse` of text.py)."""

    within: Written | None
    setting: Setting
    call: Call | None = None  # whose op the schedule is for, if it is not the program's
    inside: tuple[tree.Schedule, ...] = ()

    def assuming(self, condition: Expr) -> Library:
        return replace(self, setting=self.setting.assuming(condition))

    def lines(self, use: Use) -> tuple[Directive, ...]:
        call = find_call(self.setting.program, use, self.call)
        op = self.definition(use)
        undecided: list[str] = []
        first = (self.within.module,) if self.within else ()
        for written in self.setting.schedules(op, *first):
            condition = condition_for(written, self.setting, call)
            if condition == TRUE:
                return self._lines(written, call, use)
            if condition != FALSE:
                undecided.append(print_expr(condition))
        if undecided:
            reason = f"it is not certain that {undecided[0]}"
            around = f"`specialize {undecided[0]} {{ ... }}` around the line"
            help_text = f"write `when {undecided[0]}` on this schedule, or {around}"
        else:
            reason = f"there is none for {self.setting.target}"
            help_text = f"write `schedule {use.op} on {self.setting.target} {{ ... }}` in this file"
        raise ScheduleError(
            error(
                "use-schedule",
                f"no schedule of `{use.op}` can be used here: {reason}",
                span_of(use, "op"),
                help=help_text,
            )
        )

    def _lines(self, written: Written, call: Call | None, use: Use) -> tuple[Directive, ...]:
        inside = (*self.inside, self.within.item) if self.within else self.inside
        if any(written.item is item for item in inside):
            raise ScheduleError(
                error(
                    "use-itself",
                    f"the schedule of `{use.op}` uses itself",
                    span_of(use),
                    "its lines would never end",
                    notes=[Note(head(written.item, "op"), "this schedule")],
                )
            )
        if len(inside) > MAX_USES:
            raise ScheduleError(
                error(
                    "use-too-deep",
                    f"lines `use` nest deeper than {MAX_USES}",
                    span_of(use),
                    "one too many",
                    help="write the lines of one of these schedules out",
                )
            )
        return read_lines(written, self.setting, call, inside)

    def definition(self, use: Use) -> Definition:
        modules = [self.within.module] if self.within else []
        modules += [self.setting.given] if self.setting.given else []
        modules.append(self.setting.own)
        for module in modules:
            found = module.find(use.op)
            if found is not None:
                return found
        raise ScheduleError(
            error(
                "use-schedule",
                f"there is no op `{use.op}`",
                span_of(use, "op"),
                help=_ops_there_are(use.op, modules[0]),
            )
        )


def find_call(program: Program, use: Use, within: Call | None = None) -> Call | None:
    """The call that a `use` line means; None for the program's op itself.

    `within`: the call of the op in whose terms the line is written.
    """
    name = dict(within.names).get(use.of, use.of) if within else use.of
    calls = [call for call in program.calls if name in call.results]
    if calls:
        return next((call for call in calls if call.op == use.op.rpartition(".")[2]), calls[-1])
    if within is not None or name in program.results:
        return within
    results = [f"`{result}`" for call in program.calls for result in call.results]
    there_are = f"results of calls are {', '.join(dict.fromkeys(results))}" if results else "it calls no ops"
    raise ScheduleError(
        error(
            "use-of",
            f"`{use.of}` is no result of a call",
            span_of(use, "of"),
            help=f"{there_are}; with a result of `{program.name}` itself, its own stages are meant",
        )
    )


def resolved(lines: tuple[Directive, ...], library: Library) -> tuple[Directive, ...]:
    """The lines of a schedule made in Python, with those of other ops that they `use`."""
    found: list[Directive] = []
    for line in lines:
        match line:
            case Use(lines=None):
                line = replace(line, lines=library.lines(line))
            case Specialize():
                line = replace(line, block=resolved(line.block, library))
        found.append(line)
    return tuple(found)


# ---------------------------------------------------------------- the knobs of a build


def knobs_for(setting: Setting) -> dict[str, Knob]:
    """The knobs that a build may set: of the op's schedules for the target, and of those that they use.

    One that several have is one knob: it offers what all of them do.
    """
    found: dict[str, Knob] = {}
    for written in setting.schedules(own_definition(setting)):
        for schedule, call in _with_used(written, setting, None, ()):
            for knob in knobs_of(schedule.item, setting, call):
                known = found.setdefault(knob.name, knob)
                if known.choices and knob.choices:
                    common = tuple(choice for choice in known.choices if choice in knob.choices)
                    found[knob.name] = replace(known, choices=common)
    return found


def _with_used(
    written: Written, setting: Setting, call: Call | None, inside: tuple[Written, ...]
) -> Iterator[tuple[Written, Call | None]]:
    """A schedule, and all that its `use` lines may take over, each with the call that it is for."""
    yield written, call
    library = Library(written, setting, call)
    for use in _use_lines(written.item.directives):
        try:
            inner, op = find_call(setting.program, use, call), library.definition(use)
        except ScheduleError:
            continue  # it is reported where the line is read
        for used in setting.schedules(op, written.module):
            if used not in inside:
                yield from _with_used(used, setting, inner, (*inside, written))


def _use_lines(lines: Sequence[tree.Directive]) -> Iterator[Use]:
    for line in lines:
        match line:
            case tree.Directive(
                verb="use", operands=[tree.Name(op)], clauses=[tree.Clause("of", (tree.Name(of),))]
            ):
                yield Use(op, of)
        yield from _use_lines(line.block or ())


# ---------------------------------------------------------------- heads


def check_headers(module: Module) -> list[Diagnostic]:
    """What is wrong with the heads of a file's schedules."""
    found: list[Diagnostic] = []
    for item in module.file.items:
        if not isinstance(item, tree.Schedule):
            continue
        if module.find(item.op) is None:
            found.append(
                error(
                    "schedule-op",
                    f"a schedule for `{item.op}`, which is no op",
                    head(item, "op"),
                    help=_ops_there_are(item.op, module),
                )
            )
        if item.target not in TARGETS and not item.target.startswith("cuda."):
            suggestion = did_you_mean(item.target, TARGETS)
            there_are = f"the targets are {', '.join(f'`{n}`' for n in TARGETS)}"
            found.append(
                error(
                    "schedule-target",
                    f"there is no target `{item.target}`",
                    head(item, "target"),
                    help=f"{suggestion}\n{there_are}" if suggestion else there_are,
                )
            )
    return found


def _ops_there_are(name: str, module: Module) -> str:
    known = module.callable_names()
    suggestion = did_you_mean(name, known)
    there_are = f"the ops are {', '.join(f'`{n}`' for n in known)}" if known else "there are no ops here"
    if not known:
        there_are += f"; `use FILE` and `schedule FILE.{name}` is for an op of FILE.te"
    return f"{suggestion}\n{there_are}" if suggestion else there_are


def head(item: tree.Schedule, part: str) -> Span:
    """Where a schedule's `op` or `target` is written."""
    match = re.match(r"schedule\s+(?P<op>\S+)\s+on\s+(?P<target>[\w.]+)", item.span.text)
    if match is None:
        return item.span
    start, end = match.span(part)
    return Span(item.span.source, item.span.start + start, item.span.start + end)
