"""Partial results of threads, put together.

    combine P by sum over thread.x       ->      combine P by sum over 32 of thread.x
                                                 alloc S[8] in shared:
                                                   thread.x for t < 256: if t % 32 == 0: S[t // 32] = P
                                                   unrolled for w < 8: R[w] = S[w]
                                                   unrolled for w < 4: R[w] += R[w + 4]  ..  P = R[0]

Threads of a warp exchange registers; the others tell each other by shared memory. All threads know the
result, and the order is the same in each: in halves, first of a warp, then of the warps.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import TypeAlias

from te.ir.expr import Expr, Load, Var, add, compare, floor_div, floor_mod, integer
from te.ir.loop import (
    THREADS,
    UNROLLED,
    Accumulate,
    Alloc,
    Buffer,
    Combine,
    For,
    If,
    Stmt,
    Store,
    bodies,
    seq,
    walk_stmt,
    with_bodies,
)
from te.schedule.finalize.gpu.levels import WARP, Threads
from te.schedule.names import made_name

Index: TypeAlias = tuple[Expr, ...]
MOST_IN_REGISTERS = 32  # results that each thread puts together by itself


def expand_combines(s: Stmt, threads: Threads) -> Stmt:
    """Say how threads exchange what they combine.

    `s` is what `gather_thread_loops` gave, which is to see the result again. The shared memory for it is allocated
    around all of it.
    """
    buffers = {x.buffer.name: x.buffer for x, _ in walk_stmt(s) if isinstance(x, Alloc)}
    expanding = _Expanding(threads, buffers, [])
    body = expanding.expanded(s, ())
    for buffer in reversed(expanding.scratch):
        body = Alloc(buffer, body)
    return body


@dataclass(frozen=True, slots=True)
class _Expanding:
    threads: Threads
    buffers: dict[str, Buffer]
    scratch: list[Buffer]  # in shared memory, as it is made
    done: dict[str, set[str]] = field(
        default_factory=dict
    )  # the levels over which a buffer is combined already

    def expanded(self, s: Stmt, around: tuple[For, ...]) -> Stmt:
        """`around` are the thread loops around `s`."""
        if isinstance(s, Combine):
            return self._combined(s, around)
        if isinstance(s, For) and s.kind in THREADS:
            around = (*around, s)
        new = tuple([self.expanded(b, around) for b in bodies(s)])
        return with_bodies(s, new) if new else s

    def _combined(self, s: Combine, around: tuple[For, ...]) -> Stmt:
        if s.width:
            return s
        self.done.setdefault(s.buffer, set()).add(s.level)
        wide = self.threads.counts[s.level]
        are_neighbours = s.level in ("thread.x", "lane")
        if wide == 1:
            return seq()
        if are_neighbours and (wide == WARP or (wide < WARP and wide & (wide - 1) == 0)):
            return replace(s, width=wide)
        if are_neighbours and wide % WARP == 0:
            parts = self._by_memory(s, around, wide // WARP)
            return seq(replace(s, width=WARP), parts)
        return self._by_memory(s, around, wide)

    def _by_memory(self, s: Combine, around: tuple[For, ...], parts: int) -> Stmt:
        """Combine so many results, each of which neighbours have together."""
        held = self.buffers[s.buffer]  # with an axis for each loop around
        own_shape = held.shape[len(around) :]
        later = [
            kind for kind in held.private if kind not in self.done[s.buffer]
        ]  # where results still differ
        columns = [
            For(made_name(f"{s.stage}.in_{kind[-1]}"), integer(self.threads.counts[kind]), seq(), kind)
            for kind in later
        ]
        extents = (*held.shape[: len(around)], *(loop.extent for loop in columns))
        memory = self._scratch(held, (*extents, integer(parts), *own_shape))
        rows: Index = tuple(Var(loop.var) for loop in (*around, *columns))
        axes = [(made_name(f"{s.stage}.part{n}"), extent) for n, extent in enumerate(own_shape)]
        own: Index = (*rows[: len(around)], *(Var(name) for name, _ in axes))
        parts_of = _Parts(s, held, memory, rows, tuple(Var(name) for name, _ in axes), own, parts)
        each = self.threads.counts[s.level] // parts
        me = Var(made_name(f"{s.stage}.of_{s.level.replace('thread.', '')}"))

        def of_each(body: Stmt) -> Stmt:
            for loop in reversed(columns):
                body = replace(loop, body=body)
            return body

        def on_threads(body: Stmt) -> Stmt:
            return of_each(For(me.name, integer(self.threads.counts[s.level]), body, s.level))

        tell = _for_all(axes, parts_of.told(floor_div(me, integer(each)) if each > 1 else me))
        if each > 1:
            tell = If(compare("==", floor_mod(me, integer(each)), integer(0)), tell)
        if parts <= MOST_IN_REGISTERS:
            return seq(on_threads(tell), of_each(parts_of.known_in_registers(axes)))
        halving = [on_threads(If(when, _for_all(axes, step))) for when, step in parts_of.halved(me)]
        return seq(on_threads(tell), *halving, of_each(_for_all(axes, parts_of.known())))

    def _scratch(self, held: Buffer, shape: Index) -> Buffer:
        taken = {*self.buffers, *(b.name for b in self.scratch)}
        name = next(n for n in (f"{held.name}.shared{i or ''}" for i in count()) if n not in taken)
        self.scratch.append(Buffer(name, held.dtype, shape, "shared"))
        return self.scratch[-1]


@dataclass(frozen=True, slots=True)
class _Parts:
    """Results in shared memory, of each of the `rows` and for each `element`."""

    combine: Combine
    held: Buffer
    memory: Buffer
    rows: Index
    element: Index
    own: Index  # of the thread's registers
    count: int

    def told(self, part: Expr) -> Stmt:
        own = Load(self.held.name, self.own, self.held.dtype)
        return Store(self.memory.name, (*self.rows, part, *self.element), own, self.combine.stage)

    def known(self) -> Stmt:
        return Store(self.held.name, self.own, self._at(integer(0)), self.combine.stage)

    def halved(self, me: Var) -> Iterator[tuple[Expr, Stmt]]:
        """The upper half is added to the lower one by those threads for which a condition holds, until one is left."""
        target = (*self.rows, me, *self.element)
        for half, rest in _halves(self.count):
            yield (
                compare("<", me, integer(rest)),
                self._step(self.memory, target, self._at(add(me, integer(half)))),
            )

    def known_in_registers(self, axes: Sequence[tuple[str, Expr]]) -> Stmt:
        """Each thread reads all results, and puts them together by itself."""
        stage = self.combine.stage
        here = Var(made_name(f"{stage}.of"))
        copy = Buffer(f"{self.memory.name}.read", self.held.dtype, (integer(self.count),), "register")
        steps: list[Stmt] = [
            For(here.name, integer(self.count), Store(copy.name, (here,), self._at(here), stage), UNROLLED)
        ]
        for half, rest in _halves(self.count):
            high = Load(copy.name, (add(here, integer(half)),), copy.dtype)
            steps.append(For(here.name, integer(rest), self._step(copy, (here,), high), UNROLLED))
        result = Load(copy.name, (integer(0),), copy.dtype)
        steps.append(Store(self.held.name, self.own, result, stage))
        return Alloc(copy, _for_all(axes, seq(*steps)))

    def _at(self, part: Expr) -> Load:
        return Load(self.memory.name, (*self.rows, part, *self.element), self.held.dtype)

    def _step(self, buffer: Buffer, index: Index, term: Expr) -> Stmt:
        return Accumulate(
            buffer.name, index, self.combine.reducer, term, frozenset(), None, self.combine.stage
        )


def _halves(count: int) -> Iterator[tuple[int, int]]:
    """How many are left of so many after each step, and to how many of them one is added."""
    while count > 1:
        half = -(-count // 2)
        yield half, count - half
        count = half


def _for_all(axes: Sequence[tuple[str, Expr]], s: Stmt) -> Stmt:
    for name, extent in reversed(axes):
        s = For(name, extent, s, UNROLLED)
    return s
