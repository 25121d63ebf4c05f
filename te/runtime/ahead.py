"""What a kernel computes ahead of its calls: code that runs once where the `param`s it reads are bound."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from threading import Lock

import numpy as np

from te.ir.types import numpy_dtype
from te.runtime.arrays import Array
from te.runtime.direct import DirectCalls
from te.runtime.interface import Prepared
from te.runtime.sizes import size_function

__all__ = ["AheadPlan", "Kept", "plan_function"]

KEPT = 32  # results of one bound kernel; more only where they depend on sizes that no `param` has


@dataclass(frozen=True, slots=True)
class AheadPlan:
    """What running a part for given sizes needs. `key` tells apart what it gives, for the same `param`s."""

    entry: int
    params: tuple[str, ...]
    key: Hashable
    buffers: tuple[tuple[tuple[int, ...], np.dtype[np.generic]], ...]
    workspace: int  # bytes
    thread_workspace: int  # and for each thread


def plan_function(
    prepared: Prepared, entry: int, names: Sequence[str]
) -> Callable[[Sequence[int]], AheadPlan]:
    """The plan of a part, as a function of the sizes `names`."""
    workspace = size_function(prepared.entry.workspace, names)
    thread_workspace = size_function(prepared.entry.thread_workspace, names)
    shapes = [[size_function(extent, names) for extent in t.shape] for t in prepared.kept]
    dtypes = [numpy_dtype(t.dtype) for t in prepared.kept]
    relevant = [n for n, name in enumerate(names) if name in prepared.sizes]

    def plan(sizes: Sequence[int]) -> AheadPlan:
        extents = [tuple([max(0, extent(sizes)) for extent in shape]) for shape in shapes]
        key = (entry, *[sizes[n] for n in relevant])
        buffers = tuple(zip(extents, dtypes, strict=True))
        return AheadPlan(entry, prepared.params, key, buffers, workspace(sizes), thread_workspace(sizes))

    return plan


class Kept:
    """What is known of calls with the inputs `bound`, and was computed from these.

    Several threads may ask at the same time.
    """

    def __init__(self, bound: Iterable[str]):
        self.bound = frozenset(bound)
        self.direct = DirectCalls()
        self._arrays: dict[Hashable, list[Array]] = {}
        self._lock = Lock()

    def arrays(self, kernel: Hashable, plan: AheadPlan, compute: Callable[[], list[Array]]) -> list[Array]:
        """The results of a part of a kernel: computed once where all it depends on is bound."""
        if not self.bound.issuperset(plan.params):
            return compute()
        key = (kernel, plan.key)
        found = self._arrays.get(key)
        if found is None:
            with self._lock:
                found = self._arrays.get(key)
                if found is None:
                    if len(self._arrays) >= KEPT:
                        self._arrays.pop(next(iter(self._arrays)))
                    found = self._arrays[key] = compute()
        return found
