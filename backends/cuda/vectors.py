"""Vector loops: what lies side by side is read and written by accesses of up to 16 bytes.

    vector for j < 4:                 const te_vector<float, 4> X_4 = te_load<4>(&X[4 * i]);
      Y[4*i + j] = 2 * X[4*i + j]     te_vector<float, 4> Y_4;
                                ->    for (te_i32 j = 0; j < 4; ++j) {
                                          Y_4.at[j] = 2.0f * X_4.at[j];
                                      }
                                      te_store(&Y[4 * i], Y_4);

An access must begin at a multiple of its size. Where that depends on sizes, such as a row's length, it is
asked at run time, of the sizes alone; for the others such an access is made lane by lane. Reads under a condition
that is that of all lanes, such as an index from data that must lie inside, are made where it holds; under others
they are made lane by lane.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import gcd, prod

from te.backends.cuda.expressions import element, step, terms_of, value
from te.backends.cuda.indices import Index, Text, add, number
from te.backends.cuda.prelude import type_name
from te.backends.cuda.scope import Place, Scope
from te.ir.accesses import guarded_reads
from te.ir.expr import TRUE, Const, Expr, Load, Op, Var, integer
from te.ir.loop import Accumulate, For, Store
from te.ir.tensor import rank_in_memory
from te.ir.visit import loads, substitute, variables
from te.schedule.finalize.guards import coefficient

ACCESS_BYTES = 16


@dataclass(frozen=True, slots=True)
class _Plan:
    """How a vector loop runs: so many lanes at once, these accesses by vectors where sizes are such multiples."""

    lanes: int
    reads: tuple[Load, ...]
    writes: bool  # also by vectors
    sizes: tuple[str, ...]  # that must be multiples of `lanes`
    guards: Mapping[Load, Expr]  # the condition of each read


def vector_loop(scope: Scope, loop: For, *, of_any_size: bool = False) -> tuple[str, _Plan] | None:
    """The condition and the plan for a loop of one statement; None where nothing in it lies side by side.

    With `of_any_size` it has no condition: accesses that depend on sizes are made lane by lane.
    """
    leaf = loop.body
    if not isinstance(leaf, Store | Accumulate) or not isinstance(loop.extent, Const):
        return None
    plan = _plan(scope, loop.var, int(loop.extent.value), leaf, of_any_size)
    if plan is None:
        return None
    asked = [f"{scope.variables[size].code} % {plan.lanes} == 0" for size in plan.sizes]
    return " && ".join(asked), plan


def _plan(scope: Scope, var: str, extent: int, leaf: Store | Accumulate, of_any_size: bool) -> _Plan | None:
    target = Load(leaf.buffer, leaf.index, leaf.value.dtype)
    guards = _shared_guards(leaf, var)
    if any(r.buffer == leaf.buffer and r.index != leaf.index for r in loads(leaf.value)):
        return None  # what one lane writes another may read
    candidates = [r for r in (*guards, target) if is_contiguous(scope, r, var)]
    if not candidates:
        return None
    widest = max(r.dtype.bytes for r in candidates)
    lanes = gcd(extent, ACCESS_BYTES // widest)
    while lanes > 1:
        needed = {r: sizes_for(scope, r, var, lanes) for r in candidates}
        fitting = {
            r: sizes for r, sizes in needed.items() if sizes is not None and not (sizes and of_any_size)
        }
        if fitting:
            sizes = sorted({size for found in fitting.values() for size in found or ()})
            reads = tuple(r for r in fitting if r != target or isinstance(leaf, Accumulate) or r in guards)
            return _Plan(lanes, reads, target in fitting, tuple(sizes), guards)
        lanes //= 2
    return None


def _shared_guards(leaf: Store | Accumulate, var: str) -> dict[Load, Expr]:
    """The reads that all lanes make or none, and the condition; what is written meanwhile decides none."""
    found: dict[Load, set[Expr]] = {}
    for read, guard in guarded_reads(leaf.value, TRUE):
        found.setdefault(read, set()).add(guard)
    guards = {read: TRUE if TRUE in asked else min(asked, key=repr) for read, asked in found.items()}
    return {
        read: guard
        for read, guard in guards.items()
        if guard == TRUE
        or (
            len(found[read]) == 1
            and var not in variables(guard)
            and all(r.buffer != leaf.buffer for r in loads(guard))
        )
    }


def is_contiguous(scope: Scope, access: Load, var: str) -> bool:
    place = scope.buffers[access.buffer]
    if place.scope not in ("global", "shared"):
        return False
    index = access.index[: rank_in_memory(place.shape)]
    if not index:
        return False
    *outer, last = index
    return coefficient(last, var) == 1 and not any(var in variables(i) for i in outer)


def sizes_for(scope: Scope, access: Load, var: str, lanes: int) -> set[str] | None:
    """The sizes that must be multiples of `lanes` for an access to begin at one. None where that is not enough."""
    place = scope.buffers[access.buffer]
    rank = rank_in_memory(place.shape)
    at = tuple(substitute(i, {var: integer(0)}) for i in access.index[:rank])
    sizes = set(scope.sizes)

    def fits(multiples: set[str]) -> bool:
        known = scope.multiples | dict.fromkeys(multiples, lanes)
        return _multiple_of_address(at, place.shape[:rank], known) % lanes == 0

    if not fits(sizes):
        return None
    for size in sorted(sizes):
        if fits(sizes - {size}):
            sizes -= {size}
    return sizes


def _multiple_of_address(index: Sequence[Expr], shape: Sequence[Expr], known: Mapping[str, int]) -> int:
    result, stride = 0, 1
    for i, extent in zip(reversed(index), reversed(shape), strict=True):
        result = gcd(result, multiple_of(i, known) * stride)
        stride *= multiple_of(extent, known) or 1
    return result


def multiple_of(e: Expr, known: Mapping[str, int]) -> int:
    """A number that an index is always a multiple of; 0 for what is always 0."""
    match e:
        case Const():
            return abs(int(e.value))
        case Var():
            return known.get(e.name, 1)
        case Op(op="+" | "-" | "min" | "max", args=(a, b)):
            return gcd(multiple_of(a, known), multiple_of(b, known))
        case Op(op="*", args=(a, b)):
            return multiple_of(a, known) * multiple_of(b, known)
        case Op(op="%", args=(a, Const() as b)):
            return gcd(multiple_of(a, known), int(b.value))
        case Op(op="^", args=(a, b)):
            powers = [_power_of_two(multiple_of(x, known)) for x in (a, b)]
            return min(p for p in powers if p) if any(powers) else 0
        case Op(op="neg", args=(a,)):
            return multiple_of(a, known)
    return 1


def _power_of_two(number: int) -> int:
    return number & -number


# ---------------------------------------------------------------- text


def write_vectors(scope: Scope, loop: For, plan: _Plan) -> None:
    """The loop by vectors."""
    assert isinstance(loop.extent, Const)
    extent = int(loop.extent.value)
    if extent == plan.lanes:
        with scope.writer.block():
            _write_lanes(scope, loop, plan, number(0))
        return
    name = scope.names.index(f"{loop.var}_first")
    scope.writer.line("#pragma unroll")
    with scope.writer.block(f"for (te_i32 {name} = 0; {name} < {extent}; {name} += {plan.lanes})"):
        _write_lanes(scope, loop, plan, Index(name, low=0, high=extent - plan.lanes))
    scope.names.release(name)


def _write_lanes(scope: Scope, loop: For, plan: _Plan, first: Index) -> None:
    leaf = loop.body
    assert isinstance(leaf, Store | Accumulate)
    writer = scope.writer
    target = Load(leaf.buffer, leaf.index, leaf.value.dtype)
    names: dict[Expr, str] = {}
    with scope.bind(loop.var, first):
        for read in plan.reads:
            place = scope.buffers[read.buffer]
            names[read] = scope.names.fresh(f"{place.name}_{plan.lanes}")
            constant = "" if read == target and plan.writes else "const "
            loaded = f"te_load<{plan.lanes}>(&{element(scope, place, read.index)})"
            guard = plan.guards.get(read, TRUE)
            if guard != TRUE:
                loaded = f"{value(scope, guard).code} ? {loaded} : {_type(place, plan)}{{}}"
            writer.line(f"{constant}{_type(place, plan)} {names[read]} = {loaded};")
        place = scope.buffers[leaf.buffer]
        if plan.writes and target not in names:
            names[target] = scope.names.fresh(f"{place.name}_{plan.lanes}")
            writer.line(f"{_type(place, plan)} {names[target]};")
    lane = scope.names.index(loop.var)
    here = Index(lane, low=0, high=plan.lanes - 1)
    writer.line("#pragma unroll")
    with (
        writer.block(f"for (te_i32 {lane} = 0; {lane} < {plan.lanes}; ++{lane})"),
        scope.bind(loop.var, add(first, here)),
        scope.reading({read: f"{names[read]}.at[{lane}]" for read in plan.reads}),
    ):
        wanted = f"{names[target]}.at[{lane}]" if plan.writes else element(scope, place, leaf.index)
        writer.line(f"{wanted} = {_new(scope, leaf, wanted).code};")
    if plan.writes:
        with scope.bind(loop.var, first):
            store = "te_store_past" if isinstance(leaf, Store) and is_streamed(leaf, place) else "te_store"
            writer.line(f"{store}(&{element(scope, place, leaf.index)}, {names[target]});")
    for name in (*names.values(), lane):
        scope.names.release(name)


def is_streamed(s: Store, place: Place) -> bool:
    """Whether a store goes past the caches: that is asked for, and the buffer is not known to be too small."""
    if not s.stream or place.scope != "global":
        return False
    extents = [int(d.value) for d in place.shape if isinstance(d, Const)]
    return len(extents) < len(place.shape) or prod(extents) * place.dtype.bytes >= s.stream_above


def _type(place: Place, plan: _Plan) -> str:
    return f"te_vector<{type_name(place.dtype)}, {plan.lanes}>"


def _new(scope: Scope, leaf: Store | Accumulate, old: str) -> Text:
    if isinstance(leaf, Store):
        return value(scope, leaf.value)
    return step(leaf.reducer, leaf.value.dtype, Text(old), terms_of(scope, leaf.reducer, leaf.value))
