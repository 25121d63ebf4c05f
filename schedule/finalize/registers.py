"""Registers have no addresses: the loops that choose one are written out.

    alloc C: f32[4, 8] in register:               alloc C: f32[4, 8] in register:
      for Y.i < 4:                        ->        unrolled for Y.i < 4:
        vector for Y.j < 8: ... C[i, j]               vector for Y.j < 8: ... C[i, j]

What cannot be written out is the schedule's mistake, and is refused.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import replace
from math import prod
from typing import NoReturn

from te.diagnostics import error
from te.ir.bounds import NO_FACTS
from te.ir.expr import Const, Expr, Var, integer
from te.ir.loop import (
    SERIAL,
    THREADS,
    UNROLLED,
    VECTOR,
    Accumulate,
    Alloc,
    For,
    Let,
    Stmt,
    Store,
    direct_exprs,
    rewrite_stmt,
    walk_stmt,
)
from te.ir.print import print_expr
from te.ir.simplify import simplify
from te.ir.visit import loads, substitute, variables
from te.schedule.finalize.guards import coefficient
from te.schedule.kinds import UNROLL_LIMIT, UNROLLED_NEST_LIMIT
from te.schedule.late import LateRefusal
from te.schedule.names import Path, index_of


def unroll_register_loops(body: Stmt, of: Set[str] | None = None) -> Stmt:
    """Unroll the serial loops that index registers; with `of`, those of them that have one of these names.

    Raises `ScheduleError` where one cannot be unrolled.
    """
    chosen: dict[str, str] = {}
    for s, path in walk_stmt(body):
        scopes = {a.buffer.name: a for a in path if isinstance(a, Alloc) and a.buffer.scope == "register"}
        for buffer, index in _indexed(s):
            if buffer in scopes:
                at = path.index(scopes[buffer])
                for position, e in enumerate(index):
                    is_last = position == len(index) - 1
                    found, outside = _loops_that_choose(buffer, e, is_last, path[at + 1 :], of)
                    _require_none_around(buffer, e, outside, path[:at])
                    chosen |= found
    if not chosen:
        return body

    def unrolled(s: Stmt) -> Stmt:
        return replace(s, kind=UNROLLED) if isinstance(s, For) and s.var in chosen else s

    return rewrite_stmt(body, unrolled)


def refuse_long_code(body: Stmt) -> None:
    """Refuse registers for which a statement is written out more often than `unroll` may do it.

    Of a GPU's compiler: what it gets is the whole nest written out, which takes minutes and spills.
    """
    for s, path in walk_stmt(body):
        if not isinstance(s, Store | Accumulate):
            continue
        loops = [loop for loop in path if isinstance(loop, For) and loop.kind == UNROLLED]
        copies = prod(loop.extent.value for loop in loops if isinstance(loop.extent, Const))
        if copies > UNROLLED_NEST_LIMIT:
            scopes = {a.buffer.name: a.buffer.scope for a in path if isinstance(a, Alloc)}
            registers = [buffer for buffer, _ in _indexed(s) if scopes.get(buffer) == "register"]
            raise LateRefusal(
                error(
                    "unroll-limit",
                    f"registers have no addresses, and without loops there are {copies} copies of a statement "
                    f"of `{s.stage}`",
                    None,
                    help="smaller tiles, or `in stack`",
                ),
                [*registers, *[loop.var for loop in reversed(loops)]],
                f"at most {UNROLLED_NEST_LIMIT} copies",
            )


def _indexed(s: Stmt) -> list[tuple[str, tuple[Expr, ...]]]:
    found = [(load.buffer, load.index) for e in direct_exprs(s) for load in loads(e)]
    return [*found, (s.buffer, s.index)] if isinstance(s, Store | Accumulate) else found


def _loops_that_choose(
    buffer: str, e: Expr, is_last: bool, inside: Path, of: Set[str] | None
) -> tuple[dict[str, str], Set[str]]:
    """The serial loops around an access, inside the allocation, on which an index depends; what else it depends on."""
    used = variables(e)
    found: dict[str, str] = {}
    for s in reversed(inside):
        if isinstance(s, Let) and s.var in used:
            used |= variables(s.value)
        elif isinstance(s, For) and s.var in used:
            used -= {s.var}
            if s.kind in THREADS or (of is not None and s.var not in of):
                continue  # each thread keeps what it chooses: `gpu/registers.py`
            fits = isinstance(s.extent, Const) and s.extent.value <= UNROLL_LIMIT
            if s.kind == VECTOR and is_last and _is_of_lanes(e, s.var, inside):
                continue
            if s.kind not in (SERIAL, UNROLLED) or not fits:
                _refuse(buffer, e, s)
            if s.kind == SERIAL:
                found[s.var] = buffer
    return found, used


def _require_none_around(buffer: str, e: Expr, used: Set[str], around: Path) -> None:
    """Refuse an index that depends on a loop in whose trips the registers are new ones."""
    for s in reversed(around):
        if isinstance(s, Let) and s.var in used:
            used |= variables(s.value)
        elif isinstance(s, For) and s.var in used and s.extent != integer(1):
            _refuse_index(
                buffer, e, f"`{s.var}` is a loop around its registers", (buffer, s.var), "not in registers"
            )


def _is_of_lanes(e: Expr, lane: str, inside: Path) -> bool:
    """Whether an index is the lane; of what a thread keeps of a buffer outside of its loop, lanes may be a part."""
    threads: dict[str, Expr] = {s.var: integer(0) for s in inside if isinstance(s, For) and s.kind in THREADS}
    if not threads.keys() & variables(e):
        return isinstance(e, Var)
    return coefficient(simplify(substitute(e, threads), NO_FACTS), lane) == 1


def _refuse(buffer: str, e: Expr, loop: For) -> None:
    why = (
        f"its loop `{loop.var}` is a {loop.kind} loop, and only the last axis of registers can be in vectors, "
        "an element a lane"
        if loop.kind == VECTOR
        else f"`{loop.var}` is no loop that can be unrolled"
    )
    _refuse_index(buffer, e, why, (loop.var, buffer), "it chooses the register")


def _refuse_index(buffer: str, e: Expr, why: str, about: Sequence[str], label: str) -> NoReturn:
    raise LateRefusal(
        error(
            "register-index",
            f"which register of `{buffer}` is meant by `{print_expr(e, index_of)}` is known at run time only: {why}",
            None,
            help=f"split the loop so that a tile has a constant size, or `set_scope {buffer} in stack`",
        ),
        about,
        label,
    )
