"""Which pointwise stages are better computed where they are read."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from te.ir.expr import Load
from te.ir.tensor import Program, Stage
from te.ir.visit import variables
from te.schedule.auto.cost import cost
from te.schedule.nest import all_axes
from te.schedule.placement import inline_obstacle, inlined, node_count, readers_of, reads_of

CHEAP = 6  # cost of a stage that may be computed again at every read
INLINED_NODES = 400  # no stage grows beyond this by inlining


def stages_to_inline(program: Program, kept: Collection[str] = ()) -> list[str]:
    """Pointwise stages that are better computed where they are read, in order; none of those `kept`."""
    stages = {stage.name: stage for stage in program.stages}
    chosen: list[str] = []
    for name in [stage.name for stage in program.stages]:
        current = _with_stages(program, stages)
        stage = stages[name]
        if name in kept or inline_obstacle(current, stage) or not _is_worth_inlining(current, stage):
            continue
        for reader in readers_of(current, name):
            stages[reader.name] = inlined(reader, stage)
        del stages[name]
        chosen.append(name)
    return chosen


def _with_stages(program: Program, stages: dict[str, Stage]) -> Program:
    return replace(program, stages=tuple(stages.values()))


def _is_worth_inlining(program: Program, stage: Stage) -> bool:
    readers = readers_of(program, stage.name)
    if any(node_count(reader) + node_count(stage) > INLINED_NODES for reader in readers):
        return False
    if cost(stage.value) <= CHEAP:
        return True
    reads = [(reader, load) for reader in readers for load in reads_of(reader) if load.buffer == stage.name]
    return len(reads) == 1 and _reads_each_once(*reads[0])


def _reads_each_once(reader: Stage, load: Load) -> bool:
    """Whether every loop around a read moves it to another element."""
    moving = {name for i in load.index for name in variables(i)}
    return all(axis.name in moving for axis in all_axes(reader))
