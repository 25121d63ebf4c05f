"""Products of matrices as instructions of a warp: what a tensorized nest must be, and its operands with it.

    for ii < 16: for jj < 8: for kk < 16: acc[16*mi + ii, 8*nj + jj] sum= f32(Af[..]) * f32(Bf[..])

Operands and result are tiles in registers, which `te.schedule.fragments` spreads over the lanes of a warp; those of
a result may overhang it. An instruction always computes a whole tile. Where a guard leaves out elements that there
are not, nobody reads what it computes for them. Where a guard leaves out terms, both factors of those must be 0: that
is proved from how the operands were filled.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import permutations

from te.ir.bounds import Facts, prove
from te.ir.expr import Const, Expr, Load, Select, Var, compare, conjuncts, floor_mod, integer, negation, sub
from te.ir.loop import (
    TENSORIZED,
    Accumulate,
    Alloc,
    Buffer,
    For,
    If,
    Kernel,
    Let,
    Stmt,
    Store,
    walk_stmt,
)
from te.ir.simplify import simplify
from te.ir.tensor import Tensor
from te.ir.visit import loads, substitute, variables
from te.schedule.context import facts_at
from te.schedule.finalize.gpu.reach import reach_at
from te.schedule.finalize.guards import coefficient, slack
from te.schedule.fragments import Fragment, fragment_of
from te.schedule.intrinsics import Meaning, bindings, find_intrinsic
from te.schedule.names import Path

CHOOSING = ("mma_m16n8k16_bf16", "mma_m16n8k16_f16")  # that can leave out elements of their first factor


@dataclass(frozen=True, slots=True)
class Guard:
    """A condition inside of a nest; `of_terms` as that of an `If`."""

    condition: Expr
    of_terms: bool


@dataclass(frozen=True, slots=True)
class MatrixProduct:
    """A nest of three loops around a step of a sum, as an instruction takes it."""

    meaning: Meaning
    path: Path  # around the nest
    loops: Mapping[str, For]  # by the axes of the meaning
    operands: Mapping[str, Load]  # by the names of the meaning's
    step: Accumulate  # without the names that stand inside of the nest
    guards: tuple[Guard, ...]  # likewise

    @property
    def target(self) -> Load:
        return Load(self.step.buffer, self.step.index, self.step.value.dtype)

    @property
    def has_extents(self) -> bool:
        """Whether the loops have as many trips as the instruction has rows, columns and terms."""
        return all(self.loops[axis].extent == integer(size) for axis, size in self.meaning.tile.items())

    def fragments(self) -> Iterator[tuple[Load, Tensor]]:
        """What is read in the place of each operand, and what is written in that of the accumulator."""
        for tensor in self.meaning.operands:
            yield self.operands[tensor.name], tensor
        yield self.target, self.meaning.accumulator

    def order(self) -> Iterator[For]:
        """Terms, rows, columns."""
        for axis in (self.meaning.k, *self.meaning.data):
            yield self.loops[axis.name]


def matrix_product(
    meaning: Meaning, path: Path, loops: Sequence[For], step: Accumulate, guards: tuple[Guard, ...]
) -> MatrixProduct | None:
    """The nest as an instruction's, if its loops can be those of the rows, columns and terms.

    A product is one of the transposed matrices, too: the loops' extents tell which is meant.
    """
    terms = [loop for loop in loops if loop.var in step.over]
    data = [loop for loop in loops if loop.var not in step.over]
    if len(terms) != 1 or len(data) != 2:
        return None
    possible: list[MatrixProduct] = []
    for order in permutations(data):
        named = dict(zip((a.name for a in meaning.data), order, strict=True)) | {meaning.k.name: terms[0]}
        for operands in bindings(meaning.term, step.value):
            product = MatrixProduct(meaning, path, named, operands, step, guards)
            if all(_reads_along(load, tensor, product) for load, tensor in product.fragments()):
                possible.append(product)
    return next((p for p in possible if p.has_extents), possible[0] if possible else None)


def _reads_along(load: Load, tensor: Tensor, p: MatrixProduct) -> bool:
    """Whether an access depends on the loops of its operand's axes, and on no other of the nest."""
    used = {name for i in load.index for name in variables(i)} & {loop.var for loop in p.loops.values()}
    return used == {p.loops[name].var for name in p.meaning.axes_of(tensor)}


