"""Loop IR: how an op is computed. Scheduling rewrites it, backends translate it.

Meaning
-------
A `Kernel` runs its body once per call. Statements run in order.

- `For`: the body once for each value of `var` from 0 to `extent - 1`. A `serial`
  loop runs in that order; a `parallel` one in any order and at the same time; an
  `unrolled` one in order, written out; a `vector` one as if all trips ran in
  lockstep, statement by statement; a `tensorized` one in any order, by one instruction
  that runs it together with the vector loop inside. A loop bound to a level of a target
  (`block.x`, `thread.x`) is a parallel one that runs there. The kind never changes what is
  computed: the rewrites that set it have proved that.
- `Store`: `buffer[index] = value`; with `stream`, past the caches where the target can (and the
  buffer has at least `stream_above` bytes),
  with `method`, by the instructions of a target that copy so. At the final level a store by `cp_async` is
  asynchronous: it happens at any time from there to the `Wait` that waits for it, and what it reads is read then.
- `Accumulate`: `buffer[index] = reducer(buffer[index], value)`, a step of a
  reduction. `over` names its reduction loops; before the first of their trips the
  target holds `start` (None: whatever it already holds). No statement that writes
  `start` exists before `finalize`, so loops may be permuted freely until then.
  A float `sum` of a product is one `fma`, as in the tensor IR.
  With `intrinsic`, at the final level alone, it is a step of the lanes of a warp together, in a loop of these:
  of all elements of a tile, over all terms of one. Each lane names the first element that it has of the tile of
  the result, and those of the operands in `value` (`te.schedule.fragments`). `kept`, if any, says which elements
  that the lane has of the first operand take part, slot by slot; a term without it is not there.
- `If`: the body where the condition holds, else `otherwise`. Guards sit at the
  innermost place until `finalize` moves them outward. One that is `of_terms` is a
  reduction's `where`: it leaves terms out, and an element that gets none is there all
  the same. Any other says which elements there are.
- `Let`: the body with a name for an index expression. `extent` bounds it: the
  value is known to lie in 0 .. extent - 1 wherever the body's effects happen.
- `Alloc`: a buffer that lives as long as the body. Its contents start undefined,
  and the verifier shows that nothing reads them before they are written.
- `Completed`: the body in the last trip of the loops `over`, which stand around it:
  what they reduce is complete there. Where one of them has no trip, the body runs
  once all the same, for each trip of the data loops between them. Guards of those
  loops do not guard it.

- `Barrier`: the threads of a block wait for each other here, and see what the others have written. It stands
  inside block loops and outside thread loops, at the final level alone. Where statements run in order,
  nothing is to be waited for.

- `Commit`: ends a group of asynchronous stores, of those that a thread has begun since the one before; it may
  be empty. `Wait`: all groups of the thread but the last `pending` are done. At the final level alone.

- `Combine`: of a register buffer of which each thread has its own, in each element and each thread, the
  reduction over the threads that differ at one level alone, in halves: 0 with 16, 1 with 17, .. of 32, then 0
  with 8, and so on. With `width`, over so many neighbours at that level, a power of two.

Buffers have logical indices. One that holds a part of a tensor keeps the tensor's
indices: `origin` is the first that it holds. `layout` says where an element lies.
Two levels are told apart by `Kernel.level`: `scheduled` (what directives see) and
`final` (buffers are row-major and begin at 0, every `start` is None, no `Completed`
is left, guards moved outward, accumulators in registers; what backends see).

Every loop belongs to a stage and is named `stage.index`. A loop that is no
reduction loop of its stage is a data loop: different trips define different
elements, unless `overlaps` says that trips may define an element again (the
`shift` tail), each time with the same value. Stages may share a loop: it is a
reduction loop of the statements that have it in `over` (`is_reduction`: there are
some), a data loop of the stages in `data_of`, and for the others in it a mere
repetition, which says nothing about their elements.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import TypeAlias

from te.ir.expr import Const, Expr, Load, Select
from te.ir.tensor import Program
from te.ir.types import DType
from te.ir.visit import loads, rewrite, substitute

SERIAL, UNROLLED, VECTOR, PARALLEL, TENSORIZED = "serial", "unrolled", "vector", "parallel", "tensorized"
# What a loop may be bound to on targets that have it, and how deep that stands.
_LEVELS = ("cluster.x", "block.x block.y block.z", "warpgroup", "warp", "thread.x thread.y thread.z lane")
BINDINGS = {binding: rank for rank, level in enumerate(_LEVELS) for binding in level.split()}
BLOCKS = frozenset({"block.x", "block.y", "block.z"})
THREADS = frozenset({"warp", "thread.x", "thread.y", "thread.z", "lane"})  # inside a block
CONCURRENT = frozenset({PARALLEL, *BINDINGS})  # the kinds of loops whose trips may run at the same time


@dataclass(frozen=True, slots=True)
class Swizzle:
    """A permutation of the units of a row: unit `u` of row `r` lies at `u ^ (r // rows) % by`.

    A row is what has one index but for the last, `r` the last of those, and a unit `unit` elements of it.
    """

    by: int  # a power of two; a row is a whole number of so many units
    unit: int
    rows: int = 1


@dataclass(frozen=True, slots=True)
class Layout:
    """A physical index, outermost first, as expressions over the `axes` of a logical one, from 0.

    The map is one to one. Extents are rounded up to multiples of `align`, where that is given.
    `swizzle` then permutes the last dimension.
    """

    axes: tuple[str, ...]
    dims: tuple[Expr, ...]
    align: tuple[int, ...] = ()
    swizzle: Swizzle | None = None


@dataclass(frozen=True, slots=True)
class Buffer:
    """Where a tensor's elements lie.

    Scopes: `argument` (an input or a result, given by the caller), `global`
    (memory of the call), `shared`, `local` (on a CPU they are as `global`), `stack` (of
    one thread; constant shape), `thread` (of one thread as well, but part of the memory of the
    call; made by `finalize`, inside a parallel loop, with a shape of sizes alone), `register`
    (constant shape; after unrolling and vectorising every index is a constant, except that the
    last one may be the vector loop's variable).
    """

    name: str
    dtype: DType
    shape: tuple[Expr, ...]
    scope: str
    origin: tuple[Expr, ...] = ()  # the logical index of its first element; () means zeros
    layout: Layout | None = None  # None is row-major
    fold: tuple[int, int] | None = None  # an axis of which only so many elements are kept, in slots `i % by`
    like: str = (
        ""  # a register buffer around it: an element is held by the thread that holds the same one there
    )
    private: tuple[
        str, ...
    ] = ()  # levels of threads each of which has its own, of registers outside their loops
    place: int = 0  # of a shared one at the final level: where it begins in the block's memory, in bytes
    filled: bool = False  # before any of its elements is read, each one holds a value
    filling: Const | None = None  # of a copy that holds a number where it overhangs its tensor

    @property
    def exprs(self) -> tuple[Expr, ...]:
        """The expressions over variables around its allocation. Those of the layout are not."""
        return (*self.shape, *self.origin)


@dataclass(frozen=True, slots=True)
class Prefetch:
    """An element to fetch into the caches: a hint, no access. The index lies inside the buffer."""

    buffer: str
    index: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Pipelined:
    """The copies that a loop's body begins with are made `depth - 1` trips ahead."""

    depth: int


@dataclass(frozen=True, slots=True)
class For:
    var: str
    extent: Expr
    body: Stmt
    kind: str = SERIAL
    order: str = ""  # in which a bound loop's trips are started, where that matters
    cluster: int = 1  # how many neighbours of a loop bound to blocks start together
    is_reduction: bool = False
    overlaps: bool = False
    peel: bool = False  # finalize runs the full trips in a loop of their own, without the tail's guard
    data_of: frozenset[str] = frozenset()  # stages whose data loop it is, besides its own
    pipeline: Pipelined | None = None
    prefetches: tuple[Prefetch, ...] = ()  # at the start of each trip, unless it is a vector loop
    intrinsic: str | None = None  # of a tensorized loop: the instruction

    @property
    def stage(self) -> str:
        return self.var.rsplit(".", 1)[0].rstrip("'")  # the mark of a name that finalize makes

    def is_data_loop_of(self, stage: str) -> bool:
        """Whether different trips define different elements of a stage (or, where it `overlaps`, the same again)."""
        return stage in self.data_of or (stage == self.stage and not self.is_reduction)


@dataclass(frozen=True, slots=True)
class Store:
    buffer: str
    index: tuple[Expr, ...]
    value: Expr
    stage: str
    stream: bool = False
    stream_above: int = 0  # bytes of the buffer, from which on `stream` counts
    method: str = ""


@dataclass(frozen=True, slots=True)
class Accumulate:
    buffer: str
    index: tuple[Expr, ...]
    reducer: str
    value: Expr
    over: frozenset[str]
    start: Expr | None
    stage: str
    intrinsic: str = ""
    kept: tuple[Expr, ...] = ()


@dataclass(frozen=True, slots=True)
class If:
    condition: Expr
    body: Stmt
    otherwise: Stmt | None = None
    of_terms: bool = False


@dataclass(frozen=True, slots=True)
class Let:
    var: str
    value: Expr
    extent: Expr
    body: Stmt


@dataclass(frozen=True, slots=True)
class Alloc:
    buffer: Buffer
    body: Stmt


@dataclass(frozen=True, slots=True)
class Completed:
    over: frozenset[str]
    body: Stmt


@dataclass(frozen=True, slots=True)
class Barrier:
    pass


@dataclass(frozen=True, slots=True)
class Commit:
    pass


@dataclass(frozen=True, slots=True)
class Wait:
    pending: int  # groups that may still be under way


@dataclass(frozen=True, slots=True)
class Combine:
    buffer: str
    reducer: str
    level: str  # of threads
    stage: str
    width: int = 0  # 0: all threads of the level


@dataclass(frozen=True, slots=True)
class Seq:
    items: tuple[Stmt, ...]


Stmt: TypeAlias = (
    For | Store | Accumulate | If | Let | Alloc | Completed | Barrier | Commit | Wait | Combine | Seq
)

SCHEDULED, FINAL = "scheduled", "final"
ASYNC = "cp_async"  # the `method` of a store that is asynchronous


@dataclass(frozen=True, slots=True)
class Kernel:
    """A program with the loops that compute it.

    `arguments` are the inputs, then the results, in the order of the op's
    signature, then what the program's checks find and its tables. `touched` names
    the stages whose loops a directive has changed, `precomputed` the buffers that are computed
    once where the `param`s they depend on are bound (which changes nothing of what they hold).
    `target` is the one that it is for, or its schedule: some have loops, and copies, that others lack.
    """

    program: Program
    arguments: tuple[Buffer, ...]
    body: Stmt
    level: str = SCHEDULED
    touched: frozenset[str] = field(default=frozenset())
    precomputed: tuple[str, ...] = ()
    target: str = "llvm"

    @property
    def name(self) -> str:
        return self.program.name


def seq(*items: Stmt | None) -> Stmt:
    """Statements in order; nested sequences are flattened, a single one stands alone."""
    flat: list[Stmt] = []
    for item in items:
        if isinstance(item, Seq):
            flat.extend(item.items)
        elif item is not None:
            flat.append(item)
    return flat[0] if len(flat) == 1 else Seq(tuple(flat))


def copied(value: Expr) -> Load | None:
    """The element that a plain copy is of, or zero bits where a condition does not hold; None for any other value."""
    if isinstance(value, Select):
        rest = value.otherwise
        is_zero = isinstance(rest, Const) and repr(rest.value) in ("0", "0.0", "False")
        value = value.then if is_zero and not any(loads(value.condition)) else rest
    return value if isinstance(value, Load) else None


def joined(items: Iterable[Stmt], stands_apart: Callable[[Stmt], bool]) -> list[Stmt]:
    """Statements in order, where neighbours that do not stand apart are one."""
    groups = [(is_apart, [*group]) for is_apart, group in groupby(items, stands_apart)]
    return [s for is_apart, group in groups for s in (group if is_apart else [seq(*group)])]


def bodies(s: Stmt) -> tuple[Stmt, ...]:
    match s:
        case Seq():
            return s.items
        case If():
            return (s.body,) if s.otherwise is None else (s.body, s.otherwise)
        case For() | Let() | Alloc() | Completed():
            return (s.body,)
        case Store() | Accumulate() | Barrier() | Commit() | Wait() | Combine():
            return ()


def with_bodies(s: Stmt, new: tuple[Stmt, ...]) -> Stmt:
    match s:
        case Seq():
            return seq(*new)
        case If():
            return replace(s, body=new[0], otherwise=new[1] if s.otherwise is not None else None)
        case For() | Let() | Alloc() | Completed():
            return replace(s, body=new[0])
        case Store() | Accumulate() | Barrier() | Commit() | Wait() | Combine():
            return s


def rewrite_stmt(s: Stmt, f: Callable[[Stmt], Stmt]) -> Stmt:
    """Apply `f` to every statement, inner ones first. What does not change keeps its identity."""
    old = bodies(s)
    new = tuple([rewrite_stmt(b, f) for b in old])
    if any(a is not b for a, b in zip(old, new, strict=True)):
        s = with_bodies(s, new)
    return f(s)


def map_exprs(s: Stmt, f: Callable[[Expr], Expr]) -> Stmt:
    """Apply `f` to every expression that stands directly in a statement, in the whole tree."""
    return rewrite_stmt(s, lambda one: map_direct_exprs(one, f))


def map_direct_exprs(s: Stmt, f: Callable[[Expr], Expr]) -> Stmt:
    """Apply `f` to the expressions that stand directly in one statement."""
    match s:
        case Store():
            return replace(s, index=tuple(f(i) for i in s.index), value=f(s.value))
        case Accumulate():
            return replace(
                s,
                index=tuple(f(i) for i in s.index),
                value=f(s.value),
                start=None if s.start is None else f(s.start),
                kept=tuple(f(c) for c in s.kept),
            )
        case For():
            return replace(s, extent=f(s.extent), prefetches=map_prefetches(s, f))
        case If():
            return replace(s, condition=f(s.condition))
        case Let():
            return replace(s, value=f(s.value), extent=f(s.extent))
        case Alloc():
            return replace(s, buffer=map_buffer(s.buffer, f))
        case Seq() | Completed() | Barrier() | Commit() | Wait() | Combine():
            return s


def map_prefetches(loop: For, f: Callable[[Expr], Expr]) -> tuple[Prefetch, ...]:
    """Apply `f` to the indices of a loop's prefetches."""
    return tuple(replace(p, index=tuple(f(i) for i in p.index)) for p in loop.prefetches)


def map_buffer(b: Buffer, f: Callable[[Expr], Expr]) -> Buffer:
    """Apply `f` to the expressions of a buffer."""
    return replace(b, shape=tuple(f(d) for d in b.shape), origin=tuple(f(d) for d in b.origin))


def rename_buffer(s: Stmt, old: str, new: str) -> Stmt:
    """Read and write another buffer in the place of one, and be distributed like it."""

    def expr(e: Expr) -> Expr:
        return replace(e, buffer=new) if isinstance(e, Load) and e.buffer == old else e

    def stmt(s: Stmt) -> Stmt:
        match s:
            case Store() | Accumulate() | Combine() if s.buffer == old:
                return replace(s, buffer=new)
            case Alloc() if s.buffer.like == old:
                return replace(s, buffer=replace(s.buffer, like=new))
        return s

    return rewrite_stmt(map_exprs(s, lambda e: rewrite(e, expr)), stmt)


def substitute_stmt(s: Stmt, values: Mapping[str, Expr]) -> Stmt:
    """Put expressions in the place of variables everywhere in a statement."""
    return map_exprs(s, lambda e: substitute(e, values))


def walk_stmt(s: Stmt, path: tuple[Stmt, ...] = ()) -> Iterator[tuple[Stmt, tuple[Stmt, ...]]]:
    """Every statement with the statements around it, outermost first."""
    pending = [(s, path)]  # no recursion: each statement would pass through the generators of all around it
    while pending:
        found = pending.pop()
        yield found
        s, path = found
        inner = bodies(s)
        if inner:
            path = (*path, s)
            pending += [(body, path) for body in reversed(inner)]


def fetched_at(s: Stmt) -> tuple[Expr, ...]:
    """The indices of a statement's prefetches."""
    return tuple(i for p in s.prefetches for i in p.index) if isinstance(s, For) else ()


def direct_exprs(s: Stmt) -> tuple[Expr, ...]:
    """The expressions that stand directly in one statement, those of prefetches left out."""
    match s:
        case Store():
            return (*s.index, s.value)
        case Accumulate():
            return (*s.index, s.value, *s.kept) if s.start is None else (*s.index, s.value, s.start, *s.kept)
        case For():
            return (s.extent,)
        case If():
            return (s.condition,)
        case Let():
            return (s.value, s.extent)
        case Alloc():
            return s.buffer.exprs
        case Seq() | Completed() | Barrier() | Commit() | Wait() | Combine():
            return ()
