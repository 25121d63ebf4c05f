"""The loops of `online`.

    m_start: m = -inf      l_start: l = 0      A_start: A = 0
    for jo:
      S:       the block of what the reductions read, where they alone read it
      m_old:   m_old = m
      m:       m max= S                        from m_old
      m_scale: m_scale = exp(m_old - m)        1 where m_old is -inf
      m_safe:  m_safe = m                      0 where m is -inf
      p:       p = exp(S - m_safe)
      l:       l sum= p                        from l * m_scale
      A:       A sum= p * V                    from A * m_scale
    l_end: l = nan         A_end: A = nan      where m is -inf though there were elements

Each line is a nest over the part that a trip of the loop `at` needs, and a stage of that name
to the lines of the schedule that follow.

Elements that were all -inf so far are the case to think about. Terms are then taken at 0 instead
of at `m`, and nothing is rescaled: so they are `exp(-inf) = 0`, as they will turn out to be if
anything finite follows. If nothing does, the plain sum has terms `exp(-inf - -inf)`, NaN. An
element that is +inf or NaN makes the sums NaN from its block on, as it makes all terms of the
plain ones. What `where` leaves out takes part in nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from te.ir.bounds import Facts, prove
from te.ir.expr import TRUE, Const, Expr, Load, Select, Var, add, both, compare, integer, mul, sub
from te.ir.loop import (
    Accumulate,
    Alloc,
    Buffer,
    For,
    If,
    Kernel,
    Let,
    Seq,
    Stmt,
    Store,
    map_exprs,
    rewrite_stmt,
    seq,
    substitute_stmt,
    walk_stmt,
)
from te.ir.simplify import simplify
from te.ir.tensor import Axis, Reduction, Stage, Tensor, identity
from te.ir.types import BOOL
from te.ir.visit import rewrite, substitute, variables
from te.schedule.compute_at import take_out
from te.schedule.context import facts_at, facts_inside
from te.schedule.finalize.guards import guarded, guards_on, is_index_condition, leaves
from te.schedule.loops import ceil_div
from te.schedule.names import Path
from te.schedule.nest import nest_part
from te.schedule.online.following import Follows, Member
from te.schedule.online.rows import Index, Leader, cast, row_stage
from te.schedule.online.trips import blocks_of, inside_axes
from te.schedule.placement import readers_of
from te.schedule.regions import Box, box_of, reads_in


@dataclass(frozen=True, slots=True)
class Plan:
    """What to build; everything is checked."""

    kernel: Kernel
    loop: For  # the loop `at`
    path: Path
    members: tuple[Member, ...]
    between: frozenset[str]  # pointwise stages that depend on members
    shared: str  # the name of the loop over blocks
    inner: str  # the index in a block
    by: int


def build(plan: Plan) -> Kernel:
    """The kernel with the new loop, and without the nests that it replaces."""
    kernel, loop = plan.kernel, plan.loop
    facts = facts_at((*plan.path, loop), kernel.program, trust_lets=False)
    body, placed = _inside(loop.body, facts, {loop.var}, plan)
    rest = kernel.body
    for name in placed:
        rest = take_out(rest, name)
    new = replace(loop, body=body)
    rest = rewrite_stmt(rest, lambda s: new if isinstance(s, For) and s.var == loop.var else s)
    owners = {s.stage for s, _ in walk_stmt(loop) if isinstance(s, Store | Accumulate)}
    owners |= {s.stage for s in plan.path if isinstance(s, For)}
    return replace(kernel, body=rest, touched=kernel.touched | owners | placed)


def _inside(s: Stmt, facts: Facts, here: set[str], plan: Plan) -> tuple[Stmt, set[str]]:
    """`s` behind the new loop, inside the names and guards that are around all of it.

    `here` are the variables that tell the trips of the loop `at` apart.
    """
    match s:
        case Let() if variables(s.value) & here:
            here = here | {s.var}
        case Let() | Alloc():
            pass
        case If(otherwise=None) if is_index_condition(s.condition):
            pass
        case _:
            return _Builder(plan, facts, here).build(s)
    known = facts_inside(s, s.body, facts, trust_lets=False)  # what makes a range hold may be inside
    body, placed = _inside(s.body, known, here, plan)
    return replace(s, body=body), placed


@dataclass(frozen=True, slots=True)
class _Piece:
    """A stage's part in the new loop: its nest, and the box that it fills."""

    stage: Stage
    box: Box
    nest: Stmt


