"""`.te` text to syntax tree.

    characters ──lexer──▶ tokens ──brackets, lines──▶ tokens with the line ends that count ──lalr──▶ tree

The tree is made by `builder.py` as the LALR table of `te.lark` directs. Syntax errors are explained
by `mistakes.py`; `recovery.py` finds where to go on, so that one run reports those of several
statements.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, cast

from te.diagnostics import Diagnostics, Source, Span, error
from te.grammar import tree
from te.grammar.brackets import ITEM_WORDS, Brackets, pair_brackets
from te.grammar.builder import TreeBuilder
from te.grammar.lalr import Failure, Parse
from te.grammar.lexer import Lexer, Token
from te.grammar.limits import MAX_ERRORS
from te.grammar.lines import join_lines
from te.grammar.table import END, Table, load_table

__all__ = ["is_file", "parse_directives", "parse_expression", "parse_file"]


def parse_file(source: Source) -> tree.File:
    """The items of a whole file.

    Raises CompileError with every syntax error found, at most `MAX_ERRORS`, for any text that is
    not a program; nothing else is ever raised.

    >>> file = parse_file(Source("double.te", "op double(x: f32) -> y: f32 { y = 2 * x }"))
    >>> file.items[0].name
    'double'
    """
    return cast(tree.File, _parse(source, "file"))


def parse_expression(source: Source) -> tree.Expr:
    """One expression, alone in its text. Raises CompileError.

    >>> parse_expression(Source("<text>", "a + 1"))
    Binary(op='+', left=Name(name='a'), right=Number(value=1))
    """
    return cast(tree.Expr, _parse(source, "expression"))


def parse_directives(source: Source | str) -> tuple[tree.Directive, ...]:
    """The lines of a schedule's block, given alone. Raises CompileError.

    A text with whole `schedule ... { }` items goes to `parse_file`; `is_file` tells which it is.

    >>> parse_directives("unroll ii")[0].verb
    'unroll'
    """
    if isinstance(source, str):
        source = Source("<schedule>", source)
    return cast("tuple[tree.Directive, ...]", _parse(source, "directives"))


def is_file(source: Source) -> bool:
    """Whether a text begins as a file does, with an item, and not as a list of directives does."""
    for line in source.text.removeprefix("\ufeff").split("\n"):
        words = line.partition("#")[0].split()
        if words:
            is_directive = words[0] == "use" and "of" in words  # `use softmax of H`
            return words[0] in ITEM_WORDS and len(words) > 1 and not is_directive
    return False


@cache
def _tools() -> tuple[Table, Lexer]:
    table = load_table()
    return table, Lexer(table)


def _parse(source: Source, start: str) -> Any:
    table, lexer = _tools()
    errors = Diagnostics()
    brackets = pair_brackets(source, lexer.tokens(source), errors)
    reader = _Reader(source, table, brackets, errors)
    result = reader.read(join_lines(brackets), start)
    errors.raise_if_errors()
    return result


class _Reader:
    """Parses the tokens of one source, and goes on after errors."""

    def __init__(self, source: Source, table: Table, brackets: Brackets, errors: Diagnostics) -> None:
        self.source = source
        self.table = table
        self.brackets = brackets
        self.errors = errors
        self.builder = TreeBuilder(source, errors)

    def read(self, tokens: Sequence[Token], start: str) -> Any:
        last_stop = (-1, -1)

        def on_failure(failure: Failure) -> int | None:
            nonlocal last_stop
            self._report(tokens, failure)
            go_on = self._next_unit(tokens, failure)
            is_stuck = (failure.position, go_on) == last_stop
            last_stop = (failure.position, go_on)
            return None if is_stuck or self._is_enough(tokens[failure.position]) else go_on

        return Parse(self.table, tokens, self.builder, on_failure).run(start)

    def _report(self, tokens: Sequence[Token], failure: Failure) -> None:
        from te.grammar.mistakes import explain  # a correct program needs no explanations
        from te.grammar.problem import Problem

        found = tokens[failure.position]
        if found.kind == "}" and not found.text:
            return  # put there by `pair_brackets`, which has reported that it is missing
        self.errors.add(explain(Problem(self.source, tokens, self.brackets, failure)))

    def _next_unit(self, tokens: Sequence[Token], failure: Failure) -> int:
        from te.grammar.recovery import next_item, next_statement

        if failure.unit != "item":
            return next_statement(tokens, failure.position)
        go_on, block = next_item(tokens, failure, self.brackets)
        if block:
            self._read_block(tokens[failure.first].text, tokens[block[0] : block[1] + 1])
        return go_on

    def _read_block(self, word: str, tokens: Sequence[Token]) -> None:
        """Find the errors in the block of an item whose head has one."""
        start = {"op": "body", "reducer": "body", "schedule": "directives"}.get(word)
        if start and len(self.errors.items) < MAX_ERRORS:
            self.read([*tokens[:-1], tokens[-1]._replace(kind=END)], start)

    def _is_enough(self, token: Token) -> bool:
        if len(self.errors.items) < MAX_ERRORS:
            return False
        self.errors.add(
            error(
                "too-many-errors",
                f"{MAX_ERRORS} errors: the rest of the text is not checked",
                Span(self.source, token.start, token.end),
                "stopped here",
            )
        )
        return True
