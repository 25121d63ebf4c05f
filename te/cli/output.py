"""What the command prints: diagnostics and complaints on stderr, in colour on a terminal only."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import Any, TextIO

from te.diagnostics import Diagnostic, Span, render


def has_color(stream: TextIO) -> bool:
    """Whether to colour what goes to a stream (https://no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def complain(message: str) -> None:
    """One message of the command itself."""
    start = "\x1b[1;31merror:\x1b[0m" if has_color(sys.stderr) else "error:"
    print(f"te: {start} {message}", file=sys.stderr)


def show_diagnostics(diagnostics: Iterable[Diagnostic]) -> None:
    """The diagnostics of a program, a blank line between them."""
    color = has_color(sys.stderr)
    print("\n\n".join(render(d, color=color) for d in diagnostics), file=sys.stderr)


def as_json(diagnostic: Diagnostic, file: str) -> dict[str, Any]:
    """A diagnostic for a script. Lines and columns count from 1; the end is the place after the last character."""
    return {
        "file": diagnostic.span.source.name if diagnostic.span else file,
        **_place(diagnostic.span),
        "severity": diagnostic.severity,
        "code": diagnostic.code,
        "message": diagnostic.message,
        "label": diagnostic.label,
        "help": diagnostic.help,
        "notes": [
            {"file": n.span.source.name, **_place(n.span), "message": n.label} for n in diagnostic.notes
        ],
    }


def _place(span: Span | None) -> dict[str, int | None]:
    if span is None:
        return dict.fromkeys(("line", "column", "end_line", "end_column"))
    source = span.source
    end_line = source.line_of(span.end)
    end_column = span.end - source.line_starts[end_line - 1] + 1
    return {"line": span.line, "column": span.column, "end_line": end_line, "end_column": end_column}
