"""Index arithmetic as text that knows its range: in 32 bits where that is enough, which a GPU computes faster."""

from __future__ import annotations

from dataclasses import dataclass

from te.backends.cuda.prelude import type_name
from te.ir.types import I32, I64

# Binding strength of C++'s operators, loosest first.
CHOICE, OR, AND, BIT_OR, BIT_XOR, BIT_AND, EQUALITY, RELATION, SHIFT, SUM, PRODUCT, UNARY, ATOM = range(13)

_LOW, _HIGH = -(1 << 31), (1 << 31) - 1


@dataclass(frozen=True, slots=True)
class Text:
    """An expression of C++, and how strongly its outermost operator binds."""

    code: str
    strength: int = ATOM

    def within(self, strength: int) -> str:
        """As an operand of an operator: in parentheses where that binds more strongly."""
        return self.code if self.strength >= strength else f"({self.code})"


@dataclass(frozen=True, slots=True)
class Index(Text):
    """Index arithmetic. None is a bound that is not known."""

    low: int | None = None
    high: int | None = None

    @property
    def is_short(self) -> bool:
        """Whether it is computed in 32 bits."""
        return self.low is not None and self.high is not None and self.low >= _LOW and self.high <= _HIGH

    @property
    def type(self) -> str:
        return type_name(I32 if self.is_short else I64)

    @property
    def constant(self) -> int | None:
        return self.low if self.low == self.high else None


def number(value: int) -> Index:
    text = str(value) if _LOW < value <= _HIGH else f"{value}ll"
    return Index(text, ATOM if value >= 0 else UNARY, value, value)


def add(a: Index, b: Index) -> Index:
    low = None if a.low is None or b.low is None else a.low + b.low
    high = None if a.high is None or b.high is None else a.high + b.high
    if a.constant == 0:
        return b
    if b.constant == 0:
        return a
    if b.constant is not None and b.constant < 0:
        return _infix("-", a, number(-b.constant), SUM, low, high)
    return _infix("+", a, b, SUM, low, high)


def subtract(a: Index, b: Index) -> Index:
    low = None if a.low is None or b.high is None else a.low - b.high
    high = None if a.high is None or b.low is None else a.high - b.low
    return a if b.constant == 0 else _infix("-", a, b, SUM, low, high)


def multiply(a: Index, b: Index) -> Index:
    if a.constant == 1:
        return b
    if b.constant == 1:
        return a
    if 0 in (a.constant, b.constant):
        return number(0)
    low, high = _product_range(a, b)
    return _infix("*", a, b, PRODUCT, low, high)


def _product_range(a: Index, b: Index) -> tuple[int | None, int | None]:
    if a.low is None or b.low is None:
        return None, None
    if a.high is None or b.high is None:
        return (a.low * b.low if a.low >= 0 and b.low >= 0 else None), None
    corners = [x * y for x in (a.low, a.high) for y in (b.low, b.high)]
    return min(corners), max(corners)


def divide(a: Index, b: Index) -> Index:
    """`a // b` of the language."""
    if b.constant == 1:
        return a
    if a.constant is not None and b.constant:
        return number(a.constant // b.constant)
    if a.low is not None and a.low >= 0 and b.low is not None and b.low >= 1:
        least = 0 if b.high is None else a.low // b.high
        return _infix("/", a, b, PRODUCT, least, None if a.high is None else a.high // b.low)
    by = b.constant if b.constant and b.constant > 0 else None
    low = None if by is None or a.low is None else a.low // by
    high = None if by is None or a.high is None else a.high // by
    return _call("te_floordiv", (a, b), low, high)


def modulo(a: Index, b: Index) -> Index:
    """`a % b` of the language."""
    if b.constant == 1:
        return number(0)
    if a.constant is not None and b.constant:
        return number(a.constant % b.constant)
    if a.low is not None and a.low >= 0 and b.low is not None and b.low >= 1:
        if a.high is not None and a.high < b.low:
            return a
        highest = [h for h in (a.high, None if b.high is None else b.high - 1) if h is not None]
        return _infix("%", a, b, PRODUCT, 0, min(highest) if highest else None)
    positive = b.low is not None and b.low >= 0
    high = None if not positive or b.high is None else max(b.high - 1, 0)
    return _call("te_mod", (a, b), 0 if positive else None, high)


def negate(a: Index) -> Index:
    low = None if a.high is None else -a.high
    high = None if a.low is None else -a.low
    wide = a.is_short and not Index("", ATOM, low, high).is_short
    return Index(f"-{(_widened(a) if wide else a).within(ATOM)}", UNARY, low, high)


def extreme(op: str, a: Index, b: Index) -> Index:
    """`min` or `max`."""
    lows, highs = [a.low, b.low], [a.high, b.high]
    if op == "min":
        low = None if None in lows else min(x for x in lows if x is not None)
        high = min((x for x in highs if x is not None), default=None)
    else:
        low = max((x for x in lows if x is not None), default=None)
        high = None if None in highs else max(x for x in highs if x is not None)
    return _call(f"te_{op}", (a, b), low, high)


def xor(a: Index, b: Index) -> Index:
    """Of two numbers that are not negative."""
    bits = None if a.high is None or b.high is None else max(a.high, b.high).bit_length()
    return _infix("^", a, b, BIT_XOR, 0, None if bits is None else (1 << bits) - 1)


def _infix(op: str, a: Index, b: Index, strength: int, low: int | None, high: int | None) -> Index:
    result = Index("", strength, low, high)
    if a.is_short and b.is_short and not result.is_short:
        a = _widened(a)
    return Index(f"{a.within(strength)} {op} {b.within(strength + 1)}", strength, low, high)


def _widened(a: Index) -> Index:
    return Index(f"({type_name(I64)}){a.within(UNARY)}", UNARY, a.low, a.high)


def _call(name: str, args: tuple[Index, ...], low: int | None, high: int | None) -> Index:
    dtype = I32 if all(a.is_short for a in args) else I64
    return Index(f"{name}_{dtype}({', '.join(a.code for a in args)})", ATOM, low, high)
