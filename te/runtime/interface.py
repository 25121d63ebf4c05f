"""What a call needs to know of a compiled op: plain data, made by the compiler or read from the cache."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from te.backends.base import Entry
from te.ir.expr import Expr
from te.ir.tensor import Check, Program, Requirement, Table, Tensor

if TYPE_CHECKING:
    from te.ir.accesses import Access

__all__ = ["Interface", "Prepared", "Way"]


@dataclass(frozen=True, slots=True)
class Prepared:
    """Code that runs once where `params` are bound, and the tensors that calls take over from it.

    It takes the inputs, the tables and then those tensors. `sizes` are those that it depends on. `digest` tells
    apart what is computed, across processes; it is empty where calls use that as indices.
    """

    entry: Entry
    params: tuple[str, ...]
    sizes: tuple[str, ...]
    kept: tuple[Tensor, ...]
    digest: str


@dataclass(frozen=True, slots=True)
class Way:
    """One way to compute the op, for the sizes for which `condition` holds."""

    condition: Expr
    schedule: str  # as `.te` text
    size_limit: int  # no index arithmetic overflows for sizes up to this one
    entry: Entry  # of the code
    accesses: tuple[Access, ...] | None = None  # those that a debug build checks
    prepared: tuple[Prepared, ...] = ()  # what the code takes over, in the order of its last arguments


@dataclass(frozen=True, slots=True)
class Interface:
    """An op from outside: a `Program` without its stages, and how its code is entered.

    `written` has the dimensions of a tensor in the words of the source, where these say it better
    than its shape does: a fixed size keeps its name in messages. The last of the `ways` serves all
    sizes.
    """

    name: str
    doc: str
    sizes: tuple[str, ...]
    inputs: tuple[Tensor, ...]
    results: tuple[Tensor, ...]
    requirements: tuple[Requirement, ...]
    tables: tuple[Table, ...]
    checks: tuple[Check, ...]
    written: Mapping[str, Sequence[str]]
    ways: tuple[Way, ...]


def interface(program: Program, written: Mapping[str, Sequence[str]], ways: Sequence[Way]) -> Interface:
    return Interface(
        name=program.name,
        doc=program.doc,
        sizes=program.sizes,
        inputs=program.inputs,
        results=tuple(program.tensor(name) for name in program.results),
        requirements=program.requirements,
        tables=program.tables,
        checks=program.checks,
        written=written,
        ways=tuple(ways),
    )
