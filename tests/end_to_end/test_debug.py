"""`te.build(debug=True)`: every index is checked at run time, and debuggers see the `.te` lines."""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import te
from te import pipeline
from te.backends.llvm import perf
from te.ir import loop
from te.ir.accesses import guarded_reads
from te.ir.expr import TRUE, Expr, Load, add, integer
from te.ir.print import print_expr
from te.ir.visit import rewrite
from tests.properties.generated.programs import draw_program

F32 = np.float32
ROOT = Path(__file__).parents[2]

BLUR = """\
## Sums of neighbours.
op blur(X: f32[N]) -> Y: f32[N] {
    Y[i] = X[i] +
        (X[i - 1] else 0)
}
"""
MATMUL = """\
op matmul(A: f32[M, K], B: f32[K, N]) -> C: f32[M, N] {
    C[i, j] = sum[k](A[i, k] * B[k, j])
}
"""
SCHEDULES = [
    "auto",
    "none",
    "parallel i",
    "vectorize j by 8",
    "split j by 4\nunroll ji",
    "tile i, j by 4, 8 into io, jo, ii, ji\nreorder io, jo, k, ii, ji\nunroll ii\nvectorize ji\nparallel io",
]


def f32(*shape: int) -> Any:
    return np.random.default_rng(0).standard_normal(shape).astype(F32)


# ---------------------------------------------------------------- what is computed stays the same


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_results_are_the_same(schedule: str) -> None:
    plain, debug = te.build(MATMUL, schedule), te.build(MATMUL, schedule, debug=True)
    for m, k, n in [(1, 1, 1), (0, 3, 2), (5, 7, 9), (17, 33, 40)]:
        a, b = f32(m, k), f32(k, n)
        np.testing.assert_array_equal(debug(a, b), plain(a, b))


def test_random_programs_have_the_same_results() -> None:
    rng = random.Random(3)
    for _ in range(12):
        program = draw_program(rng)
        built = [
            te.build(program.text, "none", op=program.op.name, consts=program.consts, debug=debug)
            for debug in (False, True)
        ]
        arrays = program.arrays(program.sizes(rng), np.random.default_rng(0))
        inputs = [arrays[t.name] for t in program.op.inputs]
        for plain, debug in zip(*(_tuple(kernel(*inputs)) for kernel in built), strict=True):
            np.testing.assert_array_equal(debug, plain)


def _tuple(results: Any) -> tuple[Any, ...]:
    return results if isinstance(results, tuple) else (results,)


def test_tables_checks_variants_and_open_dtypes() -> None:
    text = """
        const w: f32[3] = [1, 2, 3]
        op gather(X: f32[N], I: i64[M]) -> Y: f32[M] { Y[i] = X[I[i]] * w[i % 3] }
        schedule gather on llvm when M > 2 { parallel Y.i }
    """
    gather = te.build(text, debug=True)
    np.testing.assert_array_equal(gather(np.arange(5, dtype=F32), np.array([1, 2, 4])), [1, 4, 12])
    np.testing.assert_array_equal(gather(np.arange(5, dtype=F32), np.array([1, 2])), [1, 4])
    for indices in ([0, 5], [0, 1, -1]):
        with pytest.raises(IndexError, match=r"`X\[I\[i\]\]` reads outside axis 0 of `X`"):
            gather(np.arange(5, dtype=F32), np.array(indices))
    double = te.build("op double<T>(X: T[*S]) -> Y: T[*S] { Y[*s] = X[*s] + X[*s] }", debug=True)
    np.testing.assert_array_equal(double(np.ones((2, 2))), np.full((2, 2), 2.0))


# ---------------------------------------------------------------- what a fault says


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[loop.Stmt], loop.Stmt]], None]:
    """Make the last pass of the schedule do something wrong."""

    def install(mistake: Callable[[loop.Stmt], loop.Stmt]) -> None:
        right = pipeline.finalize
        monkeypatch.setattr(pipeline, "finalize", lambda k: replace(right(k), body=mistake(right(k).body)))

    return install


