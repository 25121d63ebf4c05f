"""The values of numbers as they are written, and what can be wrong with them.

An integer is decimal or `0x`, `0b`, `0o`; `_` may stand between two digits. A float has digits on
both sides of its point, an exponent, or both: `1.5`, `1e-3`, `2.5e8`.
"""

from __future__ import annotations

from math import isinf
from typing import Final

from te.diagnostics import Diagnostic, Span, error
from te.grammar.limits import MAX_DIGITS

LARGEST_INTEGER: Final = 2**64 - 1
# A decimal integer this long is beyond 64 bits. Python refuses to convert very long ones.
DECIMAL_DIGITS: Final = 60
BASES: Final = {
    "0x": ("hexadecimal", "0123456789abcdef"),
    "0b": ("binary", "01"),
    "0o": ("octal", "01234567"),
}


def read_number(text: str, span: Span) -> int | float | Diagnostic:
    """The value of a literal, or what is wrong with it."""
    if len(text) > MAX_DIGITS:
        return error(
            "number-too-long",
            f"a number of {len(text):,} characters",
            span,
            f"at most {MAX_DIGITS:,} characters are read",
        )
    try:
        value = _value(text)
    except ValueError:
        return _bad_number(text, span)
    if isinstance(value, int) and value > LARGEST_INTEGER:
        return error(
            "number-too-large",
            "an integer that does not fit in 64 bits",
            span,
            "the largest is 18446744073709551615, of type `u64`",
            help="write a float, such as `1e20`, if that is meant",
        )
    if isinstance(value, float) and isinf(value):
        return error(
            "number-too-large",
            "a float that is larger than every `f64`",
            span,
            "the largest is about 1.8e308",
            help="write `inf` for infinity",
        )
    return value


def _value(text: str) -> int | float:
    is_decimal = text.replace("_", "").isdecimal()
    if is_decimal or text[:2].lower() in BASES:
        if is_decimal and len(text) > DECIMAL_DIGITS and text[0] != "0":
            return LARGEST_INTEGER + 1
        return int(text, 0)
    point = text.find(".")
    if point >= 0 and not (text[:point][-1:].isdecimal() and text[point + 1 : point + 2].isdecimal()):
        raise ValueError
    return float(text)


def _bad_number(text: str, span: Span) -> Diagnostic:
    label, help = _reason(text)
    return error("bad-number", f"`{text}` is not a number", span, label, help=help)


def _reason(text: str) -> tuple[str, str | None]:
    whole, point, fraction = text.partition(".")
    base = BASES.get(text[:2].lower())
    suffix = text.lstrip("0123456789_.")
    if base:
        name, valid = base
        wrong = [c for c in text[2:].lower() if c not in valid + "_"]
        return (f"`{wrong[0]}` is no {name} digit" if wrong else f"{name} digits are missing"), None
    if ".." in text:
        return (
            "ranges are not written with `..`",
            "every index starts at 0; write its extent: `sum[k < 3](...)`",
        )
    if text.count(".") > 1:
        return "a number has one point", None
    if point and not whole:
        return "a digit is missing before the point", f"write `0{text}`"
    if point and not fraction[:1].isdecimal():
        return "a digit is missing after the point", f"write `{whole}.0{fraction}`"
    if "__" in text or text.endswith("_") or "_." in text or "._" in text or "_e" in text.lower():
        return "`_` stands between two digits only", None
    if text.lower().endswith("e"):
        return "the digits of the exponent are missing", None
    if text.isdecimal() and text[0] == "0":
        return (
            "a number does not begin with 0",
            f"write `{text.lstrip('0')}`, or `0o{text.lstrip('0')}` for octal",
        )
    if suffix.lower() in ("f", "f16", "bf16", "f32", "f64", "u", "l", "i8", "i16", "i32", "i64", "u8", "u32"):
        return "a number has no suffix", "it takes the type of its context; `f32(...)` converts"
    if text.isalnum() and "e" not in text[:-1].lower():
        number = text[: len(text) - len(suffix)]
        return "a name does not begin with a digit", f"a product is written with `*`: `{number} * {suffix}`"
    return "this is neither an integer nor a float such as `1.5` or `1e-3`", None
