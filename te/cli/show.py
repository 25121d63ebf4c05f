"""`te show`: an op at a level of the compiler; `te schedule`: its schedule."""

from __future__ import annotations

from typing import Any

from te.build import build
from te.cli.failures import Usage
from te.module import load
from te.runtime.generic import GenericKernel
from te.runtime.kernel import Kernel


def show(file: str, op: str | None, level: str, **options: Any) -> int:
    print(built(file, op, options).ir(level), end="")
    return 0


def show_schedule(file: str, op: str | None, **options: Any) -> int:
    """Print the schedule that a build takes: text to edit, and to write into the file."""
    print(built(file, op, options).schedule)
    return 0


def built(file: str, op: str | None, options: dict[str, Any]) -> Kernel | GenericKernel:
    """The op of that name in a file, or its only one, compiled.

    Raises Usage for an op, a size, a `const` or a target that there is not.
    """
    try:
        return build(load(file), op=op, **options)
    except (ValueError, TypeError) as wrong:
        if hasattr(wrong, "__notes__"):  # a bug, which te.build has noted
            raise
        raise Usage(str(wrong)) from None
