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
        self._tables = [_array(t) for t in interface.tables]  # keeps the memory alive
        self._table_addresses = [address(t) for t in self._tables]
        self.count = len(interface.checks) + len(interface.tables)

    def places(self) -> Array:
        """Where one call's checks write what they find."""
        return np.empty(len(self._interface.checks), np.int64)

    def addresses(self, places: Array) -> list[int]:
        """The arguments' addresses, in the order of `Kernel.arguments`."""
        first = address(places) if len(places) else 0
        return [first + 8 * n for n in range(len(places))] + self._table_addresses

    def raise_failures(self, places: Array, sizes: Sequence[int]) -> None:
        """Raise IndexError for the first check that found a read outside its tensor."""
        for check, position in zip(self._interface.checks, places.tolist(), strict=True):
            if position != NOWHERE:
                values = dict(zip(self._interface.sizes, sizes, strict=True))
                raise IndexError(failure(self._interface.name, check, position, values))


def _array(table: Table) -> Array:
    shape = [int(d.value) for d in table.tensor.shape if isinstance(d, Const)]
    return np.array(table.values, dtype=numpy_dtype(table.tensor.dtype)).reshape(shape)
