"""`Schedule`: Python methods, history, and its text."""

from __future__ import annotations

import numpy as np
import pytest

from te.diagnostics import ScheduleError
from te.schedule.apply import apply_all
from te.schedule.nest import nest
from te.schedule.schedule import Schedule
from tests.schedule.scheduling import MATMUL, loops, program, read, setting_of


def tiled() -> Schedule:
    s = Schedule("matmul")
    s.tile("i", "j", by=(8, 32), into=("io", "jo", "ii", "ji"))
    s.split("C.k", by=256, into=("ko", "ki"), tail="peel")
    s.reorder("io", "jo", "ko", "ki", "ii", "ji")
    s.unroll("ii").vectorize("ji").parallel("io")
    return s


def test_lines_are_taken_back() -> None:
    s = Schedule(program(MATMUL)).split("i", by=4).vectorize("j", by=8)
    before = Schedule(program(MATMUL)).split("i", by=4)
    assert s.undo().directives == before.directives
    assert s.steps()[-1].kernel == before.steps()[-1].kernel
    assert s.undo(0).undo().directives == ()
    with pytest.raises(ValueError, match="0 lines, and 1"):
        s.undo()


def test_the_text_reads_back() -> None:
    text = str(tiled())
    assert (
        text
        == """schedule matmul on llvm {
    tile i, j by 8, 32 into io, jo, ii, ji
    split C.k by 256 into ko, ki tail peel
    reorder io, jo, ko, ki, ii, ji
    unroll ii
    vectorize ji
    parallel io
}"""
    )
    again = read(setting_of(f"{MATMUL}\n{text}"))
    assert again.directives == tiled().directives
    assert (again.op, again.target) == ("matmul", "llvm")


def test_an_empty_schedule_reads_back() -> None:
    assert read(setting_of(f"{MATMUL}\n{Schedule('matmul', 'llvm.avx2')}")).directives == ()


def test_recorded_and_immediate_schedules_agree() -> None:
    of = program(MATMUL)
    recorded = tiled()
    immediate = Schedule(of, directives=recorded.directives)
    assert immediate.steps() == recorded.steps(nest(of))
    assert recorded.apply(nest(of)) == immediate.steps()[-1].kernel
    assert [str(s.directive) for s in immediate.steps()[1:]] == [str(d) for d in recorded.directives]


def test_every_prefix_is_a_program() -> None:
    steps = tiled().steps(nest(program(MATMUL)))
    assert len(steps) == 7
    assert loops(steps[1].kernel).count("for C.") == 5
    assert "vector" not in loops(steps[4].kernel)


def test_a_refused_line_leaves_the_schedule_usable() -> None:
    s = Schedule(program(MATMUL))
    s.split("i", by=8)
    before = s.steps()[-1].kernel
    with pytest.raises(ScheduleError) as caught:
        s.parallel("k")
    assert str(caught.value).startswith("error: `parallel k`: `C.k` is a reduction loop")
    assert s.steps()[-1].kernel is before
    assert [str(d) for d in s.parallel("io").directives] == ["split i by 8", "parallel io"]


def test_a_schedule_of_a_name_has_no_kernels() -> None:
    with pytest.raises(ValueError, match="pass a kernel"):
        tiled().steps()


def test_a_python_line_that_comes_too_late_names_the_other() -> None:
    s = Schedule(program(MATMUL))
    s.vectorize("j", by=8)
    with pytest.raises(ScheduleError) as caught:
        s.split("ji", by=2)
    assert caught.value.diagnostics[0].help == "write it before `vectorize j by 8`"


def test_integers_of_any_kind_are_factors() -> None:
    assert str(Schedule("f").split("i", by=np.int64(8)).directives[0]) == "split i by 8"


@pytest.mark.parametrize("factor", [2.0, "8", True, None])
def test_other_factors_are_refused(factor: object) -> None:
    with pytest.raises(ScheduleError):
        Schedule("f").tile("i", "j", by=(8, factor))  # type: ignore[arg-type]  # on purpose


def test_a_name_for_many_is_refused() -> None:
    with pytest.raises(ScheduleError, match="2 names"):
        Schedule("f").split("i", by=8, into="io")


def test_steps_are_shared_with_apply_all() -> None:
    kernel = nest(program(MATMUL))
    assert apply_all(kernel, tiled().directives) == tiled().steps(kernel)
