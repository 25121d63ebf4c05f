"""What every backend offers: kernels in, an artifact that can be read, an executable that can be called.

A backend is a module or an object with `emit` and `load`; an `Artifact` is immutable and
may be kept, printed and compared, an `Executable` owns the code in this process.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from te.ir.expr import Expr
from te.ir.loop import Kernel
from te.target import Target


@dataclass(frozen=True, slots=True)
class Entry:
    """How to call one kernel of an artifact.

    The argument block is an array of 64-bit integers: the addresses of `arguments`, in that
    order; the address of scratch memory, aligned to 64: `workspace` bytes, and `thread_workspace` for each
    of the threads; the values of `sizes`; how many threads there may be; the address of the runtime's
    `parallel_for`.
    """

    name: str  # of the kernel
    symbol: str  # in the object file
    arguments: tuple[str, ...]
    sizes: tuple[str, ...]
    workspace: Expr  # bytes, an expression of the sizes
    thread_workspace: Expr  # and for each thread
    is_parallel: bool  # whether it may call `parallel_for`


@dataclass(frozen=True, slots=True)
class ObjectCode:
    """What `load` needs of an artifact, and what the object cache keeps of it."""

    target: Target
    entries: tuple[Entry, ...]
    object: bytes
    declarations: str  # of the functions that the code takes from outside


class Artifact(Protocol):
    """Compiled kernels: text for people, code for `load`."""

    @property
    def target(self) -> Target: ...

    @property
    def entries(self) -> tuple[Entry, ...]: ...

    @property
    def code(self) -> ObjectCode: ...

    @property
    def text(self) -> str:
        """The target's source text: LLVM IR, CUDA C++."""
        ...

    def asm(self) -> str:
        """The machine's instructions, as text."""
        ...


class Executable(Protocol):
    """Code in this process. It stays loaded as long as the object lives."""

    @property
    def artifact(self) -> Artifact | ObjectCode: ...

    @property
    def team(self) -> tuple[int, int]:
        """The words that end the argument block: how many threads a call may use, and `parallel_for`."""
        ...

    @property
    def enter(self) -> Callable[[bytes], object] | None:
        """Run a kernel on arrays given as NumPy's objects; None where that is not possible.

        It takes 64-bit integers: the kernel's address (`address`), how many of the argument block's words
        are arrays, how many words there are, and where an array object has its data's address; then the
        words, with the objects' addresses in the place of the data's. The word behind them, for the
        workspace, is an array's too, or 0; its data is aligned here.
        """
        ...

    def address(self, entry: int) -> int:
        """Where the code of a kernel is."""
        ...

    def __call__(self, block: int, entry: int = 0) -> None:
        """Run a kernel on the argument block at the address `block`. Other threads may run meanwhile."""
        ...


class Backend(Protocol):
    """What the entry-point group `te.backends` names."""

    name: str

    def target(self, spec: str) -> Target: ...

    def emit(
        self,
        kernels: Sequence[Kernel],
        target: Target,
        *,
        has_lines: bool = False,
        has_fast_math: bool = False,
    ) -> Artifact: ...

    def load(self, artifact: Artifact | ObjectCode) -> Executable: ...
