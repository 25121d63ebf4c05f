"""A final kernel to a program: what the host does, and the functions that it launches.

Loops bound to blocks open a launch. What stands in no such loop is a launch of one thread, together with its
neighbours; loops, conditions and names around launches are the host's.
"""

from __future__ import annotations

from dataclasses import dataclass

from te.backends.cuda.function import Functions
from te.backends.cuda.launches import (
    INPUT,
    OUTPUT,
    STATE,
    Argument,
    Host,
    HostFor,
    HostIf,
    HostLet,
    HostSeq,
    Program,
    Workspace,
)
from te.ir.accesses import FAULT
from te.ir.expr import Const, Expr, integer, mul
from te.ir.loop import (
    BINDINGS,
    FINAL,
    Accumulate,
    Alloc,
    Buffer,
    For,
    If,
    Kernel,
    Let,
    Seq,
    Stmt,
    Store,
    walk_stmt,
)


@dataclass
class _Host:
    """The host's part of one kernel, and what it has come across."""

    functions: Functions
    workspace: list[Buffer]

    def statement(self, s: Stmt) -> Host:
        if not _holds_launches(s):
            return self.functions.launch(s)
        match s:
            case Alloc():
                self.workspace.append(s.buffer)
                self.functions.buffers[s.buffer.name] = s.buffer
                return self.statement(s.body)
            case Seq():
                return self._sequence(s)
            case For() if s.kind in BINDINGS:
                return self.functions.launch(s)
            case For():
                with self.functions.host_variable(s.var):
                    return HostFor(s.var, s.extent, self.statement(s.body))
            case Let():
                with self.functions.host_variable(s.var):
                    return HostLet(s.var, s.value, self.statement(s.body))
            case If():
                otherwise = None if s.otherwise is None else self.statement(s.otherwise)
                return HostIf(s.condition, self.statement(s.body), otherwise)
        raise ValueError(f"a launch in {type(s).__name__}")

    def _sequence(self, s: Seq) -> Host:
        items: list[Host] = []
        alone: list[Stmt] = []  # neighbours in no block loop
        for item in (*s.items, None):
            if item is not None and not _holds_launches(item):
                alone.append(item)
                continue
            if alone:
                items.append(self.functions.launch(Seq(tuple(alone)) if len(alone) > 1 else alone[0]))
                alone = []
            if item is not None:
                items.append(self.statement(item))
        return items[0] if len(items) == 1 else HostSeq(tuple(items))


def _holds_launches(s: Stmt) -> bool:
    return any(
        (isinstance(x, For) and x.kind in BINDINGS) or (isinstance(x, Alloc) and x.buffer.scope == "global")
        for x, _ in walk_stmt(s)
    )


def program_of(kernel: Kernel, functions: Functions) -> Program:
    """Write the kernel's functions, and say how they are launched."""
    if kernel.level != FINAL:
        raise ValueError(f"`{kernel.name}` is at level {kernel.level}; the CUDA backend takes final kernels")
    functions.begin(kernel)
    host = _Host(functions, [])
    made = host.statement(kernel.body)
    arguments = _arguments(kernel)
    workspace = tuple(Workspace(b.name, b.dtype, _bytes(b)) for b in host.workspace)
    return Program(kernel.name, arguments, kernel.program.sizes, made, workspace)


def _arguments(kernel: Kernel) -> tuple[Argument, ...]:
    written = {s.buffer for s, _ in walk_stmt(kernel.body) if isinstance(s, Store | Accumulate)}

    def role(name: str) -> str:
        if name == FAULT:
            return STATE
        return OUTPUT if name in written else INPUT

    return tuple(Argument(b.name, b.dtype, b.shape, role(b.name)) for b in kernel.arguments)


def _bytes(buffer: Buffer) -> Expr:
    constant = buffer.dtype.bytes
    size: Expr | None = None
    for extent in buffer.shape:
        if isinstance(extent, Const):
            constant *= int(extent.value)
        else:
            size = extent if size is None else mul(size, extent)
    return integer(constant) if size is None else mul(size, integer(constant))
