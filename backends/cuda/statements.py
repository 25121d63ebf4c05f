"""Statements to text. What each means for the threads of a block, `te.schedule.finalize.gpu` has settled."""

from __future__ import annotations

from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import replace
from math import prod

from te.backends.cuda.copies import copy_loop, is_copy, write_copies, write_copy
from te.backends.cuda.expressions import element, index, step, terms_of, value
from te.backends.cuda.indices import Index, Text
from te.backends.cuda.launches import LIMITS
from te.backends.cuda.matrices import matrix_load_call, matrix_step
from te.backends.cuda.prelude import type_name
from te.backends.cuda.scope import Scope
from te.backends.cuda.vectors import is_streamed, multiple_of, vector_loop, write_vectors
from te.diagnostics import Span
from te.ir.expr import Const
from te.ir.loop import (
    ASYNC,
    BINDINGS,
    BLOCKS,
    UNROLLED,
    VECTOR,
    Accumulate,
    Alloc,
    Barrier,
    Combine,
    Commit,
    For,
    If,
    Let,
    Seq,
    Stmt,
    Store,
    Wait,
    direct_exprs,
    fetched_at,
    walk_stmt,
    with_bodies,
)
from te.ir.print import print_expr
from te.ir.visit import variables
from te.schedule.finalize.gpu.matrix_loads import matrix_load

AXES = {"x": 0, "y": 1, "z": 2}
WORD = 4  # bytes of a register


