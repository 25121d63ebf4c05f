"""`specialize`: several schedules of one op, tried in order at each call."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import te
from te.diagnostics import ScheduleError
from te.ir.evaluate import evaluate
from te.ir.expr import TRUE, Expr
from te.ir.print import print_expr
from te.schedule.cases import cases_of
from te.schedule.nest import nest
from te.schedule.written import assuming, read_lines, schedules_for
from tests.schedule.scheduling import PLANE, assert_same, program, setting_of

PLANE_OF_CONST = PLANE.replace("op f(", "op f(const c: int = 3, ")


def cases(lines: str, **options: dict[str, object]) -> list[tuple[str, list[str]]]:
    """The condition and the lines of each case."""
    setting = setting_of(f"{PLANE}\nschedule f on llvm {{\n{lines}\n}}", **options)
    (choice,) = schedules_for(setting)
    found = cases_of(read_lines(choice.schedule, setting), setting.program)
    return [
        ("else" if c.condition == TRUE else print_expr(c.condition), [str(line) for line in c.lines])
        for c in found
    ]


def test_the_block_is_the_rest_of_the_schedule_for_its_case() -> None:
    text = """
    split i by 4
    specialize N % 8 == 0 { vectorize j by 8 }
    parallel io
    """
    assert cases(text) == [
        ("N % 8 == 0", ["split i by 4", "vectorize j by 8"]),
        ("else", ["split i by 4", "parallel io"]),
    ]


def test_several_and_nested() -> None:
    text = """
    specialize N >= 64 {
        parallel i
        specialize N % 8 == 0 { vectorize j by 8 }
        vectorize j by 4
    }
    specialize N == 1 { parallel i }
    unroll j by 2
    """
    assert cases(text) == [
        ("N >= 64 and N % 8 == 0", ["parallel i", "vectorize j by 8"]),
        ("N >= 64", ["parallel i", "vectorize j by 4"]),
        ("N == 1", ["parallel i"]),
        ("else", ["unroll j by 2"]),
    ]


def test_what_the_build_knows_leaves_one_case() -> None:
    text = "specialize N % 8 == 0 { vectorize j by 8 }\nvectorize j by 4"
    assert cases(text, sizes={"N": 16}) == [("else", ["vectorize j by 8"])]
    assert cases(text, sizes={"N": 17}) == [("else", ["vectorize j by 4"])]
    inner = "specialize N > 8 { specialize N > 4 { parallel i }\n unroll j by 2 }"
    assert cases(inner) == [("N >= 9", ["parallel i"]), ("else", [])]


def test_conditions_on_consts_dtypes_and_knobs() -> None:
    text = """
    op f<T: float>(X: T[N], const c: int = 3) -> Y: T[N] { Y[i] = X[i] * T(c) }
    schedule f on llvm (W = 8) {
        specialize T == f64 { vectorize i by W // 2 }
        specialize c == 3 and N % W == 0 { vectorize i by W }
        specialize c == 3 { split i by W }
    }
    """
    build: Callable[..., te.Kernel] = te.build  # type: ignore[assignment]  # all dtypes are given
    assert "by 4" in build(text, dtypes={"T": "f64"}).schedule
    assert "when" not in build(text, dtypes={"T": "f64"}).schedule
    both = build(text, dtypes={"T": "f32"}).schedule
    assert "when N % 8 == 0" in both
    assert "split i by 8" in both
    assert build(text, dtypes={"T": "f32"}, consts={"c": 4}).schedule == "schedule f on llvm {\n}"


def test_the_condition_is_a_fact_for_all_lines_of_its_case() -> None:
    text = PLANE + "\nschedule f on llvm {\n split j by 8\n specialize N % 8 == 0 { vectorize ji }\n}"
    kernel = te.build(text)
    special, general = kernel.ir("loop").split("# else")
    assert "when N % 8 == 0" in special
    assert "if" not in special
    assert "if 8 * jo + ji < N" in general


def test_each_call_takes_its_case() -> None:
    text = (
        PLANE
        + """
    schedule f on llvm when M > 1 {
        specialize M % 4 == 0 { split i by 4 tail exact }
        parallel i
    }
    """
    )
    kernel = te.build(text)
    for m in range(10):
        x = np.arange(m * 5, dtype=np.float32).reshape(m, 5)
        np.testing.assert_array_equal(kernel(x), x * 2 + 1)
    again = te.build(PLANE, kernel.schedule)
    assert again.schedule == kernel.schedule


def test_in_python_as_in_text() -> None:
    s = te.Schedule("f").split("i", by=4)
    s.specialize("N % 8 == 0", lambda s: s.vectorize("j", by=8).parallel("io"))
    s.specialize("N == 1", te.Schedule("f").parallel("io")).unroll("ii")
    text = str(s)
    assert text.splitlines()[2:6] == [
        "    specialize N % 8 == 0 {",
        "        vectorize j by 8",
        "        parallel io",
        "    }",
    ]
    assert te.build(PLANE, s).schedule == te.build(PLANE, text).schedule


def test_steps_go_on_with_the_general_case() -> None:
    s = te.Schedule(program(PLANE)).split("i", by=4)
    s.specialize("N % 8 == 0", lambda s: s.vectorize("j", by=8)).parallel("io")
    kernels = [step.kernel for step in s.steps()]
    assert len(kernels) == 4
    assert kernels[2] is kernels[1]
    with pytest.raises(ScheduleError, match="no loop `q`"):
        s.specialize("N % 8 == 0", lambda s: s.parallel("q"))
    with pytest.raises(ScheduleError, match="is no size"):
        s.specialize("Q % 8 == 0", lambda s: s.unroll("ii"))
    assert len(s.directives) == 3


def test_a_condition_in_python_is_one_expression() -> None:
    for wrong in ("N %", "", "N == 1 { }"):
        with pytest.raises(te.CompileError):
            te.Schedule("f").specialize(wrong, te.Schedule("f"))


def test_a_const_decides_in_python_too() -> None:
    s = te.Schedule("f").specialize("c == 3", te.Schedule("f").parallel("i"))
    assert "parallel" in te.build(PLANE_OF_CONST, s).schedule
    assert "parallel" not in te.build(PLANE_OF_CONST, s, consts={"c": 4}).schedule


CONDITIONS = ["M % 2 == 0", "M >= 4", "N % 8 == 0", "N < 5", "M == N", "M + N > 9", "not (M > 3 or N == 1)"]
LINES = ["parallel i", "vectorize j by 4", "split j by 3", "unroll j by 2"]
BLOCKS = st.recursive(
    st.sampled_from(LINES),
    lambda inner: st.tuples(st.sampled_from(CONDITIONS), inner).map(
        lambda pair: f"specialize {pair[0]} {{\n{pair[1]}\n}}"
    ),
    max_leaves=3,
)


@settings(max_examples=40)
@given(st.lists(BLOCKS, max_size=4))
def test_the_first_case_that_holds_is_right_for_its_sizes(blocks: list[str]) -> None:
    text = "\n".join(dict.fromkeys(blocks))
    setting = setting_of(f"{PLANE}\nschedule f on llvm {{\n{text}\n}}")
    (choice,) = schedules_for(setting)
    plain = nest(setting.program)
    for case in cases_of(read_lines(choice.schedule, setting), setting.program):
        here = nest(assuming(setting.program, case.condition))
        try:
            after = te.Schedule("f", directives=case.lines).apply(here)
        except ScheduleError:
            continue  # the lines do not go together
        fitting = [s for s in SIZES if holds(case.condition, s)]
        assert_same(plain, after, *fitting[:3])


SIZES = [{"M": m, "N": n} for m in (1, 2, 4, 5, 8) for n in (1, 4, 5, 8, 16)]


def holds(condition: Expr, sizes: dict[str, int]) -> bool:
    return bool(evaluate(condition, sizes))
