"""Asynchronous copies in the final loops: which stores are some, and where they are waited for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from te.backends.interp.evaluate import InterpreterError
from te.backends.interp.loop import run_kernel
from te.diagnostics import ScheduleError
from te.ir.loop import ASYNC, Barrier, Commit, For, Kernel, Seq, Stmt, Store, Wait, rewrite_stmt, walk_stmt
from te.ir.print import print_kernel
from te.ir.verify import InvalidIR, verify_kernel
from te.schedule.finalize import finalize
from te.schedule.nest import nest
from tests.schedule.scheduling import MATMUL, program, random_inputs, scheduled

TILES = """
tile i, j by 16, 16 into io, jo, ii, ji
split k by 8
reorder io, jo, ko, ki, ii, ji
"""
COPIES = """
cache_read A[i, k] at ko as As in shared{by}
bind As.i to thread.y
bind As.k to thread.x
cache_read B[k, j] at ko as Bs in shared
split Bs.j by 4 into jv, jl
vectorize jl
bind Bs.k to thread.y
bind jv to thread.x
"""
THREADS = """
bind io to block.y
bind jo to block.x
bind ii to thread.y
bind ji to thread.x
"""
SIZES = [{"M": m, "N": n, "K": k} for m, n, k in ((17, 18, 42), (1, 1, 1), (16, 9, 8), (7, 3, 0))]


def final(depth: int = 0, by: str = "", target: str = "cuda.sm_80", text: str = MATMUL) -> Kernel:
    lines = TILES + COPIES.format(by=by) + (f"pipeline ko depth {depth}\n" if depth else "") + THREADS
    kernel = finalize(scheduled(replace(nest(program(text)), target=target), lines))
    verify_kernel(kernel)
    return kernel


def waits(kernel: Kernel) -> list[int]:
    return [s.pending for s, _ in walk_stmt(kernel.body) if isinstance(s, Wait)]


def count(kernel: Kernel, kind: type[Stmt]) -> int:
    return sum(isinstance(s, kind) for s, _ in walk_stmt(kernel.body))


def asynchronous(kernel: Kernel) -> set[str]:
    return {s.buffer for s, _ in walk_stmt(kernel.body) if isinstance(s, Store) and s.method == ASYNC}


@pytest.mark.parametrize("depth", [0, 2, 3, 5])
def test_copies_as_late_as_can_be_compute_the_same(depth: int) -> None:
    plain, kernel = nest(program(MATMUL)), final(depth)
    for sizes in SIZES:
        inputs = random_inputs(plain.program, sizes)
        expected = run_kernel(plain, inputs, sizes)["C"]
        np.testing.assert_array_equal(run_kernel(kernel, inputs, sizes, order="shuffled")["C"], expected)


@pytest.mark.parametrize("depth", [2, 3, 4, 8])
def test_a_pipeline_has_one_wait_and_one_barrier_a_trip(depth: int) -> None:
    kernel = final(depth)
    assert waits(kernel) == [depth - 2]
    assert count(kernel, Barrier) == 1
    assert count(kernel, Commit) == 2  # before the loop, and in it
    assert asynchronous(kernel) == {"As", "Bs"}


def test_a_pipeline_in_full() -> None:
    text = "op f(X: f32[M, 64]) -> Y: f32[M] { Y[i] = sum[k](X[i, k]) }"
    lines = """
    split i by 4
    split k by 8
    reorder io, ko, ii, ki
    cache_read X[r, c] at ko as Xs in shared
    bind Xs.r to thread.y
    bind Xs.c to thread.x
    pipeline ko depth 3
    bind io to block.x
    bind ii to thread.y
    """
    kernel = finalize(scheduled(replace(nest(program(text)), target="cuda.sm_80"), lines))
    assert (
        print_kernel(kernel).split("\n", 1)[1]
        == """\
  block.x for Y.io < (M + 3) // 4:
    alloc Xs: f32[3, 4, 8] in shared:
      for Y'.ko_first < 2:
        thread.y for Xs.r < 4:
          if 4 * io + r < M:
            thread.x for Xs.c < 8:
              Xs[ko_first, r, c] = X[4 * io + r, 8 * ko_first + c]  # by cp_async
        commit
      for Y.ko < 8 (reduce):
        wait for all but 1
        barrier
        if ko < 6:
          thread.y for Xs.r < 4:
            if 4 * io + r < M:
              thread.x for Xs.c < 8:
                Xs[(ko + 2) % 3, r, c] = X[4 * io + r, 8 * ko + c + 16]  # by cp_async
        commit
        thread.y for Y.ii < 4:
          thread.x for Y'.thread_x < 8:
            if thread_x == 0:
              if 4 * io + ii < M:
                alloc Y.tile: f32 in register:
                  if ko == 0:
                    Y.tile = 0.0  # stage Y
                  else:
                    Y.tile = Y[4 * io + ii]  # stage Y
                  for Y.ki < 8 (reduce):
                    Y.tile sum= Xs[ko % 3, ii, ki]  # stage Y
                  Y[4 * io + ii] = Y.tile
