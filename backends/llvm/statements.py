"""Statements to code."""

from __future__ import annotations

from math import prod

from te.backends.llvm import arithmetic, blocks, memory, parallel, registers
from te.backends.llvm.context import SLOT, THREAD_BYTES, Context, Mask, Memory
from te.backends.llvm.expressions import expression, index_of, position, stream_of
from te.backends.llvm.index import LANE_NUMBER, Index, integer
from te.backends.llvm.intrinsics import tensorized
from te.backends.llvm.math import function
from te.backends.llvm.prefetch import prefetch
from te.backends.llvm.values import POINTER, Value, ascii_name, constant, memory_type
from te.ir.expr import Const
from te.ir.loop import (
    PARALLEL,
    SERIAL,
    TENSORIZED,
    UNROLLED,
    VECTOR,
    Accumulate,
    Alloc,
    Buffer,
    For,
    If,
    Let,
    Seq,
    Stmt,
    Store,
    direct_exprs,
    walk_stmt,
)
from te.ir.tensor import fused_factors
from te.ir.types import I64
from te.ir.visit import loads, variables


def statement(ctx: Context, s: Stmt) -> None:
    match s:
        case Seq():
            for item in s.items:
                statement(ctx, item)
        case For():
            with ctx.emit.at(s.stage):
                _for(ctx, s)
        case Store():
            with ctx.emit.at(s.stage):
                value = expression(ctx, s.value)
                if not blocks.keep(ctx, s, value):
                    index = [index_of(ctx, i) for i in s.index]
                    _store(ctx, s.buffer, index, value, stream=stream_of(ctx, s))
        case Accumulate():
            with ctx.emit.at(s.stage):
                _accumulate(ctx, s)
        case If():
            _if(ctx, s)
        case Let():
            with ctx.bind(s.var, index_of(ctx, s.value)):
                statement(ctx, s.body)
        case Alloc():
            _alloc(ctx, s)


# ---------------------------------------------------------------- loops


def _for(ctx: Context, s: For) -> None:
    extent = index_of(ctx, s.extent)
    if extent.constant is not None and extent.constant <= 0:
        return
    if extent.constant == 1:
        with ctx.bind(s.var, integer(0)):
            statement(ctx, s.body)
        return
    match s.kind:
        case kind if kind == UNROLLED:
            _unrolled(ctx, s, _trips(s, extent))
        case kind if kind == VECTOR:
            _vector(ctx, s, _trips(s, extent))
        case kind if kind == TENSORIZED:
            tensorized(ctx, s)
        case kind if kind == PARALLEL and not ctx.is_parallel and ctx.lanes == 1:
            parallel.parallel_loop(ctx, s, statement)
        case kind if kind in (SERIAL, PARALLEL):
            serial_loop(ctx, s, constant(0, I64), ctx.indices.value(extent, 1))
        case _:
            raise ValueError(f"the loop `{s.var}` is bound to {s.kind}, which a CPU does not have")


def _trips(s: For, extent: Index) -> int:
    if extent.constant is None:
        raise ValueError(f"the {s.kind} loop `{s.var}` has no constant extent")
    return extent.constant


def serial_loop(ctx: Context, s: For, low: Value, high: Value) -> None:
    with (
        ctx.emit.loop(ascii_name(s.var), low, high, ctx.writes(s.body)) as i,
        ctx.bind(s.var, ctx.indices.of_value(i)),
    ):
        prefetch(ctx, s)
        statement(ctx, s.body)


def _unrolled(ctx: Context, s: For, trips: int) -> None:
    ctx.emit.module.unrolled[s.var] = trips

    def write() -> None:
        for trip in range(trips):
            with ctx.bind(s.var, integer(trip)):
                prefetch(ctx, s)
                statement(ctx, s.body)

    found = blocks.blocks_in(ctx, s)
    blocks.with_blocks(ctx, s, found, write) if found else write()


def _vector(ctx: Context, s: For, trips: int) -> None:
    if ctx.lanes > 1:
        raise ValueError(f"the vector loop `{s.var}` stands inside another one")
    ctx.emit.module.unrolled[s.var] = trips
    with ctx.vector(trips, blocks.mask(ctx, trips)), ctx.bind(s.var, LANE_NUMBER):
        statement(ctx, s.body)


# ---------------------------------------------------------------- conditions


def _if(ctx: Context, s: If) -> None:
    condition = expression(ctx, s.condition)
    if condition.constant is not None:
        taken = s.body if condition.constant else s.otherwise
        if taken is not None:
            statement(ctx, taken)
        return
    if condition.lanes > 1:
        _arm(ctx, condition, s.body)
        if s.otherwise is not None:
            _arm(ctx, arithmetic.invert(ctx.emit, condition), s.otherwise)
        return
    if blocks.keeps(ctx, s.body):
        blocks.under(ctx, condition, lambda: statement(ctx, s.body))
        return
    otherwise = s.otherwise
    ctx.emit.branch(
        condition,
        lambda: statement(ctx, s.body),
        None if otherwise is None else lambda: statement(ctx, otherwise),
    )


def _arm(ctx: Context, condition: Value, body: Stmt) -> None:
    """The body in the lanes where the condition holds; not at all where there is none and that saves work."""
    mask = ctx.with_mask(condition)
    if blocks.keeps(ctx, body) or not _is_worth_a_branch(ctx, body):
        with ctx.masked(condition):
            statement(ctx, body)
        return

    def masked_body() -> None:
        with ctx.vector(ctx.lanes, Mask(mask, is_active=True)):
            statement(ctx, body)

    ctx.emit.branch(ctx.any_lane(mask), masked_body)


