"""Thread loops come to stand right inside each other, around what one thread does by itself.

    thread.y for i < 8:                            for k < K:
      for k < K:                                     thread.y for i < 8:
        thread.x for j < 32: A(i, k, j)      ->        thread.x for j < 32: A(i, k, j)
        thread.x for j < 32: B(i, k, j)              thread.y for i < 8:
                                                       thread.x for j < 32: B(i, k, j)

Then all threads of a block go the same way, and may wait for each other at every place between such nests.
The trips of a bound loop are independent: it may be taken apart around the statements in it, and exchanged
with a loop that has as many trips in all of its own. Where that is not so, the loops of threads inside run
on one thread of those that they are for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeAlias

from te.ir.bounds import Facts, bounds
from te.ir.expr import Expr, Var, compare, integer, negation
from te.ir.loop import (
    BINDINGS,
    SERIAL,
    TENSORIZED,
    THREADS,
    Accumulate,
    Alloc,
    Combine,
    Commit,
    For,
    If,
    Kernel,
    Let,
    Seq,
    Stmt,
    Store,
    Wait,
    bodies,
    joined,
    rewrite_stmt,
    seq,
    walk_stmt,
    with_bodies,
)
from te.ir.visit import loads, variables
from te.schedule.context import facts_inside
from te.schedule.finalize.lanes import add_axis
from te.schedule.names import made_name

Wrapper: TypeAlias = For | Let | If  # what stands around, with an empty body
NOTHING = Seq(())
# Levels that number the threads of a block in one way, and in the other.
BY_AXES = frozenset({"thread.x", "thread.y", "thread.z"})
BY_WARPS = frozenset({"warp", "lane"})


def gather_thread_loops(s: Stmt, facts: Facts, around: tuple[Wrapper, ...] = ()) -> Stmt:
    """Bring the thread loops of each statement together; `around` are those to be put around."""
    if isinstance(s, Commit | Wait):  # also for threads that have no copies
        return s
    if not has_threads(s):
        return _wrapped(around, s)
    if not around and not (isinstance(s, For) and s.kind in THREADS):
        new = [gather_thread_loops(b, facts_inside(s, b, facts, False)) for b in bodies(s)]
        return with_bodies(s, tuple(new))
    match s:
        case For() if s.kind in THREADS:
            if _other_numbering(s.kind, around):
                return _wrapped(around, on_one_thread(s))
            inside = facts_inside(s, s.body, facts, False)
            return gather_thread_loops(s.body, inside, (*around, replace(s, body=NOTHING)))
        case Seq():
            # What a thread does alone stays together with its neighbours of that kind.
            return seq(*[gather_thread_loops(item, facts, around) for item in joined(s.items, stands_apart)])
        case For():
            loop = _even(s, facts, around)
            if loop is None:
                return _wrapped(around, on_one_thread(s))
            inside = facts_inside(loop, loop.body, facts, False)
            of_all = tuple(p for p in loop.prefetches if not any(_differs(i, around) for i in p.index))
            return replace(loop, body=gather_thread_loops(loop.body, inside, around), prefetches=of_all)
        case Let() if not _reads(s.value):
            inside = facts_inside(s, s.body, facts, False)
            if _differs(s.value, around):
                return gather_thread_loops(s.body, inside, (*around, replace(s, body=NOTHING)))
            return replace(s, body=gather_thread_loops(s.body, inside, around))
        case If() if not _reads_what_it_writes(s):
            return _condition(s, facts, around)
        case Alloc() if s.buffer.scope == "register":
            return _allocation(s, facts, around)
    return _wrapped(around, on_one_thread(s))


def has_threads(s: Stmt) -> bool:
    return any(isinstance(x, For) and x.kind in THREADS for x, _ in walk_stmt(s))


def stands_apart(s: Stmt) -> bool:
    """Whether a statement is none of those that one thread does by itself."""
    return isinstance(s, Commit | Wait) or has_threads(s)


def thread_loops(s: Stmt) -> set[tuple[str, str]]:
    """The names and levels of all thread loops."""
    return {(x.var, x.kind) for x, _ in walk_stmt(s) if isinstance(x, For) and x.kind in THREADS}


def on_one_thread(s: Stmt) -> Stmt:
    """The statement with all its thread loops run one trip after the other.

    Partial results that are combined behind it are then those of the first thread.
    """
    combined = {x.level for x, _ in walk_stmt(s) if isinstance(x, Combine)}

    def serial(s: Stmt) -> Stmt:
        if isinstance(s, Combine):
            return NOTHING
        return replace(s, kind=SERIAL) if isinstance(s, For) and s.kind in THREADS else s

    loops = [x for x, _ in walk_stmt(s) if isinstance(x, For) and x.kind in THREADS and _reduces(x)]
    s = rewrite_stmt(s, serial)
    for kind, loop in {x.kind: x for x in loops if x.kind not in combined}.items():
        s = For(made_name(f"{loop.var}_first"), integer(1), s, kind)
    return s


def without_threads(kernel: Kernel) -> Kernel:
    """A scheduled kernel with all its blocks and threads in order, and no instruction of several threads."""

    def serial(s: Stmt) -> Stmt:
        match s:
            case For() if s.kind in BINDINGS or s.kind == TENSORIZED:
                return replace(s, kind=SERIAL, order="", intrinsic=None, pipeline=None)
            case For():
                return replace(s, pipeline=None)
            case Store():
                return replace(s, method="")
            case Alloc() if s.buffer.scope == "register":  # a block's may be more than one thread has
                return replace(s, buffer=replace(s.buffer, scope="stack", like=""))
        return s

    return replace(kernel, body=rewrite_stmt(kernel.body, serial))


def _reduces(loop: For) -> bool:
    return any(isinstance(x, Accumulate) and loop.var in x.over for x, _ in walk_stmt(loop))


def _condition(s: If, facts: Facts, around: tuple[Wrapper, ...]) -> Stmt:
    sides = [
        (s.condition, s.body),
        *([(negation(s.condition), s.otherwise)] if s.otherwise is not None else []),
    ]
    if _differs(s.condition, around) or _reads(s.condition):
        inner = [(b, facts_inside(If(c, b), b, facts, False), If(c, NOTHING)) for c, b in sides]
        return seq(*[gather_thread_loops(b, known, (*around, guard)) for b, known, guard in inner])
    new = [gather_thread_loops(b, facts_inside(s, b, facts, False), around) for _, b in sides]
    return If(s.condition, new[0], new[1] if len(new) > 1 else None)


def _allocation(s: Alloc, facts: Facts, around: tuple[Wrapper, ...]) -> Stmt:
    """Registers of a thread around loops of others: they are the block's, with an axis for each loop around."""
    alloc = s
    for loop in reversed(around):
        if isinstance(loop, For):
            alloc = add_axis(alloc, loop, last=False)
    return Alloc(alloc.buffer, gather_thread_loops(alloc.body, facts, around))


