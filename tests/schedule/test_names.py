"""What names in directives mean."""

from __future__ import annotations

import pytest

from te.diagnostics import ScheduleError
from te.schedule.names import find_loop, find_stage, new_loop_name
from te.schedule.nest import nest
from tests.schedule.scheduling import MATMUL, PLANE, SOFTMAX, program, refused, scheduled


def test_a_bare_index_means_the_only_loop_of_that_name() -> None:
    kernel = nest(program(SOFTMAX))
    assert find_loop(kernel, "k", None)[0].var == "Y_sum.k"
    assert find_loop(kernel, "m.j", None)[0].var == "m.j"


def test_the_path_holds_what_stands_around() -> None:
    loop, path = find_loop(nest(program(MATMUL)), "k", None)
    assert loop.is_reduction
    assert [s.var for s in path] == ["C.i", "C.j"]  # type: ignore[union-attr]  # loops


def test_a_name_means_what_it_means_at_its_line() -> None:
    assert refused(PLANE, "split i by 8\nsplit i by 8").code == "unknown-loop"
    scheduled(PLANE, "split i by 8 into i, q\nsplit i by 8")


def test_an_ambiguous_name_lists_the_candidates() -> None:
    diagnostic = refused(SOFTMAX, "split j by 8")
    assert diagnostic.code == "ambiguous-loop"
    assert "`m.j`, `e.j` and `Y.j`" in diagnostic.message


@pytest.mark.parametrize(
    ("name", "help_text"),
    [
        ("C.kk", "did you mean `C.k`?\nthe loops are `C.i`, `C.j` and `C.k`"),
        ("q", "the loops are `C.i`, `C.j` and `C.k`"),
        ("D.i", "did you mean `C.i`?\nthe loops are `C.i`, `C.j` and `C.k`"),
    ],
)
def test_an_unknown_loop_lists_those_that_there_are(name: str, help_text: str) -> None:
    diagnostic = refused(MATMUL, f"split {name} by 8")
    assert (diagnostic.code, diagnostic.help) == ("unknown-loop", help_text)


def test_part_of_a_fused_loop_is_no_loop() -> None:
    diagnostic = refused(MATMUL, "fuse i, j into f\nsplit i by 8")
    assert (diagnostic.code, [n.span.text for n in diagnostic.notes]) == (
        "unknown-loop",
        ["fuse i, j into f"],
    )


def test_a_program_without_loops() -> None:
    text = "op f(x: f32) -> y: f32 { y = x + 1.0 }"
    assert refused(text, "split i by 8").help == "the program has no loops"


def test_stages_and_inputs() -> None:
    kernel = nest(program(SOFTMAX))
    assert find_stage(kernel, "Y_sum", None).name == "Y_sum"
    assert refused(SOFTMAX, "inline X").message == "`X` is an input, and no stage computes it"
    assert refused(SOFTMAX, "inline Y_sun").help == (
        "did you mean `Y_sum`?\nthe stages are `m`, `e`, `Y_sum` and `Y`"
    )


def test_new_names_are_new_in_their_stage() -> None:
    kernel = nest(program(SOFTMAX))
    assert new_loop_name(kernel, "m", "k", None) == "m.k"
    with pytest.raises(ScheduleError):
        new_loop_name(kernel, "Y_sum", "k", None)
