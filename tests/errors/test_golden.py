"""Every diagnostic has a program here that provokes it, and the whole message beside it.

`CODE.te` or `CODE--VARIANT.te` is checked as `te check` does it: parsed, elaborated, its schedules
applied. `CODE.txt` holds the messages as a user sees them. Comments at the top of a file add what
the text alone cannot say:

    # build: sizes M=4 consts stride=2 dtypes T=f32     options of the build; `knobs W=8` builds with them
    # schedule: vectorize i by 8                        built with this schedule, to machine code
    # schedule: none
    # target: llvm.avx2                                 ... for this target
    # repeat: 1000                                      all other lines, so many times
"""

from __future__ import annotations

import ast
import os
import re
from pathlib import Path
from typing import Any

import pytest

from te.build import build
from te.diagnostics import CompileError, Diagnostic, Source, render
from te.grammar.parser import parse_file
from te.module import Module, check_source, read_source

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
CASES = sorted(p for p in HERE.glob("*.te") if not p.name.startswith("_"))  # `_x.te` is for others to `use`


def code_of(path: Path) -> str:
    return path.stem.split("--")[0]


def header(text: str, word: str) -> list[str]:
    """What follows `# word:` in the comments at the top."""
    lines = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        if line.startswith(f"# {word}:"):
            lines.append(line.partition(":")[2].strip())
    return lines


def options_of(text: str) -> dict[str, dict[str, Any]]:
    options: dict[str, dict[str, Any]] = {"sizes": {}, "consts": {}, "dtypes": {}, "knobs": {}}
    kind = "sizes"
    for word in " ".join(header(text, "build")).split():
        if word in options:
            kind = word
        else:
            name, _, value = word.partition("=")
            options[kind][name] = value if kind == "dtypes" else ast.literal_eval(value)
    return options


def diagnostics_of(path: Path) -> list[Diagnostic]:
    try:
        source = read_source(path, path.name)
        for times in header(source.text, "repeat"):
            lines = [line for line in source.text.splitlines(keepends=True) if "# repeat:" not in line]
            source = Source(source.name, "".join(lines) * int(times))
        options = options_of(source.text)
        schedule = header(source.text, "schedule")
        knobs = options.pop("knobs")
        if not schedule and not knobs:
            return check_source(source, **options)
        if knobs:
            build(Module(parse_file(source)), knobs=knobs, **options)
            return []
        target = header(source.text, "target") or ["llvm"]
        build(Module(parse_file(source)), "\n".join(schedule), target[0], **options)
    except CompileError as wrong:
        return list(wrong.diagnostics)
    return []


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_message(path: Path, golden: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(HERE)  # what a case uses lies beside it
    found = diagnostics_of(path)
    codes = [d.code for d in found]
    assert code_of(path) in codes, f"this program gives {codes or 'no diagnostic'}"
    golden(path.with_suffix(".txt"), "\n\n".join(render(d) for d in found))


# ---------------------------------------------------------------- no diagnostic without a case


def diagnostics_in(path: Path) -> list[tuple[int, str | None]]:
    """The line and the code of each call of `error` and `warning`; None for a code that is no literal."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id in ("error", "warning")
        ):
            first = node.args[0] if node.args else None
            is_literal = isinstance(first, ast.Constant) and isinstance(first.value, str)
            found.append((node.lineno, first.value if is_literal else None))
    return found


def all_diagnostics() -> dict[str, list[tuple[int, str | None]]]:
    files: dict[str, list[tuple[int, str | None]]] = {}
    for folder, _, names in os.walk(ROOT / "te", followlinks=True):
        for name in names:
            path = Path(folder) / name
            if name.endswith(".py"):
                files[str(path.relative_to(ROOT))] = diagnostics_in(path)
    return files


def test_codes_are_words_written_as_literals() -> None:
    wrong = [
        f"{file}:{line}: {code or 'no literal'}"
        for file, found in all_diagnostics().items()
        for line, code in found
        if code is None or not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", code)
    ]
    assert not wrong, "\n".join(wrong)


def test_every_diagnostic_has_a_case() -> None:
    covered = {code_of(path) for path in CASES}
    missing = sorted(
        f"{code} ({file}:{line})"
        for file, found in all_diagnostics().items()
        for line, code in found
        if code is not None and code not in covered
    )
    assert not missing, "no tests/errors/CODE.te for:\n" + "\n".join(missing)


def test_every_case_is_of_a_diagnostic() -> None:
    known = {code for found in all_diagnostics().values() for _, code in found}
    assert [path.name for path in CASES if code_of(path) not in known] == []


def test_every_expected_text_has_its_case() -> None:
    assert [path.name for path in HERE.glob("*.txt") if not path.with_suffix(".te").exists()] == []
