"""A kernel to functions: an entry that takes the argument block apart, and the body.

The body has each buffer as a parameter of its own, `noalias`: arguments do not overlap results (the
runtime sees to it), and the parts of the workspace do not overlap each other. Those of threads lie behind
the others, all that one thread has together.
"""

from __future__ import annotations

from te.backends.base import Entry
from te.backends.llvm import memory
from te.backends.llvm.context import SLOT, THREAD_BYTES, Context, Memory
from te.backends.llvm.emitter import Emitter
from te.backends.llvm.expressions import expression, index_of
from te.backends.llvm.module import ModuleText
from te.backends.llvm.statements import statement
from te.backends.llvm.values import POINTER, Value, ascii_name, parameter
from te.ir.expr import Const, Expr, add, floor_div, integer, maximum, mul
from te.ir.loop import FINAL, PARALLEL, Alloc, Buffer, For, Kernel, Stmt, Store, bodies, walk_stmt
from te.ir.types import I64

WORKSPACE_ALIGNMENT = 64


def kernel_functions(module: ModuleText, kernel: Kernel) -> Entry:
    """Write the kernel's functions into the module."""
    if kernel.level != FINAL:
        raise ValueError(f"`{kernel.name}` is at level {kernel.level}; the LLVM backend takes final kernels")
    symbol = module.unique("te_" + ascii_name(kernel.name).replace(".", "_"))
    if module.lines is not None:
        module.lines.begin(kernel.program)
    module.has_streams = any(isinstance(s, Store) and s.stream for s, _ in walk_stmt(kernel.body))
    offsets: dict[str, tuple[Buffer, Expr]] = {}
    workspace = _lay_out(kernel.body, "global", integer(0), offsets)
    of_thread: dict[str, tuple[Buffer, Expr]] = {}
    thread_workspace = _lay_out(kernel.body, "thread", integer(0), of_thread)
    offsets |= {name: (buffer, _sum(workspace, start)) for name, (buffer, start) in of_thread.items()}
    _body(module, kernel, f"{symbol}.body", offsets, thread_workspace)
    _entry(module, kernel, symbol, offsets)
    is_parallel = any(isinstance(s, For) and s.kind == PARALLEL for s, _ in walk_stmt(kernel.body))
    arguments = tuple(buffer.name for buffer in kernel.arguments)
    return Entry(
        kernel.name, symbol, arguments, kernel.program.sizes, workspace, thread_workspace, is_parallel
    )


# ---------------------------------------------------------------- the workspace


def _lay_out(s: Stmt, scope: str, start: Expr, offsets: dict[str, tuple[Buffer, Expr]]) -> Expr:
    """Give each buffer of a scope its offset; the result is the end. Those that do not live at once share memory."""
    if isinstance(s, Alloc) and s.buffer.scope == scope:
        offsets[s.buffer.name] = (s.buffer, start)
        start = _sum(start, _aligned_size(s.buffer))
    if isinstance(s, For) and s.kind == PARALLEL and scope == "global":
        inside = [
            node.buffer.name
            for node, _ in walk_stmt(s.body)
            if isinstance(node, Alloc) and node.buffer.scope == "global"
        ]
        if inside:
            raise ValueError(f"`{inside[0]}` is allocated in memory inside the parallel loop `{s.var}`")
        return start
    ends = [_lay_out(body, scope, start, offsets) for body in bodies(s)]
    result = start
    for end in ends:
        if end != result and end != start:
            result = end if result == start else maximum(result, end)
    return result


