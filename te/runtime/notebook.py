"""Ops and kernels as HTML, for notebooks: self-contained, without scripts, and with every text escaped."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape

from te.diagnostics import printable
from te.ir.types import DTYPES

__all__ = ["Section", "highlighted", "page"]

Section = tuple[str, str]  # a heading and a text: `.te`, or a program of the loop IR
MAX_LINES = 200  # of a section; a notebook keeps what it shows

# Of medium lightness, so that they can be read on white and on black.
COLORS = {"comment": "#7a8a7a", "keyword": "#a54fc0", "dtype": "#1f8aa5", "number": "#b5702a"}
KEYWORDS = (
    "op schedule reducer use const param require on when where else and or not in for if let alloc vector parallel "
    "unrolled final kernel pass reduce true false split tile fuse reorder unroll vectorize inline by into"
).split()
TOKEN = re.compile(
    r"(?P<comment>\#.*)"
    rf"|(?P<keyword>\b(?:{'|'.join(KEYWORDS)})\b)"
    rf"|(?P<dtype>\b(?:{'|'.join(DTYPES)})\b)"
    r"|(?P<number>\b\d[\w.]*)"
)


def page(title: str, doc: str, code: str, folded: Sequence[Section] = ()) -> str:
    """A signature or a name, the doc text, code that shows at once, and sections that open on a click."""
    parts = [f"<div><code><b>{_plain(title)}</b></code></div>"]
    if doc:
        parts.append(f'<div style="white-space: pre-wrap; margin: 0.4em 0">{_plain(doc)}</div>')
    if code:
        parts.append(_code(code))
    for heading, text in folded:
        parts.append(f"<details><summary>{_plain(heading)}</summary>{_code(text)}</details>")
    return f"<div>{''.join(parts)}</div>"


def highlighted(text: str) -> str:
    """Code as HTML, with light colours.

    >>> print(highlighted("Y[i] = 2 < X[i]  # <b>"))
    Y[i] = <span style="color: #b5702a">2</span> &lt; X[i]  <span style="color: #7a8a7a"># &lt;b&gt;</span>
    """
    return "\n".join(_highlighted_line(printable(line)) for line in text.split("\n"))


def _highlighted_line(line: str) -> str:
    parts = []
    end = 0
    for token in TOKEN.finditer(line):
        color = COLORS[str(token.lastgroup)]
        parts += [
            escape(line[end : token.start()]),
            f'<span style="color: {color}">{escape(token.group())}</span>',
        ]
        end = token.end()
    return "".join(parts) + escape(line[end:])


def _code(text: str) -> str:
    lines = text.strip("\n").split("\n")
    if len(lines) > MAX_LINES:
        lines = [*lines[:MAX_LINES], f"# ... and {len(lines) - MAX_LINES} more lines"]
    style = "margin: 0.4em 0; line-height: 1.3; text-align: left"
    return f'<pre style="{style}">{highlighted(chr(10).join(lines))}</pre>'


def _plain(text: str) -> str:
    return "\n".join(escape(printable(line)) for line in text.split("\n"))
