"""Rewrites of loops that several statements share: fission, merge.

Both turn on one question: may all trips of one part run before all trips of another, where
now each trip runs both in turn? They differ in which of the two orders they start from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import count
from typing import NoReturn

from te.diagnostics import ScheduleError, counted, error
from te.ir.bounds import prove
from te.ir.expr import Var, compare
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
    direct_exprs,
    rewrite_stmt,
    seq,
    substitute_stmt,
    walk_stmt,
)
from te.ir.print import print_expr
from te.ir.visit import loads
from te.schedule.context import facts_at
from te.schedule.directives import Fission, Merge
from te.schedule.forms import span_of
from te.schedule.legality import explain, overtaking_dependence
from te.schedule.loops import Role, leaves, role, stages_of, with_steps
from te.schedule.names import Path, find_loop, find_loops, index_of, require_serial

Between = tuple[Let | If | Alloc, ...]

# ---------------------------------------------------------------- fission


def fission(kernel: Kernel, d: Fission) -> Kernel:
    loop, path = find_loop(kernel, d.loop, span_of(d, "loop"))
    require_serial(loop, "fission", span_of(d, "loop"))
    between, items = _statements(loop)
    if not 1 <= d.at < len(items):
        _refuse_position(loop, len(items), d)
    first, second = items[: d.at], items[d.at :]
    _check_between(loop, between, first, second, d)
    dependence = overtaking_dependence(loop, first, second, facts_at(path, kernel.program))
    if dependence:
        raise ScheduleError(
            error(
                "fission-dependence",
                f"the parts of `{loop.var}` cannot run one after the other: {explain(dependence, loop.var)}",
                span_of(d, "at"),
                "the first part needs what the second one did in an earlier trip",
                help="both parts stay in one loop, in this order",
            )
        )
    parts = _part(loop, loop.var, between, first), _renamed(kernel, loop, between, second)
    return _replaced(kernel, {loop.var: seq(*parts)}, stages_of(loop))


def _refuse_position(loop: For, count: int, d: Fission) -> NoReturn:
    positions = "position 1" if count == 2 else f"positions 1 to {count - 1}"
    raise ScheduleError(
        error(
            "fission-position",
            f"`{loop.var}` holds {counted(count, 'statement')}: position {d.at} is not between two of them",
            span_of(d, "at"),
            "no such place",
            help=f"{positions} would split it"
            if count > 1
            else "`merge` and `compute_at` put several statements into one loop",
        )
    )


def _statements(loop: For) -> tuple[Between, tuple[Stmt, ...]]:
    """The statements of a loop, and what stands around all of them inside it."""
    between: list[Let | If | Alloc] = []
    s = loop.body
    while isinstance(s, Let | Alloc) or (isinstance(s, If) and s.otherwise is None):
        between.append(s)
        s = s.body
    return tuple(between), s.items if isinstance(s, Seq) else (s,)


def _check_between(
    loop: For, between: Between, first: Sequence[Stmt], second: Sequence[Stmt], d: Fission
) -> None:
    """Refuse what cannot stand around both parts: a buffer that they share, a condition that a part changes."""
    written = {s.buffer for s in leaves(loop.body)}
    for s in between:
        match s:
            case Alloc(buffer=buffer) if _uses(first, buffer.name) and _uses(second, buffer.name):
                raise ScheduleError(
                    error(
                        "fission-dependence",
                        f"both parts of `{loop.var}` use the buffer `{buffer.name}`, which each trip has anew",
                        span_of(d, "at"),
                        "its contents would not reach the second loop",
                        help=f"both parts stay in one loop, or `{buffer.name}` is allocated outside it",
                    )
                )
            case If() if changed := sorted({r.buffer for r in loads(s.condition)} & written):
                raise ScheduleError(
                    error(
                        "fission-dependence",
                        f"both parts of `{loop.var}` stand under `{print_expr(s.condition, index_of)}`, and one "
                        f"of them writes `{changed[0]}`",
                        span_of(d, "at"),
                        "asked twice, the condition could have two answers",
                    )
                )


def _uses(part: Sequence[Stmt], buffer: str) -> bool:
    for item in part:
        for s, _ in walk_stmt(item):
            read = any(load.buffer == buffer for e in direct_exprs(s) for load in loads(e))
            if read or (isinstance(s, Store | Accumulate) and s.buffer == buffer):
                return True
    return False


def _part(loop: For, name: str, between: Between, items: Sequence[Stmt]) -> For:
    """A loop like `loop`, around some of its statements."""
    body = seq(*items)
    for s in reversed(between):
        if not isinstance(s, Alloc) or _uses([body], s.buffer.name):
            body = replace(s, body=body)
    data = {s.stage for s in leaves(body) if role(loop, s) is Role.DATA}
    is_reduction = any(
        isinstance(s, Accumulate | Completed) and loop.var in s.over for s, _ in walk_stmt(body)
    )
    return replace(loop, var=name, body=body, is_reduction=is_reduction, data_of=frozenset(data))


def _renamed(kernel: Kernel, loop: For, between: Between, items: Sequence[Stmt]) -> For:
    """The loop around the second part, with names of its own for itself and for the `Let`s in it."""
    part = _part(loop, loop.var, between, items)
    inside = [s.stage for s in leaves(part) if role(part, s) is not Role.REPETITION]
    stage = next((s for s in inside if s != loop.stage), loop.stage)
    for old in (loop.var, *(s.var for s in between if isinstance(s, Let))):
        renamed = _with_variable(part, old, _free_name(kernel, stage, index_of(old)))
        assert isinstance(renamed, For)
        part = renamed
    return part


def _free_name(kernel: Kernel, stage: str, index: str) -> str:
    """`stage.index`, or with the first number behind it that makes it a new name."""
    taken = {s.var for s, _ in walk_stmt(kernel.body) if isinstance(s, For | Let)}
    names = (f"{stage}.{index}{n if n > 1 else ''}" for n in count(1))
    return next(name for name in names if name not in taken)


def _with_variable(s: Stmt, old: str, new: str) -> Stmt:
    """`s` with another name for a loop or `Let` in it."""

    def renamed(s: Stmt) -> Stmt:
        return replace(s, var=new) if isinstance(s, For | Let) and s.var == old else s

    return with_steps(rewrite_stmt(substitute_stmt(s, {old: Var(new)}), renamed), {old}, {new})


# ---------------------------------------------------------------- merge


def merge(kernel: Kernel, d: Merge) -> Kernel:
    spans = [span_of(d, "loops", position) for position in (0, 1)]
    (first, path), (second, other) = find_loops(kernel, d.loops, spans)
    for loop, span in zip((first, second), spans, strict=True):
        require_serial(loop, "merge", span)
    _check_neighbours(first, second, path, other, d)
    facts = facts_at(path, kernel.program)
    if first.extent != second.extent and not prove(compare("==", first.extent, second.extent), facts):
        raise ScheduleError(
            error(
                "merge-extents",
                f"nothing proves that `{first.var}` and `{second.var}` have equally many trips: "
                f"{print_expr(first.extent, index_of)} and {print_expr(second.extent, index_of)}",
                spans[1],
                "another extent",
            )
        )
    merged, parts = _merged(first, second, d)
    dependence = overtaking_dependence(merged, *parts, facts)
    if dependence:
        raise ScheduleError(
            error(
                "merge-dependence",
                f"`{second.var}` cannot run together with `{first.var}`: {explain(dependence, merged.var)}",
                spans[1],
                f"would overtake `{first.var}`",
                help=f"a trip of `{second.var}` may only need what trips of `{first.var}` up to the same one did",
            )
        )
    return _replaced(kernel, {first.var: merged, second.var: seq()}, stages_of(first) | stages_of(second))


def _check_neighbours(first: For, second: For, path: Path, other: Path, d: Merge) -> None:
    """Refuse loops that do not follow each other directly."""
    around = path[-1] if path else None
    same = len(path) == len(other) and all(a is b for a, b in zip(path, other, strict=True))
    why = f"`{first.var}` and `{second.var}` do not stand side by side"
    if same and isinstance(around, Seq):
        places = [next(i for i, s in enumerate(around.items) if s is loop) for loop in (first, second)]
        if places[1] == places[0] + 1:
            return
        between = around.items[min(places) + 1 : max(places)]
        stages = sorted({s.stage for item in between for s in leaves(item)})
        if places[1] < places[0]:
            why = f"`{second.var}` runs before `{first.var}`"
        elif stages:
            why = f"the statements of {', '.join(f'`{n}`' for n in stages)} stand between"
    raise ScheduleError(
        error(
            "merge-neighbours",
            f"`{first.var}` and `{second.var}` cannot be merged: {why}",
            span_of(d, "loops", 1),
            "not the next loop",
            help="`merge` takes a loop and the one right after it, inside the same loops",
        )
    )


def _merged(first: For, second: For, d: Merge) -> tuple[For, tuple[Sequence[Stmt], Sequence[Stmt]]]:
    """The loop that runs a trip of both in turn, and the parts of its body."""
    moved = _with_variable(second, second.var, first.var)
    assert isinstance(moved, For)
    parts = tuple(loop.body.items if isinstance(loop.body, Seq) else (loop.body,) for loop in (first, moved))
    data = {s.stage for loop in (first, second) for s in leaves(loop.body) if role(loop, s) is Role.DATA}
    merged = replace(
        first,
        body=seq(*parts[0], *parts[1]),
        is_reduction=first.is_reduction or second.is_reduction,
        overlaps=first.overlaps or second.overlaps,
        peel=first.peel or second.peel,
        data_of=frozenset(data),
    )
    before = [role(loop, s) for loop in (first, second) for s in leaves(loop.body)]
    if before != [role(merged, s) for s in leaves(merged.body)]:
        raise ScheduleError(
            error(
                "merge-neighbours",
                f"`{first.var}` and `{second.var}` cannot be merged: they compute one stage in different ways",
                span_of(d, "loops", 1),
                "a loop of another kind for that stage",
            )
        )
    return merged, (parts[0], parts[1])


# ---------------------------------------------------------------- both


def _replaced(kernel: Kernel, new: dict[str, Stmt], touched: set[str]) -> Kernel:
    """The kernel with other statements in the place of some loops."""

    def put(s: Stmt) -> Stmt:
        return new.get(s.var, s) if isinstance(s, For) else s

    return replace(kernel, body=rewrite_stmt(kernel.body, put), touched=kernel.touched | touched)
