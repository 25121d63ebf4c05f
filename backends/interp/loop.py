"""The loop IR run one scalar operation at a time: what a kernel means, at both of its levels.

A kernel becomes the text of one Python function (`python_source` shows it). Memory is
guarded: an access outside a buffer, a read of an element that nothing has written, and
a result with an element that nothing has written raise `InterpreterError`.

- A `start` is put in place where the outermost of its `over` loops begins, by a copy of
  the data loops inside that loop.
- Parallel and bound loops run in the order asked for, so that tests can try several.
- An asynchronous store happens at the `Wait` that asks for it, and its element may not be read before.
- A vector loop runs in lockstep: each statement for all lanes before the next one, and
  what a statement reads before what it writes.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial, reduce
from typing import Literal, TypeAlias

import numpy as np

from te.backends.interp.arithmetic import Value, quietly
from te.backends.interp.copies import Copies, given
from te.backends.interp.evaluate import InterpreterError, evaluate_integer
from te.backends.interp.inputs import bind_inputs, raise_failed_checks
from te.backends.interp.memory import Memory, Part
from te.backends.interp.source import ExpressionWriter
from te.backends.interp.threads import with_own_registers
from te.ir.expr import TRUE, Expr, Load, Select, Var, both, compare, conjuncts, integer, negation, sub
from te.ir.loop import (
    ASYNC,
    CONCURRENT,
    FINAL,
    VECTOR,
    Accumulate,
    Alloc,
    Barrier,
    Buffer,
    Combine,
    Commit,
    Completed,
    For,
    If,
    Kernel,
    Let,
    Seq,
    Stmt,
    Store,
    Wait,
    walk_stmt,
)
from te.ir.print import print_stmt
from te.ir.tensor import fused_factors
from te.ir.types import DType, numpy_dtype
from te.ir.visit import loads, variables

Order: TypeAlias = Literal["forward", "reverse", "shuffled"]
# What may stand around a statement and binds a variable or decides whether it runs.
Wrapper: TypeAlias = For | Let | If


def run_kernel(
    kernel: Kernel,
    inputs: Mapping[str, np.ndarray],
    sizes: Mapping[str, int] | None = None,
    *,
    order: Order = "forward",
) -> dict[str, np.ndarray]:
    """The kernel's results, by name; `order` is that of the trips of parallel and bound loops.

    Raises TypeError and ValueError for inputs that do not fit, InterpreterError for a
    kernel that breaks a rule of the loop IR.
    """
    program = kernel.program
    arrays, values = bind_inputs(program, inputs, sizes)
    memory = {name: Memory.of_input(name, array) for name, array in arrays.items()}
    for b in kernel.arguments:
        if b.name in arrays:
            continue
        shape = tuple(evaluate_integer(d, values) for d in b.shape)
        memory[b.name] = Memory.fresh(b.name, numpy_dtype(b.dtype), shape)
    text, namespace = _compile(kernel)
    namespace["copies"] = Copies()
    namespace["trips"] = partial(_trips, order, random.Random(0))
    exec(compile(text, f"<{kernel.name}>", "exec"), namespace)
    with quietly():
        namespace["kernel"](*[memory[b.name] for b in kernel.arguments], *[values[s] for s in program.sizes])
    found = {name: memory[name].finished() for name in program.outputs}
    raise_failed_checks(program, found, values)
    return {name: found[name] for name in program.results}


def python_source(kernel: Kernel) -> str:
    """The Python text that the kernel runs as."""
    return _compile(kernel)[0]


def _trips(order: Order, generator: random.Random, extent: int) -> Sequence[int]:
    match order:
        case "forward":
            return range(extent)
        case "reverse":
            return range(extent - 1, -1, -1)
        case "shuffled":
            return generator.sample(range(extent), max(0, extent))


def _check_let(name: str, value: int, extent: int) -> None:
    if not 0 <= value < extent:
        raise InterpreterError(f"{name} is {value} where its effects happen, not in 0 .. {extent - 1}")


def _compile(kernel: Kernel) -> tuple[str, dict[str, Value]]:
    writer = _KernelWriter(kernel)
    writer.kernel()
    namespace = {**writer.expressions.namespace, "Memory": Memory, "Part": Part, "check_let": _check_let}
    namespace["given"] = given
    return "\n".join(writer.lines) + "\n", namespace


class _KernelWriter:
    """Writes a kernel's statements as Python text."""

    def __init__(self, kernel: Kernel):
        self.source = with_own_registers(kernel)
        self.expressions = ExpressionWriter()
        self.dtypes: dict[str, DType] = {b.name: b.dtype for b in kernel.arguments}
        self.lines: list[str] = []
        self.indent = 0
        self.loops = 0  # `for`s around this place, in the innermost Python function
        self.around: tuple[Wrapper, ...] = ()  # loops, `Let`s and guards that this place is inside of

    # ------------------------------------------------------------ text

    def line(self, text: str) -> None:
        self.lines.append("    " * self.indent + text)

    @contextmanager
    def block(self, head: str) -> Iterator[None]:
        self.line(head)
        begin = len(self.lines)
        self.indent += 1
        yield
        if len(self.lines) == begin:
            self.line("pass")
        self.indent -= 1

    @contextmanager
    def inside(self, wrapper: Wrapper) -> Iterator[None]:
        """The text of a loop, guard or `Let` around what is written meanwhile."""
        e = self.expressions
        outer, self.around = self.around, (*self.around, wrapper)
        match wrapper:
            case For():
                trips = "trips" if wrapper.kind in CONCURRENT else "range"
                with self._loop(f"for {e.variable(wrapper.var)} in {trips}({e.integer(wrapper.extent)}):"):
                    yield
            case If():
                with self.block(f"if {e.value(wrapper.condition)}:"):
                    yield
            case Let():
                self.line(f"{e.variable(wrapper.var)} = {e.integer(wrapper.value)}")
                yield
        self.around = outer

    @contextmanager
    def _loop(self, head: str) -> Iterator[None]:
        # Python allows 20 nested loops in one function.
        outer, self.loops = self.loops, self.loops + 1
        if self.loops == 16:
            self.loops = 1
            with self.block("def part():"), self.block(head):
                yield
            self.line("part()")
        else:
            with self.block(head):
                yield
        self.loops = outer

    def kernel(self) -> None:
        buffers = [self.expressions.buffer(b.name) for b in self.source.arguments]
        sizes = [self.expressions.variable(s) for s in self.source.program.sizes]
        with self.block(f"def kernel({', '.join([*buffers, *sizes])}):"):
            for b in buffers:
                self.line(f"load_{b}, store_{b} = {b}.load, {b}.store")
            self.statement(self.source.body, ())

    # ------------------------------------------------------------ statements

    def statement(self, s: Stmt, lanes: tuple[Wrapper, ...]) -> None:
        """`lanes`: the vector loop around `s`, and the guards and `Let`s in it that differ between lanes."""
        match s:
            case Seq():
                for item in s.items:
                    self.statement(item, lanes)
            case For():
                self._starts(s, lanes)
                self._completed_at_once(s, lanes)
                if s.kind == VECTOR and not lanes and _runs_in_lockstep(s):
                    self.statement(s.body, (s,))
                else:
                    with self.inside(s):
                        self.statement(s.body, lanes)
            case If() if variables(s.condition) & _varying(lanes):
                self.statement(s.body, (*lanes, If(s.condition, s.body)))
                if s.otherwise is not None:
                    self.statement(s.otherwise, (*lanes, If(negation(s.condition), s.otherwise)))
            case If():
                with self.inside(s):
                    self.statement(s.body, lanes)
                if s.otherwise is not None:
                    with self.block("else:"):
                        self.statement(s.otherwise, lanes)
            case Let() if variables(s.value) & _varying(lanes):
                self.statement(s.body, (*lanes, s))
            case Let():
                with self.inside(s):
                    self.statement(s.body, lanes)
            case Alloc():
                self._allocate(s.buffer)
                self.statement(s.body, lanes)
            case Barrier():
                pass
            case Commit():
                self.line("copies.commit()")
            case Wait():
                self.line(f"copies.wait({s.pending})")
            case Combine():
                raise InterpreterError(f"`{s.buffer}` is combined where it is not one of each thread")
            case Completed():
                extents = {w.var: w.extent for w in self.around if isinstance(w, For)}
                last = [compare("==", Var(v), sub(extents[v], integer(1))) for v in sorted(s.over)]
                with self.inside(If(reduce(both, last), s.body)):
                    self.statement(s.body, lanes)
            case Store() | Accumulate():
                self._effect(s, lanes)

    def _allocate(self, buffer: Buffer) -> None:
        self.dtypes[buffer.name] = buffer.dtype
        name, e = self.expressions.buffer(buffer.name), self.expressions
        dtype = e.hold("n", buffer.dtype, numpy_dtype(buffer.dtype))
        shape, origin = (
            "".join(f"{e.integer(d)}, " for d in parts) for parts in (buffer.shape, buffer.origin)
        )
        made = f"Part.fresh({{}}, ({origin}))" if buffer.origin else "Memory.fresh({})"
        self.line(f"{name} = {made.format(f'{buffer.name!r}, {dtype}, ({shape})')}")
        self.line(f"load_{name}, store_{name} = {name}.load, {name}.store")

    def _effect(self, s: Store | Accumulate, lanes: tuple[Wrapper, ...]) -> None:
        """What the statement reads, then what it writes; for all lanes each, in a vector loop."""
        self._check_dtype(s)
        e, buffer = self.expressions, self.expressions.buffer(s.buffer)
        factors = fused_factors(s.reducer, s.value) if isinstance(s, Accumulate) else None
        is_copy = isinstance(s, Store) and s.method == ASYNC and self.source.level == FINAL
        values = [self._copied(s.value)] if is_copy else [e.value(v) for v in factors or (s.value,)]
        reads = [e.integer(i) for i in s.index] + values
        index = [f"x{n}" for n in range(len(s.index))]
        terms = [f"x{n}" for n in range(len(s.index), len(reads))]
        new = terms[0]
        if isinstance(s, Accumulate):
            old = f"load_{buffer}({', '.join(index)})"
            if s.start is not None and not s.over:
                old = e.value(s.start)
            new = e.step(s.reducer, old, terms)
        write = f"store_{buffer}({', '.join([*index, new])})"
        if is_copy:
            write = f"copies.begin({buffer}, ({''.join(f'{i}, ' for i in index)}), *{new})"
        read, names = f"({', '.join(reads)},)", f"({', '.join([*index, *terms])},)"
        if not lanes:
            self._check_lets()
            self.line(f"{names} = {read}")
            self.line(write)
            return
        self.line("pending = []")
        with ExitStack() as wrappers:
            for wrapper in lanes:
                wrappers.enter_context(self.inside(wrapper))
            self._check_lets()
            self.line(f"pending.append({read})")
        with self.block(f"for {names} in pending:"):
            self.line(write)

    def _copied(self, value: Expr) -> str:
        """What gives the value when it is wanted, and its arguments, which are worked out now."""
        e = self.expressions
        match value:
            case Load():
                return f"({', '.join([f'load_{e.buffer(value.buffer)}', *map(e.integer, value.index)])},)"
            case Select():
                chosen = self._copied(value.then), self._copied(value.otherwise)
                return f"({chosen[0]} if {e.value(value.condition)} else {chosen[1]})"
        return f"(given, {e.value(value)})"

    def _check_dtype(self, s: Store | Accumulate) -> None:
        if s.value.dtype != self.dtypes[s.buffer]:
            raise InterpreterError(
                f"{s.buffer} holds {self.dtypes[s.buffer]}, not {s.value.dtype}: {print_stmt(s)}"
            )

    def _check_lets(self) -> None:
        e = self.expressions
        for w in self.around:
            if isinstance(w, Let):
                self.line(f"check_let({w.var!r}, {e.variable(w.var)}, {e.integer(w.extent)})")

    # ------------------------------------------------------------ starts

    def _starts(self, loop: For, lanes: tuple[Wrapper, ...]) -> None:
        """The `start`s that belong before `loop`: those of which it is the outermost reduction loop."""
        outside = {w.var for w in (*self.around, *lanes) if isinstance(w, For)}
        e = self.expressions
        for s, path in _accumulates(loop.body):
            if s.start is None or loop.var not in s.over or s.over & outside:
                continue
            data, guard = _data_part(path, s.over)
            buffer = e.buffer(s.buffer)
            arguments = ", ".join([*map(e.integer, s.index), e.value(s.start)])
            with ExitStack() as wrappers:
                for wrapper in (*lanes, *data):
                    wrappers.enter_context(self.inside(wrapper))
                with self.block(f"if {e.value(guard)}:"):
                    self.line(f"store_{buffer}({arguments})")

    def _completed_at_once(self, loop: For, lanes: tuple[Wrapper, ...]) -> None:
        """What waits for `loop`, its outermost loop, and others, where one of these has no trip."""
        outside = {w.var for w in self.around if isinstance(w, For)}
        e = self.expressions
        for s, path in walk_stmt(loop):
            if not isinstance(s, Completed) or loop.var not in s.over or s.over & outside:
                continue
            extents = [w.extent for w in path if isinstance(w, For) and w.var in s.over]
            empty = [compare("<=", extent, integer(0)) for extent in extents]
            data, guard = _data_part([w for w in path if isinstance(w, For | Let | If)], s.over)
            with self.block(f"if {' or '.join(e.value(c) for c in empty)}:"), ExitStack() as wrappers:
                for wrapper in data:
                    wrappers.enter_context(self.inside(wrapper))
                with self.block(f"if {e.value(guard)}:"):
                    self.statement(s.body, lanes)


