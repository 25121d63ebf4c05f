"""What a call hands over, checked against the op's signature.

Everything a message needs is worked out once, when the kernel is made; a call that is right pays
for comparisons only, and one with shapes seen before not even for those (`te.runtime.kernel`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, NoReturn, TypeAlias

import numpy as np
from numpy import ndarray

from te.diagnostics import counted, did_you_mean
from te.ir.expr import Const, Expr, Var
from te.ir.print import print_expr
from te.ir.tensor import Tensor
from te.ir.types import DType, numpy_dtype
from te.ir.visit import variables
from te.runtime.arrays import READY, Array, check_dtype, ready, scalar, view
from te.runtime.interface import Interface
from te.runtime.sizes import SizeFunction, size_function

Shape: TypeAlias = tuple[int, ...]

MAX_BYTES = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class Dimension:
    """An axis of an argument: what the op says its extent is, in words and as a function of the sizes."""

    written: str
    extent: Expr
    value: SizeFunction


@dataclass(frozen=True, slots=True)
class Parameter:
    """An input or a result as a caller sees it."""

    name: str
    dtype: DType
    array_dtype: np.dtype[Any]
    dimensions: tuple[Dimension, ...]

    @property
    def rank(self) -> int:
        return len(self.dimensions)

    def __str__(self) -> str:
        shape = ", ".join(d.written for d in self.dimensions)
        return f"{self.name}: {self.dtype}[{shape}]" if shape else f"{self.name}: {self.dtype}"


@dataclass(frozen=True, slots=True)
class Binding:
    """What shapes that fit say: the value of each run-time size, and the results' shapes."""

    sizes: tuple[int, ...]
    results: tuple[Shape, ...]


