"""Buffers in registers: which elements they are made of, and reads and stores of them."""

from __future__ import annotations

from itertools import product

from te.backends.llvm.context import Context, Registers
from te.backends.llvm.index import LANE_NUMBER, Index, add
from te.backends.llvm.values import Value, type_of
from te.diagnostics import ScheduleError, error
from te.ir.expr import Const, Expr, Load
from te.ir.loop import VECTOR, Accumulate, Alloc, For, Let, Store, direct_exprs, walk_stmt
from te.ir.visit import variables, walk


def make_registers(ctx: Context, alloc: Alloc) -> Registers:
    """The elements of a register buffer, from where it is allocated and how the body indexes it."""
    buffer = alloc.buffer
    shape = tuple(_extent(buffer.name, extent) for extent in buffer.shape)
    if ctx.lanes > 1:
        return Registers(buffer.name, buffer.dtype, shape, None, ctx.lanes, True)
    axis, width = _vector_axis(alloc)
    if axis is not None and shape[axis] % width:
        raise _refused(buffer.name, f"axis {axis} has {shape[axis]} elements, its vector loop {width} trips")
    return Registers(buffer.name, buffer.dtype, shape, axis, width, False)


def _extent(name: str, extent: Expr) -> int:
    if not isinstance(extent, Const):
        raise _refused(name, "its extent is not a constant")
    return int(extent.value)


def _vector_axis(alloc: Alloc) -> tuple[int | None, int]:
    """The axis that vector loops index, and their trips."""
    name = alloc.buffer.name
    varying: dict[str, int] = {}  # variables that depend on a vector loop, and its trips
    found: set[tuple[int, int]] = set()
    for s, _ in walk_stmt(alloc.body):  # loops and names come before what they enclose
        match s:
            case For(extent=Const(value=trips)) if s.kind == VECTOR and trips != 1:
                varying[s.var] = int(trips)
            case Let() if used := [varying[v] for v in variables(s.value) if v in varying]:
                varying[s.var] = used[0]
        indices = [
            node.index
            for e in direct_exprs(s)
            for node in walk(e)
            if isinstance(node, Load) and node.buffer == name
        ]
        if isinstance(s, Store | Accumulate) and s.buffer == name:
            indices.append(s.index)
        for index in indices:
            for axis, e in enumerate(index):
                found.update((axis, varying[v]) for v in variables(e) if v in varying)
    if len(found) > 1:
        raise _refused(name, "vector loops index it along several axes, or with different numbers of trips")
    return found.pop() if found else (None, 1)


# ---------------------------------------------------------------- access


def load(ctx: Context, registers: Registers, index: list[Index]) -> Value:
    element, lane = _locate(ctx, registers, index)
    whole = _whole(ctx, registers, element)
    return whole if lane is None else ctx.emit.extract(whole, lane)


def store(ctx: Context, registers: Registers, index: list[Index], value: Value) -> None:
    """Store an element; what the mask leaves out keeps what it holds."""
    element, lane = _locate(ctx, registers, index)
    width = _width(registers)
    if width > 1 and lane is None:
        new = ctx.emit.splat(value, width)
        if ctx.mask is not None:
            new = ctx.emit.select(ctx.mask.value, new, _whole(ctx, registers, element))
    else:
        if value.lanes > 1:
            raise _refused(registers.name, "a vector loop stores different values to one element")
        new = value
        if ctx.mask is not None:
            new = ctx.emit.select(ctx.any_lane(ctx.mask.value), new, load(ctx, registers, index))
        if lane is not None:
            whole = _whole(ctx, registers, element)
            new = ctx.emit.pure(
                f"insertelement {whole.typed}, {new.typed}, i64 {lane}", registers.dtype, [whole, new], width
            )
    ctx.emit.effect(f"store {new.typed}, ptr {element}", width, registers.dtype)
    ctx.emit.stored(registers.name)


def _whole(ctx: Context, registers: Registers, element: str) -> Value:
    width = _width(registers)
    text = f"load {type_of(registers.dtype, width)}, ptr {element}"
    return ctx.emit.read(text, registers.dtype, [], registers.name, width)


def is_vector(ctx: Context, registers: Registers, index: list[Index]) -> bool:
    """Whether an access means a whole vector."""
    axis = registers.vector_axis
    return registers.is_private or (axis is not None and index[axis].constant is None)


def elements_of(ctx: Context, registers: Registers) -> dict[tuple[int, ...], str]:
    """All elements, allocated: what a function that is called needs to know."""
    counts = [
        n // registers.width if axis == registers.vector_axis else n for axis, n in enumerate(registers.shape)
    ]
    for key in product(*map(range, counts)):
        _element(ctx, registers, key)
    return registers.elements


def _width(registers: Registers) -> int:
    return registers.width if registers.is_private or registers.vector_axis is not None else 1


def _element(ctx: Context, registers: Registers, key: tuple[int, ...]) -> str:
    name = registers.elements.get(key)
    if name is None:
        hint = "_".join([registers.name.replace(".", "_"), *map(str, key)])
        name = ctx.emit.alloca(type_of(registers.dtype, _width(registers)), ascii_name(hint))
        registers.elements[key] = name
    return name


def _locate(ctx: Context, registers: Registers, index: list[Index]) -> tuple[str, int | None]:
    """The element's `alloca`, and the lane inside it if one lane is meant."""
    key: list[int] = []
    lane: int | None = None
    for axis, position in enumerate(index):
        if axis == registers.vector_axis:
            base = position.constant
            if base is None:
                base = add(position, LANE_NUMBER, -1).constant
                if base is None or base % registers.width or ctx.lanes != registers.width:
                    raise _refused(
                        registers.name, "a vector loop reads it at other places than whole vectors"
                    )
            else:
                lane = base % registers.width
            key.append(base // registers.width)
        else:
            if position.constant is None:
                raise _refused(registers.name, f"axis {axis} is indexed by a variable")
            key.append(position.constant)
    return _element(ctx, registers, tuple(key)), lane


def _refused(name: str, reason: str) -> ScheduleError:
    return ScheduleError(
        error(
            "register-index",
            f"`{name}` cannot be kept in registers: {reason}",
            None,
            help="unroll or vectorise the loops that index it, or keep it in memory (`in global`)",
        )
    )


def ascii_name(name: str) -> str:
    """A name that LLVM takes without quotes."""
    return "".join(c if c.isascii() and (c.isalnum() or c in "._") else "_" for c in name)
