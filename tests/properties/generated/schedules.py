"""Lines of schedules drawn at random, most of them with a good chance to be legal.

What a line names is drawn from the kernel as it is: its loops, its buffers, what reads them. A verb
draws the operands for which it might make sense, and now and then any others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TypeVar

from hypothesis import strategies as st

from te.diagnostics import ScheduleError
from te.ir.bounds import NO_FACTS, prove
from te.ir.expr import Expr, Var, compare, floor_div, floor_mod, integer
from te.ir.loop import (
    SERIAL,
    Accumulate,
    Alloc,
    Buffer,
    For,
    If,
    Kernel,
    Let,
    Seq,
    Store,
    direct_exprs,
    walk_stmt,
)
from te.ir.verify import InvalidIR
from te.ir.visit import loads
from te.schedule.apply import apply
from te.schedule.directives import (
    Align,
    Bind,
    CacheRead,
    CacheWrite,
    Compensate,
    ComputeAt,
    ComputeRoot,
    Distribute,
    Fission,
    Fold,
    Fuse,
    Inline,
    Merge,
    Online,
    Parallel,
    Pipeline,
    Precompute,
    Prefetch,
    Reorder,
    Rfactor,
    SetLayout,
    SetScope,
    Split,
    Stream,
    Swizzle,
    Tensorize,
    Tile,
    Unroll,
    Vectorize,
)
from te.schedule.finalize.storage import physical_shape
from te.schedule.forms import Binding, CopyMethod, Directive, Layout, Scope, Tail, TensorAxes
from te.schedule.names import Path, all_loops

FACTORS = (1, 2, 3, 4, 8)


@dataclass
class Seen:
    """The kernel that a line is drawn for, and what lines may name in it."""

    kernel: Kernel
    loops: list[tuple[For, Path]] = field(init=False)

    def __post_init__(self) -> None:
        self.loops = all_loops(self.kernel)

    @property
    def serial(self) -> list[str]:
        return [loop.var for loop, _ in self.loops if loop.kind == SERIAL]

    def chains(self) -> list[list[str]]:
        """Loops nested directly in each other, in each nest."""
        found = []
        for loop, path in self.loops:
            if any(isinstance(s, For) and not isinstance(_below(s), Seq) for s in path[-1:]):
                continue
            chain, s = [loop.var], loop.body
            while isinstance(s, For | Let) or (isinstance(s, If) and s.otherwise is None):
                if isinstance(s, For):
                    chain.append(s.var)
                s = s.body
            found.append(chain)
        return found

    def reduction_loops(self) -> list[tuple[str, str]]:
        return [
            (loop.var, s.stage)
            for s, path in walk_stmt(self.kernel.body)
            if isinstance(s, Accumulate)
            for loop in path
            if isinstance(loop, For) and loop.var in s.over
        ]

    def reads(self) -> list[tuple[str, str]]:
        """Tensors with the loops in which they are read."""
        return [
            (load.buffer, loop.var)
            for loop, _ in self.loops
            for s, _ in walk_stmt(loop.body)
            for e in direct_exprs(s)
            for load in loads(e)
        ]

    def writes(self) -> list[tuple[str, str]]:
        """Tensors with the loops in which they are written."""
        return [
            (s.buffer, loop.var)
            for loop, _ in self.loops
            for s, _ in walk_stmt(loop.body)
            if isinstance(s, Store | Accumulate)
        ]

    def around_all_reads(self, tensor: str) -> list[str]:
        """The loops in which all statements stand that read a tensor."""
        paths = [
            [x.var for x in path if isinstance(x, For)]
            for s, path in walk_stmt(self.kernel.body)
            if any(load.buffer == tensor for e in direct_exprs(s) for load in loads(e))
        ]
        return [loop for loop in paths[0] if all(loop in path for path in paths)] if paths else []

    def around_last_write(self, tensors: Sequence[str]) -> list[str]:
        """The loops around the last statement that writes one of the tensors."""
        writes = [
            [x.var for x in path if isinstance(x, For)]
            for s, path in walk_stmt(self.kernel.body)
            if isinstance(s, Store | Accumulate) and s.buffer in tensors
        ]
        return writes[-1] if writes else []

    @staticmethod
    def is_in(loop: For, path: Path, stage: str) -> bool:
        return any(isinstance(x, For) and x.stage == stage for x in (*path, loop))

    def unused(self, names: Sequence[str]) -> str:
        """A name of these that nothing has yet; the last one where all are taken."""
        taken = {name for name, _ in self.allocated()} | {s.name for s in self.kernel.program.stages}
        taken |= {loop.stage for loop, _ in self.loops}
        return next((name for name in names if name not in taken), names[-1])

    def allocated(self) -> list[tuple[str, int]]:
        """Buffers of the kernel's own, with their ranks."""
        return [
            (s.buffer.name, len(s.buffer.shape))
            for s, _ in walk_stmt(self.kernel.body)
            if isinstance(s, Alloc)
        ]

    def side_by_side(self) -> list[tuple[str, str]]:
        return [
            (a.var, b.var)
            for s, _ in walk_stmt(self.kernel.body)
            if isinstance(s, Seq)
            for a, b in pairwise(s.items)
            if isinstance(a, For) and isinstance(b, For)
        ]


