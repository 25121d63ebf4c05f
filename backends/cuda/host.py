"""The host's part of a program, for sizes that are known: its launches in order, as numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from te.backends.cuda.launches import LIMITS, Host, HostFor, HostIf, HostLet, HostSeq, Launch, Program
from te.ir.evaluate import evaluate

__all__ = ["ALIGNMENT", "ReadyLaunch", "ready_launches", "workspace_offsets"]

ALIGNMENT = 256  # bytes: of each buffer in the workspace


@dataclass(frozen=True, slots=True)
class ReadyLaunch:
    """A launch with its grid, cut to the device's limits, and the values of its scalars."""

    launch: Launch
    grid: tuple[int, int, int]
    scalars: tuple[int, ...]


def ready_launches(program: Program, sizes: Mapping[str, int]) -> tuple[ReadyLaunch, ...]:
    """What the host launches for these sizes; what would have an empty grid is left out."""
    return tuple(_launches(program.host, dict(sizes)))


def workspace_offsets(program: Program, sizes: Mapping[str, int]) -> tuple[dict[str, int], int]:
    """Where each buffer of the workspace begins in one piece of memory, and how long that must be."""
    offsets: dict[str, int] = {}
    end = 0
    for part in program.workspace:
        offsets[part.name] = end
        end += -(-int(evaluate(part.bytes, sizes)) // ALIGNMENT) * ALIGNMENT
    return offsets, end


def _launches(host: Host, values: dict[str, int]) -> Iterator[ReadyLaunch]:
    match host:
        case Launch():
            grid = [int(evaluate(extent, values)) for extent in host.grid]
            if min(grid) > 0:
                x, y, z = (min(extent, limit) for extent, limit in zip(grid, LIMITS, strict=True))
                yield ReadyLaunch(host, (x, y, z), tuple([values[name] for name in host.scalars]))
        case HostSeq(items):
            for item in items:
                yield from _launches(item, values)
        case HostFor(var, extent, body):
            for value in range(int(evaluate(extent, values))):
                yield from _launches(body, {**values, var: value})
        case HostLet(var, value, body):
            yield from _launches(body, {**values, var: int(evaluate(value, values))})
        case HostIf(condition, body, otherwise):
            if evaluate(condition, values):
                yield from _launches(body, values)
            elif otherwise is not None:
                yield from _launches(otherwise, values)