class _Builder:
    """Builds the loop in front of the statement that reads the results."""

    def __init__(self, plan: Plan, facts: Facts, here: set[str]):
        self.plan = plan
        self.program = plan.kernel.program
        self.members = {member.name: member for member in plan.members}
        self.facts = facts
        self.here = here
        last = sub(ceil_div(plan.members[0].axis.extent, integer(plan.by)), integer(1))
        self.in_loop = facts.with_range(plan.shared, integer(0), last)
        self.taken = _taken_names(plan.kernel)
        running = dict.fromkeys(m.follows.running for m in plan.members if m.follows)
        self.leaders = {name: self.leader(self.members[name].stage) for name in running}

    def build(self, s: Stmt) -> tuple[Stmt, set[str]]:
        pieces = self.pieces(s)
        body = self.body(pieces)
        boxes = [pieces[name].box for name in self.members]
        blocks = blocks_of(self.plan.members, boxes, self.plan.by, self.facts)
        loop = For(self.plan.shared, blocks.count, self.from_block(blocks.first, body), is_reduction=True)
        starts = [self.start(pieces[m.name]) for m in self.plan.members if self.goes_on(m)]
        flags, ends = self.ends(pieces)
        items = s.items if isinstance(s, Seq) else (s,)
        at = next(i for i, item in enumerate(items) if any(reads_in(item, name) for name in self.members))
        buffers = [_buffer(pieces[name].stage.tensor, pieces[name].box) for name in self.members]
        done = seq(*items[:at], *starts, loop, *ends, *items[at:])
        return _allocated([*buffers, *flags], done), {*pieces}

    def from_block(self, first: Expr, body: Stmt) -> Stmt:
        """One trip, which is of the block `shared`, where the trips begin with the block `first`."""
        if first == integer(0):
            return body
        block = Var(f"{self.plan.shared}_block")
        all_blocks = ceil_div(self.plan.members[0].axis.extent, integer(self.plan.by))
        here = substitute_stmt(body, {self.plan.shared: block})
        return Let(block.name, add(Var(self.plan.shared), first), all_blocks, here)

    def leader(self, stage: Stage) -> Leader:
        """The values of a row for a running value that sums follow."""
        old, safe = self.new_name(f"{stage.name}_old"), self.new_name(f"{stage.name}_safe")
        followers = [m.follows for m in self.plan.members if m.follows and m.follows.running == stage.name]
        products = dict.fromkeys(follows.rescaling.factors for follows in followers)
        scales = {factors: self.new_name(f"{stage.name}_scale") for factors in products if factors}
        return Leader(stage, old, safe, scales)

    def new_name(self, wanted: str) -> str:
        name, number = wanted, 2
        while name in self.taken:
            name, number = f"{wanted}{number}", number + 1
        self.taken.add(name)
        return name

    # ------------------------------------------------------------ the parts of stages

    def pieces(self, s: Stmt) -> dict[str, _Piece]:
        """What is computed in the loop, in the order of the program. Readers tell what they need."""
        found: dict[str, _Piece] = {}
        for stage in reversed(self.program.stages):
            member = self.members.get(stage.name)
            if member is None and not self.may_move(stage, found):
                continue
            uses = reads_in(s, stage.name) if member else []
            uses += [use for piece in found.values() for use in reads_in(piece.nest, stage.name)]
            box = box_of(uses, stage.tensor.shape, self.in_loop, self.program.sizes)
            if member or stage.name in self.plan.between or self.differs_in_each_trip(box):
                nest = self.part(self.one_block(member) if member else stage, box, self.in_loop)
                found[stage.name] = _Piece(stage, box, nest)
        return {stage.name: found[stage.name] for stage in self.program.stages if stage.name in found}

    def may_move(self, stage: Stage, found: Mapping[str, _Piece]) -> bool:
        """Whether only what is computed in the loop reads a stage, and no line has changed its loops."""
        if stage.name in self.program.outputs or stage.name in self.plan.kernel.touched:
            return False
        if any(stage.name in r.stages for r in self.program.recurrences):
            return False
        readers = readers_of(self.program, stage.name)
        return bool(readers) and all(reader.name in found for reader in readers)

    def differs_in_each_trip(self, box: Box) -> bool:
        """Whether no trip of the loop `at` or over blocks would compute again what another one did."""
        mentioned = {name for low in box.low for name in variables(low)}
        has_one_trip = prove(compare("==", self.plan.loop.extent, integer(1)), self.facts)
        return self.plan.shared in mentioned and (has_one_trip or bool(mentioned & self.here))

    def one_block(self, member: Member) -> Stage:
        """A reduction over one block of its axis: `j` becomes `64 * jo + ji`."""
        inner, by = self.plan.inner, integer(self.plan.by)
        facts = self.in_loop.with_range(inner, integer(0), sub(by, integer(1)))
        position = simplify(add(mul(by, Var(self.plan.shared)), Var(inner)), facts)
        in_range = compare("<", position, member.axis.extent)
        where = substitute(member.reduction.where, {member.axis.name: position})
        if not prove(in_range, facts):
            where = both(simplify(in_range, facts), where)
        axes = [Axis(inner, by) if axis == member.axis else axis for axis in member.reduction.axes]
        reduction = Reduction(member.reduction.reducer, tuple(axes), where)
        value = substitute(member.stage.value, {member.axis.name: position})
        return replace(member.stage, value=value, reduction=reduction)

    def part(self, stage: Stage, box: Box, facts: Facts) -> Stmt:
        return nest_part(stage, box.low, box.extents, facts)

    # ------------------------------------------------------------ one block

    def body(self, pieces: Mapping[str, _Piece]) -> Stmt:
        """One trip of the loop over blocks."""
        nests: dict[str, Stmt] = {}
        buffers: list[Buffer] = []
        for name, piece in pieces.items():
            leader = self.leaders.get(name)
            before, after = (leader.before_rows(), leader.after_rows()) if leader else ([], [])
            nests |= {row.name: self.part(row, piece.box, self.in_loop) for row in before}
            nests[name] = self.updated(piece)
            nests |= {row.name: self.part(row, piece.box, self.in_loop) for row in after}
            made = [*before, *after] if name in self.members else [piece.stage]
            buffers += [_buffer(stage.tensor, piece.box) for stage in made]
        for member in self.plan.members:  # what moves with another sum needs that one's last value
            if member.follows and member.follows.partner:
                partner = member.follows.partner.buffer
                nests[partner] = nests.pop(partner)
        return _allocated(buffers, seq(*nests.values()))

    def updated(self, piece: _Piece) -> Stmt:
        """The nest of one block, going on with what the blocks before it gave."""
        member = self.members.get(piece.stage.name)
        nest = piece.nest
        if member is None or member.follows:
            nest = map_exprs(nest, self.read_safely)
        if member is None:
            return nest
        if self.goes_on(member):
            return _map_steps(nest, lambda s: replace(s, start=self.result_so_far(member, s.index)))
        return _map_steps(nest, lambda s: replace(s, over=s.over | {self.plan.shared}))

    def read_safely(self, e: Expr) -> Expr:
        """Terms are taken at a running value that is not -inf."""

        def put(x: Expr) -> Expr:
            if isinstance(x, Load) and x.buffer in self.leaders:
                return replace(x, buffer=self.leaders[x.buffer].safe)
            return x

        return rewrite(e, put)

    def goes_on(self, member: Member) -> bool:
        """Whether each block starts from something else than what the last one gave."""
        return member.follows is not None or member.name in self.leaders

    def result_so_far(self, member: Member, index: Index) -> Expr:
        """What a block starts from: the result of those before it, for the new running value."""
        tensor, follows = member.stage.tensor, member.follows
        if follows is None:
            return self.leaders[member.name].before(index)
        leader = self.leaders[follows.running]
        here = {axis.name: i for axis, i in zip(member.stage.axes, index, strict=True)}
        row = tuple(substitute(i, here) for i in follows.read.index)
        value: Expr = Load(tensor.name, index, tensor.dtype)
        linear, partner = follows.rescaling.linear, follows.partner
        if linear and partner:
            step = cast(sub(leader.now(row), leader.before(row)), tensor.dtype)
            moved = mul(
                mul(cast(substitute(linear.slope, here), tensor.dtype), step),
                cast(substitute(partner, here), tensor.dtype),
            )
            value = Select(leader.is_nothing(leader.before(row)), value, add(value, moved))
        scale = leader.scale(follows.rescaling.factors, row)
        return value if scale is None else mul(value, cast(scale, tensor.dtype))

    # ------------------------------------------------------------ before and behind the loop

    def start(self, piece: _Piece) -> Stmt:
        """What a reduction is before the first block."""
        stage = piece.stage
        assert stage.reduction is not None
        nothing = identity(stage.reduction.reducer, stage.tensor.dtype)
        return self.stored(f"{stage.name}_start", stage, nothing, piece.box)

    def stored(self, name: str, stage: Stage, value: Expr, box: Box) -> Stmt:
        """A nest called `name` that stores a value into the buffer of a stage."""
        nest = self.part(row_stage(self.new_name(name), stage, value), box, self.facts)
        return rewrite_stmt(nest, lambda s: replace(s, buffer=stage.name) if isinstance(s, Store) else s)

    def ends(self, pieces: Mapping[str, _Piece]) -> tuple[list[Buffer], list[Stmt]]:
        """NaN for the sums whose elements were all infinite."""
        flags: list[Buffer] = []
        nests: list[Stmt] = []
        conditions: dict[str, Expr] = {}
        for name in self.leaders:
            conditions[name] = self.has_elements(pieces[name], flags, nests)
        for member in self.plan.members:
            if member.follows:
                piece = pieces[member.name]
                nan = Const(float("nan"), piece.stage.tensor.dtype)
                nest = self.stored(f"{member.name}_end", piece.stage, nan, piece.box)
                nests.append(self.where_all_infinite(nest, member, member.follows, conditions))
        return flags, nests

    def where_all_infinite(
        self, nest: Stmt, member: Member, follows: Follows, has_elements: Mapping[str, Expr]
    ) -> Stmt:
        leader = self.leaders[follows.running]
        here = dict(zip([a.name for a in member.stage.axes], _target(nest).index, strict=True))
        row = tuple(substitute(i, here) for i in follows.read.index)
        rows = dict(zip([a.name for a in leader.stage.axes], row, strict=True))
        return _under(
            both(leader.is_nothing(leader.now(row)), substitute(has_elements[leader.name], rows)), nest
        )

    def has_elements(self, piece: _Piece, flags: list[Buffer], nests: list[Stmt]) -> Expr:
        """Whether a running value has any elements, in its own indices.

        Where only the run can tell, a flag says it, and what sets the flag is added.
        """
        stage = piece.stage
        assert stage.reduction is not None
        facts = inside_axes(stage.axes, piece.box, self.facts)
        some: Expr = TRUE
        for axis in stage.reduction.axes:
            present = compare("<", integer(0), axis.extent)
            some = some if prove(present, facts) else both(some, present)
            facts = facts.with_assumption(present)
        first: dict[str, Expr] = {axis.name: integer(0) for axis in stage.reduction.axes}
        if prove(substitute(stage.reduction.where, first), facts):
            return some
        leader = self.leaders[stage.name]
        flag = row_stage(self.new_name(f"{stage.name}_seen"), stage, Const(False, BOOL))
        search = replace(
            flag, value=TRUE, reduction=Reduction("any", stage.reduction.axes, stage.reduction.where)
        )
        nest = _map_steps(self.part(search, piece.box, self.facts), lambda s: replace(s, start=None))
        flags.append(_buffer(flag.tensor, piece.box))
        nests.append(self.stored(f"{flag.name}_start", flag, Const(False, BOOL), piece.box))
        nests.append(_under(leader.is_nothing(leader.now(_target(nest).index)), nest))
        return Load(flag.name, tuple(Var(axis.name) for axis in stage.axes), BOOL)


