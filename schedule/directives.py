"""The vocabulary of schedules: one frozen dataclass a verb.

The first field of a directive is the verb's operand; every other field is a clause,
called by its preposition. The field's metadata say what may stand there, so this file
alone defines the text form, the Python methods and the reference page.

Docstrings follow one form. `Before` and `After` show the loops of a small op, `Line`
the directive between them, and a test runs them; `S(i)` is a stage's one statement, for
the element `i`. `Errors` lists the codes of all diagnostics that the rewrite can give.

In Python, `make` builds directives from loose values and checks their shape; whether a
directive makes sense for a program is for the rewrites to say.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field
from enum import Enum, StrEnum
from functools import cache
from typing import Any

from te.diagnostics import ScheduleError, Span, did_you_mean, error

# ---------------------------------------------------------------- what may stand where


class Kind(Enum):
    """The kinds of values in a directive; the value is how messages call it."""

    LOOP = "a loop, such as `i` or `C.i`"
    STAGE = "a stage"
    NAME = "a new name"
    SIZE = "an integer constant"
    TAIL = "one of `guard`, `peel`, `shift`, `exact`"


@dataclass(frozen=True, slots=True)
class Values:
    """What an operand or a clause takes: a kind of value, and how many. A single one stands alone."""

    kind: Kind
    least: int = 1
    most: int | None = 1

    @property
    def is_single(self) -> bool:
        return self.most == 1

    def __str__(self) -> str:
        noun = {Kind.LOOP: "loop", Kind.STAGE: "stage", Kind.NAME: "name", Kind.SIZE: "integer"}.get(
            self.kind, "word"
        )
        if self.is_single:
            return f"one {noun}"
        return f"{self.least} {noun}s" if self.least == self.most else f"{self.least} or more {noun}s"


class Tail(StrEnum):
    """What a split does where its factor does not divide the extent."""

    GUARD = "guard"  # a condition around the innermost statement
    PEEL = "peel"  # the full trips run in a loop of their own, without the condition
    SHIFT = "shift"  # the last tile moves back to end at the extent, and overlaps the one before
    EXACT = "exact"  # there is no tail: refused unless that is proved


@dataclass(frozen=True, slots=True)
class Place:
    """Where a directive was written. `parts` holds a span for each value of each field."""

    span: Span
    verb: Span
    parts: Mapping[str, tuple[Span, ...]]


@dataclass(frozen=True, slots=True)
class Directive:
    """One line of a schedule."""

    place: Place | None = field(default=None, compare=False, repr=False, kw_only=True)

    def __str__(self) -> str:
        return print_directive(self)


def _takes(kind: Kind, least: int = 1, most: int | None = 1) -> dict[str, Values]:
    return {"takes": Values(kind, least, most)}


# ---------------------------------------------------------------- the verbs


@dataclass(frozen=True, slots=True)
class Split(Directive):
    """Split one loop into two nested loops.

    Before:  for i in 0..N: S(i)
    Line:    split i by 8 into io, ii
    After:   for io in 0..(N + 7) // 8: for ii in 0..8: if 8 * io + ii < N: S(8 * io + ii)

    `by` gives the extent of the inner loop, `parts` that of the outer one. `tail` says what
    happens where the factor does not divide the extent: `guard` (as above), `peel`, `shift`
    (the last tile moves back and computes some elements twice) or `exact` (refused unless
    there is provably no tail).

    Errors: split-clauses, split-factor, split-exact, split-shift, unknown-loop, ambiguous-loop,
    loop-name, loop-kind, too-many-loops
    """

    loop: str = field(metadata=_takes(Kind.LOOP))
    by: int | None = field(default=None, metadata=_takes(Kind.SIZE))
    parts: int | None = field(default=None, metadata=_takes(Kind.SIZE))
    into: tuple[str, ...] | None = field(default=None, metadata=_takes(Kind.NAME, 2, 2))
    tail: Tail = field(default=Tail.GUARD, metadata=_takes(Kind.TAIL))


@dataclass(frozen=True, slots=True)
class Tile(Directive):
    """Split several nested loops, and put the loops over tiles outside the loops in a tile.

    Before:  for i in 0..64: for j in 0..64: S(i, j)
    Line:    tile i, j by 8, 16 into io, jo, ii, ji
    After:   for io in 0..8: for jo in 0..4: for ii in 0..8: for ji in 0..16: S(8 * io + ii, 16 * jo + ji)

    Errors: tile-clauses, and those of split and reorder
    """

    loops: tuple[str, ...] = field(metadata=_takes(Kind.LOOP, 2, None))
    by: tuple[int, ...] = field(metadata=_takes(Kind.SIZE, 2, None))
    into: tuple[str, ...] | None = field(default=None, metadata=_takes(Kind.NAME, 4, None))
    tail: Tail = field(default=Tail.GUARD, metadata=_takes(Kind.TAIL))


@dataclass(frozen=True, slots=True)
class Fuse(Directive):
    """Make one loop of two that are nested directly.

    Before:  for i in 0..M: for j in 0..N: S(i, j)
    Line:    fuse i, j into f
    After:   for f in 0..M * N: let i = f // N: let j = f % N: S(i, j)

    Errors: fuse-kinds, not-nested, unknown-loop, ambiguous-loop, repeated-loop, loop-name, loop-kind
    """

    loops: tuple[str, ...] = field(metadata=_takes(Kind.LOOP, 2, 2))
    into: str = field(metadata=_takes(Kind.NAME))


@dataclass(frozen=True, slots=True)
class Reorder(Directive):
    """Nest the named loops in this order, the outermost first.

    Before:  for i in 0..M: for j in 0..N: S(i, j)
    Line:    reorder j, i
    After:   for j in 0..N: for i in 0..M: S(i, j)

    Loops between them that are not named stay where they are.

    Errors: not-nested, reorder-dependence, unknown-loop, ambiguous-loop, repeated-loop, loop-kind
    """

    loops: tuple[str, ...] = field(metadata=_takes(Kind.LOOP, 2, None))


@dataclass(frozen=True, slots=True)
class Unroll(Directive):
    """Write out the trips of loops of constant extent; with `by`, of the inner one of a split.

    Before:  for i in 0..4: S(i)
    Line:    unroll i
    After:   unrolled for i in 0..4: S(i)

    Errors: extent-not-constant, unroll-limit, kind-nesting, unknown-loop, ambiguous-loop,
    repeated-loop, loop-kind, and with `by` those of split
    """

    loops: tuple[str, ...] = field(metadata=_takes(Kind.LOOP, 1, None))
    by: int | None = field(default=None, metadata=_takes(Kind.SIZE))


@dataclass(frozen=True, slots=True)
class Vectorize(Directive):
    """Run all trips of loops of constant extent in the lanes of vectors; with `by`, split first.

    Before:  for i in 0..N: S(i)
    Line:    vectorize i by 16
    After:   for io in 0..(N + 15) // 16: vector for ii in 0..16: if 16 * io + ii < N: S(16 * io + ii)

    On a reduction loop, each lane keeps a partial result.

    Errors: extent-not-constant, vector-width, vectorize-dependence, kind-nesting, unknown-loop,
    ambiguous-loop, repeated-loop, loop-kind, and with `by` those of split
    """

    loops: tuple[str, ...] = field(metadata=_takes(Kind.LOOP, 1, None))
    by: int | None = field(default=None, metadata=_takes(Kind.SIZE))


@dataclass(frozen=True, slots=True)
class Parallel(Directive):
    """Let the trips of loops run on several threads.

    Before:  for i in 0..N: S(i)
    Line:    parallel i
    After:   parallel for i in 0..N: S(i)

    Errors: parallel-reduction, parallel-dependence, kind-nesting, unknown-loop, ambiguous-loop,
    repeated-loop, loop-kind
    """

    loops: tuple[str, ...] = field(metadata=_takes(Kind.LOOP, 1, None))


@dataclass(frozen=True, slots=True)
class Inline(Directive):
    """Compute pointwise stages where they are read; their tensors are never stored.

    Before:  for i in 0..N: e[i] = X[i] + 1.0; for i in 0..N: Y[i] = e[i] * 2.0
    Line:    inline e
    After:   for i in 0..N: Y[i] = (X[i] + 1.0) * 2.0

    Errors: unknown-stage, repeated-stage, inline-refused, inline-size, stage-touched
    """

    stages: tuple[str, ...] = field(metadata=_takes(Kind.STAGE, 1, None))


VERBS: dict[str, type[Directive]] = {
    "split": Split,
    "tile": Tile,
    "fuse": Fuse,
    "reorder": Reorder,
    "unroll": Unroll,
    "vectorize": Vectorize,
    "parallel": Parallel,
    "inline": Inline,
}

# Verbs of the language that this version does not have.
LATER_VERBS = frozenset(
    "bind compute_at compute_root cache_read cache_write layout rfactor online pipeline prefetch stream tensorize "
    "align swizzle specialize fission merge fold set_scope precompute distribute".split()
)


# ---------------------------------------------------------------- reading the vocabulary


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
    clauses = {f.name: f.metadata["takes"] for f in rest}
    required = frozenset(f.name for f in rest if f.default is MISSING)
    return Shape(directive, first.name, first.metadata["takes"], clauses, required)


def verb_of(d: Directive) -> str:
    return type(d).__name__.lower()


def span_of(d: Directive, field_name: str | None = None, position: int = 0) -> Span | None:
    """Where a value of a directive was written, or the whole line; None for a Python call."""
    if d.place is None:
        return None
    spans = d.place.parts.get(field_name, ()) if field_name else ()
    return spans[position] if position < len(spans) else d.place.span


def print_directive(d: Directive) -> str:
    """The line as `.te` text; clauses at their defaults are left out.

    >>> print_directive(Split("C.k", by=256, into=("ko", "ki")))
    'split C.k by 256 into ko, ki'
    """
    shape = shape_of(verb_of(d))
    words = [verb_of(d), _listed(getattr(d, shape.operand))]
    for f in dataclasses.fields(d):
        value = getattr(d, f.name)
        if f.name in shape.clauses and (value != f.default or f.name in shape.required):
            words += [f.name, _listed(value)]
    return " ".join(words)


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
) -> Directive:
    """A directive of a verb in `VERBS`, once its values have the right number and kinds.

    Raises `ScheduleError` where they have not. Clauses that the verb lacks are the caller's
    business, since only the caller knows where they were written.
    """
    shape = shape_of(verb)
    span = place.span if place else None
    fields: dict[str, Any] = {shape.operand: _checked(verb, "", shape.operand_takes, operands, span)}
    for name, values in clauses.items():
        clause_span = values[0].span if values else None
        fields[name] = _checked(verb, name, shape.clauses[name], values, clause_span or span)
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
    return shape.verb(place=place, **fields)


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
    match kind, v.value:
        case ((Kind.LOOP | Kind.STAGE), str()) if DOTTED.match(v.value):
            return v.value
        case Kind.NAME, str() if IDENTIFIER.match(v.value) and v.value not in RESERVED:
            return v.value
        case Kind.SIZE, int() if not isinstance(v.value, bool):
            return v.value
        case Kind.TAIL, str() if v.value in list(Tail):
            return Tail(v.value)
    found = "" if v.span else f", and {v.value!r} is given"
    suggestion = did_you_mean(v.value, Tail) if kind is Kind.TAIL and isinstance(v.value, str) else None
    raise ScheduleError(
        error("directive-value", f"{where} takes {kind.value}{found}", v.span, help=suggestion)
    )
