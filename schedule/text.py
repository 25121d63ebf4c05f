"""Schedules as written: syntax trees to directives, and which schedule is meant for a build.

Knobs take their defaults, and arithmetic on knobs, `const`s and fixed sizes is done
here, so that directives hold numbers. All lines are read before any is applied, so that
several malformed ones are reported together.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from te.diagnostics import Diagnostic, ScheduleError, Source, Span, did_you_mean, error
from te.elaborate.constants import constant_value
from te.grammar import tree
from te.grammar.parser import parse_directives
from te.ir.expr import FALSE, TRUE, Expr, Op, Var, integer
from te.ir.tensor import Program
from te.ir.types import I64, DType
from te.schedule.condition import Constant, Names, lower_condition
from te.schedule.directives import LATER_VERBS, VERBS
from te.schedule.forms import Directive, Kind, Layout, Place, TensorAxes
from te.schedule.vocabulary import Shape, Value, field_of, make, shape_of
from te.target import Target

# All targets there are, on this machine or another: a schedule for one is legal anywhere.
TARGETS = ("llvm", "llvm.sse4", "llvm.avx2", "llvm.avx512", "llvm.neon", "cuda")


# ---------------------------------------------------------------- which schedule


@dataclass(frozen=True, slots=True)
class Choice:
    """A schedule that may be used, and the condition on run-time sizes under which it is."""

    schedule: tree.Schedule
    condition: Expr


def schedules_for(file: tree.File, program: Program, target: Target) -> list[Choice]:
    """The schedules of a program's op that fit a target, in the order in which they are to be tried.

    Those whose `when` is false for this build are left out, and the list ends at the first
    one that always holds: its condition is TRUE. Where there is none, what the conditions
    leave over is for the automatic schedule.
    """
    choices: list[Choice] = []
    for item in file.items:
        if isinstance(item, tree.Schedule) and item.op == program.name and target.satisfies(item.target):
            condition = lower_condition(item.when, names_in(item, program, file), program)
            if condition != FALSE:
                choices.append(Choice(item, condition))
            if condition == TRUE:
                break
    return choices


def check_headers(file: tree.File, ops: Iterable[str]) -> list[Diagnostic]:
    """What is wrong with the heads of a file's schedules. `ops`: the ops that may be scheduled."""
    found: list[Diagnostic] = []
    known = list(ops)
    for item in file.items:
        if not isinstance(item, tree.Schedule):
            continue
        if item.op not in known:
            there_are = f"the ops are {', '.join(f'`{n}`' for n in known)}" if known else "there are no ops"
            suggestion = did_you_mean(item.op, known)
            found.append(
                error(
                    "schedule-op",
                    f"a schedule for `{item.op}`, which is no op",
                    _in_head(item, "op"),
                    help=f"{suggestion}\n{there_are}" if suggestion else there_are,
                )
            )
        if item.target not in TARGETS and not item.target.startswith("cuda."):
            suggestion = did_you_mean(item.target, TARGETS)
            there_are = f"the targets are {', '.join(f'`{n}`' for n in TARGETS)}"
            found.append(
                error(
                    "schedule-target",
                    f"there is no target `{item.target}`",
                    _in_head(item, "target"),
                    help=f"{suggestion}\n{there_are}" if suggestion else there_are,
                )
            )
    return found


def _in_head(item: tree.Schedule, part: str) -> Span:
    """Where a schedule's op or target is written."""
    match = re.match(r"schedule\s+(?P<op>\S+)\s+on\s+(?P<target>[\w.]+)", item.span.text)
    if match is None:
        return item.span
    start, end = match.span(part)
    return Span(item.span.source, item.span.start + start, item.span.start + end)


# ---------------------------------------------------------------- what names stand for


def names_in(schedule: tree.Schedule | None, program: Program, file: tree.File | None = None) -> Names:
    """What the names in a schedule of a program stand for. `file` is where the op may be found."""
    constants: dict[str, Constant] = {**dict(program.fixed), **dict(program.consts)}
    if schedule is not None:
        constants |= _knobs(schedule, constants)
    return Names(constants, _dtype_variables(program, file), program.sizes)


