"""`te check`: everything that is wrong with files, all at once."""

from __future__ import annotations

import json
from collections.abc import Sequence

from te.cli.files import te_files
from te.cli.output import as_json, show_diagnostics
from te.diagnostics import CompileError, Diagnostic
from te.module import check_source, read_source


def check(files: Sequence[str], is_json: bool, *, has_races: bool = False) -> int:
    """Report the diagnostics of all files, and of the `.te` files in folders.

    With `has_races`, files without mistakes are then run in the emulator. Raises OSError for one that cannot be read.
    """
    named = te_files(files)
    found = [(file, diagnostic) for file in named for diagnostic in diagnostics_of(file)]
    if has_races and not _has_errors(found):
        from te.cli.races import races_of

        found += [(file, diagnostic) for file in named for diagnostic in races_of(file, is_told=not is_json)]
    if is_json:
        print(json.dumps([as_json(diagnostic, file) for file, diagnostic in found], indent=2))
    elif found:
        show_diagnostics([diagnostic for _, diagnostic in found])
    return 1 if _has_errors(found) else 0


def _has_errors(found: Sequence[tuple[str, Diagnostic]]) -> bool:
    return any(diagnostic.severity == "error" for _, diagnostic in found)


def diagnostics_of(file: str) -> list[Diagnostic]:
    """What is wrong with one file, whatever a build will give it."""
    try:
        found = check_source(read_source(file))
    except CompileError as wrong:
        return list(wrong.diagnostics)
    # A `const` without a default is for the build to give; the file is not wrong.
    return [diagnostic for diagnostic in found if diagnostic.code != "const-missing"]
