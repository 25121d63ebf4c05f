"""A kernel some of whose inputs are given once: weights, mostly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any

from numpy import ndarray

from te.diagnostics import did_you_mean
from te.runtime.ahead import Kept
from te.runtime.arrays import view

if TYPE_CHECKING:
    from te.runtime.generic import GenericKernel
    from te.runtime.kernel import Kernel, Timing
    from te.runtime.saved import Key

__all__ = ["BoundKernel", "bind_saved"]


class BoundKernel:
    """What `kernel.bind(...)` gives: the same kernel, called with the other inputs alone.

    Bound arrays are kept, not copied: what is written to them later counts for later calls, except
    where the schedule precomputes something from them (`Kernel.bind`). Several threads may call
    one bound kernel at the same time. Calls take the inputs that are left, by position or by name,
    and raise what the kernel raises.
    """

    def __init__(
        self,
        kernel: Kernel | GenericKernel,
        bound: Mapping[str, Any],
        saved: Mapping[Key, Sequence[ndarray]] | None = None,
    ):
        names = [p.name for p in kernel.inputs]
        for name in bound:
            if name not in names:
                hint = did_you_mean(name, names) or f"its inputs are {', '.join(names)}"
                raise TypeError(f"{kernel.name} has no input `{name}` to bind; {hint}")
        self.kernel = kernel
        self.bound = dict(bound)
        self._free = tuple(name for name in names if name not in bound)
        self._kept = Kept(bound, saved)
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

    def save(self, path: str | PathLike[str]) -> None:
        """Write the bound arrays to a file, and what the schedule computed from them so far (`te help precompute`).

        `kernel.bind_saved(path)`, of the same op in this or another process, gives a bound kernel that need not
        compute it again. Where sizes or dtypes were open, save after a first call. Raises OSError where the
        file cannot be written, and TypeError for a bound value that is no array.

        >>> import numpy as np, te, tempfile, os
        >>> text = "op f(X: f32[M, K], param W: f32[N, K]) -> Y: f32[M, N] { Y[i, j] = sum[k](X[i, k] * W[j, k]) }"
        >>> linear, path = te.build(text), os.path.join(tempfile.mkdtemp(), "weights")
        >>> linear.bind(W=np.ones((2, 3), np.float32)).save(path)
        >>> linear.bind_saved(path)(np.ones((1, 3), np.float32))
        array([[3., 3.]], dtype=float32)
        """
        from te.runtime.saved import Saved, write_saved

        arrays = {name: view(value, f"{self.name}: {name}") for name, value in self.bound.items()}
        write_saved(path, Saved(self.name, arrays, self._kept.computed()))

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


def bind_saved(
    kernel: Kernel | GenericKernel, path: str | PathLike[str], *, mapped: bool = False
) -> BoundKernel:
    """See `Kernel.bind_saved`."""
    from te.runtime.saved import read_saved

    saved = read_saved(path, mapped=mapped)
    if saved.op != kernel.name:
        raise ValueError(f"{path} is of the op {saved.op}, and this kernel of {kernel.name}")
    inputs = [parameter.name for parameter in kernel.inputs]
    if unknown := [name for name in saved.bound if name not in inputs]:
        raise ValueError(f"{path} has an input `{unknown[0]}`, and {kernel.name} has {', '.join(inputs)}")
    return BoundKernel(kernel, saved.bound, saved.ahead)