def _aligned_size(buffer: Buffer) -> Expr:
    elements = 1
    size: Expr = integer(buffer.dtype.bytes)
    for extent in buffer.shape:
        if isinstance(extent, Const):
            elements *= int(extent.value)
        else:
            size = mul(size, extent)
    bytes = _scaled(size, elements)
    if isinstance(bytes, Const):
        return integer(-(-int(bytes.value) // WORKSPACE_ALIGNMENT) * WORKSPACE_ALIGNMENT)
    lines = floor_div(add(bytes, integer(WORKSPACE_ALIGNMENT - 1)), integer(WORKSPACE_ALIGNMENT))
    return mul(lines, integer(WORKSPACE_ALIGNMENT))


def _scaled(size: Expr, factor: int) -> Expr:
    if isinstance(size, Const):
        return integer(int(size.value) * factor)
    return size if factor == 1 else mul(size, integer(factor))


def _sum(a: Expr, b: Expr) -> Expr:
    if isinstance(a, Const) and isinstance(b, Const):
        return integer(int(a.value) + int(b.value))
    return b if a == integer(0) else add(a, b)


# ---------------------------------------------------------------- the functions


def _parameters(kernel: Kernel, offsets: dict[str, tuple[Buffer, Expr]]) -> tuple[list[Value], list[Value]]:
    """Pointers to all buffers, then the sizes: the names of the body's parameters."""
    names = [buffer.name for buffer in kernel.arguments] + list(offsets)
    pointers = [parameter(f"{ascii_name(name)}.{i}") for i, name in enumerate(names)]
    sizes = [parameter(f"{ascii_name(name)}.size", I64) for name in kernel.program.sizes]
    return pointers, sizes


def _body(
    module: ModuleText,
    kernel: Kernel,
    name: str,
    offsets: dict[str, tuple[Buffer, Expr]],
    thread_workspace: Expr,
) -> None:
    pointers, sizes = _parameters(kernel, offsets)
    runtime = [parameter("threads", I64), parameter("parallel_for")]
    parameters = [("noalias", p) for p in pointers] + [("", value) for value in [*sizes, *runtime]]
    everything = Context(Emitter(module, name, parameters)).writes(kernel.body)
    emit = Emitter(module, name, parameters, everything)
    ctx = Context(emit)
    for size, value in zip(kernel.program.sizes, sizes, strict=True):
        ctx.env[size] = ctx.indices.of_value(value)
    ctx.env[SLOT] = index_of(ctx, integer(0))
    ctx.env[THREAD_BYTES] = index_of(ctx, thread_workspace)
    buffers = [*kernel.arguments, *(buffer for buffer, _ in offsets.values())]
    for buffer, pointer in zip(buffers, pointers, strict=True):
        ctx.buffers[buffer.name] = Memory(buffer.name, buffer.dtype, pointer, buffer.shape)
    statement(ctx, kernel.body)
    memory.order_streams(ctx)
    module.functions.append(emit.function())


def _entry(module: ModuleText, kernel: Kernel, symbol: str, offsets: dict[str, tuple[Buffer, Expr]]) -> None:
    pointers, sizes = _parameters(kernel, offsets)
    arguments = len(kernel.arguments)
    emit = Emitter(module, symbol, [("", parameter("block"))])
    ctx = Context(emit)

    def slot(number: int, type: Value) -> Value:
        place = emit.pure(f"getelementptr i64, ptr %block, i64 {number}", POINTER, [])
        return emit.read(f"load {type.type}, ptr {place.text}", type.dtype, [place], "block")

    given = [slot(i, pointer) for i, pointer in enumerate(pointers[:arguments])]
    workspace = slot(arguments, parameter("workspace"))
    numbers = [slot(arguments + 1 + i, size) for i, size in enumerate(sizes)]
    threads = slot(arguments + 1 + len(sizes), parameter("threads", I64))
    parallel_for = slot(arguments + 2 + len(sizes), parameter("parallel_for"))
    for size, value in zip(kernel.program.sizes, numbers, strict=True):
        ctx.env[size] = ctx.indices.of_value(value)
    for _, offset in offsets.values():
        distance = expression(ctx, offset)
        given.append(
            emit.pure(
                f"getelementptr i8, ptr {workspace.text}, {distance.typed}", POINTER, [workspace, distance]
            )
        )
    operands = ", ".join(v.typed for v in [*given, *numbers, threads, parallel_for])
    emit.effect(f"call void @{symbol}.body({operands})")
    module.functions.append(emit.function(linkage=""))
