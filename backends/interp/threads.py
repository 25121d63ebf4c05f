"""What each thread of a GPU keeps for itself, as ordinary memory.

At the final level each thread has its own of the register buffers that are allocated outside thread
loops, and what stands in no loop of threads is done by all of them. Here the buffers get an axis for each
level of threads, and such statements loops over those.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from te.ir.expr import Const, Expr, Load, Select, Var, add, compare, floor_div, integer, mul
from te.ir.loop import (
    FINAL,
    THREADS,
    Accumulate,
    Alloc,
    Buffer,
    Combine,
    For,
    If,
    Kernel,
    Seq,
    Stmt,
    Store,
    bodies,
    direct_exprs,
    map_exprs,
    seq,
    walk_stmt,
    with_bodies,
)
from te.ir.types import BOOL
from te.ir.visit import loads, rewrite, substitute
from te.schedule.fragments import Fragment, fragment_of
from te.schedule.intrinsics import bindings, find_intrinsic
from te.target import is_gpu

NOTHING = Seq(())
LANE = "lane"


def with_own_registers(kernel: Kernel) -> Kernel:
    """The kernel, if it is a final one for a GPU, with one copy of each register buffer for each thread."""
    if kernel.level != FINAL or not is_gpu(kernel.target):
        return kernel
    return replace(kernel, body=_with_copies(kernel.body))


def _with_copies(s: Stmt) -> Stmt:
    if isinstance(s, For) and s.kind in THREADS:
        return s
    if isinstance(s, Alloc) and s.buffer.scope == "register":
        held = {
            x.buffer.name for x, _ in walk_stmt(s) if isinstance(x, Alloc) and x.buffer.scope == "register"
        }
        # A block may number its threads in two ways: the copies are for that in which they are used.
        using = [path for x, path in walk_stmt(s.body) if isinstance(x, Combine) or _accesses(x) & held]
        loops = [x for path in using for x in path if isinstance(x, For) and x.kind in THREADS]
        counts = {x.kind: x.extent for x in sorted(loops, key=lambda x: x.kind)}
        return _Copies(counts).made(s, {}, {})
    new = tuple([_with_copies(b) for b in bodies(s)])
    return with_bodies(s, new) if new else s


@dataclass(frozen=True, slots=True)
class _Copies:
    """Register buffers that have become one for each thread."""

    counts: Mapping[str, Expr]  # of threads at each level

    def made(self, s: Stmt, held: Mapping[str, Buffer], threads: Mapping[str, Expr]) -> Stmt:
        """`s` with accesses of the copies of buffers `held`, where the thread has these numbers at some levels."""
        if isinstance(s, For) and s.kind in THREADS:
            threads = {**threads, s.kind: Var(s.var)}
        if isinstance(s, Alloc) and s.buffer.scope == "register" and not threads:
            held = {**held, s.buffer.name: s.buffer}
            wider = replace(s.buffer, shape=(*self.counts.values(), *s.buffer.shape), scope="local")
            return Alloc(wider, self.made(s.body, held, threads))
        if isinstance(s, Combine):
            return self._combined(s, held[s.buffer], threads)
        if isinstance(s, Accumulate) and s.intrinsic:
            return self._multiplied(s, held, threads)
        if bodies(s):
            new = tuple([self.made(b, held, threads) for b in bodies(s)])
            return self._at(with_bodies(s, new), held, threads)
        missing = [kind for kind in self.counts if kind not in threads]
        if not missing or not _accesses(s) & held.keys():
            return self._at(s, held, threads)
        s = self._at(s, held, {**threads, **{kind: Var(_each(kind)) for kind in missing}})
        for kind in missing:
            s = For(_each(kind), self.counts[kind], s)
        return s

    def _combined(self, s: Combine, buffer: Buffer, threads: Mapping[str, Expr]) -> Stmt:
        """Each run of neighbours combines its copies in halves, and all of them get the first one's."""
        axes = [(f"axis {n} of {buffer.name}", extent) for n, extent in enumerate(buffer.shape)]
        lane = Var(f"neighbour in {buffer.name}")
        element = tuple(Var(name) for name, _ in axes)

        def place(neighbour: Expr) -> tuple[Expr, ...]:
            here = add(mul(Var(_each(s.level)), integer(s.width)), neighbour)
            others = {kind: threads.get(kind, Var(_each(kind))) for kind in self.counts}
            return (*(here if kind == s.level else others[kind] for kind in self.counts), *element)

        steps: list[Stmt] = []
        half = s.width // 2
        while half:
            term = Load(s.buffer, place(add(lane, integer(half))), buffer.dtype)
            step = Accumulate(s.buffer, place(lane), s.reducer, term, frozenset(), None, s.stage)
            steps.append(For(lane.name, integer(half), step))
            half //= 2
        first = Load(s.buffer, place(integer(0)), buffer.dtype)
        steps.append(For(lane.name, integer(s.width), Store(s.buffer, place(lane), first, s.stage)))
        body = seq(*steps)
        for kind, count in self.counts.items():
            if kind in threads:
                continue
            body = For(_each(kind), floor_div(count, integer(s.width)) if kind == s.level else count, body)
        for name, extent in axes:
            body = For(name, extent, body)
        return body

    def _multiplied(self, s: Accumulate, held: Mapping[str, Buffer], threads: Mapping[str, Expr]) -> Stmt:
        """A lane's part of an instruction: all terms for its own elements, with factors that other lanes have.

        Tiles that no thread can have for itself lie in shared memory, and say the lane in their indices.
        """
        own_lane = threads[LANE]
        assert isinstance(own_lane, Var)
        lane_name = own_lane.name
        meaning = find_intrinsic(s.intrinsic, None)
        reads = next(bindings(meaning.term, s.value))
        own = fragment_of(meaning, meaning.accumulator)
        slots = [(f"slot {n} of {s.buffer}", count) for n, count in enumerate(own.slots)]
        place = own.index(own_lane, [Var(name) for name, _ in slots])
        at = dict(zip(meaning.axes_of(meaning.accumulator), place, strict=True))
        at[meaning.k.name] = Var(f"term of {s.buffer}")

        def element(e: Expr) -> Expr:
            tensor = next((t for t in meaning.operands if reads[t.name] == e), None)
            if tensor is None or not isinstance(e, Load):
                return e
            fragment = fragment_of(meaning, tensor)
            lane, *chosen = fragment.place([at[axis] for axis in meaning.axes_of(tensor)])
            first = tuple(substitute(i, {lane_name: lane}) for i in e.index)
            number = self._number({**threads, LANE: lane}) if e.buffer in held else ()
            return replace(e, index=(*number, *_in_slots(first, chosen)))

        index = _in_slots(s.index, [Var(name) for name, _ in slots])
        number = self._number(threads) if s.buffer in held else ()
        value = rewrite(s.value, element)
        body: Stmt = Accumulate(s.buffer, (*number, *index), s.reducer, value, frozenset(), None, s.stage)
        if s.kept:
            left = fragment_of(meaning, meaning.operands[0])
            lane, *chosen = left.place([at[axis] for axis in meaning.axes_of(meaning.operands[0])])
            body = If(self._taking_part(s.kept, left, own_lane, lane, chosen), body)
        body = For(f"term of {s.buffer}", integer(meaning.terms), body)
        for name, count in slots:
            body = For(name, integer(count), body)
        return body

    def _taking_part(
        self, kept: Sequence[Expr], of: Fragment, mine: Expr, lane: Expr, slots: Sequence[Expr]
    ) -> Expr:
        """The condition of the element that a lane has in these slots; `kept` are those of `mine`, for each slot."""
        assert isinstance(mine, Var)
        number: Expr = integer(0)
        for slot, count in zip(slots, of.slots, strict=True):
            number = add(mul(number, integer(count)), slot)
        found: Expr = Const(False, BOOL)
        for n, condition in enumerate(kept):
            found = Select(compare("==", number, integer(n)), substitute(condition, {mine.name: lane}), found)
        return found

    def _number(self, threads: Mapping[str, Expr]) -> tuple[Expr, ...]:
        return tuple(threads.get(kind, integer(0)) for kind in self.counts)

    def _at(self, s: Stmt, held: Mapping[str, Buffer], threads: Mapping[str, Expr]) -> Stmt:
        """The accesses that stand directly in `s`, of the copies of one thread."""
        number = self._number(threads)

        def expr(e: Expr) -> Expr:
            return replace(e, index=(*number, *e.index)) if isinstance(e, Load) and e.buffer in held else e

        inner = bodies(s)
        hollow = with_bodies(s, tuple([NOTHING] * len(inner))) if inner and not isinstance(s, Seq) else s
        changed = s if isinstance(s, Seq) else map_exprs(hollow, lambda e: rewrite(e, expr))
        if isinstance(changed, Store | Accumulate) and changed.buffer in held:
            changed = replace(changed, index=(*number, *changed.index))
        return with_bodies(changed, inner) if inner and not isinstance(s, Seq) else changed


def _in_slots(first: Sequence[Expr], slots: Sequence[Expr]) -> tuple[Expr, ...]:
    """The element of a lane in these slots; `first` is the first that it has of the tile."""
    return (*first[: len(first) - len(slots)], *slots)


def _each(level: str) -> str:
    return f"each {level}"


def _accesses(s: Stmt) -> set[str]:
    read = {load.buffer for e in direct_exprs(s) for load in loads(e)}
    return read | ({s.buffer} if isinstance(s, Store | Accumulate) else set())
