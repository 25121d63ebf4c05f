"""Accumulators live in registers while a reduction runs.

    unrolled ii < 8: vector ji < 32: C[..] = 0.0         alloc C.tile[8, 32] in register:
    for k < K (reduce):                                    unrolled ii < 8: vector ji < 32: tile[ii, ji] = 0.0
      unrolled ii < 8:                            ->       for k < K (reduce):
        vector ji < 32:                                      unrolled ii < 8: vector ji < 32:
          C[..] sum= A[..] * B[..]                             tile[ii, ji] sum= A[..] * B[..]
                                                           unrolled ii < 8: vector ji < 32: C[..] = tile[ii, ji]

The loop around the registers is the outermost reduction loop with nothing inside
but one `Accumulate`, its other reduction loops, and data loops that are written
out (unrolled or vector); these are the axes of the tile. A start that stands right
before fills the tile; otherwise the tile is loaded from the target.

*A vector reduction loop* keeps one partial result a lane, from the identity. After
the loop they are combined in halves, and the last one with the running value: a
chain of 16 dependent additions would take as long as 256 terms of the loop.

*A reduction loop over threads* keeps one partial result a thread, from the identity. They are combined after the
loop (`Combine`), and the result with the running value.

*A loop of several statements*, as `merge` makes it, updates the registers of each of its
reductions whose target nothing else in it touches; the others stay in memory.

A ragged tile (the cold version) stays in registers too: see `ragged`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from math import prod

from te.ir.bounds import Facts
from te.ir.expr import Const, Expr, Load, Var, add, conjuncts, integer
from te.ir.loop import (
    CONCURRENT,
    THREADS,
    UNROLLED,
    VECTOR,
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
    seq,
    walk_stmt,
    with_bodies,
)
from te.ir.tensor import identity
from te.ir.visit import loads, variables
from te.schedule.context import facts_inside
from te.schedule.finalize.guards import conjunction, guarded, guards_on, is_index_condition, tainted
from te.schedule.finalize.ragged import WHOLE, Ragged, find_ragged

# A tile must fit the register file: 32 registers of 16 floats.
MAX_TILE_ELEMENTS = 512
MAX_TILE_VECTORS = 64


@dataclass(frozen=True, slots=True)
class Nest:
    """A reduction that can run in registers: its outermost loop down to its one statement."""

    around: tuple[For | If | Let, ...]
    leaf: Accumulate
    axes: tuple[For, ...]  # the data loops: the axes of the tile
    lanes: For | None  # the vector reduction loop
    threads: tuple[str, ...]  # the levels of the reduction loops over threads, from the outside in
    guards: tuple[Expr, ...]  # those that say which elements there are

    @property
    def element(self) -> tuple[object, ...]:
        """Nests that agree on this run in the same registers."""
        axes = [(loop.var, loop.extent, loop.kind) for loop in self.axes]
        lanes = self.lanes and (self.lanes.var, self.lanes.extent)
        of_loops = axes, lanes, self.threads
        return self.leaf.buffer, self.leaf.index, self.leaf.reducer, of_loops, set(self.guards), self.lets

    @property
    def lets(self) -> list[tuple[str, Expr]]:
        return [(s.var, s.value) for s in self.around if isinstance(s, Let) and s.var not in self.terms]

    @property
    def terms(self) -> set[str]:
        """The variables that say which term of the reduction it is, not which element."""
        return _of_terms(self.around, self.leaf)


@dataclass(frozen=True, slots=True)
class Start:
    """What elements start from, under conditions that are the same for all of them."""

    value: Expr
    when: tuple[Expr, ...]


def promote_accumulators(s: Stmt, facts: Facts, buffers: dict[str, Buffer]) -> Stmt:
    """Keep accumulators in registers. `buffers` holds all buffers by name; the new ones are added to it."""
    items = s.items if isinstance(s, Seq) else (s,)
    new: list[Stmt] = []
    at = 0
    while at < len(items):
        nests = _nests_from(items, at, buffers)
        shared = None if nests else _shared_loop(items[at], buffers)
        if nests:
            start = _start(new[-1], nests[0]) if new else None
            if start is not None:
                new.pop()
            new.append(_assembled([_in_registers(nests, start, facts, buffers)]))
            at += len(nests)
        elif shared is not None:
            new.append(_several_in_registers(shared, new, facts, buffers))
            at += 1
        else:
            item = items[at]
            inner = [
                promote_accumulators(b, facts_inside(item, b, facts, False), buffers) for b in bodies(item)
            ]
            new.append(with_bodies(item, tuple(inner)))
            at += 1
    return seq(*new)


# ---------------------------------------------------------------- what can run in registers


def _nests_from(items: Sequence[Stmt], at: int, buffers: Mapping[str, Buffer]) -> list[Nest]:
    """The nest at this place, and those right after it that continue the same elements."""
    nests: list[Nest] = []
    for item in items[at:]:
        nest = _nest(item, buffers)
        if nest is None or (nests and nest.element != nests[0].element):
            break
        nests.append(nest)
    return nests


def _nest(s: Stmt, buffers: Mapping[str, Buffer]) -> Nest | None:
    around: list[For | If | Let] = []
    inner = s
    while isinstance(inner, For | Let) or (isinstance(inner, If) and inner.otherwise is None):
        around.append(inner)
        inner = inner.body
    if not isinstance(inner, Accumulate) or not isinstance(s, For) or s.var not in inner.over:
        return None
    loops = [loop for loop in around if isinstance(loop, For)]
    terms = [loop for loop in loops if loop.var in inner.over]
    axes = tuple(loop for loop in loops if loop.var not in inner.over)
    lanes = next((loop for loop in terms if loop.kind == VECTOR), None)
    threads = tuple(loop.kind for loop in terms if loop.kind in THREADS)
    if any(loop.kind in CONCURRENT - THREADS for loop in terms) or not all(
        _is_written_out(loop) for loop in axes
    ):
        return None
    if not _fits(axes, lanes) or _reads(inner.buffer, (*around, inner)):
        return None
    of_terms = _of_terms(around, inner)
    if any(variables(i) & of_terms for i in inner.index):
        return None
    conditions = [part for c in around if isinstance(c, If) for part in conjuncts(c.condition)]
    guards = tuple(c for c in conditions if is_index_condition(c) and not variables(c) & of_terms)
    if buffers[inner.buffer].scope == "register" and lanes is None and not threads and not guards:
        return None  # it is there already; with guards, the tile of its own is what overhangs
    return Nest(tuple(around), inner, axes, lanes, threads, guards)


def _of_terms(around: Sequence[Stmt], leaf: Accumulate) -> set[str]:
    """The reduction loops here, and what depends on them. Loops further out do not change meanwhile."""
    return tainted(around, {s.var for s in around if isinstance(s, For) and s.var in leaf.over})


def _is_written_out(loop: For) -> bool:
    return loop.kind in (UNROLLED, VECTOR) and isinstance(loop.extent, Const) and not loop.overlaps


def _fits(axes: Sequence[For], lanes: For | None) -> bool:
    if not axes:
        return True
    vectors = prod(_constant(loop.extent) for loop in axes if loop.kind == UNROLLED)
    width = prod(
        _constant(loop.extent) for loop in (*axes, *([lanes] if lanes else [])) if loop.kind == VECTOR
    )
    return vectors <= MAX_TILE_VECTORS and vectors * width <= MAX_TILE_ELEMENTS


def _constant(e: Expr) -> int:
    assert isinstance(e, Const)
    return int(e.value)


def _reads(buffer: str, statements: Sequence[Stmt]) -> bool:
    return any(load.buffer == buffer for s in statements for e in direct_exprs(s) for load in loads(e))


def _start(s: Stmt, nest: Nest) -> Start | None:
    """What the elements start from, where `s` stores exactly that."""
    around: list[Stmt] = []
    while isinstance(s, For | Let) or (isinstance(s, If) and s.otherwise is None):
        around.append(s)
        s = s.body
    if not isinstance(s, Store) or (s.buffer, s.index) != (nest.leaf.buffer, nest.leaf.index):
        return None
    loops = {(f.var, f.extent, f.kind) for f in around if isinstance(f, For)}
    guards = guards_on(around)
    when = [c for c in guards if c not in nest.guards]
    inside = {p.var for p in (*around, *nest.around) if isinstance(p, For | Let)}
    if any(variables(c) & inside or not is_index_condition(c) for c in when):
        return None
    lets = [(let.var, let.value) for let in around if isinstance(let, Let)]
    same_loops = loops == {(f.var, f.extent, f.kind) for f in nest.axes}
    same = same_loops and set(nest.guards) <= set(guards) and all(let in nest.lets for let in lets)
    return Start(s.value, tuple(when)) if same else None


# ---------------------------------------------------------------- loops of several statements


@dataclass(frozen=True, slots=True)
class Shared:
    """A reduction loop of several statements: nests of that loop around one of them each, and the others."""

    loop: For
    items: tuple[Nest | Stmt, ...]

    @property
    def nests(self) -> list[Nest]:
        return [item for item in self.items if isinstance(item, Nest)]


def _shared_loop(s: Stmt, buffers: Mapping[str, Buffer]) -> Shared | None:
    """The loop, where some of its statements can run in registers, and no other touches what those update."""
    if not isinstance(s, For):
        return None
    around: list[For | If | Let] = []
    inner = s.body
    while isinstance(inner, For | Let) or (isinstance(inner, If) and inner.otherwise is None):
        around.append(inner)
        inner = inner.body
    if not isinstance(inner, Seq):
        return None
    items = [_inside(around, item) for item in inner.items]
    found = [(item, _nest(replace(s, body=item), buffers)) for item in items]
    targets = {nest.leaf.buffer for _, nest in found if nest is not None}
    touched = Counter(name for x, _ in walk_stmt(s) for name in _touched(x))
    if not targets or any(touched[name] > 1 for name in targets):
        return None
    if around and len(targets) < len(items):
        return None  # loops inside are taken apart, which is no matter of course for other statements
    return Shared(s, tuple([item if nest is None else nest for item, nest in found]))


def _inside(around: Sequence[For | If | Let], s: Stmt) -> Stmt:
    for outer in reversed(around):
        s = replace(outer, body=s)
    return s


def _touched(s: Stmt) -> list[str]:
    """The buffers that one statement itself reads and writes."""
    read = [load.buffer for e in direct_exprs(s) for load in loads(e)]
    return [*read, s.buffer] if isinstance(s, Store | Accumulate) else read


def _several_in_registers(
    shared: Shared, before: list[Stmt], facts: Facts, buffers: dict[str, Buffer]
) -> Stmt:
    """One loop that updates registers of several reductions. Starts at the end of `before` fill them."""
    starts = _starts_of(shared, before)
    inside = facts_inside(shared.loop, shared.loop.body, facts, False)
    parts: list[Parts] = []
    body: list[Stmt] = []
    for item in shared.items:
        if isinstance(item, Nest):
            part = _in_registers([item], starts.get(item.leaf.buffer), facts, buffers)
            (run,) = part.runs
            assert isinstance(run, For)  # the shared loop, around one statement
            body.append(run.body)
            parts.append(part)
        else:
            body.append(promote_accumulators(item, inside, buffers))
    return _assembled(parts, replace(shared.loop, body=seq(*body)))


def _starts_of(shared: Shared, before: list[Stmt]) -> dict[str, Start]:
    """The starts that stand last before the loop, by what they start. They are taken out of `before`.

    One that reads what the loop writes stays: with lanes, registers are filled after the loop.
    """
    written = {s.buffer for s, _ in walk_stmt(shared.loop) if isinstance(s, Store | Accumulate)}
    starts: dict[str, Start] = {}
    while before:
        found = [(n.leaf.buffer, start) for n in shared.nests if (start := _start(before[-1], n)) is not None]
        if not found or found[0][0] in starts or any(x.buffer in written for x in loads(found[0][1].value)):
            break
        starts[found[0][0]] = found[0][1]
        before.pop()
    return starts


# ---------------------------------------------------------------- running in registers


@dataclass(frozen=True, slots=True)
class Parts:
    """Reductions in registers: what fills those, the loops, and what writes them back."""

    registers: list[Buffer]
    before: Stmt
    runs: list[Stmt]
    after: Stmt


def _assembled(parts: Sequence[Parts], *runs: Stmt) -> Stmt:
    """All of it in order; the given loops in the place of each one's own."""
    runs = runs or tuple([run for part in parts for run in part.runs])
    body = seq(*[part.before for part in parts], *runs, *[part.after for part in parts])
    for buffer in reversed([b for p in parts for b in p.registers]):
        body = Alloc(buffer, body)
    return body


