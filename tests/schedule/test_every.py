"""Copies in shared memory of every n-th element: of what a stride reads."""

from __future__ import annotations

import pytest

from tests.schedule.scheduling import assert_same, loops, program, scheduled

STRIDED = """
op f(X: f32[N], w: f32[R]) -> Y: f32[(N + 2 - R) // 3 + 1] {
    Y[i] = sum[r]((X[3*i + r - 1] else 0) * w[r])
}
"""
OUTSIDE = "split i by 4\nreorder io, r, ii"
COPIED = OUTSIDE + "\ncache_read X[a] at r as Xc in shared fill 0"
PLANE = """
op f(X: f32[M, N]) -> Y: f32[M // 2, N // 8] {
    Y[i, j] = X[2*i, 4*j] + X[2*i, 4*j + SHIFT]
}
"""


def test_what_a_stride_leaves_out_is_not_copied() -> None:
    assert loops(STRIDED, COPIED) == (
        """
for Y.io < (N - R + 2) // 12 + 1:
  for Y.r < R (reduce):
    alloc Xc: f32[4] in shared:
      for Xc.a < 4:
        Xc[a] = where(12 * io + 3 * a + r >= 1 and 12 * io + 3 * a + r <= N, X[12 * io + r - 1 + 3 * a], 0.0)
      for Y.ii < 4:
        if 4 * io + ii <= (N - R + 2) // 3:
          Y[4 * io + ii] sum= Xc[ii] * w[r]  # from 0.0 before Y.r
"""
    )


@pytest.mark.parametrize("sizes", [{"N": 1, "R": 1}, {"N": 14, "R": 2}, {"N": 40, "R": 3}, {"N": 41, "R": 5}])
def test_results_are_the_same(sizes: dict[str, int]) -> None:
    assert_same(scheduled(STRIDED, ""), scheduled(STRIDED, COPIED), sizes)


@pytest.mark.parametrize(
    ("lines", "is_every"),
    [
        (COPIED, True),
        (OUTSIDE + "\ncache_read X[a] at r as Xc fill 0", False),
        ("split i by 4\ncache_read X[a] at io as Xc in shared fill 0", False),
    ],
)
def test_only_in_shared_memory_and_where_nothing_between_is_read(lines: str, is_every: bool) -> None:
    text = loops(STRIDED, lines, sizes={"R": 3})
    assert ("alloc Xc: f32[4]" in text) == is_every


@pytest.mark.parametrize(("shift", "extents"), [(0, "4, 2"), (4, "4, 3"), (2, "4, 4"), (1, "4, 6")])
def test_several_reads_have_their_common_step(shift: int, extents: str) -> None:
    of = program(PLANE.replace("SHIFT", str(shift)))
    lines = "tile i, j by 4, 2\ncache_read X[a, b] at jo as Xc in shared fill 0"
    assert f"alloc Xc: f32[{extents}]" in loops(of, lines)
