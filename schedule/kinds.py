"""Rewrites that set a loop's kind: unroll, vectorize, parallel, bind.

The loop stays one node; only a backend expands it. Kinds come last in a schedule: a
loop that has one is not reshaped any more.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import replace

from te.diagnostics import ScheduleError, Span, error
from te.ir.expr import Const
from te.ir.loop import (
    BINDINGS,
    CONCURRENT,
    PARALLEL,
    SERIAL,
    THREADS,
    UNROLLED,
    VECTOR,
    For,
    Kernel,
    Stmt,
    bodies,
    walk_stmt,
)
from te.ir.print import print_expr
from te.ir.simplify import simplify
from te.ir.tensor import Program
from te.ir.visit import variables
from te.schedule.block_order import OF_PLANES, PLANE
from te.schedule.clusters import CLUSTER, why_no_cluster
from te.schedule.context import facts_at
from te.schedule.directives import Bind, Parallel, Split, Unroll, Vectorize
from te.schedule.forms import Place, span_of
from te.schedule.legality import Order, carried, explain
from te.schedule.loops import Role, leaves, replace_loop, role, split, split_names
from te.schedule.names import Path, find_loop, find_loops, index_of, require_serial
from te.schedule.vocabulary import verb_of
from te.target import has_clusters, is_gpu

UNROLL_LIMIT = 1024  # trips of one loop
UNROLLED_NEST_LIMIT = 4096  # copies of one statement
LANES_LIMIT = 256


def unroll(kernel: Kernel, d: Unroll) -> Kernel:
    for name, span in _named(kernel, d, UNROLLED):
        kernel, loop, path = _split_first(kernel, d, name, span)
        trips = _constant_trips(loop, d, span)
        copies = trips * _copies_outside(path) * _copies_inside(loop.body)
        if trips > UNROLL_LIMIT or copies > UNROLLED_NEST_LIMIT:
            too_many = f"{trips} trips" if trips > UNROLL_LIMIT else f"{copies} copies of a statement"
            raise ScheduleError(
                error(
                    "unroll-limit",
                    f"unrolling `{loop.var}` gives {too_many}",
                    span,
                    f"at most {UNROLL_LIMIT} trips and {UNROLLED_NEST_LIMIT} copies",
                    help=f"`unroll {index_of(name)} by 8` unrolls a part",
                )
            )
        _refuse_inside(loop, CONCURRENT, d, span)
        if trips:
            kernel = _with_kind(kernel, loop, UNROLLED)
    return kernel


def vectorize(kernel: Kernel, d: Vectorize) -> Kernel:
    for name, span in _named(kernel, d, VECTOR):
        kernel, loop, path = _split_first(kernel, d, name, span)
        lanes = _constant_trips(loop, d, span)
        if lanes > LANES_LIMIT:
            raise ScheduleError(
                error(
                    "vector-width",
                    f"`{loop.var}` would need vectors of {lanes} lanes",
                    span,
                    f"at most {LANES_LIMIT} lanes",
                    help=f"`vectorize {index_of(name)} by 16`, or another smaller number",
                )
            )
        _refuse_inside(loop, CONCURRENT | {VECTOR}, d, span)
        _refuse_around(loop, path, {VECTOR}, d, span)
        for dependence in carried(loop, facts_at(path, kernel.program)):
            if dependence.order in (Order.FIXED, Order.RECOMPUTED):
                raise ScheduleError(
                    error(
                        "vectorize-dependence",
                        f"the trips of `{loop.var}` depend on each other: {explain(dependence, loop.var)}",
                        span,
                        "cannot run in lockstep",
                        help=_independent_loops(loop, path, kernel.program),
                    )
                )
        if lanes:
            kernel = _with_kind(kernel, loop, VECTOR)
    return kernel


def parallel(kernel: Kernel, d: Parallel) -> Kernel:
    for name, span in _named(kernel, d, PARALLEL):
        loop, path = find_loop(kernel, name, span)
        if is_gpu(kernel.target):
            raise ScheduleError(
                error(
                    "parallel-target",
                    f"the target `{kernel.target}` has no threads of a CPU to run the trips of `{loop.var}`",
                    span,
                    "of CPUs only",
                    help=f"`bind {index_of(name)} to block.x` runs them on the blocks of a GPU, "
                    f"`bind {index_of(name)} to thread.x` on the threads of a block",
                )
            )
        require_serial(loop, verb_of(d), span)
        _refuse_around(loop, path, {VECTOR, UNROLLED}, d, span)
        _refuse_dependent_trips(kernel, loop, path, span)
        kernel = _with_kind(kernel, loop, PARALLEL)
    return kernel


_NOT_YET = frozenset({"warpgroup"})  # levels that no backend emits


def bind(kernel: Kernel, d: Bind) -> Kernel:
    span = span_of(d, "loop")
    loop, path = find_loop(kernel, d.loop, span)
    if kernel.target.split(".")[0] == "llvm":
        raise ScheduleError(
            error(
                "bind-target",
                f"the target `{kernel.target}` has no `{d.to}` to bind a loop to",
                span_of(d, "to"),
                "of GPUs only",
                help=f"`parallel {d.loop}` runs its trips on the threads of a CPU",
            )
        )
    if d.to in _NOT_YET or (d.to == CLUSTER and not has_clusters(kernel.target)):
        raise ScheduleError(
            error(
                "bind-target",
                f"the target `{kernel.target}` has no `{d.to}` to bind a loop to",
                span_of(d, "to"),
                f"of GPUs from sm_90 on{'' if d.to == CLUSTER else ', and not used by te yet'}",
                help="loops are bound to blocks, warps, lanes and threads",
            )
        )
    if (loop.kind, loop.order) == (d.to, d.order or ""):
        return kernel
    require_serial(loop, "bind", span)
    _refuse_around(loop, path, {VECTOR, UNROLLED}, d, span)
    _refuse_levels(loop, path, d)
    _refuse_dependent_trips(kernel, loop, path, span, are_threads=d.to in THREADS)
    if d.to == CLUSTER:
        _refuse_no_cluster(loop, d)
    return replace_loop(kernel, loop.var, replace(loop, kind=str(d.to), order=str(d.order or "")))


def _refuse_no_cluster(loop: For, d: Bind) -> None:
    why_not = why_no_cluster(loop)
    if why_not is not None:
        raise ScheduleError(
            error(
                "bind-target",
                f"`{loop.var}` cannot be bound to {CLUSTER}: {why_not}",
                span_of(d, "loop"),
                "no clusters",
                help="`split i by 4 into c, b`, `bind b to block.x`, and then `bind c to cluster.x` makes clusters of "
                "4 blocks",
            )
        )


def _refuse_levels(loop: For, path: Path, d: Bind) -> None:
    """Refuse a level inside of one that it holds, or inside of itself, and an order of anything but blocks."""
    inside = [s for s, _ in walk_stmt(loop.body) if isinstance(s, For)]
    outer = [s for s in path if isinstance(s, For)]
    pairs = [(other, other.kind, d.to) for other in outer] + [(other, d.to, other.kind) for other in inside]
    for other, around, within in pairs:
        both_bound = around in BINDINGS and within in BINDINGS
        if both_bound and (around == within or BINDINGS[around] > BINDINGS[within]):
            raise ScheduleError(
                error(
                    "kind-nesting",
                    f"`{loop.var}` cannot be bound to {d.to}: `{other.var}`, "
                    f"{'around' if other in outer else 'inside'} it, is bound to {other.kind}",
                    span_of(d, "to"),
                    "not at this place",
                    help="from the outside in: cluster, block, warpgroup, warp, then thread or lane; each once",
                )
            )
    if d.order and not d.to.startswith("block"):
        raise ScheduleError(
            error(
                "directive-value",
                f"`order` is for blocks, and `{loop.var}` is bound to {d.to}",
                span_of(d, "order"),
                "no order of blocks",
            )
        )
    if d.order in OF_PLANES and d.to not in PLANE:
        raise ScheduleError(
            error(
                "directive-value",
                f"`order {d.order}` is for the planes of block.x and block.y, and `{loop.var}` is bound to {d.to}",
                span_of(d, "order"),
                "no order of planes",
            )
        )


def _refuse_dependent_trips(
    kernel: Kernel, loop: For, path: Path, span: Span | None, *, are_threads: bool = False
) -> None:
    """Refuse a loop whose trips cannot run at the same time. Threads of a block may share a reduction."""
    step = next((s for s in leaves(loop.body) if role(loop, s) is Role.STEP), None)
    if step is not None and not are_threads:  # even where there is one trip at most
        raise ScheduleError(
            error(
                "parallel-reduction",
                f"`{loop.var}` is a reduction loop: all its trips update the same elements of `{step.buffer}`",
                span,
                "its trips cannot run at the same time",
                help=_independent_loops(loop, path, kernel.program),
            )
        )
    for dependence in carried(loop, facts_at(path, kernel.program)):
        if dependence.order in (Order.FIXED, Order.RECOMPUTED):
            raise ScheduleError(
                error(
                    "parallel-dependence",
                    f"the trips of `{loop.var}` depend on each other: {explain(dependence, loop.var)}",
                    span,
                    "cannot run at the same time",
                    help=_independent_loops(loop, path, kernel.program),
                )
            )


# ---------------------------------------------------------------- steps


def _named(kernel: Kernel, d: Unroll | Vectorize | Parallel, kind: str) -> list[tuple[str, Span | None]]:
    """The full names of a directive's loops, and where they were written, without those that have the kind."""
    spans = [span_of(d, "loops", position) for position in range(len(d.loops))]
    found = find_loops(kernel, d.loops, spans)
    by = None if isinstance(d, Parallel) else d.by
    return [
        (loop.var, span)
        for (loop, _), span in zip(found, spans, strict=True)
        if by is not None or loop.kind != kind
    ]


