"""Reduction loops over threads whose trips cannot run at the same time run one after the other.

Each thread keeps a partial result in registers (`te.schedule.finalize.accumulators`), where nothing inside the loop
needs the whole: neither what waits for the last trip, nor another data loop than those that are written out.
"""

from __future__ import annotations

from dataclasses import replace

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


def without_waiting(s: Stmt) -> Stmt:
    """No thread loop is left of which something inside waits for the last trip."""

    def one(s: Stmt) -> Stmt:
        waits = isinstance(s, For) and any(
            isinstance(x, Completed) and s.var in x.over for x, _ in walk_stmt(s.body)
        )
        return replace(s, kind=SERIAL) if isinstance(s, For) and s.kind in THREADS and waits else s

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
