"""What the host does for sizes that are known: the launches of a program, with numbers, in order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod

from te.backends.cuda.launches import LIMITS, Host, HostFor, HostIf, HostLet, HostSeq, Launch, Program
from te.ir.evaluate import evaluate
from te.ir.expr import Expr

__all__ = ["SizedLaunch", "byte_count", "sized_launches"]

Grid = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class SizedLaunch:
    """A launch with its grid, no larger than a device allows, and the values of its scalars."""

    launch: Launch
    grid: Grid
    scalars: tuple[int, ...]


def sized_launches(program: Program, sizes: Sequence[int]) -> Iterator[SizedLaunch]:
    """The launches of a call with these values of the program's sizes. One without blocks is left out."""
    return _launches(program.host, dict(zip(program.sizes, sizes, strict=True)))


def byte_count(shape: Sequence[Expr], item: int, sizes: Mapping[str, int]) -> int:
    """The bytes of an array whose elements have `item`."""
    return prod(max(0, int(evaluate(extent, sizes))) for extent in shape) * item


def _launches(host: Host, values: Mapping[str, int]) -> Iterator[SizedLaunch]:
    match host:
        case Launch():
            x, y, z = (min(_value(e, values), most) for e, most in zip(host.grid, LIMITS, strict=True))
            x -= x % host.cluster
            if min(x, y, z) > 0:
                yield SizedLaunch(host, (x, y, z), tuple(values[name] for name in host.scalars))
        case HostSeq(items):
            for item in items:
                yield from _launches(item, values)
        case HostFor(var, extent, body):
            for trip in range(_value(extent, values)):
                yield from _launches(body, {**values, var: trip})
        case HostIf(condition, body, otherwise):
            if _value(condition, values):
                yield from _launches(body, values)
            elif otherwise is not None:
                yield from _launches(otherwise, values)
        case HostLet(var, value, body):
            yield from _launches(body, {**values, var: _value(value, values)})


def _value(e: Expr, values: Mapping[str, int]) -> int:
    return int(evaluate(e, values))