def _split_first(
    kernel: Kernel, d: Unroll | Vectorize, name: str, span: Span | None
) -> tuple[Kernel, For, Path]:
    """The loop that gets the kind: with `by`, the inner one of a split.

    Its extent is what is known of it: 64 where the `when` of the schedule says `K == 64`.
    """
    loop, path = find_loop(kernel, name, span)
    require_serial(loop, verb_of(d), span)
    if d.by is None:
        known = simplify(loop.extent, facts_at(path, kernel.program))
        return kernel, replace(loop, extent=known) if isinstance(known, Const) else loop, path
    place = None
    if d.place and span:
        place = Place(d.place.span, d.place.verb, {"loop": (span,), "by": d.place.parts["by"]})
    part = Split(name, by=d.by, place=place)
    _, inner = split_names(kernel, name, part)
    kernel = split(kernel, part)
    loop, path = find_loop(kernel, inner, span)
    return kernel, loop, path


def _constant_trips(loop: For, d: Unroll | Vectorize, span: Span | None) -> int:
    """The number of trips, which must be the same wherever and whenever the loop runs."""
    verb, index = verb_of(d), index_of(loop.var)
    varying = next(
        (s for s, _ in walk_stmt(loop.body) if isinstance(s, For) and loop.var in variables(s.extent)), None
    )
    if isinstance(loop.extent, Const) and not (varying and verb == "vectorize"):
        return int(loop.extent.value)
    if varying:
        reason = f"the extent of `{varying.var}`, inside, depends on `{loop.var}`"
    else:
        reason = f"the extent of `{loop.var}`, {print_expr(loop.extent, index_of)}, is no constant"
    raise ScheduleError(
        error(
            "extent-not-constant",
            f"`{verb}` needs a constant extent: {reason}",
            span,
            "not constant",
            help=f"`{verb} {index} by 8` splits first; sizes can be fixed when the op is built",
        )
    )


