"""Reading the vocabulary: the form of each verb, directives from loose values, directives as text.

`make` builds directives from values and checks their shape; whether a directive makes
sense for a program is for the rewrites to say.
"""

from __future__ import annotations

import dataclasses
import keyword
import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass
from functools import cache
from typing import Any

from te.diagnostics import ScheduleError, Span, did_you_mean, error, given_value
from te.grammar.literals import LARGEST_INTEGER
from te.schedule.directives import VERBS, Specialize
from te.schedule.forms import WORDS, Directive, Kind, Layout, Place, TensorAxes, Values


@dataclass(frozen=True, slots=True)
class Shape:
    """A verb's form: its operand's field and its clauses, with what each takes."""

    verb: type[Directive]
    operand: str
    operand_takes: Values
    clauses: Mapping[str, Values]
    required: frozenset[str]

    def takes(self, name: str) -> Values:
        return self.operand_takes if name == self.operand else self.clauses[name]


@cache
def shape_of(verb: str) -> Shape:
    """The form of a verb of `VERBS`."""
    directive = VERBS[verb]
    first, *rest = [f for f in dataclasses.fields(directive) if "takes" in f.metadata]
    clauses = {_clause_of(f.name): f.metadata["takes"] for f in rest}
    required = frozenset(_clause_of(f.name) for f in rest if f.default is MISSING)
    return Shape(directive, first.name, first.metadata["takes"], clauses, required)


def field_of(clause: str) -> str:
    """The field of a clause: `as_` for `as`, which Python has for itself."""
    return f"{clause}_" if keyword.iskeyword(clause) else clause


def _clause_of(field_name: str) -> str:
    return field_name.rstrip("_")


def verb_of(d: Directive) -> str:
    return _verbs()[type(d)]


@cache
def _verbs() -> dict[type[Directive], str]:
    return {directive: verb for verb, directive in VERBS.items()}


def print_directive(d: Directive) -> str:
    """The line as `.te` text; clauses at their defaults are left out.

    >>> from te.schedule.directives import Split
    >>> print_directive(Split("C.k", by=256, into=("ko", "ki")))
    'split C.k by 256 into ko, ki'
    """
    shape = shape_of(verb_of(d))
    words = [verb_of(d), _listed(getattr(d, shape.operand))]
    for f in dataclasses.fields(d):
        value, clause = getattr(d, f.name), _clause_of(f.name)
        if clause in shape.clauses and (value != f.default or clause in shape.required):
            words += [clause, _listed(value)]
    text = " ".join(words)
    return f"{text} {{\n{print_lines(d.block)}}}" if isinstance(d, Specialize) else text


def print_lines(lines: Sequence[Directive]) -> str:
    """Directives as the lines of a block."""
    return "".join(textwrap.indent(str(line), "    ") + "\n" for line in lines)


def _listed(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


# ---------------------------------------------------------------- making directives


@dataclass(frozen=True, slots=True)
class Value:
    """A value of a directive, with its place in the text (None from Python)."""

    value: object
    span: Span | None = None


def make(
    verb: str,
    operands: Sequence[Value],
    clauses: Mapping[str, Sequence[Value]],
    place: Place | None = None,
    **more: object,
) -> Directive:
    """A directive of a verb in `VERBS`, once its values have the right number and kinds.

    `more` are fields that are neither operand nor clause.

    Raises `ScheduleError` where they have not. Clauses that the verb lacks are the caller's
    business, since only the caller knows where they were written.
    """
    shape = shape_of(verb)
    span = place.span if place else None
    fields: dict[str, Any] = {shape.operand: _checked(verb, "", shape.operand_takes, operands, span)}
    for name, values in clauses.items():
        clause_span = values[0].span if values else None
        fields[field_of(name)] = _checked(verb, name, shape.clauses[name], values, clause_span or span)
    for name in shape.clauses:
        if name in shape.required and name not in clauses:
            raise ScheduleError(
                error(
                    "missing-clause",
                    f"`{verb}` needs a clause `{name}`",
                    place.verb if place else None,
                    help=f"`{name}` takes {shape.clauses[name]}",
                )
            )
    return shape.verb(place=place, **fields, **more)


def _checked(verb: str, clause: str, takes: Values, values: Sequence[Value], span: Span | None) -> object:
    """The values as a field holds them: a tuple, or the one value alone."""
    where = f"`{clause}`" if clause else f"`{verb}`"
    if len(values) < takes.least or (takes.most is not None and len(values) > takes.most):
        extra = values[takes.most].span if takes.most is not None and len(values) > takes.most else None
        given = "1 is given" if len(values) == 1 else f"{len(values)} are given"
        raise ScheduleError(
            error(
                "directive-count",
                f"{where} takes {takes}, and {given}",
                extra or span,
                "one too many" if extra else "",
            )
        )
    checked = tuple(_checked_value(where, takes.kind, v) for v in values)
    return checked[0] if takes.is_single else checked


IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
DOTTED = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*\Z")
RESERVED = frozenset({"and", "or", "not", "else", "require"})


def _checked_value(where: str, kind: Kind, v: Value) -> object:
    integer = v.value if isinstance(v.value, int) and not isinstance(v.value, bool) else None
    is_too_large = integer is not None and abs(integer) > LARGEST_INTEGER  # for any text
    match kind, v.value:
        case ((Kind.LOOP | Kind.STAGE | Kind.OP), str()) if DOTTED.match(v.value):
            return v.value
        case ((Kind.NAME | Kind.INTRINSIC), str()) if IDENTIFIER.match(v.value) and v.value not in RESERVED:
            return v.value
        case ((Kind.SIZE | Kind.NUMBER), _) if integer is not None and not is_too_large:
            return integer
        case Kind.NUMBER, float():
            return v.value
        case Kind.CONDITION, str():
            return v.value
        case (Kind.TENSOR, TensorAxes()) | (Kind.LAYOUT, Layout()):
            return v.value
        case _, str() if v.value in list(WORDS.get(kind, ())):
            return WORDS[kind](v.value)
    found = "" if v.span and not is_too_large else f", and {given_value(v.value)} is given"
    is_word = kind in WORDS and isinstance(v.value, str)
    suggestion = did_you_mean(str(v.value), WORDS[kind]) if is_word else None
    raise ScheduleError(
        error("directive-value", f"{where} takes {kind.value}{found}", v.span, help=suggestion)
    )
