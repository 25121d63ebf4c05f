"""Schedules as text: knobs, constants, conditions, and which one is chosen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from te.diagnostics import CompileError, ScheduleError, Source
from te.elaborate.modules import Library, read_module
from te.grammar.parser import parse_directives, parse_file
from te.ir.expr import TRUE
from te.ir.print import print_expr
from te.schedule.condition import Names
from te.schedule.schedule import Schedule
from te.schedule.text import read_directives
from te.schedule.written import TARGETS, check_headers, schedules_for
from te.target import EMULATED, TARGET_NAMES
from tests.schedule import scheduling
from tests.schedule.scheduling import scheduled, setting_of

OP = "op f<T>(X: T[M, N], const c: int = 3) -> Y: T[M, N] { Y[i, j] = X[i, j] }\n"


def read(
    schedule: str, knobs: Mapping[str, object] | None = None, **options: Mapping[str, object]
) -> Schedule:
    """The first schedule of a text for the op above."""
    return scheduling.read(replace(setting_of(OP + schedule, **options), knobs=knobs or {}))


def codes(schedule: str, **options: Mapping[str, object]) -> list[str]:
    with pytest.raises(ScheduleError) as caught:
        read(schedule, **options)
    return [d.code for d in caught.value.diagnostics]


# ---------------------------------------------------------------- knobs and constants


def test_knobs_take_their_defaults() -> None:
    s = read("schedule f on llvm (A = 4, B in {8, 16} = 2 * A) { split i by A\n split j by B * 2 + c }")
    assert [str(d) for d in s.directives] == ["split i by 4", "split j by 19"]


def test_consts_and_fixed_sizes_are_constants() -> None:
    assert str(read("schedule f on llvm { split i by c }", consts={"c": 5}).directives[0]) == "split i by 5"
    assert (
        str(read("schedule f on llvm { split i by M // 2 }", sizes={"M": 12}).directives[0]) == "split i by 6"
    )


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("schedule f on llvm (A = 4, A = 5) { split i by A }", ["duplicate-knob"]),
        ("schedule f on llvm (A in {4, 8} = 5) { split i by A }", ["knob-value"]),
        ("schedule f on llvm (A = M) { split i by A }", ["knob-value"]),
        ("schedule f on llvm (A in {4, q} = 4) { split i by A }", ["knob-value"]),
        ("schedule f on llvm (A = 2.5) { split i by A }", ["directive-value"]),
        ("schedule f on llvm { split i by M }", ["schedule-constant"]),
        ("schedule f on llvm { split i by q }", ["schedule-constant"]),
        ("schedule f on llvm { split i by 9**9**9 }", ["schedule-constant"]),
        (
            "schedule f on llvm { splt i by 2\n split i at 2\n split j by 2 by 2 }",
            ["unknown-verb", "wrong-clause", "duplicate-clause"],
        ),
        ("schedule f on llvm { split i by 2 { unroll j } }", ["directive-block"]),
        ("schedule f on llvm { tile i, j }", ["missing-clause"]),
        ("schedule f on llvm { split i + 1 by 2 }", ["directive-value"]),
        ("schedule f on llvm { split X[i] by 2 }", ["directive-value"]),
        ("schedule f on llvm { split i by [2] }", ["directive-value"]),
        ("schedule f on llvm { split i, j by 2 }", ["directive-count"]),
        ("schedule f on llvm { split i by 2 into a }", ["directive-count"]),
    ],
)
def test_malformed_lines_are_refused_together(schedule: str, expected: list[str]) -> None:
    assert codes(schedule) == expected


# ---------------------------------------------------------------- which schedule


def chosen(schedules: str, *levels: str, **options: Mapping[str, object]) -> list[tuple[str, str]]:
    """The targets and conditions of the schedules that fit, in order."""
    setting = replace(setting_of(OP + schedules, **options), levels=frozenset({"llvm", *levels}))
    return [
        (c.schedule.item.target, "always" if c.condition == TRUE else print_expr(c.condition))
        for c in schedules_for(setting)
    ]


def test_the_first_that_fits_is_taken() -> None:
    text = """
    schedule f on cuda { parallel i }
    schedule f on llvm.avx512 { parallel i }
    schedule f on llvm { parallel i }
    schedule f on llvm { parallel j }
    """
    assert chosen(text) == [("llvm", "always")]
    assert chosen(text, "llvm.avx2", "llvm.avx512") == [("llvm.avx512", "always")]
    assert chosen("schedule f on cuda { parallel i }") == []


def test_conditions_are_decided_where_the_build_can() -> None:
    text = """
    schedule f on llvm when M >= 64 and N % 8 == 0 { parallel i }
    schedule f on llvm when c == 3 { parallel j }
    """
    assert chosen(text) == [("llvm", "M >= 64 and N % 8 == 0"), ("llvm", "always")]
    assert chosen(text, sizes={"M": 32}) == [("llvm", "always")]
    assert chosen(text, sizes={"M": 64}, consts={"c": 4}) == [("llvm", "N % 8 == 0")]
    assert chosen(text, sizes={"M": 64, "N": 16}) == [("llvm", "always")]


def test_conditions_on_dtypes_and_knobs() -> None:
    text = "schedule f on llvm (A = 8) when T == f32 and M >= 2 * A { parallel i }"
    assert chosen(text, dtypes={"T": "f32"}) == [("llvm", "M >= 16")]
    assert chosen(text, dtypes={"T": "f64"}) == []
    assert chosen("schedule f on llvm when not (T != f32 or c > 3) { parallel i }", dtypes={"T": "f32"}) == [
        ("llvm", "always")
    ]
    assert chosen("schedule f on llvm when 1 <= M < 8 { parallel i }") == [("llvm", "M >= 1 and M < 8")]


@pytest.mark.parametrize(
    "condition",
    ["M", "M + 1", "q > 3", "T > f32", "T == 3", "M > 2.5", "X[0, 0] > 1", "exp(M) > 2", "M / 2 > 3"],
)
def test_no_condition(condition: str) -> None:
    with pytest.raises(ScheduleError) as caught:
        chosen(f"schedule f on llvm when {condition} {{ parallel i }}")
    assert [d.code for d in caught.value.diagnostics] == ["schedule-condition"]


def test_headers() -> None:
    text = (
        OP
        + """
    schedule g on llvm { parallel i }
    schedule f on lvm { parallel i }
    schedule f on llvm.avx512 { parallel i }
    schedule f on cuda.sm_90 { bind i to block.x }
    """
    )
    found = check_headers(read_module(parse_file(Source("test.te", text)), Library()))
    assert [d.code for d in found] == ["schedule-op", "schedule-target"]
    assert "did you mean `llvm`?" in (found[1].help or "")


def test_every_target_but_the_emulator_may_be_named() -> None:
    assert set(TARGETS) == set(TARGET_NAMES) - {EMULATED}


def test_lines_alone() -> None:
    (line,) = read_directives(parse_directives("vectorize Y.j by 16"), Names({}, {}, {}))
    assert str(line) == "vectorize Y.j by 16"


WORDS = """use of specialize precompute == % N split tile fuse reorder unroll vectorize parallel inline
by into tail parts at guard shift exact i j io ii f
Y.i Y.q X Y 0 1 3 8 1.5 -1 M c 9**9 2*3 [1,2] , , , ( ) [ ] { } ; where inf max(2,3) i;""".split()


@given(st.lists(st.lists(st.sampled_from(WORDS), max_size=8).map(" ".join), max_size=4).map("\n".join))
def test_any_text_ends_in_a_kernel_or_a_diagnostic(lines: str) -> None:
    try:
        scheduled(OP, lines)
    except CompileError:
        return  # its message was rendered when it was made
