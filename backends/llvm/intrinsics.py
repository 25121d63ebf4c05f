"""Instructions that a schedule asked for by `tensorize`: their code.

A tensorized loop around a vector loop around a step of a sum is one instruction. What it
computes is an op of `te/std`, read by `te.schedule.intrinsics`; here stand its LLVM names, one
for each number of lanes, and how LLVM types its operands. Both tables are trusted: tests compare
each instruction with its op.

An operand's register is filled by one load where each lane has elements of its own, and by a
load of one lane's elements and a broadcast where all lanes share them. In a ragged tile, a
masked load fills it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from te.backends.llvm import memory, registers
from te.backends.llvm.context import Context, Memory
from te.backends.llvm.expressions import expression, index_of, position
from te.backends.llvm.index import LANE_NUMBER, Index, add, integer
from te.backends.llvm.values import Value, constant, suffix, type_of
from te.ir.expr import Const, Expr, Load
from te.ir.loop import Accumulate, For, Kernel, walk_stmt
from te.ir.types import DType
from te.schedule.intrinsics import Instruction, Meaning, find_intrinsic, instruction_of
from te.target import Target


@dataclass(frozen=True, slots=True)
class Code:
    """`names`: LLVM's, by lanes. `element`: LLVM's type for an operand's elements."""

    names: Mapping[int, str]
    element: str


