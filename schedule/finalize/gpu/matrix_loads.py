"""`ldmatrix`: the lanes of a warp read tiles of 8 rows of 16 bytes from shared memory, and each gets its part.

    lane for l < 32:                                      te_ldmatrix<4, false>(&Af[0][0], &As[row of this lane])
      unrolled for s0 < 2: unrolled for s1 < 2:    ->
        vector for s2 < 2:
          Af[s0, s1, s2] = As[8*s1 + l // 4, 8*s0 + 2*(l % 4) + s2]  # by ldmatrix

The loops stay: they say which lane gets which element. A backend makes one instruction of the loops over up to
four matrices, where lane `8*m + r` gives the address of row `r` of matrix `m`. Each lane gets 32 bits of row
`lane / 4`; or, transposed, of 16-bit elements, two of column `lane / 4` (PTX ISA, "ldmatrix"). Here it is proved
that the loops are that, and said which: `ldmatrix.trans`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import NoReturn

from te.diagnostics import error
from te.ir.bounds import Facts, prove
from te.ir.expr import Const, Expr, Load, Var, add, compare, floor_div, floor_mod, integer, mul, sub
from te.ir.loop import UNROLLED, VECTOR, Alloc, Buffer, For, If, Stmt, Store, bodies, walk_stmt, with_bodies
from te.ir.simplify import simplify
from te.ir.visit import substitute, variables
from te.schedule.context import facts_inside
from te.schedule.late import LateRefusal

METHOD, TRANSPOSED = "ldmatrix", "ldmatrix.trans"
ROWS, ROW_BYTES, REGISTER_BYTES, MOST = 8, 16, 4, 4
MEMBERS = ROW_BYTES // REGISTER_BYTES  # lanes that get a part of one row


@dataclass(frozen=True, slots=True)
class MatrixLoad:
    """Loops that one instruction, or several, are: over registers, and over the elements in one."""

    registers: tuple[For, ...]
    elements: For | None
    store: Store

    @property
    def source(self) -> Load:
        assert isinstance(self.store.value, Load)
        return self.store.value

    @property
    def together(self) -> tuple[For, ...]:
        """The innermost loops over registers that one instruction loads."""
        taken: list[For] = []
        for loop in reversed(self.registers):
            if prod([_trips(x) for x in taken]) * _trips(loop) > MOST or MOST % _trips(loop):
                break
            taken.append(loop)
        return tuple(reversed(taken))

    @property
    def count(self) -> int:
        """How many matrices an instruction loads."""
        return prod(_trips(x) for x in self.together)

    @property
    def is_transposed(self) -> bool:
        return self.store.method == TRANSPOSED

    def row(self, lane: str) -> tuple[Expr, ...]:
        """Where the row begins whose address a lane gives."""
        row, matrix = floor_mod(Var(lane), integer(ROWS)), floor_div(Var(lane), integer(ROWS))
        values: dict[str, Expr] = {}
        weight = 1
        for loop in reversed(self.together):
            values[loop.var] = floor_mod(floor_div(matrix, integer(weight)), loop.extent)
            weight *= _trips(loop)
        values |= self.element(lane, row, integer(0))
        known = Facts().with_range(lane, integer(0), integer(31))
        for loop in self.registers:
            known = known.with_range(loop.var, integer(0), sub(loop.extent, integer(1)))
        return tuple(simplify(substitute(i, values), known) for i in self.source.index)

    def element(self, lane: str, row: Expr, place: Expr) -> dict[str, Expr]:
        """What the lane and its element in a register are for an element of a row, as it is stored."""
        own = integer(1) if self.elements is None else self.elements.extent
        if self.is_transposed:
            along, across = row, place
        else:
            along, across = place, row
        values = {lane: add(mul(across, integer(MEMBERS)), floor_div(along, own))}
        if self.elements is not None:
            values[self.elements.var] = floor_mod(along, own)
        return values


def matrix_load(s: Stmt) -> MatrixLoad | None:
    """The loops as what `ldmatrix` does, if they are copies that say so."""
    loops: list[For] = []
    while isinstance(s, For) and s.kind in (UNROLLED, VECTOR) and isinstance(s.extent, Const):
        loops.append(s)
        s = s.body
    if not loops or not isinstance(s, Store) or s.method not in (METHOD, TRANSPOSED):
        return None
    if not isinstance(s.value, Load):
        return None
    own = REGISTER_BYTES // s.value.dtype.bytes
    if own == 1:
        return MatrixLoad(tuple(loops), None, s)
    return MatrixLoad(tuple(loops[:-1]), loops[-1], s) if _trips(loops[-1]) == own else None


def _trips(loop: For) -> int:
    assert isinstance(loop.extent, Const)
    return int(loop.extent.value)


# ---------------------------------------------------------------- which they are


def settle_matrix_loads(s: Stmt, facts: Facts) -> Stmt:
    """Say of each copy by `ldmatrix` whether it transposes. Raises `ScheduleError` for one that it cannot make."""
    if not any(isinstance(x, Store) and x.method == METHOD for x, _ in walk_stmt(s)):
        return s
    return _settled(s, facts, {}, None)


def _settled(s: Stmt, facts: Facts, buffers: dict[str, Buffer], lane: str | None) -> Stmt:
    if isinstance(s, Alloc):
        buffers = {**buffers, s.buffer.name: s.buffer}
    if isinstance(s, For) and s.kind == "lane":
        lane = s.var
    load = matrix_load(s)
    if load is not None and load.store.method == METHOD:
        return _chosen(s, load, facts, buffers, lane)
    if isinstance(s, Store) and s.method == METHOD:
        _refuse(s, "a condition stands inside of it" if lane else "it is for no fragment of an instruction")
    if isinstance(s, If) and lane is not None and lane in variables(s.condition):
        for x, _ in walk_stmt(s):
            if isinstance(x, Store) and x.method == METHOD:
                _refuse(x, "a condition stands inside of it")
    new = [_settled(b, facts_inside(s, b, facts, False), buffers, lane) for b in bodies(s)]
    return with_bodies(s, tuple(new)) if new else s


def _chosen(s: Stmt, load: MatrixLoad, facts: Facts, buffers: dict[str, Buffer], lane: str | None) -> Stmt:
    if lane is None or not load.together:
        _refuse(load.store, "it is for no fragment of an instruction")
    source = buffers.get(load.source.buffer)
    if source is None or source.scope != "shared":
        _refuse(
            load.store, f"`{load.source.buffer}` is not in shared memory: no loop around is bound to blocks"
        )
    for loop in load.registers:
        facts = facts_inside(loop, loop.body, facts, False)
    methods = [METHOD, TRANSPOSED] if load.source.dtype.bytes == REGISTER_BYTES // 2 else [METHOD]
    for method in methods:
        tried = replace(load, store=replace(load.store, method=method))
        if _is_one(tried, facts, source, lane):
            return _by(s, method)
    _refuse(
        load.store,
        f"the {ROW_BYTES // load.source.dtype.bytes} elements of a row are no neighbours in "
        f"`{load.source.buffer}` that begin at a multiple of {ROW_BYTES} bytes",
    )


def _by(s: Stmt, method: str) -> Stmt:
    if isinstance(s, Store):
        return replace(s, method=method)
    return with_bodies(s, tuple(_by(b, method) for b in bodies(s)))


def _is_one(load: MatrixLoad, facts: Facts, buffer: Buffer, lane: str) -> bool:
    """Whether 16 bytes from the beginning of a row hold its elements, in order."""
    count = ROW_BYTES // load.source.dtype.bytes
    row, place = Var("row of a matrix"), Var("place in a row")
    facts = facts.with_range(row.name, integer(0), integer(ROWS - 1))
    facts = facts.with_range(place.name, integer(0), integer(count - 1))
    here = _position(load, load.element(lane, row, place), facts, buffer)
    first = _position(load, load.element(lane, row, integer(0)), facts, buffer)
    if simplify(sub(sub(here, first), place), facts) != integer(0):
        return False
    return prove(compare("==", floor_mod(first, integer(count)), integer(0)), facts)


def _position(load: MatrixLoad, values: dict[str, Expr], facts: Facts, buffer: Buffer) -> Expr:
    """Where an element lies in its buffer."""
    result: Expr = integer(0)
    for i, extent in zip(load.source.index, buffer.shape, strict=True):
        result = add(mul(result, extent), simplify(substitute(i, values), facts))
    return simplify(result, facts)


def _refuse(s: Store, reason: str) -> NoReturn:
    raise LateRefusal(
        error(
            "copy-method",
            f"`{s.buffer}` cannot be copied by ldmatrix: {reason}",
            None,
            help="it copies whole tiles of an instruction that `tensorize` names, from shared memory that is filled "
            "where it overhangs (`fill 0`); without `by ldmatrix` each lane reads its elements",
        ),
        (s.buffer,),
        "not possible here",
        at="by",
    )
