"""What must hold of the project as a whole: packaging, links, the direction of imports, `import te`."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))

# The folders beside te/ that are imported as te.NAME.
LINKED = ("backends", "grammar", "schedule")

# A module may import from its own layer and from those above it in this list.
LAYERS = (
    "te.diagnostics",
    "te.ir",
    "te.grammar",
    "te.elaborate",
    "te.gpus",
    "te.target",
    "te.schedule",
    "te.backends",
    "te.runtime",
    "te.sources",
    "te.collector",
    "te.module",
    "te.std",
    "te.pipeline",
    "te.build",
    "te.watch",
    "te.cli",
)


# ---------------------------------------------------------------- packaging


def folders_with_modules() -> Iterator[str]:
    for folder, _, files in os.walk(ROOT / "te", followlinks=True):
        if any(file.endswith(".py") for file in files):
            yield ".".join(Path(folder).relative_to(ROOT).parts)


def test_package_list_equals_the_folders() -> None:
    packages = PYPROJECT["tool"]["setuptools"]["packages"]
    assert packages == sorted(packages)
    assert packages == sorted(folders_with_modules())


def test_every_package_has_an_init() -> None:
    packages = PYPROJECT["tool"]["setuptools"]["packages"]
    assert [p for p in packages if not (ROOT / p.replace(".", "/") / "__init__.py").exists()] == []


def test_links_and_package_dir_name_the_same_folders() -> None:
    package_dir = PYPROJECT["tool"]["setuptools"]["package-dir"]
    assert package_dir == {"te": "te"} | {f"te.{name}": name for name in LINKED}
    for name in LINKED:
        assert (ROOT / "te" / name).resolve() == ROOT / name


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a git checkout")
@pytest.mark.parametrize("name", LINKED)
def test_links_are_relative_links_in_git(name: str) -> None:
    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True
        ).stdout

    assert os.readlink(ROOT / "te" / name) == f"../{name}"
    mode, object_id, *_ = git("ls-files", "--stage", f"te/{name}").split()
    assert mode == "120000"
    assert git("cat-file", "blob", object_id) == f"../{name}"


def test_version() -> None:
    import te

    assert te.__version__ == PYPROJECT["project"]["version"]


# ---------------------------------------------------------------- imports


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def modules_of_te() -> dict[str, Path]:
    """Every module under te/, the linked folders among them, by its dotted name."""
    found = {}
    for folder, _, files in os.walk(ROOT / "te", followlinks=True):
        for file in files:
            if file.endswith(".py"):
                path = Path(folder) / file
                found[module_name(path)] = path
    return found


def imports(path: Path, module: str) -> Iterator[tuple[int, str]]:
    """Line and absolute name of everything a file imports, inside functions too.

    `from a import b` gives `a.b`, whether `b` is a module or a name in `a`.
    """
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                anchor = package.rsplit(".", node.level - 1)[0]
                base = f"{anchor}.{base}" if base else anchor
            for alias in node.names:
                yield node.lineno, f"{base}.{alias.name}"


def layer(module: str) -> int | None:
    """The place in LAYERS of a module, or of a name in one; None where it has none."""
    for number, name in enumerate(LAYERS):
        if module == name or module.startswith(name + "."):
            return number
    return None


def is_facade(module: str) -> bool:
    """`te` itself, which loads everything lazily and stands outside the order."""
    return module in {"te", "te.__init__", "te.__main__"}


def test_every_module_has_a_layer() -> None:
    assert [m for m in modules_of_te() if layer(m) is None and not is_facade(m)] == []


def test_imports_run_one_way() -> None:
    wrong = []
    for module, path in modules_of_te().items():
        here = layer(module)
        if here is None:
            continue
        for line, name in imports(path, module):
            if name.partition(".")[0] != "te" or name == "te.__version__":
                continue
            there = layer(name)
            if there is None and module.startswith("te.cli"):
                continue  # the command is a user of `te` like any other
            if there is None or there > here:
                wrong.append(f"{path.relative_to(ROOT)}:{line}: {module} imports {name}")
    assert not wrong, "\n".join(wrong)


def test_nothing_imports_the_folders_by_their_bare_names() -> None:
    """From the root, `import schedule` would load a second copy of `te.schedule`."""
    wrong = []
    folders = ("te", *LINKED, "tests", "examples", "benchmarks", "docs")
    for path in sorted(p for folder in folders for p in (ROOT / folder).rglob("*.py")):
        for line, name in imports(path, module_name(path)):
            if name.partition(".")[0] in LINKED:
                wrong.append(f"{path.relative_to(ROOT)}:{line}: imports {name}")
    assert not wrong, "\n".join(wrong)


IMPORT_AND_REPORT = """
import sys, time
start = time.perf_counter()
import te
print(time.perf_counter() - start)
print(*sorted({"lark", "llvmlite", "ml_dtypes", "numpy"} & set(sys.modules)))
"""


@pytest.mark.skipif(not (ROOT / "te" / "__init__.py").exists(), reason="te/__init__.py is not written yet")
def test_import_te_is_quick_and_loads_nothing_heavy() -> None:
    times = []
    for _ in range(5):
        run = subprocess.run(
            [sys.executable, "-c", IMPORT_AND_REPORT], cwd=ROOT, check=True, capture_output=True, text=True
        )
        seconds, heavy = run.stdout.splitlines()
        assert heavy == ""
        times.append(float(seconds))
    assert min(times) < 0.3
