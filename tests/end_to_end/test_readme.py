"""README is true: its programs run, and its message is what `te check` prints."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    named = re.findall(r"`(\w+\.te)`:\n\n```te\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
    assert named
    for name, text in named:
        (tmp_path / name).write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_python_blocks_run_in_order(folder, capsys):
    blocks = [text for language, text in BLOCKS if language == "python"]
    assert len(blocks) >= 3
    namespace: dict[str, object] = {}
    for block in blocks:
        exec(block, namespace)
    printed = capsys.readouterr().out
    for shown in re.findall(r"print\(.*\)\s+# (\S.*)$", "\n".join(blocks), re.MULTILINE):
        if shown.startswith(("[", "relu(")):  # other comments are words
            assert shown in printed


def test_the_message_is_what_te_check_prints(folder):
    mistake = next(text for language, text in BLOCKS if language == "te" and "op blur" in text)
    (folder / "blur.te").write_text(mistake, encoding="utf-8")
    shown = next(text for _, text in BLOCKS if text.startswith("$ te check blur.te\n"))
    run = subprocess.run(
        [sys.executable, "-m", "te", "check", "blur.te"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert run.returncode == 1
    expected = [line.rstrip() for line in shown.splitlines()[1:]]
    assert [line.rstrip() for line in (run.stdout + run.stderr).splitlines()][: len(expected)] == expected