def shift_reads(buffer: str, axis: int, by: int) -> Callable[[loop.Stmt], loop.Stmt]:
    def shifted(e: Expr) -> Expr:
        if not isinstance(e, Load) or e.buffer != buffer:
            return e
        index = list(e.index)
        index[axis] = add(index[axis], integer(by))
        return Load(buffer, tuple(index), e.dtype)

    return lambda body: loop.map_exprs(body, lambda e: rewrite(e, shifted))


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_wrong_read_names_line_buffer_and_index(schedule: str, broken: Any, tmp_path: Path) -> None:
    broken(shift_reads("B", 0, 1))
    path = tmp_path / "matmul.te"
    path.write_text(MATMUL)
    kernel = te.build(path, schedule, debug=True)
    with pytest.raises(IndexError) as raised:
        kernel(f32(20, 6), f32(6, 10))
    assert re.match(
        rf"matmul: {re.escape(str(path))}:2: `B\[.* \+ 1, .*\]` reads the index \[6, \d\], "
        r"outside `B`, whose shape is \[6, 10\]; this is a bug in te",
        str(raised.value),
    )


def test_a_wrong_store(broken: Any) -> None:
    def mistake(body: loop.Stmt) -> loop.Stmt:
        def moved(s: loop.Stmt) -> loop.Stmt:
            return replace(s, index=(add(s.index[0], integer(-2)),)) if isinstance(s, loop.Store) else s

        return loop.rewrite_stmt(body, moved)

    broken(mistake)
    with pytest.raises(IndexError, match=r"`Y\[i \+ -2\]` stores at the index \[-2\], outside `Y`"):
        te.build(BLUR, "none", debug=True)(f32(4))


def test_the_first_fault_is_reported(broken: Any) -> None:
    broken(shift_reads("X", 0, 3))
    with pytest.raises(IndexError, match=r"blur: <text>:3: .*reads the index \[10\], outside"):
        te.build(BLUR, "parallel i", debug=True)(f32(10))


def test_a_read_that_does_not_happen_is_no_fault() -> None:
    text = "op f(X: f32[N], k: i64) -> Y: f32[N] { Y[i] = where(i + 3 < N, X[i + 3], 0) }"
    for schedule in ("none", "vectorize i by 8"):
        kernel = te.build(text, schedule, debug=True)
        np.testing.assert_array_equal(kernel(np.arange(10, dtype=F32), 1)[:3], [3, 4, 5])


def test_guards_of_reads() -> None:
    file = te.build("op f(X: f32[N], I: i64[N]) -> Y: f32[N] { Y[i] = X[I[i]] }", "none", debug=True).program
    reads = guarded_reads(file.stage("Y").value, TRUE)
    texts = [(print_expr(read), print_expr(guard)) for read, guard in reads]
    assert texts[0] == ("I[i]", "true")
    assert texts[-1] == ("X[I[i]]", "0 <= I[i] and I[i] < N")


# ---------------------------------------------------------------- lines


@pytest.fixture
def blur(tmp_path: Path) -> Path:
    path = tmp_path / "blur.te"
    path.write_text(BLUR)
    return path


