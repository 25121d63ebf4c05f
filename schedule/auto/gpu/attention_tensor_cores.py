"""Attention on tensor cores, in one launch: a warp has 16 queries, and keeps all that belongs to them in registers.

As in `attention.py`, a block takes a tile of queries over all keys, a tile of keys at a time. Both products are made
by instructions that multiply matrices, and nothing between them leaves the registers:

    Q to registers, by way of shared memory
    for each tile of keys:
      K and V to shared memory, those of the next tile while this one is used
      logits += Q * K                          by instructions
      maximum, weights and their sum           each lane of its own logits; the four lanes of a row combine theirs
      weights rounded to the type of V         where the instruction takes them: each lane has its own already
      A = A * scale + weights * V              by instructions

So it is FlashAttention-2 (Dao, 2023). That the weights are rounded is the op's to say: there must be a stage that does
it. Heads have up to 128 columns, which are known and whole numbers of the instruction's tiles.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from te.ir.expr import Load, Var
from te.ir.loop import Alloc, For, Kernel, walk_stmt
from te.ir.tensor import Program, Stage
from te.ir.visit import loads, variables
from te.schedule.auto.attention import Attention
from te.schedule.auto.gpu.attention import axes_of_result, extent_of, loop_of_blocks, nests_in, term_of
from te.schedule.auto.gpu.blocks import names_of
from te.schedule.auto.gpu.points import planes_on_blocks
from te.schedule.auto.gpu.tensor_cores import instruction_computing
from te.schedule.directives import (
    Bind,
    CacheRead,
    Distribute,
    Fuse,
    Online,
    Pipeline,
    Reorder,
    SetScope,
    Split,
    Swizzle,
    Tensorize,
    Unroll,
    Vectorize,
)
from te.schedule.forms import CopyMethod, Directive, Scope, TensorAxes
from te.schedule.intrinsics import Meaning, bindings
from te.schedule.names import index_of
from te.schedule.nest import loop_name
from te.target import Target

ACCESS_BYTES = 16  # the most that a thread copies at once
WARP = 32
MOST_WARPS = 4  # of a block
KEYS = 64  # that are in shared memory at a time
WIDEST = 128  # columns of a head, whose sums are in registers
STAYING = 64  # terms of queries that stay in registers; others come from shared memory for each tile of keys
DEPTH = 2  # tiles of keys and values in shared memory


@dataclass(frozen=True, slots=True)
class FlashAttention:
    """An attention whose products are instructions, on the way to its lines."""

    a: Attention
    logits: Meaning
    values: Meaning
    weights: str  # the stage that the second product takes as a factor
    warps: int

    @property
    def rows(self) -> int:
        """The queries of a warp, as many as an instruction's tile has rows."""
        return int(self.logits.tile[self.logits.data[0].name])

    @property
    def columns(self) -> int:
        """Those of an instruction's tile."""
        return int(self.logits.tile[self.logits.data[1].name])

    @property
    def at(self) -> str:
        """The loop over tiles of queries."""
        return loop_name(self.a.result.name, "block_y")

    def placing(self) -> list[Directive]:
        """The lines that bring the reductions to a tile of queries."""
        a, result = self.a, self.a.result
        row, column, others = axes_of_result(a)
        axis = a.roles[a.leader.name].key
        keys = [loop_name(s.name, a.roles[s.name].key) for s in a.sums if a.roles[s.name].key != axis]
        order = [*others, "block_y", "in_y", column]
        return [
            Split(loop_name(result.name, row), by=self.rows * self.warps, into=("block_y", "in_y")),
            Reorder(tuple(loop_name(result.name, name) for name in order)),
            Online((axis, *keys), tuple(stage.name for stage in a.members), self.at, KEYS),
        ]

    def within(self, kernel: Kernel) -> list[Directive]:
        """The lines for what stands in a tile of queries, once `placing` is done."""
        return [*_Within(self, kernel).lines()]

    def stages_in_tile(self, kernel: Kernel) -> set[str]:
        """What is computed in a tile, in all."""
        return {s.stage for s, _ in walk_stmt(_loop(kernel, self.at)) if isinstance(s, For)}


