"""Buffers that know which of their elements hold a value."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from te.backends.interp.arithmetic import Value
from te.backends.interp.evaluate import InterpreterError


@dataclass(frozen=True, slots=True)
class Memory:
    """A buffer's elements. `written` says which of them hold a value; None: all, and none may change."""

    name: str
    elements: np.ndarray
    written: np.ndarray | None

    @staticmethod
    def of_input(name: str, elements: np.ndarray) -> Memory:
        return Memory(name, elements, None)

    @staticmethod
    def fresh(name: str, dtype: np.dtype, shape: tuple[int, ...]) -> Memory:
        elements = np.empty(shape, dtype)
        elements.fill(0b0101_0101 if dtype.kind in "iu" else True if dtype.kind == "b" else np.nan)
        return Memory(name, elements, np.zeros(shape, bool))

    def load(self, *index: int) -> Value:
        self._check(index)
        if self.written is not None and not self.written[index]:
            raise InterpreterError(f"{self._place(index)} is read and nothing has written it")
        return self.elements[index]

    def store(self, *index_and_value: Value) -> None:
        *position, value = index_and_value
        index = tuple(position)
        self._check(index)
        if self.written is None:
            raise InterpreterError(f"{self._place(index)} is written, and {self.name} is an input")
        self.elements[index] = value
        self.written[index] = True

    def forget(self, *index: int) -> None:
        """The element holds nothing that may be read any more."""
        self._check(index)
        if self.written is None:
            raise InterpreterError(f"{self._place(index)} is written, and {self.name} is an input")
        self.written[index] = False

    def finished(self) -> np.ndarray:
        """The elements, all of which must hold a value."""
        if self.written is not None and not self.written.all():
            index = np.unravel_index(int(np.argmin(self.written)), self.written.shape)
            raise InterpreterError(f"nothing has written {self._place(tuple(map(int, index)))}")
        return self.elements

    def _check(self, index: tuple[int, ...]) -> None:
        shape = self.elements.shape
        if len(index) != len(shape):
            raise InterpreterError(f"{self._place(index)} has {len(index)} indices, not {len(shape)}")
        for i, extent in zip(index, shape, strict=True):
            if not 0 <= i < extent:
                raise InterpreterError(
                    f"{self._place(index)} lies outside: {self.name} has the shape {shape}"
                )

    def _place(self, index: tuple[int, ...]) -> str:
        return f"{self.name}[{', '.join(map(str, index))}]"


@dataclass(frozen=True, slots=True)
class Part:
    """Memory of a part of a tensor, under the tensor's indices; `origin` is the first of them."""

    memory: Memory
    origin: tuple[int, ...]

    @staticmethod
    def fresh(name: str, dtype: np.dtype, shape: tuple[int, ...], origin: tuple[int, ...]) -> Part:
        return Part(Memory.fresh(name, dtype, shape), origin)

    def load(self, *index: int) -> Value:
        return self.memory.load(*self._inside(index))

    def store(self, *index_and_value: Value) -> None:
        self.memory.store(*self._inside(index_and_value[:-1]), index_and_value[-1])

    def _inside(self, index: tuple[Value, ...]) -> tuple[int, ...]:
        return tuple(int(i) - low for i, low in zip(index, self.origin, strict=True))
