"""`//`, `%`, `min` and `max` of linear forms, by the rules that need ranges and facts."""

from __future__ import annotations

from math import gcd

from te.ir.inequality import is_nonnegative, is_positive
from te.ir.knowledge import Knowledge
from te.ir.linear import (
    ZERO,
    Linear,
    Product,
    TooManyTerms,
    add,
    as_one_division,
    composite,
    constant,
    divide_exactly,
    multiply,
    of_atom,
    plus,
    quotient,
    scale,
    split_multiple,
    subtract,
    without,
    without_common_factor,
)

MAX_PARTS = 8  # of one `min` or `max`
USES = 1  # facts that a rule may use: the questions here are many, and mostly end without a proof


def floor_divide(a: Linear, d: Linear, known: Knowledge) -> Linear:
    """`a // d`; 0 where d is 0.

    `(8*io + ii) // 8` is `io` where `0 <= ii < 8`; `(N*i + j) // N` is `i` where `0 <= j < N`.
    """
    if not d.terms:
        if d.constant == 0:
            return ZERO
        return _divide(a, d, known) if d.constant > 0 else _divide(scale(a, -1), scale(d, -1), known)
    if is_positive(d, known):
        return _divide(a, d, known)
    if is_positive(scale(d, -1), known):
        return _divide(scale(a, -1), scale(d, -1), known)
    if not a.terms and a.constant == 0:
        return ZERO
    return of_atom(composite("total //", a, d))


def remainder(a: Linear, d: Linear, known: Knowledge) -> Linear:
    """`a % d`; 0 where d is 0."""
    if d == ZERO or a in (ZERO, d):
        return ZERO
    if d.terms and not is_positive(d, known) and not is_positive(scale(d, -1), known):
        return of_atom(composite("total %", a, d))
    return subtract(a, multiply(d, floor_divide(a, d, known)))


def _divide(a: Linear, d: Linear, known: Knowledge) -> Linear:
    """`a // d` for `d >= 1`."""
    multiple, rest = split_multiple(a, d)
    if not rest.terms and not d.terms:
        return plus(multiple, rest.constant // d.constant)
    whole = _whole(rest, d, known)
    if whole is not None:
        return plus(multiple, whole)
    rest, d = _without_small_part(*_without_common_size(*without_common_factor(rest, d), known), known)
    smaller = _known_multiple(rest, d, known)
    if smaller is not None:
        exact, rest = smaller
        return add(add(multiple, exact), _divide(rest, d, known))
    nested = as_one_division(rest, d)
    if nested is not None:
        return add(multiple, _divide(*nested, known))
    return add(multiple, quotient(rest, d))


def _whole(rest: Linear, d: Linear, known: Knowledge) -> int | None:
    """The value of `rest // d` where the ranges fix it."""
    if not d.terms:
        low, high = known.interval_of(rest)
        if low is not None and high is not None and low // d.constant == high // d.constant:
            return low // d.constant
        if known.next_atom(rest) is None:
            return None  # sizes alone: no constant bounds them from above
    for value in (0, -1):
        low_end = rest if value == 0 else add(rest, d)
        if is_nonnegative(low_end, known, USES) and is_positive(subtract(d, low_end), known, USES):
            return value
    return None


def _without_common_size(rest: Linear, d: Linear, known: Knowledge) -> tuple[Linear, Linear]:
    """`(N*x) // (N*y)` is `x // y`: N >= 1, for it is natural and a factor of the divisor."""
    if d.constant or not d.terms or rest.constant or not rest.terms:
        return rest, d
    products = [*d.terms, *rest.terms]
    common: Product = ()
    for atom in min(products, key=len):
        wider = (*common, atom)
        if known.is_natural((atom,)) and all(without(p, wider) is not None for p in products):
            common = wider
    if not common:
        return rest, d
    unit = Linear({common: 1}, 0)
    return divide_exactly(rest, unit) or rest, divide_exactly(d, unit) or d


def _without_small_part(rest: Linear, d: Linear, known: Knowledge) -> tuple[Linear, Linear]:
    """`(4*b + c) // 8` is `b // 2` where `0 <= c < 4`."""
    if d.terms:
        return rest, d
    steps = sorted({gcd(k, d.constant) for k in rest.terms.values()} - {1}, reverse=True)
    for step in steps:
        large = {p: k // step for p, k in rest.terms.items() if k % step == 0}
        whole, left = divmod(rest.constant, step)
        small = Linear({p: k for p, k in rest.terms.items() if k % step}, left)
        room = plus(scale(small, -1), step - 1)
        if small.terms and is_nonnegative(small, known, USES) and is_nonnegative(room, known, USES):
            return Linear(large, whole), constant(d.constant // step)
    return rest, d


def _known_multiple(rest: Linear, d: Linear, known: Knowledge) -> tuple[Linear, Linear] | None:
    """`(exact, left)` with `rest == d*exact + left`, from a fact such as `(N + 2) % 4 == 0`."""
    for form, divisor in known.multiples:
        factor = divide_exactly(divisor, d)
        if factor is None:
            continue
        for sign in (1, -1):
            left = add(rest, form, -sign)
            if len(left.terms) < len(rest.terms):
                return multiply(scale(factor, sign), of_atom(composite("exact", form, divisor))), left
    return None


# ---------------------------------------------------------------- min and max


def extreme(kind: str, parts: list[Linear], known: Knowledge) -> Linear:
    """The `min` or `max` of forms; what all of them share stands outside."""
    kept: list[Linear] = []
    for part in _flat(kind, parts):
        if any(_decides(kind, other, part, known) for other in kept):
            continue
        kept = [other for other in kept if not _decides(kind, part, other, known)]
        kept.append(part)
    if len(kept) == 1:
        return kept[0]
    if len(kept) > MAX_PARTS:
        raise TooManyTerms
    first = kept[0]
    shared_terms = {p: k for p, k in first.terms.items() if all(o.terms.get(p) == k for o in kept)}
    same_constant = first.constant if all(o.constant == first.constant for o in kept) else 0
    shared = Linear(shared_terms, same_constant)
    inner = [subtract(part, shared) for part in kept]
    inner.sort(key=repr)
    return add(shared, of_atom(composite(kind, *inner)))


def _flat(kind: str, parts: list[Linear]) -> list[Linear]:
    """`min(min(a, b) + 1, c)` has the parts `a + 1`, `b + 1` and `c`; constants are one part."""
    flat: list[Linear] = []
    other_kind = "max" if kind == "min" else "min"
    for part in parts:
        inner = [
            (product[0], k)
            for product, k in part.terms.items()
            if len(product) == 1 and (product[0].kind, k) in ((kind, 1), (other_kind, -1))
        ]
        if len(inner) == 1 and len(parts) + len(inner[0][0].parts) <= MAX_PARTS:
            atom, k = inner[0]
            rest = add(part, of_atom(atom), -k)
            flat += _flat(kind, [add(rest, p, k) for p in atom.parts])
        else:
            flat.append(part)
    return flat


def _decides(kind: str, winner: Linear, loser: Linear, known: Knowledge) -> bool:
    """Whether the `min` (`max`) of the two is the first one."""
    gap = subtract(loser, winner) if kind == "min" else subtract(winner, loser)
    return is_nonnegative(gap, known, USES)
