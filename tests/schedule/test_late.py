"""Refusals that only the whole schedule shows, and the lines that they point at."""

from __future__ import annotations

from typing import Any

import pytest

import te
from te.diagnostics import Diagnostic
from tests.schedule.scheduling import MATMUL, ROW_SUM

MASKED = """
op f(X: u8[M, N]) -> Y: u8[M, N] {
    odd[i]  = any[j](X[i, j] % 2 == 1)
    Y[i, j] = where(odd[i], X[i, j], 255 - X[i, j])
}
"""


def refusal(op: str, schedule: Any) -> Diagnostic:
    with pytest.raises(te.ScheduleError) as refused:
        te.build(op, schedule=schedule, target="cuda.sm_80")
    (found,) = refused.value.diagnostics
    return found


def pointed_at(found: Diagnostic) -> tuple[int, str]:
    """The number of the line, and the text in it."""
    assert found.span is not None
    text = found.span.source.text
    return text[: found.span.start].count("\n") + 1, text[found.span.start : found.span.end]


@pytest.mark.parametrize(
    ("op", "lines", "code", "place"),
    [
        (ROW_SUM, "bind i to thread.y; bind j to thread.x", "thread-reduction", (2, "j")),
        (ROW_SUM, "bind i to thread.y; bind Y.j to thread.x", "thread-reduction", (2, "Y.j")),
        (
            MATMUL,
            "split i by 8; bind io to block.x; bind ii to thread.x; cache_read B at io in shared",
            "shared-memory",
            (4, "B"),
        ),
        (
            MATMUL,
            "split i by 8; bind io to block.x; bind ii to thread.x; cache_read B at io as tile in shared",
            "shared-memory",
            (4, "tile"),
        ),
        (  # registers of a lane, which the threads of a block with any number of rows have to share
            MASKED,
            "compute_at Y at odd.j; split Y.j by 2 into j_b, j_t; bind odd.i to warp; bind Y.j_t to lane; "
            "cache_write Y at j_b as U in register",
            "shared-memory",
            (5, "U"),
        ),
        (
            MATMUL,
            "tile i, j by 4, 8 into io, jo, ii, ji; cache_write C at jo in register; vectorize ii",
            "register-index",
            (3, "ii"),
        ),
    ],
)
def test_the_last_line_that_says_it_is_pointed_at(
    op: str, lines: str, code: str, place: tuple[int, str]
) -> None:
    found = refusal(op, lines.replace("; ", "\n"))
    assert found.code == code
    assert pointed_at(found) == place


def test_lines_of_python_have_no_place() -> None:
    schedule = te.Schedule("rows").bind("i", to="thread.y").bind("j", to="thread.x")
    found = refusal(ROW_SUM, schedule)
    assert (found.code, found.span) == ("thread-reduction", None)
