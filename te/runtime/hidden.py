"""What a kernel's code takes beside inputs and results: its tables, and the places for its checks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from te.ir.checks import failure
from te.ir.expr import Const
from te.ir.tensor import NOWHERE, Table
from te.ir.types import numpy_dtype
from te.runtime.arrays import Array, address
from te.runtime.interface import Interface

__all__ = ["Hidden"]


class Hidden:
    """The hidden arguments of one op. Tables are shared by all calls; checks belong to one call."""

    def __init__(self, interface: Interface):
        self._interface = interface
        self.arrays = [_array(t) for t in interface.tables]  # of the tables
        self._table_addresses = [address(t) for t in self.arrays]
        self.checks = len(interface.checks)  # how many there are
        self._fault_words = _fault_words(interface)
        self.count = self.checks + len(interface.tables) + (1 if self._fault_words else 0)

    @property
    def is_plain(self) -> bool:
        """Whether no accesses are checked, as those of a debug build are."""
        return not self._fault_words

    @property
    def tables(self) -> list[int]:
        """The addresses of the tables."""
        return self._table_addresses

    def places(self) -> Array:
        """Where one call's checks write what they find: one word each, then the fault of a debug build."""
        return np.zeros(self.checks + self._fault_words, np.int64)

    def addresses(self, places: Array) -> list[int]:
        """The arguments' addresses, in the order of `Kernel.arguments`."""
        first = address(places) if len(places) else 0
        checks = [first + 8 * n for n in range(self.checks)]
        fault = [first + 8 * self.checks] if self._fault_words else []
        return checks + self._table_addresses + fault

    def raise_failures(self, places: Array, sizes: Sequence[int], way: int) -> None:
        """Raise IndexError for an access of this way, or for the first check, that found an index outside."""
        found = places.tolist()
        if self._fault_words and found[self.checks]:
            from te.ir.accesses import fault_text

            values = dict(zip(self._interface.sizes, sizes, strict=True))
            accesses = self._interface.ways[way].accesses or ()
            raise IndexError(fault_text(self._interface.name, accesses, found[self.checks :], values))
        for check, position in zip(self._interface.checks, found[: self.checks], strict=True):
            if position != NOWHERE:
                values = dict(zip(self._interface.sizes, sizes, strict=True))
                raise IndexError(failure(self._interface.name, check, position, values))


def _fault_words(interface: Interface) -> int:
    """How many words a fault takes: none, but in a debug build."""
    checked = [way.accesses for way in interface.ways if way.accesses is not None]
    if not checked:
        return 0
    from te.ir.accesses import fault_words

    return max(map(fault_words, checked))


def _array(table: Table) -> Array:
    shape = [int(d.value) for d in table.tensor.shape if isinstance(d, Const)]
    return np.array(table.values, dtype=numpy_dtype(table.tensor.dtype)).reshape(shape)