def flash_attention(a: Attention, program: Program, target: Target, fast_math: bool) -> FlashAttention | None:
    """The attention on tensor cores, if those of the target compute its products."""
    logits, values = (instruction_computing(s.value, target, fast_math) for s in (a.logits, a.values))
    weights = [
        load.buffer
        for load in loads(a.values.value)
        if load.buffer in a.roles and a.roles[load.buffer].row and a.roles[load.buffer].key
    ]
    if logits is None or values is None or logits.tile != values.tile or len(weights) != 1:
        return None
    terms, columns = extent_of(a.logits, term_of(a.logits)), extent_of(a.values, a.columns)
    rows, _, in_tile = (int(n) for n in logits.tile.values())
    for size in (terms, columns):
        if size is None or size > WIDEST or size % in_tile:
            return None
    if program.stage(weights[0]).reduction is not None:
        return None
    of = a.roles[a.leader.name]
    queries, keys = (extent_of(a.leader, axis) for axis in (of.row, of.key))
    if (queries is not None and queries < rows) or (keys is not None and keys < KEYS):
        return None  # most of a tile would be empty
    warps = MOST_WARPS
    while queries is not None and rows * warps > queries:
        warps //= 2
    return FlashAttention(a, logits, values, weights[0], warps)


def _loop(kernel: Kernel, name: str) -> For:
    return next(s for s, _ in walk_stmt(kernel.body) if isinstance(s, For) and s.var == name)


