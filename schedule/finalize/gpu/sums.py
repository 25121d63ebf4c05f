"""Reduction loops over threads whose trips cannot run at the same time run one after the other.

Each thread keeps a partial result in registers (`te.schedule.finalize.accumulators`), where nothing inside the loop
needs the whole: neither what waits for the last trip, nor another data loop than those that are written out.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NoReturn

from te.diagnostics import error
from te.ir.loop import (
    SERIAL,
    THREADS,
    Accumulate,
    Alloc,
    Completed,
    For,
    Stmt,
    rewrite_stmt,
    walk_stmt,
)
from te.schedule.finalize.gpu.threads import BY_AXES, BY_WARPS
from te.schedule.late import LateRefusal


def without_waiting(s: Stmt) -> Stmt:
    """No reduction loop over threads is left of which something inside waits for the last trip.

    Nor is one left on the path of which threads are numbered in another way too.
    """
    mixed = {
        loop.var
        for x, path in walk_stmt(s)
        if isinstance(x, Accumulate)
        for loops in [[loop for loop in path if isinstance(loop, For) and loop.kind in THREADS]]
        if {loop.kind for loop in loops} & BY_AXES and {loop.kind for loop in loops} & BY_WARPS
        for loop in loops
        if loop.var in x.over
    }

    def one(s: Stmt) -> Stmt:
        if not isinstance(s, For) or s.kind not in THREADS:
            return s
        waits = any(isinstance(x, Completed) and s.var in x.over for x, _ in walk_stmt(s.body))
        return replace(s, kind=SERIAL) if waits or s.var in mixed else s

    return rewrite_stmt(s, one)


def without_shared_sums(s: Stmt) -> Stmt:
    """No thread loop is left whose trips all add to what they share."""
    private = {
        x.buffer.name: x.buffer.private for x, _ in walk_stmt(s) if isinstance(x, Alloc) and x.buffer.private
    }

    def one(s: Stmt) -> Stmt:
        if not isinstance(s, For) or s.kind not in THREADS:
            return s
        steps = [x for x, _ in walk_stmt(s.body) if isinstance(x, Accumulate) and s.var in x.over]
        own = all(s.kind in private.get(x.buffer, ()) for x in steps)
        return s if own else replace(s, kind=SERIAL)

    return rewrite_stmt(s, one)


TOO_MANY = (
    "a loop of threads around its reduction has more trips than the block has threads, or ends where data say"
)
ONE_TRIP = "split that loop, so that each thread has one trip of it"


def refuse_reduction(stage: str, reason: str = TOO_MANY, help: str = ONE_TRIP) -> NoReturn:
    """Refuse partial results that threads cannot keep."""
    raise LateRefusal(
        error(
            "thread-reduction",
            f"the threads of a block cannot keep their partial results of `{stage}`: {reason}",
            None,
            help=help,
        ),
        (stage,),
        "bound here",
    )
