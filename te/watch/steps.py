"""The steps of a schedule as text: the plain nest whole, then what each line changed."""

from __future__ import annotations

from collections.abc import Iterator

from te.diagnostics import printable
from te.ir.print import print_kernel
from te.watch.diff import ADDED, REMOVED, SAME, SKIPPED, Line, compare, hunks
from te.watch.history import History

__all__ = ["print_steps"]

COLORS = {ADDED: "32", REMOVED: "31", SAME: "", SKIPPED: "2"}
BOLD = "1"


def print_steps(history: History, *, color: bool = False) -> Iterator[str]:
    """The lines to print. The refusal, if there is one, is the caller's to report."""
    yield _painted(f"# {printable(history.heading)}", BOLD, color)
    if history.others:
        others = "is one more schedule" if history.others == 1 else f"are {history.others} more schedules"
        yield f"# for other sizes there {others}"
    before = print_kernel(history.steps[0].kernel).splitlines()
    yield from map(printable, before)
    for step in history.steps[1:]:
        after = print_kernel(step.kernel).splitlines()
        yield ""
        yield _painted(f"# {step.directive}", BOLD, color)
        changes = compare(before, after)
        if before == after:
            yield "  (changes nothing)"
        for line in hunks(changes) if before != after else ():
            yield _shown(line, color)
        before = after
    if history.refused:
        yield ""
        yield _painted(f"# {history.refused}  (refused)", BOLD, color)


def _shown(line: Line, color: bool) -> str:
    text = "  ..." if line.mark == SKIPPED else f"{line.mark} {printable(line.text)}"
    return _painted(text, COLORS[line.mark], color)


def _painted(text: str, code: str, color: bool) -> str:
    return f"\x1b[{code}m{text}\x1b[0m" if color and code else text
