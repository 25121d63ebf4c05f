"""Registers of a thread without gaps: `32*g + o` with `g < 2` and `o < 4` becomes `4*g + o`.

A thread has every eighth group of columns, say, and keeps them as if it had those between, too. Where all indices
along an axis are numbers with digits of the same places (`digits.py`), each place counts as much as those below it
hold. No two elements fall together, as each keeps its digits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from te.ir.bounds import NO_FACTS
from te.ir.expr import Const, Expr, Load, Var, add, integer, mul
from te.ir.loop import (
    Accumulate,
    Alloc,
    Buffer,
    For,
    Stmt,
    Store,
    bodies,
    direct_exprs,
    map_exprs,
    walk_stmt,
    with_bodies,
)
from te.ir.simplify import simplify
from te.ir.visit import loads, rewrite
from te.schedule.finalize.gpu.digits import Digit, digits_of


def pack_registers(s: Stmt) -> Stmt:
    """Leave no gaps in register buffers."""
    new = tuple([pack_registers(b) for b in bodies(s)])
    s = with_bodies(s, new) if any(a is not b for a, b in zip(bodies(s), new, strict=True)) else s
    if isinstance(s, Alloc) and s.buffer.scope == "register":
        for axis in range(len(s.buffer.shape)):
            s = _packed(s, axis)
    return s


def _packed(s: Alloc, axis: int) -> Alloc:
    buffer = s.buffer
    places = {
        tuple((digit.weight, digit.extent) for digit in digits) if digits is not None else None
        for digits in _digits_along(s.body, buffer, axis)
    }
    size = buffer.shape[axis]
    if len(places) != 1 or None in places or not isinstance(size, Const):
        return s
    (only,) = places
    assert only is not None
    count = 1
    weights: dict[int, int] = {}
    for weight, extent in only:
        weights[weight] = count
        count *= extent
    if count >= size.value:
        return s
    shape = (*buffer.shape[:axis], integer(count), *buffer.shape[axis + 1 :])
    return Alloc(replace(buffer, shape=shape), _moved(s.body, buffer.name, axis, weights, {}))


def _digits_along(body: Stmt, buffer: Buffer, axis: int) -> list[tuple[Digit, ...] | None]:
    found: list[tuple[Digit, ...] | None] = []
    for s, path in walk_stmt(body):
        extents = {loop.var: loop.extent for loop in path if isinstance(loop, For)}
        found += [digits_of(index[axis], extents, NO_FACTS) for index in _accesses(s, buffer.name)]
    return found


def _accesses(s: Stmt, name: str) -> list[tuple[Expr, ...]]:
    found = [load.index for e in direct_exprs(s) for load in loads(e) if load.buffer == name]
    return [*found, s.index] if isinstance(s, Store | Accumulate) and s.buffer == name else found


def _moved(s: Stmt, name: str, axis: int, weights: Mapping[int, int], extents: Mapping[str, Expr]) -> Stmt:
    """`s` with the new weights in the indices along an axis."""

    def at(index: Sequence[Expr]) -> tuple[Expr, ...]:
        place: Expr = integer(0)
        for digit in reversed(digits_of(index[axis], extents, NO_FACTS) or ()):
            place = add(place, mul(integer(weights[digit.weight]), Var(digit.name)))
        return (*index[:axis], simplify(place), *index[axis + 1 :])

    def expr(e: Expr) -> Expr:
        return replace(e, index=at(e.index)) if isinstance(e, Load) and e.buffer == name else e

    if isinstance(s, For):
        extents = {**extents, s.var: s.extent}
    new = tuple([_moved(b, name, axis, weights, extents) for b in bodies(s)])
    if new:
        return with_bodies(s, new)
    if isinstance(s, Store | Accumulate) and s.buffer == name:
        s = replace(s, index=at(s.index))
    return map_exprs(s, lambda e: rewrite(e, expr))
