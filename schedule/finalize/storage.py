"""Every buffer becomes row-major and begins at index 0.

    alloc Ap: f32[8, 256] from [8 * io, 256 * ko] layout [i, k] as [k, i]:
      ... Ap[8 * io + ii, 256 * ko + ki] ...
->
    alloc Ap: f32[256, 8]:
      ... Ap[ki, ii] ...

Until here a buffer that holds a part of a tensor has the tensor's indices, so that
directives that put it in the tensor's place change a name and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from te.ir.bounds import Facts, bounds
from te.ir.expr import Expr, Load, Op, add, floor_div, floor_mod, integer, mul, sub
from te.ir.loop import (
    Accumulate,
    Alloc,
    Buffer,
    For,
    Layout,
    Stmt,
    Store,
    Swizzle,
    bodies,
    map_direct_exprs,
    with_bodies,
)
from te.ir.simplify import simplify
from te.ir.types import I64
from te.ir.visit import rewrite, substitute
from te.schedule.context import facts_inside, facts_of_element, ranging


def lay_out_buffers(s: Stmt, facts: Facts) -> Stmt:
    """Apply the origins and layouts of all buffers that are allocated in `s`."""
    if isinstance(s, Alloc) and (s.buffer.origin or s.buffer.layout or s.buffer.fold):
        s = _laid_out(s, facts)
    old = bodies(s)
    new = tuple([lay_out_buffers(b, facts_inside(s, b, facts)) for b in old])
    return with_bodies(s, new) if any(a is not b for a, b in zip(old, new, strict=True)) else s


def _laid_out(s: Alloc, facts: Facts) -> Stmt:
    buffer = s.buffer
    plain = replace(buffer, shape=physical_shape(buffer, facts), origin=(), layout=None, fold=None)
    return Alloc(plain, _addressed(s.body, buffer, facts))


def _addressed(s: Stmt, buffer: Buffer, facts: Facts) -> Stmt:
    """`s` with the places of a buffer's elements for their indices.

    The loops around an access may tell its digits: of `256 * trip + thread`, `// 256` is `trip`.
    """

    def address(index: tuple[Expr, ...], known: Facts = facts) -> tuple[Expr, ...]:
        return physical_index(buffer, index, known)

    def expr(e: Expr, known: Facts = facts) -> Expr:
        if isinstance(e, Load) and e.buffer == buffer.name:
            return replace(e, index=address(e.index, known))
        return e

    new = [
        _addressed(b, buffer, facts_inside(s, b, facts) if buffer.layout or buffer.fold else facts)
        for b in bodies(s)
    ]
    of_element = facts_of_element(s, facts) if isinstance(s, Accumulate) else facts
    start = rewrite(s.start, lambda e: expr(e, of_element)) if isinstance(s, Accumulate) and s.start else None
    s = map_direct_exprs(with_bodies(s, tuple(new)) if new else s, lambda e: rewrite(e, expr))
    if isinstance(s, Accumulate):
        s = replace(s, start=start)
    if isinstance(s, Store | Accumulate) and s.buffer == buffer.name:
        return replace(s, index=address(s.index, of_element))
    if isinstance(s, For) and any(p.buffer == buffer.name for p in s.prefetches):
        fetched = [replace(p, index=address(p.index)) if p.buffer == buffer.name else p for p in s.prefetches]
        return replace(s, prefetches=tuple(fetched))
    return s


def physical_index(buffer: Buffer, index: tuple[Expr, ...], facts: Facts) -> tuple[Expr, ...]:
    """Where the element of a logical index lies."""
    if buffer.origin:
        index = tuple(simplify(sub(i, low), facts) for i, low in zip(index, buffer.origin, strict=True))
    if buffer.fold:
        axis, by = buffer.fold
        index = (*index[:axis], simplify(floor_mod(index[axis], integer(by)), facts), *index[axis + 1 :])
    if buffer.layout is None:
        return index
    values: Mapping[str, Expr] = dict(zip(buffer.layout.axes, index, strict=True))
    lies = tuple(simplify(substitute(d, values), facts) for d in buffer.layout.dims)
    return lies if buffer.layout.swizzle is None else _swizzled(lies, buffer.layout.swizzle, facts)


def _swizzled(index: tuple[Expr, ...], by: Swizzle, facts: Facts) -> tuple[Expr, ...]:
    """The index after the permutation of its row's units."""
    row, last = index[-2:]
    turn = simplify(floor_mod(floor_div(row, integer(by.rows)), integer(by.by)), facts)
    unit = simplify(floor_div(last, integer(by.unit)), facts)
    inside = simplify(floor_mod(last, integer(by.unit)), facts)
    place = unit if turn == integer(0) else Op("^", (unit, turn), I64)
    return (*index[:-1], simplify(add(mul(place, integer(by.unit)), inside), facts))


def physical_shape(buffer: Buffer, facts: Facts) -> tuple[Expr, ...]:
    """The extents of a buffer's physical index.

    Many ask for those of one buffer at one place: with what is known there, they are kept.
    """
    kept = facts.cache.setdefault("shapes", {})
    assert isinstance(kept, dict)
    if buffer not in kept:
        kept[buffer] = _physical_shape(buffer, facts)
    found = kept[buffer]
    assert isinstance(found, tuple)
    return found


def _physical_shape(buffer: Buffer, facts: Facts) -> tuple[Expr, ...]:
    layout = buffer.layout
    if buffer.fold:
        axis, by = buffer.fold
        buffer = replace(buffer, shape=(*buffer.shape[:axis], integer(by), *buffer.shape[axis + 1 :]))
    if layout is None:
        return buffer.shape
    return tuple(
        _aligned(simplify(add(_last(d, buffer, layout, facts), integer(1)), facts), multiple, facts)
        for d, multiple in zip(layout.dims, layout.align or (1,) * len(layout.dims), strict=True)
    )


def _aligned(extent: Expr, multiple: int, facts: Facts) -> Expr:
    if multiple == 1:
        return extent
    blocks = floor_div(add(extent, integer(multiple - 1)), integer(multiple))
    return simplify(mul(blocks, integer(multiple)), facts)


def _last(dim: Expr, buffer: Buffer, layout: Layout, facts: Facts) -> Expr:
    """The largest value of a dimension of the physical index."""
    inside = facts
    for axis, extent in zip(layout.axes, buffer.shape, strict=True):
        inside = ranging(inside, axis, extent)
    _, last = bounds(dim, inside, layout.axes)
    if last is None:
        raise ValueError(f"a dimension of the layout of {buffer.name} has no bound: {dim}")
    return last
