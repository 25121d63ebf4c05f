"""Which bracket closes which, found before parsing.

The parser needs it three times: a line end inside a *closed* `(` or `[` does not count, so a
forgotten `)` cannot swallow the rest of the file; a message about a missing bracket names the one
that is open; and a block that is never closed ends before the next item, so that the items after
it are still read.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from te.diagnostics import CompileError, Diagnostic, Diagnostics, Note, Source, Span, error
from te.grammar.lexer import BAD, WORD, Token
from te.grammar.limits import MAX_DEPTH
from te.grammar.table import END, NEWLINE

CLOSER: Final = {"(": ")", "[": "]", "{": "}"}
OPENER: Final = {closer: opener for opener, closer in CLOSER.items()}
ITEM_WORDS: Final = frozenset({"use", "op", "reducer", "const", "intrinsic", "schedule"})


@dataclass(slots=True)
class Brackets:
    """The text offsets of brackets without a partner. Braces in `tokens` always have theirs."""

    tokens: list[Token] = field(default_factory=list)
    unclosed: set[int] = field(default_factory=set)
    stray: set[int] = field(default_factory=set)


def pair_brackets(source: Source, tokens: list[Token], errors: Diagnostics) -> Brackets:
    """Find the partner of every bracket; give every open brace a `}` where its item must have ended.

    A closing bracket that fits an opening one further out leaves those between unclosed; one that
    fits none before the next `{` is stray, and so is a `}` behind `(` or `[` in one line, a slip of
    the finger. Raises CompileError beyond 200 levels.
    """
    found = Brackets()
    result = found.tokens
    stack: list[Token] = []
    line_start = 0
    for position, token in enumerate(tokens):
        kind = token.kind
        if kind == NEWLINE:
            line_start = token.end
        if stack and (kind == END or (kind == WORD and _begins_item(tokens, position, stack[-1].kind))):
            _close_block(source, found, stack, token, errors)
        elif kind in CLOSER:
            stack.append(token)
            if len(stack) > MAX_DEPTH:
                errors.add(_nested_too_deep(source, token))
                raise CompileError(errors.errors)
        elif kind in OPENER and not _close(found, stack, OPENER[kind], line_start):
            found.stray.add(token.start)
            if kind == "}":
                token = token._replace(kind=BAD)
        result.append(token)
    return found


def _close(found: Brackets, stack: list[Token], opener: str, line_start: int) -> bool:
    """Pop up to the innermost `opener`, if there is one; `)` and `]` do not reach beyond a `{`."""
    depth = len(stack) - 1
    while depth >= 0 and stack[depth].kind != opener:
        if stack[depth].kind == "{":
            return False
        depth -= 1
    if depth < 0:
        return False
    if opener == "{" and stack[depth].start < line_start <= stack[-1].start:
        found.unclosed.add(stack.pop().start)
        return False
    found.unclosed.update(token.start for token in stack[depth + 1 :])
    del stack[depth:]
    return True


def _begins_item(tokens: list[Token], position: int, open_bracket: str) -> bool:
    """Whether an item begins here although a bracket is open: `op f(`, `schedule f on`, ...

    No valid program has such a line inside brackets, apart from a parameter `const n: int`.
    """
    word = tokens[position].text
    if word not in ITEM_WORDS or (position > 0 and tokens[position - 1].kind != NEWLINE):
        return False
    name, after, next_after = (tokens[position + 1 : position + 4] + [tokens[-1]] * 3)[:3]
    if name.kind not in ("NAME", "WORD"):
        return False
    match word:
        case "op" | "reducer":
            return after.kind in ("(", "<")
        case "schedule":
            return after.kind == "." or after.text == "on"
        case "intrinsic":
            return after.text == "on"
        case "const":
            return after.kind == ":" and open_bracket == "{"
    # `use nn.{softmax}`, or `use nn` alone: the directive `use nn.softmax of H` goes on behind the name.
    return after.kind in (NEWLINE, END) or (after.kind == "." and next_after.kind == "{")


def _close_block(
    source: Source, found: Brackets, stack: list[Token], token: Token, errors: Diagnostics
) -> None:
    """Nothing that is open can go on at `token`: end the blocks before it."""
    found.unclosed.update(bracket.start for bracket in stack)
    braces = [bracket for bracket in stack if bracket.kind == "{"]
    stack.clear()
    if not braces:
        return
    line_end = found.tokens.pop() if found.tokens[-1].kind == NEWLINE else None
    end = found.tokens[-1].end
    if token.kind == END:
        place, what = Span(source, end, end), "the end of the file"
    else:
        place, what = Span(source, token.start, token.end), f"`{token.text}`"
    errors.add(
        error(
            "unclosed-brace",
            f"a block is not closed: expected `}}`, found {what}",
            place,
            "a `}` is missing before this",
            notes=[
                Note(Span(source, b.start, b.end), "the block begins here") for b in reversed(braces[-3:])
            ],
        )
    )
    found.tokens.extend([Token("}", "", end, end)] * len(braces))
    if line_end:
        found.tokens.append(line_end)


def _nested_too_deep(source: Source, token: Token) -> Diagnostic:
    return error(
        "nested-too-deep",
        f"brackets are nested more than {MAX_DEPTH} deep",
        Span(source, token.start, token.end),
        "this one is too deep",
        help="give a part of it a name: a tensor or an op of its own",
    )