def _in_registers(
    nests: Sequence[Nest], start: Start | None, facts: Facts, buffers: dict[str, Buffer]
) -> Parts:
    """Fill the registers, run the reductions, write back. All nests have the same elements."""
    nest = nests[0]
    leaf, lanes = nest.leaf, nest.lanes
    target = buffers[leaf.buffer]
    held = Load(leaf.buffer, leaf.index, target.dtype)
    filled = [held] if start is None else [held, start.value] if start.when else [start.value]
    choosing = _loops_choosing_registers(nests, filled, buffers)
    ragged = find_ragged(nest.around, nest.axes, nest.guards, facts, choosing)
    shape = tuple(loop.extent for loop in nest.axes)
    index: tuple[Expr, ...] = tuple(Var(loop.var) for loop in nest.axes)

    total = _new_registers(leaf.buffer, target, shape, buffers)
    fill = _for_elements(nest, ragged.kept, Store(total.name, index, ragged.inside(held), leaf.stage), ragged)
    if start is not None:
        begin = Store(total.name, index, ragged.inside(start.value), leaf.stage)
        reads = any(True for _ in loads(start.value))  # what only real elements have
        begins = _for_elements(nest, ragged.kept if reads else [], begin, ragged)
        fill = If(conjunction(start.when), begins, fill) if start.when else begins
    write = Store(leaf.buffer, leaf.index, Load(total.name, index, target.dtype), leaf.stage)
    write_back = _for_elements(nest, nest.guards, write, WHOLE)
    if nest.threads:
        return _in_threads(nests, total, fill, write_back, ragged, buffers)
    if lanes is None:
        runs = [_run(n, total, index, ragged) for n in nests]
        return Parts([total], fill, runs, write_back)
    parts = _in_lanes(nests, total, ragged, buffers, ())
    return replace(parts, after=seq(fill, parts.after, write_back), registers=[total, *parts.registers])


