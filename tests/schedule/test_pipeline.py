"""pipeline: copies that are made some trips ahead."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import te
from te.backends.interp.loop import run_kernel
from te.diagnostics import ScheduleError
from te.ir.loop import Alloc, walk_stmt
from te.ir.print import print_kernel
from te.ir.verify import verify_kernel
from te.schedule.finalize import finalize
from te.schedule.nest import nest
from te.schedule.schedule import Schedule
from tests.schedule.scheduling import (
    CHAIN,
    MATMUL,
    PLANE,
    assert_same,
    program,
    random_inputs,
    refused,
    scheduled,
)

GEMM = """
tile i, j by 4, 8 into io, jo, ii, ji
split k by 4 into ko, ki
reorder io, jo, ko, ki, ii, ji
cache_read A[r, c] at ko as Ap
cache_read B[r, c] at ko as Bp layout [c, r]
unroll ii
vectorize ji
"""
ROWS = "cache_read X[r, c] at i as Xc"
SIZES = [
    {"M": m, "N": n, "K": k}
    for m, n, k in ((5, 9, 11), (1, 1, 1), (4, 8, 4), (7, 3, 2), (2, 5, 0), (8, 16, 17))
]


@pytest.mark.parametrize("depth", [2, 3])
@pytest.mark.parametrize(
    ("text", "lines", "loop"),
    [
        (MATMUL, GEMM, "ko"),
        (MATMUL, f"{GEMM}parallel io\n", "ko"),
        (MATMUL, f"{GEMM}vectorize Ap.c by 4\n", "ko"),
        (MATMUL, "cache_read A[r, c] at i as Ap\ncache_read B[r, c] at i as Bp", "i"),
        (PLANE, ROWS, "i"),
        (PLANE, "split i by 4\ncache_read X[r, c] at io as Xc", "io"),
        (PLANE, "fuse i, j into f\nsplit f by 8\ncache_read X[r, c] at fo as Xc", "fo"),
    ],
)
def test_copies_ahead_compute_the_same(text: str, lines: str, loop: str, depth: int) -> None:
    plain = nest(program(text))
    kernel = scheduled(plain, f"{lines}\npipeline {loop} depth {depth}")
    sizes = [{n: s[n] for n in plain.program.sizes} for s in SIZES]
    assert_same(plain, kernel, *sizes)
    final = finalize(kernel)
    verify_kernel(final)
    built = te.build(text, schedule=f"{lines}\npipeline {loop} depth {depth}")
    for values in sizes:
        inputs = random_inputs(plain.program, values)
        for name, array in run_kernel(plain, inputs, values).items():
            np.testing.assert_array_equal(run_kernel(final, inputs, values, order="shuffled")[name], array)
            np.testing.assert_array_equal(built(**inputs), array)


def test_a_buffer_has_a_slot_for_each_trip_under_way() -> None:
    text = print_kernel(finalize(scheduled(PLANE, f"{ROWS}\npipeline i depth 3", sizes={"N": 8})))
    assert (
        text.split("\n", 1)[1]
        == """\
  alloc Xc: f32[3, 1, 8] in global:
    for Y'.i_first < min(M, 2):
      for Xc.c < 8:
        Xc[i_first, 0, c] = X[i_first, c]
    for Y.i < M:
      if i < M - 2:
        for Xc.c < 8:
          Xc[(i + 2) % 3, 0, c] = X[i + 2, c]
      for Y.j < 8:
        Y[i, j] = Xc[i % 3, 0, j] * 2.0 + 1.0
"""
    )


def test_copies_on_the_stack_have_slots_there() -> None:
    lines = f"{GEMM.replace('as Ap', 'as Ap in stack')}parallel io\npipeline ko depth 2"
    final = finalize(scheduled(MATMUL, lines))
    (found,) = [s.buffer for s, _ in walk_stmt(final.body) if isinstance(s, Alloc) and s.buffer.name == "Ap"]
    assert (found.scope, len(found.shape)) == ("stack", 3)


@pytest.mark.parametrize(
    ("text", "lines", "code"),
    [
        (PLANE, "pipeline i depth 2", "pipeline-refused"),
        (PLANE, f"{ROWS}\npipeline i depth 1", "pipeline-refused"),
        (PLANE, f"{ROWS}\npipeline i depth 99", "pipeline-refused"),
        (PLANE, f"{ROWS}\npipeline i depth 2 producer 1", "pipeline-refused"),
        (PLANE, f"{ROWS}\npipeline i depth 2 registers 40, 232", "pipeline-refused"),
        (PLANE, f"{ROWS}\nparallel i\npipeline i depth 2", "loop-kind"),
        (PLANE, f"{ROWS}\npipeline i depth 2\nparallel i", "loop-kind"),
        (PLANE, f"{ROWS}\npipeline i depth 2\nsplit i by 2", "loop-kind"),
        (CHAIN, "merge e.i, Y.i\npipeline e.i depth 2", "pipeline-refused"),
        (
            PLANE,
            "split j by 4\ncache_read X[r, c] at jo as Xc in register\npipeline jo depth 2",
            "pipeline-refused",
        ),
    ],
)
def test_refused(text: str, lines: str, code: str) -> None:
    assert refused(text, lines).code == code


def test_a_copy_of_what_the_loop_computes_stays_in_its_trip() -> None:
    """No directive copies an unfinished tensor today: this one is made by hand."""
    kernel = scheduled(PLANE, ROWS)
    from te.ir.expr import Load, Var, integer, maximum, sub
    from te.ir.loop import Stmt, Store, rewrite_stmt

    def put(s: Stmt) -> Stmt:
        if isinstance(s, Store) and s.buffer == "Xc":
            before = (maximum(sub(Var("Y.i"), integer(1)), integer(0)), s.index[1])
            return replace(s, value=Load("Y", before, s.value.dtype))
        return s

    diagnostic = refused(replace(kernel, body=rewrite_stmt(kernel.body, put)), "pipeline i depth 2")
    assert "a trip of `Y.i` writes `Y[i, j]`, which a later one reads" in diagnostic.message


@pytest.mark.parametrize("line", [{"producer": 1}, {"producer": 0}, {"registers": (40, 232)}])
def test_no_gpu_has_warps_that_only_copy(line: dict[str, Any]) -> None:
    schedule = Schedule(program(PLANE), "cuda").cache_read("X", at="i", as_="Xc")
    with pytest.raises(ScheduleError, match="the target `cuda` has no warps of their own for copies"):
        schedule.pipeline("i", depth=3, **line)
