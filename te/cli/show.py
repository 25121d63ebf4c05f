"""`te show`: an op at a level of the compiler; `te schedule`: its schedule."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from te.backends.cuda.unavailable import CudaUnavailable
from te.build import build
from te.cli.failures import Usage
from te.module import load
from te.runtime.generic import GenericKernel
from te.runtime.kernel import Kernel


def show(file: str, op: str | None, level: str, **options: Any) -> int:
    kernel = built(file, op, options)
    with _complaining():
        print(kernel.ir(level), end="")
    return 0


def show_resources(file: str, op: str | None, **options: Any) -> int:
    """Print what each launch of an op takes of a GPU, a line each."""
    kernel = built(file, op, options)
    with _complaining():
        print("\n".join(map(str, kernel.resources())))
    return 0


@contextmanager
def _complaining() -> Iterator[None]:
    """A level that a target does not have, or for which something of NVIDIA's is missing, is no bug."""
    try:
        yield
    except (ValueError, CudaUnavailable) as wrong:
        raise Usage(str(wrong)) from None


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
