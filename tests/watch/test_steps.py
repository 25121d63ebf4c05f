"""`te show --step` and `te bench`: what is printed, and how the commands end."""

from __future__ import annotations

from pathlib import Path

import pytest

from te.cli import main
from te.watch.timing import medians

HERE = Path(__file__).parent

MATMUL = """
op matmul(A: f32[M, K], B: f32[K, N]) -> C: f32[M, N] {
    C[i, j] = sum[k](A[i, k] * B[k, j])
}
schedule matmul on llvm {
    tile i, j by 8, 32 into io, jo, ii, ji
    reorder io, jo, k, ii, ji
    unroll ii
    vectorize ji
    parallel io
}
"""
DOUBLE = "op double(X: f32[N]) -> Y: f32[N] { Y[i] = 2 * X[i] }\n"
SEVERAL = DOUBLE + (
    "schedule double on llvm when N >= 64 { vectorize i by 16 }\nschedule double on llvm { vectorize i by 4 }\n"
)
REFUSED = """
op total(X: f32[N]) -> s: f32 { s = sum[i](X[i]) }
schedule total on llvm {
    split i by 4
    parallel io
    unroll ii
}
"""
GENERIC = "op twice<T>(X: T[*S]) -> Y: T[*S] { Y[*s] = X[*s] + X[*s] }\n"


class Command:
    def __init__(self, capture: pytest.CaptureFixture[str]):
        self.capture = capture

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        """The exit code, and what went to stdout and stderr."""
        self.capture.readouterr()
        code = main(list(arguments))
        captured = self.capture.readouterr()
        assert "Traceback" not in captured.err
        return code, captured.out, captured.err


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    monkeypatch.chdir(tmp_path)
    for name, text in {"matmul": MATMUL, "several": SEVERAL, "refused": REFUSED, "generic": GENERIC}.items():
        Path(f"{name}.te").write_text(text, encoding="utf-8")
    return Command(capsys)


# ---------------------------------------------------------------- show --step


def test_steps(run: Command, golden) -> None:
    code, out, err = run("show", "matmul.te", "--step")
    assert (code, err) == (0, "")
    golden(HERE / "steps" / "matmul.txt", out)


def test_a_refused_line(run: Command, golden) -> None:
    code, out, err = run("show", "refused.te", "total", "--step")
    assert code == 1
    golden(HERE / "steps" / "refused.txt", f"{out}\n{err}")


def test_the_schedule_that_a_call_would_use(run: Command) -> None:
    _, large, _ = run("show", "several.te", "--step", "--sizes", "N=1000")
    _, small, _ = run("show", "several.te", "--step", "--sizes", "N=3")
    _, unknown, _ = run("show", "several.te", "--step")
    assert large.startswith(
        "# schedule double on llvm when N >= 64\n# for other sizes there is one more schedule\n"
    )
    assert "# vectorize i by 4" in small
    assert unknown == large


def test_a_given_schedule(run: Command) -> None:
    assert "# unroll i by 4" in run("show", "several.te", "--step", "--schedule", "unroll i by 4")[1]
    assert run("show", "several.te", "--step", "--schedule", "none")[1].count("#") == 1


def test_a_line_that_changes_nothing(run: Command) -> None:
    assert "(changes nothing)" in run("show", "matmul.te", "--step", "--schedule", "reorder i, j, k")[1]


def test_dtypes_and_ranks_are_those_of_the_first_kernel(run: Command) -> None:
    _, out, _ = run("show", "generic.te", "--step", "--schedule", "none")
    assert (
        out
        == "# schedule twice on llvm\n" + run("show", "generic.te", "--ir", "loop", "--schedule", "none")[1]
    )


def test_colour_is_for_terminals(run: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "\x1b[" not in run("show", "matmul.te", "--step")[1]
    monkeypatch.setattr("te.cli.watch.has_color", lambda stream: True)
    out = run("show", "matmul.te", "--step")[1]
    assert "\x1b[32m+ " in out
    assert "\x1b[31m- " in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--sizes", "L=4"], "matmul has no size `L`; its sizes are M, K, N"),
        (["--sizes", "M"], "--sizes takes NAME=VALUE"),
        (["--sizes", "M=-1"], "a size is at least 0"),
        (["--schedule", "automatic"], "neither 'auto' nor 'none'"),
        (["--target", "vax"], "vax"),
    ],
)
def test_usage(run: Command, arguments: list[str], message: str) -> None:
    code, out, err = run("show", "matmul.te", "--step", *arguments)
    assert (code, out) == (2, "")
    assert message in err


def test_a_program_that_is_wrong(run: Command) -> None:
    Path("wrong.te").write_text("op f(X: f32[N]) -> Y: f32[N] { Y[i] = X[j] }\n", encoding="utf-8")
    code, out, err = run("show", "wrong.te", "--step")
    assert (code, out) == (1, "")
    assert "nothing binds the index `j`" in err


# ---------------------------------------------------------------- bench


def first_words(table: str) -> list[str]:
    return [line.split("  ")[0] for line in table.splitlines()[3:]]


