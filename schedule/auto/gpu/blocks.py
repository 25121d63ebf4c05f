"""What all tiles have in common: whose loops their threads are, and how their elements leave the registers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from te.ir.expr import Load
from te.ir.tensor import Stage
from te.schedule.directives import Bind, CacheWrite, ComputeAt, SetScope
from te.schedule.forms import Directive, Scope, TensorAxes
from te.schedule.nest import loop_name


@dataclass(frozen=True, slots=True)
class Kept:
    """Where a tile in registers ends: nests that compute from it, whose loops are called as axes behind `prefix`."""

    lines: tuple[Directive, ...]
    nests: tuple[str, ...]
    prefix: str


def kept_in_registers(stage: Stage, at: str, readers: Sequence[Stage]) -> Kept:
    """What keeps in registers what a trip of the loop `at` computes: up to its last reader, or to a copy of its own."""
    if readers:
        names = tuple(reader.name for reader in readers)
        in_registers = [SetScope(name, Scope.REGISTER) for name in (stage.name, *names[:-1])]
        return Kept((ComputeAt(names, at), *in_registers), names, "")
    copy, prefix = f"{stage.name}_tile", "to_"
    axes = TensorAxes(stage.name, tuple(f"{prefix}{axis.name}" for axis in stage.axes))
    return Kept((CacheWrite(axes, at, as_=copy, in_=Scope.REGISTER),), (copy,), prefix)


def on_threads(nest: str, binds: Mapping[str, str]) -> list[Directive]:
    """Lines that bind loops of a nest."""
    return [Bind(loop_name(nest, loop), level) for loop, level in binds.items()]


def names_of(load: Load) -> tuple[str, ...]:
    """What the axes of a copy of a tensor are called."""
    return tuple(f"of_{position}" for position in range(len(load.index)))
