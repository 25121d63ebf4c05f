"""Characters to tokens.

The patterns of names, numbers and symbols come from `te.lark`. What is added here is what no
grammar rule sees (blanks, comments) and what belongs to other languages (`&&`, `"text"`,
`/* */`): those become `BAD` tokens, which the parser trips over and `mistakes.py` explains.

A word that is a keyword somewhere gets the kind `WORD`: whether it is one here, the parser
decides. The reserved words have their own spelling as kind, as symbols do.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, NamedTuple

from te.diagnostics import CompileError, Source, Span, error
from te.grammar.limits import MAX_CHARACTERS, MAX_TOKENS
from te.grammar.table import END, NEWLINE, Table

RESERVED: Final = frozenset({"and", "or", "not", "else", "require"})
BAD: Final = "BAD"
WORD: Final = "WORD"


class Token(NamedTuple):
    kind: str
    text: str
    start: int
    end: int


Match = Callable[[str, int], "re.Match[str] | None"]


class Lexer:
    """The lexer of a grammar's table; one serves any number of texts."""

    def __init__(self, table: Table) -> None:
        symbols = [t for t in table.terminals if not (t[0].isalpha() or t[0] == "_")]
        words = [t for t in table.terminals if t.islower()]
        self.words = {word: word if word in RESERVED else WORD for word in words}
        self._pattern = re.compile(
            r"(?P<BLANK>[ \t]+|\r(?=\n|\Z)|\#[^\n]*)"
            rf"|(?P<NAME>{table.patterns['NAME']})"
            rf"|(?P<NUMBER>{table.patterns['NUMBER']})"
            r"|(?P<NEWLINE>\n|;)"
            r"|(?P<BLOCK>/\*|\"\"\"|''')"
            r"|(?P<BAD>\.\.\.|&&|\|\||\"[^\"\n]*\"?|'[^'\n]*'?)"
            rf"|(?P<SYMBOL>{'|'.join(map(re.escape, sorted(symbols, key=len, reverse=True)))})"
            r"|(?P<OTHER>.)"
        )

    def tokens(self, source: Source) -> list[Token]:
        """Every token of a text, line ends (one for several) and `;` among them, and `$END` last."""
        text = source.text
        _check_size(source)
        tokens: list[Token] = []
        words = self.words
        never_closed: set[str] = set()
        position = 1 if text.startswith("\ufeff") else 0
        while position >= 0:
            restart = -1
            for match in self._pattern.finditer(text, position):
                kind = match.lastgroup or BAD
                if kind == "BLANK":
                    continue
                word = match.group()
                start, end = match.span()
                if kind == "NAME":
                    kind = words.get(word, kind)
                elif kind == "SYMBOL":
                    kind = word
                elif kind == "NEWLINE":
                    kind = NEWLINE
                    if word == "\n" and tokens and tokens[-1].text == "\n":
                        continue
                elif kind == "OTHER":
                    kind = BAD
                elif kind == "BLOCK":
                    kind = BAD
                    restart = end = _end_of_block(text, start, word, never_closed)
                tokens.append(Token(kind, word, start, end))
                if len(tokens) > MAX_TOKENS:
                    raise _too_large(source, start, f"{MAX_TOKENS:,} words, numbers and symbols")
                if restart >= 0:
                    break
            position = restart
        tokens.append(Token(END, "", len(text), len(text)))
        return tokens


def _end_of_block(text: str, start: int, opener: str, never_closed: set[str]) -> int:
    """Where `/* ... */` or a triple-quoted string ends; without its end, where its line does.

    `never_closed` keeps the openers that have no end from here on: looking again for each of
    many would take quadratic time.
    """
    closer = "*/" if opener == "/*" else opener
    end = -1 if opener in never_closed else text.find(closer, start + len(opener))
    if end >= 0:
        return end + len(closer)
    never_closed.add(opener)
    end = text.find("\n", start)
    return end if end >= 0 else len(text)


def _check_size(source: Source) -> None:
    if len(source.text) > MAX_CHARACTERS:
        raise _too_large(source, MAX_CHARACTERS, f"{MAX_CHARACTERS:,} characters")


def _too_large(source: Source, start: int, limit: str) -> CompileError:
    return CompileError(
        error(
            "source-too-large",
            f"the text is too large: a file holds at most {limit}",
            Span(source, start, start + 1),
            "the limit is here",
            help="pass large tables as inputs of the op",
        )
    )
