"""Parallel loops: the body becomes a function of a range of trips, which threads call.

Two functions stand in the module for each such loop: the body, with everything it uses as
parameters, the range `low .. high`, and the slot of the thread; and a part, which takes the
parameters from a closure in memory. Little work calls the body right away; more hands the part to the
`parallel_for` of the argument block (`fork_join.py`), which returns when all trips are done.
"""

from __future__ import annotations

from collections.abc import Callable

from te.backends.llvm import memory, registers
from te.backends.llvm.context import SLOT, THREAD_BYTES, Context, Memory, Registers
from te.backends.llvm.emitter import Emitter
from te.backends.llvm.expressions import expression, index_of
from te.backends.llvm.math import is_call
from te.backends.llvm.prefetch import prefetch
from te.backends.llvm.values import POINTER, Value, ascii_name, constant, parameter
from te.ir.expr import Cast, Const, Expr, Load, Op, add, floor_div, integer, mul
from te.ir.loop import (
    VECTOR,
    Accumulate,
    Alloc,
    Barrier,
    Combine,
    Commit,
    Completed,
    For,
    If,
    Let,
    Seq,
    Stmt,
    Store,
    Wait,
    direct_exprs,
    walk_stmt,
)
from te.ir.types import BOOL, F64, I64
from te.ir.visit import substitute, variables, walk

# Below this many operations (a vector instruction counts as one), some µs, threads cost more than they bring.
WORTHWHILE_WORK = 12_000.0
CALL_WORK = 40  # of an elementary function: it takes as many instructions, of vectors where the loop is one


def parallel_loop(ctx: Context, s: For, statement: Callable[[Context, Stmt], None]) -> None:
    emit = ctx.emit
    captured = _captures(ctx, s)
    name = emit.module.unique(f"{emit.name}.{ascii_name(s.var)}")
    _body_function(ctx, s, name, captured, statement)
    _part_function(ctx, name, captured)

    extent = ctx.indices.value(index_of(ctx, s.extent), 1)
    arguments = [value for _, value in captured]

    def here() -> None:
        operands = ", ".join(v.typed for v in [*arguments, constant(0, I64), extent, constant(0, I64)])
        emit.effect(f"call void @{name}({operands})")

    def threads() -> None:
        closure = emit.alloca(f"[{max(1, len(arguments))} x i64]", "closure")
        for slot, value in enumerate(arguments):
            place = emit.pure(f"getelementptr i64, ptr {closure}, i64 {slot}", POINTER, [])
            emit.effect(f"store {value.typed}, ptr {place.text}")
        operands = f"ptr @{name}.part, ptr {closure}, {extent.typed}, i64 %threads, {work.typed}"
        emit.effect(f"call void %parallel_for({operands})")

    memory.order_streams(ctx)  # what other threads will read
    work = expression(ctx, _work(s))
    threshold = constant(WORTHWHILE_WORK, F64)
    is_worthwhile = emit.pure(f"fcmp ogt {work.typed}, {threshold.text}", BOOL, [work])
    emit.branch(is_worthwhile, threads, here)
    for buffer in ctx.writes(s.body):
        emit.stored(buffer)


# ---------------------------------------------------------------- what the body uses


def _captures(ctx: Context, s: For) -> list[tuple[str, Value]]:
    """Names in the body function, and their values here: pointers, then numbers."""
    names, buffers = _uses(ctx, s)
    captured: list[tuple[str, Value]] = []
    for name in buffers:
        match ctx.buffers[name]:
            case Memory() as buffer:
                captured.append((name, buffer.pointer))
            case Registers() as buffer:
                for key, element in registers.elements_of(ctx, buffer).items():
                    captured.append((_element_name(name, key), Value(element, POINTER)))
    for name in names:
        if ctx.env[name].constant is None:
            captured.append((name, ctx.indices.value(ctx.env[name], 1)))
    return captured


def _element_name(name: str, key: tuple[int, ...]) -> str:
    return "_".join([name, *map(str, key)])


def _uses(ctx: Context, s: For) -> tuple[list[str], list[str]]:
    """The variables and buffers of the code around that the body uses."""
    names: dict[str, None] = {}
    buffers: dict[str, None] = {}
    for node, _ in walk_stmt(s):
        if isinstance(node, Store | Accumulate):
            buffers[node.buffer] = None
        for fetched in node.prefetches if isinstance(node, For) else ():
            buffers[fetched.buffer] = None
            names.update(dict.fromkeys(sorted(n for i in fetched.index for n in variables(i))))
            buffers.update((n.buffer, None) for i in fetched.index for n in walk(i) if isinstance(n, Load))
        if node is s:
            continue
        if isinstance(node, Alloc) and node.buffer.scope == "thread":
            names[THREAD_BYTES] = None
        for e in direct_exprs(node):
            names.update(dict.fromkeys(sorted(variables(e))))
            buffers.update((n.buffer, None) for n in walk(e) if isinstance(n, Load))
    outer = [name for name in buffers if name in ctx.buffers]
    for name in outer:
        buffer = ctx.buffers[name]
        if isinstance(buffer, Memory):
            for extent in buffer.shape:
                names.update(dict.fromkeys(sorted(variables(extent))))
    return [name for name in names if name in ctx.env], outer


