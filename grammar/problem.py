"""A place where the parser stopped, with what an explanation asks about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from te.diagnostics import Source, Span
from te.grammar.brackets import CLOSER, OPENER, Brackets
from te.grammar.expectation import describe
from te.grammar.lalr import Failure
from te.grammar.lexer import Token


@dataclass(frozen=True)
class Problem:
    """`found` cannot follow what was `read` of the `unit`: `expected` could."""

    source: Source
    tokens: Sequence[Token]
    brackets: Brackets
    failure: Failure

    @property
    def found(self) -> Token:
        return self.tokens[self.failure.position]

    @property
    def previous(self) -> Token | None:
        """The token before, also when it belongs to another statement."""
        return self.tokens[self.failure.position - 1] if self.failure.position else None

    @property
    def next(self) -> Token:
        return self.tokens[min(self.failure.position + 1, len(self.tokens) - 1)]

    @property
    def expected(self) -> frozenset[str]:
        return self.failure.expected

    @property
    def unit(self) -> str | None:
        return self.failure.unit

    @property
    def is_first(self) -> bool:
        """Whether nothing of the statement, directive or item stands before."""
        return self.failure.position <= self.failure.first

    @cached_property
    def read(self) -> Sequence[Token]:
        """The tokens of the statement, directive or item that were taken."""
        return self.tokens[self.failure.first : self.failure.position]

    @property
    def is_after_value(self) -> bool:
        """Whether an expression has just ended, so that an operator could follow."""
        return "+" in self.expected and "NUMBER" not in self.expected

    @cached_property
    def open_bracket(self) -> Token | None:
        """The innermost bracket of this unit that is open here."""
        stack: list[Token] = []
        for token in self.read:
            if token.kind in CLOSER:
                stack.append(token)
            elif token.kind in OPENER and token.start not in self.brackets.stray:
                while stack and stack.pop().kind != OPENER[token.kind]:
                    pass
        return stack[-1] if stack else None

    def span(self, token: Token) -> Span:
        return Span(self.source, token.start, token.end)

    @cached_property
    def here(self) -> Span:
        """The place of the token found. What is missing at a line's end is missing there."""
        found, previous = self.found, self.previous
        if previous is not None and self.read:
            is_line_end = not found.text or found.text == "\n"
            if is_line_end or self._ends_a_block_of_lines:
                return Span(self.source, previous.end, previous.end)
        return self.span(found)

    @property
    def found_text(self) -> str:
        return "the end of the block" if self._ends_a_block_of_lines else describe(self.found)

    @property
    def _ends_a_block_of_lines(self) -> bool:
        if self.found.text != "}" or self.previous is None or not self.read:
            return False
        return "\n" in self.source.text[self.previous.end : self.found.start]
