"""Buffers in registers: which elements they are made of, and reads and stores of them.

An element is as wide as the widest vector loop that indexes the buffer. A narrower loop takes a part
of an element (the halves of a sum over lanes), a constant index a lane.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from te.backends.llvm.context import Context, Registers
from te.backends.llvm.index import LANE_NUMBER, Index, add
from te.backends.llvm.values import Value, ascii_name, type_of
from te.ir.expr import Const, Expr, Load
from te.ir.loop import VECTOR, Accumulate, Alloc, For, Let, Stmt, Store, direct_exprs, walk_stmt
from te.ir.visit import variables, walk


def make_registers(ctx: Context, alloc: Alloc) -> Registers:
    """The elements of a register buffer, from where it is allocated and how the body indexes it."""
    buffer = alloc.buffer
    shape = tuple(_extent(buffer.name, extent) for extent in buffer.shape)
    if ctx.lanes > 1:
        return Registers(buffer.name, buffer.dtype, shape, None, ctx.lanes, True)
    axis, width = _vector_axis(alloc)
    return Registers(buffer.name, buffer.dtype, shape, axis, width, False)


def _extent(name: str, extent: Expr) -> int:
    if not isinstance(extent, Const):
        raise _refused(name, "its extent is not a constant")
    return int(extent.value)


def _vector_axis(alloc: Alloc) -> tuple[int | None, int]:
    """The axis that vector loops index, and the most trips one of them has."""
    name = alloc.buffer.name
    found: dict[int, int] = {}
    for s, path in walk_stmt(alloc.body):
        indices = [
            node.index
            for e in direct_exprs(s)
            for node in walk(e)
            if isinstance(node, Load) and node.buffer == name
        ]
        if isinstance(s, Store | Accumulate) and s.buffer == name:
            indices.append(s.index)
        varying = _varying(path) if indices else {}
        for index in indices:
            for axis, e in enumerate(index):
                for v in variables(e) & varying.keys():
                    found[axis] = max(found.get(axis, 1), varying[v])
    if len(found) > 1:
        raise _refused(name, "vector loops index it along several axes")
    return next(iter(found.items()), (None, 1))


def _varying(path: Sequence[Stmt]) -> dict[str, int]:
    """The variables that differ between lanes, with the trips of their vector loop."""
    varying: dict[str, int] = {}
    for s in path:
        match s:
            case For(extent=Const(value=trips)) if s.kind == VECTOR and trips != 1:
                varying[s.var] = int(trips)
            case Let():
                trips = max((varying[v] for v in variables(s.value) if v in varying), default=1)
                if trips > 1:
                    varying[s.var] = trips
    return varying


# ---------------------------------------------------------------- access


@dataclass(frozen=True, slots=True)
class _Place:
    """Lanes `start .. start + lanes` of an element: the whole of it, a part, or one lane."""

    element: str
    start: int
    lanes: int


def load(ctx: Context, registers: Registers, index: list[Index]) -> Value:
    place = _locate(ctx, registers, index)
    return _part(ctx, _whole(ctx, registers, place.element), place)


def store(ctx: Context, registers: Registers, index: list[Index], value: Value) -> None:
    """Store an element; what the mask leaves out keeps what it holds."""
    place = _locate(ctx, registers, index)
    width = _width(registers)
    if value.lanes > place.lanes:
        raise _refused(registers.name, "a vector loop stores different values to one element")
    new = ctx.emit.splat(value, place.lanes)
    if ctx.mask is not None:
        old = _part(ctx, _whole(ctx, registers, place.element), place)
        mask = ctx.mask.value if place.lanes > 1 else ctx.any_lane(ctx.mask.value)
        new = ctx.emit.select(mask, new, old)
    if place.lanes < width:
        new = _inserted(ctx, _whole(ctx, registers, place.element), new, place)
    ctx.emit.effect(f"store {new.typed}, ptr {place.element}", width, registers.dtype)
    ctx.emit.stored(registers.name)


def _whole(ctx: Context, registers: Registers, element: str) -> Value:
    width = _width(registers)
    text = f"load {type_of(registers.dtype, width)}, ptr {element}"
    return ctx.emit.read(text, registers.dtype, [], registers.name, width)


def _part(ctx: Context, whole: Value, place: _Place) -> Value:
    if place.lanes == whole.lanes:
        return whole
    if place.lanes == 1:
        return ctx.emit.extract(whole, place.start)
    return ctx.emit.shuffle(whole, range(place.start, place.start + place.lanes))


def _inserted(ctx: Context, whole: Value, part: Value, place: _Place) -> Value:
    """The element with some of its lanes replaced."""
    if part.lanes == 1:
        text = f"insertelement {whole.typed}, {part.typed}, i64 {place.start}"
        return ctx.emit.pure(text, whole.dtype, [whole, part], whole.lanes)
    lanes = whole.lanes
    wide = ctx.emit.shuffle(part, [min(max(i - place.start, 0), part.lanes - 1) for i in range(lanes)])
    inside = range(place.start, place.start + place.lanes)
    return ctx.emit.shuffle(whole, [lanes + i if i in inside else i for i in range(lanes)], wide)


def is_vector(registers: Registers, index: list[Index]) -> bool:
    """Whether an access in a vector loop means something else in each lane."""
    axis = registers.vector_axis
    return registers.is_private or (axis is not None and index[axis].constant is None)


def elements_of(ctx: Context, registers: Registers) -> dict[tuple[int, ...], str]:
    """All elements, allocated: what a function that is called needs to know."""
    counts = [
        -(-n // registers.width) if axis == registers.vector_axis else n
        for axis, n in enumerate(registers.shape)
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


def _locate(ctx: Context, registers: Registers, index: list[Index]) -> _Place:
    key: list[int] = []
    start, lanes = 0, _width(registers)
    for axis, position in enumerate(index):
        if axis == registers.vector_axis:
            base, lanes = position.constant, 1
            if base is None:
                base, lanes = add(position, LANE_NUMBER, -1).constant, ctx.lanes
            if base is None or base % registers.width + lanes > registers.width:
                raise _refused(registers.name, "a vector loop takes it apart other than in whole vectors")
            start = base % registers.width
            key.append(base // registers.width)
        elif position.constant is None:
            raise _refused(registers.name, f"axis {axis} is indexed by a variable")
        else:
            key.append(position.constant)
    return _Place(_element(ctx, registers, tuple(key)), start, lanes)


def _refused(name: str, reason: str) -> ValueError:
    """A kernel that is not as `te.schedule.finalize` promises."""
    return ValueError(f"`{name}` cannot be kept in registers: {reason}")
