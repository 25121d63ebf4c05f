"""What a kernel computes ahead of its calls: code that runs once where the `param`s it reads are bound."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np

from te.ir.types import numpy_dtype
from te.runtime.arrays import Array
from te.runtime.direct import DirectCalls
from te.runtime.interface import Prepared
from te.runtime.sizes import size_function

if TYPE_CHECKING:
    from te.runtime.saved import Key

__all__ = ["AheadPlan", "Kept", "plan_function"]

KEPT = 32  # results of one bound kernel; more only where they depend on sizes that no `param` has


@dataclass(frozen=True, slots=True)
class AheadPlan:
    """What running a part for given sizes needs. Of those, `sizes` are the ones that decide what it gives."""

    entry: int
    params: tuple[str, ...]
    sizes: tuple[int, ...]
    digest: str  # as of `Prepared`
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
        own = tuple([sizes[n] for n in relevant])
        buffers = tuple(zip(extents, dtypes, strict=True))
        work = workspace(sizes), thread_workspace(sizes)
        return AheadPlan(entry, prepared.params, own, prepared.digest, buffers, *work)

    return plan


class Kept:
    """What is known of calls with the inputs `bound`, and was computed from these.

    `saved` is what an earlier process computed (`te.runtime.saved`). Several threads may ask at the same time.
    """

    def __init__(self, bound: Iterable[str], saved: Mapping[Key, Sequence[Array]] | None = None):
        self.bound = frozenset(bound)
        self.saved = saved or {}
        self.direct = DirectCalls()
        self._arrays: dict[Hashable, Sequence[Array]] = {}
        self._computed: dict[Key, Sequence[Array]] = {}
        self._lock = Lock()

    def arrays(
        self, kernel: Hashable, plan: AheadPlan, compute: Callable[[], list[Array]]
    ) -> Sequence[Array]:
        """The results of a part of a kernel: computed once where all it depends on is bound."""
        if not self.bound.issuperset(plan.params):
            return compute()
        key = (kernel, plan.entry, plan.sizes)
        found = self._arrays.get(key)
        if found is None:
            with self._lock:
                found = self._arrays.get(key)
                if found is None:
                    if len(self._arrays) >= KEPT:
                        self._arrays.pop(next(iter(self._arrays)))
                    found = self._arrays[key] = self._from_file(plan) or compute()
                    if plan.digest:
                        self._computed[plan.digest, plan.sizes] = found
        return found

    def computed(self) -> Mapping[Key, Sequence[Array]]:
        """What another process need not compute again."""
        with self._lock:
            return {**self.saved, **self._computed}

    def _from_file(self, plan: AheadPlan) -> Sequence[Array] | None:
        found = self.saved.get((plan.digest, plan.sizes)) if plan.digest else None
        fits = found is not None and tuple((a.shape, a.dtype) for a in found) == plan.buffers
        return found if fits else None