def _below(s: For, through_buffers: bool = True) -> object:
    inner: object = s.body
    while (
        isinstance(inner, Let)
        or (isinstance(inner, Alloc) and through_buffers)
        or (isinstance(inner, If) and inner.otherwise is None)
    ):
        inner = inner.body
    return inner


Drawer = Callable[[st.DrawFn, Seen], Directive | None]


T = TypeVar("T")


def _one(draw: st.DrawFn, of: Sequence[T]) -> T:
    return draw(st.sampled_from(of))


def _split(draw: st.DrawFn, seen: Seen) -> Directive | None:
    if not seen.serial:
        return None
    tail = _one(draw, (Tail.GUARD, Tail.GUARD, Tail.PEEL, Tail.SHIFT))
    factor = _one(draw, FACTORS)
    loop = _one(draw, seen.serial)
    return Split(loop, by=factor, tail=tail) if draw(st.booleans()) else Split(loop, parts=factor, tail=tail)


def _subset(draw: st.DrawFn, chain: Sequence[str], least: int) -> tuple[str, ...]:
    return tuple(draw(st.lists(st.sampled_from(chain), min_size=least, max_size=4, unique=True)))


def _reorder(draw: st.DrawFn, seen: Seen) -> Directive | None:
    chains = [c for c in seen.chains() if len(c) >= 2]
    return Reorder(_subset(draw, _one(draw, chains), 2)) if chains else None


def _tile(draw: st.DrawFn, seen: Seen) -> Directive | None:
    chains = [c for c in seen.chains() if len(c) >= 2]
    if not chains:
        return None
    loops = _subset(draw, _one(draw, chains), 2)
    return Tile(loops, tuple(_one(draw, FACTORS) for _ in loops))


def _fuse(draw: st.DrawFn, seen: Seen) -> Directive | None:
    pairs = [pair for chain in seen.chains() for pair in pairwise(chain)]
    return Fuse(_one(draw, pairs), _one(draw, ("f", "g"))) if pairs else None


def _unroll(draw: st.DrawFn, seen: Seen) -> Directive | None:
    return Unroll((_one(draw, seen.serial),), by=_one(draw, (2, 3, 4))) if seen.serial else None


def _vectorize(draw: st.DrawFn, seen: Seen) -> Directive | None:
    return Vectorize((_one(draw, seen.serial),), by=_one(draw, (2, 4, 8))) if seen.serial else None


def _parallel(draw: st.DrawFn, seen: Seen) -> Directive | None:
    data = [loop.var for loop, _ in seen.loops if not loop.is_reduction and loop.kind == SERIAL]
    return Parallel((_one(draw, data),)) if data else None