def _is_worth_a_branch(ctx: Context, body: Stmt) -> bool:
    """Whether it holds a loop, or a read that is the same in all lanes and must not happen without one."""
    varying = {name for name, index in ctx.env.items() if not ctx.indices.split(index, ctx.lanes).is_uniform}
    for s, _ in walk_stmt(body):
        if isinstance(s, For) and s.kind in (SERIAL, PARALLEL):
            return True
        for e in direct_exprs(s):
            for read in loads(e):
                if isinstance(ctx.buffers.get(read.buffer), Memory) and varying.isdisjoint(variables(read)):
                    return True
    return False


# ---------------------------------------------------------------- stores


def _store(
    ctx: Context, name: str, index: list[Index], value: Value, *, stream: memory.Stream | None = None
) -> None:
    buffer = ctx.buffers[name]
    if isinstance(buffer, Memory):
        memory.store(ctx, buffer, position(ctx, buffer, index), value, stream=stream)
    else:
        registers.store(ctx, buffer, index, value)


def _accumulate(ctx: Context, s: Accumulate) -> None:
    index = [index_of(ctx, i) for i in s.index]
    factors = fused_factors(s.reducer, s.value)
    terms = [expression(ctx, e) for e in (factors or (s.value,))]
    buffer = ctx.buffers[s.buffer]
    if not isinstance(buffer, Memory):
        if not registers.is_vector(buffer, index) and ctx.lanes > 1:
            _each_lane(ctx, s, index, terms)
            return
        old = registers.load(ctx, buffer, index)
        registers.store(ctx, buffer, index, _combine(ctx, s, old, terms))
        return
    flat = position(ctx, buffer, index)
    form = ctx.indices.split(flat, ctx.lanes)
    if ctx.lanes > 1 and (form.is_uniform or form.offsets is not None):
        _each_lane(ctx, s, index, terms)
        return
    old = memory.load(ctx, buffer, flat)
    memory.store(ctx, buffer, flat, _combine(ctx, s, old, terms))


def _combine(ctx: Context, s: Accumulate, old: Value, terms: list[Value]) -> Value:
    *terms, old = ctx.emit.unify(*terms, old)
    match s.reducer:
        case "sum" if len(terms) == 2:
            return function(ctx.emit, "fma", [*terms, old])
        case "sum":
            return arithmetic.binary(ctx.emit, "+", old, terms[0])
        case "prod":
            return arithmetic.binary(ctx.emit, "*", old, terms[0])
        case "max" | "min":
            return arithmetic.extreme(ctx.emit, s.reducer, terms[0], old)
        case "any":
            return arithmetic.either(ctx.emit, old, terms[0])
        case "all":
            return arithmetic.both(ctx.emit, old, terms[0])
    raise ValueError(f"no reducer is called {s.reducer!r}")


def _each_lane(ctx: Context, s: Accumulate, index: list[Index], terms: list[Value]) -> None:
    """One lane after the other: their targets may be one element."""
    mask = ctx.mask.value if ctx.mask else None
    positions = [ctx.indices.value(i, ctx.lanes) for i in index]
    for lane in range(ctx.lanes):
        place = [ctx.indices.of_value(ctx.emit.extract(p, lane)) for p in positions]
        parts = [ctx.emit.extract(term, lane) for term in terms]

        def step(place: list[Index] = place, parts: list[Value] = parts) -> None:
            with ctx.vector(1):
                buffer = ctx.buffers[s.buffer]
                if isinstance(buffer, Memory):
                    old = memory.load(ctx, buffer, position(ctx, buffer, place))
                else:
                    old = registers.load(ctx, buffer, place)
                _store(ctx, s.buffer, place, _combine(ctx, s, old, parts))

        if mask is None:
            step()
        else:
            ctx.emit.branch(ctx.emit.extract(mask, lane), step)


# ---------------------------------------------------------------- buffers


def _alloc(ctx: Context, s: Alloc) -> None:
    if s.buffer.scope == "register":
        ctx.buffers[s.buffer.name] = registers.make_registers(ctx, s)
    elif s.buffer.scope == "stack":
        ctx.buffers[s.buffer.name] = _on_stack(ctx, s.buffer)
    elif s.buffer.scope == "thread":
        _of_thread(ctx, s)
        return
    elif s.buffer.name not in ctx.buffers:
        raise ValueError(f"`{s.buffer.name}` is allocated in {s.buffer.scope} inside a loop")
    statement(ctx, s.body)


def _of_thread(ctx: Context, s: Alloc) -> None:
    """Each thread has its part of the workspace, as far from that of the first one as its slot says."""
    first = ctx.buffers[s.buffer.name]
    assert isinstance(first, Memory)
    slot, bytes = (ctx.indices.value(ctx.env[name], 1) for name in (SLOT, THREAD_BYTES))
    distance = ctx.emit.pure(f"mul {slot.typed}, {bytes.text}", I64, [slot, bytes])
    text = f"getelementptr i8, {first.pointer.typed}, {distance.typed}"
    mine = ctx.emit.pure(text, POINTER, [first.pointer, distance])
    ctx.buffers[s.buffer.name] = Memory(s.buffer.name, s.buffer.dtype, mine, s.buffer.shape)
    statement(ctx, s.body)
    ctx.buffers[s.buffer.name] = first  # this code may be written out again


def _on_stack(ctx: Context, buffer: Buffer) -> Memory:
    elements = prod(int(d.value) for d in buffer.shape if isinstance(d, Const))
    name = ctx.emit.alloca(f"[{elements} x {memory_type(buffer.dtype)}]", ascii_name(buffer.name))
    return Memory(buffer.name, buffer.dtype, Value(name, POINTER), buffer.shape)
