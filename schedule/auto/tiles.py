"""What all rules have in common whose stages are computed in tiles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from te.ir.expr import Cast, Const, Expr, Load, Select, Var
from te.ir.tensor import Axis, Program, Stage
from te.ir.visit import loads, walk
from te.schedule.directives import Fuse
from te.schedule.forms import Directive
from te.schedule.nest import loop_name
from te.schedule.placement import readers_of


@dataclass(frozen=True, slots=True)
class Plan:
    """Lines that belong together, and the stages that they schedule."""

    lines: tuple[Directive, ...]
    stages: tuple[str, ...]


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


def size_of(axis: Axis) -> int | None:
    """How many values an axis takes; None where the call decides it."""
    return int(axis.extent.value) if isinstance(axis.extent, Const) else None


def even_part(extent: int, most: int) -> int:
    """Parts of at most `most`, no more of them than needed, and as even as can be.

    >>> even_part(56, 28), even_part(30, 14), even_part(7, 14)
    (28, 10, 7)
    """
    parts = max(1, -(-extent // most))
    return max(1, -(-extent // parts))


def plain(e: Expr) -> Expr:
    """What a value is before it is cast."""
    while isinstance(e, Cast):
        e = e.value
    return e


def is_affine(e: Expr) -> bool:
    """Sums of multiples of indices, and the number of a group: `k // 8 * 4 + c`."""
    return not any(isinstance(node, Load | Select | Cast) for node in walk(e))