def test_bench(run: Command) -> None:
    code, out, err = run("bench", "matmul.te", "--sizes", "M=16,K=8,N=40", "--repeat", "3")
    assert (code, err) == (0, "")
    assert out.startswith("matmul with M = 16, K = 8, N = 40\n\n")
    assert first_words(out) == ["none: the plain nest", "auto: the schedule that te chooses", "written"]
    assert "Gop/s" in out


def test_bench_without_a_written_schedule(run: Command) -> None:
    Path("plain.te").write_text(DOUBLE, encoding="utf-8")
    _, out, _ = run("bench", "plain.te", "--sizes", "N=64", "--repeat", "1")
    assert len(first_words(out)) == 2


def test_bench_of_each_line(run: Command) -> None:
    code, out, _ = run(
        "bench", "matmul.te", "--step", "--sizes", "M=16", "--sizes", "K=8,N=40", "--repeat", "2"
    )
    assert code == 0
    assert first_words(out) == [
        "the plain nest",
        "tile i, j by 8, 32 into io, jo, ii, ji",
        "reorder io, jo, k, ii, ji",
        "unroll ii",
        "vectorize ji",
        "parallel io",
    ]


def test_bench_with_a_condition(run: Command) -> None:
    _, out, _ = run("bench", "several.te", "--step", "--sizes", "N=100", "--repeat", "1")
    assert first_words(out) == ["the plain nest", "vectorize i by 16"]


def test_bench_of_a_refused_line(run: Command) -> None:
    code, out, err = run("bench", "refused.te", "--step", "--sizes", "N=100", "--repeat", "1")
    assert code == 1
    assert first_words(out) == ["the plain nest", "split i by 4"]
    assert "parallel io" in err


def test_bench_of_any_dtypes(run: Command) -> None:
    code, out, _ = run("bench", "generic.te", "--sizes", "S1=100", "--repeat", "1")
    assert code == 0
    assert len(first_words(out)) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [([], "--sizes M=...,K=...,N=..."), (["--sizes", "M=1,K=1,N=1", "--repeat", "0"], "at least 1")],
)
def test_usage_of_bench(run: Command, arguments: list[str], message: str) -> None:
    code, out, err = run("bench", "matmul.te", *arguments)
    assert (code, out) == (2, "")
    assert message in err


def test_bench_of_sizes_that_the_op_refuses(run: Command) -> None:
    Path("even.te").write_text(
        "op f(X: f32[N]) -> Y: f32[N] { require N >= 8\n Y[i] = X[7] }\n", encoding="utf-8"
    )
    code, _, err = run("bench", "even.te", "--sizes", "N=3", "--repeat", "1")
    assert code == 1
    assert "N >= 8" in err


def test_medians_leave_out_what_disturbs() -> None:
    disturbed = iter([9.0, 2.0, 2.5, 100.0, 1.0])
    assert medians([lambda: next(disturbed), lambda: 1.0], rounds=5) == [2.5, 1.0]


# ---------------------------------------------------------------- schedules made of others

KNOBS = DOUBLE + "schedule double on llvm (W in {4, 8, 16} = 8) { vectorize i by W }\n"


def test_knobs(run: Command) -> None:
    Path("knobs.te").write_text(KNOBS, encoding="utf-8")
    assert "# vectorize i by 16" in run("show", "knobs.te", "--step", "--knob", "W=16")[1]
    code, out, _ = run("bench", "knobs.te", "--knob", "W=16", "--sizes", "N=64", "--repeat", "1")
    assert (code, len(first_words(out))) == (0, 3)
    code, out, _ = run("bench", "knobs.te", "--step", "--knob", "W=16", "--sizes", "N=64", "--repeat", "1")
    assert (code, first_words(out)) == (0, ["the plain nest", "vectorize i by 16"])


CASES = (
    DOUBLE
    + "schedule double on llvm {\n    specialize N % 16 == 0 { vectorize i by 16 }\n    split i by 4\n}\n"
)


def test_the_case_that_a_call_would_take(run: Command) -> None:
    Path("cases.te").write_text(CASES, encoding="utf-8")
    fits = run("show", "cases.te", "--step", "--sizes", "N=32")[1]
    assert fits.startswith(
        "# schedule double on llvm when N % 16 == 0\n# for other sizes there is one more schedule"
    )
    assert "# vectorize i by 16" in fits
    assert "# split i by 4" in run("show", "cases.te", "--step", "--sizes", "N=33")[1]
    code, out, _ = run("bench", "cases.te", "--step", "--sizes", "N=32", "--repeat", "1")
    assert (code, first_words(out)) == (0, ["the plain nest", "vectorize i by 16"])


REUSED = """
op fill(X: f32[N]) -> Y: f32[N] { Y[i] = X[i] + 1 }
schedule double on llvm { use fill of Y }
schedule fill on llvm {
    split i by 4
    unroll ii
    parallel Q
}
"""


def test_lines_of_another_schedule_are_steps(run: Command) -> None:
    """Those before the one that is refused, too."""
    Path("reused.te").write_text(DOUBLE + REUSED, encoding="utf-8")
    code, out, err = run("show", "reused.te", "double", "--step")
    assert code == 1
    assert [line for line in out.splitlines() if line.startswith("# ")] == [
        "# schedule double on llvm",
        "# split Y.i by 4",
        "# unroll Y.ii",
        "# use fill of Y  (refused)",
    ]
    assert "used here" in err