def tensorized_products(kernel: Kernel) -> Iterator[MatrixProduct]:
    """The nests of a kernel that matrix instructions run."""
    for s, path in walk_stmt(kernel.body):
        if not is_matrix_nest(s) or (path and is_matrix_nest(path[-1])):
            continue
        assert isinstance(s, For)
        assert s.intrinsic is not None
        meaning = find_intrinsic(s.intrinsic, None)
        loops, step, guards = nest_below(s)
        found = None
        if isinstance(step, Accumulate):
            found = matrix_product(meaning, path, loops, step, guards)
        if found is None:
            raise ValueError(f"the tensorized nest of `{s.var}` is no {s.intrinsic}")
        yield found


def matrix_results(kernel: Kernel) -> frozenset[str]:
    """The buffers that matrix instructions write."""
    return frozenset(p.step.buffer for p in tensorized_products(kernel))


def is_matrix_nest(s: Stmt) -> bool:
    return (
        isinstance(s, For)
        and s.kind == TENSORIZED
        and s.intrinsic is not None
        and find_intrinsic(s.intrinsic, None).is_matrix
    )


def nest_below(s: Stmt) -> tuple[list[For], Stmt, tuple[Guard, ...]]:
    """The loops, the statement and the conditions of a nest, with the values of its `Let`s in their places."""
    loops: list[For] = []
    guards: list[Guard] = []
    values: dict[str, Expr] = {}
    while isinstance(s, For | If | Let):
        match s:
            case For():
                loops.append(s)
            case Let():
                values[s.var] = substitute(s.value, values)
            case If():
                if s.otherwise is not None:
                    break
                parts = conjuncts(s.condition)
                guards += [Guard(substitute(part, values), s.of_terms) for part in parts]
        s = s.body
    if isinstance(s, Store | Accumulate):
        index = tuple(substitute(i, values) for i in s.index)
        value = substitute(s.value, values)
        s = (
            Store(s.buffer, index, value, s.stage)
            if isinstance(s, Store)
            else Accumulate(s.buffer, index, s.reducer, value, s.over, s.start, s.stage)
        )
    return loops, s, tuple(guards)


# ---------------------------------------------------------------- where operands lie


@dataclass(frozen=True, slots=True)
class Placed:
    """A buffer of tiles: how each is spread over lanes, and which axes of the buffer are the tile's."""

    buffer: Buffer
    fragment: Fragment
    axes: tuple[int, ...]

    @property
    def stored(self) -> Buffer:
        """The buffer, with the layout of its tiles and the shape that it then has."""
        layout = self.fragment.layout(len(self.buffer.shape), self.axes)
        shape = self.fragment.shape(self.buffer.shape, self.axes)
        private = ("lane",) if self.fragment.is_shared else ()
        return replace(self.buffer, layout=layout, shape=shape, private=private)


def placed(load: Load, tensor: Tensor, p: MatrixProduct, kernel: Kernel) -> Placed | str:
    """How the buffer of an operand, or of the result, lies in registers; or why it cannot."""
    buffer = next((s.buffer for s in p.path if isinstance(s, Alloc) and s.buffer.name == load.buffer), None)
    if buffer is None or buffer.scope != "register":
        return "it is not in registers"
    if buffer.layout is not None or buffer.fold is not None or buffer.like:
        return "it has a layout of its own"
    facts = facts_at((*p.path, *p.order()), kernel.program)
    fragment = fragment_of(p.meaning, tensor)
    axes: list[int] = []
    for name, extent in zip(p.meaning.axes_of(tensor), fragment.tile, strict=True):
        loop = p.loops[name]
        found = [n for n, i in enumerate(load.index) if loop.var in variables(i)]
        if len(found) != 1 or coefficient(load.index[found[0]], loop.var) != 1 or found[0] in axes:
            return f"the trips of `{loop.var}` do not follow each other along one of its axes"
        (axis,) = found
        axes.append(axis)
        size = buffer.shape[axis]
        is_result = tensor == p.meaning.accumulator  # which will hold what overhangs, too
        if not isinstance(size, Const) or (int(size.value) % extent and not is_result):
            return f"its axis {axis} is no whole number of tiles of {extent}"
        if is_result and reach_at(load.index[axis], axis, (*p.path, *p.order()), load.buffer, kernel) is None:
            return f"nothing tells how far tiles reach along its axis {axis}"
        low = buffer.origin[axis] if buffer.origin else integer(0)
        first = sub(substitute(load.index[axis], {loop.var: integer(0)}), low)
        if not prove(compare("==", floor_mod(simplify(first, facts), integer(extent)), integer(0)), facts):
            return f"nothing proves that a tile begins at a multiple of {extent} along its axis {axis}"
    return Placed(buffer, fragment, tuple(axes))