def _bind(draw: st.DrawFn, seen: Seen) -> Directive | None:
    data = [loop.var for loop, _ in seen.loops if not loop.is_reduction and loop.kind == SERIAL]
    levels = (Binding.BLOCK_X, Binding.BLOCK_Y, Binding.THREAD_X, Binding.WARP, Binding.LANE)
    is_for_gpu = seen.kernel.target.startswith("cuda")
    return Bind(_one(draw, data), _one(draw, levels)) if data and is_for_gpu else None


def _inline(draw: st.DrawFn, seen: Seen) -> Directive | None:
    stages = [s.name for s in seen.kernel.program.stages if s.reduction is None]
    return Inline((_one(draw, stages),)) if stages else None


def _compute_at(draw: st.DrawFn, seen: Seen) -> Directive | None:
    """Of a stage that may still move, at a loop with all of its readers in it, or with one of its operands."""
    program = seen.kernel.program
    recurring = {name for r in program.recurrences for name in r.stages}
    stages = [s for s in program.stages if s.name not in seen.kernel.touched | recurring]
    own = {s.name: {loop.var for loop, path in seen.loops if seen.is_in(loop, path, s.name)} for s in stages}
    places = [
        (stage.name, loop)
        for stage in stages
        if stage.name not in program.outputs
        for loop in seen.around_all_reads(stage.name)
        if loop not in own[stage.name]
    ]
    epilogues = [
        (stage.name, loop)
        for stage in stages
        if stage.reduction is None
        for loop in seen.around_last_write([load.buffer for load in loads(stage.value)])
        if (stage.name, loop) not in places and loop not in own[stage.name]
    ]
    anywhere = [(s.name, loop.var) for s in program.stages for loop, _ in seen.loops]
    if not anywhere:
        return None
    if draw(st.integers(0, 9)) == 0:
        stage, at = _one(draw, anywhere)
        return ComputeAt((stage,), at)
    if not (places or epilogues):
        return None
    stage, at = _one(draw, [*places, *epilogues])
    if (stage, at) in epilogues:
        return ComputeAt((stage,), at)
    scope = _one(draw, (None, None, None, Scope.STACK, Scope.LOCAL, Scope.REGISTER))
    around = [x.var for found, path in seen.loops if found.var == at for x in path if isinstance(x, For)]
    keep = _one(draw, [at, *around]) if draw(st.integers(0, 5)) == 0 else None
    return ComputeAt((stage,), at, scope, keep)


def _compute_root(draw: st.DrawFn, seen: Seen) -> Directive | None:
    return ComputeRoot((_one(draw, [s.name for s in seen.kernel.program.stages]),))


def _layout_of(draw: st.DrawFn, axes: Sequence[str]) -> Layout:
    dims = []
    for axis in axes:
        if draw(st.booleans()):
            n = integer(_one(draw, (2, 4)))
            dims += [floor_div(Var(axis), n), floor_mod(Var(axis), n)]
        else:
            dims.append(Var(axis))
    return Layout(tuple(draw(st.permutations(dims))))


def _cache_read(draw: st.DrawFn, seen: Seen) -> Directive | None:
    reads = [*seen.reads(), *((tensor, None) for tensor, _ in seen.reads())]
    if not reads:
        return None
    tensor, loop = _one(draw, reads)
    ranks = {b.name: len(b.shape) for b in seen.kernel.arguments} | dict(seen.allocated())
    axes = tuple(f"a{n}" for n in range(ranks.get(tensor, 0)))
    layout = _layout_of(draw, axes) if axes and draw(st.booleans()) else None
    fill = _one(draw, (None, None, 0, 1))
    scope = _one(draw, (None, None, Scope.STACK, Scope.SHARED))
    method = _one(draw, (None, None, CopyMethod.VECTOR))
    return CacheRead(
        TensorAxes(tensor, axes), loop, seen.unused(("R", "S", "T")), scope, layout, fill, method
    )