def _knobs(schedule: tree.Schedule, constants: dict[str, Constant]) -> dict[str, Constant]:
    """The knobs with their defaults."""
    knobs: dict[str, Constant] = {}
    wrong: list[Diagnostic] = []
    for knob in schedule.knobs:
        if knob.name in knobs:
            wrong.append(error("duplicate-knob", f"two knobs are called `{knob.name}`", knob.span))
            continue
        known = constants | knobs  # a knob may mention those before it
        default = constant_value(None, knob.default, known)
        choices = [constant_value(None, choice, known) for choice in knob.choices]
        if default is None or None in choices:
            at = knob.default if default is None else knob.choices[choices.index(None)]
            wrong.append(error("knob-value", "the values of a knob are constants", at.span, "no constant"))
        elif choices and default not in choices:
            shown = ", ".join(map(str, choices))
            wrong.append(
                error(
                    "knob-value",
                    f"`{knob.name}` is none of its choices",
                    knob.default.span,
                    f"one of {shown}",
                )
            )
        else:
            knobs[knob.name] = default
    if wrong:
        raise ScheduleError(wrong)
    return knobs


def _dtype_variables(program: Program, file: tree.File | None) -> dict[str, DType]:
    """The dtype variables of the program's op, as its tensors show them."""
    op = (
        next((i for i in file.items if isinstance(i, tree.Op) and i.name == program.name), None)
        if file
        else None
    )
    if op is None:
        return {}
    generics = {generic.name for generic in op.generics}
    declared = [(p.name, p.type) for p in op.params if p.kind != "const"]
    declared += [(r.name, r.type) for r in op.results]
    return {t.name: program.tensor(name).dtype for name, t in declared if t.name in generics}


# ---------------------------------------------------------------- directives


def read_directives(directives: Sequence[tree.Directive], names: Names) -> tuple[Directive, ...]:
    """The directives that lines of text stand for. Raises one `ScheduleError` with all malformed lines."""
    read: list[Directive] = []
    wrong: list[Diagnostic] = []
    for line in directives:
        try:
            read.append(_directive(line, names))
        except ScheduleError as refused:
            wrong += refused.diagnostics
    if wrong:
        raise ScheduleError(wrong)
    return tuple(read)


def _directive(line: tree.Directive, names: Names) -> Directive:
    if line.verb not in VERBS:
        suggestion = None if line.verb in LATER_VERBS else did_you_mean(line.verb, VERBS)
        there_are = f"the verbs are {', '.join(f'`{n}`' for n in VERBS)}"
        raise ScheduleError(
            error(
                "unknown-verb",
                f"this version of te has no verb `{line.verb}`"
                if line.verb in LATER_VERBS
                else f"there is no verb `{line.verb}`",
                line.verb_span,
                help=f"{suggestion}\n{there_are}" if suggestion else there_are,
            )
        )
    if line.block is not None:
        raise ScheduleError(error("directive-block", f"`{line.verb}` takes no block", line.verb_span))
    shape = shape_of(line.verb)
    _check_clauses(line, shape)
    operands = [_value(e, shape.operand_takes.kind, names) for e in line.operands]
    clauses = {
        c.preposition: [_value(e, shape.clauses[c.preposition].kind, names) for e in c.values]
        for c in line.clauses
    }
    parts = {shape.operand: tuple(e.span for e in line.operands)}
    parts |= {field_of(c.preposition): tuple(e.span for e in c.values) for c in line.clauses}
    return make(line.verb, operands, clauses, Place(line.span, line.verb_span, parts))


