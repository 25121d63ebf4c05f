"""What stands where code is written: variables with their ranges, buffers with their C++ names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from te.backends.cuda.indices import Index
from te.backends.cuda.names import Names
from te.backends.cuda.text import Writer
from te.ir.expr import Expr
from te.ir.loop import Buffer
from te.ir.types import DType


@dataclass(frozen=True, slots=True)
class Place:
    """A buffer in the text: a pointer, or an array of registers, which has an index an axis."""

    name: str
    dtype: DType
    shape: tuple[Expr, ...]
    scope: str
    has_vectors: bool = True  # whether it begins at a multiple of 16 bytes

    @property
    def is_register(self) -> bool:
        return self.scope == "register"


@dataclass
class Scope:
    """The state of a function's text. `lanes` holds what stands for a read in each lane of a vector loop."""

    writer: Writer
    names: Names
    variables: dict[str, Index] = field(default_factory=dict)
    buffers: dict[str, Place] = field(default_factory=dict)
    lanes: Mapping[Expr, str] = field(default_factory=dict)
    multiples: dict[str, int] = field(default_factory=dict)  # what variables are known to be multiples of
    sizes: tuple[str, ...] = ()
    has_fast_math: bool = False

    def place(self, buffer: Buffer, name: str) -> Place:
        """Make a buffer known under a name."""
        found = Place(name, buffer.dtype, buffer.shape, buffer.scope)
        self.buffers[buffer.name] = found
        return found

    @contextmanager
    def bind(self, variable: str, value: Index) -> Iterator[None]:
        """Within, the variable is that text."""
        outer = self.variables.get(variable)
        self.variables[variable] = value
        yield
        if outer is None:
            del self.variables[variable]
        else:
            self.variables[variable] = outer

    @contextmanager
    def reading(self, lanes: Mapping[Expr, str]) -> Iterator[None]:
        """Within, these reads are those texts."""
        outer, self.lanes = self.lanes, {**self.lanes, **lanes}
        yield
        self.lanes = outer
