"""A kernel for several dtypes: `op softmax<T: float>(X: T[M, N]) ...`, where the call decides `T`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from threading import Lock
from typing import Any

from te.diagnostics import CompileError
from te.ir.types import DTYPES, numpy_dtype
from te.runtime.arguments import Parameter
from te.runtime.arrays import dtype_of, view
from te.runtime.kernel import Kernel, Timing

__all__ = ["GenericKernel"]


class GenericKernel:
    """A compiled op with dtype variables that the arrays of each call decide.

    It is called as a `Kernel` is, and raises the same. There is one kernel for each combination of
    dtypes: the first allowed one is compiled at once, so that mistakes show; others at their first
    call. What `schedule`, `ir` and `signature` show is the first; `for_dtypes` gives any.
    """

    def __init__(
        self,
        name: str,
        deciding: Mapping[str, str],
        fixed: Mapping[str, str],
        build: Callable[[Mapping[str, str]], Kernel],
    ):
        """`deciding`: the inputs whose type is an open dtype variable, each with its variable.

        `fixed`: the variables that are not open. `build` makes the kernel for given dtypes.
        """
        self._deciding = dict(deciding)
        self._fixed = dict(fixed)
        self._build = build
        self._lock = Lock()
        self._first = build(fixed)
        first = {variable: self._dtype_of_input(i) for i, variable in reversed(self._deciding.items())}
        self._variables = tuple(dict.fromkeys(self._deciding.values()))
        self._kernels = {tuple(first[v] for v in self._variables): self._first}
        self.__doc__ = self._first.__doc__

    def _dtype_of_input(self, name: str) -> str:
        return self._first.program.tensor(name).dtype.name

    # ------------------------------------------------------------ what it is

    @property
    def name(self) -> str:
        """The op's name."""
        return self._first.name

    @property
    def signature(self) -> str:
        """The signature of the first combination of dtypes."""
        return self._first.signature

    @property
    def inputs(self) -> tuple[Parameter, ...]:
        """The inputs of the first combination of dtypes."""
        return self._first.inputs

    @property
    def results(self) -> tuple[Parameter, ...]:
        """The results of the first combination of dtypes."""
        return self._first.results

    @property
    def schedule(self) -> str:
        """The schedule of the first combination of dtypes, as `.te` text."""
        return self._first.schedule

    def ir(self, level: str) -> str:
        """The op as text, for the first combination of dtypes. See `Kernel.ir`."""
        return self._first.ir(level)

    def for_dtypes(self, **dtypes: str) -> Kernel:
        """The kernel for given dtypes, compiled if need be: `softmax.for_dtypes(T="f64")`.

        Raises TypeError where the op does not allow them, or one is missing.
        """
        missing = [v for v in self._variables if v not in dtypes]
        if missing or len(dtypes) != len(self._variables):
            raise TypeError(f"{self.name} has the dtype variables {', '.join(self._variables)}")
        return self._kernel(tuple(dtypes[v] for v in self._variables), {})

    def __repr__(self) -> str:
        return f"<te.GenericKernel {self.signature} for any {', '.join(self._variables)}>"

    # ------------------------------------------------------------ calling it

    def __call__(self, /, *arrays: Any, out: Any = None, **named: Any) -> Any:
        values = self._first._signature.arrange(arrays, named)
        return self._for_values(values)(*values, out=out)

    def time(self, /, *arrays: Any, repeat: int = 20, **named: Any) -> Timing:
        """How long the code takes on these inputs. See `Kernel.time`."""
        values = self._first._signature.arrange(arrays, named)
        return self._for_values(values).time(*values, repeat=repeat)

    def _for_values(self, values: tuple[object, ...]) -> Kernel:
        inputs = zip((p.name for p in self.inputs), values, strict=True)
        decided: dict[str, str] = {}
        deciders: dict[str, str] = {}
        for name, value in inputs:
            variable = self._deciding.get(name)
            if variable is None or type(value) in (bool, int, float):  # a Python number has no dtype
                continue
            dtype = self._dtype_name(name, value)
            if decided.setdefault(variable, dtype) != dtype:
                raise TypeError(
                    f"{self.name}: `{name}` must be {decided[variable]} ({variable}, as `{deciders[variable]}`), "
                    f"found {numpy_dtype(DTYPES[dtype])}"
                )
            deciders.setdefault(variable, name)
        for variable in self._variables:
            if variable not in decided:
                names = ", ".join(f"`{n}`" for n, v in self._deciding.items() if v == variable)
                raise TypeError(
                    f"{self.name}: a Python number does not decide the dtype {variable}: "
                    f"give {names} as NumPy's, for example `np.float32(1)`"
                )
        return self._kernel(tuple(decided[v] for v in self._variables), deciders)

    def _dtype_name(self, name: str, value: object) -> str:
        called = f"{self.name}: `{name}`"
        array = view(value, called)
        dtype = dtype_of(array)
        if dtype is None:
            raise TypeError(f"{called} is {array.dtype}, and te's dtypes are {', '.join(DTYPES)}")
        return dtype.name

    def _kernel(self, key: tuple[str, ...], deciders: Mapping[str, str]) -> Kernel:
        kernel = self._kernels.get(key)
        if kernel is None:
            with self._lock:
                kernel = self._kernels.get(key)
                if kernel is None:
                    kernel = self._kernels[key] = self._compile(key, deciders)
        return kernel

    def _compile(self, key: tuple[str, ...], deciders: Mapping[str, str]) -> Kernel:
        try:
            return self._build({**self._fixed, **dict(zip(self._variables, key, strict=True))})
        except CompileError as refused:
            wrong = [d for d in refused.diagnostics if d.code == "dtype-not-allowed"]
            if not wrong:
                raise
            because = ", ".join(f"{variable} by `{name}`" for variable, name in deciders.items())
            raise TypeError(
                f"{self.name}: {wrong[0].message} ({wrong[0].label})" + (f"; {because}" if because else "")
            ) from None
