"""`te fmt`: what it prints and writes, and what it leaves alone."""

from __future__ import annotations

import io
import os
import stat
import sys
from pathlib import Path

import pytest

from te.cli import main

MESSY = "op f(x:f32)->y:f32{y=2*x}"
TIDY = "op f(x: f32) -> y: f32 {\n    y = 2 * x\n}\n"
BROKEN = "op f(x: f32) -> y: f32 {\n    y = 2 * \n}\n"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def stdin(monkeypatch: pytest.MonkeyPatch) -> io.BytesIO:
    data = io.BytesIO()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(data))
    return data


def write(name: str, text: str | bytes) -> Path:
    path = Path(name)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def files_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


# ---------------------------------------------------------------- writing


def test_files_and_folders(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "ops").mkdir()
    paths = [write(name, MESSY) for name in ("a.te", "ops/b.te", "ops/c.te")]
    other = write("ops/d.txt", MESSY)
    assert main(["fmt", "a.te", "ops"]) == 0
    assert [path.read_text() for path in paths] == [TIDY] * 3
    assert other.read_text() == MESSY
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_what_is_formatted_is_not_written() -> None:
    path = write("a.te", TIDY)
    os.utime(path, (1, 1))
    assert main(["fmt", "a.te"]) == 0
    assert path.stat().st_mtime == 1


def test_nothing_else_is_left_behind(folder: Path) -> None:
    write("a.te", MESSY)
    assert main(["fmt", "a.te"]) == 0
    assert files_in(folder) == {"a.te"}


def test_permissions_and_links_stay() -> None:
    path = write("a.te", MESSY)
    path.chmod(0o640)
    link = Path("link.te")
    link.symlink_to("a.te")
    assert main(["fmt", "link.te"]) == 0
    assert link.is_symlink()
    assert path.read_text() == TIDY
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


@pytest.mark.parametrize("failing", ["copymode", "replace"])
def test_a_failure_leaves_the_file_as_it_was(
    folder: Path, failing: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*arguments: object) -> None:
        raise OSError(28, "No space left on device", "a.te")

    path = write("a.te", MESSY)
    monkeypatch.setattr(f"te.cli.fmt.{'shutil' if failing == 'copymode' else 'os'}.{failing}", fail)
    assert main(["fmt", "a.te"]) == 2
    assert capsys.readouterr().err == "te: error: a.te: No space left on device\n"
    assert path.read_text() == MESSY
    assert files_in(folder) == {"a.te"}


def test_a_file_that_may_not_be_written(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write("a.te", MESSY)
    monkeypatch.setattr(os, "access", lambda *arguments: False)  # root may write everything
    assert main(["fmt", "a.te"]) == 2
    assert capsys.readouterr().err == "te: error: a.te: the file may not be written\n"
    assert path.read_text() == MESSY


def test_what_is_no_regular_file_is_not_replaced(capsys: pytest.CaptureFixture[str]) -> None:
    from te.cli.fmt import replace_file

    os.mkfifo("pipe.te")
    with pytest.raises(OSError, match="no regular file"):
        replace_file("pipe.te", b"")


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_line_ends_and_the_byte_order_mark_stay(end: str, mark: str) -> None:
    path = write("a.te", mark + f"# é{end}\t{end}{MESSY}{end}")
    assert main(["fmt", "a.te"]) == 0
    assert path.read_bytes().decode() == mark + f"# é\n\n{TIDY}".replace("\n", end)
    assert main(["fmt", "--check", "a.te"]) == 0


# ---------------------------------------------------------------- files that are no programs


def test_a_file_with_errors_is_reported_and_left_alone(capsys: pytest.CaptureFixture[str]) -> None:
    broken = write("a.te", BROKEN)
    latin1 = write("b.te", b"# \xe9t\xe9\n")
    good = write("c.te", MESSY)
    assert main(["fmt", "a.te", "b.te", "c.te"]) == 1
    assert (broken.read_text(), latin1.read_bytes(), good.read_text()) == (BROKEN, b"# \xe9t\xe9\n", TIDY)
    reported = capsys.readouterr().err
    assert main(["check", "a.te"]) == 1
    assert reported.startswith(capsys.readouterr().err)
    assert "error: b.te is no UTF-8 text" in reported


def test_files_that_are_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fmt", "nothing.te"]) == 2
    assert capsys.readouterr().err == "te: error: nothing.te: No such file or directory\n"


# ---------------------------------------------------------------- --check and --diff


def test_check_names_what_would_change(capsys: pytest.CaptureFixture[str]) -> None:
    paths = [write("a.te", MESSY), write("b.te", TIDY)]
    assert main(["fmt", "--check", "a.te", "b.te"]) == 1
    assert capsys.readouterr().out == "a.te\n"
    assert [path.read_text() for path in paths] == [MESSY, TIDY]
    assert main(["fmt", "--check", "b.te"]) == 0
    assert capsys.readouterr().out == ""


def test_diff(capsys: pytest.CaptureFixture[str]) -> None:
    path = write("a.te", MESSY)
    write("b.te", TIDY)
    changes = (
        "--- a.te\n+++ a.te (formatted)\n@@ -1 +1,3 @@\n"
        "-op f(x:f32)->y:f32{y=2*x}\n\\ No newline at end of file\n"
        "+op f(x: f32) -> y: f32 {\n+    y = 2 * x\n+}\n"
    )
    assert main(["fmt", "--diff", "a.te", "b.te"]) == 0
    assert capsys.readouterr().out == changes
    assert main(["fmt", "--diff", "--check", "a.te", "b.te"]) == 1
    assert capsys.readouterr().out == changes
    assert path.read_text() == MESSY


# ---------------------------------------------------------------- stdin


def test_stdin_goes_to_stdout(stdin: io.BytesIO, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    for options, code, out in [
        ([], 0, TIDY.encode()),
        (["--check"], 1, b"<stdin>\n"),
        (["--diff"], 0, b"--- <stdin>\n+++ <stdin> (formatted)\n@@"),
    ]:
        stdin.seek(0)
        stdin.truncate()
        stdin.write(MESSY.encode() + b"\n")
        stdin.seek(0)
        assert main(["fmt", "-", *options]) == code
        assert capsysbinary.readouterr().out.startswith(out)


def test_a_broken_stdin(stdin: io.BytesIO, capsys: pytest.CaptureFixture[str]) -> None:
    stdin.write(BROKEN.encode())
    stdin.seek(0)
    assert main(["fmt", "-"]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert " --> <stdin>:2:" in captured.err


def test_stdin_stands_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fmt", "-", "a.te"]) == 2
    assert capsys.readouterr().err == "te: error: `-` is stdin, and stands alone\n"
