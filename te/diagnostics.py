"""Places in source text, and messages about them.

A `Diagnostic` says what is wrong (`message`), where (`span`), why right there
(`label`, printed beside the carets) and what to do (`help`). Every diagnostic
has a `code`, a stable name such as `read-out-of-range`: tools match on it, and
`tests/errors` holds one golden file for each.

This module is the bottom of the import order: it knows nothing of the language.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cached_property

__all__ = [
    "CompileError",
    "Diagnostic",
    "Diagnostics",
    "Note",
    "ScheduleError",
    "Source",
    "Span",
    "counted",
    "did_you_mean",
    "error",
    "given_value",
    "render",
    "warning",
]

TAB_WIDTH = 4
MAX_LINE = 160  # characters of a source line that a message shows


@dataclass(frozen=True)
class Source:
    """A text and the name it is reported under (a path, or `<text>`)."""

    name: str
    text: str

    @cached_property
    def line_starts(self) -> tuple[int, ...]:
        starts = [0]
        starts.extend(i + 1 for i, c in enumerate(self.text) if c == "\n")
        return tuple(starts)

    def line_of(self, offset: int) -> int:
        """The 1-based line that holds the character at `offset`."""
        return bisect_right(self.line_starts, offset)

    def line_text(self, line: int) -> str:
        start = self.line_starts[line - 1]
        end = self.line_starts[line] - 1 if line < len(self.line_starts) else len(self.text)
        return self.text[start:end].rstrip("\r")


@dataclass(frozen=True, slots=True)
class Span:
    """The characters `start` to `end` (exclusive, 0-based offsets) of a source."""

    source: Source = field(repr=False)
    start: int
    end: int

    @property
    def line(self) -> int:
        """1-based."""
        return self.source.line_of(self.start)

    @property
    def column(self) -> int:
        """1-based, in characters."""
        return self.start - self.source.line_starts[self.line - 1] + 1

    @property
    def text(self) -> str:
        return self.source.text[self.start : self.end]

    def to(self, other: Span) -> Span:
        """The span from the start of this one to the end of `other`."""
        return Span(self.source, min(self.start, other.start), max(self.end, other.end))


@dataclass(frozen=True, slots=True)
class Note:
    """A second place that belongs to a diagnostic ("first defined here")."""

    span: Span
    label: str


@dataclass(frozen=True, slots=True)
class Diagnostic:
    code: str
    message: str
    span: Span | None = None
    label: str = ""
    help: str | None = None
    notes: tuple[Note, ...] = ()
    severity: str = "error"

    def __str__(self) -> str:
        return render(self)


def error(
    code: str,
    message: str,
    span: Span | None,
    label: str = "",
    *,
    help: str | None = None,
    notes: Iterable[Note] = (),
) -> Diagnostic:
    """An error. `code` is written as a literal at each call, so that tests can list them all."""
    return Diagnostic(code, message, span, label, help, tuple(notes), "error")


def warning(
    code: str,
    message: str,
    span: Span | None,
    label: str = "",
    *,
    help: str | None = None,
    notes: Iterable[Note] = (),
) -> Diagnostic:
    """A warning: the program means what it says, but probably not what was meant."""
    return Diagnostic(code, message, span, label, help, tuple(notes), "warning")


class CompileError(Exception):
    """A program that cannot be compiled; `.diagnostics` lists every reason found."""

    def __init__(self, diagnostics: Diagnostic | Sequence[Diagnostic]):
        if isinstance(diagnostics, Diagnostic):
            diagnostics = (diagnostics,)
        self.diagnostics: tuple[Diagnostic, ...] = tuple(diagnostics)
        super().__init__("\n\n".join(render(d) for d in self.diagnostics))


class ScheduleError(CompileError):
    """A directive that was refused: it is not legal here, or makes no sense here."""


class Diagnostics:
    """Collects diagnostics while a pass goes on after an error.

    The same place is reported once for the same code, so that one mistake does
    not echo through a program.
    """

    def __init__(self) -> None:
        self.items: list[Diagnostic] = []

    def add(self, diagnostic: Diagnostic) -> None:
        if diagnostic not in self.items:
            self.items.append(diagnostic)

    @property
    def errors(self) -> list[Diagnostic]:
        return [d for d in self.items if d.severity == "error"]

    def raise_if_errors(self) -> None:
        """Raise `CompileError` with the errors, in the order of their places."""
        if self.errors:
            raise CompileError(sorted(self.errors, key=_place))


def _place(diagnostic: Diagnostic) -> tuple[str, int]:
    span = diagnostic.span
    return (span.source.name, span.start) if span else ("", -1)


def did_you_mean(name: str, candidates: Iterable[str]) -> str | None:
    """Help text that names the candidate closest to a misspelt name, if one is close."""
    matches = get_close_matches(name, list(candidates), n=1, cutoff=0.6)
    return f"did you mean `{matches[0]}`?" if matches else None


def counted(count: int, noun: str) -> str:
    """`1 axis`, `2 axes`, `0 arguments`."""
    if count == 1:
        return f"1 {noun}"
    return f"{count} {noun[:-2] + 'es' if noun.endswith('is') else noun + 's'}"


def given_value(value: object) -> str:
    """How messages show a value that Python gives: as it is written there, or how long it is.

    >>> given_value(8), given_value("8"), given_value(10**400)
    ('8', "'8'", 'an integer of 1329 bits')
    """
    if isinstance(value, int) and value.bit_length() > 64:
        return f"an integer of {value.bit_length()} bits"
    return repr(value)


def render(diagnostic: Diagnostic, *, color: bool = False) -> str:
    """The text of a diagnostic: message, place, line with carets, help.

    >>> text = "Y[i] = X[j]"
    >>> print(render(error("unbound-index", "nothing binds the index `j`",
    ...                    Span(Source("a.te", text), 9, 10), help="write `sum[j](...)`")))
    error: nothing binds the index `j`
      --> a.te:1:10
       |
     1 | Y[i] = X[j]
       |          ^
       = help: write `sum[j](...)`
    """
    paint = _Paint(color)
    head = paint.severity(diagnostic.severity, f"{diagnostic.severity}: ") + paint.bold(diagnostic.message)
    lines = [head]
    places = [(diagnostic.span, diagnostic.label, "^")] if diagnostic.span else []
    places += [(note.span, note.label, "-") for note in diagnostic.notes]
    width = max((len(str(_last_line(span))) for span, _, _ in places), default=1)
    for number, (span, label, mark) in enumerate(places):
        arrow = "-->" if number == 0 else ":::"
        lines.append(" " * (width + 1) + f"{paint.blue(arrow)} {span.source.name}:{span.line}:{span.column}")
        lines += _excerpt(span, label, mark, width, paint, diagnostic.severity)
    if diagnostic.help:
        first, *rest = diagnostic.help.split("\n")
        lines.append(" " * (width + 2) + paint.blue("= ") + paint.bold("help: ") + first)
        lines += [" " * (width + 10) + line for line in rest]
    return "\n".join(lines)


def _last_line(span: Span) -> int:
    return span.source.line_of(max(span.start, span.end - 1))


def _excerpt(span: Span, label: str, mark: str, width: int, paint: _Paint, severity: str) -> list[str]:
    line = span.line
    text, start, end = _clip(span.source.line_text(line), span.column - 1, max(1, span.end - span.start))
    before = printable(text[:start])
    inside = printable(text[start:end])
    marks = mark * max(1, len(inside.rstrip()))
    pointer = " " * len(before) + marks + (f" {label}" if label else "")
    bar = paint.blue("|")
    return [
        " " * (width + 2) + bar,
        f" {paint.blue(str(line).rjust(width))} {bar} {before}{inside}{printable(text[end:])}".rstrip(),
        " " * (width + 2) + f"{bar} {paint.severity(severity, pointer)}",
    ]


def _clip(text: str, start: int, length: int) -> tuple[str, int, int]:
    """A line short enough to print, and where the marked part stands in it."""
    end = min(len(text), start + length)
    if len(text) <= MAX_LINE:
        return text, start, end
    low = max(0, start - MAX_LINE // 3)
    high = min(len(text), low + MAX_LINE)
    head = "..." if low else ""
    tail = "..." if high < len(text) else ""
    shift = len(head) - low
    return f"{head}{text[low:high]}{tail}", start + shift, min(end, high) + shift


def printable(text: str) -> str:
    """Tabs as blanks; what would disturb a terminal as `\\x1b`."""
    expanded = text.expandtabs(TAB_WIDTH)
    if expanded.isprintable():
        return expanded
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in expanded)


class _Paint:
    """ANSI colours, or none."""

    def __init__(self, on: bool):
        self.on = on

    def _wrap(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self.on else text

    def bold(self, text: str) -> str:
        return self._wrap("1", text)

    def blue(self, text: str) -> str:
        return self._wrap("34", text)

    def severity(self, severity: str, text: str) -> str:
        return self._wrap("1;31" if severity == "error" else "1;33", text)
