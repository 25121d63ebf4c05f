"""Operands of matrix instructions in registers: every element of a tile is written, and by one statement."""

from __future__ import annotations

from dataclasses import replace

import pytest

from te.diagnostics import ScheduleError
from te.ir.expr import Var, compare, integer, negation
from te.ir.loop import If, Stmt, Store, rewrite_stmt, seq
from te.schedule.auto import auto_schedule
from te.schedule.finalize import finalize
from te.schedule.nest import nest
from te.target import parse_target
from tests.schedule.scheduling import program
from tests.schedule.test_auto_tensor_cores import product


def test_parts_under_conditions_are_refused() -> None:
    of = program(product("bf16", "bf16", "f32"))
    schedule = auto_schedule(of, parse_target("cuda.sm_80"))
    kernel = schedule.apply(replace(nest(of), target="cuda.sm_80"))
    finalize(kernel)

    def in_parts(s: Stmt) -> Stmt:
        if not isinstance(s, Store) or s.buffer != "C_of0_own":
            return s
        first = compare("<", Var("C.step"), integer(1))
        return seq(If(first, s), If(negation(first), s))

    with pytest.raises(ScheduleError, match="it is written by several statements"):
        finalize(replace(kernel, body=rewrite_stmt(kernel.body, in_parts)))
