"""`distribute p like Sf`: an element of one register buffer is held by the thread that holds the same of another.

A register buffer that is allocated outside thread loops has no thread of its own: its elements are
spread over the threads of the block, each held by one of them. Which one is said by the thread loops
around its accesses, or is left to the backend (an instruction for a whole warp has it built in).
`distribute` says that two buffers are spread alike, so that what makes one of the other, element by
element, needs nothing from another thread. It changes no value and no order.

What must hold, here and after every later line:

- Both are in registers and have the same shape; `Sf` is allocated around `p`, or in the same place
  (then first, from here on). Elements correspond by their place in the buffers.
- Where thread loops stand around accesses, they agree: all accesses of both stand in loops of the
  same levels, and it is proved that the same element means the same thread.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import combinations_with_replacement

from te.diagnostics import ScheduleError, Span, error
from te.ir.bounds import Facts, prove
from te.ir.expr import Var, compare, integer, sub
from te.ir.loop import (
    BINDINGS,
    Accumulate,
    Alloc,
    Buffer,
    For,
    Kernel,
    Stmt,
    Store,
    direct_exprs,
    rewrite_stmt,
    walk_stmt,
)
from te.ir.print import print_expr
from te.ir.visit import loads
from te.schedule import directives
from te.schedule.buffers import find_allocation, with_allocation
from te.schedule.context import facts_at
from te.schedule.forms import Directive, span_of
from te.schedule.legality import Access, shown, side_by_side

THREAD_LEVELS = frozenset(level for level, rank in BINDINGS.items() if rank > BINDINGS["block.x"])


def distribute(kernel: Kernel, d: directives.Distribute) -> Kernel:
    """Spread a register buffer over threads as another is."""
    if kernel.target.split(".")[0] == "llvm":
        raise ScheduleError(
            error(
                "distribute-refused",
                f"the target `{kernel.target}` has no threads over which registers are spread",
                span_of(d),
                "of GPUs only",
                help="registers of a CPU are those of one thread: leave the line out",
            )
        )
    alloc, _ = find_allocation(kernel, d, "buffer", d.buffer)
    find_allocation(kernel, d, "like", d.like)
    if alloc.buffer.like == d.like:
        return kernel
    new = replace(alloc, buffer=replace(alloc.buffer, like=d.like))
    changed = _like_outside(with_allocation(kernel, new), d)
    reason = _obstacle(changed, d.buffer)
    if reason is not None:
        raise _refused(f"`{d.buffer}` cannot be distributed like `{d.like}`: {reason}", span_of(d, "like"))
    return changed


def _like_outside(kernel: Kernel, d: directives.Distribute) -> Kernel:
    """Of buffers that are allocated in one place, the one that the other is like is allocated first."""

    def ordered(s: Stmt) -> Stmt:
        if not isinstance(s, Alloc) or s.buffer.name != d.buffer:
            return s
        between: list[Buffer] = []
        inner: Stmt = s
        while isinstance(inner, Alloc) and inner.buffer.name != d.like:
            between.append(inner.buffer)
            inner = inner.body
        if not isinstance(inner, Alloc):
            return s
        body = inner.body
        for buffer in reversed(between):
            body = Alloc(buffer, body)
        return Alloc(inner.buffer, body)

    return replace(kernel, body=rewrite_stmt(kernel.body, ordered))


def check_distributed(kernel: Kernel, line: Directive) -> None:
    """Refuse a line after which a buffer would no longer be spread over threads like the other one."""
    for s, _ in walk_stmt(kernel.body):
        if isinstance(s, Alloc) and s.buffer.like:
            reason = _obstacle(kernel, s.buffer.name)
            if reason is not None:
                name = s.buffer.name
                raise _refused(
                    f"`{name}` is distributed like `{s.buffer.like}`, and after this line {reason}",
                    span_of(line),
                )


def _refused(message: str, span: Span | None) -> ScheduleError:
    return ScheduleError(
        error(
            "distribute-refused",
            message,
            span,
            help="`distribute p like Sf` takes two register buffers of one shape, allocated in one place or `Sf` "
            "around `p`, and stands behind the lines that place them and bind their loops",
        )
    )


def _obstacle(kernel: Kernel, name: str) -> str | None:
    """Why a buffer cannot be spread like the one that it names."""
    own, path = next(
        (s, path) for s, path in walk_stmt(kernel.body) if isinstance(s, Alloc) and s.buffer.name == name
    )
    like = own.buffer.like
    if like == name:
        return "it is the same buffer"
    outer = next((s for s in path if isinstance(s, Alloc) and s.buffer.name == like), None)
    if outer is None:
        return f"`{like}` is not there where `{name}` is allocated"
    buffers = own.buffer, outer.buffer
    for b in buffers:
        if b.scope != "register":
            return f"`{b.name}` is in {b.scope}, and not in registers"
        if b.fold is not None:
            return f"`{b.name}` is folded"
    if own.buffer.shape != outer.buffer.shape:
        one, other = (f"`{b.name}[{', '.join(map(print_expr, b.shape))}]`" for b in buffers)
        return f"{one} and {other} have different shapes"
    around = path[: path.index(outer)]
    return _disagreement(outer, own.buffer, facts_at((*around, outer), kernel.program))


# ---------------------------------------------------------------- which thread holds an element


def _disagreement(region: Alloc, own: Buffer, facts: Facts) -> str | None:
    """Two accesses of which it is not proved that the same thread makes them for the same element."""
    buffers = {b.name: b for b in (region.buffer, own)}
    for first, second in combinations_with_replacement(_accesses(region, buffers), 2):
        levels, others = _levels(first), _levels(second)
        if levels.keys() != others.keys():
            (level, *_) = sorted(levels.keys() ^ others.keys())
            inside, outside = (first, second) if level in levels else (second, first)
            return f"{shown(inside)} stands in a loop bound to {level}, and {shown(outside)} does not"
        if not _same_thread(first, second, buffers, facts):
            return (
                f"nothing proves that one thread has the same element in {shown(first)} and {shown(second)}"
            )
    return None


def _accesses(region: Alloc, buffers: Mapping[str, Buffer]) -> Iterator[Access]:
    for s, path in walk_stmt(region):
        touched = [(load.buffer, load.index) for e in direct_exprs(s) for load in loads(e)]
        writes = isinstance(s, Store | Accumulate)
        if isinstance(s, Store | Accumulate):
            touched.append((s.buffer, s.index))
        for name, index in touched:
            if name in buffers:
                yield Access(name, index, writes, s, path, 0)


def _levels(access: Access) -> dict[str, str]:
    """The levels of threads that stand around an access, with their loops."""
    return {s.kind: s.var for s in access.path if isinstance(s, For) and s.kind in THREAD_LEVELS}


def _same_thread(first: Access, second: Access, buffers: Mapping[str, Buffer], facts: Facts) -> bool:
    one, other = (_with_thread(access, buffers[access.buffer]) for access in (first, second))
    here, there, known = side_by_side(one, other, {}, facts)
    rank = len(first.index)
    for i, j in zip(here[:rank], there[:rank], strict=True):
        known = known.with_assumption(compare("==", i, j))
    return all(prove(compare("==", i, j), known) for i, j in zip(here[rank:], there[rank:], strict=True))


def _with_thread(access: Access, buffer: Buffer) -> Access:
    """The access at the element's place in its buffer, with the thread that makes it as further indices."""
    low = buffer.origin or (integer(0),) * len(access.index)
    place = [sub(i, start) for i, start in zip(access.index, low, strict=True)]
    thread = [Var(loop) for _, loop in sorted(_levels(access).items())]
    return replace(access, index=(*place, *thread))
