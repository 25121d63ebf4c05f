"""What each thread of a GPU keeps for itself, as ordinary memory.

At the final level each thread has its own of the register buffers that are allocated outside thread
loops, and what stands in no loop of threads is done by all of them. Here the buffers get an axis for each
level of threads, and such statements loops over those.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from te.ir.expr import Expr, Load, Var, integer
from te.ir.loop import (
    FINAL,
    THREADS,
    Accumulate,
    Alloc,
    For,
    Kernel,
    Stmt,
    Store,
    bodies,
    direct_exprs,
    map_exprs,
    walk_stmt,
    with_bodies,
)
from te.ir.visit import loads, rewrite
from te.target import is_gpu


def with_own_registers(kernel: Kernel) -> Kernel:
    """The kernel, if it is a final one for a GPU, with one copy of each register buffer for each thread."""
    if kernel.level != FINAL or not is_gpu(kernel.target):
        return kernel
    return replace(kernel, body=_with_copies(kernel.body))


def _with_copies(s: Stmt) -> Stmt:
    if isinstance(s, For) and s.kind in THREADS:
        return s
    if isinstance(s, Alloc) and s.buffer.scope == "register":
        loops = [x for x, _ in walk_stmt(s.body) if isinstance(x, For) and x.kind in THREADS]
        counts = {x.kind: x.extent for x in sorted(loops, key=lambda x: x.kind)}
        copies = _Copies(s.buffer.name, counts)
        wider = replace(s.buffer, shape=(*counts.values(), *s.buffer.shape), scope="local")
        s = Alloc(wider, copies.accessed(s.body, {}))
    new = tuple([_with_copies(b) for b in bodies(s)])
    return with_bodies(s, new) if new else s


@dataclass(frozen=True, slots=True)
class _Copies:
    """A buffer that has become one for each thread."""

    name: str
    counts: Mapping[str, Expr]  # of threads at each level

    def accessed(self, s: Stmt, threads: Mapping[str, Expr]) -> Stmt:
        """`s`, where the thread has these numbers at some levels, with accesses of its own copy."""
        if isinstance(s, For) and s.kind in THREADS:
            threads = {**threads, s.kind: Var(s.var)}
        if bodies(s):
            new = tuple([self.accessed(b, threads) for b in bodies(s)])
            return self._at(with_bodies(s, new), threads)
        missing = {kind: n for kind, n in self.counts.items() if kind not in threads}
        if not self._is_accessed(s) or not missing:
            return self._at(s, threads)
        every = {kind: Var(f"{kind} of {self.name}") for kind in missing}
        s = self._at(s, {**threads, **every})
        for kind, n in missing.items():
            s = For(every[kind].name, n, s)
        return s

    def _is_accessed(self, s: Stmt) -> bool:
        if isinstance(s, Store | Accumulate) and s.buffer == self.name:
            return True
        return any(load.buffer == self.name for e in direct_exprs(s) for load in loads(e))

    def _at(self, s: Stmt, threads: Mapping[str, Expr]) -> Stmt:
        """The expressions that stand directly in `s`, of the copy of one thread."""
        number = tuple(threads.get(kind, integer(0)) for kind in self.counts)

        def expr(e: Expr) -> Expr:
            return (
                replace(e, index=(*number, *e.index)) if isinstance(e, Load) and e.buffer == self.name else e
            )

        inner = bodies(s)
        hollow = with_bodies(s, tuple([_NOTHING] * len(inner))) if inner else s
        changed = map_exprs(hollow, lambda e: rewrite(e, expr))
        if isinstance(changed, Store | Accumulate) and changed.buffer == self.name:
            changed = replace(changed, index=(*number, *changed.index))
        return with_bodies(changed, inner) if inner else changed


_NOTHING = Store("", (), integer(0), "")  # in the place of a body while expressions are rewritten
