"""Rewrites of where and how buffers are stored: `set_scope`, `layout`, `align`."""

from __future__ import annotations

from dataclasses import replace

from te.ir.bounds import Facts
from te.ir.expr import Var, integer
from te.ir.loop import (
    Accumulate,
    Alloc,
    Buffer,
    For,
    Kernel,
    Layout,
    Seq,
    Stmt,
    Store,
    rewrite_stmt,
    walk_stmt,
)
from te.schedule.buffers import axes_of, find_allocation, refuse_storage, with_allocation
from te.schedule.compute_at import reads_directly, refuse_scope, replaced
from te.schedule.context import facts_at
from te.schedule.copies import cache_read
from te.schedule.directives import Align, CacheRead, SetLayout, SetScope
from te.schedule.forms import Scope, span_of
from te.schedule.layouts import checked_layout
from te.schedule.legality import carried
from te.schedule.names import Path, find_loop
from te.schedule.regions import Use, box_of, inside_names, reads_in, writes_in


def set_scope(kernel: Kernel, d: SetScope) -> Kernel:
    """Say where a buffer lives; it shrinks to what one trip of the loops around its uses needs."""
    alloc, path = find_allocation(kernel, d, "tensor", d.tensor)
    place = _innermost_place(alloc, path, kernel)
    if place is not None:
        kernel = _moved_into(kernel, alloc, place, d.in_)
        alloc, path = find_allocation(kernel, d, "tensor", d.tensor)
    refuse_scope(d.tensor, alloc.buffer.shape, d.in_, span_of(d, "in_"))
    new = replace(alloc, buffer=replace(alloc.buffer, scope=d.in_.value))
    return with_allocation(kernel, new)


def _innermost_place(alloc: Alloc, path: Path, kernel: Kernel) -> For | None:
    """The innermost loop whose trips each write what they read of the buffer, and hand nothing on."""
    name = alloc.buffer.name
    users = [id(s) for s, _ in walk_stmt(alloc.body) if _uses(s, name)]
    found = None
    for loop, inner in [(s, p) for s, p in walk_stmt(alloc) if isinstance(s, For)]:
        inside = {id(s) for s, _ in walk_stmt(loop.body)}
        if not all(user in inside for user in users) or alloc.buffer.layout is not None:
            continue
        facts = facts_at((*path, *inner), kernel.program)
        if any(dependence.first.buffer == name for dependence in carried(loop, facts)):
            break
        found = loop
    return found


def _uses(s: Stmt, buffer: str) -> bool:
    writes = isinstance(s, Store | Accumulate) and s.buffer == buffer
    return writes or (not isinstance(s, Seq) and reads_directly(s, buffer))


def _moved_into(kernel: Kernel, alloc: Alloc, loop: For, scope: Scope) -> Kernel:
    """The allocation just inside a loop, for the part that a trip uses."""
    name = alloc.buffer.name
    body = rewrite_stmt(
        kernel.body, lambda s: s.body if isinstance(s, Alloc) and s.buffer.name == name else s
    )
    loop, path = find_loop(replace(kernel, body=body), loop.var, None)

    def allocated(s: Stmt, facts: Facts) -> Stmt:
        uses: list[Use] = [*reads_in(s, name), *writes_in(s, name)]
        sizes = kernel.program.sizes
        box = box_of(uses, alloc.buffer.shape, facts, sizes, origin=alloc.buffer.origin, scope=scope)
        origin = () if all(i == integer(0) for i in box.low) else box.low
        return Alloc(replace(alloc.buffer, shape=box.extents, origin=origin), s)

    facts = facts_at((*path, loop), kernel.program)
    new = replace(loop, body=inside_names(loop.body, facts, allocated))
    owners = {s.stage for s in (*path, loop) if isinstance(s, For)}  # their loops hold the buffer now
    return replace(kernel, body=replaced(body, loop, new), touched=kernel.touched | owners | {name})


def set_layout(kernel: Kernel, d: SetLayout) -> Kernel:
    """Say how a whole buffer is stored; of a `param`, a copy that is made when it is bound."""
    if d.tensor.name in kernel.program.params:
        return _packed_param(kernel, d)
    alloc, _ = find_allocation(kernel, d, "tensor", d.tensor.name)
    count = len(alloc.buffer.shape)
    axes = d.tensor.axes or axes_of(kernel, d.tensor.name, count)
    if len(axes) != count or len(set(axes)) != count:
        refuse_storage(
            d,
            "tensor",
            f"`{d.tensor.name}` has {count} axes, and these are not {count} different names",
            "one name for each axis",
        )
    if alloc.buffer.layout is not None and alloc.buffer.layout.swizzle is not None:
        refuse_storage(
            d,
            "tensor",
            f"`{d.tensor.name}` is swizzled, and another layout has other rows",
            "too late",
            help="write `layout` before `swizzle`",
        )
    layout = checked_layout(d, axes, d.as_, alloc.buffer.shape)
    return with_allocation(kernel, replace(alloc, buffer=replace(alloc.buffer, layout=layout)))


def _packed_param(kernel: Kernel, d: SetLayout) -> Kernel:
    """A copy of a `param` in another layout, which is precomputed."""
    place = d.place
    if place is not None:
        place = replace(place, parts={"tensor": place.parts["tensor"], "layout": place.parts["as_"]})
    copied = cache_read(kernel, CacheRead(d.tensor, layout=d.as_, place=place))
    return replace(copied, precomputed=(*copied.precomputed, f"{d.tensor.name}_copy"))


def align(kernel: Kernel, d: Align) -> Kernel:
    """Round the extent of a storage axis up to a multiple."""
    alloc, _ = find_allocation(kernel, d, "tensor", d.tensor)
    buffer = alloc.buffer
    layout = buffer.layout or plain_layout(buffer)
    count = len(layout.dims)
    if not 0 <= d.axis < count:
        refuse_storage(
            d, "axis", f"`{d.tensor}` is stored along {count} axes, 0 to {count - 1}", "no such axis"
        )
    if not 1 <= d.by <= ALIGN_LIMIT:
        refuse_storage(d, "by", f"`by` must lie between 1 and {ALIGN_LIMIT}", "out of range")
    multiples = list(layout.align or (1,) * count)
    multiples[d.axis] = d.by
    layout = replace(layout, align=tuple(multiples))
    return with_allocation(kernel, replace(alloc, buffer=replace(buffer, layout=layout)))


ALIGN_LIMIT = 1 << 16


def plain_layout(buffer: Buffer) -> Layout:
    """Row-major, as a layout."""
    names = tuple(f"x{n}" for n in range(len(buffer.shape)))
    return Layout(names, tuple(Var(n) for n in names))
