"""Knobs: their values from the build, where they may stand, and what a tuner sees of them."""

from __future__ import annotations

from fractions import Fraction
from itertools import product
from pathlib import Path

import numpy as np
import pytest

import te
from te.diagnostics import CompileError, ScheduleError

MATMUL = """
op matmul(A: f32[M, K], B: f32[K, N]) -> C: f32[M, N] { C[i, j] = sum[k](A[i, k] * B[k, j]) }

schedule matmul on llvm (MR in {2, 4} = 4, NR in {8, 16} = 2 * MR, FAST in {true, false} = true) when K >= MR {
    tile i, j by MR, NR into io, jo, ii, ji
    specialize FAST and M % MR == 0 { unroll ii }
    vectorize ji
}
"""
A = np.arange(24, dtype=np.float32).reshape(4, 6)
B = np.arange(60, dtype=np.float32).reshape(6, 10)


def test_a_build_sets_them() -> None:
    kernel = te.build(MATMUL, knobs={"MR": 2, "NR": np.int64(16)})
    assert "tile i, j by 2, 16 into" in kernel.schedule
    assert "when K >= 2 and M % 2 == 0" in kernel.schedule
    np.testing.assert_array_equal(kernel(A, B), A @ B)


def test_a_default_may_depend_on_another() -> None:
    with pytest.raises(ScheduleError, match="`NR` is none of its choices"):
        te.build(MATMUL, knobs={"MR": 2})


def test_a_truth_value_decides_a_case() -> None:
    schedule = te.build(MATMUL, knobs={"FAST": np.False_}).schedule
    assert "unroll" not in schedule.partition("\n\n")[0]
    assert "M % " not in schedule


@pytest.mark.parametrize(
    "wrong", [{"MR": 4.0}, {"MR": True}, {"MR": "4"}, {"MR": [4]}, {"FAST": 1}, {"MR": np.zeros(2, int)}]
)
def test_other_values_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ScheduleError) as caught:
        te.build(MATMUL, knobs=wrong)  # type: ignore[arg-type]  # on purpose
    assert [d.code for d in caught.value.diagnostics] == ["knob-choice"]


@pytest.mark.parametrize("default", ["2", "1.5"])
@pytest.mark.parametrize(
    "wrong",
    [10**400, -(10**5000), Fraction(10**400, 3), np.zeros(2)],
    ids=["large", "long", "fraction", "array"],
)
def test_so_are_numbers_that_no_text_has(default: str, wrong: object) -> None:
    text = f"""
    op f(X: f32[N]) -> Y: f32[N] {{ Y[i] = X[i] }}
    schedule f on llvm (K = {default}) {{ split i by 3 }}
    """
    with pytest.raises(ScheduleError) as caught:
        te.build(text, knobs={"K": wrong})  # type: ignore[dict-item]  # on purpose
    (found,) = caught.value.diagnostics
    assert found.code == "knob-choice"


@pytest.mark.parametrize("schedule", ["auto", "none", "vectorize j by 8", te.Schedule("matmul")])
def test_what_has_no_knobs_takes_none(schedule: str | te.Schedule) -> None:
    with pytest.raises(CompileError, match="no knob `MR`"):
        te.build(MATMUL, schedule, knobs={"MR": 2})
    assert te.knobs(MATMUL, schedule) == {}


def test_a_tuner_tries_all_choices() -> None:
    knobs = te.knobs(MATMUL)
    assert list(map(str, knobs.values())) == [
        "MR in {2, 4} = 4",
        "NR in {8, 16} = 8",
        "FAST in {true, false} = true",
    ]
    for values in product(*[knob.choices for knob in knobs.values()]):
        kernel = te.build(MATMUL, knobs=dict(zip(knobs, values, strict=True)))
        np.testing.assert_array_equal(kernel(A, B), A @ B)


def test_knobs_of_several_schedules_and_of_those_they_use() -> None:
    text = """
    op rows(X: f32[M, N]) -> Y: f32[M, N] { Y[i, j] = 2.0 * X[i, j] }
    op net(X: f32[M, N]) -> Y: f32[M, N] { H = rows(X); Y[i, j] = H[i, j] + 1.0 }
    schedule rows on llvm (W in {4, 8} = 4) { vectorize j by W }
    schedule net on llvm (U in {2, 4} = 2, F = 1.5) when M > N { use rows of H; unroll Y.j by U }
    schedule net on llvm (U in {4, 8} = 4) { unroll Y.j by U }
    schedule net on cuda (X in {4, 8} = 4) { unroll Y.j by X }
    """
    knobs = te.knobs(text, op="net")
    assert {name: knob.choices for name, knob in knobs.items()} == {"U": (4,), "F": (), "W": (4, 8)}
    assert te.build(text, op="net", knobs={"W": 8, "F": 2}).schedule.count("vectorize H.j by 8") == 1


def test_the_cache_tells_them_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TE_CACHE_DIR", str(tmp_path))
    tmp_path.chmod(0o700)
    for _ in range(2):
        for width in (8, 16):
            assert f"by 4, {width}" in te.build(MATMUL, knobs={"NR": width}).schedule
    assert len(list(tmp_path.rglob("*"))) >= 2


def test_layouts_and_factors_take_them() -> None:
    text = MATMUL.replace("vectorize ji", "split ji by NR // MR into a, b")
    assert "split ji by 2 into a, b" in te.build(text).schedule