def _cache_write(draw: st.DrawFn, seen: Seen) -> Directive | None:
    steps = {loop for loop, _ in seen.reduction_loops()}
    own = {name for name, _ in seen.allocated()} - {s.name for s in seen.kernel.program.stages}
    writes = [(tensor, loop) for tensor, loop in seen.writes() if tensor not in own]
    outside = [(tensor, loop) for tensor, loop in writes if loop not in steps]
    if not writes:
        return None
    tensor, loop = _one(draw, outside if outside and draw(st.integers(0, 3)) else writes)
    scope = _one(draw, (None, None, Scope.STACK, Scope.REGISTER))
    method = _one(draw, (None, None, CopyMethod.VECTOR))
    return CacheWrite(TensorAxes(tensor), loop, seen.unused(("U", "UU", "UUU")), scope, method)


def _set_scope(draw: st.DrawFn, seen: Seen) -> Directive | None:
    allocated = seen.allocated()
    scopes = (Scope.LOCAL, Scope.LOCAL, Scope.STACK, Scope.REGISTER, Scope.SHARED)
    return SetScope(_one(draw, allocated)[0], _one(draw, scopes)) if allocated else None


def _set_layout(draw: st.DrawFn, seen: Seen) -> Directive | None:
    allocated = [(name, rank) for name, rank in seen.allocated() if rank]
    if not allocated:
        return None
    name, rank = _one(draw, allocated)
    axes = tuple(f"a{n}" for n in range(rank))
    return SetLayout(TensorAxes(name, axes), _layout_of(draw, axes))


def _align(draw: st.DrawFn, seen: Seen) -> Directive | None:
    allocated = [(name, rank) for name, rank in seen.allocated() if rank]
    if not allocated:
        return None
    name, rank = _one(draw, allocated)
    return Align(name, draw(st.integers(0, rank - 1)), _one(draw, (4, 16)))


def _swizzle(draw: st.DrawFn, seen: Seen) -> Directive | None:
    """Mostly of buffers with rows that are whole units; others are aligned first, as a rule."""
    allocated = [s.buffer for s, _ in walk_stmt(seen.kernel.body) if isinstance(s, Alloc)]
    stored = {b.name: physical_shape(b, NO_FACTS) for b in allocated}
    rows = [b for b in allocated if len(stored[b.name]) >= 2]
    whole = [b for b in rows if _is_whole_units(stored[b.name][-1], b)]
    if not allocated:
        return None
    found = _one(draw, whole or rows or allocated)
    if rows and not whole and draw(st.integers(0, 4)):
        return Align(found.name, len(stored[found.name]) - 1, 64)
    return Swizzle(found.name, _one(draw, (None, None, None, 2, 4)))


