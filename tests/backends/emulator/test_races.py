"""`te check --races`: what it runs, what it says, and how a finding is shown."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import te
from te.backends.cuda.emulator import executable, toolchain
from te.cli import main
from te.watch.races import examine
from tests.backends.emulator.running import needs_gxx

OPS = """\
op scale(X: f32[M, N], by: f32) -> Y: f32[M, N] {
    require M % 4 == 2
    Y[i, j] = by * X[i, j] + 1.0
}

schedule scale on cuda when N >= 64 {
    split j by 32 into jo, ji
    bind i to block.y
    bind jo to block.x
    bind ji to thread.x
}

schedule scale on cuda {
    bind i to block.x
}

op pick<T>(X: T[N], I: i32[M]) -> Y: T[M] {
    Y[i] = X[I[i]]
}

schedule pick on cuda {
    bind Y.i to block.x
}

op unscheduled(X: f32[N]) -> Y: f32[N] {
    Y[i] = X[i]
}
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "ops.te"
    path.write_text(OPS, encoding="utf-8")
    return str(path)


def damage(monkeypatch, old, new):
    """Emit something else."""
    compile_source = executable.compile_source

    def compile_damaged(text, **more):
        return compile_source(text.replace(old, new), **more)

    monkeypatch.setattr(executable, "compile_source", compile_damaged)


class TestWithCompiler:
    pytestmark = needs_gxx

    def test_all_schedules_run(self, file, capsys):
        assert main(["check", "--races", file]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert len(lines) == 8
        assert all(line.endswith("in 4 orders: nothing is wrong") for line in lines)
        assert [line.split(": ")[1].split(" with")[0] for line in lines] == [
            *("scale", "scale", "scale (schedule 2)", "scale (schedule 2)", "pick", "pick"),
            *("unscheduled", "unscheduled"),
        ]
        assert main(["check", "--races", "--json", file]) == 0
        assert capsys.readouterr().out == "[]\n"

    def test_an_op_without_a_schedule_that_needs_a_const_is_left_out(self, tmp_path, capsys):
        path = tmp_path / "const.te"
        path.write_text(
            "op f(X: f32[N], const c: float) -> Y: f32[N] {\n    Y[i] = c * X[i]\n}\n", encoding="utf-8"
        )
        assert main(["check", "--races", str(path)]) == 0
        assert capsys.readouterr().out == ""

    def test_sizes_with_negative_extents_are_not_drawn(self, tmp_path, capsys):
        path = tmp_path / "pairs.te"
        path.write_text(
            "op f(X: f32[N]) -> Y: f32[N - 40] {\n    Y[i] = X[i] + X[i + 40]\n}\n", encoding="utf-8"
        )
        assert main(["check", "--races", str(path)]) == 0
        assert capsys.readouterr().out.count("nothing is wrong") == 2

    def test_findings_are_diagnostics(self, file, capsys, monkeypatch):
        damage(monkeypatch, "by[0] * X[", "by[0] * X[M + ")
        assert main(["check", "--races", "--json", file]) == 1
        found = json.loads(capsys.readouterr().out)
        assert {f["code"] for f in found} == {"emulated-out-of-bounds"}
        assert {f["line"] for f in found} == {3}

    def test_sizes_that_cannot_be_found(self, tmp_path, capsys):
        path = tmp_path / "large.te"
        path.write_text(
            "op large(X: f32[N]) -> Y: f32[N] {\n    require N >= 1000000\n    Y[i] = X[i]\n}\n"
            "schedule large on cuda { bind i to block.x }\n",
            encoding="utf-8",
        )
        assert main(["check", "--races", str(path)]) == 0
        assert "not run" in capsys.readouterr().out

    def test_a_finding_as_text(self, file, monkeypatch, golden):
        damage(monkeypatch, "Y[i * N + ", "Y[")
        findings = [f for e in examine(te.load(file).scale) for f in e.findings if f.kind == "race"]
        text = str(findings[0].diagnostic).replace(file, "ops.te")
        golden(Path(__file__).parent / "race.txt", text)


def test_without_a_compiler(file, capsys, monkeypatch):
    toolchain.find_compiler.cache_clear()
    toolchain._version.cache_clear()
    monkeypatch.setenv("PATH", "")
    assert main(["check", "--races", file]) == 2
    assert "g++" in capsys.readouterr().err
    toolchain.find_compiler.cache_clear()
