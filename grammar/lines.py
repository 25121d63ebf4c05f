"""Which line ends end a statement.

A line end or `;` ends a statement. A line end does not

- inside `( )` and `[ ]`,
- after an operator, `,`, `=`, `:`, `->` or `{`,
- before a line that starts with an operator, `->`, `{`, `else`, `and` or `or`.

(The one before a schedule's `when` is a matter of the grammar: `when` can be a tensor's name.)
"""

from __future__ import annotations

from typing import Final

from te.grammar.brackets import Brackets
from te.grammar.lexer import Token
from te.grammar.table import NEWLINE

OPERATORS: Final = frozenset("| ^ & << >> + - * / // % ~ ** == != < <= > >=".split())
# `(` and `[` for those that are never closed: the parenthesis is missing further down.
CONTINUES_AFTER: Final = OPERATORS | {",", "=", ":", "->", "{", "and", "or", "not", "else", "(", "["}
CONTINUES_BEFORE: Final = OPERATORS | {"->", "{", "else", "and", "or"}


def join_lines(brackets: Brackets) -> list[Token]:
    """The tokens with only those `_NL` that end something, one where several follow each other.

    Inside a bracket that is never closed line ends count, so that the message about it stands where
    the bracket is missing.
    """
    tokens = brackets.tokens
    result: list[Token] = []
    depth = 0
    last = NEWLINE
    for position, token in enumerate(tokens):
        kind = token.kind
        if kind == NEWLINE:
            if last == NEWLINE and (token.text == "\n" or result):
                continue
            if token.text == "\n" and (
                depth or last in CONTINUES_AFTER or tokens[position + 1].kind in CONTINUES_BEFORE
            ):
                continue
        elif kind in ("(", "["):
            depth += token.start not in brackets.unclosed
        elif kind in (")", "]"):
            depth -= token.start not in brackets.stray
        result.append(token)
        last = kind
    return result
