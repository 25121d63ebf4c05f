"""Where the buffers of a GPU kernel lie.

    register        stays where it is (`registers.py` says which thread holds what)
    in a thread     small and of constant size: `stack`, memory of that thread
    in a block      what threads share: `shared`, where that is asked for, or constant and small
    anything else   `global`, allocated around everything, with an axis for each bound loop around it

A buffer that is allocated in a thread's loop around loops of other threads belongs to all of these: it is
the block's, with an axis for the loop. A serial loop uses the same memory in each trip.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NoReturn

from te.diagnostics import error
from te.ir.expr import Expr
from te.ir.loop import (
    BINDINGS,
    BLOCKS,
    THREADS,
    Alloc,
    Buffer,
    For,
    Let,
    Stmt,
    bodies,
    map_buffer,
    walk_stmt,
    with_bodies,
)
from te.ir.print import print_expr
from te.ir.visit import substitute
from te.schedule.finalize.allocations import constant_bytes, largest
from te.schedule.finalize.lanes import add_axis
from te.schedule.late import LateRefusal

STACK_BYTES = 4 << 10  # of a thread, for one buffer: its memory is slow
UNASKED_BYTES = 16 << 10  # of shared memory for one buffer that asks for none


@dataclass(frozen=True, slots=True)
class _Moving:
    """A buffer on its way outward."""

    buffer: Buffer
    is_shared: bool  # asked for
    is_for_threads: bool  # loops of threads stand inside its allocation
    is_for_blocks: bool  # loops of blocks do
    is_in_block: bool = False  # it has been moved out of a thread's loop


def place_memory(body: Stmt, shared_bytes: int) -> Stmt:
    """Move the allocation of every buffer in memory to where its memory is.

    `shared_bytes` is what a block may have. Raises `ScheduleError` for shared memory of another size
    in each trip, or too large.
    """
    body, buffers = _hoisted(body, shared_bytes)
    for moving in buffers:
        body = Alloc(replace(moving.buffer, scope="global"), body)
    return body


def _hoisted(s: Stmt, shared_bytes: int) -> tuple[Stmt, list[_Moving]]:
    """The statement without the allocations that move out of it, and their buffers, inner ones first."""
    moving: list[_Moving] = []
    new: list[Stmt] = []
    for body in bodies(s):
        inner, found = _hoisted(body, shared_bytes)
        new.append(inner)
        moving += found
    if any(a is not b for a, b in zip(bodies(s), new, strict=True)):
        s = with_bodies(s, tuple(new))
    match s:
        case Alloc() if s.buffer.scope == "register":
            return s, moving
        case Alloc():
            inside = {x.kind for x, _ in walk_stmt(s.body) if isinstance(x, For)}
            asked = s.buffer.scope == "shared"
            moved = _Moving(s.buffer, asked, bool(inside & THREADS), bool(inside & BLOCKS))
            return s.body, [*moving, moved]
        case Let():
            values = {s.var: s.value}
            return s, [_mapped(m, lambda e: substitute(e, values)) for m in moving]
        case For():
            return _out_of_loop(s, moving, shared_bytes)
    return s, moving


def _out_of_loop(loop: For, moving: list[_Moving], shared_bytes: int) -> tuple[For, list[_Moving]]:
    moving = [_mapped(m, lambda e: largest(e, loop)) for m in moving]
    if loop.kind not in BINDINGS:
        return loop, moving
    stay: list[Buffer] = []
    out: list[_Moving] = []
    body = loop.body
    for m in moving:
        size = constant_bytes(m.buffer)
        if loop.kind in THREADS and _is_of_thread(m, size):
            stay.append(replace(m.buffer, scope="stack"))
        elif loop.kind in BLOCKS and not m.is_for_blocks and (m.is_shared or _is_small(size)):
            stay.append(_shared(m, size, shared_bytes))
        else:
            wider = add_axis(Alloc(m.buffer, body), loop, last=False)
            body = wider.body
            out.append(replace(m, buffer=wider.buffer, is_in_block=True))
    for buffer in stay:
        body = Alloc(buffer, body)
    return replace(loop, body=body), out


def _is_of_thread(m: _Moving, size: int | None) -> bool:
    alone = not m.is_for_threads and not m.is_in_block
    return alone and not m.is_shared and size is not None and size <= STACK_BYTES


def _is_small(size: int | None) -> bool:
    return size is not None and size <= UNASKED_BYTES


def _shared(m: _Moving, size: int | None, most: int) -> Buffer:
    if size is None or size > most:
        refuse_shared(
            m.buffer, "its size is not constant" if size is None else f"it takes {size} bytes", most
        )
    return replace(m.buffer, scope="shared")


def refuse_shared(buffer: Buffer, reason: str, most: int) -> NoReturn:
    """Refuse a buffer in shared memory, of which a block has at most so many bytes."""
    shape = ", ".join(print_expr(d) for d in buffer.shape)
    raise LateRefusal(
        error(
            "shared-memory",
            f"`{buffer.name}[{shape}]` cannot be in shared memory: {reason}",
            None,
            help=f"a block has {most} bytes: split the loops that it is copied for, so that a smaller part of "
            "constant size is enough",
        ),
        (buffer.name,),
        "does not fit",
    )


def _mapped(m: _Moving, f: Callable[[Expr], Expr]) -> _Moving:
    buffer = map_buffer(m.buffer, f)
    return m if buffer == m.buffer else replace(m, buffer=buffer)