def _refuse_inside(loop: For, kinds: Set[str], d: Unroll | Vectorize, span: Span | None) -> None:
    """Refuse a loop that holds one of a kind that cannot stand in it."""
    for s, _ in walk_stmt(loop.body):
        if isinstance(s, For) and s.kind in kinds:
            _refuse_nesting(s, loop, verb_of(d), span)


def _refuse_around(
    loop: For, path: Path, kinds: Set[str], d: Vectorize | Parallel | Bind, span: Span | None
) -> None:
    for s in path:
        if isinstance(s, For) and s.kind in kinds:
            _refuse_nesting(loop, s, verb_of(d), span)


def _refuse_nesting(inner: For, outer: For, verb: str, span: Span | None) -> None:
    """Refuse two kinds in each other; the loop that has none yet is the one that `verb` names."""
    this, other, where = (inner, outer, "is inside") if inner.kind == SERIAL else (outer, inner, "holds")
    kind = {"unroll": "an unrolled", "vectorize": "a vector", "parallel": "a parallel", "bind": "a bound"}[
        verb
    ]
    raise ScheduleError(
        error(
            "kind-nesting",
            f"`{this.var}` cannot be {kind} loop: it {where} the {other.kind} loop `{other.var}`",
            span,
            f"{where} `{other.var}`",
            help="parallel loops stand outside vector and unrolled ones, and vector loops not in each other",
        )
    )


def _independent_loops(loop: For, path: Path, program: Program) -> str:
    """Which loops of the nest are free of such dependences."""
    nest = [(s, path[:n]) for n, s in enumerate(path) if isinstance(s, For)]
    nest += [(s, (*path, loop, *inside)) for s, inside in walk_stmt(loop.body) if isinstance(s, For)]
    free = [
        f"`{s.var}`"
        for s, around in nest
        if not s.is_reduction and not s.overlaps and s.kind == SERIAL
        if all(d.order is Order.REPEATED for d in carried(s, facts_at(around, program)))
    ]
    if not free:
        return "no loop of this nest has independent trips"
    return f"the trips of a data loop are independent: {', '.join(free)}"


def _copies_outside(path: Path) -> int:
    copies = 1
    for s in path:
        copies *= _copies(s)
    return copies


def _copies_inside(s: Stmt) -> int:
    """How often the most repeated statement in `s` is written out."""
    return _copies(s) * max([_copies_inside(body) for body in bodies(s)], default=1)


def _copies(s: Stmt) -> int:
    if isinstance(s, For) and s.kind == UNROLLED and isinstance(s.extent, Const):
        return int(s.extent.value)
    return 1


def _with_kind(kernel: Kernel, loop: For, kind: str) -> Kernel:
    return replace_loop(kernel, loop.var, replace(loop, kind=kind))
