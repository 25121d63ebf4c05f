"""Where the shared buffers of a block lie in its memory.

Two buffers may have the same bytes where they are never in use together: all that a block does with the one comes
before all that it does with the other, or they stand in different branches of a condition. In a serial loop, what
comes later comes before what the next trip does, so that there each has bytes of its own.

Threads wait between the two, as they do between accesses of one buffer (`barriers.py`). Small buffers are not worth
that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import NoReturn

from te.diagnostics import error
from te.ir.loop import (
    Accumulate,
    Alloc,
    Buffer,
    Combine,
    For,
    If,
    Let,
    Seq,
    Stmt,
    Store,
    bodies,
    direct_exprs,
    rewrite_stmt,
    walk_stmt,
)
from te.ir.visit import loads
from te.schedule.finalize.allocations import constant_bytes
from te.schedule.finalize.gpu.memory import refuse_shared
from te.schedule.late import LateRefusal

ALIGNMENT = 16  # of each buffer
WORTHWHILE = 1 << 10  # bytes: for less, threads do not wait once more


@dataclass(frozen=True, slots=True)
class _Use:
    """Where a buffer is accessed: the number of the branch taken at each statement around, outermost first."""

    path: tuple[tuple[Stmt, int], ...]


def place_shared(s: Stmt, most: int) -> Stmt:
    """Give the shared buffers of a block their places. Raises `ScheduleError` where they have no room."""
    if isinstance(
        s, For | Let
    ):  # a block's rounds: it has done with all buffers in one before the next begins
        return replace(s, body=place_shared(s.body, most))
    buffers = [x.buffer for x, _ in walk_stmt(s) if isinstance(x, Alloc) and x.buffer.scope == "shared"]
    if not buffers:
        return s
    for buffer in buffers:  # registers that threads share are there as well
        if constant_bytes(buffer) is None:
            refuse_shared(buffer, "its size is not constant", most)
    places = _places(buffers, _uses(s, {b.name for b in buffers}))
    taken = max(places[b.name] + _size(b) for b in buffers)
    if taken > most:
        _refuse(buffers, taken, most)

    def placed(s: Stmt) -> Stmt:
        if isinstance(s, Alloc) and s.buffer.name in places:
            return replace(s, buffer=replace(s.buffer, place=places[s.buffer.name]))
        return s

    return rewrite_stmt(s, placed)


def overlapping(s: Stmt) -> dict[str, set[str]]:
    """The other shared buffers that have some bytes with one in common, for those that have some."""
    found: dict[str, set[str]] = {}
    buffers = [x.buffer for x, _ in walk_stmt(s) if isinstance(x, Alloc) and x.buffer.scope == "shared"]
    for a, b in combinations(buffers, 2):
        if a.place < b.place + _size(b) and b.place < a.place + _size(a):
            found.setdefault(a.name, set()).add(b.name)
            found.setdefault(b.name, set()).add(a.name)
    return found


def end_of(buffer: Buffer) -> int:
    """The first byte behind a shared buffer."""
    return buffer.place + _size(buffer)


def _size(buffer: Buffer) -> int:
    return -(-(constant_bytes(buffer) or 0) // ALIGNMENT) * ALIGNMENT


def _places(buffers: Sequence[Buffer], uses: Mapping[str, Sequence[_Use]]) -> dict[str, int]:
    """Each as near to the begin as those allow that are in use together with it."""
    places: dict[str, int] = {}
    for buffer in buffers:
        others = [
            b
            for b in buffers
            if b.name in places
            and (min(_size(b), _size(buffer)) < WORTHWHILE or not _are_apart(uses[b.name], uses[buffer.name]))
        ]
        free = 0
        for other in sorted(others, key=lambda b: places[b.name]):
            if places[other.name] < free + _size(buffer):
                free = max(free, places[other.name] + _size(other))
        places[buffer.name] = free
    return places


def _uses(s: Stmt, names: set[str]) -> dict[str, list[_Use]]:
    found: dict[str, list[_Use]] = {name: [] for name in names}

    def walk_down(s: Stmt, path: tuple[tuple[Stmt, int], ...]) -> None:
        used = {load.buffer for e in direct_exprs(s) for load in loads(e)}
        if isinstance(s, Store | Accumulate | Combine):
            used.add(s.buffer)
        for name in used & names:
            found[name].append(_Use(path))
        for number, body in enumerate(bodies(s)):
            walk_down(body, (*path, (s, number)))

    walk_down(s, ())
    return found


def _are_apart(one: Sequence[_Use], other: Sequence[_Use]) -> bool:
    """Whether two buffers are never in use together."""
    orders = {_order(a, b) for a in one for b in other}
    return None not in orders and len(orders - {0}) <= 1


def _order(a: _Use, b: _Use) -> int | None:
    """-1 where `a` comes first, 1 where `b` does, 0 where only one of them runs; None for no such order."""
    for (s, n), (_, m) in zip(a.path, b.path, strict=False):
        if n != m:
            return 0 if isinstance(s, If) else (-1 if n < m else 1) if isinstance(s, Seq) else None
        if isinstance(s, For):
            return None  # another trip, or thread, comes by at another time
    return None


def _refuse(buffers: Sequence[Buffer], taken: int, most: int) -> NoReturn:
    sizes = ", ".join(f"`{b.name}` {constant_bytes(b)}" for b in buffers)
    largest = sorted(buffers, key=_size, reverse=True)
    raise LateRefusal(
        error(
            "shared-memory",
            f"the shared memory of a block has {most} bytes, and its buffers take {taken}: {sizes}",
            None,
            help="split the loops that they are for, so that smaller parts are enough",
        ),
        [b.name for b in largest],
        "the largest of them",
    )