@pytest.fixture
def debug_info(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TE_DEBUG_INFO", "1")
    yield
    Path(f"/tmp/perf-{os.getpid()}.map").unlink(missing_ok=True)


def test_ordinary_code_has_no_lines(blur: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TE_DEBUG_INFO", raising=False)
    assert "!dbg" not in te.build(blur).ir("llvm")


def test_lines_alone(blur: Path, debug_info: None) -> None:
    code = te.build(blur).ir("llvm")
    assert "!dbg" in code
    assert ".fault" not in code


def test_odd_names_and_several_files(tmp_path: Path) -> None:
    (tmp_path / "lib.te").write_text("\n\nop twice(X: f32[N]) -> Y: f32[N] {\n    Y[i] = 2 * X[i]\n}\n")
    path = tmp_path / 'größe "\\x.te'
    path.write_text("use lib\nop f(X: f32[N]) -> Z: f32[N] {\n    Z = lib.twice(X)\n}\n", encoding="utf-8")
    kernel = te.build(path, debug=True)
    np.testing.assert_array_equal(kernel(np.ones(3, F32)), [2, 2, 2])
    assert "gr\\C3\\B6\\C3\\9Fe \\22\\5Cx.te" in kernel.ir("llvm")


@pytest.mark.skipif(shutil.which("readelf") is None, reason="readelf is not installed")
def test_line_table_of_the_object(blur: Path, tmp_path: Path, debug_info: None) -> None:
    for schedule in ("none", "parallel i"):
        kernel = te.build(blur, schedule)
        (tmp_path / "blur.o").write_bytes(kernel._compilation.artifact.code.object)
        table = subprocess.run(
            ["readelf", "--debug-dump=decodedline", "blur.o"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        lines = {int(n) for n in re.findall(r"^blur\.te +(\d+) ", table, re.MULTILINE)}
        assert {2, 3} <= lines <= {0, 2, 3}  # the op, its equation, and code of neither


@pytest.mark.skipif(shutil.which("readelf") is None, reason="readelf is not installed")
def test_perf_reads_the_same_lines(tmp_path: Path) -> None:
    path = tmp_path / "softmax.te"
    path.write_text(
        "op softmax(X: f32[M, N]) -> Y: f32[M, N] {\n    m[i] = max[j](X[i, j])\n"
        + "\n" * 300  # so that the table has large steps
        + "    e[i, j] = exp(X[i, j] - m[i])\n    Y[i, j] = e[i, j] / sum[k](e[i, k])\n}\n"
    )
    kernel = te.build(path, debug=True)
    code = kernel._compilation.artifact.code.object
    (tmp_path / "softmax.o").write_bytes(code)
    command = ["readelf", "--debug-dump=decodedline", "--wide", "softmax.o"]
    table = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    shown = re.findall(r"^softmax\.te +(-|\d+) +(0x[0-9a-f]+|0)\b", table, re.MULTILINE)
    names = {"-": "", "0": "softmax.te"}
    expected = [(int(at, 16), names.get(line, f"softmax.te:{line}")) for line, at in shown]
    assert len(expected) > 10
    assert list(perf.line_rows(perf._read_elf(code).lines)) == expected


@pytest.mark.skipif(sys.platform != "linux", reason="perf is Linux's")
def test_the_map_for_perf(blur: Path) -> None:
    program = "import os, te; te.build('blur.te'); print(open(f'/tmp/perf-{os.getpid()}.map').read())"
    program += "; os.remove(f'/tmp/perf-{os.getpid()}.map')"
    run = subprocess.run(
        [sys.executable, "-c", program],
        cwd=blur.parent,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TE_DEBUG_INFO": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    names = {line.split(" ", 2)[2] for line in run.stdout.splitlines() if line}
    assert names == {"blur.te", "blur.te:2", "blur.te:3"}


@pytest.mark.skipif(shutil.which("gdb") is None, reason="gdb is not installed")
def test_gdb_stops_at_a_line(blur: Path) -> None:
    program = "import numpy, te; te.build('blur.te', debug=True)(numpy.ones(9, 'f4'))"
    gdb = ["gdb", "-q", "-nx", "-batch", "-ex", "set breakpoint pending on"]
    commands = ["set debuginfod enabled off", "break blur.te:3", "run", "backtrace 2"]
    run = subprocess.run(
        [*gdb, *(part for c in commands for part in ("-ex", c)), "--args", sys.executable, "-c", program],
        cwd=blur.parent,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "TE_CACHE_DIR": str(blur.parent / "cache")},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    if "ptrace" in run.stderr and "Operation not permitted" in run.stderr:
        pytest.skip("this system does not let gdb run a program")
    assert re.search(r"^#0 +(0x\w+ in )?blur \(\) at .*blur\.te:3$", run.stdout, re.MULTILINE), run.stdout
    assert re.search(r"^#1 .* in te_blur \(\) at .*blur\.te:2$", run.stdout, re.MULTILINE), run.stdout
