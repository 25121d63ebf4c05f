"""Tensorized loops: an instruction where nothing stands in the way, plain loops elsewhere.

Tails have taken their places by now: a full tile has no guard, and a ragged one in registers reads
0 beyond its last lane, which an instruction can do too. Where a guard is left inside, the
reduction loop is written out instead:

    tensorized for ki < 4 (vpdpbusd):           unrolled for ki < 4:
      vector for ji < 16:                         vector for ji < 16:
        if 4*ko + ki < K:               ->          if 4*ko + ki < K:
          C[..] sum= A[..] * B[..]                    C[..] sum= A[..] * B[..]

So it is where the operands lie otherwise now than when the instruction was asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from te.ir.bounds import Facts
from te.ir.expr import Const, Load
from te.ir.loop import TENSORIZED, UNROLLED, Buffer, For, Stmt, rewrite_stmt
from te.ir.simplify import simplify
from te.schedule.finalize.guards import coefficient
from te.schedule.finalize.storage import physical_index, physical_shape
from te.schedule.intrinsics import instruction_of


def settle_tensorized(body: Stmt, buffers: Mapping[str, Buffer], facts: Facts) -> Stmt:
    """Keep the kind of those loops alone that are an instruction's, and nothing else."""

    def settle(s: Stmt) -> Stmt:
        if not isinstance(s, For) or s.kind != TENSORIZED or _is_instruction(s, buffers, facts):
            return s
        return replace(s, kind=UNROLLED, intrinsic=None)

    return rewrite_stmt(body, settle)


def _is_instruction(s: For, buffers: Mapping[str, Buffer], facts: Facts) -> bool:
    found = instruction_of(s)
    if isinstance(found, str):
        return False
    terms = found.meaning.terms
    for load in found.operands:
        lane, k = (stride(load, buffers[load.buffer], loop.var, facts) for loop in (found.lanes, s))
        is_shared = lane == 0 and load not in found.masks
        if k != 1 or not (is_shared or lane == terms):
            return False
    return True


def stride(load: Load, buffer: Buffer, var: str, facts: Facts) -> int | None:
    """How many elements further an access is in each trip of a loop; None where that differs."""
    indices = [simplify(i, facts) for i in physical_index(buffer, load.index, facts)]
    total, size = 0, 1  # of what an axis steps over; 0 where that is no constant
    for index, extent in zip(reversed(indices), reversed(physical_shape(buffer, facts)), strict=True):
        factor = coefficient(index, var)
        if factor is None or (factor and not size):
            return None
        total += factor * size
        size *= int(extent.value) if isinstance(extent, Const) else 0
    return total