def misplaced(p: MatrixProduct, kernel: Kernel) -> tuple[Load, str] | None:
    """An operand that the instruction cannot take, or a result that it cannot write, and why."""
    operands = set[str]()
    for load, tensor in p.fragments():
        if load.buffer == p.step.buffer and tensor != p.meaning.accumulator:
            return load, "it is what the sum writes"
        if load.buffer in operands:
            return load, "it is read in the place of both operands"
        operands.add(load.buffer)
        found = placed(load, tensor, p, kernel)
        if isinstance(found, str):
            return load, found
    return None


def fragments_of(kernel: Kernel) -> dict[str, Placed] | str:
    """All buffers of tiles of a kernel, or why they cannot be that."""
    found: dict[str, Placed] = {}
    for p in tensorized_products(kernel):
        for load, tensor in p.fragments():
            this = placed(load, tensor, p, kernel)
            if isinstance(this, str):
                return f"`{load.buffer}` is no operand of `{p.meaning.name}`: {this}"
            if found.setdefault(load.buffer, this) != this:
                return f"`{load.buffer}` would be spread over lanes in two ways"
    return found


# ---------------------------------------------------------------- guards


def is_uniform(guard: Guard, p: MatrixProduct) -> bool:
    """Whether a condition is the same for the whole tile."""
    return not variables(guard.condition) & {loop.var for loop in p.loops.values()}


def chooses(guard: Guard, p: MatrixProduct) -> bool:
    """Whether the instruction can be told for which elements of its first factor a condition holds."""
    used = variables(guard.condition) & {loop.var for loop in p.loops.values()}
    first = p.meaning.axes_of(p.meaning.operands[0])
    return (
        p.meaning.name in CHOOSING
        and p.meaning.data[0].name in first
        and used == {p.loops[axis].var for axis in first}
        and slack(guard.condition) is not None
    )


def unmet_guard(p: MatrixProduct, kernel: Kernel) -> tuple[Guard, str] | None:
    """A guard without which the instruction would compute something else, and why."""
    facts = facts_at((*p.path, *p.order()), kernel.program)
    for guard in p.guards:
        if is_uniform(guard, p) or chooses(guard, p):
            continue
        if any(loads(guard.condition)):
            return guard, "it reads data"
        if not guard.of_terms and not variables(guard.condition) & p.step.over:
            continue
        missing = facts.with_assumption(negation(guard.condition))
        for tensor in p.meaning.operands:
            load = p.operands[tensor.name]
            if not is_zero(load, p.path, missing, kernel):
                return guard, f"nothing proves that `{load.buffer}` is 0 where it fails"
    return None


def is_zero(load: Load, path: Path, facts: Facts, kernel: Kernel) -> bool:
    """Whether an element is proved to be 0, by how its buffer is filled.

    What no store writes of a register buffer that is filled under a condition is 0 (`finalize/gpu/fragments.py`
    writes it). `facts` hold of the element's index, inside of `path`.
    """
    writes = [
        (s, around)
        for s, around in walk_stmt(kernel.body)
        if isinstance(s, Store | Accumulate) and s.buffer == load.buffer
    ]
    return bool(writes) and all(
        isinstance(s, Store) and _stores_zero(s, around, load, path, facts, kernel) for s, around in writes
    )


def _stores_zero(s: Store, around: Path, load: Load, path: Path, facts: Facts, kernel: Kernel) -> bool:
    """Whether a store of that element stores 0, or does not store it."""
    shared = {x.var for x in path if isinstance(x, For | Let)}
    names: dict[str, Expr] = {}
    conditions: list[Expr] = []
    known = facts
    in_registers = False
    for x in around:
        match x:
            case Alloc() if x.buffer.name == load.buffer:
                in_registers = x.buffer.scope == "register"
                conditions = []
            case For() if x.var not in shared:
                names[x.var] = Var(f"{x.var}'")
                last = sub(substitute(x.extent, names), integer(1))
                known = known.with_range(f"{x.var}'", integer(0), last)
            case Let() if x.var not in shared:
                names[x.var] = substitute(x.value, names)
            case If() if x.otherwise is None:
                conditions += [substitute(part, names) for part in conjuncts(x.condition)]
    index = tuple(substitute(i, names) for i in s.index)
    for i, j in zip(index, load.index, strict=True):
        known = known.with_assumption(compare("==", i, j))

    def fails(condition: Expr) -> bool:
        parts = [part for part in conjuncts(condition) if not any(loads(part))]
        return any(prove(negation(part), known) for part in parts)

    if in_registers and any(fails(condition) for condition in conditions):
        return True
    match substitute(s.value, names):
        case Const(value=0):
            return True
        case Select(condition=condition, otherwise=Const(value=0)) if fails(condition):
            return True
        case Load() as source:
            return is_zero(source, around, known, kernel)
    return False
