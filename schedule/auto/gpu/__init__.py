"""The automatic schedule on GPUs without tensor cores: a few rules, whose result is an ordinary schedule.

1. Inline pointwise stages, as on CPUs (`te.schedule.auto.inlining`).
2. Contractions (`tiles.py`): tiles in shared memory, and in the registers of threads.
3. Any other stage (`points.py`): its elements on blocks and threads, 16 bytes a thread where neighbours in memory
   are read and written; where those depend on each other, a loop that is independent.

A line that the rewrites refuse is left out. Sizes may be symbolic: the emitted code asks what it needs.
"""

from __future__ import annotations

from collections.abc import Iterator

from te.ir.expr import TRUE
from te.ir.tensor import Program, Stage
from te.schedule.auto.adding import add_if_legal
from te.schedule.auto.gpu.points import lines_for_points
from te.schedule.auto.gpu.tiles import lines_for_tiles
from te.schedule.auto.inlining import stages_to_inline
from te.schedule.directives import Inline
from te.schedule.forms import Directive
from te.schedule.schedule import ChosenCase, Schedule
from te.target import Target

KINDS = (lines_for_tiles, lines_for_points)  # tried in this order


def gpu_cases(program: Program, target: Target) -> list[ChosenCase]:
    """The cases of the automatic schedule for a GPU: one, for all sizes."""
    schedule = Schedule(program, target.schedule_name)
    inline = stages_to_inline(program)
    if inline:
        add_if_legal(schedule, [Inline(tuple(inline))])
    for stage in schedule.steps()[-1].kernel.program.stages:
        _scheduled_by_kind(schedule, stage, target)
    return [ChosenCase(schedule, TRUE)]


def _scheduled_by_kind(schedule: Schedule, stage: Stage, target: Target) -> bool:
    """Schedule a stage by the first rule for its kind whose lines are legal."""
    program = schedule.steps()[-1].kernel.program
    return any(add_if_legal(schedule, lines) for lines in _plans(stage, program, target))


def _plans(stage: Stage, program: Program, target: Target) -> Iterator[list[Directive]]:
    for rule in KINDS:
        yield from rule(stage, program, target)