# ---------------------------------------------------------------- tools


def _taken_names(kernel: Kernel) -> set[str]:
    taken = {b.name for b in kernel.arguments} | {s.name for s in kernel.program.stages}
    for s, _ in walk_stmt(kernel.body):
        if isinstance(s, Alloc):
            taken.add(s.buffer.name)
        elif isinstance(s, For):
            taken.add(s.stage)
    return taken


def _buffer(tensor: Tensor, box: Box) -> Buffer:
    origin = () if all(i == integer(0) for i in box.low) else box.low
    return Buffer(tensor.name, tensor.dtype, box.extents, "global", origin)


def _allocated(buffers: Sequence[Buffer], body: Stmt) -> Stmt:
    for buffer in reversed(buffers):
        body = Alloc(buffer, body)
    return body


def _map_steps(s: Stmt, change: Callable[[Accumulate], Accumulate]) -> Stmt:
    return rewrite_stmt(s, lambda x: change(x) if isinstance(x, Accumulate) else x)


def _target(nest: Stmt) -> Store | Accumulate:
    """The one statement of a nest."""
    return next(s for s, _ in walk_stmt(nest) if isinstance(s, Store | Accumulate))


def _under(condition: Expr, s: Stmt) -> Stmt:
    """`s` where a condition on its elements holds, asked as far outside as it is known.

    What overhangs is asked first: there the condition has no value.
    """
    loops = {x.var for x, _ in walk_stmt(s) if isinstance(x, For)}
    if isinstance(s, For) and loops & variables(condition):
        return replace(s, body=_under(condition, s.body))
    _, path = next(leaves(s))
    return guarded(
        [*(c for c in guards_on(path) if is_index_condition(c) and not variables(c) & loops), condition], s
    )
