"""`te show --step` and `te show --html`: a schedule at work."""

from __future__ import annotations

import sys
from pathlib import Path

from te.build import read_schedule_argument
from te.cli.failures import Usage
from te.cli.options import Watched
from te.cli.output import has_color, show_diagnostics
from te.diagnostics import did_you_mean
from te.module import load
from te.pipeline import parse_schedule
from te.target import parse_target
from te.watch.history import History, history
from te.watch.page import page
from te.watch.steps import print_steps


def show_steps(watched: Watched) -> int:
    """Print the loops after each line. Gives 1 if a line is refused, whose diagnostic goes to stderr."""
    found = read_history(watched)
    for line in print_steps(found, color=has_color(sys.stdout)):
        print(line)
    return report(found)


def write_page(watched: Watched, path: str) -> int:
    """Write the page. Gives 1 if a line is refused; the page then shows the lines before it, and why."""
    found = read_history(watched)
    Path(path).write_text(page(found), encoding="utf-8")
    return report(found)


def report(found: History) -> int:
    if found.refusal is None:
        return 0
    sys.stdout.flush()
    show_diagnostics(found.refusal.diagnostics)
    return 1


def read_history(watched: Watched) -> History:
    """What a build's schedule does. Raises Usage for what the op does not have."""
    try:
        op = load(watched.file).only(watched.op)
        build = watched.build
        options = op.options(build["sizes"], build["consts"], build["dtypes"])
        given = parse_schedule(read_schedule_argument(build["schedule"]))
        target = parse_target(build["target"])
        found = history(op, options, given, target, knobs=build["knobs"], sizes=watched.sizes)
    except (ValueError, TypeError) as wrong:
        if hasattr(wrong, "__notes__"):  # a bug, which te.pipeline has noted
            raise
        raise Usage(str(wrong)) from None
    names = [*found.program.sizes, *dict(found.program.fixed)]
    for name in watched.sizes:
        if name not in names:
            hint = did_you_mean(name, names)
            there_are = f"its sizes are {', '.join(names)}" if names else "it has none"
            raise Usage(f"{op.name} has no size `{name}`; {there_are}" + (f" ({hint})" if hint else ""))
    return found
