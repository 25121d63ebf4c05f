"""What the parser expected and found, in the reader's words."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from te.grammar.lexer import BAD, Token
from te.grammar.lines import OPERATORS
from te.grammar.table import END, NEWLINE

EXPRESSION: Final = frozenset({"NAME", "NUMBER", "(", "+", "-", "~", "not"})
"""What an expression begins with."""

PREPOSITIONS: Final = frozenset(
    "by into at in as of to tail depth ahead axis layout parts fill keep order producer registers like".split()
)
NAME_AFTER: Final = {
    "use": "the name of a module",
    "op": "a name for the op",
    "reducer": "a name for the reducer",
    "schedule": "the name of an op",
    "intrinsic": "a name for the intrinsic",
    "const": "a name for the constant",
    "on": "a target such as `llvm`",
    "->": "a result such as `Y: f32[N]`",
    ":": "a type",
    "*": "the name of a pack",
}


def describe(token: Token) -> str:
    """A token as a message names it."""
    match token.kind:
        case "$END":
            return "`}`" if token.text else "the end of the text"
        case "_NL":
            return "`;`" if token.text == ";" else "the end of the line"
        case "NUMBER":
            return f"the number `{shorten(token.text)}`"
    return f"`{shorten(token.text)}`"


def shorten(text: str, length: int = 30) -> str:
    return text if len(text) <= length else text[: length - 3] + "..."


def describe_expected(expected: Collection[str], previous: Token | None) -> str:
    """A set of terminals as a message names it: `an operator, `,` or `)``."""
    left = set(expected) - {END, BAD}
    phrases: list[str] = []
    if "op" in left:
        return "an item"
    if "NAME" in left:
        phrases.append(_describe_start(left, previous))
        left -= EXPRESSION | {"require", "param", "const", "*"}
        if "[" in left and phrases[0] in ("an expression", "a value"):
            left.discard("[")
    if "+" in left or "==" in left:
        phrases.append("an operator")
        left -= OPERATORS | {"and", "or", "else"}
    if left >= {"by", "into"}:
        phrases.append("a clause such as `by 8`")
        left -= PREPOSITIONS
        left.discard("{")
    order = ("=", "->", "(", "[", ".", "<", ":", "where", "when", "on", "with", ",", "]", ")", ">", "{")
    rank = {terminal: number for number, terminal in enumerate(order)}
    ends = left & {NEWLINE, "}"}
    if "an operator" in phrases:
        left -= {"(", "[", "="}
    if len(left) > 1:
        left.discard(".")
    phrases += [f"`{t}`" for t in sorted(left - ends, key=lambda t: (rank.get(t, len(rank)), t))]
    if NEWLINE in ends or (END in expected and not phrases):
        phrases.append("the end of the line" if NEWLINE in ends else "the end of the text")
    elif "}" in ends:
        phrases.append("`}`")
    return ", ".join(phrases[:-1]) + " or " + phrases[-1] if len(phrases) > 1 else "".join(phrases)


def _describe_start(expected: set[str], previous: Token | None) -> str:
    """What begins with a name where one of `expected` can stand."""
    if "require" in expected:
        return "an equation"
    if "param" in expected:
        return "a parameter such as `X: f32[N]`"
    if "NUMBER" in expected:
        return "an expression"
    if previous is None or previous.kind in (NEWLINE, "{"):
        return "a name" if "}" not in expected and NEWLINE not in expected else "a directive"
    word = previous.text if previous.text in NAME_AFTER else previous.kind
    return NAME_AFTER.get(word, "a name")


def is_name_expected(expected: Collection[str]) -> bool:
    """Whether a name must stand there and no expression could."""
    return "NAME" in expected and "NUMBER" not in expected