def _is_whole_units(extent: Expr, b: Buffer) -> bool:
    return prove(compare("==", floor_mod(extent, integer(32 // b.dtype.bytes)), integer(0)), NO_FACTS)


def _fission(draw: st.DrawFn, seen: Seen) -> Directive | None:
    """Mostly of a loop whose parts share no buffer of one trip."""
    shared = [(loop.var, _below(loop)) for loop, _ in seen.loops if isinstance(_below(loop), Seq)]
    free = [
        (loop.var, below)
        for (loop, _) in seen.loops
        if isinstance(below := _below(loop, through_buffers=False), Seq) and loop.kind == SERIAL
    ]
    if not shared:
        return None
    loop, below = _one(draw, free if free and draw(st.integers(0, 3)) else shared)
    assert isinstance(below, Seq)
    return Fission(loop, draw(st.integers(1, len(below.items) - 1)))


def _merge(draw: st.DrawFn, seen: Seen) -> Directive | None:
    pairs = seen.side_by_side()
    return Merge(_one(draw, pairs)) if pairs else None


def _rfactor(draw: st.DrawFn, seen: Seen) -> Directive | None:
    steps = seen.reduction_loops()
    if not steps:
        return None
    loop, stage = _one(draw, steps)
    return Rfactor(loop, of=stage, as_=seen.unused(("H", "HH", "HHH")))


def _prefetch(draw: st.DrawFn, seen: Seen) -> Directive | None:
    given = {b.name for b in seen.kernel.arguments}
    own = {name for name, _ in seen.allocated()} if draw(st.booleans()) else set()
    reads = [(tensor, loop) for tensor, loop in seen.reads() if tensor in given | own]
    if not reads:
        return None
    tensor, at = _one(draw, reads)
    around = [x.var for found, path in seen.loops if found.var == at for x in path if isinstance(x, For)]
    return Prefetch(tensor, at, _one(draw, (1, 2, 9)), _one(draw, (None, *around)))


def _stream(draw: st.DrawFn, seen: Seen) -> Directive | None:
    stages = [s.name for s in seen.kernel.program.stages if s.reduction is None]
    return Stream((_one(draw, stages),)) if stages else None


def _fold(draw: st.DrawFn, seen: Seen) -> Directive | None:
    """Of a recurrence, or of what is computed in a loop that it stands in with its readers."""
    recurring = [name for r in seen.kernel.program.recurrences for name in r.stages]
    inside = [s.stage for loop, _ in seen.loops for s in _stores_beside_others(loop)]
    own = {name for name, _ in seen.allocated()}
    stages = [name for name in (*recurring, *inside) if name in own]
    return Fold(_one(draw, stages), _one(draw, (1, 2, 3, 4))) if stages else None


def _stores_beside_others(loop: For) -> list[Store | Accumulate]:
    found = [s for s, _ in walk_stmt(loop) if isinstance(s, Store | Accumulate)]
    return found if len({s.stage for s in found}) > 1 else []


def _pipeline(draw: st.DrawFn, seen: Seen) -> Directive | None:
    """Of a loop with a copy of an input in its body, so far as the names tell."""
    copies = {"R", "S", "T"}
    loops = [
        loop.var
        for loop, _ in seen.loops
        if loop.kind == SERIAL
        and any(isinstance(s, Alloc) and s.buffer.name in copies for s, _ in walk_stmt(loop))
    ]
    return Pipeline(_one(draw, loops), _one(draw, (2, 3))) if loops else None


def _online(draw: st.DrawFn, seen: Seen) -> Directive | None:
    """Of a maximum over an axis and some sums behind it, at a loop of what reads them."""
    stages = seen.kernel.program.stages
    best = [s for s in stages if s.reduction and s.reduction.reducer in ("max", "min")]
    sums = [s for s in stages if s.reduction and s.reduction.reducer == "sum" and s not in best]
    loops = [loop.var for loop, _ in seen.loops if not loop.is_reduction]
    if not best or not sums or not loops:
        return None
    first = _one(draw, best)
    chosen = [first, *draw(st.lists(st.sampled_from(sums), min_size=1, max_size=2, unique=True))]
    axes = tuple(f"{s.name}.{s.reduction.axes[-1].name}" for s in chosen if s.reduction)
    last = [loop for loop in loops if loop.startswith(f"{stages[-1].name}.")]
    return Online(axes, tuple(s.name for s in chosen), _one(draw, last or loops), _one(draw, (2, 4)))


def _precompute(draw: st.DrawFn, seen: Seen) -> Directive | None:
    params = set(seen.kernel.program.params)
    stages = [s.name for s in seen.kernel.program.stages if any(x.buffer in params for x in loads(s.value))]
    return Precompute((_one(draw, stages),)) if stages else None


def _compensate(draw: st.DrawFn, seen: Seen) -> Directive | None:
    """Of any stage with bytes in it, also one that has no zero points to take out."""
    stages = [s.name for s in seen.kernel.program.stages if any(x.dtype.bits == 8 for x in loads(s.value))]
    return Compensate(_one(draw, stages)) if stages else None


def _tensorize(draw: st.DrawFn, seen: Seen) -> Directive | None:
    """`vpdpbusd` over the loops `ji` and `q` of a stage, or the next line on the way there."""
    found = {loop.var: loop for loop, _ in seen.loops if loop.kind == SERIAL}
    stages = [var.removesuffix(".q") for var in found if var.endswith(".q")]
    if not stages:
        return None
    stage = _one(draw, stages)
    if f"{stage}.j" in found:
        return Split(f"{stage}.j", by=16)
    chain = next((c for c in seen.chains() if f"{stage}.q" in c and f"{stage}.ji" in c), None)
    if chain is None:
        return None
    wanted = [f"{stage}.ji", f"{stage}.q"]
    if chain[-2:] != wanted:
        return Reorder((*(var for var in chain if var not in wanted), *wanted))
    return Tensorize(tuple(wanted), "vpdpbusd")


def _distribute(draw: st.DrawFn, seen: Seen) -> Directive | None:
    """Of registers on a GPU, like others."""
    allocated = [s.buffer for s, _ in walk_stmt(seen.kernel.body) if isinstance(s, Alloc)]
    registers = [b.name for b in allocated if b.scope == Scope.REGISTER]
    if len(registers) < 2 or not seen.kernel.target.startswith("cuda"):
        return None
    buffer, like = draw(st.permutations(registers))[:2]
    return Distribute(buffer, like)


# How often each verb is drawn.
DRAWERS: list[tuple[Drawer, int]] = [
    (_split, 3),
    (_reorder, 2),
    (_tile, 1),
    (_fuse, 1),
    (_unroll, 1),
    (_vectorize, 2),
    (_parallel, 2),
    (_bind, 2),
    (_inline, 1),
    (_compute_at, 4),
    (_compute_root, 1),
    (_cache_read, 2),
    (_cache_write, 2),
    (_set_scope, 1),
    (_set_layout, 1),
    (_align, 1),
    (_swizzle, 2),
    (_fission, 1),
    (_merge, 1),
    (_rfactor, 1),
    (_prefetch, 1),
    (_stream, 1),
    (_fold, 1),
    (_pipeline, 1),
    (_online, 1),
    (_precompute, 1),
    (_compensate, 1),
    (_tensorize, 2),
    (_distribute, 1),
]
_WEIGHTED = [drawer for drawer, weight in DRAWERS for _ in range(weight)]
PLACING = (_inline, _compute_at, _online)  # too late once the loops of a stage have changed


@dataclass
class Drawn:
    """A kernel after the lines that were accepted, and how many of each verb were drawn and accepted."""

    kernel: Kernel
    lines: list[Directive] = field(default_factory=list)
    drawn: Counter[str] = field(default_factory=Counter)
    accepted: Counter[str] = field(default_factory=Counter)

    def __repr__(self) -> str:
        """The lines alone: with the program's text, they are what reproduces a failure."""
        return "".join(f"\n    {line}" for line in self.lines)


@st.composite
def schedules_of(draw: st.DrawFn, plain: Kernel, most: int = 12) -> Drawn:
    """A random schedule of a kernel. A refused line leaves it as it was."""
    found = Drawn(plain)
    drawers = draw(st.lists(st.sampled_from(_WEIGHTED), min_size=1, max_size=most))
    if draw(st.integers(0, 3)):  # in the order in which people write them
        drawers.sort(key=lambda drawer: drawer not in PLACING)
    for drawer in drawers:
        line = drawer(draw, Seen(found.kernel))
        if line is None:
            continue
        verb = type(line).__name__
        found.drawn[verb] += 1
        try:
            found.kernel = apply(found.kernel, line)
        except ScheduleError:
            continue
        except InvalidIR as broken:
            raise AssertionError(f"{found!r}\n    {line}") from broken
        found.accepted[verb] += 1
        found.lines.append(line)
    return found
