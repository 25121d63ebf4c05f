"""Where to go on after a syntax error: behind the statement, directive or item that has it."""

from __future__ import annotations

from collections.abc import Sequence

from te.grammar.brackets import CLOSER, ITEM_WORDS, OPENER, Brackets
from te.grammar.lalr import Failure
from te.grammar.lexer import Token
from te.grammar.table import END, NEWLINE


def next_statement(tokens: Sequence[Token], position: int) -> int:
    """The end of the statement or directive at `position`: its line end, or the `}` of its block."""
    depth = 0
    while True:
        kind = tokens[position].kind
        if kind == END or (depth == 0 and kind in (NEWLINE, "}")):
            return position
        depth += (kind == "{") - (kind == "}")
        position += 1


def next_item(
    tokens: Sequence[Token], failure: Failure, brackets: Brackets
) -> tuple[int, tuple[int, int] | None]:
    """The end of the item that has the error, and the first and last token of its block.

    An error in an item's head leaves its block unread; the caller can look for errors in it.
    """
    depth = 0
    for position in range(failure.first, len(tokens)):
        token = tokens[position]
        is_behind = position >= failure.position and depth <= 0
        if token.kind == NEWLINE and is_behind and tokens[position + 1].text in ITEM_WORDS:
            return position, None
        if token.kind in CLOSER and token.start not in brackets.unclosed:
            if token.kind == "{" and is_behind:
                end = closing_brace(tokens, position)
                return end + 1, (position + 1, end)
            depth += 1
        elif token.kind in OPENER and token.start not in brackets.stray:
            depth -= 1
    return len(tokens) - 1, None


def closing_brace(tokens: Sequence[Token], position: int) -> int:
    """The `}` that closes the `{` at `position` (`brackets.py` made sure that there is one)."""
    depth = 0
    while True:
        kind = tokens[position].kind
        depth += (kind == "{") - (kind == "}")
        if depth == 0:
            return position
        position += 1
