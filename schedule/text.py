"""Schedules as written: syntax trees to directives.

Arithmetic on knobs, `const`s and fixed sizes is done here, so that directives hold
numbers. All lines are read before any is applied, so that several malformed ones are
reported together.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Protocol

from te.diagnostics import Diagnostic, ScheduleError, Source, did_you_mean, error
from te.elaborate.constants import constant_value
from te.grammar import tree
from te.grammar.parser import parse_directives, parse_expression
from te.ir.expr import Const, Expr, Op, Var, integer
from te.ir.print import print_expr
from te.ir.tensor import Call, Program
from te.ir.types import I64
from te.schedule.condition import Constant, Names, condition_of
from te.schedule.directives import VERBS, Specialize, Use
from te.schedule.forms import Directive, Kind, Layout, Place, TensorAxes
from te.schedule.knobs import Knob
from te.schedule.vocabulary import Shape, Value, field_of, make, shape_of

# ---------------------------------------------------------------- what names stand for


def names_in(program: Program, call: Call | None = None, knobs: Iterable[Knob] = ()) -> Names:
    """What the names in a schedule of a program stand for; with `call`, of the op that is called there."""
    constants: dict[str, Constant]
    if call is None:
        constants = {**dict(program.fixed), **dict(program.consts)}
        sizes: dict[str, Expr] = {name: Var(name) for name in program.sizes}
        dtypes = dict(program.dtypes)
    else:
        known = {name: e.value for name, e in call.sizes if isinstance(e, Const)}
        constants = {**known, **dict(call.consts)}
        sizes = {name: e for name, e in call.sizes if name not in known}
        dtypes = dict(call.dtypes)
    return Names({**constants, **{knob.name: knob.value for knob in knobs}}, dtypes, sizes)


# ---------------------------------------------------------------- directives


class Reuse(Protocol):
    """Knows the schedules of other ops, for the lines that say `use`."""

    def lines(self, use: Use) -> tuple[Directive, ...]: ...

    def assuming(self, condition: Expr) -> Reuse:
        """The same where a condition holds."""
        ...


def read_directives(
    directives: Sequence[tree.Directive], names: Names, reuse: Reuse | None = None
) -> tuple[Directive, ...]:
    """The directives that lines of text stand for. Raises one `ScheduleError` with all malformed lines.

    Without `reuse`, what the lines `use` is left open.
    """
    read: list[Directive] = []
    wrong: list[Diagnostic] = []
    for line in directives:
        try:
            read.append(_directive(line, names, reuse))
        except ScheduleError as refused:
            wrong += refused.diagnostics
    if wrong:
        raise ScheduleError(wrong)
    return tuple(read)


def _directive(line: tree.Directive, names: Names, reuse: Reuse | None) -> Directive:
    if line.verb not in VERBS:
        suggestion = did_you_mean(line.verb, VERBS)
        there_are = f"the verbs are {', '.join(f'`{n}`' for n in VERBS)}"
        raise ScheduleError(
            error(
                "unknown-verb",
                f"there is no verb `{line.verb}`",
                line.verb_span,
                help=f"{suggestion}\n{there_are}" if suggestion else there_are,
            )
        )
    shape = shape_of(line.verb)
    _check_block(line, shape)
    _check_clauses(line, shape)
    operands = [_value(e, shape.operand_takes.kind, names) for e in line.operands]
    clauses = {
        c.preposition: [_value(e, shape.clauses[c.preposition].kind, names) for e in c.values]
        for c in line.clauses
    }
    parts = {shape.operand: tuple(e.span for e in line.operands)}
    parts |= {field_of(c.preposition): tuple(e.span for e in c.values) for c in line.clauses}
    place = Place(line.span, line.verb_span, parts)
    if line.block is not None:
        if reuse:
            reuse = reuse.assuming(condition_of(line.operands[0], names))
        return make(line.verb, operands, clauses, place, block=read_directives(line.block, names, reuse))
    read = make(line.verb, operands, clauses, place)
    return replace(read, lines=reuse.lines(read)) if reuse and isinstance(read, Use) else read


def _check_block(line: tree.Directive, shape: Shape) -> None:
    if line.block is not None and shape.verb is not Specialize:
        raise ScheduleError(error("directive-block", f"`{line.verb}` takes no block", line.verb_span))
    if line.block is None and shape.verb is Specialize:
        raise ScheduleError(
            error(
                "missing-block",
                f"`{line.verb}` needs a block",
                line.verb_span,
                "no `{ ... }` behind the condition",
                help="write the lines for this case in braces: "
                f"`{' '.join(line.span.text.split())} {{ ... }}`",
            )
        )


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
        case Kind.CONDITION, _:  # in the words of the op that the schedule is for
            own = replace(names, sizes={size: Var(size) for size in names.sizes})
            return Value(print_expr(condition_of(e, own)), e.span)
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
    if kind is Kind.CONDITION and isinstance(value, str):
        parse_expression(Source("condition", value))  # it is read again where the names are known
    if kind not in (Kind.TENSOR, Kind.LAYOUT) or not isinstance(value, str):
        return Value(value)
    text = value if kind is Kind.TENSOR or value.lstrip().startswith("[") else f"[{value}]"
    (line,) = parse_directives(Source("a value of a directive", f"of {text}"))
    (operand,) = line.operands
    return Value(_value(operand, kind, Names({}, {}, {})).value)


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