def _loops_choosing_registers(
    nests: Sequence[Nest], filled: Sequence[Expr], buffers: Mapping[str, Buffer]
) -> set[str]:
    """The loops and names that say which registers are read, to fill the tile and in its reductions."""
    around = [s for nest in nests for s in nest.around]
    read = [*filled, *[nest.leaf.value for nest in nests], *[e for s in around for e in direct_exprs(s)]]
    registers = [load for e in read for load in loads(e) if buffers[load.buffer].scope == "register"]
    found = {name for load in registers for i in load.index for name in variables(i)}
    for s in reversed(around):
        if isinstance(s, Let) and s.var in found:
            found |= variables(s.value)
    return found


def _in_threads(
    nests: Sequence[Nest],
    total: Buffer,
    fill: Stmt,
    write_back: Stmt,
    ragged: Ragged,
    buffers: dict[str, Buffer],
) -> Parts:
    """Partial results of threads, combined after the loops, and then with `total`."""
    nest = nests[0]
    leaf, index = nest.leaf, tuple(Var(loop.var) for loop in nest.axes)
    own = _new_registers(leaf.buffer, total, total.shape, buffers, nest.threads)
    zero = Store(own.name, index, identity(leaf.reducer, own.dtype), leaf.stage)
    clear = _for_elements(nest, [], zero, WHOLE)
    if nest.lanes is None:
        parts = Parts([], seq(), [_run(n, own, index, ragged) for n in nests], seq())
    else:
        parts = _in_lanes(nests, own, ragged, buffers, nest.threads)
    # Neighbours in a warp first: they exchange registers, and then the others have fewer results to tell.
    levels = sorted(nest.threads, key=lambda level: level not in ("thread.x", "lane"))
    combines = [Combine(own.name, leaf.reducer, level, leaf.stage) for level in levels]
    found = Load(own.name, index, own.dtype)
    step = Accumulate(total.name, index, leaf.reducer, found, frozenset(), None, leaf.stage)
    update = _for_elements(nest, ragged.kept, step, ragged)
    return Parts(
        [total, own, *parts.registers],
        seq(clear, parts.before),
        parts.runs,
        seq(parts.after, *combines, fill, update, write_back),
    )


