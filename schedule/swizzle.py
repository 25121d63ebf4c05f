"""`swizzle`: rows of a buffer are stored with their units in another order, against bank conflicts.

A unit is 16 bytes, the most that a thread reads or writes at once. Unit `u` of row `r` lies in the
place of unit `u ^ (r // rows) % by`, where `by` is a power of two: threads that read a column of units
then reach `by` different places of a row, and so different banks. What is in a unit stays together,
in order. The row is the next to last index of the storage, and runs along the last one.

`rows` is 1 for rows of 128 bytes, which fill all banks, and for longer ones; shorter rows share
their place in the banks with others, and 128 bytes of them take turns together. Rows of exactly 32,
64 or 128 bytes come out as CUTLASS's `Swizzle<1, 4, 3>`, `<2, 4, 3>` and `<3, 4, 3>` and as what a TMA
copy does in its modes of those names.

The map is one to one where a row is a whole number of `by` units: `u ^ t` stays among the `by` units
around `u`, and differs for different `u`. That is proved where a buffer is swizzled, and again after
every later line.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from te.diagnostics import error
from te.ir.bounds import Facts, prove
from te.ir.expr import Const, Expr, compare, floor_mod, integer
from te.ir.loop import Alloc, Buffer, Kernel, Stmt, Swizzle, walk_stmt
from te.ir.print import print_expr
from te.schedule import directives
from te.schedule.buffers import find_allocation, refuse_storage, with_allocation
from te.schedule.context import facts_at
from te.schedule.finalize.storage import physical_shape
from te.schedule.forms import Directive, span_of
from te.schedule.names import TooLate
from te.schedule.storage import plain_layout

UNIT_BYTES = 16  # the widest access of a thread on a GPU
BANKS_BYTES = 128  # of the 32 banks of its shared memory, 4 bytes each
LARGEST = 64  # units of a row that change places


def swizzle(kernel: Kernel, d: directives.Swizzle) -> Kernel:
    """Store the rows of a buffer with their units in another order."""
    alloc, path = find_allocation(kernel, d, "tensor", d.tensor)
    buffer = alloc.buffer
    if buffer.scope == "register":
        refuse_storage(
            d,
            "tensor",
            f"`{d.tensor}` is in registers, which have no addresses",
            "no banks to spread it over",
        )
    facts = facts_at(path, kernel.program)
    extents = physical_shape(buffer, facts)
    if len(extents) < 2:
        refuse_storage(
            d,
            "tensor",
            f"`{d.tensor}` is stored along {len(extents)} axis, and has no rows"
            if extents
            else f"`{d.tensor}` is one element",
            "no rows to swizzle",
            help="`layout e[i] as [i // 64, i % 64]` gives it rows",
        )
    unit = UNIT_BYTES // buffer.dtype.bytes
    by = _checked_by(d, extents, unit, facts)
    layout = replace(
        buffer.layout or plain_layout(buffer), swizzle=Swizzle(by, unit, _rows(extents[-1], buffer))
    )
    if layout == buffer.layout:
        return kernel
    return with_allocation(kernel, replace(alloc, buffer=replace(buffer, layout=layout)))


def _checked_by(d: directives.Swizzle, extents: Sequence[Expr], unit: int, facts: Facts) -> int:
    """How many units change places: as many as asked for, else the most up to 8 that a row is a multiple of."""
    if d.by is not None and (not 2 <= d.by <= LARGEST or d.by & (d.by - 1)):
        refuse_storage(
            d, "by", f"`by` is a power of two from 2 to {LARGEST}, and is {d.by}", "of another form"
        )
    for by in (8, 4, 2) if d.by is None else (d.by,):
        if _is_multiple(extents[-1], by * unit, facts):
            return by
    least, axis = (d.by or 2) * unit, len(extents) - 1
    refuse_storage(
        d,
        "tensor" if d.by is None else "by",
        f"a row of `{d.tensor}` has {print_expr(extents[-1])} elements, and nothing proves that this is a multiple "
        f"of {least}, which are {d.by or 2} units of {UNIT_BYTES} bytes",
        "elements would share a place",
        help=f"`align {d.tensor} axis {axis} by {least}` pads the rows",
    )


def _is_multiple(extent: Expr, of: int, facts: Facts) -> bool:
    return prove(compare("==", floor_mod(extent, integer(of)), integer(0)), facts)


def _rows(extent: Expr, buffer: Buffer) -> int:
    """How many rows take turns together."""
    if not isinstance(extent, Const) or extent.value <= 0:
        return 1
    return max(1, BANKS_BYTES // (int(extent.value) * buffer.dtype.bytes))


def check_swizzles(kernel: Kernel, line: Directive) -> None:
    """Refuse a line after which elements of a swizzled buffer would share a place."""
    for s, path in walk_stmt(kernel.body):
        found = _swizzle_of(s)
        if found is None or not isinstance(s, Alloc):
            continue
        extent = physical_shape(s.buffer, facts_at(path, kernel.program))[-1]
        problem = None
        if s.buffer.scope == "register":
            problem = "it would be in registers"
        elif not _is_multiple(extent, found.by * found.unit, facts_at(path, kernel.program)):
            problem = (
                f"its rows would have {print_expr(extent)} elements, no multiple of {found.by * found.unit}"
            )
        if problem is not None:
            name = s.buffer.name
            raise TooLate(
                error(
                    "storage-refused",
                    f"`{name}` is swizzled, and after this line {problem}",
                    span_of(line),
                    "too late: it changes how the rows lie",
                    help="write it before `swizzle`",
                ),
                _has_swizzle(name),
            )


def _swizzle_of(s: Stmt) -> Swizzle | None:
    return s.buffer.layout.swizzle if isinstance(s, Alloc) and s.buffer.layout else None


def _has_swizzle(name: str) -> Callable[[Kernel], bool]:
    def has(kernel: Kernel) -> bool:
        return any(
            _swizzle_of(s)
            for s, _ in walk_stmt(kernel.body)
            if isinstance(s, Alloc) and s.buffer.name == name
        )

    return has