class Signature:
    """The arguments of one op, and the checks of a call."""

    def __init__(self, interface: Interface):
        self.op = interface.name
        self.sizes = interface.sizes
        self.inputs = tuple(self._parameter(t, interface.written) for t in interface.inputs)
        self.results = tuple(self._parameter(t, interface.written) for t in interface.results)
        self._places = self._find_places()
        self._binders = tuple(self._places[name] for name in self.sizes)
        self._checks = tuple(
            (position, axis)
            for position, parameter in enumerate(self.inputs)
            for axis in range(parameter.rank)
            if (position, axis) not in self._binders
        )
        self._requirements = tuple(
            (requirement, size_function(requirement.condition, self.sizes))
            for requirement in interface.requirements
        )

    def __str__(self) -> str:
        """`matmul(A: f32[M, K], B: f32[K, N]) -> C: f32[M, N]`."""
        return f"{self.op}({', '.join(map(str, self.inputs))}) -> {', '.join(map(str, self.results))}"

    def _parameter(self, tensor: Tensor, written: Mapping[str, Sequence[str]]) -> Parameter:
        words = written.get(tensor.name) or [print_expr(extent) for extent in tensor.shape]
        dimensions = tuple(
            Dimension(word, extent, size_function(extent, self.sizes))
            for word, extent in zip(words, tensor.shape, strict=True)
        )
        return Parameter(tensor.name, tensor.dtype, numpy_dtype(tensor.dtype), dimensions)

    def _find_places(self) -> dict[str, tuple[int, int]]:
        """For each run-time size, the input and the axis that give it: the first that have it bare."""
        places: dict[str, tuple[int, int]] = {}
        for position, parameter in enumerate(self.inputs):
            for axis, dimension in enumerate(parameter.dimensions):
                if isinstance(dimension.extent, Var):
                    places.setdefault(dimension.extent.name, (position, axis))
        return places

    # ------------------------------------------------------------ which value is which argument

    def arrange(self, values: Sequence[object], named: Mapping[str, object]) -> tuple[object, ...]:
        """The inputs in order. Raises TypeError for a missing, extra, unknown or repeated one."""
        if not named and len(values) == len(self.inputs):
            return tuple(values)
        names = [p.name for p in self.inputs]
        if len(values) > len(names):
            raise TypeError(f"{self.op} takes {self._listed_inputs()}, found {len(values)}")
        given = dict(zip(names, values, strict=False))
        for name, value in named.items():
            if name not in names:
                suggestion = did_you_mean(name, names) or f"it takes {self._listed_inputs()}"
                raise TypeError(f"{self.op} has no argument `{name}`; {suggestion}")
            if name in given:
                raise TypeError(f"{self.op}: `{name}` is given twice, by its position and by its name")
            given[name] = value
        missing = [f"`{name}`" for name in names if name not in given]
        if missing:
            raise TypeError(f"{self.op} takes {self._listed_inputs()}; {', '.join(missing)} missing")
        return tuple(given[name] for name in names)

    def _listed_inputs(self) -> str:
        if not self.inputs:
            return "no arguments"
        names = ", ".join(p.name for p in self.inputs)
        return f"{counted(len(self.inputs), 'argument')} ({names})"

    # ------------------------------------------------------------ one argument

    def view(self, position: int, value: object) -> Array:
        """An input as an array of its dtype and rank, which may lie in memory in any way."""
        parameter = self.inputs[position]
        if type(value) is ndarray and value.dtype is parameter.array_dtype and value.ndim == parameter.rank:
            return value
        called = f"{self.op}: `{parameter.name}`"
        if parameter.rank == 0 and type(value) in (bool, int, float):
            return scalar(value, parameter.dtype, called)  # type: ignore[arg-type]  # one of these types
        array = view(value, called)
        check_dtype(array, parameter.dtype, called)
        self._check_rank(parameter, array, called)
        return array

    def _check_rank(self, parameter: Parameter, array: Array, called: str) -> None:
        if array.ndim != parameter.rank:
            wanted = "be a scalar" if parameter.rank == 0 else f"have {counted(parameter.rank, 'axis')}"
            raise ValueError(f"{called} must {wanted} ({parameter}), found the shape {array.shape}")

    def prepare_output(self, position: int, value: object, shape: Shape) -> Array:
        """The memory of an `out` array. Raises TypeError or ValueError where a result cannot be written there."""
        parameter = self.results[position]
        if (
            type(value) is ndarray
            and value.dtype is parameter.array_dtype
            and value.shape == shape
            and value.flags.carray  # contiguous, aligned, writeable
        ):
            return value
        called = f"{self.op}: out `{parameter.name}`"
        array = view(value, called)
        check_dtype(array, parameter.dtype, called)
        if array.shape != shape:
            raise ValueError(f"{called} must have the shape {shape}, found {array.shape}")
        if not array.flags.writeable:
            raise ValueError(f"{called} is read-only")
        if not array.dtype.isnative or array.flags.num & READY != READY:
            raise ValueError(
                f"{called} must be contiguous, aligned and of native byte order: "
                "pass a plain array, and copy the result from it"
            )
        return ready(array, parameter.array_dtype)

    # ------------------------------------------------------------ shapes

    def bind(self, shapes: Sequence[Shape]) -> Binding:
        """The sizes and the results' shapes. Raises ValueError where the inputs' shapes do not fit.

        `shapes` have the right ranks (`prepare` saw to it).
        """
        sizes = tuple(shapes[position][axis] for position, axis in self._binders)
        for position, axis in self._checks:
            if shapes[position][axis] != self.inputs[position].dimensions[axis].value(sizes):
                self._refuse_extent(position, axis, shapes[position][axis], sizes)
        for requirement, holds in self._requirements:
            if not holds(sizes):
                values = self._values_of(requirement.condition, sizes)
                raise ValueError(
                    f"{self.op} requires {requirement.text}" + (f", and {values}" if values else "")
                )
        results = tuple(self._result_shape(parameter, sizes) for parameter in self.results)
        return Binding(sizes, results)

    def known_sizes(self, shapes: Mapping[int, Shape]) -> dict[str, int] | None:
        """The sizes that some of the inputs give, by their positions.

        None where these shapes, or a `require`, leave open whether any call is right.
        """
        given = [
            (dimension, found)
            for position, shape in shapes.items()
            for dimension, found in zip(self.inputs[position].dimensions, shape, strict=True)
        ]
        known: dict[str, int] = {}
        for dimension, found in given:
            if isinstance(dimension.extent, Var):
                known.setdefault(dimension.extent.name, found)
        conditions = [requirement.condition for requirement, _ in self._requirements]
        for e in (*conditions, *(dimension.extent for dimension, _ in given)):
            if not variables(e) <= known.keys():
                return None
        sizes = [known.get(name, 0) for name in self.sizes]
        fits = all(dimension.value(sizes) == found for dimension, found in given)
        return known if fits and all(holds(sizes) for _, holds in self._requirements) else None

    def _refuse_extent(self, position: int, axis: int, found: int, sizes: Sequence[int]) -> NoReturn:
        parameter = self.inputs[position]
        dimension = parameter.dimensions[axis]
        expected = dimension.value(sizes)
        words = str(expected)
        if dimension.written != words:
            words = f"{dimension.written} = {words}"
        if isinstance(dimension.extent, Var):
            source, source_axis = self._places[dimension.extent.name]
            words += f" (as in axis {source_axis} of `{self.inputs[source].name}`)"
        elif isinstance(dimension.extent, Const):
            words += "" if dimension.written == str(expected) else " (fixed by the build)"
        else:
            words += f" ({self._values_of(dimension.extent, sizes)})"
        raise ValueError(f"{self.op}: axis {axis} of `{parameter.name}` must be {words}, found {found}")

    def _values_of(self, e: Expr, sizes: Sequence[int]) -> str:
        """`N = 10 from axis 0 of `A`` for each size in an expression."""
        used = variables(e)
        words = []
        for name, value in zip(self.sizes, sizes, strict=True):
            if name in used:
                position, axis = self._places[name]
                words.append(f"{name} = {value} from axis {axis} of `{self.inputs[position].name}`")
        return ", ".join(words)

    def _result_shape(self, parameter: Parameter, sizes: Sequence[int]) -> Shape:
        shape = tuple([dimension.value(sizes) for dimension in parameter.dimensions])
        for axis, extent in enumerate(shape):
            if extent < 0:
                dimension = parameter.dimensions[axis]
                raise ValueError(
                    f"{self.op}: axis {axis} of the result `{parameter.name}` would be "
                    f"{dimension.written} = {extent} ({self._values_of(dimension.extent, sizes)})"
                )
        # NumPy counts an empty axis as 1 here, too.
        if prod(max(1, extent) for extent in shape) * parameter.dtype.bytes > MAX_BYTES:
            raise ValueError(
                f"{self.op}: the result `{parameter.name}` of shape {shape} "
                "would need more bytes than can be addressed"
            )
        return shape