def _in_lanes(
    nests: Sequence[Nest],
    total: Buffer,
    ragged: Ragged,
    buffers: dict[str, Buffer],
    private: tuple[str, ...],
) -> Parts:
    """Partial results of lanes, combined after the loops, and then with `total`."""
    nest = nests[0]
    leaf, lanes, target = nest.leaf, nest.lanes, total
    assert lanes is not None
    shape = tuple(loop.extent for loop in nest.axes)
    index: tuple[Expr, ...] = tuple(Var(loop.var) for loop in nest.axes)
    width = _constant(lanes.extent)
    partial_index = (*index, Var(lanes.var))
    partial = _new_registers(leaf.buffer, target, (*shape, lanes.extent), buffers, private)
    zero = Store(partial.name, partial_index, identity(leaf.reducer, target.dtype), leaf.stage)
    clear = _for_elements(nest, [], replace(lanes, body=zero), WHOLE)
    runs = [_run(n, partial, partial_index, ragged) for n in nests]
    halves = _new_registers(leaf.buffer, target, (*shape, integer(-(-width // 2))), buffers, private)
    combine = _for_elements(nest, ragged.kept, _combine(leaf, lanes, partial, halves, total, index), ragged)
    return Parts([partial, halves], clear, runs, combine)


def _combine(
    leaf: Accumulate, lanes: For, partial: Buffer, halves: Buffer, total: Buffer, index: tuple[Expr, ...]
) -> Stmt:
    """Combine the lanes of `partial` in halves, then what is left with `total`."""

    def step(buffer: Buffer, at: tuple[Expr, ...], term: Buffer, term_at: tuple[Expr, ...]) -> Stmt:
        value = Load(term.name, term_at, term.dtype)
        return Accumulate(buffer.name, at, leaf.reducer, value, frozenset({lanes.var}), None, leaf.stage)

    def each(extent: int, body: Stmt) -> Stmt:
        return replace(lanes, kind=VECTOR if extent > 1 else UNROLLED, extent=integer(extent), body=body)

    lane = Var(lanes.var)
    width, source = _constant(lanes.extent), partial
    low = Load(partial.name, (*index, lane), partial.dtype)
    steps = [each(-(-width // 2), Store(halves.name, (*index, lane), low, leaf.stage))]
    while width > 1:
        half = -(-width // 2)
        high = (*index, add(lane, integer(half)))
        steps.append(each(width - half, step(halves, (*index, lane), source, high)))
        width, source = half, halves
    return seq(*steps, step(total, index, halves, (*index, integer(0))))


def _new_registers(
    name: str,
    like: Buffer,
    shape: tuple[Expr, ...],
    buffers: dict[str, Buffer],
    private: tuple[str, ...] = (),
) -> Buffer:
    names = (f"{name}.tile{i}" if i else f"{name}.tile" for i in count())
    tile = Buffer(next(n for n in names if n not in buffers), like.dtype, shape, "register", private=private)
    buffers[tile.name] = tile
    return tile


def _run(nest: Nest, tile: Buffer, index: tuple[Expr, ...], ragged: Ragged) -> Stmt:
    """The reduction loops, accumulating into the tile."""
    s: Stmt = replace(nest.leaf, buffer=tile.name, index=index, value=ragged.inside(nest.leaf.value))
    for around in reversed(nest.around):
        match around:
            case For():
                s = replace(around, extent=ragged.inside(around.extent), body=s)
            case Let():
                s = replace(around, value=ragged.inside(around.value), body=s)
            case If():
                parts = [c for c in conjuncts(around.condition) if c in ragged.kept or c not in nest.guards]
                s = guarded([ragged.inside(c) for c in parts], s)
    return s


def _for_elements(nest: Nest, guards: Sequence[Expr], s: Stmt, ragged: Ragged) -> Stmt:
    """`s` for each element of the tile, where the guards hold."""
    s = guarded([ragged.inside(c) for c in guards], s)
    for around in reversed(nest.around):
        if isinstance(around, For) and around in nest.axes:
            s = replace(around, body=s)
        elif isinstance(around, Let) and around.var not in nest.terms:
            s = replace(around, value=ragged.inside(around.value), body=s)
    return s
