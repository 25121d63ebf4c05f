"""What all rules have in common whose stages are computed in tiles."""

from __future__ import annotations

from collections.abc import Sequence

from te.ir.expr import Var
from te.ir.tensor import Program, Stage
from te.ir.visit import loads
from te.schedule.directives import Fuse
from te.schedule.forms import Directive
from te.schedule.nest import loop_name
from te.schedule.placement import readers_of


def fused(stage: Stage, loops: Sequence[str], lines: list[Directive]) -> str:
    """One loop of nested ones, whose trips are shared among threads evenly; its name. Adds the lines."""
    outer = loops[0]
    for n, inner in enumerate(loops[1:]):
        name = "tile" if n == len(loops) - 2 else f"tile{n}"
        lines.append(Fuse((outer, inner), name))
        outer = loop_name(stage.name, name)
    return outer


def pointwise_readers(stage: Stage, program: Program) -> list[Stage]:
    """The stages, in a row, that read a stage alone or each other, at their own index."""
    found: list[Stage] = []
    name = stage.name
    while name not in program.outputs:
        readers = readers_of(program, name)
        if len(readers) != 1 or readers[0].reduction is not None:
            break
        (reader,) = readers
        index = tuple(Var(axis.name) for axis in reader.axes)
        reads = [load for load in loads(reader.value) if load.buffer == name]
        if any(load.index != index for load in reads) or [a.name for a in reader.axes] != [
            a.name for a in stage.axes
        ]:
            break
        found.append(reader)
        name = reader.name
    return found