"""
    )


def test_other_copies_are_waited_for_where_they_are_used() -> None:
    kernel = final()
    assert waits(kernel) == [0]
    assert (count(kernel, Commit), count(kernel, Barrier)) == (1, 2)


def test_copies_in_vectors_pass_through_registers() -> None:
    lines = TILES + "cache_read A[i, k] at ko as As in shared by vector\ncache_read B at ko as Bs in shared\n"
    kernel = scheduled(
        replace(nest(program(MATMUL)), target="cuda.sm_80"), lines + "pipeline ko depth 3\n" + THREADS
    )
    assert asynchronous(finalize(kernel)) == {"Bs"}


def test_older_gpus_have_none() -> None:
    kernel = final(3, target="cuda.sm_75")
    assert asynchronous(kernel) == set()
    assert (count(kernel, Wait), count(kernel, Commit)) == (0, 0)


HALVES = """op matmul(A: f16[M, K], B: f16[K, N]) -> C: f32[M, N] {
    C[i, j] = sum[k](f32(A[i, k]) * f32(B[k, j]))
}"""


def test_narrow_elements_are_copied_side_by_side_or_by_registers() -> None:
    assert asynchronous(final(3, text=HALVES)) == {"Bs"}
    with pytest.raises(ScheduleError, match="`As` cannot be copied by `cp_async`"):
        final(3, by=" by cp_async", text=HALVES)


# ---------------------------------------------------------------- what goes wrong is seen


def changed(kernel: Kernel, old: type[Stmt], new: Stmt) -> Kernel:
    return replace(kernel, body=rewrite_stmt(kernel.body, lambda s: new if isinstance(s, old) else s))


@pytest.mark.parametrize(
    ("old", "new"),
    [(Wait, Seq(())), (Wait, Wait(2)), (Commit, Seq(()))],
    ids=["no wait", "a wait for too few", "no group is closed"],
)
def test_the_interpreter_sees_copies_that_are_not_there_yet(old: type[Stmt], new: Stmt) -> None:
    sizes = {"M": 16, "N": 16, "K": 64}
    kernel = changed(final(3), old, new)
    with pytest.raises(InterpreterError, match="is read and nothing has written it"):
        run_kernel(kernel, random_inputs(kernel.program, sizes), sizes)


def test_the_verifier_knows_what_copies_are() -> None:
    kernel = final(3)

    def to_global(s: Stmt) -> Stmt:
        return replace(s, method=ASYNC) if isinstance(s, Store) and s.buffer == "C" else s

    with pytest.raises(InvalidIR, match=r"no plain copy|not between these"):
        verify_kernel(replace(kernel, body=rewrite_stmt(kernel.body, to_global)))
    plain = nest(program(MATMUL))
    with pytest.raises(InvalidIR, match="before their time"):
        verify_kernel(replace(plain, body=Seq((plain.body, Wait(0)))))


def test_loops_in_which_groups_are_closed_keep_their_trips() -> None:
    """The guard of the copies before the loop is no bound of theirs: the trips without a copy count too."""
    firsts = [s for s, _ in walk_stmt(final(4).body) if isinstance(s, For) and s.var == "C'.ko_first"]
    assert [loop.extent for loop in firsts] == [replace(firsts[0].extent, value=3)]  # type: ignore[type-var]  # a constant