def _varying(lanes: tuple[Wrapper, ...]) -> set[str]:
    """The variables that differ between the lanes of a vector loop."""
    return {w.var for w in lanes if not isinstance(w, If)}


def _runs_in_lockstep(loop: For) -> bool:
    """Whether `loop` can be taken apart around each statement; if not, its trips run one by one.

    That computes the same, for the rewrite that made the loop a vector loop has proved so.
    """
    varying = {loop.var}
    inner = [s for s, _ in walk_stmt(loop.body)]
    written = {s.buffer for s in inner if isinstance(s, Store | Accumulate)}
    for s in inner:
        match s:
            case Let() if variables(s.value) & varying:
                varying.add(s.var)
            case For() if s.kind == VECTOR or variables(s.extent) & varying:
                return False
            case If() if any(load.buffer in written for load in loads(s.condition)):
                return False
            case Alloc():
                return False
    return True


def _accumulates(s: Stmt, path: tuple[Wrapper, ...] = ()) -> Iterator[tuple[Accumulate, tuple[Wrapper, ...]]]:
    """Every `Accumulate` in `s`, with what stands around it there."""
    match s:
        case Accumulate():
            yield s, path
        case Seq():
            for item in s.items:
                yield from _accumulates(item, path)
        case Alloc():
            yield from _accumulates(s.body, path)
        case Completed():
            yield from _accumulates(s.body, path)
        case For() | Let():
            yield from _accumulates(s.body, (*path, s))
        case If():
            yield from _accumulates(s.body, (*path, replace(s, otherwise=None)))
            if s.otherwise is not None:
                yield from _accumulates(s.otherwise, (*path, If(negation(s.condition), s.otherwise)))
        case Store():
            pass


def _data_part(path: Sequence[Wrapper], over: frozenset[str]) -> tuple[list[For | Let], Expr]:
    """The loops and `Let`s of a path that do not depend on the loops `over`, and the guards that do not."""
    reduction = set(over)
    data: list[For | Let] = []
    guard: Expr = TRUE
    for w in path:
        match w:
            case For() if w.var not in reduction:
                data.append(w)
            case Let() if variables(w.value) & reduction:
                reduction.add(w.var)
            case Let():
                data.append(w)
            case If(of_terms=False):
                for part in conjuncts(w.condition):
                    if not variables(part) & reduction:
                        guard = both(guard, part)
    return data, guard
