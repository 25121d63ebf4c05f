"""`__global__` functions: parameters, block and thread indices, shared memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import prod

from te.backends.cuda.indices import Index
from te.backends.cuda.launches import Launch
from te.backends.cuda.names import Names, identifier
from te.backends.cuda.prelude import type_name
from te.backends.cuda.scope import Place, Scope
from te.backends.cuda.statements import AXES, Statements
from te.backends.cuda.text import Writer
from te.diagnostics import Span
from te.ir.expr import Const, Expr, integer
from te.ir.loop import (
    THREADS,
    Accumulate,
    Alloc,
    Buffer,
    For,
    Kernel,
    Let,
    Stmt,
    Store,
    direct_exprs,
    fetched_at,
    walk_stmt,
)
from te.ir.visit import loads, variables
from te.schedule.block_order import OF_PLANES
from te.schedule.finalize.gpu.arena import ALIGNMENT, end_of

SHARED = "te_shared"


@dataclass
class Functions:
    """The functions of one artifact as they are written."""

    has_fast_math: bool = False
    writer: Writer = field(default_factory=Writer)
    symbols: Names = field(default_factory=Names)
    buffers: dict[str, Buffer] = field(default_factory=dict)  # of the kernel, in device memory
    _scalars: list[str] = field(default_factory=list)  # sizes and host variables in scope
    _sizes: tuple[str, ...] = ()
    _spans: dict[str, Span | None] = field(default_factory=dict)
    _name: str = ""

    def begin(self, kernel: Kernel) -> None:
        """What is launched from now on belongs to this kernel."""
        self.buffers = {b.name: b for b in kernel.arguments}
        self._sizes = kernel.program.sizes
        self._scalars = list(kernel.program.sizes)
        self._spans = {stage.name: stage.span for stage in kernel.program.stages}
        self._name = kernel.name

    @contextmanager
    def host_variable(self, name: str) -> Iterator[None]:
        self._scalars.append(name)
        yield
        self._scalars.pop()

    def launch(self, s: Stmt) -> Launch:
        """Write the function of a statement."""
        symbol = self.symbols.unique(f"te_{identifier(self._name)}")
        block = _block(s)
        reads, writes = _touched(s)
        used = {
            name for x, _ in walk_stmt(s) for e in (*direct_exprs(x), *fetched_at(x)) for name in variables(e)
        }
        used |= {
            n
            for b in reads | writes
            if b in self.buffers
            for d in self.buffers[b].shape
            for n in variables(d)
        }
        buffers = [name for name in self.buffers if name in reads | writes]
        scalars = [name for name in self._scalars if name in used]
        names = Names()
        sizes = tuple(name for name in scalars if name in self._sizes)
        scope = Scope(Writer(), names, sizes=sizes, has_fast_math=self.has_fast_math)
        parameters = [self._pointer(scope, name, name in writes) for name in buffers]
        for name in scalars:
            text = names.index(name)
            scope.variables[name] = Index(text, low=0)
            parameters.append(f"te_i64 {text}")
        cluster = _cluster(s)
        together = f"__cluster_dims__({cluster}, 1, 1) " if cluster > 1 else ""
        head = f'extern "C" __global__ void {together}__launch_bounds__({prod(block)}) {symbol}('
        scope.writer.line(head if parameters else f"{head})")
        for number, parameter in enumerate(parameters):
            scope.writer.line(f"    {parameter}{')' if number == len(parameters) - 1 else ','}")
        with scope.writer.block():
            shared = _shared(s, scope)
            kinds = {x.kind for x, _ in walk_stmt(s) if isinstance(x, For)}
            is_in_warps = not any(kind.startswith("thread") for kind in kinds)
            place = _place(s, scope)
            statements = Statements(
                scope, self._spans, block, is_in_warps=is_in_warps, has_shared=shared > 0, place=place
            )
            statements.write(s, is_last=True)
        self.writer.extend(scope.writer)
        self.writer.blank()
        return Launch(symbol, _grid(s), block, shared, tuple(buffers), tuple(scalars), cluster)

    def _pointer(self, scope: Scope, name: str, is_written: bool) -> str:
        buffer = self.buffers[name]
        text = scope.names.fresh(name)
        scope.buffers[name] = Place(text, buffer.dtype, buffer.shape, "global")
        return f"{'' if is_written else 'const '}{type_name(buffer.dtype)}* __restrict__ {text}"


def _touched(s: Stmt) -> tuple[set[str], set[str]]:
    reads = {load.buffer for x, _ in walk_stmt(s) for e in direct_exprs(x) for load in loads(e)}
    writes = {x.buffer for x, _ in walk_stmt(s) if isinstance(x, Store | Accumulate)}
    reads |= {x.buffer for x, _ in walk_stmt(s) if isinstance(x, Accumulate)}
    reads |= {p.buffer for x, _ in walk_stmt(s) if isinstance(x, For) for p in x.prefetches}
    return reads, writes


def _block(s: Stmt) -> tuple[int, int, int]:
    """How many threads a block has along each axis. Where it has warps alone, each is a row."""
    counts: dict[str, int] = {}
    for x, _ in walk_stmt(s):
        if isinstance(x, For) and x.kind in THREADS:
            count = int(x.extent.value) if isinstance(x.extent, Const) else 0
            if counts.setdefault(x.kind, count) != count or not count:
                raise ValueError(f"the loop `{x.var}` does not run on all threads")
    if any(kind.startswith("thread") for kind in counts):
        return counts.get("thread.x", 1), counts.get("thread.y", 1), counts.get("thread.z", 1)
    return counts.get("lane", 1), counts.get("warp", 1), 1


def _place(s: Stmt, scope: Scope) -> str:
    """What says where a block is; not the order in which they are counted where a loop asks for another."""
    loops = [x for x, _ in walk_stmt(s) if isinstance(x, For) and x.kind in ("block.x", "block.y")]
    order = next((loop.order for loop in loops if loop.order in OF_PLANES), None)
    if len({loop.kind for loop in loops}) < 2 or order is None:
        return "blockIdx"
    name = scope.names.fresh("place")
    scope.writer.line(f"const uint3 {name} = te_{order}_block();")
    return name


def _cluster(s: Stmt) -> int:
    """How many neighbouring blocks start together."""
    return max((x.cluster for x, _ in walk_stmt(s) if isinstance(x, For)), default=1)


def _grid(s: Stmt) -> tuple[Expr, Expr, Expr]:
    grid: list[Expr] = [integer(1)] * 3
    while isinstance(s, For | Let | Alloc):
        if isinstance(s, For) and s.kind.startswith("block"):
            grid[AXES[s.kind[-1]]] = s.extent
        s = s.body
    return grid[0], grid[1], grid[2]


def _shared(s: Stmt, scope: Scope) -> int:
    """Give the shared buffers of a launch their places; how many bytes they take."""
    buffers = [x.buffer for x, _ in walk_stmt(s) if isinstance(x, Alloc) and x.buffer.scope == "shared"]
    if buffers:
        scope.writer.line(f"extern __shared__ __align__({ALIGNMENT}) unsigned char {SHARED}[];")
    for buffer in buffers:
        name = scope.place(buffer, scope.names.fresh(buffer.name)).name
        type = type_name(buffer.dtype)
        offset = f" + {buffer.place}" if buffer.place else ""
        scope.writer.line(f"{type}* const {name} = ({type}*)({SHARED}{offset});")
    return max(map(end_of, buffers), default=0)
