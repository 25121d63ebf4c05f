"""`te check`: everything that is wrong with files, all at once."""

from __future__ import annotations

import json
from collections.abc import Sequence

from te.cli.files import te_files
from te.cli.output import as_json, show_diagnostics
from te.diagnostics import CompileError, Diagnostic
from te.module import check_source, read_source


def check(files: Sequence[str], is_json: bool) -> int:
    """Report the diagnostics of all files, and of the `.te` files in folders.

    Raises OSError for one that cannot be read.
    """
    found = [(file, diagnostic) for file in te_files(files) for diagnostic in diagnostics_of(file)]
    if is_json:
        print(json.dumps([as_json(diagnostic, file) for file, diagnostic in found], indent=2))
    elif found:
        show_diagnostics([diagnostic for _, diagnostic in found])
    return 1 if any(diagnostic.severity == "error" for _, diagnostic in found) else 0


def diagnostics_of(file: str) -> list[Diagnostic]:
    """What is wrong with one file, whatever a build will give it."""
    try:
        found = check_source(read_source(file))
    except CompileError as wrong:
        return list(wrong.diagnostics)
    # A `const` without a default is for the build to give; the file is not wrong.
    return [diagnostic for diagnostic in found if diagnostic.code != "const-missing"]
