"""Which files a command means: those that are named, and the `.te` files in the folders that are."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from te.cli.failures import Usage


def te_files(given: Iterable[str]) -> list[str]:
    """Every file once, in the order given, those of a folder by name; hidden ones are left out.

    Raises Usage for a folder that has none.
    """
    files: list[str] = []
    for name in given:
        folder = Path(name)
        if not folder.is_dir():
            files.append(name)
            continue
        inside = [path for path in sorted(folder.rglob("*.te")) if path.is_file()]
        shown = [str(path) for path in inside if not _is_hidden(path.relative_to(folder))]
        if not shown:
            raise Usage(f"{name}: there is no .te file in this folder")
        files += shown
    return list(dict.fromkeys(files))


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)
