"""Lines that a rule proposes, added to a schedule if the rewrites allow them."""

from __future__ import annotations

from collections.abc import Sequence

from te.diagnostics import ScheduleError
from te.schedule.forms import Directive
from te.schedule.schedule import Schedule


def add_if_legal(schedule: Schedule, lines: Sequence[Directive]) -> bool:
    """Add lines to a schedule, all or none; whether they are legal."""
    before = len(schedule.directives)
    try:
        for line in lines:
            schedule.add(line)
    except ScheduleError:
        schedule.undo(len(schedule.directives) - before)
        return False
    return True
