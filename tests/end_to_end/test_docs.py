"""The pages are true: their programs run, and what they show is what comes out.

CONTRIBUTING.md ("Writing documentation") says which blocks of a page do what. `pytest --update-golden`
writes into a page what its blocks print now.
"""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import traceback
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from shutil import which

import pytest

from te.backends.llvm.threads import num_threads, set_num_threads
from te.cli import main
from te.cli.help import reference

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [
    ROOT / "README.md",
    DOCS / "coming-from-tvm-and-halide.md",
    DOCS / "cuda.md",
    DOCS / "targets.md",
    DOCS / "watching.md",
    *([DOCS / "emulator.md"] if which("g++") else []),
    *sorted(DOCS.glob("tutorial/*.md")),
    *sorted(DOCS.glob("examples/*.md")),
]
LINKING = [ROOT / "CONTRIBUTING.md", ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
NAME = re.compile(r"(?:<!-- ([\w.]+) -->|`([\w.]+)`:)\Z")
NOT_RUN = "<!-- not run -->"
ANYTHING = "..."  # a line of a shown output that stands for any number of lines


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, where the text is in the page, and what stands above it."""

    language: str
    text: str
    start: int
    above: str

    @property
    def file(self) -> str | None:
        """The name of the file that the block is, if the page gives one."""
        named = NAME.search(self.above)
        return (named[1] or named[2]) if named else None


def blocks_of(page: str) -> list[Block]:
    return [Block(m[1], m[2], m.start(2), page[: m.start()].rstrip()) for m in FENCE.finditer(page)]


def run_page(page: str, name: str) -> str:
    """The page with what its blocks print in place of what it shows. Runs in the current folder."""
    blocks = blocks_of(page)
    namespace: dict[str, object] = {"__name__": "__main__"}
    found: list[tuple[int, str, str]] = []  # where a shown output starts, the output, what came out
    for block, following in zip(blocks, [*blocks[1:], None], strict=True):
        line = page.count("\n", 0, block.start)
        match block.language:
            case _ if block.above.endswith(NOT_RUN):
                pass
            case "te" if block.file:
                Path(block.file).write_text(block.text, encoding="utf-8")
            case "te":
                Path("block.te").write_text(block.text, encoding="utf-8")
                printed, code = run_command(["check", "block.te"])
                assert code == 0, f"{name}:{line}:\n{printed}"
            case "python" if "import torch" in block.text and find_spec("torch") is None:
                pass
            case "python":
                printed, failed = run_python(block.text, namespace, name, line)
                if following and following.language == "text":
                    found.append((following.start, following.text, printed))
                else:
                    assert not failed, f"{name}:{line}: the block fails, and no ```text says how\n{printed}"
            case "console":
                found.append((block.start, block.text, run_console(block.text)))
    for start, shown, printed in reversed(found):
        printed = printed.rstrip() + "\n" if printed.strip() else ""
        if not agrees(shown, printed):
            page = page[:start] + printed + page[start + len(shown) :]
    return page


def run_python(code: str, namespace: dict[str, object], name: str, line: int) -> tuple[str, bool]:
    """What a block prints, and, if it raises, the last lines of the traceback."""
    printed = io.StringIO()
    failed = False
    with contextlib.redirect_stdout(printed):
        try:
            exec(compile("\n" * line + code, name, "exec"), namespace)
        except Exception as wrong:
            failed = True
            print("".join(traceback.format_exception_only(wrong)).rstrip("\n"))
    return printed.getvalue(), failed


def run_console(shown: str) -> str:
    """The commands of a block, `$ te ...`, each with what it prints."""
    result = ""
    for line in shown.splitlines():
        if line.startswith("$ "):
            command, *arguments = shlex.split(line[2:])
            assert command == "te", f"a page runs only `te`: {line}"
            result += line + "\n" + run_command(arguments)[0]
    return result


def run_command(arguments: list[str]) -> tuple[str, int]:
    """What a command prints, and its exit code."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        code = main(arguments)
    return printed.getvalue(), code


def agrees(shown: str, printed: str) -> bool:
    """Whether an output is as shown, with `...` for any lines. Blanks at the ends of lines do not count."""
    want = [line.rstrip() for line in shown.rstrip().split("\n")]
    have = [line.rstrip() for line in printed.rstrip().split("\n")]
    return lines_agree(want, have)


def lines_agree(want: list[str], have: list[str]) -> bool:
    if not want:
        return not have
    if want[0].strip() == ANYTHING:
        return any(lines_agree(want[1:], have[skipped:]) for skipped in range(len(have) + 1))
    return bool(have) and want[0] == have[0] and lines_agree(want[1:], have[1:])


@pytest.fixture
def same_threads():
    """A page may set the number of threads."""
    before = num_threads()
    yield
    set_num_threads(before)


@pytest.mark.usefixtures("same_threads")
@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_page(path, tmp_path, monkeypatch, golden):
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    golden(path, run_page(path.read_text(encoding="utf-8"), path.name))


def test_the_reference_of_directives_is_what_is_generated(golden):
    golden(DOCS / "schedule.md", reference())


@pytest.mark.parametrize("path", LINKING, ids=lambda path: path.stem)
def test_links_lead_somewhere(path):
    text = re.sub(r"`[^`]*`", "", FENCE.sub("", path.read_text(encoding="utf-8")))
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text)
    assert [link for link in links if not (path.parent / link).exists()] == []


def test_every_page_is_in_the_index():
    index = (DOCS / "README.md").read_text(encoding="utf-8")
    pages = [p.relative_to(DOCS).as_posix() for p in DOCS.rglob("*.md") if p != DOCS / "README.md"]
    assert [page for page in sorted(pages) if f"({page})" not in index] == []
