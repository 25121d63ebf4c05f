"""What stands between tokens: comments, line ends, blank lines. The formatter keeps it, no one else asks.

The lexer gives the tokens; what it skips is looked at again here, in the text between two of them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from te.diagnostics import Source
from te.grammar.lexer import Token

_PIECE: Final = re.compile(r"#[^\n]*|[\n;]")


@dataclass(frozen=True, slots=True)
class Comment:
    """A comment on a line of its own; `has_blank_above` says whether a blank line stands above it."""

    text: str
    has_blank_above: bool


@dataclass(frozen=True, slots=True)
class Gap:
    """What stands between two tokens.

    `trailing` is the comment that ends the line of the first one, `has_blank_below` says whether a
    blank line stands right above the second.
    """

    trailing: str = ""
    comments: tuple[Comment, ...] = ()
    has_line_end: bool = False
    has_blank_below: bool = False

    @property
    def has_comments(self) -> bool:
        return bool(self.trailing or self.comments)

    def all_comments(self) -> list[Comment]:
        first = [Comment(self.trailing, False)] if self.trailing else []
        return [*first, *self.comments]


NOTHING: Final = Gap()


def read_gaps(source: Source, tokens: Sequence[Token]) -> list[Gap]:
    """The gap before each token; the first begins where the text does.

    >>> text = "a # first\\n\\n# second\\nb"
    >>> read_gaps(Source("", text), [Token("NAME", "a", 0, 1), Token("NAME", "b", 21, 22)])[1].trailing
    '# first'
    """
    gaps = []
    end = 0
    for token in tokens:
        between = source.text[end : token.start]
        gaps.append(_read(between, end == 0) if between.strip(" \t") else NOTHING)
        end = token.end
    return gaps


def _read(text: str, is_first: bool) -> Gap:
    trailing = ""
    comments: list[Comment] = []
    line_ends = 1 if is_first else 0
    is_shared_line = False
    for piece in _PIECE.findall(text):
        if piece == "\n":
            line_ends += 1
            is_shared_line = False
        elif piece == ";":
            # `; ## text` above an item is no documentation: once the `;` is gone, blank lines say so.
            is_shared_line = line_ends > 0
            line_ends = 2 if is_shared_line else 0
        elif line_ends == 0 and not comments:
            trailing = piece.rstrip()
        else:
            comments.append(Comment(piece.rstrip(), line_ends > 1))
            line_ends, is_shared_line = int(is_shared_line), False
    return Gap(trailing, tuple(comments), "\n" in text, line_ends > 1)


def merge(first: Gap, second: Gap) -> Gap:
    """One gap for two, where the token between them moves up to the line of the one before."""
    if not first.has_comments:
        return second
    comments = (*first.comments, *second.all_comments())
    return replace(second, trailing=first.trailing, comments=comments)