# ---------------------------------------------------------------- the two functions


def _body_function(
    ctx: Context,
    s: For,
    name: str,
    captured: list[tuple[str, Value]],
    statement: Callable[[Context, Stmt], None],
) -> None:
    inside: dict[str, Value] = {}
    parameters: list[tuple[str, Value]] = []
    for number, (captured_name, value) in enumerate(captured):
        inside[captured_name] = parameter(f"{ascii_name(captured_name)}.{number}", value.dtype)
        parameters.append(("noalias" if value.dtype == POINTER else "", inside[captured_name]))
    low, high, slot = (parameter(name, I64) for name in ("low", "high", "slot"))
    parameters += [("", low), ("", high), ("", slot)]

    emit = Emitter(ctx.emit.module, name, parameters, ctx.writes(s.body))
    body = Context(emit)
    body.is_parallel = True
    body.env[SLOT] = body.indices.of_value(_known(slot, is_nonnegative=True))
    names, buffers = _uses(ctx, s)
    for variable in names:
        outer = ctx.env[variable]
        is_nonnegative = ctx.indices.is_nonnegative(outer)
        body.env[variable] = (
            outer
            if outer.constant is not None
            else body.indices.of_value(_known(inside[variable], is_nonnegative=is_nonnegative))
        )
    for buffer_name in buffers:
        body.buffers[buffer_name] = _inside(ctx.buffers[buffer_name], inside)
    with (
        emit.loop(ascii_name(s.var), low, high, ctx.writes(s.body)) as i,
        body.bind(s.var, body.indices.of_value(i)),
    ):
        prefetch(body, s)
        statement(body, s.body)
    memory.order_streams(body)
    ctx.emit.module.functions.append(emit.function())


def _known(value: Value, *, is_nonnegative: bool) -> Value:
    return Value(value.text, value.dtype, is_nonnegative=is_nonnegative)


def _inside(buffer: Memory | Registers, inside: dict[str, Value]) -> Memory | Registers:
    """The buffer as the body function sees it."""
    if isinstance(buffer, Memory):
        return Memory(buffer.name, buffer.dtype, inside[buffer.name], buffer.shape)
    elements = {key: inside[_element_name(buffer.name, key)].text for key in buffer.elements}
    return Registers(
        buffer.name, buffer.dtype, buffer.shape, buffer.vector_axis, buffer.width, buffer.is_private, elements
    )


def _part_function(ctx: Context, name: str, captured: list[tuple[str, Value]]) -> None:
    lines = [
        f"define internal void @{name}.part(ptr %closure, i64 %low, i64 %high, i64 %slot) #0 {{",
        "entry:",
    ]
    arguments = []
    for slot, (_, value) in enumerate(captured):
        lines.append(f"  %p{slot} = getelementptr i64, ptr %closure, i64 {slot}")
        lines.append(f"  %a{slot} = load {value.type}, ptr %p{slot}")
        arguments.append(f"{value.type} %a{slot}")
    lines += [
        f"  call void @{name}({', '.join([*arguments, 'i64 %low', 'i64 %high', 'i64 %slot'])})",
        "  ret void",
        "}",
        "",
    ]
    ctx.emit.module.functions.append("\n".join(lines))


# ---------------------------------------------------------------- how much work


def _work(s: Stmt, lanes: int = 1) -> Expr:
    """A rough number of operations, as an f64 expression of what is known outside the statement."""
    match s:
        case Seq():
            return _total([_work(item, lanes) for item in s.items])
        case For():
            # Loop variables stand for a middle trip: right for triangles, and never beyond an edge.
            middle = floor_div(s.extent, integer(2))
            if s.kind == VECTOR and isinstance(s.extent, Const):
                return substitute(_work(s.body, int(s.extent.value)), {s.var: middle})
            return mul_f64(Cast(s.extent, F64), substitute(_work(s.body, lanes), {s.var: middle}))
        case Let():
            return substitute(_work(s.body, lanes), {s.var: s.value})
        case If():
            return _total([_work(b, lanes) for b in (s.body, s.otherwise) if b is not None])
        case Barrier() | Commit() | Wait() | Combine():
            return Const(0.0, F64)
        case Alloc() | Completed():
            return _work(s.body, lanes)
        case Store() | Accumulate():
            operations = [n for e in direct_exprs(s) for n in walk(e) if isinstance(n, Op | Load)]
            calls = sum(isinstance(n, Op) and is_call(n.op) for n in operations)
            return Const(float(len(operations) + CALL_WORK * calls), F64)


def _total(parts: list[Expr]) -> Expr:
    total: Expr = Const(0.0, F64)
    for part in parts:
        if isinstance(part, Const) and isinstance(total, Const):
            total = Const(total.value + part.value, F64)
        else:
            total = add(total, part)
    return total


def mul_f64(a: Expr, b: Expr) -> Expr:
    if isinstance(a, Const) and isinstance(b, Const):
        return Const(a.value * b.value, F64)
    return mul(a, b)
