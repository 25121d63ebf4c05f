"""Attention: a contraction, weights from a running maximum, and a second contraction with them.

    S[h, i, j] = sum[d](Q[h, i, d] * K[h, j, d])      logits of queries i and keys j
    m[h, i]    = max[j](S[h, i, j])
    p[h, i, j] = exp(S[h, i, j] - m[h, i])
    l[h, i]    = sum[j](p[h, i, j])
    A[h, i, e] = sum[j](p[h, i, j] * V[h, j, e])
    O[h, i, e] = A[h, i, e] / l[h, i]

What is asked is what `online` asks: that the sums follow the maximum. Then a tile of queries passes
over blocks of keys once, and no row of logits is ever stored (Milakov and Gimelshein, "Online
normalizer calculation for softmax", 2018; Dao et al., "FlashAttention", 2022).

Vectors run along the queries of a tile up to the weights: maximum and sum of a row are then
lanes of one vector, and nothing is added up across lanes. The logits are made for a few keys at a
time, each element of K broadcast, from a turned copy of Q that serves all keys. The weights lie
as the second contraction reads them: those of several queries for one key are neighbours, and
broadcast to vectors along the last axis of V.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from te.ir.expr import Const, Load, Var
from te.ir.loop import For, Kernel, walk_stmt
from te.ir.tensor import Program, Stage
from te.ir.visit import variables
from te.schedule.auto.cost import cost
from te.schedule.auto.loops import lanes_of
from te.schedule.auto.rows import SUMS
from te.schedule.auto.tiles import fused
from te.schedule.directives import (
    CacheRead,
    Online,
    Parallel,
    Reorder,
    SetLayout,
    Split,
    Tile,
    Unroll,
    Vectorize,
)
from te.schedule.forms import Directive, Layout, TensorAxes
from te.schedule.names import index_of
from te.schedule.nest import loop_name
from te.schedule.online.algebra import NotRescalable
from te.schedule.online.following import Member, followers
from te.schedule.placement import readers_of, reads_of
from te.target import Target

KEYS = 64  # in a block: with 64 elements each, K and V of a block fill half of the first-level cache
KEYS_OF_FEW = 256  # in a block, for a few queries
HALVED = 1.035  # times as long a query takes in a tile of half as many
SCALING = 2  # cost of what is computed again at each read
FEWEST_QUERIES = 4  # of a tile; below, most lanes of a vector would be empty


@dataclass(frozen=True, slots=True)
class Roles:
    """What the indices of a stage mean: its query, and its key if it has one. Empty where it has none."""

    row: str
    key: str


@dataclass(frozen=True, slots=True)
class Attention:
    """The stages of an attention, by what they do."""

    leader: Stage  # the running maximum
    sums: tuple[Stage, ...]  # that follow it; the last is the second contraction
    logits: Stage  # the first contraction
    result: Stage  # reads the sums
    roles: dict[str, Roles]  # of these stages, and of what lies between them
    columns: str  # the axis of the second contraction that vectors run along

    @property
    def values(self) -> Stage:
        return self.sums[-1]

    @property
    def members(self) -> tuple[Stage, ...]:
        return (self.leader, *self.sums)


# ---------------------------------------------------------------- recognising it


def attentions_of(program: Program) -> list[Attention]:
    """The attentions of a program."""
    leaders = [s for s in program.stages if s.reduction and s.reduction.reducer in ("max", "min")]
    found = [_attention(program, stage) for stage in leaders]
    return [attention for attention in found if attention is not None]


def _attention(program: Program, leader: Stage) -> Attention | None:
    reads = _reads_of_leader(program, leader)
    values = [s for s in program.stages if s.name in reads and len(s.axes) == len(leader.axes) + 1]
    if len(values) != 1 or any(name in program.outputs for name in (leader.name, *reads)):
        return None
    sums = [*(s for s in program.stages if s.name in reads and s is not values[0]), values[0]]
    columns = {a.name for a in values[0].axes} - {i.name for i in reads[values[0].name]}
    result = _only_reader(program, values[0].name)
    if result is None or result.reduction is not None or len(columns) != 1:
        return None
    for position in reversed(range(len(leader.axes))):
        roles = _roles(program, leader, {s.name: (s, reads[s.name][position]) for s in sums}, position)
        logits = _logits(program, roles)
        own = _index_in(result, values[0], roles[values[0].name].row) if roles else ""
        if logits and own:
            roles[result.name] = Roles(own, "")
            return Attention(leader, tuple(sums), logits, result, roles, columns.pop())
    return None


def _reads_of_leader(program: Program, leader: Stage) -> dict[str, tuple[Var, ...]]:
    """At which element the sums that follow a maximum read it, in their own indices; empty if one cannot."""
    if leader.reduction is None or len(leader.reduction.axes) != 1 or not leader.axes:
        return {}
    sums = _sums_behind(program, leader)
    members = [Member(s, s.reduction.axes[0]) for s in program.stages if s in (leader, *sums) and s.reduction]
    try:
        found = {m.name: m.follows.read.index for m in followers(program, members) if m.follows}
    except NotRescalable:
        return {}
    reads = {name: tuple(i for i in index if isinstance(i, Var)) for name, index in found.items()}
    is_clear = all(len(set(index)) == len(leader.axes) for index in reads.values())
    return reads if is_clear else {}


def _sums_behind(program: Program, leader: Stage) -> list[Stage]:
    """The sums over one axis whose terms read the maximum, themselves or through pointwise stages."""
    late = {leader.name}
    found: list[Stage] = []
    for stage in program.stages:
        if not any(load.buffer in late for load in reads_of(stage)):
            continue
        if stage.reduction is None:
            late.add(stage.name)
        elif stage.reduction.reducer == "sum" and len(stage.reduction.axes) == 1:
            found.append(stage)
    return found


def _only_reader(program: Program, name: str) -> Stage | None:
    readers = readers_of(program, name)
    return readers[0] if len(readers) == 1 else None


def _index_in(reader: Stage, stage: Stage, axis: str) -> str:
    """What an axis of a stage is called in a reader."""
    position = [a.name for a in stage.axes].index(axis)
    names = {load.index[position] for load in reads_of(reader) if load.buffer == stage.name}
    only = next(iter(names)) if len(names) == 1 else None
    return only.name if isinstance(only, Var) else ""


def _roles(
    program: Program, leader: Stage, sums: Mapping[str, tuple[Stage, Var]], position: int
) -> dict[str, Roles]:
    """Queries and keys in the stages that the maximum and the sums are made of; empty if it is not clear.

    `sums` come with the index of a query in each.
    """
    assert leader.reduction is not None
    roles = {leader.name: Roles(leader.axes[position].name, leader.reduction.axes[0].name)}
    for name, (stage, row) in sums.items():
        assert stage.reduction is not None
        roles[name] = Roles(row.name, stage.reduction.axes[0].name)
    for stage in reversed(program.stages):
        mine = roles.get(stage.name)
        if mine is None or (stage.reduction is not None and stage is not leader and stage.name not in sums):
            continue
        for load in reads_of(stage):
            made = next((s for s in program.stages if s.name == load.buffer), None)
            if made is None or made is leader or made.name in sums:
                continue
            own = _roles_in(made, load, mine)
            if own is None or roles.setdefault(made.name, own) != own:
                return {}
    return roles


def _roles_in(stage: Stage, load: Load, reader: Roles) -> Roles | None:
    names = {i: axis.name for i, axis in zip(load.index, stage.axes, strict=True)}
    if len(names) < len(load.index):
        return None
    return Roles(names.get(Var(reader.row), ""), names.get(Var(reader.key), ""))


def _logits(program: Program, roles: dict[str, Roles]) -> Stage | None:
    """The one contraction for queries and keys."""
    found = [
        s
        for s in program.stages
        if s.reduction and s.reduction.reducer == "sum" and s.name in roles and _is_of_pairs(s, roles[s.name])
    ]
    return found[0] if len(found) == 1 else None


def _is_of_pairs(stage: Stage, roles: Roles) -> bool:
    names = {axis.name for axis in stage.axes}
    return roles.row in names and roles.key in names


def stages_to_inline(a: Attention, program: Program) -> list[str]:
    """Stages that are little work in every reader: a scaling of the logits, weights that a cast leaves as they are."""
    return [
        s.name
        for s in program.stages
        if s.name in a.roles
        and s.reduction is None
        and (_is_scaling(a, s) or isinstance(s.value, Load))
        and s is not a.result
    ]


def _is_scaling(a: Attention, s: Stage) -> bool:
    return cost(s.value) <= SCALING and [load.buffer for load in reads_of(s)] == [a.logits.name]


# ---------------------------------------------------------------- lines


@dataclass(frozen=True, slots=True)
class Sizes:
    """What is computed at once."""

    lanes: int
    queries: int  # of a tile: vectors along them
    keys: int  # of a block
    keys_at_once: int  # whose logits are in registers
    queries_at_once: int  # whose sums are in registers


def sizes_for(a: Attention, target: Target) -> Sizes:
    lanes = lanes_of(a.logits, target)
    at_once = 8 if target.vector_registers >= 32 else 4
    queries = 2 * lanes
    known = _extent(a.leader, a.roles[a.leader.name].row)
    if known is not None and known < FEWEST_QUERIES:
        return Sizes(lanes, known, KEYS_OF_FEW, at_once, known)
    if known is not None and _covered(known, lanes) * HALVED <= _covered(known, queries):
        queries = lanes
    while known is not None and queries // 2 >= known:
        queries //= 2
    return Sizes(lanes, queries, KEYS, at_once, min(at_once, queries))


def _covered(extent: int, part: int) -> int:
    """How many there are in the parts that cover an extent."""
    return -(-extent // part) * part


def placing(a: Attention, target: Target) -> list[Directive]:
    """The lines that bring everything to a tile of queries."""
    sizes = sizes_for(a, target)
    result, row = a.result, a.roles[a.result.name].row
    loops = [loop_name(result.name, axis.name) for axis in result.axes if axis.name != row]
    columns = _index_in(result, a.values, a.columns)
    outer = [loop for loop in loops if index_of(loop) != columns]
    inner = [loop for loop in loops if index_of(loop) == columns]
    split = Split(loop_name(result.name, row), by=sizes.queries)
    at, within = (loop_name(result.name, row + part) for part in "oi")
    return [split, Reorder((*outer, at, within, *inner)), _online(a, at, sizes)]


def _online(a: Attention, at: str, sizes: Sizes) -> Online:
    axis = a.roles[a.leader.name].key
    others = [loop_name(s.name, a.roles[s.name].key) for s in a.sums if a.roles[s.name].key != axis]
    names = tuple(stage.name for stage in a.members)
    return Online((axis, *others), names, at, sizes.keys)


def within(a: Attention, kernel: Kernel, target: Target) -> list[Directive]:
    """The lines for what stands in a tile of queries, once `placing` is done: loops, copies, vectors."""
    sizes = sizes_for(a, target)
    at = loop_name(a.result.name, f"{a.roles[a.result.name].row}o")
    tile = next(s for s, _ in walk_stmt(kernel.body) if isinstance(s, For) and s.var == at)
    nests = [_Nest(name, tuple(loops), _row_loop(a, name, loops)) for name, loops in _nests(tile).items()]
    lines = _Lines()
    if sizes.queries < FEWEST_QUERIES:
        for nest in nests:
            _along_keys(a, nest, sizes, lines)
        outermost = _all_tiles(a, at, lines.shaped)
    else:
        turned = Turned(a, kernel.program, at, _loop_of_blocks(tile, a))
        for nest in nests:
            _along_queries(a, nest, sizes, lines, turned)
        blocks = [nest.stage for nest in nests if _is_block(a, kernel.program, nest.stage)]
        lines.shaped[:0] = [_layout(a, kernel.program, name) for name in blocks]
        outermost = _all_tiles(a, at, lines.shaped)
        lines.shaped += turned.lines(at, outermost)
    return [*lines.in_order(), Parallel((outermost,))]


@dataclass(frozen=True, slots=True)
class _Nest:
    """The loops of a stage in the tile, outermost first, and which of them runs over queries, if one does."""

    stage: str
    loops: tuple[str, ...]
    row: str

    def without(self, *loops: str) -> list[str]:
        return [loop for loop in self.loops if loop not in loops]


@dataclass(slots=True)
class _Lines:
    """Lines that shape loops, and the loops that are unrolled and vectorised then, by how much."""

    shaped: list[Directive] = field(default_factory=list)
    unrolled: list[str] = field(default_factory=list)
    vectors: dict[int | None, list[str]] = field(default_factory=dict)

    def vectorize(self, loop: str, by: int | None = None) -> None:
        self.vectors.setdefault(by, []).append(loop)

    def in_order(self) -> list[Directive]:
        unrolled = [Unroll(tuple(self.unrolled))] if self.unrolled else []
        vectors = [Vectorize(tuple(loops), by=by) for by, loops in self.vectors.items()]
        return [*self.shaped, *unrolled, *vectors]


def _along_queries(a: Attention, nest: _Nest, sizes: Sizes, lines: _Lines, turned: Turned) -> None:
    """Vectors of queries; in the second contraction, along its last axis."""
    stage, row = nest.stage, nest.row
    if stage == a.logits.name:
        key = loop_name(stage, a.roles[stage].key)
        lines.shaped += [
            Split(key, by=sizes.keys_at_once),
            Reorder((f"{key}o", *nest.without(row, key), f"{key}i", row)),
        ]
        lines.unrolled.append(f"{key}i")
        lines.vectorize(row)
        turned.add(stage, a.roles[stage].row)
    elif stage == a.values.name:
        column = loop_name(stage, a.columns)
        lines.shaped += [
            Tile((row, column), (sizes.queries_at_once, _columns(a, sizes, 2))),
            Reorder((f"{column}o", f"{row}o", *nest.without(row, column), f"{row}i", f"{column}i")),
        ]
        lines.unrolled.append(f"{row}i")
        lines.vectorize(f"{column}i")
        turned.add(stage, a.columns)
    elif stage in a.roles and stage != a.result.name and row:
        if nest.loops[-1] != row:
            lines.shaped.append(Reorder((*nest.without(row), row)))
        lines.vectorize(row)
        turned.add(stage, a.roles[stage].row)
    elif row and nest.loops == (row,):
        lines.vectorize(row)
    else:
        lines.vectorize(nest.loops[-1], sizes.lanes)


def _along_keys(a: Attention, nest: _Nest, sizes: Sizes, lines: _Lines) -> None:
    """For a query or a few: vectors along what is summed up in the logits, then along keys."""
    stage = nest.stage
    members = {member.name for member in a.members}
    if stage == a.values.name:
        column = loop_name(stage, a.columns)
        lines.shaped += [
            Split(column, by=_columns(a, sizes, SUMS)),
            Reorder((f"{column}o", *nest.without(column), f"{column}i")),
        ]
        lines.vectorize(f"{column}i")
    elif stage in members or stage == a.logits.name:
        lines.vectorize(nest.loops[-1], SUMS * sizes.lanes)
    elif nest.loops != (nest.row,):
        lines.vectorize(nest.loops[-1], sizes.lanes)


def _nests(tile: For) -> dict[str, list[str]]:
    """The loops of each stage in the tile, outermost first, without those over tiles and blocks."""
    found: dict[str, list[str]] = {}
    shared: set[str] = set()
    for s, _ in walk_stmt(tile.body):
        if isinstance(s, For):
            if any(isinstance(x, For) and x.stage != s.stage for x, _ in walk_stmt(s.body)):
                shared.add(s.var)
            else:
                found.setdefault(s.stage, []).append(s.var)
    return found


def _loop_of_blocks(tile: For, a: Attention) -> str:
    for s, _ in walk_stmt(tile.body):
        if isinstance(s, For) and s.stage == a.leader.name and s.is_reduction:
            return s.var
    raise AssertionError("online makes a loop over blocks")


def _row_loop(a: Attention, stage: str, loops: Sequence[str]) -> str:
    """The loop over queries in a nest, one that `online` made included."""
    rows = {roles.row for roles in a.roles.values()}
    names = {a.roles[stage].row} if stage in a.roles else rows
    return next((loop for loop in loops if index_of(loop) in names), "")


def _columns(a: Attention, sizes: Sizes, vectors: int) -> int:
    """How wide the tile of the second contraction is."""
    extent = _extent(a.values, a.columns)
    width = vectors * sizes.lanes
    while extent is not None and width > sizes.lanes and width // 2 >= extent:
        width //= 2
    return width


def _is_block(a: Attention, program: Program, name: str) -> bool:
    """Whether a stage in the loop has an element for each query and key of a block."""
    stage = next((s for s in program.stages if s.name == name), None)
    return stage is not None and name in a.roles and _is_of_pairs(stage, a.roles[name])


def _layout(a: Attention, program: Program, name: str) -> SetLayout:
    stage = next(s for s in program.stages if s.name == name)
    row = a.roles[name].row
    axes = tuple(axis.name for axis in stage.axes)
    return SetLayout(TensorAxes(name, axes), _with_last(axes, row))


def _with_last(axes: Sequence[str], last: str) -> Layout:
    return Layout(tuple(Var(name) for name in (*(n for n in axes if n != last), last)))


def _all_tiles(a: Attention, at: str, lines: list[Directive]) -> str:
    """One loop over all tiles of all heads; its name. Adds the lines."""
    result, row = a.result, a.roles[a.result.name].row
    columns = _index_in(result, a.values, a.columns)
    others = [loop_name(result.name, x.name) for x in result.axes if x.name not in (row, columns)]
    return fused(result, [*others, at], lines)


def _extent(stage: Stage, name: str) -> int | None:
    axes = [*stage.axes, *(stage.reduction.axes if stage.reduction else ())]
    extent = next(axis.extent for axis in axes if axis.name == name)
    return int(extent.value) if isinstance(extent, Const) else None


class Turned:
    """Copies of tensors that vectors would gather from, turned so that they run along the last axis."""

    def __init__(self, a: Attention, program: Program, at: str, blocks: str):
        self.a, self.program, self.at, self.blocks = a, program, at, blocks
        self.found: dict[str, CacheRead] = {}

    def add(self, stage: str, along: str) -> None:
        """What a stage reads, where its vectors run along one of its axes."""
        made = next(s for s in self.program.stages if s.name == stage)
        key = self.a.roles[stage].key
        for load in reads_of(made):
            moving = [n for n, i in enumerate(load.index) if along in variables(i)]
            is_gathered = len(moving) == 1 and moving[0] < len(load.index) - 1
            if load.buffer in self.a.roles or load.buffer in self.found or not is_gathered:
                continue
            moves_with_keys = any(key in variables(i) for i in load.index)
            axes = tuple(f"x{n}" for n in range(len(load.index)))
            self.found[load.buffer] = CacheRead(
                TensorAxes(load.buffer, axes),
                self.blocks if moves_with_keys else self.at,
                f"{load.buffer}_turned",
                layout=_with_last(axes, axes[moving[0]]),
            )

    def lines(self, at: str, outermost: str) -> Iterator[Directive]:
        for line in self.found.values():
            where = outermost if line.at == at else line.at
            yield CacheRead(line.tensor, where, line.as_, layout=line.layout)
