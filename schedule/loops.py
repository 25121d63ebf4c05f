"""Rewrites that shape loops: split, tile, fuse, reorder.

All of them keep the loops rectangular. What a split overhangs becomes an `If`, and it
stands at the innermost place: moving conditions outward again is `finalize`'s business.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass, replace
from enum import Enum

from te.diagnostics import Diagnostic, ScheduleError, Span, error
from te.ir.bounds import Facts, prove
from te.ir.expr import (
    Const,
    Expr,
    Var,
    add,
    compare,
    floor_div,
    floor_mod,
    integer,
    maximum,
    minimum,
    mul,
    sub,
)
from te.ir.loop import (
    Accumulate,
    Alloc,
    Completed,
    For,
    If,
    Kernel,
    Let,
    Seq,
    Stmt,
    Store,
    bodies,
    rewrite_stmt,
    seq,
    substitute_stmt,
    walk_stmt,
)
from te.ir.print import print_expr
from te.ir.simplify import simplify
from te.ir.visit import variables
from te.schedule.context import facts_at
from te.schedule.directives import Fuse, Reorder, Split, Tile
from te.schedule.forms import Place, Tail, span_of
from te.schedule.legality import explain, repetition_error, reversed_dependence
from te.schedule.names import (
    Path,
    all_loops,
    find_loop,
    find_loops,
    index_of,
    new_loop_name,
    require_serial,
    stage_of,
)

FACTOR_LIMIT = 1 << 20
LOOP_LIMIT = 32  # loops around one statement

# ---------------------------------------------------------------- split


def split(kernel: Kernel, d: Split) -> Kernel:
    loop, path = find_loop(kernel, d.loop, span_of(d, "loop"))
    require_serial(loop, "split", span_of(d, "loop"))
    require_depth(loop, path, span_of(d))
    factor = _factor(d)
    outer, inner = split_names(kernel, loop.var, d)

    facts = facts_at(path, kernel.program)
    chunk = _chunk(loop.extent, factor, d, facts)
    trips = simplify(ceil_div(loop.extent, chunk), facts) if d.by is not None else integer(factor)
    inside = facts.with_range(outer, integer(0), sub(trips, integer(1)))
    inside = inside.with_range(inner, integer(0), sub(chunk, integer(1)))
    plain = add(mul(chunk, Var(outer)), Var(inner))
    has_tail = not prove(compare("<", plain, loop.extent), inside)
    tail = d.tail if has_tail else Tail.EXACT
    if has_tail:
        _check_tail(loop, chunk, d, facts)

    index, in_range = plain, compare("<", plain, loop.extent)
    if tail is Tail.SHIFT:
        last = maximum(integer(0), sub(loop.extent, chunk))
        index = add(minimum(mul(chunk, Var(outer)), last), Var(inner))
        in_range = compare("<", Var(inner), loop.extent)  # all that a loop shorter than one tile needs
    body = substitute_stmt(loop.body, {loop.var: simplify(index, inside)})
    body = with_steps(body, {loop.var}, {outer, inner})
    if has_tail and not prove(in_range, inside):
        body = guard(body, simplify(in_range, inside), {outer, inner})
    new = For(
        outer,
        trips,
        replace(loop, var=inner, extent=chunk, body=body, peel=False),
        is_reduction=loop.is_reduction,
        overlaps=loop.overlaps or (tail is Tail.SHIFT and trips != integer(1)),
        peel=loop.peel or tail is Tail.PEEL,
        data_of=loop.data_of,
    )
    return replace_loop(kernel, loop.var, new)


def _factor(d: Split) -> int:
    """The number given by `by` or `parts`, which is one of the two and in range."""
    if (d.by is None) == (d.parts is None):
        raise ScheduleError(
            error(
                "split-clauses",
                "`split` takes either `by` or `parts`",
                span_of(d, "parts") if d.parts is not None else span_of(d),
                "both are given" if d.parts is not None else "neither is given",
                help="`by 8` makes the inner loop 8 trips long, `parts 8` the outer one",
            )
        )
    name, factor = ("by", d.by) if d.by is not None else ("parts", d.parts)
    assert factor is not None
    if not 1 <= factor <= FACTOR_LIMIT:
        raise ScheduleError(
            error(
                "split-factor",
                f"`{name}` must lie between 1 and {FACTOR_LIMIT}, and is {factor}",
                span_of(d, name),
                "out of range",
            )
        )
    return factor


def split_names(kernel: Kernel, loop: str, d: Split) -> tuple[str, str]:
    """The full names of the loops that a split makes: by default, `i` gives `io` and `ii`."""
    names = d.into or (f"{index_of(loop)}o", f"{index_of(loop)}i")
    spans = [span_of(d, "into", position) for position in (0, 1)]
    outer, inner = (
        new_loop_name(kernel, stage_of(loop), name, span, but=loop)
        for name, span in zip(names, spans, strict=True)
    )
    if outer == inner:
        raise ScheduleError(error("loop-name", "two loops cannot share a name", spans[1], f"`{inner}` twice"))
    return outer, inner


def _chunk(extent: Expr, factor: int, d: Split, facts: Facts) -> Expr:
    """How many trips the inner loop has."""
    return integer(factor) if d.by is not None else simplify(ceil_div(extent, integer(factor)), facts)


def _check_tail(loop: For, chunk: Expr, d: Split, facts: Facts) -> None:
    """Refuse the ways to treat a tail that this loop does not allow."""
    extent = print_expr(loop.extent, index_of)
    if d.tail is Tail.EXACT:
        by = print_expr(chunk) if d.by is not None else str(d.parts)
        missing = f"`require {extent} % {by} == 0` in the op would prove it\n"
        raise ScheduleError(
            error(
                "split-exact",
                f"nothing proves that {by} divides the extent of `{loop.var}`, {extent}",
                span_of(d, "tail"),
                "not proved",
                help=("" if isinstance(loop.extent, Const) else missing)
                + "`tail guard` and `tail peel` take any extent",
            )
        )
    if d.tail is Tail.SHIFT:
        reason = repetition_error(loop, facts)
        if reason:
            raise ScheduleError(
                error(
                    "split-shift",
                    f"`tail shift` would run some trips of `{loop.var}` twice: {reason}",
                    span_of(d, "tail"),
                    "not legal here",
                    help="`tail guard` and `tail peel` run every trip once",
                )
            )


# ---------------------------------------------------------------- tile


def tile(kernel: Kernel, d: Tile) -> Kernel:
    count = len(d.loops)
    if len(d.by) != count or (d.into is not None and len(d.into) != 2 * count):
        wrong, expected = ("by", f"{count} factors") if len(d.by) != count else ("into", f"{2 * count} names")
        raise ScheduleError(
            error(
                "tile-clauses",
                f"a `tile` of {count} loops takes {expected} in `{wrong}`",
                span_of(d, wrong),
                f"{len(getattr(d, wrong))} given",
                help="`into` names all loops over tiles, then all loops in a tile"
                if wrong == "into"
                else None,
            )
        )
    spans = [span_of(d, "loops", position) for position in range(count)]
    found = find_loops(kernel, d.loops, spans)
    find_chain([loop for loop, _ in found], [path for _, path in found], spans)
    outer, inner = [], []
    for position, (loop, _) in enumerate(found):
        part = _tile_part(d, position, loop.var)
        names = split_names(kernel, loop.var, part)
        kernel = split(kernel, part)
        outer.append(names[0])
        inner.append(names[1])
    return reorder(kernel, Reorder((*outer, *inner), place=_place(d, {"loops": [*spans, *spans]})))


def _tile_part(d: Tile, position: int, loop: str) -> Split:
    """The split that a tile makes of one of its loops."""
    count = len(d.loops)
    into = (d.into[position], d.into[count + position]) if d.into else None
    spans = {
        "loop": [span_of(d, "loops", position)],
        "by": [span_of(d, "by", position)],
        "into": [span_of(d, "into", position), span_of(d, "into", count + position)],
        "tail": [span_of(d, "tail")],
    }
    return Split(loop, by=d.by[position], into=into, tail=d.tail, place=_place(d, spans))


def _place(d: Tile, parts: dict[str, list[Span | None]]) -> Place | None:
    """A place for a directive that a tile stands for."""
    if d.place is None:
        return None
    known = {name: tuple(s for s in spans if s is not None) for name, spans in parts.items()}
    return Place(d.place.span, d.place.verb, known)


# ---------------------------------------------------------------- fuse


def fuse(kernel: Kernel, d: Fuse) -> Kernel:
    spans = [span_of(d, "loops", position) for position in (0, 1)]
    found = find_loops(kernel, d.loops, spans)
    for (loop, _), span in zip(found, spans, strict=True):
        require_serial(loop, "fuse", span)
    chain = find_chain([loop for loop, _ in found], [path for _, path in found], spans)
    outer, inner = chain.loops[0], chain.loops[-1]
    _check_fusible(chain, [loop for loop, _ in found], d)
    name = new_loop_name(kernel, outer.stage, d.into, span_of(d, "into"))

    facts = facts_at(chain.path, kernel.program)
    body = with_steps(chain.body, {outer.var, inner.var}, {name})
    for s in reversed(chain.between):
        body = _rewrap(s, body)
    body = Let(inner.var, floor_mod(Var(name), inner.extent), inner.extent, body)
    body = Let(outer.var, floor_div(Var(name), inner.extent), outer.extent, body)
    new = For(
        name,
        simplify(mul(outer.extent, inner.extent), facts),
        body,
        is_reduction=outer.is_reduction,
        overlaps=outer.overlaps or inner.overlaps,
        data_of=outer.data_of & inner.data_of,
    )
    return replace_loop(kernel, outer.var, new)


def _check_fusible(chain: Chain, named: Sequence[For], d: Fuse) -> None:
    outer, inner = chain.loops[0], chain.loops[-1]
    if outer is not named[0]:
        raise ScheduleError(
            error(
                "not-nested",
                f"`{inner.var}` is inside `{outer.var}`",
                span_of(d, "loops", 0),
                "the inner loop",
                help=f"`fuse {outer.var}, {inner.var}` keeps the order of trips; `reorder` changes it",
            )
        )
    if len(chain.loops) > 2:
        raise ScheduleError(
            error(
                "not-nested",
                f"the loop `{chain.loops[1].var}` stands between `{outer.var}` and `{inner.var}`",
                span_of(d, "loops", 1),
                "not directly inside",
                help=f"`reorder` can move `{chain.loops[1].var}` out of the way",
            )
        )
    of_one_kind = all(role(outer, s) is role(inner, s) for s in leaves(chain.body))
    if outer.stage != inner.stage or outer.is_reduction != inner.is_reduction or not of_one_kind:
        what = {True: "a reduction loop", False: "a data loop"}
        raise ScheduleError(
            error(
                "fuse-kinds",
                f"`{outer.var}` is {what[outer.is_reduction]} and `{inner.var}` is {what[inner.is_reduction]}"
                if outer.stage == inner.stage
                else f"`{outer.var}` and `{inner.var}` belong to different stages",
                span_of(d, "loops", 1),
                "not of one kind",
                help="`fuse` takes two data loops or two reduction loops of one stage",
            )
        )


# ---------------------------------------------------------------- reorder


def reorder(kernel: Kernel, d: Reorder) -> Kernel:
    spans = [span_of(d, "loops", position) for position in range(len(d.loops))]
    found = find_loops(kernel, d.loops, spans)
    chain = find_chain([loop for loop, _ in found], [path for _, path in found], spans)
    names = [loop.var for loop, _ in found]
    moved = iter([loop for loop, _ in found])
    order = [next(moved) if loop.var in names else loop for loop in chain.loops]
    if [loop.var for loop in order] == [loop.var for loop in chain.loops]:
        return kernel
    for loop in chain.loops:
        require_serial(loop, "reorder", spans[names.index(loop.var)] if loop.var in names else span_of(d))

    reversal = reversed_dependence(
        chain.loops, [loop.var for loop in order], facts_at(chain.path, kernel.program)
    )
    if reversal:
        at = names.index(reversal.inner) if reversal.inner in names else 0
        raise ScheduleError(
            error(
                "reorder-dependence",
                f"`{reversal.inner}` cannot move outside `{reversal.outer}`: "
                + explain(reversal.dependence, reversal.outer, reversal.inner),
                spans[at],
                "the order of these accesses would change",
                help=f"keep `{reversal.outer}` outside `{reversal.inner}`",
            )
        )
    _refuse_overtaken_overlap(chain, [loop.var for loop in order], names, spans)
    body = chain.body
    for s in reversed(chain.between):
        body = _rewrap(s, body)
    for loop in reversed(order):
        body = replace(loop, body=body)
    touched = {stage for loop, _ in found for stage in stages_of(loop)}
    return replace_loop(kernel, chain.loops[0].var, body, touched=touched)


def _refuse_overtaken_overlap(
    chain: Chain, order: Sequence[str], names: Sequence[str], spans: Sequence[Span | None]
) -> None:
    """A reduction loop stays inside a loop that defines elements again, even one of a single trip.

    No dependence says so there. But a sum starts before the outermost of its loops, each time.
    """
    over = {name for s in leaves(chain.body) if isinstance(s, Accumulate) for name in s.over}
    for place, outer in enumerate(chain.loops):
        for inner in chain.loops[place + 1 :]:
            overtakes = order.index(inner.var) < order.index(outer.var)
            if outer.overlaps and outer.var not in over and inner.var in over and overtakes:
                raise ScheduleError(
                    error(
                        "reorder-dependence",
                        f"`{inner.var}` cannot move outside `{outer.var}`, whose trips overlap: it would add "
                        "to an unfinished sum twice",
                        spans[names.index(inner.var)] if inner.var in names else None,
                        "the order of these accesses would change",
                        help=f"keep `{outer.var}` outside `{inner.var}`, or split without `tail shift`",
                    )
                )


# ---------------------------------------------------------------- perfect nests


@dataclass(frozen=True, slots=True)
class Chain:
    """Loops nested directly in each other, with the conditions and names between them."""

    path: Path
    loops: tuple[For, ...]
    between: tuple[If | Let, ...]
    body: Stmt  # of the last loop


def find_chain(named: Sequence[For], paths: Sequence[Path], spans: Sequence[Span | None]) -> Chain:
    """The nest from the outermost to the innermost of the named loops; refused if it is not perfect."""
    outermost = min(range(len(named)), key=lambda i: len(paths[i]))
    wanted = {loop.var: span for loop, span in zip(named, spans, strict=True)}
    loops: list[For] = []
    between: list[If | Let] = []
    s: Stmt = named[outermost]
    while wanted:
        match s:
            case For():
                loops.append(s)
                wanted.pop(s.var, None)
            case Let() | If(otherwise=None):
                between.append(s)
            case _:
                loop, span = next(iter(wanted.items()))
                raise ScheduleError(_not_nested(named[outermost], loop, s, span))
        s = s.body
    chain = Chain(paths[outermost], tuple(loops), tuple(between), s)
    _check_rectangular(chain, spans)
    return chain


def _not_nested(outer: For, inner: str, between: Stmt, span: Span | None) -> Diagnostic:
    match between:
        case Seq():
            stages = sorted({s.stage for s in leaves(between)})
            what = f"the statements of {', '.join(f'`{n}`' for n in stages)} stand between"
        case Alloc(buffer=buffer):
            what = f"the buffer `{buffer.name}` is allocated between"
        case If():
            what = "a condition with two branches stands between"
        case _:
            what = f"the nest of `{outer.var}` ends without it"
    return error(
        "not-nested",
        f"`{inner}` is not nested directly inside `{outer.var}`: {what}",
        span,
        "not in that nest",
        help="name loops of one nest, in which every loop holds the next one and nothing else",
    )


def _check_rectangular(chain: Chain, spans: Sequence[Span | None]) -> None:
    inner_names: set[str] = {s.var for s in chain.between if isinstance(s, Let)}
    inner_names |= {loop.var for loop in chain.loops}
    for loop in chain.loops:
        used = variables(loop.extent) & inner_names
        if used:
            raise ScheduleError(
                error(
                    "not-nested",
                    f"the extent of `{loop.var}` depends on `{min(used)}`",
                    spans[-1],
                    "not a rectangular nest",
                )
            )


def _rewrap(s: If | Let, body: Stmt) -> Stmt:
    return replace(s, body=body)


# ---------------------------------------------------------------- tools of the rewrites


def ceil_div(a: Expr, b: Expr) -> Expr:
    return floor_div(sub(add(a, b), integer(1)), b)


def guard(s: Stmt, condition: Expr, loops: Set[str] = frozenset()) -> Stmt:
    """`s` with a condition around each innermost statement, for the overhang of some loops.

    It stops at conditions that stand there already: they may read what is only in range
    under the new one. What waits for those loops does so to their end, overhang or not.
    """
    match s:
        case Completed() if s.over & loops:
            return s
        case For() | Let() | Alloc() | Completed():
            return replace(s, body=guard(s.body, condition, loops))
        case Seq():
            return seq(*[guard(item, condition, loops) for item in s.items])
        case _:
            return If(condition, s)


def leaves(s: Stmt) -> list[Store | Accumulate]:
    return [x for x, _ in walk_stmt(s) if isinstance(x, Store | Accumulate)]


class Role(Enum):
    """What a loop is for a statement in it."""

    DATA = "its trips define different elements"
    STEP = "its trips are steps of one reduction"
    REPETITION = "the statement is another stage's, and runs again in each trip"


def role(loop: For, s: Store | Accumulate) -> Role:
    if isinstance(s, Accumulate) and loop.var in s.over:
        return Role.STEP
    return Role.DATA if loop.is_data_loop_of(s.stage) else Role.REPETITION


def stages_of(loop: For) -> set[str]:
    """The stages whose loop it is: its own, and others that share it."""
    return {loop.stage, *(s.stage for s in leaves(loop.body) if role(loop, s) is not Role.REPETITION)}


def with_steps(s: Stmt, old: set[str], new: set[str]) -> Stmt:
    """`s` with other reduction loops in the place of `old`, where its reductions run over them."""

    def renamed(s: Stmt) -> Stmt:
        if isinstance(s, Accumulate | Completed) and s.over & old:
            return replace(s, over=(s.over - old) | new)
        return s

    return rewrite_stmt(s, renamed)


def replace_loop(kernel: Kernel, name: str, new: Stmt, touched: set[str] | None = None) -> Kernel:
    """The kernel with another statement in the place of a loop; the stages whose loop it is count as touched."""
    if touched is None:
        touched = next(stages_of(loop) for loop, _ in all_loops(kernel) if loop.var == name)
    body = rewrite_stmt(kernel.body, lambda s: new if isinstance(s, For) and s.var == name else s)
    return replace(kernel, body=body, touched=kernel.touched | touched)


def require_depth(loop: For, path: Path, span: Span | None) -> None:
    """Refuse one more loop in a nest that is so deep that later passes might not walk it."""
    depth = sum(isinstance(s, For) for s in path) + _depth(loop)
    if depth >= LOOP_LIMIT:
        raise ScheduleError(
            error("too-many-loops", f"a nest of more than {LOOP_LIMIT} loops", span, f"{depth} loops already")
        )


def _depth(s: Stmt) -> int:
    return isinstance(s, For) + max([_depth(body) for body in bodies(s)], default=0)