class Statements:
    """Writes the statements of one function."""

    def __init__(
        self,
        scope: Scope,
        spans: dict[str, Span | None],
        block: tuple[int, int, int],
        *,
        is_in_warps: bool,
        has_shared: bool,
        place: str = "blockIdx",
    ):
        self.scope = scope
        self.spans = spans
        self.block = block  # how many threads there are along each axis
        self.place = place  # of the block in the grid
        self.has_shared = has_shared  # memory that its threads share
        self.is_in_warps = is_in_warps  # each of which is a row of the block
        self.lane = ""  # the variable of the loop over lanes that is written

    def write(self, s: Stmt, *, is_last: bool = False) -> None:
        """`is_last`: what is declared here may be seen until the block of C++ ends."""
        match s:
            case Seq():
                for n, item in enumerate(s.items):
                    self.write(item, is_last=is_last and n == len(s.items) - 1)
            case For():
                with self._at(s.stage):
                    self._for(s, is_last)
            case Let():
                self.scope.multiples[s.var] = multiple_of(s.value, self.scope.multiples)
                self._declared(s.var, index(self.scope, s.value), s, s.body, is_last)
            case If():
                self._if(s)
            case Alloc():
                self._alloc(s, is_last)
            case Barrier():
                self.scope.writer.line("__syncthreads();")
            case Commit():
                self.scope.writer.line("te_commit_copies();")
            case Wait():
                self.scope.writer.line(f"te_wait_copies<{s.pending}>();")
            case Combine():
                with self._at(s.stage):
                    self._combine(s)
            case Store() if is_copy(s):
                with self._at(s.stage):
                    write_copy(self.scope, s, 1)
            case Store():
                with self._at(s.stage):
                    target = element(self.scope, self.scope.buffers[s.buffer], s.index)
                    self._store(s, target, value(self.scope, s.value).code)
            case Accumulate():
                with self._at(s.stage):
                    self._accumulate(s)

    def _at(self, stage: str) -> AbstractContextManager[None]:
        return self.scope.writer.at(self.spans.get(stage))

    # ------------------------------------------------------------ loops

    def _for(self, s: For, is_last: bool) -> None:
        if s.kind in BINDINGS:
            self._bound(s, is_last)
        elif (load := matrix_load(s)) is not None and s in load.together:
            self.scope.writer.line(matrix_load_call(self.scope, load, self.lane))
        elif s.kind == VECTOR:
            self._vector(s)
        else:
            self._serial(s)

    def _vector(self, s: For) -> None:
        if isinstance(s.body, Store) and s.body.method == ASYNC:
            self._copies(s, s.body)
            return
        found = vector_loop(self.scope, s)
        if found is None:
            self._serial(s)
            return
        condition, plan = found
        if not condition:
            write_vectors(self.scope, s, plan)
            return
        with self.scope.writer.block(f"if ({condition})"):
            write_vectors(self.scope, s, plan)
        with self.scope.writer.otherwise():
            found = vector_loop(self.scope, s, of_any_size=True)
            if found is None:
                self._serial(s)
            else:
                write_vectors(self.scope, s, found[1])

    def _copies(self, s: For, leaf: Store) -> None:
        """The lanes of an asynchronous copy together, where sizes allow it."""
        found = copy_loop(self.scope, s, leaf)
        if found is None:
            self._one_by_one(s, leaf)
            return
        condition, lanes = found
        if not condition:
            write_copies(self.scope, s, leaf, lanes)
            return
        with self.scope.writer.block(f"if ({condition})"):
            write_copies(self.scope, s, leaf, lanes)
        with self.scope.writer.otherwise():
            self._one_by_one(s, leaf)

    def _one_by_one(self, s: For, leaf: Store) -> None:
        if is_copy(leaf):
            self._serial(s)
        else:
            self._vector(replace(s, body=replace(leaf, method="")))

    def _serial(self, s: For) -> None:
        writer = self.scope.writer
        extent = index(self.scope, s.extent)
        if s.kind in (UNROLLED, VECTOR):
            writer.line("#pragma unroll")
        variable = Index("", low=0, high=extent.high)  # one trip more than it has ends it
        name = self.scope.names.index(s.var)
        loop = f"for ({variable.type} {name} = 0; {name} < {extent.code}; ++{name})"
        with writer.block(loop), self.scope.bind(s.var, Index(name, low=0, high=_last(extent))):
            self._prefetches(s)
            self.write(s.body, is_last=True)
        self.scope.names.release(name)

    def _prefetches(self, s: For | Let) -> None:
        for fetched in s.prefetches if isinstance(s, For) else ():
            place = self.scope.buffers[fetched.buffer]
            if place.scope == "global":
                self.scope.writer.line(f"te_prefetch(&{element(self.scope, place, fetched.index)});")

    def _bound(self, s: For, is_last: bool) -> None:
        level, _, axis = s.kind.partition(".")
        extent = index(self.scope, s.extent)
        self.scope.writer.comment(f"{s.kind} for {s.var} < {print_expr(s.extent)}")
        match level:
            case "block":
                self._blocks(s, AXES[axis], extent, is_last)
            case "thread":
                self._threads(s, f"threadIdx.{axis}", extent, is_last)
            case "lane" | "warp":
                self._threads(s, self._number(level), extent, is_last)
            case _:
                raise ValueError(f"the loop `{s.var}` is bound to {s.kind}")

    def _blocks(self, s: For, axis: int, extent: Index, is_last: bool) -> None:
        letter, limit = "xyz"[axis], LIMITS[axis]
        if extent.high is not None and extent.high <= limit:
            value = Index(f"{self.place}.{letter}", low=0, high=max(extent.high - 1, 0))
            self._declared(s.var, value, s, s.body, is_last)
            return
        name = self.scope.names.index(s.var)
        loop = (
            f"for (te_i64 {name} = {self.place}.{letter}; {name} < {extent.code}; {name} += gridDim.{letter})"
        )
        with self.scope.writer.block(loop), self.scope.bind(s.var, Index(name, low=0, high=_last(extent))):
            self._prefetches(s)
            self.write(s.body, is_last=True)
            if self.has_shared and not any(
                isinstance(x, For) and x.kind in BLOCKS for x, _ in walk_stmt(s.body)
            ):
                self._end_of_block(s)
        self.scope.names.release(name)

    def _end_of_block(self, s: For) -> None:
        """The next block's part uses the same shared memory."""
        if any(isinstance(x, Store) and x.method == ASYNC for x, _ in walk_stmt(s)):
            self.scope.writer.line("te_commit_copies();")
            self.scope.writer.line("te_wait_copies<0>();")
        self.scope.writer.line("__syncthreads();")

    def _threads(self, s: For, number: str, extent: Index, is_last: bool) -> None:
        if s.kind == "lane":
            self.lane = s.var
        self._declared(s.var, Index(number, low=0, high=_last(extent)), s, s.body, is_last)

    def _number(self, level: str) -> str:
        """Of the thread's warp, or its own in that."""
        if self.is_in_warps:
            return "threadIdx.x" if level == "lane" else "threadIdx.y"
        x, y, z = self.block
        number = "threadIdx.x"
        if y * z > 1:
            row = "threadIdx.y" if z == 1 else f"({y} * threadIdx.z + threadIdx.y)"
            number = f"({x} * {row} + threadIdx.x)"
        return f"{number} % 32" if level == "lane" else f"{number} / 32"

    def _declared(self, var: str, value: Index, s: For | Let, body: Stmt, is_last: bool) -> None:
        """The body with a name for a value."""
        extent = index(self.scope, s.extent)
        last = _last(extent)
        high = last if value.high is None else value.high if last is None else min(value.high, last)
        low = 0 if value.low is None else max(value.low, 0)
        if not _is_used(var, with_bodies(s, (body,))):
            self._prefetches(s)
            self.write(body, is_last=is_last)
            return
        with nullcontext() if is_last else self.scope.writer.block():
            name = self.scope.names.index(var)
            made = Index(name, low=low, high=high)
            self.scope.writer.line(f"const {made.type} {name} = {value.code};")
            with self.scope.bind(var, made):
                self._prefetches(s)
                self.write(body, is_last=True)
        if not is_last:
            self.scope.names.release(name)

    # ------------------------------------------------------------ conditions

    def _if(self, s: If) -> None:
        writer = self.scope.writer
        head = f"if ({value(self.scope, s.condition).code})"
        with writer.block(head):
            self.write(s.body, is_last=True)
        if s.otherwise is not None:
            with writer.otherwise():
                self.write(s.otherwise, is_last=True)

    # ------------------------------------------------------------ memory

    def _alloc(self, s: Alloc, is_last: bool) -> None:
        buffer = s.buffer
        if buffer.scope == "shared":  # it has its place already
            self.write(s.body, is_last=is_last)
            return
        with nullcontext() if is_last else self.scope.writer.block():
            self._own(s)

    def _store(self, s: Store, target: str, new: str) -> None:
        place = self.scope.buffers[s.buffer]
        if is_streamed(s, place):
            self.scope.writer.line(f"te_store_past(&{target}, {new});")
        else:
            self.scope.writer.line(f"{target} = {new};")

    def _own(self, s: Alloc) -> None:
        """Memory of the thread."""
        buffer = s.buffer
        name = self.scope.names.fresh(buffer.name)
        extents = [int(d.value) for d in buffer.shape if isinstance(d, Const)]
        if buffer.scope not in ("register", "stack") or len(extents) < len(buffer.shape):
            raise ValueError(f"`{buffer.name}` is allocated in {buffer.scope} in a kernel")
        if buffer.scope == "register":
            axes = "".join(f"[{extent}]" for extent in extents)
        else:
            axes = f"[{max(1, prod(extents))}]"
        bytes = prod(extents) * buffer.dtype.bytes
        is_in_words = buffer.dtype.bytes < WORD and bytes % WORD == 0  # instructions take several as one
        alignment = f"__align__({WORD}) " if is_in_words and buffer.scope == "register" else ""
        self.scope.writer.line(f"{alignment}{type_name(buffer.dtype)} {name}{axes};")
        self.scope.place(buffer, name)
        self.write(s.body, is_last=True)
        del self.scope.buffers[buffer.name]

    def _combine(self, s: Combine) -> None:
        """Each thread combines what it has with what another one has, who does the same."""
        place, writer = self.scope.buffers[s.buffer], self.scope.writer
        axes = [(self.scope.names.index(f"part{n}"), index(self.scope, d)) for n, d in enumerate(place.shape)]
        target = Text(place.name + "".join(f"[{name}]" for name, _ in axes))
        with ExitStack() as loops:
            for name, extent in axes:
                writer.line("#pragma unroll")
                loops.enter_context(
                    writer.block(f"for (te_i32 {name} = 0; {name} < {extent.code}; ++{name})")
                )
            bit = s.width // 2
            while bit:
                other = Text(f"te_swapped<{s.width}>({target.code}, {bit})")
                writer.line(f"{target.code} = {step(s.reducer, place.dtype, other, [target]).code};")
                bit //= 2
        for name, _ in axes:
            self.scope.names.release(name)

    def _accumulate(self, s: Accumulate) -> None:
        if s.intrinsic:
            self.scope.writer.line(matrix_step(self.scope, s))
            return
        place = self.scope.buffers[s.buffer]
        target = element(self.scope, place, s.index)
        terms = terms_of(self.scope, s.reducer, s.value)
        new = step(s.reducer, place.dtype, Text(target), terms)
        self.scope.writer.line(f"{target} = {new.code};")


def _is_used(var: str, s: Stmt) -> bool:
    return any(var in variables(e) for x, _ in walk_stmt(s) for e in (*direct_exprs(x), *fetched_at(x)))


def _last(extent: Index) -> int | None:
    return None if extent.high is None else max(extent.high - 1, 0)
