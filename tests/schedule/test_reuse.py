"""`use`: another op's schedule for the stages of a call, and schedules in other files than their op's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import te
from te.diagnostics import CompileError, ScheduleError
from te.module import check_source, read_source

SOFTMAX = """
op softmax(X: f32[M, N]) -> Y: f32[M, N] {
    m[i]    = max[j](X[i, j])
    e[i, j] = exp(X[i, j] - m[i])
    Y[i, j] = e[i, j] / sum[k](e[i, k])
}
"""
NET = (
    SOFTMAX
    + """
op net(A: f32[P, N]) -> B: f32[P, N], C: f32[P, N] {
    B = softmax(A)
    T = softmax(softmax(A))
    C[i, j] = 1.0 + T[i, j]
}
"""
)


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def assert_right(kernel: te.Kernel | te.GenericKernel) -> None:
    for shape in ((4, 8), (3, 5)):
        x = np.linspace(-2, 2, shape[0] * shape[1], dtype=np.float32).reshape(shape)
        b, c = kernel(x)
        np.testing.assert_allclose(b, softmax(x), rtol=1e-5)
        np.testing.assert_allclose(c, 1 + softmax(softmax(x)), rtol=1e-5)


def lines(text: str, **options: object) -> list[str]:
    """The lines of the only schedule of a build of `net`."""
    kernel = te.build(text, op="net", **options)  # type: ignore[arg-type]  # options of a build
    assert_right(kernel)
    assert kernel.schedule.count("schedule") == 1
    return [line.strip() for line in kernel.schedule.splitlines()[1:-1]]


def test_names_are_those_of_the_call() -> None:
    text = (
        NET
        + """
    schedule softmax on llvm { vectorize m.j, e.j by 8; split k by 4; parallel Y.i }
    schedule net on llvm { use softmax of B; use softmax of T; use softmax of T_softmax; vectorize C.j by 8 }
    """
    )
    assert lines(text) == [
        "vectorize B_m.j, B_e.j by 8",
        "split B_Y_sum.k by 4",
        "parallel B.i",
        "vectorize T_m.j, T_e.j by 8",
        "split T_Y_sum.k by 4",
        "parallel T.i",
        "vectorize T_softmax_m.j, T_softmax_e.j by 8",
        "split T_softmax_Y_sum.k by 4",
        "parallel T_softmax.i",
        "vectorize C.j by 8",
    ]


def test_arguments_and_renamed_indices() -> None:
    text = """
    op twice(X: f32[N]) -> Y: f32[N] { e[i] = X[i] * 2.0; Y[i] = e[i] + 1.0 }
    op net(A: f32[i, N]) -> B: f32[i], C: f32[i] {
        s[n] = sum[k](A[n, k])
        B = twice(s)
        C[n] = B[n]
    }
    schedule twice on llvm { split e.i by 4 into io, ii; vectorize ii; unroll Y.i by 2 }
    schedule net on llvm { use twice of B }
    """
    kernel = te.build(text, op="net")
    assert "split B_e.i_ by 4 into io, ii" in kernel.schedule
    a = np.arange(15, dtype=np.float32).reshape(5, 3)
    np.testing.assert_array_equal(kernel(a)[0], a.sum(axis=1) * 2 + 1)


def test_a_schedule_serves_another_op_that_is_made_alike() -> None:
    text = (
        SOFTMAX
        + """
    op net(A: f32[P, N]) -> B: f32[P, N], C: f32[P, N] {
        m[i]    = max[j](A[i, j])
        e[i, j] = exp(A[i, j] - m[i])
        B[i, j] = e[i, j] / sum[k](e[i, k])
        T = softmax(B)
        C[i, j] = 1.0 + T[i, j]
    }
    schedule softmax on llvm { vectorize m.j by 8; parallel e.i }
    schedule net on llvm { use softmax of B }
    """
    )
    assert lines(text) == ["vectorize m.j by 8", "parallel e.i"]


def test_the_first_schedule_that_is_certain_to_fit() -> None:
    text = (
        NET
        + """
    schedule softmax on cuda { parallel m.i }
    schedule softmax on llvm when N >= 64 { parallel e.i }
    schedule softmax on llvm when N >= 4 { parallel Y.i }
    schedule net on llvm when N >= 5 { use softmax of B }
    """
    )
    schedule = te.build(text, op="net").schedule
    assert "parallel B.i" in schedule
    assert_right(te.build(text, op="net"))
    assert "parallel B_e.i" in te.build(text, op="net", sizes={"N": 64}).schedule


def test_a_condition_around_the_line_is_known_in_it() -> None:
    text = (
        NET
        + """
    schedule softmax on llvm when N % 8 == 0 { vectorize m.j by 8 }
    schedule net on llvm { specialize N % 8 == 0 { use softmax of B } }
    """
    )
    kernel = te.build(text, op="net")
    assert "when N % 8 == 0 {\n    vectorize B_m.j by 8" in kernel.schedule
    assert_right(kernel)


def test_cases_of_what_is_used() -> None:
    text = (
        NET
        + """
    schedule softmax on llvm { specialize M % 4 == 0 { unroll m.i by 4 }; parallel m.i }
    schedule net on llvm { use softmax of B; parallel C.i }
    """
    )
    kernel = te.build(text, op="net")
    assert "when P % 4 == 0 {\n    unroll B_m.i by 4\n    parallel C.i" in kernel.schedule
    assert "on llvm {\n    parallel B_m.i\n    parallel C.i" in kernel.schedule
    assert_right(kernel)


def test_used_schedules_may_use_others() -> None:
    text = (
        SOFTMAX
        + """
    op half(X: f32[M, N]) -> Y: f32[M, N] { H = softmax(X); Y[i, j] = H[i, j] * 0.5 }
    op net(A: f32[P, N]) -> B: f32[P, N], C: f32[P, N] {
        B = softmax(A)
        D = half(B)
        C[i, j] = 2.0 * D[i, j] + 1.0
    }
    schedule softmax on llvm (W = 8) when M == M { vectorize m.j by W }
    schedule half on llvm (W = 4) { use softmax of H; vectorize Y.j by W }
    schedule net on llvm { use half of D }
    """
    )
    assert lines(text) == ["vectorize D_H_m.j by 8", "vectorize D.j by 4"]
    assert lines(text, knobs={"W": 16}) == ["vectorize D_H_m.j by 16", "vectorize D.j by 16"]


MATMUL = """
op matmul(A: f32[M, K], B: f32[K, N]) -> C: f32[M, N] { C[i, j] = sum[k](A[i, k] * B[k, j]) }
op two(X: f32[M, K], Y: f32[K, N], A: f32[N, N]) -> Z: f32[M, N] {
    H = matmul(X, Y)
    Z = matmul(H, A)
}
"""


def test_copies_and_partial_results_are_found_by_the_lines_behind_them() -> None:
    text = (
        MATMUL
        + """
    schedule matmul on llvm (NR = 8) {
        tile i, j by 4, NR into io, jo, ii, ji
        cache_read A[i, k] at io
        cache_read B[k, j] as Bp layout [j // NR, k, j % NR]
        cache_write C at jo as Ct
        vectorize A_copy.k by 4
        split Bp.j by NR into jo, ji
        unroll Ct.i
        vectorize Bp.ji
    }
    schedule two on llvm { use matmul of H; use matmul of Z }
    """
    )
    kernel = te.build(text, op="two")
    for line in (
        "cache_read Y[k, j] as H_Bp",
        "split H_Bp.j by 8",
        "cache_read H[i, k] at Z.io",
        "unroll Z_Ct.i",
    ):
        assert line in kernel.schedule
    assert "vectorize X_copy.k by 4" in kernel.schedule
    assert "vectorize H_copy.k by 4" in kernel.schedule
    for m, k, n in ((8, 8, 16), (5, 3, 7)):
        x, y, a = (np.arange(p * q, dtype=np.float32).reshape(p, q) % 7 for p, q in ((m, k), (k, n), (n, n)))
        np.testing.assert_array_equal(kernel(x, y, a), x @ y @ a)


def test_online_and_rfactor() -> None:
    text = (
        NET
        + """
    schedule softmax on llvm {
        inline e
        split Y_sum.k by 4
        rfactor ki of Y_sum
        vectorize Y_sum_part.ki
    }
    schedule net on llvm { use softmax of B }
    """
    )
    assert lines(text)[-1] == "vectorize B_Y_sum_part.ki"
    text = (
        NET
        + """
    schedule softmax on llvm {
        inline e
        online j, Y_sum.k of m, Y_sum at Y.i by 4
        vectorize m.ji
    }
    schedule net on llvm { use softmax of B }
    """
    )
    assert lines(text) == [
        "inline B_e",
        "online j, B_Y_sum.k of B_m, B_Y_sum at B.i by 4",
        "vectorize B_m.ji",
    ]


def test_in_python() -> None:
    rows = te.Schedule("softmax").vectorize("m.j", by=8)
    s = te.Schedule("net").use(rows, of="B").use(rows, of="T")
    assert lines(NET, schedule=s) == ["vectorize B_m.j by 8", "vectorize T_m.j by 8"]
    assert lines(NET, schedule=str(s)) == lines(NET, schedule=s)
    named = te.Schedule("net").use("softmax", of="B")
    assert lines(NET + "schedule softmax on llvm { parallel m.i }", schedule=named) == ["parallel B_m.i"]
    immediate = te.Schedule(te.build(NET, op="net").program).use(rows, of="B")  # type: ignore[union-attr]  # no generics
    assert list(map(str, immediate.directives)) == ["vectorize B_m.j by 8"]
    with pytest.raises(ScheduleError, match="nothing says here"):
        immediate.use("softmax", of="B")
    with pytest.raises(TypeError, match="not int"):
        immediate.use(3, of="B")  # type: ignore[arg-type]  # on purpose


def test_the_cache_knows_the_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path.chmod(0o700)
    monkeypatch.setenv("TE_CACHE_DIR", str(tmp_path))
    for by in (4, 8):
        rows = te.Schedule("softmax").vectorize("m.j", by=by)
        assert lines(NET, schedule=te.Schedule("net").use(rows, of="B")) == [f"vectorize B_m.j by {by}"]


# ---------------------------------------------------------------- other files


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "rows.te").write_text(SOFTMAX + "schedule softmax on llvm { parallel m.i }\n")
    (tmp_path / "net.te").write_text(
        "use rows\n"
        + NET.removeprefix(SOFTMAX).replace("softmax(", "rows.softmax(")
        + "schedule net on llvm { use rows.softmax of B }\n"
    )
    return tmp_path


def test_the_schedule_of_an_op_in_another_file(folder: Path) -> None:
    assert "parallel B_m.i" in te.build(folder / "net.te").schedule
    mine = (folder / "net.te").read_text() + "schedule rows.softmax on llvm { parallel e.i }\n"
    (folder / "net.te").write_text(mine)
    kernel = te.build(folder / "net.te")
    assert "parallel B_e.i" in kernel.schedule
    assert_right(kernel)


def test_a_change_in_the_other_file_is_seen(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = folder / "cache"
    cache.mkdir(mode=0o700)
    monkeypatch.setenv("TE_CACHE_DIR", str(cache))
    assert "parallel B_m.i" in te.build(folder / "net.te").schedule
    (folder / "rows.te").write_text(SOFTMAX + "schedule softmax on llvm { parallel Y.i }\n")
    assert "parallel B.i" in te.build(folder / "net.te").schedule


def test_a_file_of_schedules_only(folder: Path) -> None:
    mine = folder / "mine.te"
    mine.write_text("use rows\nschedule rows.softmax on llvm (W in {4, 8} = 4) { vectorize m.j by W }\n")
    assert "vectorize m.j by 4" in te.build(folder / "rows.te", mine).schedule
    assert "vectorize m.j by 8" in te.build(folder / "rows.te", mine, knobs={"W": 8}).schedule
    assert list(te.knobs(folder / "rows.te", mine)) == ["W"]
    mine.write_text("schedule softmax on llvm { vectorize m.j by 8 }\n")  # by its name alone
    assert "vectorize m.j by 8" in te.build(folder / "rows.te", mine).schedule
    assert "vectorize m.j by 8" in te.build(SOFTMAX, mine).schedule
    mine.write_text("use rows.{softmax}\nschedule softmax on llvm { vectorize m.j by 8 }\n")
    assert "vectorize m.j by 8" in te.build(folder / "rows.te", mine).schedule
    mine.write_text("use nn\nschedule nn.softmax on llvm { vectorize m.j by 8 }\n")
    with pytest.raises(CompileError, match=r"the given schedule is for `nn\.softmax`"):
        te.build(folder / "rows.te", mine)


def test_a_schedule_for_an_op_of_the_standard_library() -> None:
    mine = "use nn\nschedule nn.softmax on llvm { parallel Y.s1 }\n"
    softmax = te.build(te.std.nn.softmax, mine, dtypes={"T": "f32"})
    assert "parallel Y.s1" in softmax.schedule
    text = f"""{mine}
    op net(X: f32[M, N]) -> Y: f32[M, N] {{ H = nn.softmax(X); Y[i, j] = 2.0 * H[i, j] }}
    schedule net on llvm {{ use nn.softmax of H }}
    """
    assert "parallel H.s1" in te.build(text).schedule


def test_they_are_checked_with_their_file(folder: Path) -> None:
    mine = folder / "mine.te"
    mine.write_text(
        "use rows\nschedule rows.softmax on llvm { parallel m.j }\nschedule rows.sofmax on llvm { parallel m.i }\n"
    )
    found = check_source(read_source(mine))
    assert [d.code for d in found] == ["parallel-reduction", "schedule-op"]
    assert "did you mean `rows.softmax`?" in (found[1].help or "")
