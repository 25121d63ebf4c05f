"""Fetching into the caches ahead of use: a hint to the processor, which no address can make fail."""

from __future__ import annotations

from te.backends.llvm.context import Context, Memory
from te.backends.llvm.expressions import index_of, position
from te.backends.llvm.memory import pointer
from te.ir.loop import For

# `llvm.prefetch`: of data (1), for reading (0), into all caches (3).
READ, ALL_CACHES, DATA = 0, 3, 1


def prefetch(ctx: Context, loop: For) -> None:
    """What a trip of a loop fetches. Inside a vector loop there is no one address to fetch."""
    for fetched in loop.prefetches:
        memory = ctx.buffers[fetched.buffer]
        if isinstance(memory, Memory) and ctx.lanes == 1:
            flat = position(ctx, memory, [index_of(ctx, i) for i in fetched.index])
            address = pointer(ctx, memory, flat)
            ctx.emit.module.declare("declare void @llvm.prefetch.p0(ptr, i32, i32, i32)")
            hints = f"i32 {READ}, i32 {ALL_CACHES}, i32 {DATA}"
            ctx.emit.effect(f"call void @llvm.prefetch.p0({address.typed}, {hints})")
