"""Reads and stores of buffers in memory, for one element or for all lanes at once.

How the index depends on the lane decides the instruction: not at all, one element; with stride 1 or
-1, a vector; with a small constant stride, a few vectors and a shuffle; otherwise a gather or a
scatter. Lanes that the mask leaves out never touch memory.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from te.backends.llvm.context import Context, Memory
from te.backends.llvm.index import LANE_NUMBER, ZERO, Index, Lanes, add, integer, multiply
from te.backends.llvm.module import ZEROS
from te.backends.llvm.values import (
    POINTER,
    Value,
    constant,
    lane_numbers,
    memory_type,
    suffix,
    type_of,
)
from te.ir.types import BOOL, I64, U8, DType

# Up to here vectors and shuffles beat a gather: 0.05 and 0.19 ns an f32 at stride 3, 0.14 and 0.19 at 8.
MAX_SHUFFLED_STRIDE = 8
MAX_SHUFFLED_BYTES = 32
MAX_MASKED_STRIDE = 3  # under a mask, whose lanes are moved as well


def flat_index(ctx: Context, strides: tuple[Index, ...], index: list[Index]) -> Index:
    """The position of an element, in elements."""
    total = ZERO
    for position, stride in zip(index, strides, strict=True):
        product = multiply(position, stride)
        if product is None:
            position = ctx.indices.of_value(ctx.indices.value(position, ctx.lanes))
            product = multiply(position, stride)
            assert product is not None
        total = add(total, product)
    return total


def strides_of(ctx: Context, extents: list[Index]) -> tuple[Index, ...]:
    """Row-major strides, each a constant or one value."""
    strides = [integer(1)]
    for extent in reversed(extents[1:]):
        product = multiply(strides[-1], extent)
        if product is None or len(product.terms) > 1 or sum(map(len, product.terms)) > 1:
            value = ctx.indices.value(_product(ctx, strides[-1], extent), 1)
            product = ctx.indices.of_value(value)
        strides.append(product)
    return tuple(reversed(strides[: len(extents)]))


def _product(ctx: Context, a: Index, b: Index) -> Index:
    whole = ctx.indices.of_value(ctx.indices.value(b, 1))
    product = multiply(a, whole)
    assert product is not None
    return product


# ---------------------------------------------------------------- reads


def can_guard(ctx: Context, flat: Index) -> bool:
    """Whether `load` accepts a guard for this index: it reads one element, or neighbours."""
    form = ctx.indices.split(flat, ctx.lanes)
    return form.offsets is None and form.stride.constant in (0, 1)


def load(
    ctx: Context, memory: Memory, flat: Index, *, guard: Value | None = None, otherwise: Value | None = None
) -> Value:
    """The element, or the elements of all lanes.

    Where the scalar `guard` does not hold, memory is not touched and the result is 0. `otherwise`
    (a vector) is the result in the lanes that the mask leaves out.
    """
    form = ctx.indices.split(flat, ctx.lanes)
    if form.is_uniform:
        return _load_scalar(ctx, memory, form.uniform, guard)
    mask = ctx.mask.value if ctx.mask else None
    stride = form.stride.constant if form.offsets is None else None
    if stride == 1:
        return _load_neighbours(ctx, memory, form.uniform, mask, guard, otherwise)
    assert guard is None
    if stride == -1:
        lowest = add(form.uniform, integer(ctx.lanes - 1), -1)
        reverse = range(ctx.lanes - 1, -1, -1)
        mask = None if mask is None else ctx.emit.shuffle(mask, list(reverse))
        otherwise = None if otherwise is None else ctx.emit.shuffle(otherwise, list(reverse))
        return ctx.emit.shuffle(_load_neighbours(ctx, memory, lowest, mask, None, otherwise), list(reverse))
    if stride is not None and mask is None and _is_near(memory.dtype, abs(stride)):
        return _load_strided(ctx, memory, form.uniform, stride)
    if stride is not None and mask is not None and 1 < stride <= MAX_MASKED_STRIDE:
        return _load_strided_masked(ctx, memory, form.uniform, stride, mask, otherwise)
    return _gather(ctx, memory, form, mask, otherwise)


def _is_near(dtype: DType, stride: int) -> bool:
    return stride <= MAX_SHUFFLED_STRIDE and stride * dtype.bytes <= MAX_SHUFFLED_BYTES


def _load_scalar(ctx: Context, memory: Memory, position: Index, guard: Value | None) -> Value:
    if ctx.mask is not None and not ctx.mask.is_active:
        any_lane = ctx.any_lane(ctx.mask.value)
        guard = any_lane if guard is None else both(ctx, guard, any_lane)
    address = _guarded(ctx, pointer(ctx, memory, position), guard)
    text = f"load {memory_type(memory.dtype)}, ptr {address.text}, align {memory.dtype.bytes}"
    return from_memory(ctx, ctx.emit.read(text, _stored(memory.dtype), [address], memory.name), memory.dtype)


def _load_neighbours(
    ctx: Context,
    memory: Memory,
    position: Index,
    mask: Value | None,
    guard: Value | None,
    otherwise: Value | None,
) -> Value:
    address = _guarded(ctx, pointer(ctx, memory, position), guard)
    lanes, size = ctx.lanes, memory.dtype.bytes
    stored = _stored(memory.dtype)
    type = type_of(stored, lanes)
    if mask is None:
        text = f"load {type}, ptr {address.text}, align {size}"
        value = ctx.emit.read(text, stored, [address], memory.name, lanes)
        return from_memory(ctx, value, memory.dtype)
    other = to_memory(ctx, otherwise, memory.dtype) if otherwise else constant(0, stored, lanes)
    name = f"llvm.masked.load.{suffix(stored, lanes)}.p0"
    ctx.emit.module.declare(f"declare {type} @{name}(ptr, {mask.type}, {type})")
    text = f"call {type} @{name}(ptr align {size} {address.text}, {mask.typed}, {other.typed})"
    value = ctx.emit.read(text, stored, [address, mask, other], memory.name, lanes)
    return from_memory(ctx, value, memory.dtype)


def _load_strided(ctx: Context, memory: Memory, position: Index, stride: int) -> Value:
    """`|stride|` overlapping vectors, none beyond the outermost lanes, and a shuffle for each but the first."""
    lanes, step = ctx.lanes, abs(stride)
    span = (lanes - 1) * step + 1
    if stride < 0:
        position = add(position, integer(span - 1), -1)
    result: Value | None = None
    for part in range(step):
        start = min(part * lanes, span - lanes)
        picks = [
            lanes + lane * step - start if min(lane * step // lanes, step - 1) == part else lane
            for lane in range(lanes)
        ]
        if picks == list(range(lanes)):
            continue
        vector = _load_neighbours(ctx, memory, add(position, integer(start)), None, None, None)
        result = ctx.emit.shuffle(result or vector, picks, vector)
    assert result is not None
    return ctx.emit.shuffle(result, list(range(lanes - 1, -1, -1))) if stride < 0 else result


def _load_strided_masked(
    ctx: Context, memory: Memory, position: Index, stride: int, mask: Value, otherwise: Value | None
) -> Value:
    """Neighbouring vectors, each with a mask of its own: a lane reads its element, and nothing is read between."""
    lanes = ctx.lanes
    nowhere = constant(False, BOOL, lanes)
    result: Value | None = None
    for part in range(stride):
        first = part * lanes
        of_element = {lane * stride - first: lane for lane in range(lanes) if lane * stride // lanes == part}
        own = ctx.emit.shuffle(mask, [of_element.get(e, lanes) for e in range(lanes)], nowhere)
        vector = _load_neighbours(ctx, memory, add(position, integer(first)), own, None, None)
        picks = list(range(lanes))
        for element, lane in of_element.items():
            picks[lane] = lanes + element
        result = ctx.emit.shuffle(result or vector, picks, vector)
    assert result is not None
    return result if otherwise is None else ctx.emit.select(mask, result, otherwise)


def _gather(ctx: Context, memory: Memory, form: Lanes, mask: Value | None, otherwise: Value | None) -> Value:
    addresses = _addresses(ctx, memory, form)
    lanes = ctx.lanes
    stored = _stored(memory.dtype)
    type = type_of(stored, lanes)
    mask = mask or constant(True, BOOL, lanes)
    other = to_memory(ctx, otherwise, memory.dtype) if otherwise else constant(0, stored, lanes)
    name = f"llvm.masked.gather.{suffix(stored, lanes)}.v{lanes}p0"
    ctx.emit.module.declare(f"declare {type} @{name}({addresses.type}, {mask.type}, {type})")
    aligned = f"{addresses.type} align {memory.dtype.bytes} {addresses.text}"
    text = f"call {type} @{name}({aligned}, {mask.typed}, {other.typed})"
    value = ctx.emit.read(text, stored, [addresses, mask, other], memory.name, lanes)
    return from_memory(ctx, value, memory.dtype)


# ---------------------------------------------------------------- stores


@dataclass(frozen=True, slots=True)
class Stream:
    """How a vector goes past the caches: whether at all (None: always), and whether only as a whole line."""

    condition: Value | None
    in_lines: bool = False


def store(ctx: Context, memory: Memory, flat: Index, value: Value, *, stream: Stream | None = None) -> None:
    """Store an element, or the elements of all lanes; where lanes share an address, the last one counts.

    With `stream`, whole vectors go past the caches where their address allows it.
    """
    form = ctx.indices.split(flat, ctx.lanes)
    mask = ctx.mask.value if ctx.mask else None
    stride = form.stride.constant if form.offsets is None else None
    if form.is_uniform and value.lanes == 1:
        _store_scalar(ctx, memory, form.uniform, value)
    elif stride == 1:
        _store_neighbours(ctx, memory, form.uniform, value, mask, stream=stream)
    elif stride == -1:
        reverse = list(range(ctx.lanes - 1, -1, -1))
        lowest = add(form.uniform, integer(ctx.lanes - 1), -1)
        mask = None if mask is None else ctx.emit.shuffle(mask, reverse)
        value = ctx.emit.shuffle(ctx.emit.splat(value, ctx.lanes), reverse)
        _store_neighbours(ctx, memory, lowest, value, mask)
    else:
        _scatter(ctx, memory, form, value, mask)
    ctx.emit.stored(memory.name)


def _store_scalar(ctx: Context, memory: Memory, position: Index, value: Value) -> None:
    value = to_memory(ctx, value, memory.dtype)
    address = pointer(ctx, memory, position)
    text = f"store {value.typed}, ptr {address.text}, align {memory.dtype.bytes}"
    if ctx.mask is None or ctx.mask.is_active:
        ctx.emit.effect(text)
    else:
        ctx.emit.branch(ctx.any_lane(ctx.mask.value), lambda: ctx.emit.effect(text))


def _store_neighbours(
    ctx: Context,
    memory: Memory,
    position: Index,
    value: Value,
    mask: Value | None,
    *,
    stream: Stream | None = None,
) -> None:
    value = to_memory(ctx, ctx.emit.splat(value, ctx.lanes), memory.dtype)
    address = pointer(ctx, memory, position)
    size = memory.dtype.bytes
    if mask is None:

        def ordinary() -> None:
            text = f"store {value.typed}, ptr {address.text}, align {size}"
            ctx.emit.effect(text, value.lanes, value.dtype)

        _streamed(ctx, address, value, stream, ordinary) if stream else ordinary()
        return
    name = f"llvm.masked.store.{suffix(value.dtype, value.lanes)}.p0"
    ctx.emit.module.declare(f"declare void @{name}({value.type}, ptr, {mask.type})")
    text = f"call void @{name}({value.typed}, ptr align {size} {address.text}, {mask.typed})"
    ctx.emit.effect(text, value.lanes, value.dtype)


# The narrowest and the widest store past the caches. NumPy's arrays begin at multiples of 16 bytes.
STREAM_BYTES, LINE_BYTES = 16, 64


def is_whole_lines(ctx: Context, extent: Index, memory: Memory) -> Value:
    """Whether rows of so many elements fill lines of the caches.

    Else the last vector of one row and the first of the next write one line, by different stores, each of which waits
    for the other: 3 to 13 times as slow as ordinary ones.
    """
    elements = max(1, LINE_BYTES // memory.dtype.bytes)
    if extent.constant is not None:
        return constant(extent.constant % elements == 0, BOOL)
    value = ctx.indices.value(extent, 1)
    rest = ctx.emit.pure(f"and i64 {value.text}, {elements - 1}", I64, [value])
    return ctx.emit.pure(f"icmp eq i64 {rest.text}, 0", BOOL, [rest])


def _streamed(
    ctx: Context, address: Value, value: Value, stream: Stream, ordinary: Callable[[], None]
) -> None:
    """A vector past the caches: whole where it is aligned, in parts of 16 bytes where those are, or not."""
    bytes = value.lanes * value.dtype.bytes
    is_never = stream.condition is not None and stream.condition.constant is False
    if is_never or bytes % (LINE_BYTES if stream.in_lines else STREAM_BYTES) or bytes & (bytes - 1):
        ordinary()
        return
    place = ctx.emit.pure(f"ptrtoint {address.typed} to i64", I64, [address])

    def is_aligned(to: int) -> Value:
        rest = ctx.emit.pure(f"and i64 {place.text}, {to - 1}", I64, [place])
        aligned = ctx.emit.pure(f"icmp eq i64 {rest.text}, 0", BOOL, [rest])
        return aligned if stream.condition is None else both(ctx, aligned, stream.condition)

    def past_caches(part: Value, offset: int, align: int) -> None:
        at = ctx.emit.pure(f"getelementptr i8, {address.typed}, i64 {offset}", POINTER, [address])
        text = f"store {part.typed}, ptr {at.text}, align {align}, !nontemporal !{{i32 1}}"
        ctx.emit.effect(text, part.lanes, part.dtype)

    def in_parts() -> None:
        lanes = STREAM_BYTES // value.dtype.bytes
        for first in range(0, value.lanes, lanes):
            part = ctx.emit.shuffle(value, list(range(first, first + lanes)))
            past_caches(part, first * value.dtype.bytes, STREAM_BYTES)

    widest = min(bytes, LINE_BYTES)
    narrower = ordinary
    if widest > STREAM_BYTES and not stream.in_lines:

        def narrower() -> None:
            ctx.emit.branch(is_aligned(STREAM_BYTES), in_parts, ordinary)

    ctx.emit.branch(is_aligned(widest), lambda: past_caches(value, 0, widest), narrower)


def order_streams(ctx: Context) -> None:
    """Let other threads see what was stored past the caches before what is stored from here on."""
    if not ctx.emit.module.has_streams:
        return
    if ctx.emit.module.has_sfence:
        ctx.emit.module.declare("declare void @llvm.x86.sse.sfence()")
        ctx.emit.effect("call void @llvm.x86.sse.sfence()")
    else:
        ctx.emit.effect("fence seq_cst")


def _scatter(ctx: Context, memory: Memory, form: Lanes, value: Value, mask: Value | None) -> None:
    value = to_memory(ctx, ctx.emit.splat(value, ctx.lanes), memory.dtype)
    addresses = ctx.emit.splat(_addresses(ctx, memory, form), ctx.lanes)
    mask = mask or constant(True, BOOL, ctx.lanes)
    name = f"llvm.masked.scatter.{suffix(value.dtype, value.lanes)}.v{value.lanes}p0"
    ctx.emit.module.declare(f"declare void @{name}({value.type}, {addresses.type}, {mask.type})")
    aligned = f"{addresses.type} align {memory.dtype.bytes} {addresses.text}"
    ctx.emit.effect(f"call void @{name}({value.typed}, {aligned}, {mask.typed})", value.lanes, value.dtype)


# ---------------------------------------------------------------- addresses


def pointer(ctx: Context, memory: Memory, position: Index) -> Value:
    """The address of an element, as a chain: what changes least often is added first."""
    address = memory.pointer
    for step in ctx.indices.by_depth(position):
        address = _offset(ctx, memory.dtype, address, step)
    return address


def _offset(ctx: Context, dtype: DType, address: Value, step: Value) -> Value:
    text = f"getelementptr {memory_type(dtype)}, {address.typed}, {step.typed}"
    return ctx.emit.pure(text, POINTER, [address, step], step.lanes)


def _addresses(ctx: Context, memory: Memory, form: Lanes) -> Value:
    """The addresses of all lanes; a scalar where they are one."""
    address = pointer(ctx, memory, form.uniform)
    if form.is_uniform:
        return address
    offsets = form.offsets
    if form.stride.constant is not None and form.stride.constant != 0:
        steps = lane_numbers(ctx.lanes, 0, form.stride.constant)
    elif form.stride.terms:
        product = multiply(form.stride, LANE_NUMBER)
        assert product is not None
        steps = ctx.indices.value(product, ctx.lanes)
    else:
        assert offsets is not None
        return _offset(ctx, memory.dtype, address, offsets)
    if offsets is not None:
        steps = ctx.emit.pure(
            f"add {steps.typed}, {offsets.text}", steps.dtype, [steps, offsets], steps.lanes
        )
    return _offset(ctx, memory.dtype, address, steps)


def _guarded(ctx: Context, address: Value, guard: Value | None) -> Value:
    if guard is None:
        return address
    text = f"select {guard.typed}, {address.typed}, ptr {ZEROS}"
    return ctx.emit.pure(text, POINTER, [guard, address])


# ---------------------------------------------------------------- forms


def _stored(dtype: DType) -> DType:
    return U8 if dtype == BOOL else dtype


def from_memory(ctx: Context, value: Value, dtype: DType) -> Value:
    """A bool is a byte in memory, any but 0 for true."""
    if dtype != BOOL:
        return value
    zero = constant(0, U8, value.lanes)
    return ctx.emit.pure(f"icmp ne {value.typed}, {zero.text}", BOOL, [value], value.lanes)


def to_memory(ctx: Context, value: Value, dtype: DType) -> Value:
    if dtype != BOOL:
        return value
    if value.constant is not None:
        return constant(int(value.constant), U8, value.lanes)
    return ctx.emit.pure(f"zext {value.typed} to {type_of(U8, value.lanes)}", U8, [value], value.lanes)


def both(ctx: Context, a: Value, b: Value) -> Value:
    if b.constant is not None:
        return a if b.constant else b
    return ctx.emit.pure(f"and i1 {a.text}, {b.text}", BOOL, [a, b])