class _Within:
    """What stands in a tile of queries, on the way to its lines."""

    def __init__(self, flash: FlashAttention, kernel: Kernel):
        self.flash, self.a, self.program = flash, flash.a, kernel.program
        body = _loop(kernel, flash.at)
        self.nests = nests_in(body)
        self.buffers = {s.buffer.name for s, _ in walk_stmt(body) if isinstance(s, Alloc)}
        self.blocks = loop_of_blocks(body, flash.a)

    def lines(self) -> Iterator[Directive]:
        for name, loops in self.nests.items():
            yield from self._nest(name, loops)
        queries, keys = self._factors(self.a.logits)
        (values,) = [load for load in self._factors(self.a.values) if load.buffer != self.flash.weights]
        yield from self._queries(queries)
        yield from self._tile_of_keys(keys, self.a.logits)
        yield from self._tile_of_keys(values, self.a.values)
        yield Pipeline(self.blocks, depth=DEPTH)
        copies = {load: _copy(load) for load in (queries, keys, values)}
        for copy in copies.values():
            yield Swizzle(copy)
        for stage, load in ((self.a.logits, keys), (self.a.values, values)):
            yield from self._fragments(load, stage)
        for stage, meaning in ((self.a.logits, self.flash.logits), (self.a.values, self.flash.values)):
            inner = tuple(loop_name(stage.name, name) for name in ("row", "column", "term"))
            yield Tensorize(inner, as_=meaning.name)
            yield Unroll((loop_name(stage.name, "step"),))
        for load, copy in copies.items():
            yield from self._on_threads(load, copy)
        *_, others = axes_of_result(self.a)
        yield from planes_on_blocks(self.a.result.name, others, "block.y")
        yield Bind(self.flash.at, "block.x")
        for name in self.nests:  # last, since each line that follows is proved to keep it
            if self._is_of_pairs(name) and name not in (self.a.logits.name, self.flash.weights):
                yield Distribute(name, self.a.logits.name)

    # ------------------------------------------------------------ loops

    def _nest(self, name: str, loops: Sequence[str]) -> Iterator[Directive]:
        """Lines for the loops of a stage in the tile, whose rows are those of the warps."""
        if name in self.buffers:
            yield SetScope(name, Scope.REGISTER)
        yield Split(self._row(name, loops), by=self.flash.rows, into=("warp", "row"))
        if name == self.a.logits.name:
            yield from self._product(
                name,
                self.flash.logits,
                loop_name(name, self.a.roles[name].key),
                loop_name(name, term_of(self.a.logits)),
            )
        elif name == self.a.values.name:
            (term,) = [
                loop for loop in loops if index_of(loop) not in (self.a.roles[name].row, self.a.columns)
            ]
            yield from self._product(name, self.flash.values, loop_name(name, self.a.columns), term)
        yield Bind(loop_name(name, "warp"), "warp")

    def _product(self, name: str, meaning: Meaning, across: str, term: str) -> Iterator[Directive]:
        _, columns, terms = (int(n) for n in meaning.tile.values())
        yield Split(across, by=columns, into=("tile", "column"))
        yield Split(term, by=terms, into=("step", "term"))
        order = ("warp", "step", "tile", "row", "column", "term")
        yield Reorder(tuple(loop_name(name, part) for part in order))

    def _row(self, name: str, loops: Sequence[str]) -> str:
        """The loop over queries in a nest, one that `online` made included."""
        if name == self.a.result.name:
            return loop_name(name, "in_y")
        roles = self.a.roles
        rows = {roles[name].row} if name in roles else {role.row for role in roles.values()}
        return next(loop for loop in loops if index_of(loop) in rows)

    def _is_of_pairs(self, name: str) -> bool:
        roles = self.a.roles.get(name)
        return (
            name in self.buffers
            and roles is not None
            and bool(roles.row and roles.key)
            and self._has_keys(name)
        )

    def _has_keys(self, name: str) -> bool:
        return any(axis.name == self.a.roles[name].key for axis in self.program.stage(name).axes)

    # ------------------------------------------------------------ factors

    def _factors(self, stage: Stage) -> tuple[Load, Load]:
        """What the instruction takes as the rows of a product, and as its columns."""
        meaning = self.flash.logits if stage is self.a.logits else self.flash.values
        row = self.a.roles[stage.name].row
        for found in bindings(meaning.term, stage.value):
            first, second = found.values()
            if any(row in variables(i) for i in first.index):
                return first, second
        raise AssertionError("the instruction computes the product")

    def _queries(self, load: Load) -> Iterator[Directive]:
        """Lines that bring the queries of a tile to registers, for all keys where there are enough."""
        own, tensor = f"{_copy(load)}_own", TensorAxes(load.buffer, names_of(load))
        to_shared = CacheRead(tensor, self.flash.at, as_=_copy(load), in_=Scope.SHARED, fill=0)
        if (extent_of(self.a.logits, term_of(self.a.logits)) or 0) > STAYING:
            yield to_shared
            step, copy = loop_name(self.a.logits.name, "step"), TensorAxes(_copy(load), names_of(load))
            yield CacheRead(copy, step, as_=own, in_=Scope.REGISTER, by=CopyMethod.LDMATRIX)
            return
        yield CacheRead(tensor, self.flash.at, as_=own, in_=Scope.REGISTER)
        row = self.a.roles[self.a.logits.name].row
        (at,) = [n for n, i in zip(names_of(load), load.index, strict=True) if row in variables(i)]
        yield Split(loop_name(own, at), by=self.flash.rows, into=("warp", "row"))
        yield Bind(loop_name(own, "warp"), "warp")
        yield to_shared

    def _tile_of_keys(self, load: Load, stage: Stage) -> Iterator[Directive]:
        yield CacheRead(
            TensorAxes(load.buffer, names_of(load)), self.blocks, as_=_copy(load), in_=Scope.SHARED, fill=0
        )

    def _fragments(self, load: Load, stage: Stage) -> Iterator[Directive]:
        """Lines that load the instruction's tiles of a factor from its copy, two at a time."""
        tensor, own = TensorAxes(_copy(load), names_of(load)), f"{_copy(load)}_own"
        at = loop_name(stage.name, "step")
        yield CacheRead(tensor, at, as_=own, in_=Scope.REGISTER, by=CopyMethod.LDMATRIX)
        columns = self.a.columns if stage is self.a.values else self.a.roles[stage.name].key
        (across,) = [n for n, i in zip(names_of(load), load.index, strict=True) if columns in variables(i)]
        yield Split(loop_name(own, across), by=2 * self.flash.columns, into=("pair", "in_pair"))
        term = term_of(stage)
        (terms,) = [n for n, i in zip(names_of(load), load.index, strict=True) if term in variables(i)]
        yield Reorder(tuple(loop_name(own, name) for name in ("pair", terms, "in_pair")))

    def _on_threads(self, load: Load, copy: str) -> Iterator[Directive]:
        """Lines that share a copy out to all threads of the block."""
        roles = self.a.roles[self.a.logits.name], self.a.roles[self.a.values.name]
        cut = {name for role in roles for name in (role.row, role.key)}
        cut |= {term_of(self.a.logits), self.a.columns}
        moving = [
            n for n, i in zip(names_of(load), load.index, strict=True) if isinstance(i, Var) and i.name in cut
        ]
        first, last = (loop_name(copy, name) for name in moving)
        yield Split(last, by=ACCESS_BYTES // load.dtype.bytes, into=("group", "lane"))
        yield Fuse((first, loop_name(copy, "group")), "element")
        yield Split(loop_name(copy, "element"), by=self.flash.warps * WARP, into=("trip", "thread"))
        yield Vectorize((loop_name(copy, "lane"),))
        yield Bind(loop_name(copy, "thread"), "thread.x")


def _copy(load: Load) -> str:
    return f"{load.buffer}_tile"
