"""Attention in one launch: a block takes a tile of queries over all keys, a tile of keys at a time.

What is an attention, and how its sums follow a running maximum, is said in `te.schedule.auto.attention`. Here a
block of threads holds logits, weights and the sums of its queries in registers, as a tile of a product (`tiles.py`)
is held:

    for each tile of keys:
      for each slice of the head:  copy K to shared memory, turned;  logits += Q * K
      maximum, weights and their sum: from registers; the threads of a row combine theirs in halves
      weights to shared memory, turned
      for each slice of the keys:  copy V to shared memory;  A = A * scale + weights * V

The threads along x share a row: they are neighbours in a warp. Of a causal mask, tiles of keys that no query sees
are left out, and only those on the diagonal ask for each key (Dao, "FlashAttention-2", 2023).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from te.ir.expr import TRUE, Const, Load, Var
from te.ir.loop import Alloc, For, Kernel, Stmt, walk_stmt
from te.ir.tensor import Axis, Program, Stage
from te.ir.visit import variables
from te.schedule.auto.attention import Attention
from te.schedule.auto.gpu.points import planes_on_blocks
from te.schedule.directives import (
    Align,
    Bind,
    CacheRead,
    ComputeAt,
    Fuse,
    Online,
    Reorder,
    SetScope,
    Split,
    Unroll,
    Vectorize,
)
from te.schedule.forms import Directive, Layout, Scope, TensorAxes
from te.schedule.names import index_of
from te.schedule.nest import loop_name
from te.schedule.placement import reads_of

ACCESS_BYTES = 16  # the most that a thread reads or writes at once
HIGH, WIDE = 16, 8  # threads of a block, along queries and along keys
SLICE = 16  # terms that are in shared memory at a time
WHOLE_HEAD = 128  # of which the queries stay in shared memory for all keys


@dataclass(frozen=True, slots=True)
class Tile:
    """What a block computes at a time: `rows` a thread, and groups of `lanes` keys or columns."""

    rows: int
    lanes: int
    key_groups: int
    column_groups: int

    @property
    def queries(self) -> int:
        return HIGH * self.rows

    @property
    def keys(self) -> int:
        return WIDE * self.lanes * self.key_groups

    @property
    def columns(self) -> int:
        return WIDE * self.lanes * self.column_groups


def tile_for(a: Attention) -> Tile:
    """A tile for sizes, as far as they are known."""
    rows, columns = extent_of(a.leader, a.roles[a.leader.name].row), extent_of(a.values, a.columns)
    lanes = max(2, min(4, ACCESS_BYTES // a.values.tensor.dtype.bytes))
    each = 4
    while rows is not None and each > 2 and HIGH * each // 2 >= rows:
        each //= 2
    groups = 2
    if columns is not None:
        groups = next((n for n in (1, 2) if columns <= WIDE * lanes * n), 4)
    return Tile(each, lanes, 2, groups)


def placing(a: Attention) -> list[Directive]:
    """The lines that bring the reductions to a tile of queries."""
    tile, result = tile_for(a), a.result
    row, column, others = axes_of_result(a)
    axis = a.roles[a.leader.name].key
    keys = [loop_name(s.name, a.roles[s.name].key) for s in a.sums if a.roles[s.name].key != axis]
    order = [*others, "block_y", "block_x", "in_y", "in_x"]
    at = loop_name(result.name, "block_x")
    return [
        Split(loop_name(result.name, row), by=tile.queries, into=("block_y", "in_y")),
        Split(loop_name(result.name, column), by=tile.columns, into=("block_x", "in_x")),
        Reorder(tuple(loop_name(result.name, name) for name in order)),
        Online((axis, *keys), tuple(stage.name for stage in a.members), at, tile.keys),
    ]


def moving(a: Attention, kernel: Kernel) -> list[Directive]:
    """The lines that bring what the maximum reads to a tile of keys, too, once `placing` is done.

    Where several tiles hold the columns of a query, its logits are computed for each.
    """
    tile = loop_of_tiles(a, kernel)
    inside = stages_in_tile(a, kernel)
    late = [
        stage.name
        for stage in kernel.program.stages
        if stage.name in a.roles
        and a.roles[stage.name].row
        and a.roles[stage.name].key
        and stage.name not in inside
    ]
    return [ComputeAt(tuple(late), loop_of_blocks(tile, a))] if late else []


def within(a: Attention, kernel: Kernel) -> list[Directive]:
    """The lines for what stands in a tile of queries, once `placing` and `moving` are done."""
    sizes, tile = tile_for(a), loop_of_tiles(a, kernel)
    return _Within(a, kernel.program, tile, sizes).lines()


def stages_in_tile(a: Attention, kernel: Kernel) -> set[str]:
    """What is computed in a tile, in all."""
    return {s.stage for s, _ in walk_stmt(loop_of_tiles(a, kernel)) if isinstance(s, For)}


def loop_of_tiles(a: Attention, kernel: Kernel) -> For:
    at = loop_name(a.result.name, "block_x")
    return next(s for s, _ in walk_stmt(kernel.body) if isinstance(s, For) and s.var == at)


def axes_of_result(a: Attention) -> tuple[str, str, list[str]]:
    """The axes of queries, of columns, and the other ones of the result."""
    row = a.roles[a.result.name].row
    position = [axis.name for axis in a.values.axes].index(a.columns)
    loads = [load for load in reads_of(a.result) if load.buffer == a.values.name]
    column = next(iter(variables(loads[0].index[position])))
    return row, column, [axis.name for axis in a.result.axes if axis.name not in (row, column)]


def _axis(stage: Stage, name: str) -> Axis:
    axes = [*stage.axes, *(stage.reduction.axes if stage.reduction else ())]
    return next(axis for axis in axes if axis.name == name)


def extent_of(stage: Stage, name: str) -> int | None:
    extent = _axis(stage, name).extent
    return int(extent.value) if isinstance(extent, Const) else None


class _Within:
    """What stands in a tile of queries, on the way to its lines."""

    def __init__(self, a: Attention, program: Program, body: For, tile: Tile):
        self.a, self.program, self.tile = a, program, tile
        self.at = body.var
        self.nests = nests_in(body)
        self.buffers = {s.buffer.name for s, _ in walk_stmt(body) if isinstance(s, Alloc)}
        self.blocks = loop_of_blocks(body, a)
        self.terms = {s.var for s, _ in walk_stmt(body) if isinstance(s, For) and s.is_reduction}
        self.copied: set[str] = set()

    def lines(self) -> list[Directive]:
        lines: list[Directive] = []
        for name, loops in self.nests.items():
            lines += self._nest(name, loops)
        for name in self.nests:
            lines += self._copies_for(name)
        result = self.a.result
        *_, others = axes_of_result(self.a)
        lines += planes_on_blocks(result.name, others)
        return [*lines, *(Bind(loop_name(result.name, f"block_{d}"), f"block.{d}") for d in "yx")]

    # ------------------------------------------------------------ loops

    def _nest(self, name: str, loops: Sequence[str]) -> list[Directive]:
        """Lines for the loops of a stage in the tile, and where its buffer lives."""
        row = self._row(name, loops)
        rest = [loop for loop in loops if loop != row]
        if name == self.a.logits.name:
            key = loop_name(name, self.a.roles[name].key)
            return self._product(name, row, key, [loop for loop in rest if loop != key])
        if name == self.a.values.name:
            column = loop_name(name, self.a.columns)
            return self._product(name, row, column, [loop for loop in rest if loop != column])
        scope = [SetScope(name, Scope.REGISTER)] if name in self.buffers else []
        is_search = name not in self.a.roles and all(loop in self.terms for loop in rest)
        if (
            row and is_search
        ):  # of what rows have seen, if it has rest: of few rows, and by each thread of one
            return [*scope, *self._rows(name, row), *_on_threads(name, "y")]
        if row and len(rest) == 1 and self._is_across(name, rest[0]):
            lines = [*scope, *self._rows(name, row), *self._across(name, rest[0])]
            lines.append(_ordered(name, "thread_y", "thread_x", "own_y", "group", "own_x"))
            lines += _on_threads(name, "yx")
            return [*lines, Vectorize((loop_name(name, "own_x"),))] if name == self.a.result.name else lines
        return [*self._shared(name, loops)]

    def _row(self, name: str, loops: Sequence[str]) -> str:
        """The loop over queries in a nest, one that `online` made included."""
        if name == self.a.result.name:
            return loop_name(name, "in_y")
        roles = self.a.roles
        rows = {roles[name].row} if name in roles else {role.row for role in roles.values()}
        return next((loop for loop in loops if index_of(loop) in rows), "")

    def _is_across(self, name: str, loop: str) -> bool:
        """Whether a loop that is not over queries is over keys or columns."""
        if name not in self.a.roles or name == self.a.result.name:
            return True  # before or behind the sums, or the result
        roles = self.a.roles[name]
        return bool(roles.key) and index_of(loop) in (roles.key, f"{self.a.roles[self.a.leader.name].key}i")

    def _rows(self, name: str, row: str) -> list[Directive]:
        return [Split(row, by=self.tile.rows, into=("thread_y", "own_y"))]

    def _across(self, name: str, loop: str) -> list[Directive]:
        """Lines that share keys or columns out to the threads along x."""
        lanes = self.tile.lanes
        return [
            Split(loop, by=WIDE * lanes, into=("group", "in_group")),
            Split(loop_name(name, "in_group"), by=lanes, into=("thread_x", "own_x")),
        ]

    def _product(self, name: str, row: str, across: str, terms: Sequence[str]) -> list[Directive]:
        """Lines for a contraction, a slice of its terms at a time. `whole` is a loop of one trip around."""
        scope = [SetScope(name, Scope.REGISTER)] if name in self.buffers else []
        *outer, term = terms
        lines: list[Directive] = [*scope, *self._rows(name, row), *self._across(name, across)]
        if name == self.a.values.name:
            lines.append(Split(term, by=self.tile.keys, into=("whole", "part")))
            outer, term = [*outer, loop_name(name, "whole")], loop_name(name, "part")
        lines.append(Split(term, by=SLICE, into=("slice", "term")))
        order = ("slice", "thread_y", "thread_x", "term", "own_y", "group", "own_x")
        lines.append(Reorder((*outer, *(loop_name(name, part) for part in order))))
        lines += _on_threads(name, "yx")
        made = self.program.stage(name)
        is_plain = made.reduction is None or made.reduction.where == TRUE or name == self.a.values.name
        return [*lines, Unroll((loop_name(name, "term"),))] if is_plain else lines

    def _shared(self, name: str, loops: Sequence[str]) -> list[Directive]:
        """Lines for what all threads of the block compute for each other."""
        lines: list[Directive] = [SetScope(name, Scope.SHARED)] if name in self.buffers else []
        return [*lines, *_all_threads(name, [index_of(loop) for loop in loops])]

    # ------------------------------------------------------------ copies

    def _copies_for(self, name: str) -> list[Directive]:
        """Lines that copy what a stage reads to shared memory."""
        stage = next((s for s in self.program.stages if s.name == name), None)
        if stage is None or name not in self.a.roles or name == self.a.result.name:
            return []
        lines: list[Directive] = []
        for load in dict.fromkeys(reads_of(stage)):
            if load.buffer in self.copied:
                continue
            if load.buffer in self.buffers:
                lines += self._weights(stage, load)
            else:
                lines += self._copy(stage, load)
        return lines

    def _weights(self, stage: Stage, load: Load) -> list[Directive]:
        """What threads of a row tell each other: the weights, for the second contraction."""
        roles = self.a.roles.get(load.buffer)
        if stage.name != self.a.values.name or roles is None or not (roles.row and roles.key):
            return []
        self.copied.add(load.buffer)
        made = self.program.stage(load.buffer)
        names = tuple(axis.name for axis in made.axes)
        copy = f"{load.buffer}_shared"
        turned = (*(n for n in names if n not in (roles.row, roles.key)), roles.key, roles.row)
        return [
            CacheRead(
                TensorAxes(load.buffer, names),
                loop_name(stage.name, "whole"),
                as_=copy,
                in_=Scope.SHARED,
                layout=Layout(tuple(map(Var, turned))),
            ),
            Split(loop_name(copy, roles.row), by=self.tile.rows, into=("thread_y", "own_y")),
            *self._across(copy, loop_name(copy, roles.key)),
            _ordered(copy, "thread_y", "thread_x", "group", "own_x", "own_y"),
            *_on_threads(copy, "yx"),
            Unroll(tuple(loop_name(copy, loop) for loop in ("group", "own_x", "own_y"))),
        ]

    def _copy(self, stage: Stage, load: Load) -> list[Directive]:
        """A tensor's part for a slice of terms; for a tile, of one that the terms do not move along."""
        roles = self.a.roles[stage.name]
        is_product = stage.name in (self.a.logits.name, self.a.values.name)
        term = roles.key if stage.name == self.a.values.name else term_of(stage) if is_product else ""
        cut = {roles.row, roles.key, term, self.a.columns if stage.name == self.a.values.name else ""} - {""}
        names = tuple(f"of_{position}" for position in range(len(load.index)))
        moving = [n for n, index in zip(names, load.index, strict=True) if variables(index) & cut]
        if len(moving) != 2:
            return []
        self.copied.add(load.buffer)
        of_terms = [n for n, index in zip(names, load.index, strict=True) if term in variables(index)]
        has_keys = any(roles.key in variables(index) for index in load.index)
        copy = f"{load.buffer}_of_{stage.name}"
        head = extent_of(self.a.logits, term_of(self.a.logits))
        if is_product and of_terms:
            stays = not has_keys and head is not None and head <= WHOLE_HEAD
            at = self.at if stays else loop_name(stage.name, "slice")
        else:
            at = self.blocks if has_keys else self.at
        is_turned = of_terms[-1:] == [names[-1]]
        stored = (*(n for n in names if n not in moving), *_last(moving, of_terms))
        lines: list[Directive] = [
            CacheRead(
                TensorAxes(load.buffer, names),
                at,
                as_=copy,
                in_=Scope.SHARED,
                layout=Layout(tuple(map(Var, stored))) if is_turned else None,
                fill=0,
            )
        ]
        if is_turned:  # so that the elements of a row, which one thread stores, lie in different banks
            extent = self.tile.keys if has_keys else self.tile.queries
            lines.append(Align(copy, len(names) - 1, extent + ACCESS_BYTES // load.dtype.bytes))
        return [*lines, *_copied_by_all(copy, moving, ACCESS_BYTES // load.dtype.bytes)]


def _last(moving: Sequence[str], of_terms: Sequence[str]) -> list[str]:
    return [*(n for n in moving if n in of_terms), *(n for n in moving if n not in of_terms)]


def term_of(stage: Stage) -> str:
    assert stage.reduction is not None
    return stage.reduction.axes[-1].name


def _copied_by_all(copy: str, moving: Sequence[str], lanes: int) -> list[Directive]:
    """Lines for the loops of a copy that all threads of the block make together."""
    row, last = (loop_name(copy, name) for name in moving)
    lanes = min(lanes, SLICE // 2)
    return [
        Split(last, by=lanes, into=("group", "lane")),
        Fuse((row, loop_name(copy, "group")), "element"),
        *_trips(copy),
        Vectorize((loop_name(copy, "lane"),)),
    ]


def _all_threads(name: str, loops: Sequence[str]) -> list[Directive]:
    """Lines that share all loops of a nest out to the threads of the block."""
    lines: list[Directive] = []
    first = loops[0]
    for loop in loops[1:]:
        lines.append(Fuse((loop_name(name, first), loop_name(name, loop)), "element"))
        first = "element"
    return [*lines, *_trips(name, first)]


def _trips(name: str, loop: str = "element") -> list[Directive]:
    return [
        Split(loop_name(name, loop), by=HIGH * WIDE, into=("trip", "at")),
        Split(loop_name(name, "at"), by=WIDE, into=("thread_y", "thread_x")),
        _ordered(name, "thread_y", "thread_x", "trip"),
        Unroll((loop_name(name, "trip"),)),
        *_on_threads(name, "yx"),
    ]


def _ordered(name: str, *loops: str) -> Reorder:
    return Reorder(tuple(loop_name(name, loop) for loop in loops))


def _on_threads(name: str, levels: str) -> list[Directive]:
    return [Bind(loop_name(name, f"thread_{level}"), f"thread.{level}") for level in levels]


def nests_in(tile: For) -> dict[str, list[str]]:
    """The loops of each stage in the tile, outermost first, without those over tiles and blocks."""
    found: dict[str, list[str]] = {}
    for s, _ in walk_stmt(tile.body):
        if isinstance(s, For) and not any(_is_of_another(s, x) for x, _ in walk_stmt(s.body)):
            found.setdefault(s.stage, []).append(s.var)
    return found


def _is_of_another(loop: For, s: Stmt) -> bool:
    return isinstance(s, For) and s.stage != loop.stage


def loop_of_blocks(tile: For, a: Attention) -> str:
    for s, _ in walk_stmt(tile.body):
        if isinstance(s, For) and s.stage == a.leader.name and s.is_reduction:
            return s.var
    raise AssertionError("online makes a loop over blocks")
