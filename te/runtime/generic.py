"""A kernel whose dtypes or ranks the call decides: `op softmax<T: float>(X: T[*S, N]) ...`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from te.diagnostics import CompileError, counted, did_you_mean
from te.ir.types import DTYPES, DType, numpy_dtype
from te.runtime.ahead import Kept
from te.runtime.arguments import Parameter
from te.runtime.arrays import dtype_of, view
from te.runtime.bound import BoundKernel, bind_saved
from te.runtime.kernel import Kernel, Timing

if TYPE_CHECKING:
    from te.backends.cuda.resources import Resources
    from te.runtime.gpu_kernel import GpuKernel, LaunchGraph, OnStream

__all__ = ["GenericInput", "GenericKernel"]

Choice: TypeAlias = str | int  # the name of a dtype, or how many axes a pack stands for
_NUMBERS = {bool, int, float}  # Python's, which have no dtype of their own
MOST_AXES = 64  # of NumPy's arrays
FIRST_RANK = 1  # what a pack stands for in the kernel that is compiled first: `X[*S, N]` is a matrix


@dataclass(frozen=True, slots=True)
class GenericInput:
    """What an input decides, if anything: a dtype variable, and a pack beside its other axes."""

    name: str
    dtype_variable: str | None
    pack: str | None
    other_axes: int


class GenericKernel:
    """A compiled op whose dtype variables (`T`) and packs (`*S`) the arrays of each call decide.

    It is called as a `Kernel` is, and raises the same. There is one kernel for each combination:
    the first allowed one is compiled at once, so that mistakes show; others at their first call.
    What `schedule`, `ir` and `signature` show is the first one; `specialized` gives any.

    >>> import numpy as np, te
    >>> double = te.build("op double<T>(X: T[*S]) -> Y: T[*S] { Y[*s] = X[*s] + X[*s] }")
    >>> double(np.array([[1, 2]]))
    array([[2, 4]])
    >>> double.specialized(T="f64", S=3).signature
    'double(X: f64[S1, S2, S3]) -> Y: f64[S1, S2, S3]'
    """

    def __init__(
        self, name: str, inputs: Sequence[GenericInput], build: Callable[[Mapping[str, Choice]], Kernel]
    ):
        """`build` makes the kernel for given choices; a dtype variable left out takes its first dtype."""
        self.name = name
        self._inputs = tuple(inputs)
        self._build = build
        self._lock = Lock()
        packs = list(dict.fromkeys(i.pack for i in inputs if i.pack))
        variables = list(dict.fromkeys(i.dtype_variable for i in inputs if i.dtype_variable))
        self._names = (*variables, *packs)
        self._first = build(dict.fromkeys(packs, FIRST_RANK))
        self._default: dict[str, Choice] = dict.fromkeys(packs, FIRST_RANK)
        for generic, parameter in reversed(list(zip(self._inputs, self._first.inputs, strict=True))):
            if generic.dtype_variable:
                self._default[generic.dtype_variable] = parameter.dtype.name
        self._kernels = {self._key(self._default): self._first}
        self._seen: dict[tuple[object, ...], Kernel] = {}
        self._last = self._first  # the kernel of the last call, which the next one most likely asks for
        self.__doc__ = self._first.__doc__

    # ------------------------------------------------------------ what it is

    @property
    def signature(self) -> str:
        """The signature of the first combination."""
        return self._first.signature

    @property
    def inputs(self) -> tuple[Parameter, ...]:
        """The inputs of the first combination."""
        return self._first.inputs

    @property
    def results(self) -> tuple[Parameter, ...]:
        """The results of the first combination."""
        return self._first.results

    @property
    def schedule(self) -> str:
        """The schedule of the first combination, as `.te` text."""
        return self._first.schedule

    def ir(self, level: str) -> str:
        """The op as text, for the first combination. See `Kernel.ir`."""
        return self._first.ir(level)

    def resources(self) -> tuple[Resources, ...]:
        """What the launches of the first combination take of a GPU. See `Kernel.resources`."""
        return self._first.resources()

    def specialized(self, **choices: Choice) -> Kernel:
        """The kernel for given dtypes and ranks, compiled if need be: `T="f64", S=2`.

        What is not given is as in the first combination. Raises TypeError for a name that the op
        does not have, for a dtype that it does not allow, and for what is no dtype or no number of axes.
        """
        for name in choices:
            if name not in self._names:
                hint = did_you_mean(name, self._names)
                raise TypeError(
                    f"{self.name} leaves open {', '.join(self._names)}, not `{name}`"
                    + (f" ({hint})" if hint else "")
                )
        checked = {name: self._choice(name, value) for name, value in choices.items()}
        return self._kernel({**self._default, **checked}, {})

    def _choice(self, name: str, value: Choice) -> Choice:
        called = f"{self.name}: {name}"
        if not any(generic.pack == name for generic in self._inputs):
            if value not in DTYPES:
                raise TypeError(f"{called} is a dtype, one of {', '.join(DTYPES)}, found {value!r}")
            return value
        is_count = isinstance(value, int | np.integer) and not isinstance(value, bool)
        if not is_count or not 0 <= int(value) <= MOST_AXES:
            raise TypeError(f"{called} is a number of axes, 0 to {MOST_AXES}, found {value!r}")
        return int(value)

    def __repr__(self) -> str:
        return f"<te.GenericKernel {self.signature} for any {', '.join(self._names)}>"

    def _repr_html_(self) -> str:
        """For notebooks: the first combination."""
        return self._first._repr_html_()

    # ------------------------------------------------------------ calling it

    def __call__(self, /, *arrays: Any, out: Any = None, **named: Any) -> Any:
        if out is None and not named and len(arrays) == len(self._inputs):
            results = self._last.direct.call(*arrays)  # None where the arrays look different this time
            if results is not None:
                return results
        if named:
            arrays, named = self._first.arrange(arrays, named), {}
        # What NumPy's arrays look like decides the kernel; it is found again in 0.5 µs.
        looks = tuple([(a.dtype, a.ndim) if type(a) is np.ndarray else type(a) for a in arrays])
        kernel = self._seen.get(looks)
        if kernel is None:
            kernel = self._for_values(self._first.arrange(arrays, named))
            if _NUMBERS.issuperset(look for look in looks if type(look) is not tuple):
                self._seen[looks] = kernel
        self._last = kernel
        return kernel(*arrays, out=out)

    def compute_ahead(self, bound: Mapping[str, object], kept: Kept) -> None:
        """Nothing: dtypes and ranks are for the call to decide. See `Kernel.compute_ahead`."""

    def call_bound(self, named: Mapping[str, object], out: Any, kept: Kept) -> Any:
        """See `Kernel.call_bound`."""
        return self._for_values(self._first.arrange((), named)).call_bound(named, out, kept)

    def time_bound(self, named: Mapping[str, object], repeat: int, kept: Kept) -> Timing:
        """See `Kernel.time_bound`."""
        return self._for_values(self._first.arrange((), named)).time_bound(named, repeat, kept)

    def bind(self, **arrays: Any) -> BoundKernel:
        """The kernel with some inputs given once. See `Kernel.bind`."""
        return BoundKernel(self, arrays)

    def bind_saved(self, path: str | PathLike[str], *, mapped: bool = False) -> BoundKernel:
        """A bound kernel from a file. See `Kernel.bind_saved`."""
        return bind_saved(self, path, mapped=mapped)

    def time(self, /, *arrays: Any, repeat: int = 20, **named: Any) -> Timing:
        """How long the code takes on these inputs. See `Kernel.time`."""
        values = self._first.arrange(arrays, named)
        return self._for_values(values).time(*values, repeat=repeat)

    def stopwatch(self, /, *arrays: Any, **named: Any) -> Callable[[], float]:
        """What measures the code on these inputs once for each call. See `Kernel.stopwatch`."""
        values = self._first.arrange(arrays, named)
        return self._for_values(values).stopwatch(*values)

    def on(self, stream: Any) -> OnStream:
        """The kernel, to be called on a stream of a GPU. See `GpuKernel.on`."""
        from te.runtime.gpu_kernel import OnStream

        return OnStream(self, stream)

    def call_on(self, stream: Any, values: tuple[object, ...], out: Any) -> Any:
        """See `GpuKernel.call_on`."""
        return self._gpu_kernel(values).call_on(stream, values, out)

    def graph(self, /, *arrays: Any, out: Any = None, **named: Any) -> LaunchGraph:
        """All launches of a call on these arrays as one CUDA graph. See `GpuKernel.graph`."""
        values = self._first.arrange(arrays, named)
        return self._gpu_kernel(values).graph(*values, out=out)

    def arrange(self, values: Sequence[object], named: Mapping[str, object]) -> tuple[object, ...]:
        """See `Kernel.arrange`."""
        return self._first.arrange(values, named)

    def _gpu_kernel(self, values: tuple[object, ...]) -> GpuKernel:
        from te.runtime.gpu_kernel import GpuKernel

        kernel = self._for_values(values)
        if not isinstance(kernel, GpuKernel):
            raise ValueError(f"{self.name} was not built for a GPU, and has no streams and no graphs")
        return kernel

    def _for_values(self, values: tuple[object, ...]) -> Kernel:
        decided: dict[str, Choice] = {}
        deciders: dict[str, str] = {}
        for generic, value in zip(self._inputs, values, strict=True):
            is_number = type(value) in _NUMBERS
            if generic.dtype_variable and not is_number:
                self._decide_dtype(generic, value, decided, deciders)
            if generic.pack and generic.pack not in decided:
                decided[generic.pack] = 0 if is_number else self._rank(generic, value)
        for name in self._names:
            if name not in decided:
                inputs = ", ".join(f"`{i.name}`" for i in self._inputs if i.dtype_variable == name)
                raise TypeError(
                    f"{self.name}: a Python number does not decide the dtype {name}: "
                    f"give {inputs} as NumPy's, for example `np.float32(1)`"
                )
        return self._kernel(decided, deciders)

    def _decide_dtype(
        self, generic: GenericInput, value: object, decided: dict[str, Choice], deciders: dict[str, str]
    ) -> None:
        variable = generic.dtype_variable
        assert variable is not None
        called = f"{self.name}: `{generic.name}`"
        dtype, found = _dtype_of(value, called)
        if dtype is None:
            raise TypeError(f"{called} is {found}, and te's dtypes are {', '.join(DTYPES)}")
        if decided.setdefault(variable, dtype.name) != dtype.name:
            raise TypeError(
                f"{called} must be {decided[variable]} ({variable}, as `{deciders[variable]}`), "
                f"found {numpy_dtype(dtype)}"
            )
        deciders.setdefault(variable, generic.name)

    def _rank(self, generic: GenericInput, value: object) -> int:
        called = f"{self.name}: `{generic.name}`"
        shape = _on_gpu(value, called)[1] if _is_on_gpu(value) else view(value, called).shape
        if len(shape) < generic.other_axes:
            least = counted(generic.other_axes, "axis")
            raise ValueError(f"{called} must have at least {least}, found the shape {shape}")
        return len(shape) - generic.other_axes

    # ------------------------------------------------------------ the kernels

    def _key(self, choices: Mapping[str, Choice]) -> tuple[Choice, ...]:
        return tuple([choices[name] for name in self._names])

    def _kernel(self, choices: Mapping[str, Choice], deciders: Mapping[str, str]) -> Kernel:
        key = self._key(choices)
        kernel = self._kernels.get(key)
        if kernel is None:
            with self._lock:
                kernel = self._kernels.get(key)
                if kernel is None:
                    kernel = self._kernels[key] = self._compile(choices, deciders)
        return kernel

    def _compile(self, choices: Mapping[str, Choice], deciders: Mapping[str, str]) -> Kernel:
        try:
            return self._build(choices)
        except CompileError as refused:
            wrong = [d for d in refused.diagnostics if d.code == "dtype-not-allowed"]
            if not wrong:
                raise
            because = ", ".join(f"{variable} by `{name}`" for variable, name in deciders.items())
            raise TypeError(
                f"{self.name}: {wrong[0].message} ({wrong[0].label})" + (f"; {because}" if because else "")
            ) from None


def _dtype_of(value: object, called: str) -> tuple[DType | None, object]:
    """The language's type of an array's elements, if there is one, and the array's own name for it."""
    if _is_on_gpu(value):
        dtype, _ = _on_gpu(value, called)
        return dtype, dtype
    array = view(value, called)
    return dtype_of(array), array.dtype


def _is_on_gpu(value: object) -> bool:
    """Whether it is an array in a GPU's memory. What knows of these is loaded for arrays that are not NumPy's."""
    if isinstance(value, np.ndarray | np.generic):
        return False
    from te.backends.cuda import arrays

    return arrays.is_on_gpu(value)


def _on_gpu(value: object, called: str) -> tuple[DType, tuple[int, ...]]:
    from te.backends.cuda.arrays import dtype_and_shape

    return dtype_and_shape(value, called)
