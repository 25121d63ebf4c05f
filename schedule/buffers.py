"""Buffers and what they are called: tensors, allocations, new names, axes; refusals about storage."""

from __future__ import annotations

from dataclasses import replace
from typing import NoReturn

from te.diagnostics import ScheduleError, Span, did_you_mean, error
from te.ir.expr import TRUE, Const, Load, Select, Var
from te.ir.loop import (
    Alloc,
    Buffer,
    Kernel,
    Stmt,
    Store,
    rewrite_stmt,
    walk_stmt,
)
from te.ir.visit import loads
from te.schedule.forms import Directive, span_of
from te.schedule.names import Path, all_loops


def find_tensor(kernel: Kernel, name: str, span: Span | None) -> Buffer:
    """The buffer of that name: an input, a result, an intermediate or a copy."""
    buffers = {b.name: b for b in kernel.arguments}
    buffers |= {s.buffer.name: s.buffer for s, _ in walk_stmt(kernel.body) if isinstance(s, Alloc)}
    if name not in buffers:
        there_are = f"the tensors are {', '.join(f'`{n}`' for n in buffers)}"
        suggestion = did_you_mean(name, buffers)
        raise ScheduleError(
            error(
                "unknown-tensor",
                f"there is no tensor `{name}`",
                span,
                "no such tensor",
                help=f"{suggestion}\n{there_are}" if suggestion else there_are,
            )
        )
    buffer = buffers[name]
    tensors = {t.name: t for t in (*kernel.program.inputs, *(t.tensor for t in kernel.program.tables))}
    tensors |= {s.name: s.tensor for s in kernel.program.stages}
    whole = tensors.get(name)
    if whole is None and buffer.origin:
        raise ScheduleError(
            error(
                "unknown-tensor",
                f"`{name}` is a copy of a part of a tensor",
                span,
                "no tensor of its own",
                help="copies are made of inputs, stages and whole copies",
            )
        )
    return replace(buffer, shape=whole.shape, origin=()) if whole else buffer


def buffer_of(kernel: Kernel, name: str) -> Buffer:
    """The buffer of a name that there is."""
    own = (s.buffer for s, _ in walk_stmt(kernel.body) if isinstance(s, Alloc))
    return next(b for b in (*kernel.arguments, *own) if b.name == name)


def find_source(kernel: Kernel, name: str, span: Span | None) -> Buffer:
    """What a copy can be made of: a tensor, or a copy of a part of one, with the whole tensor's shape."""
    source = _source_of_copy(kernel, name)
    if source is None:
        return find_tensor(kernel, name, span)
    return replace(buffer_of(kernel, name), shape=find_source(kernel, source, span).shape, origin=())


def _source_of_copy(kernel: Kernel, name: str) -> str | None:
    """What `name` is a copy of, if it is one."""
    if any(stage.name == name for stage in kernel.program.stages):
        return None
    for s, _ in walk_stmt(kernel.body):
        if isinstance(s, Store) and s.stage == s.buffer == name:
            match s.value:
                case Load(buffer=source) | Select(then=Load(buffer=source), otherwise=Const()):
                    return source
    return None


def find_allocation(kernel: Kernel, d: Directive, field: str, name: str) -> tuple[Alloc, Path]:
    """Where a buffer is allocated; arguments are the caller's."""
    for s, path in walk_stmt(kernel.body):
        if isinstance(s, Alloc) and s.buffer.name == name:
            return s, path
    find_tensor(kernel, name, span_of(d, field))
    given = {t.name for t in kernel.program.inputs}
    what = "an input" if name in given else "a result"
    refuse_storage(
        d,
        field,
        f"`{name}` is {what}: the caller decides how it is stored",
        "not te's to change",
        help=f"`cache_read {name} layout [...]` makes a copy that is stored so" if name in given else None,
    )


def with_allocation(kernel: Kernel, new: Alloc) -> Kernel:
    def changed(s: Stmt) -> Stmt:
        is_it = isinstance(s, Alloc) and s.buffer.name == new.buffer.name
        return Alloc(new.buffer, s.body) if is_it and isinstance(s, Alloc) else s

    return replace(kernel, body=rewrite_stmt(kernel.body, changed))


def new_buffer(kernel: Kernel, name: str, span: Span | None) -> str:
    """A name that no tensor, stage or loop's stage has."""
    taken = {b.name for b in kernel.arguments} | {s.name for s in kernel.program.stages}
    taken |= {s.buffer.name for s, _ in walk_stmt(kernel.body) if isinstance(s, Alloc)}
    taken |= {loop.stage for loop, _ in all_loops(kernel)} | {*kernel.program.sizes}
    if name in taken:
        raise ScheduleError(
            error(
                "buffer-name",
                f"there is a tensor `{name}` already",
                span,
                "taken",
                help="choose another name with `as`",
            )
        )
    return name


def axes_of(kernel: Kernel, tensor: str, count: int) -> tuple[str, ...]:
    """Names for a tensor's axes: its stage's, or those of the first read that says them; a copy has its source's."""
    for stage in kernel.program.stages:
        if stage.name == tensor:
            return tuple(axis.name for axis in stage.axes)
    for stage in kernel.program.stages:
        for e in (stage.value, stage.reduction.where if stage.reduction else TRUE):
            for load in loads(e):
                names = tuple(i.name for i in load.index if isinstance(i, Var))
                if load.buffer == tensor and len(set(names)) == len(load.index):
                    return names
    source = _source_of_copy(kernel, tensor)
    return axes_of(kernel, source, count) if source else tuple(f"i{n}" for n in range(count))


def refuse_storage(d: Directive, field: str, message: str, label: str, help: str | None = None) -> NoReturn:
    raise ScheduleError(error("storage-refused", message, span_of(d, field), label, help=help))
