"""The tokens of a program without its line ends, and what stands between them, all by position."""

from __future__ import annotations

from bisect import bisect_left
from functools import cache

from te.diagnostics import Source
from te.grammar.brackets import CLOSER, OPENER
from te.grammar.gaps import Gap, read_gaps
from te.grammar.lexer import Lexer, Token
from te.grammar.table import NEWLINE, load_table


class Words:
    """`tokens`, the last of them `$END`; `gaps[i]` stands before `tokens[i]`; `partner` of each bracket."""

    def __init__(self, source: Source) -> None:
        self.tokens: list[Token] = [token for token in _lexer().tokens(source) if token.kind != NEWLINE]
        self.gaps: list[Gap] = read_gaps(source, self.tokens)
        self.partner = _pairs(self.tokens)
        self._starts = [token.start for token in self.tokens]

    def at(self, offset: int) -> int:
        """The position of the token that begins at an offset."""
        return bisect_left(self._starts, offset)

    behind = at
    """The position of the first token that begins at an offset or behind it."""

    def find(self, text: str, position: int) -> int:
        """The first position from `position` on that holds a token of this text."""
        while self.tokens[position].text != text:
            position += 1
        return position


@cache
def _lexer() -> Lexer:
    return Lexer(load_table())


def _pairs(tokens: list[Token]) -> dict[int, int]:
    """Which bracket belongs to which, in both directions, in a text that is correct."""
    pairs: dict[int, int] = {}
    open_brackets: list[int] = []
    for position, token in enumerate(tokens):
        if token.kind in CLOSER:
            open_brackets.append(position)
        elif token.kind in OPENER:
            opener = open_brackets.pop()
            pairs[opener], pairs[position] = position, opener
    return pairs
