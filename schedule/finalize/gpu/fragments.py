"""Tiles of matrices are spread over the lanes of a warp, as the instructions that multiply them want it.

    for ii < 16: for jj < 8:                        lane for l < 32:
      C[16*mi + ii, 8*nj + jj] = acc[..]     ->       for s0 < 2: vector for s1 < 2:
                                                        C[16*mi + 8*s0 + l // 4, 8*nj + 2*(l % 4) + s1] = acc[..]

A nest over the elements of a tile becomes one over lanes and slots (`te.schedule.fragments`); in what it reads and
writes besides, the indices change with it. The buffers get an axis of lanes, by a layout; `registers.py` gives each
lane its part of them, as of any register buffer. The nest of an instruction becomes one step that all lanes make
together (`Accumulate.intrinsic`).

This comes first in finalize, where guards still are what the schedule made of them. An instruction takes whole
tiles: guards of elements go, and of terms too, since their factors are 0. To be that, operands that are filled
under a condition are filled with 0 where it fails.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from itertools import product

from te.ir.bounds import Facts, bounds, prove
from te.ir.expr import (
    Const,
    Expr,
    Load,
    Select,
    Var,
    add,
    compare,
    floor_div,
    floor_mod,
    integer,
    mul,
    sub,
)
from te.ir.loop import (
    THREADS,
    UNROLLED,
    VECTOR,
    Accumulate,
    Alloc,
    Buffer,
    For,
    If,
    Kernel,
    Let,
    Stmt,
    Store,
    bodies,
    direct_exprs,
    map_exprs,
    rewrite_stmt,
    substitute_stmt,
    walk_stmt,
    with_bodies,
)
from te.ir.simplify import simplify
from te.ir.types import BOOL
from te.ir.visit import loads, rewrite, substitute, variables
from te.schedule.context import facts_inside, program_facts
from te.schedule.finalize.gpu.fragment_axes import Nest, along, loops_inside, refuse_access, relative
from te.schedule.finalize.gpu.fragment_rows import LANE, accesses, alike, values_of_rows
from te.schedule.finalize.gpu.fragment_sums import Reducing, holding_rows
from te.schedule.finalize.gpu.overhang import compute_overhang
from te.schedule.finalize.guards import conjunction, slack
from te.schedule.finalize.starts import place_starts
from te.schedule.finalize.storage import physical_index
from te.schedule.fragments import LANES, fragment_of
from te.schedule.matrices import (
    MatrixProduct,
    Placed,
    chooses,
    fragments_of,
    is_matrix_nest,
    is_uniform,
    matrix_results,
    tensorized_products,
    unmet_guard,
)
from te.schedule.names import Path, made_name


def spread_fragments(kernel: Kernel) -> Kernel:
    """The kernel with its matrix instructions as steps of warps. Raises `ScheduleError` for what they cannot take."""
    products = [*tensorized_products(kernel)]
    if not products:
        return kernel
    for p in products:
        unmet = unmet_guard(p, kernel)
        if unmet is not None:
            refuse_access(p.step.buffer, f"{unmet[1]}, and its instruction takes whole tiles")
    buffers = fragments_of(kernel)
    if not isinstance(buffers, str):
        buffers = values_of_rows(kernel, alike(kernel, buffers))
    if isinstance(buffers, str):
        refuse_access(products[0].step.buffer, buffers)
    accumulators = matrix_results(kernel)
    body = place_starts(kernel.body, kernel.program, of=frozenset(buffers))
    body = _loops_of_tiles(_whole_tiles(replace(kernel, body=body), products), buffers)
    operands = frozenset(load.buffer for p in products for load in p.operands.values())
    _require_one_store(body, operands)
    spreading = _Spreading(buffers, accumulators, operands, {next(p.order()).var: p for p in products})
    body = spreading.spread(body, (), program_facts(kernel.program))
    stored = {name: at.stored for name, at in buffers.items()}
    return replace(kernel, body=_laid_out(body, stored, program_facts(kernel.program)))


def _require_one_store(body: Stmt, operands: Set[str]) -> None:
    """Of an operand a store writes zeros where its conditions fail, so no other store may write there."""
    written = Counter(s.buffer for s, _ in walk_stmt(body) if isinstance(s, Store))
    conditional = {
        s.buffer for s, path in walk_stmt(body) if isinstance(s, Store) and _is_asked(s.buffer, path)
    }
    for name in sorted(operands & conditional):
        if written[name] > 1:
            refuse_access(name, "it is written by several statements, under conditions")


def _is_asked(buffer: str, path: Path) -> bool:
    """Whether a condition stands around a store, inside the allocation of what it writes."""
    last = max((n for n, x in enumerate(path) if isinstance(x, Alloc) and x.buffer.name == buffer), default=0)
    return any(isinstance(x, If) for x in path[last:])


def _whole_tiles(kernel: Kernel, products: Sequence[MatrixProduct]) -> Stmt:
    """The body without guards of elements where whole tiles may as well be computed.

    Terms of operands that are left out stay 0.
    """
    whole = frozenset(p.step.buffer for p in products if isinstance(p.step.start, Const))
    terms = {
        load.buffer: next(
            n for n, i in enumerate(load.index) if p.loops[p.meaning.k.name].var in variables(i)
        )
        for p in products
        for load in p.operands.values()
    }
    body = compute_overhang(kernel.body, program_facts(kernel.program), whole, terms)
    is_met = all(unmet_guard(p, replace(kernel, body=body)) is None for p in products)
    return body if is_met else kernel.body


def _laid_out(s: Stmt, buffers: Mapping[str, Buffer], facts: Facts) -> Stmt:
    """`s` with the buffers row-major, by tiles, lanes and slots."""

    def physical(e: Expr) -> Expr:
        if isinstance(e, Load) and e.buffer in buffers:
            return replace(e, index=physical_index(buffers[e.buffer], e.index, facts))
        return e

    new = [_laid_out(b, buffers, facts_inside(s, b, facts)) for b in bodies(s)]
    if isinstance(s, Alloc) and s.buffer.name in buffers:
        return Alloc(replace(buffers[s.buffer.name], origin=(), layout=None), new[0])
    if isinstance(s, Store | Accumulate):
        if s.buffer in buffers:
            s = replace(s, index=physical_index(buffers[s.buffer], s.index, facts))
        return map_exprs(s, lambda e: rewrite(e, physical))
    if isinstance(s, If):
        s = replace(s, condition=rewrite(s.condition, physical))
    return with_bodies(s, tuple(new)) if new else s


# ---------------------------------------------------------------- loops over tiles, and in tiles


def _loops_of_tiles(body: Stmt, buffers: Mapping[str, Placed]) -> Stmt:
    """Split the loops that run through several tiles at the tiles' borders."""
    by: dict[str, int] = {}
    for s, path in walk_stmt(body):
        if not isinstance(s, Store | Accumulate) or _is_of_product(s, path):
            continue
        for name, index in _deciding(s, buffers):
            at = buffers[name]
            loops = loops_inside(path, name)
            for axis, extent in zip(at.axes, at.fragment.tile, strict=True):
                for step, loop in along(relative(index[axis], axis, at, path), extent, loops).across:
                    trips = int(loop.extent.value) if isinstance(loop.extent, Const) else 0
                    if extent % step or not trips or trips * step % extent:
                        refuse_access(
                            name, f"the {trips or 'trips'} trips of `{loop.var}` are no whole number of tiles"
                        )
                    by[loop.var] = min(by.get(loop.var, trips), extent // step)

    def split(s: Stmt) -> Stmt:
        if not isinstance(s, For) or s.var not in by:
            return s
        assert isinstance(s.extent, Const)
        tile, inner = made_name(f"{s.var}_tile"), made_name(f"{s.var}_in")
        here = add(mul(Var(tile), integer(by[s.var])), Var(inner))
        body = _reducing_over(substitute_stmt(s.body, {s.var: here}), s.var, frozenset({tile, inner}))
        body = replace(s, var=inner, extent=integer(by[s.var]), body=body)
        return replace(s, var=tile, extent=integer(int(s.extent.value) // by[s.var]), body=body)

    return rewrite_stmt(body, split) if by else body


def _is_of_product(s: Store | Accumulate, path: Path) -> bool:
    """Whether an instruction runs a statement."""
    return isinstance(s, Accumulate) and any(map(is_matrix_nest, path))


def _reducing_over(body: Stmt, loop: str, parts: frozenset[str]) -> Stmt:
    """Reductions over a loop are over the loops that it has become."""

    def put(s: Stmt) -> Stmt:
        if isinstance(s, Accumulate) and loop in s.over:
            return replace(s, over=s.over - {loop} | parts)
        return s

    return rewrite_stmt(body, put)


def _accesses(s: Stmt, buffers: Mapping[str, Placed]) -> Iterator[tuple[str, tuple[Expr, ...]]]:
    """The accesses of tiles in a statement, what it writes first."""
    if isinstance(s, Store | Accumulate):
        for name, index in accesses(s):
            if name in buffers:
                yield name, index


def _deciding(s: Stmt, buffers: Mapping[str, Placed]) -> list[tuple[str, tuple[Expr, ...]]]:
    """The access that says which lanes do what: of a tile rather than of values of rows, and the written one first."""
    used = [*_accesses(s, buffers)]
    return [max(used, key=lambda access: len(buffers[access[0]].axes))] if used else []


# ---------------------------------------------------------------- nests over lanes and slots


@dataclass(frozen=True, slots=True)
class _Spreading:
    buffers: Mapping[str, Placed]
    accumulators: frozenset[str]
    operands: frozenset[str]
    products: Mapping[str, MatrixProduct]  # by their outermost loops

    def spread(self, s: Stmt, path: Path, facts: Facts) -> Stmt:
        if is_matrix_nest(s):
            assert isinstance(s, For)
            if s.var in self.products:
                return _step(self.products[s.var], facts)
        if isinstance(s, For):
            nests = [*self._nests_of(s, path, facts)]
            if nests:
                return self._over_lanes(s, nests)
        used = {load.buffer for e in direct_exprs(s) for load in loads(e)}
        if isinstance(s, Store | Accumulate):
            used.add(s.buffer)
        if used & self.buffers.keys():
            stage = next(x.stage for x, _ in walk_stmt(s) if isinstance(x, Store | Accumulate))
            refuse_access(min(used & self.buffers.keys()), f"`{stage}` uses single elements of it")
        new = [self.spread(b, (*path, s), facts_inside(s, b, facts, False)) for b in bodies(s)]
        return _asked_outside(with_bodies(s, tuple(new))) if new else s

    def _nests_of(self, loop: For, path: Path, facts: Facts) -> Iterator[Nest]:
        """The nests in a loop, if it is one in a tile."""
        for s, inside in walk_stmt(loop.body, (*path, loop)):
            if not isinstance(s, Store | Accumulate) or _is_of_product(s, inside):
                continue
            if any(_accesses(s, self.buffers)):
                nest = self._nest(s, inside, facts)
                if loop.var in nest.values:
                    yield nest

    def _nest(self, s: Store | Accumulate, path: Path, facts: Facts) -> Nest:
        """How a statement that uses tiles runs over lanes and slots: by the tile that it writes, or else reads.

        Values of rows say it where there is no tile.
        """
        ((name, index),) = _deciding(s, self.buffers)
        at = self.buffers[name]
        known = facts
        for n, x in enumerate(path):
            known = facts_inside(x, path[n + 1] if n + 1 < len(path) else s, known, False)
        lane = made_name(f"{s.stage}.lane")
        slots = tuple((made_name(f"{s.stage}.slot{n}"), count) for n, count in enumerate(at.fragment.slots))
        known = known.with_range(lane, integer(0), integer(LANES - 1))
        for slot, count in slots:
            known = known.with_range(slot, integer(0), integer(count - 1))
        element = at.fragment.index(Var(lane), [Var(slot) for slot, _ in slots])
        values: dict[str, Expr] = {}
        loops = loops_inside(path, name)
        for axis, extent, place in zip(at.axes, at.fragment.tile, element, strict=True):
            here = relative(index[axis], axis, at, path)
            covered = 1
            for step, loop in along(here, extent, loops).inside:
                if step != covered or not isinstance(loop.extent, Const) or loop.var in values:
                    break
                trips = int(loop.extent.value)
                value = floor_mod(floor_div(place, integer(step)), integer(trips))
                values[loop.var] = simplify(value, known)
                covered *= trips
            first = simplify(substitute(here, {v: integer(0) for v in values}), known)
            aligned = compare("==", floor_mod(first, integer(extent)), integer(0))
            if covered != extent or not prove(aligned, known):
                refuse_access(
                    name,
                    f"the loops of `{s.stage}` do not run through whole tiles of {extent} along axis {axis}",
                )
        self._require_own(s, path, lane, values, known)
        return Nest(lane, slots, values, at.fragment)

    def _require_own(
        self, s: Store | Accumulate, path: Path, lane: str, values: Mapping[str, Expr], facts: Facts
    ) -> None:
        """Values of rows that a statement uses, or its conditions, must be those that the lane knows."""
        conditions = [load for x in path if isinstance(x, If) for load in loads(x.condition)]
        used = [*_accesses(s, self.buffers), *((load.buffer, load.index) for load in conditions)]
        for name, index in used:
            at = self.buffers.get(name)
            if at is None or not at.fragment.is_shared:
                continue
            place = [substitute(relative(index[axis], axis, at, path), values) for axis in at.axes]
            found = at.fragment.values([simplify(i, facts) for i in place])
            own = at.fragment.own(Var(lane))
            for digit, value in own.items():
                if not prove(compare("==", found[digit], value), facts):
                    refuse_access(name, f"nothing proves that `{s.stage}` takes in each lane what that has")

    def _over_lanes(self, loop: For, nests: Sequence[Nest]) -> Stmt:
        """The outermost loop of a nest in a tile, and what it holds, for each lane."""
        nest = max(nests, key=lambda nest: len(nest.values))
        steps = [s for s, _ in walk_stmt(loop) if isinstance(s, Accumulate) and s.over & nest.values.keys()]
        for step in steps:
            holding_rows(step.buffer, self.buffers)
        if any(
            nest.values[v] != value
            for other in nests
            for v, value in other.values.items()
            if v in nest.values
        ) or any(other.values.keys() - nest.values.keys() for other in nests):
            refuse_access(
                next(iter(self.buffers)), f"the statements in `{loop.var}` have it in different ways"
            )
        if steps:
            return Reducing(nest, self.buffers, self._in_slots).reduced(loop)
        return For(nest.lane, integer(LANES), self._over_slots(loop, nest), LANE, data_of=loop.data_of)

    def _over_slots(self, s: Stmt, nest: Nest) -> Stmt:
        """`s` without the loops in a tile; each of its statements is repeated for the slots of a lane."""
        match s:
            case For() if s.var in nest.values:
                return self._over_slots(s.body, nest)
            case Store() | Accumulate():
                return self._in_slots(s, nest, ())
            case If() | Let():
                return self._guarded(s, nest)
        return with_bodies(s, tuple([self._over_slots(b, nest) for b in bodies(s)]))

    def _guarded(self, s: If | Let, nest: Nest) -> Stmt:
        """Conditions and names around statements go in with their slots."""
        around: list[If | Let] = []
        inner: Stmt = s
        while isinstance(inner, If | Let | For):
            if isinstance(inner, If) and inner.otherwise is not None:
                break
            if isinstance(inner, For) and inner.var not in nest.values:
                return self._guarded_loop(inner, around, nest)
            if not isinstance(inner, For):
                around.append(inner)
            inner = inner.body
        if isinstance(inner, Store | Accumulate):
            return self._in_slots(inner, nest, around)
        stage = next((x.stage for x, _ in walk_stmt(s) if isinstance(x, Store | Accumulate)), "")
        refuse_access(next(iter(self.buffers)), f"conditions of `{stage}` stand around several statements")

    def _guarded_loop(self, loop: For, around: Sequence[If | Let], nest: Nest) -> Stmt:
        """A loop over tiles, or over nothing in them, with what stands around it inside."""
        written = {x.buffer for x, _ in walk_stmt(loop) if isinstance(x, Store | Accumulate)}
        asked = {load.buffer for x in around for e in direct_exprs(x) for load in loads(e)}
        named = {x.var for x in around if isinstance(x, Let)}
        if asked & written or variables(loop.extent) & (named | nest.values.keys()):
            refuse_access(next(iter(self.buffers)), f"conditions stand around `{loop.var}`")
        if asked and not any(isinstance(x, For) and x.var in nest.values for x, _ in walk_stmt(loop)):
            return self._loop_in_slots(loop, around, nest)
        body = loop.body
        for x in reversed(around):
            body = replace(x, body=body)
        return replace(loop, body=self._over_slots(body, nest))

    def _loop_in_slots(self, loop: For, around: Sequence[If | Let], nest: Nest) -> Stmt:
        """A loop over nothing in the tile, which data leave out for most elements: for each slot by itself."""
        body: Stmt = loop
        for x in reversed(around):
            body = replace(x, body=body)
        body = substitute_stmt(body, nest.values)
        for slot, count in reversed(nest.used(body)):
            body = For(slot, integer(count), body, UNROLLED)
        return body

    def _in_slots(self, s: Store | Accumulate, nest: Nest, around: Sequence[If | Let]) -> Stmt:
        if not any(_accesses(s, self.buffers)):
            refuse_access(
                next(iter(self.buffers)), f"`{s.stage}` stands in a loop over its elements, and uses none"
            )
        body: Stmt = self._filled(s, around)
        if s.buffer not in self.buffers:
            body = nest.by_one_lane(body)
        body = substitute_stmt(body, nest.values)
        last = nest.slots[-1][0] if nest.slots else ""
        for slot, count in reversed(nest.used(body)):
            is_vector = slot == last and isinstance(s, Store)
            body = For(slot, integer(count), body, VECTOR if is_vector else UNROLLED)
        return body

    def _filled(self, s: Store | Accumulate, around: Sequence[If | Let]) -> Stmt:
        """A store in its names and conditions. Of operands every element is written, and of starts."""
        conditions = [x.condition for x in around if isinstance(x, If)]
        names = [x for x in around if isinstance(x, Let)]
        if s.buffer in self.operands and conditions:
            assert isinstance(s, Store)
            zero = Const(0.0 if s.value.dtype.is_float else 0, s.value.dtype)
            s = replace(s, value=Select(conjunction(conditions), s.value, zero))
            conditions = []
        elif s.buffer in self.accumulators and isinstance(s, Store) and isinstance(s.value, Const):
            conditions = conditions if any(load for c in conditions for load in loads(c)) else []
        body: Stmt = If(conjunction(conditions), s) if conditions else s
        for name in reversed(names):
            body = replace(name, body=body)
        return body


def _asked_outside(s: Stmt) -> Stmt:
    """A choice between two forms of a loop's body in front of the loop, if it is the same in each trip."""
    match s:
        case For(body=If(otherwise=other) as body) if other and s.var not in variables(body.condition):
            return If(body.condition, replace(s, body=body.body), replace(s, body=other))
    return s


def _step(p: MatrixProduct, facts: Facts) -> Stmt:
    """An instruction as a step of all lanes; each names the first element that it has of each tile.

    Where a condition leaves out elements of the first factor, it is asked for the whole tile first, and then for
    each: a factor of 0 would not do, since the other one may be infinite.
    """
    lane = made_name(f"{p.step.stage}.lane")

    def first(load: Load, axes: tuple[str, ...], place: tuple[Expr, ...]) -> tuple[Expr, ...]:
        at = {p.loops[name].var: i for name, i in zip(axes, place, strict=True)}
        return tuple(substitute(i, at) for i in load.index)

    indices: dict[Load, tuple[Expr, ...]] = {}
    for load, tensor in p.fragments():
        fragment = fragment_of(p.meaning, tensor)
        place = fragment.index(Var(lane), [integer(0)] * len(fragment.slots))
        indices[load] = first(load, p.meaning.axes_of(tensor), place)

    def own(e: Expr) -> Expr:
        if not isinstance(e, Load):
            return e
        load = p.operands[e.buffer]
        return replace(load, index=indices[load])

    step = Accumulate(
        p.step.buffer,
        indices[p.target],
        p.step.reducer,
        rewrite(p.meaning.term, own),  # its factors in the instruction's order
        p.step.over - {loop.var for loop in p.loops.values()},
        None,
        p.step.stage,
        p.meaning.name,
    )
    chosen = [guard.condition for guard in p.guards if chooses(guard, p)]
    body: Stmt = For(lane, integer(LANES), step, LANE)
    if chosen:
        some = replace(step, kept=_elements_kept(p, lane, conjunction(chosen)))
        body = If(_for_all_warps(p, chosen, facts), body, For(lane, integer(LANES), some, LANE))
    for guard in reversed(p.guards):
        if is_uniform(guard, p):
            body = If(guard.condition, body, of_terms=guard.of_terms)
    return body


def _elements_kept(p: MatrixProduct, lane: str, condition: Expr) -> tuple[Expr, ...]:
    """The condition for each element of the first factor that a lane has, in the order of its slots."""
    fragment = fragment_of(p.meaning, p.meaning.operands[0])
    axes = p.meaning.axes_of(p.meaning.operands[0])
    found: list[Expr] = []
    for slots in product(*(range(n) for n in fragment.slots)):
        place = fragment.index(Var(lane), [integer(n) for n in slots])
        found.append(substitute(condition, {p.loops[a].var: i for a, i in zip(axes, place, strict=True)}))
    return tuple(found)


def _for_all_warps(p: MatrixProduct, conditions: Sequence[Expr], facts: Facts) -> Expr:
    """What holds where all elements that the warps take in a trip of the loops around them meet the conditions."""
    hidden = [loop.var for loop in p.loops.values()]
    kinds = [s.kind in THREADS for s in p.path if isinstance(s, For)]
    inside = [s.var for s in p.path if isinstance(s, For)][
        kinds.index(True) if True in kinds else len(kinds) :
    ]
    for loop in p.loops.values():
        facts = facts.with_range(loop.var, integer(0), sub(loop.extent, integer(1)))
    least: list[Expr] = []
    for condition in conditions:
        distance = slack(condition)
        assert distance is not None
        low, _ = bounds(distance, facts, [*inside, *hidden])
        least.append(Const(False, BOOL) if low is None else compare(">=", low, integer(0)))
    return conjunction(least)
