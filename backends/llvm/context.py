"""What the code generator knows at a point of a function."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeAlias

from te.backends.llvm.emitter import Emitter
from te.backends.llvm.index import Index, Indices
from te.backends.llvm.values import Value
from te.ir.expr import Expr, Load
from te.ir.loop import Accumulate, Stmt, Store, walk_stmt
from te.ir.types import BOOL, DType
from te.ir.visit import walk


@dataclass(slots=True)
class Memory:
    """A buffer in memory: an argument, or a part of the workspace."""

    name: str
    dtype: DType
    pointer: Value
    shape: tuple[Expr, ...]
    strides: tuple[Index, ...] | None = None  # once known, where they are known in the whole function


@dataclass(slots=True)
class Registers:
    """A buffer in registers: one `alloca` an element, which LLVM's `sroa` turns into SSA values.

    An element is a scalar; or a vector along `vector_axis`, `width` long; or, where the buffer is
    allocated inside a vector loop and so belongs to each lane, a vector of all lanes (`is_private`).
    """

    name: str
    dtype: DType
    shape: tuple[int, ...]
    vector_axis: int | None
    width: int
    is_private: bool
    elements: dict[tuple[int, ...], str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Mask:
    """The lanes that take part. `is_active`: at least one does, for certain."""

    value: Value
    is_active: bool


Vectors: TypeAlias = "dict[tuple[int, ...], list[Value]]"  # by the trips of the unrolled loops further in


@dataclass(slots=True)
class Blocks:
    """The blocks of the unrolled loop `loop` while its trips are written (`blocks.py`).

    `vectors` are of accesses, by identity: one for each trip. `between` names the unrolled loops
    around an access that stand inside `loop`.
    """

    loop: str
    between: dict[int, tuple[str, ...]]
    vectors: dict[int, Vectors]
    condition: Value | None = None  # under which the statements at this point stand, a scalar

    def of(self, ctx: Context, access: Load | Store) -> list[Value] | None:
        """The vectors of an access, if it is one of a block."""
        names = self.between.get(id(access))
        if names is None:
            return None
        trips = tuple(ctx.trip(name) for name in names)
        return self.vectors[id(access)].setdefault(trips, [])


# Names of what code that runs in several threads knows, beside those of loops and sizes: which of them it
# is, and how many bytes each has in the workspace.
SLOT, THREAD_BYTES = ".slot", ".thread_bytes"


class Context:
    def __init__(self, emit: Emitter):
        self.emit = emit
        self.indices = Indices(emit)
        self.env: dict[str, Index] = {}
        self.buffers: dict[str, Memory | Registers] = {}
        self.lanes = 1
        self.mask: Mask | None = None
        self.is_parallel = False  # already inside a parallel loop
        self.blocks: Blocks | None = None
        # Facts about nodes, by identity; the nodes are kept, so that no other gets the same.
        self._reads: dict[int, tuple[Expr, bool]] = {}
        self._writes: dict[int, tuple[Stmt, frozenset[str]]] = {}

    @contextmanager
    def bind(self, name: str, index: Index) -> Iterator[None]:
        """Give a variable its meaning. Names are unique on a path, so nothing is hidden."""
        before = self.env.get(name)
        self.env[name] = index
        yield
        if before is None:
            del self.env[name]
        else:
            self.env[name] = before

    def trip(self, unrolled: str) -> int:
        """The trip of an unrolled loop that is being written."""
        trip = self.env[unrolled].constant
        assert trip is not None
        return trip

    @contextmanager
    def vector(self, lanes: int, mask: Mask | None = None) -> Iterator[None]:
        before = self.lanes, self.mask
        self.lanes, self.mask = lanes, mask
        yield
        self.lanes, self.mask = before

    @contextmanager
    def masked(self, condition: Value, *, is_active: bool = False) -> Iterator[None]:
        """Only the lanes where the condition holds take part."""
        before = self.mask
        self.mask = Mask(self.with_mask(condition), is_active)
        yield
        self.mask = before

    def with_mask(self, condition: Value) -> Value:
        """The condition and the mask."""
        if self.mask is None:
            return self.emit.splat(condition, self.lanes)
        mask, condition = self.emit.unify(self.mask.value, condition)
        return self.emit.pure(f"and {mask.typed}, {condition.text}", BOOL, [mask, condition], mask.lanes)

    def any_lane(self, mask: Value) -> Value:
        """Whether any lane of a mask takes part: a scalar."""
        bits = self.emit.pure(
            f"bitcast {mask.typed} to i{mask.lanes}", DType("bits", "uint", mask.lanes), [mask]
        )
        return self.emit.pure(f"icmp ne i{mask.lanes} {bits.text}, 0", BOOL, [bits])

    def reads_memory(self, e: Expr) -> bool:
        """Whether the expression holds a read."""
        known = self._reads.get(id(e))
        if known is None:
            known = self._reads[id(e)] = e, any(isinstance(node, Load) for node in walk(e))
        return known[1]

    def writes(self, s: Stmt) -> frozenset[str]:
        """The buffers that the statement stores to."""
        known = self._writes.get(id(s))
        if known is None:
            stores = (node.buffer for node, _ in walk_stmt(s) if isinstance(node, Store | Accumulate))
            known = self._writes[id(s)] = s, frozenset(stores)
        return known[1]
