"""A kernel some of whose inputs are given once: weights, mostly."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from numpy import ndarray

from te.diagnostics import did_you_mean
from te.runtime.ahead import Kept

if TYPE_CHECKING:
    from te.runtime.generic import GenericKernel
    from te.runtime.kernel import Kernel, Timing

__all__ = ["BoundKernel"]


class BoundKernel:
    """What `kernel.bind(...)` gives: the same kernel, called with the other inputs alone.

    Bound arrays are kept, not copied: what is written to them later counts for later calls, except
    where the schedule precomputes something from them (`Kernel.bind`). Several threads may call
    one bound kernel at the same time. Calls take the inputs that are left, by position or by name,
    and raise what the kernel raises.
    """

    def __init__(self, kernel: Kernel | GenericKernel, bound: Mapping[str, Any]):
        names = [p.name for p in kernel.inputs]
        for name in bound:
            if name not in names:
                hint = did_you_mean(name, names) or f"its inputs are {', '.join(names)}"
                raise TypeError(f"{kernel.name} has no input `{name}` to bind; {hint}")
        self.kernel = kernel
        self.bound = dict(bound)
        self._free = tuple(name for name in names if name not in bound)
        self._kept = Kept(bound)
        kernel.compute_ahead(bound, self._kept)
        self.__doc__ = kernel.__doc__

    @property
    def name(self) -> str:
        return self.kernel.name

    @property
    def inputs(self) -> tuple[Any, ...]:
        """The inputs that a call gives."""
        return tuple(p for p in self.kernel.inputs if p.name in self._free)

    def bind(self, **arrays: Any) -> BoundKernel:
        """Bind more inputs. One that is bound already takes the new array."""
        return BoundKernel(self.kernel, {**self.bound, **arrays})

    def __call__(self, /, *arrays: Any, out: Any = None, **named: Any) -> Any:
        if not named and len(arrays) == len(self._free):
            if out is None:
                results = self._kept.direct.call(*arrays)
                if results is not None:
                    return results
            elif (
                type(out) is ndarray
                and len(self.kernel.results) == 1
                and self._kept.direct.call_into(*arrays, out)
            ):
                return out
        return self.kernel.call_bound(self._arguments(arrays, named), out, self._kept)

    def time(self, /, *arrays: Any, repeat: int = 20, **named: Any) -> Timing:
        """How long the code takes on these inputs. See `Kernel.time`."""
        return self.kernel.time_bound(self._arguments(arrays, named), repeat, self._kept)

    def _arguments(self, arrays: tuple[Any, ...], named: Mapping[str, Any]) -> dict[str, Any]:
        if len(arrays) > len(self._free):
            left = ", ".join(self._free) or "none"
            raise TypeError(f"{self.name}: {len(arrays)} inputs given, and those not bound are {left}")
        given = dict(zip(self._free, arrays, strict=False))
        for name in named:
            if name in self.bound:
                raise TypeError(f"{self.name}: `{name}` is bound already")
            if name in given:
                raise TypeError(f"{self.name}: `{name}` is given twice, by its position and by its name")
        return {**given, **named, **self.bound}

    def __repr__(self) -> str:
        return f"<te.BoundKernel {self.name}({', '.join(self._free)}) with {', '.join(self.bound)} bound>"