def _even(loop: For, facts: Facts, around: Sequence[Wrapper]) -> For | None:
    """The loop with as many trips for all threads around; the surplus ones do nothing. None for no such number."""
    if _reads(loop.extent):
        return None
    if not _differs(loop.extent, around):
        return loop
    over = {w.var for w in around if not isinstance(w, If)}
    _, most = bounds(loop.extent, facts, over)
    if most is None or variables(most) & over:
        return None
    body = If(compare("<", Var(loop.var), loop.extent), loop.body)
    return replace(loop, extent=most, body=body, prefetches=())


def _other_numbering(kind: str, around: Sequence[Wrapper]) -> bool:
    """Whether a level stands inside of one that numbers threads in the other way."""
    outer = {w.kind for w in around if isinstance(w, For)}
    return bool(outer & (BY_WARPS if kind in BY_AXES else BY_AXES))


def _reads_what_it_writes(s: If) -> bool:
    written = {x.buffer for x, _ in walk_stmt(s) if isinstance(x, Store | Accumulate)}
    return any(load.buffer in written for load in loads(s.condition))


def _wrapped(around: Sequence[Wrapper], s: Stmt) -> Stmt:
    for outer in reversed(around):
        s = replace(outer, body=s)
    return s


def _differs(e: Expr, around: Sequence[Wrapper]) -> bool:
    """Whether an expression may differ between the threads."""
    return bool(variables(e) & {w.var for w in around if not isinstance(w, If)})


def _reads(e: Expr) -> bool:
    return any(True for _ in loads(e))
