"""Characters and symbols that belong to other languages, explained."""

from __future__ import annotations

from typing import Final

from te.diagnostics import Diagnostic, Span, error
from te.grammar.lexer import Token

MEANT: Final = {
    "×": "*", "·": "*", "⋅": "*", "∗": "*", "÷": "/", "∕": "/", "−": "-", "–": "-", "—": "-",
    "≤": "<=", "≥": ">=", "≠": "!=", "→": "->", "∞": "inf", "π": "pi", "∧": "and", "∨": "or", "¬": "not",
    "∑": "sum[k](...)", "Σ": "sum[k](...)", "∏": "prod[k](...)", "√": "sqrt(x)", "²": "** 2", "³": "** 3",
    "（": "(", "）": ")", "［": "[", "］": "]", "，": ",", "；": ";", "：": ":", "＝": "=", "\u00a0": " ",
}  # fmt: skip
"""What is usually meant by a character that looks like it."""

FOREIGN: Final = {
    "&&": "write `and`",
    "||": "write `or`",
    "!": "write `not`",
    "@": "a product of matrices is `sum[k](A[i, k] * B[k, j])`",
    "\\": "a line goes on by itself after an operator, and inside `( )` and `[ ]`",
}


def explain_bad_token(token: Token, span: Span) -> Diagnostic:
    text = token.text
    if text == "...":
        return error(
            "ellipsis",
            "`...` is not in the language",
            span,
            help="`*s` stands for any number of axes, as in `X[*s, i]`",
        )
    if text == "/*":
        return error(
            "comment-style", "comments are not written `/* */`", span, help="write `#` before each line"
        )
    if text == "?":
        return error(
            "conditional-expression",
            "`? :` is not in the language",
            span,
            help="write `where(condition, a, b)`",
        )
    if text in FOREIGN:
        return error("foreign-operator", f"`{text}` is not in the language", span, help=FOREIGN[text])
    if text[0] in "\"'“”‘’":
        return error(
            "string-literal",
            "strings are not in the language",
            span,
            "a value is a number",
            help="lines of `##` above an item are its documentation" if text[:3] in ('"""', "'''") else None,
        )
    return _bad_character(text, span)


def _bad_character(character: str, span: Span) -> Diagnostic:
    from unicodedata import name  # not needed before something is wrong

    number = f"U+{ord(character):04X}"
    official = name(character, "")
    shown = f"`{character}` ({number} {official})" if official else f"the character {number}"
    help = None
    if character in MEANT:
        help = f"write `{MEANT[character]}`" if MEANT[character] != " " else "write a plain space"
    elif character == "\r":
        help = "save the file with line ends LF or CRLF"
    elif character.isalnum():
        help = "names are made of the letters a to z and A to Z, digits and `_`"
    return error(
        "bad-character",
        f"{shown} is not in the language",
        span,
        "only comments may hold it" if not character.isascii() else "",
        help=help,
    )