INSTRUCTIONS = {
    "vpdpbusd": Code({bits // 32: f"llvm.x86.avx512.vpdpbusd.{bits}" for bits in (128, 256, 512)}, "i8"),
    "vdpbf16ps": Code(
        {bits // 32: f"llvm.x86.avx512bf16.dpbf16ps.{bits}" for bits in (128, 256, 512)}, "bfloat"
    ),
}


def refuse_missing(kernel: Kernel, target: Target) -> None:
    """LLVM ends the process where it is to emit an instruction that the CPU does not have."""
    for s, _ in walk_stmt(kernel.body):
        if isinstance(s, For) and s.intrinsic is not None:
            meaning = find_intrinsic(s.intrinsic, None)
            if not target.satisfies(meaning.target):
                raise ValueError(f"`{kernel.name}` uses {meaning.name}, which {target.name} has not")


def tensorized(ctx: Context, s: For) -> None:
    """A tensorized loop and what it holds."""
    found = instruction_of(s)
    if isinstance(found, str):
        raise ValueError(f"the tensorized loop `{s.var}` is no {s.intrinsic}: {found}")
    assert isinstance(found.lanes.extent, Const)
    width = int(found.lanes.extent.value)
    ctx.emit.module.unrolled[found.lanes.var] = width
    with ctx.vector(width), ctx.bind(found.lanes.var, LANE_NUMBER):
        with ctx.bind(s.var, integer(0)):
            operands = [_operand(ctx, s, read, found) for read in found.operands]
            old, index = _accumulator(ctx, found.step)
        new = _call(ctx, found.meaning, old, operands)
        buffer = ctx.buffers[found.step.buffer]
        if isinstance(buffer, Memory):
            memory.store(ctx, buffer, position(ctx, buffer, index), new)
        else:
            registers.store(ctx, buffer, index, new)


def _accumulator(ctx: Context, step: Accumulate) -> tuple[Value, list[Index]]:
    index = [index_of(ctx, i) for i in step.index]
    buffer = ctx.buffers[step.buffer]
    if isinstance(buffer, Memory):
        return memory.load(ctx, buffer, position(ctx, buffer, index)), index
    return registers.load(ctx, buffer, index), index


def _call(ctx: Context, meaning: Meaning, old: Value, operands: list[Value]) -> Value:
    """The instruction, for all lanes; several of them where no register is so wide."""
    width = meaning.width(ctx.lanes)
    if width is None:
        raise ValueError(f"{meaning.name} has no form for {ctx.lanes} lanes")
    if width == ctx.lanes:
        return _call_once(ctx, meaning, old, operands)
    type = type_of(old.dtype, ctx.lanes)
    whole = Value("poison", old.dtype, ctx.lanes)
    for start in range(0, ctx.lanes, width):
        parts = [_lanes_of(ctx, v, start, width) for v in (old, *operands)]
        new = _call_once(ctx, meaning, parts[0], parts[1:])
        name = f"llvm.vector.insert.{suffix(old.dtype, ctx.lanes)}.{suffix(old.dtype, width)}"
        ctx.emit.module.declare(f"declare {type} @{name}({type}, {new.type}, i64)")
        text = f"call {type} @{name}({whole.typed}, {new.typed}, i64 {start})"
        whole = ctx.emit.pure(text, old.dtype, [whole, new], ctx.lanes)
    return whole


def _lanes_of(ctx: Context, value: Value, start: int, lanes: int) -> Value:
    """Some of the lanes of a vector; a scalar in each of them."""
    if value.lanes == 1:
        return ctx.emit.splat(value, lanes)
    type = type_of(value.dtype, lanes)
    name = f"llvm.vector.extract.{suffix(value.dtype, lanes)}.{suffix(value.dtype, value.lanes)}"
    ctx.emit.module.declare(f"declare {type} @{name}({value.type}, i64)")
    text = f"call {type} @{name}({value.typed}, i64 {start})"
    return ctx.emit.pure(text, value.dtype, [value], lanes)


def _call_once(ctx: Context, meaning: Meaning, old: Value, operands: list[Value]) -> Value:
    code = INSTRUCTIONS[meaning.name]
    name = code.names[old.lanes]
    type = f"<{old.lanes * meaning.terms} x {code.element}>"
    given = [old.typed]
    for operand in (ctx.emit.splat(v, old.lanes) for v in operands):
        cast = ctx.emit.pure(f"bitcast {operand.typed} to {type}", operand.dtype, [operand], operand.lanes)
        given.append(f"{type} {cast.text}")
    ctx.emit.module.declare(f"declare {old.type} @{name}({old.type}, {type}, {type})")
    text = f"call {old.type} @{name}({', '.join(given)})"
    return ctx.emit.pure(text, old.dtype, [old, *operands], old.lanes)


def _operand(ctx: Context, s: For, load: Load, found: Instruction) -> Value:
    """What fills an operand's register, as words, each the terms of a lane: a scalar where all lanes share it.

    The lanes that the mask leaves out are 0, and their memory is not touched.
    """
    meaning, mask = found.meaning, found.masks.get(load)
    buffer = ctx.buffers[load.buffer]
    if not isinstance(buffer, Memory):
        raise ValueError(f"`{load.buffer}`, an operand of {meaning.name}, lies in registers")
    place = _position(ctx, buffer, load.index)
    with ctx.bind(s.var, integer(1)):
        following = add(_position(ctx, buffer, load.index), place, -1)
    form = ctx.indices.split(place, ctx.lanes)
    stride = form.stride.constant if form.offsets is None else None
    if following.constant != 1 or stride not in (0, meaning.terms) or (mask and not stride):
        raise ValueError(
            f"`{load.buffer}`, an operand of {meaning.name}, does not lie as the instruction needs it"
        )
    word = DType("word", "uint", load.dtype.bits * meaning.terms)
    lanes = ctx.lanes if stride else 1
    address = memory.pointer(ctx, buffer, form.uniform)
    text = f"load {type_of(word, lanes)}, ptr {address.text}, align {load.dtype.bytes}"
    if mask is not None:
        return _masked(ctx, buffer, address, word, load.dtype.bytes, expression(ctx, mask))
    return ctx.emit.read(text, word, [address], buffer.name, lanes)


def _masked(ctx: Context, buffer: Memory, address: Value, word: DType, alignment: int, mask: Value) -> Value:
    mask = ctx.emit.splat(mask, ctx.lanes)
    other = constant(0, word, ctx.lanes)
    name = f"llvm.masked.load.{suffix(word, ctx.lanes)}.p0"
    ctx.emit.module.declare(f"declare {other.type} @{name}(ptr, {mask.type}, {other.type})")
    text = f"call {other.type} @{name}(ptr align {alignment} {address.text}, {mask.typed}, {other.typed})"
    return ctx.emit.read(text, word, [address, mask], buffer.name, ctx.lanes)


def _position(ctx: Context, buffer: Memory, index: tuple[Expr, ...]) -> Index:
    return position(ctx, buffer, [index_of(ctx, i) for i in index])