def _check_clauses(line: tree.Directive, shape: Shape) -> None:
    seen: set[str] = set()
    for clause in line.clauses:
        name = clause.preposition
        if name not in shape.clauses:
            takes = ", ".join(f"`{n}`" for n in shape.clauses) or "none"
            raise ScheduleError(
                error(
                    "wrong-clause",
                    f"`{line.verb}` has no clause `{name}`",
                    clause.span,
                    help=f"the clauses of `{line.verb}`: {takes}",
                )
            )
        if name in seen:
            raise ScheduleError(
                error(
                    "duplicate-clause",
                    f"the clause `{name}` stands here twice",
                    clause.span,
                    "the second one",
                )
            )
        seen.add(name)


def _value(e: tree.Expr, kind: Kind, names: Names) -> Value:
    """A value as `make` takes it. What has the wrong form stays a syntax tree, which `make` refuses."""
    match kind, e:
        case ((Kind.SIZE | Kind.NUMBER), _):
            value = constant_value(None, e, names.constants)
            return Value(value, e.span) if value is not None else _no_constant(e, names)
        case Kind.TENSOR, tree.Name(name=name):
            return Value(TensorAxes(name), e.span)
        case Kind.TENSOR, tree.Read(name=tensor, index=index, outside=None):
            axes = [axis.name for axis in index if isinstance(axis, tree.Name)]
            return Value(TensorAxes(tensor.name, tuple(axes)) if len(axes) == len(index) else e, e.span)
        case Kind.LAYOUT, tree.Table(items=items):
            return Value(Layout(tuple(_layout_dim(item, names) for item in items)), e.span)
    return Value(e.name if isinstance(e, tree.Name) else e, e.span)


def _layout_dim(e: tree.Expr, names: Names) -> Expr:
    """A dimension of a layout, over the names of a tensor's axes; knobs and `const`s stand for numbers."""
    known = constant_value(None, e, names.constants)
    if isinstance(known, int) and not isinstance(known, bool):
        return integer(known)
    match e:
        case tree.Name(name=name):
            return Var(name)
        case tree.Binary(op="+" | "-" | "*" | "//" | "%" as op, left=left, right=right):
            return Op(op, (_layout_dim(left, names), _layout_dim(right, names)), I64)
    raise ScheduleError(
        error(
            "layout-dimension",
            "a dimension of a layout is made of axes and integers by `+ - * // %`",
            e.span,
            "not supported here",
        )
    )


def value_in_python(kind: Kind, value: object) -> Value:
    """A value given in Python: `"A[i, k]"` and `"k // 4, i"` are read as they are in a text."""
    if kind not in (Kind.TENSOR, Kind.LAYOUT) or not isinstance(value, str):
        return Value(value)
    text = value if kind is Kind.TENSOR or value.lstrip().startswith("[") else f"[{value}]"
    (line,) = parse_directives(Source("a value of a directive", f"of {text}"))
    (operand,) = line.operands
    return Value(_value(operand, kind, Names({}, {}, ())).value)


def _no_constant(e: tree.Expr, names: Names) -> Value:
    """Refuse a number that the build does not know, or hand on what can be no number at all."""
    if isinstance(e, tree.Table | tree.Read | tree.Reduce):
        return Value(e, e.span)
    unknown = next((n for n in _names(e) if n.name not in names.constants), None)
    at = unknown or e
    if unknown and unknown.name in names.sizes:
        reason, label = f"the size `{unknown.name}` is known at run time only", "no constant"
        help_text: str | None = f"fix it when the op is built: `sizes={{{unknown.name!r}: ...}}`"
    elif unknown:
        reason, label = f"`{unknown.name}` is no knob, `const` or fixed size", "unknown name"
        help_text = did_you_mean(unknown.name, names.constants)
    else:
        reason, label, help_text = "this is no integer constant", "not below 2**64, or no integers", None
    raise ScheduleError(error("schedule-constant", reason, at.span, label, help=help_text))


def _names(e: tree.Expr) -> list[tree.Name]:
    match e:
        case tree.Name():
            return [e]
        case tree.Unary(operand=operand):
            return _names(operand)
        case tree.Binary(left=left, right=right):
            return _names(left) + _names(right)
    return []
