"""Rewrites of where data lives: `cache_read`, `cache_write`, `set_scope`, `layout`, `align`.

A copy is a stage like any other, with loops of its own, which later lines split, vectorise and
make parallel. It keeps the tensor's indices, so that to read the copy is to read another name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NoReturn

from te.diagnostics import ScheduleError, Span, did_you_mean, error
from te.ir.bounds import Facts, prove
from te.ir.expr import TRUE, Const, Expr, Load, Op, Select, Var, both, compare, integer
from te.ir.floats import nearest
from te.ir.loop import (
    Accumulate,
    Alloc,
    Buffer,
    For,
    If,
    Kernel,
    Layout,
    Let,
    Seq,
    Stmt,
    Store,
    bodies,
    direct_exprs,
    map_exprs,
    rewrite_stmt,
    seq,
    walk_stmt,
    with_bodies,
)
from te.ir.tensor import Axis, Stage, Tensor, identity
from te.ir.types import integer_limits
from te.ir.visit import loads, rewrite, variables
from te.schedule.compute_at import reads_directly, refuse_scope
from te.schedule.context import facts_at, facts_inside, follows_from_loops
from te.schedule.directives import Align, CacheRead, CacheWrite, SetLayout, SetScope
from te.schedule.forms import Directive, Scope, span_of
from te.schedule.forms import Layout as LayoutForm
from te.schedule.legality import carried
from te.schedule.names import Path, all_loops, find_loop
from te.schedule.nest import guards_of_box, nest_part
from te.schedule.regions import Box, Use, box_of, exact_box, inside_names, reads_in, writes_in

# ---------------------------------------------------------------- copies that are read


def cache_read(kernel: Kernel, d: CacheRead) -> Kernel:
    """Read a copy of the part of a tensor that a loop's body needs."""
    tensor = _find_tensor(kernel, d.tensor.name, span_of(d, "tensor"))
    name = _new_buffer(kernel, d.as_ or f"{tensor.name}_copy", span_of(d, "as_"))
    region, path, where = _region(kernel, d)
    copy = _Copy(kernel, d, tensor, name)
    if not reads_in(region, tensor.name):
        _refuse_copy(d, "tensor", f"nothing {where} reads `{tensor.name}`", "no read to replace")
    new = copy.around(region, facts_at(path, kernel.program, trust_lets=False))
    if d.at is None:
        return replace(kernel, body=new, touched=kernel.touched | copy.readers(region))
    loop = path[-1]
    assert isinstance(loop, For)
    owners = {s.stage for s in path if isinstance(s, For)}
    body = _replaced(kernel.body, loop, replace(loop, body=new))
    return replace(kernel, body=body, touched=kernel.touched | owners | copy.readers(region))


def _region(kernel: Kernel, d: CacheRead) -> tuple[Stmt, Path, str]:
    """What is to read the copy, what stands around it, and how messages call it."""
    if d.at is None:
        return kernel.body, (), "in the program"
    loop, path = find_loop(kernel, d.at, span_of(d, "at"))
    return loop.body, (*path, loop), f"in `{loop.var}`"


class _Copy:
    """A copy on its way to its place."""

    def __init__(self, kernel: Kernel, d: CacheRead, tensor: Buffer, name: str):
        self.kernel = kernel
        self.d = d
        self.tensor = tensor
        self.name = name
        self.names: list[Let] = []  # around the place, of whose range the loops alone are no proof
        path = _region(kernel, d)[1]
        for at, s in enumerate(path):
            self._note(s, facts_at(path[:at], kernel.program, trust_lets=False))

    def _note(self, s: Stmt, facts: Facts) -> None:
        if isinstance(s, Let) and not follows_from_loops(s, facts):
            self.names.append(s)

    def readers(self, region: Stmt) -> set[str]:
        """The stages that will read the copy."""
        return {
            s.stage
            for s, _ in walk_stmt(region)
            if isinstance(s, Store | Accumulate) and reads_directly(s, self.tensor.name)
        }

    def around(self, s: Stmt, facts: Facts) -> Stmt:
        """The copy in front of what reads it, inside names and guards that are around all of that."""
        match s:
            case Let() | Alloc():
                self._note(s, facts)
                return replace(s, body=self.around(s.body, facts_inside(s, s.body, facts, trust_lets=False)))
            case If(otherwise=None) if not reads_directly(s, self.tensor.name):
                return replace(s, body=self.around(s.body, facts_inside(s, s.body, facts, trust_lets=False)))
        items = s.items if isinstance(s, Seq) else (s,)
        at = next(i for i, item in enumerate(items) if reads_in(item, self.tensor.name))
        if any(writes_in(item, self.tensor.name) for item in items[at:]) or self._is_unfinished():
            _refuse_copy(
                self.d,
                "at",
                f"`{self.tensor.name}` is not complete there",
                "computed in that loop",
                help="a copy is made of a tensor that is complete before the place",
            )
        uses = reads_in(s, self.tensor.name)
        shape = None if self.d.fill is not None else self.tensor.shape
        box = box_of(uses, self.tensor.shape, facts, whole=shape is not None)
        nest = self._nest(box, facts)
        scope = self.d.in_ or Scope.GLOBAL
        refuse_scope(self.name, box.extents, scope, span_of(self.d, "in_"))
        origin = () if all(i == integer(0) for i in box.low) else box.low
        layout = None
        if self.d.layout is not None:
            layout = _checked_layout(self.d, self.axes(), self.d.layout, box.extents)
        buffer = Buffer(self.name, self.tensor.dtype, box.extents, scope.value, origin, layout)
        readers = [self._reading_copy(item, facts) for item in items[at:]]
        return Alloc(buffer, seq(*items[:at], nest, *readers))

    def _is_unfinished(self) -> bool:
        """Whether the tensor is computed part by part, in loops that are around the place."""
        path = _region(self.kernel, self.d)[1]
        return any(isinstance(s, For) and writes_in(s, self.tensor.name) for s in path)

    def axes(self) -> tuple[str, ...]:
        """The names of the tensor's axes, which the copy's loops get."""
        count, given = len(self.tensor.shape), self.d.tensor.axes
        if given and (len(given) != count or len(set(given)) != count):
            _refuse_copy(
                self.d,
                "tensor",
                f"`{self.tensor.name}` has {count} axes, and these are not {count} different names",
                "one name for each axis",
            )
        return given or _axes_of(self.kernel, self.tensor.name, count)

    def _nest(self, box: Box, facts: Facts) -> Stmt:
        """The loops that copy a box."""
        axes = tuple(Axis(name, d) for name, d in zip(self.axes(), self.tensor.shape, strict=True))
        element = Load(self.tensor.name, tuple(Var(a.name) for a in axes), self.tensor.dtype)
        stage = Stage(Tensor(self.name, self.tensor.dtype, self.tensor.shape), axes, element)
        nest = nest_part(stage, box.low, box.extents, facts)
        if self.d.fill is None:
            return nest
        nest = rewrite_stmt(nest, self._filled)
        return If(known, nest) if (known := self._names_in_range(nest)) != TRUE else nest

    def _names_in_range(self, nest: Stmt) -> Expr:
        """What makes the names that a nest uses lie in their ranges: the overhang of a fused loop does not."""
        used = {name for s, _ in walk_stmt(nest) for e in direct_exprs(s) for name in variables(e)}
        in_range: Expr = TRUE
        for s in self.names:
            if s.var in used:
                in_range = both(in_range, compare("<", Var(s.var), s.extent))
        return in_range

    def _filled(self, s: Stmt) -> Stmt:
        """Guards of what overhangs become a choice of the value there."""
        if isinstance(s, If) and isinstance(s.body, Store):
            return replace(s.body, value=Select(s.condition, s.body.value, self._fill()))
        return s

    def _fill(self) -> Const:
        value, dtype = self.d.fill, self.tensor.dtype
        assert value is not None
        if dtype.is_float:
            return Const(nearest(float(value), dtype), dtype)
        low, high = integer_limits(dtype) if dtype.is_integer else (0, 1)
        if value != int(value) or not low <= value <= high:
            _refuse_copy(self.d, "fill", f"{value} is no value of type {dtype}", "not representable")
        return Const(bool(value) if not dtype.is_integer else int(value), dtype)

    def _reading_copy(self, s: Stmt, facts: Facts) -> Stmt:
        """`s` with the copy in the place of the tensor; what the copy is filled with needs no choice."""

        def read(e: Expr, known: Facts) -> Expr:
            def one(e: Expr) -> Expr:
                match e:
                    case Load() if e.buffer == self.tensor.name:
                        return replace(e, buffer=self.name)
                    case Select(then=Load(buffer=self.name)) if self._chooses_fill(e, known):
                        return e.then
                return e

            return rewrite(e, one)

        def walk_down(s: Stmt, known: Facts) -> Stmt:
            s = _with_direct_exprs(s, lambda e: read(e, known))
            inner = tuple([walk_down(b, facts_inside(s, b, known)) for b in bodies(s)])
            return with_bodies(s, inner)

        return walk_down(s, facts)

    def _chooses_fill(self, e: Select, facts: Facts) -> bool:
        """Whether a choice gives what the copy holds: the element inside the tensor, the filling outside."""
        if self.d.fill is None or not isinstance(e.then, Load) or e.otherwise != self._fill():
            return False
        inside = guards_of_box(e.then.index, self.tensor.shape, facts)
        return prove(e.condition, facts.with_assumption(inside))


def _with_direct_exprs(s: Stmt, f: Callable[[Expr], Expr]) -> Stmt:
    """`f` applied to the expressions of one statement, and not of those inside it."""
    kept = bodies(s)
    if not kept:
        return map_exprs(s, f)
    bare = map_exprs(with_bodies(s, tuple(Seq(()) for _ in kept)), f)
    return with_bodies(bare, kept) if not isinstance(s, Seq) else s


# ---------------------------------------------------------------- copies that are written


def cache_write(kernel: Kernel, d: CacheWrite) -> Kernel:
    """Compute what a loop's body writes of a tensor in a buffer of its own, and copy it when it is done."""
    name = d.tensor.name
    tensor = _find_tensor(kernel, name, span_of(d, "tensor"))
    copy = _new_buffer(kernel, d.as_ or f"{name}_tile", span_of(d, "as_"))
    loop, path = find_loop(kernel, d.at, span_of(d, "at"))
    write = _only_write(kernel, d, loop)
    around = {s.var for s in (*path, loop) if isinstance(s, For)}
    outside = write.over & around if isinstance(write, Accumulate) else frozenset()
    if isinstance(write, Accumulate) and write.over == outside:
        _refuse_copy(
            d,
            "at",
            f"each trip of `{loop.var}` adds one term to an element of `{name}`",
            "nothing to collect",
            help="name a loop outside a reduction loop of it",
        )

    def cached(s: Stmt, facts: Facts) -> Stmt:
        box = exact_box(s, name, tensor.shape, facts)
        if box is None:
            _refuse_copy(
                d,
                "at",
                f"what `{loop.var}` computes of `{name}` is no box: there are elements between",
                "not one part",
                help="name a loop whose trips compute neighbouring elements",
            )
        scope = d.in_ or Scope.GLOBAL
        refuse_scope(copy, box.extents, scope, span_of(d, "in_"))
        origin = () if all(i == integer(0) for i in box.low) else box.low
        buffer = Buffer(copy, tensor.dtype, box.extents, scope.value, origin)
        nest = _write_back(kernel, d, tensor, copy, box, facts, write, outside)
        return Alloc(buffer, seq(rewrite_stmt(s, lambda x: _redirected(x, name, copy, outside)), nest))

    body = inside_names(loop.body, facts_at((*path, loop), kernel.program, trust_lets=False), cached)
    owners = {s.stage for s in (*path, loop) if isinstance(s, For)}
    new = _replaced(kernel.body, loop, replace(loop, body=body))
    return replace(kernel, body=new, touched=kernel.touched | owners | {write.stage})


def _only_write(kernel: Kernel, d: CacheWrite, loop: For) -> Store | Accumulate:
    """The one statement in the loop that writes the tensor; refused where a copy could not stand for it."""
    name = d.tensor.name
    writes = [s for s, _ in walk_stmt(loop.body) if isinstance(s, Store | Accumulate) and s.buffer == name]
    if not writes:
        _refuse_copy(d, "at", f"nothing in `{loop.var}` computes `{name}`", "not computed there")
    if any(name in r.stages for r in kernel.program.recurrences):
        _refuse_copy(
            d, "tensor", f"`{name}` is part of a recurrence, which reads what it has written", "recurs"
        )
    readers = reads_in(loop.body, name)
    if len(writes) > 1 or readers:
        what = "is read" if readers else "is written by several statements"
        _refuse_copy(
            d,
            "at",
            f"`{name}` {what} in `{loop.var}`",
            "not one computation alone",
            help="write this line before the epilogues and copies that read it there",
        )
    return writes[0]


def _redirected(s: Stmt, tensor: str, copy: str, outside: frozenset[str]) -> Stmt:
    match s:
        case Accumulate() if s.buffer == tensor:
            start = s.start
            if outside or start is None:
                start = identity(s.reducer, s.value.dtype)
            return replace(s, buffer=copy, over=s.over - outside, start=start)
        case Store() if s.buffer == tensor:
            return replace(s, buffer=copy)
    return s


def _write_back(
    kernel: Kernel,
    d: CacheWrite,
    tensor: Buffer,
    copy: str,
    box: Box,
    facts: Facts,
    write: Store | Accumulate,
    outside: frozenset[str],
) -> Stmt:
    """The nest that copies the part; where reduction loops lie outside, it adds it as a partial result."""
    names = d.tensor.axes or _axes_of(kernel, tensor.name, len(tensor.shape))
    axes = tuple(Axis(name, extent) for name, extent in zip(names, tensor.shape, strict=True))
    element = Load(copy, tuple(Var(a.name) for a in axes), tensor.dtype)
    stage = Stage(Tensor(copy, tensor.dtype, tensor.shape), axes, element)
    nest = nest_part(stage, box.low, box.extents, facts, box.guard)

    def written(s: Stmt) -> Stmt:
        if not isinstance(s, Store):
            return s
        if not outside or not isinstance(write, Accumulate):
            return replace(s, buffer=tensor.name)
        return Accumulate(tensor.name, s.index, write.reducer, s.value, outside, write.start, copy)

    return rewrite_stmt(nest, written)


# ---------------------------------------------------------------- scope and layout


def set_scope(kernel: Kernel, d: SetScope) -> Kernel:
    """Say where a buffer lives; it shrinks to what one trip of the loops around its uses needs."""
    alloc, path = find_allocation(kernel, d, "tensor", d.tensor)
    place = _innermost_place(alloc, path, kernel)
    if place is not None:
        kernel = _moved_into(kernel, alloc, place)
        alloc, path = find_allocation(kernel, d, "tensor", d.tensor)
    refuse_scope(d.tensor, alloc.buffer.shape, d.in_, span_of(d, "in_"))
    new = replace(alloc, buffer=replace(alloc.buffer, scope=d.in_.value))
    return with_allocation(kernel, new)


def _innermost_place(alloc: Alloc, path: Path, kernel: Kernel) -> For | None:
    """The innermost loop whose trips each write what they read of the buffer, and hand nothing on."""
    name = alloc.buffer.name
    users = [id(s) for s, _ in walk_stmt(alloc.body) if _uses(s, name)]
    found = None
    for loop, inner in [(s, p) for s, p in walk_stmt(alloc) if isinstance(s, For)]:
        inside = {id(s) for s, _ in walk_stmt(loop.body)}
        if not all(user in inside for user in users) or alloc.buffer.layout is not None:
            continue
        facts = facts_at((*path, *inner), kernel.program)
        if any(dependence.first.buffer == name for dependence in carried(loop, facts)):
            break
        found = loop
    return found


def _uses(s: Stmt, buffer: str) -> bool:
    writes = isinstance(s, Store | Accumulate) and s.buffer == buffer
    return writes or (not isinstance(s, Seq) and reads_directly(s, buffer))


def _moved_into(kernel: Kernel, alloc: Alloc, loop: For) -> Kernel:
    """The allocation just inside a loop, for the part that a trip uses."""
    name = alloc.buffer.name
    body = rewrite_stmt(
        kernel.body, lambda s: s.body if isinstance(s, Alloc) and s.buffer.name == name else s
    )
    loop, path = find_loop(replace(kernel, body=body), loop.var, None)

    def allocated(s: Stmt, facts: Facts) -> Stmt:
        uses: list[Use] = [*reads_in(s, name), *writes_in(s, name)]
        box = box_of(uses, alloc.buffer.shape, facts)
        origin = () if all(i == integer(0) for i in box.low) else box.low
        return Alloc(replace(alloc.buffer, shape=box.extents, origin=origin), s)

    facts = facts_at((*path, loop), kernel.program)
    new = replace(loop, body=inside_names(loop.body, facts, allocated))
    return replace(kernel, body=_replaced(body, loop, new))


def set_layout(kernel: Kernel, d: SetLayout) -> Kernel:
    """Say how a whole buffer is stored; of a `param`, a copy that is made when it is bound."""
    if d.tensor.name in kernel.program.params:
        return _packed_param(kernel, d)
    alloc, _ = find_allocation(kernel, d, "tensor", d.tensor.name)
    count = len(alloc.buffer.shape)
    axes = d.tensor.axes or _axes_of(kernel, d.tensor.name, count)
    if len(axes) != count or len(set(axes)) != count:
        refuse_storage(
            d,
            "tensor",
            f"`{d.tensor.name}` has {count} axes, and these are not {count} different names",
            "one name for each axis",
        )
    if alloc.buffer.layout is not None and alloc.buffer.layout.swizzle is not None:
        refuse_storage(
            d,
            "tensor",
            f"`{d.tensor.name}` is swizzled, and another layout has other rows",
            "too late",
            help="write `layout` before `swizzle`",
        )
    layout = _checked_layout(d, axes, d.as_, alloc.buffer.shape)
    return with_allocation(kernel, replace(alloc, buffer=replace(alloc.buffer, layout=layout)))


def _packed_param(kernel: Kernel, d: SetLayout) -> Kernel:
    """A copy of a `param` in another layout, which is precomputed."""
    place = d.place
    if place is not None:
        place = replace(place, parts={"tensor": place.parts["tensor"], "layout": place.parts["as_"]})
    copied = cache_read(kernel, CacheRead(d.tensor, layout=d.as_, place=place))
    return replace(copied, precomputed=(*copied.precomputed, f"{d.tensor.name}_copy"))


def align(kernel: Kernel, d: Align) -> Kernel:
    """Round the extent of a storage axis up to a multiple."""
    alloc, _ = find_allocation(kernel, d, "tensor", d.tensor)
    buffer = alloc.buffer
    layout = buffer.layout or plain_layout(buffer)
    count = len(layout.dims)
    if not 0 <= d.axis < count:
        refuse_storage(
            d, "axis", f"`{d.tensor}` is stored along {count} axes, 0 to {count - 1}", "no such axis"
        )
    if not 1 <= d.by <= ALIGN_LIMIT:
        refuse_storage(d, "by", f"`by` must lie between 1 and {ALIGN_LIMIT}", "out of range")
    multiples = list(layout.align or (1,) * count)
    multiples[d.axis] = d.by
    layout = replace(layout, align=tuple(multiples))
    return with_allocation(kernel, replace(alloc, buffer=replace(buffer, layout=layout)))


ALIGN_LIMIT = 1 << 16


def plain_layout(buffer: Buffer) -> Layout:
    """Row-major, as a layout."""
    names = tuple(f"x{n}" for n in range(len(buffer.shape)))
    return Layout(names, tuple(Var(n) for n in names))


# ---------------------------------------------------------------- layouts that are one to one


@dataclass(frozen=True, slots=True)
class _Digits:
    """`(x // low) % (high // low)`: the digits of an axis from one place value to another."""

    axis: str
    low: int
    high: int | None  # None: to the end


def _checked_layout(d: Directive, axes: Sequence[str], form: LayoutForm, shape: Sequence[Expr]) -> Layout:
    """The layout, once it is shown that no two elements share a place."""
    clause = "layout" if isinstance(d, CacheRead) else "as_"
    found: dict[str, list[_Digits]] = {axis: [] for axis in axes}
    for dim in form.dims:
        unknown = sorted(variables(dim) - {*axes})
        if unknown:
            there_are = f"the axes are {', '.join(f'`{a}`' for a in axes)}"
            suggestion = did_you_mean(unknown[0], axes)
            refuse_storage(
                d,
                clause,
                f"the layout mentions `{unknown[0]}`, which is no axis",
                "unknown axis",
                help=f"{suggestion}\n{there_are}" if suggestion else there_are,
            )
        digits = _digits(dim)
        if digits is None:
            refuse_storage(
                d,
                clause,
                "a dimension of a layout is an axis `x`, `x // 16`, `x % 16` or `x // 4 % 16`",
                "of another form",
            )
        found[digits.axis].append(digits)
    for axis, extent in zip(axes, shape, strict=True):
        problem = _gap(found[axis], extent)
        if problem:
            refuse_storage(
                d, clause, f"elements would share a place: of `{axis}`, {problem}", "not one to one"
            )
    return Layout(tuple(axes), form.dims)


def _digits(e: Expr) -> _Digits | None:
    match e:
        case Var(name=name):
            return _Digits(name, 1, None)
        case Op(op="//", args=(Var(name=name), Const(value=low))) if low > 0:
            return _Digits(name, int(low), None)
        case Op(op="%", args=(Var(name=name), Const(value=high))) if high > 0:
            return _Digits(name, 1, int(high))
        case Op(op="%", args=(Op(op="//", args=(Var(name=name), Const(value=low))), Const(value=n))):
            return _Digits(name, int(low), int(low) * int(n)) if low > 0 and n > 0 else None
    return None


def _gap(parts: Sequence[_Digits], extent: Expr) -> str | None:
    """What is missing, or there twice, so that the parts are no mixed-radix number."""
    reached: int | None = 1
    for part in sorted(parts, key=lambda p: p.low):
        if reached is None or part.low < reached:
            return "some digits stand there twice"
        if part.low > reached:
            return (
                f"what lies between `// {reached}` and `// {part.low}` is missing"
                if reached > 1
                else (f"`% {part.low}` is missing")
            )
        reached = part.high
    is_whole = reached is None or (isinstance(extent, Const) and extent.value <= reached)
    return None if is_whole else f"`// {reached}` is missing" if reached != 1 else "nothing is there"


# ---------------------------------------------------------------- finding things


def _find_tensor(kernel: Kernel, name: str, span: Span | None) -> Buffer:
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


def find_allocation(kernel: Kernel, d: Directive, field: str, name: str) -> tuple[Alloc, Path]:
    """Where a buffer is allocated; arguments are the caller's."""
    for s, path in walk_stmt(kernel.body):
        if isinstance(s, Alloc) and s.buffer.name == name:
            return s, path
    _find_tensor(kernel, name, span_of(d, field))
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


def _new_buffer(kernel: Kernel, name: str, span: Span | None) -> str:
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


def _axes_of(kernel: Kernel, tensor: str, count: int) -> tuple[str, ...]:
    """Names for a tensor's axes: its stage's, or those of the first read that says them."""
    for stage in kernel.program.stages:
        if stage.name == tensor:
            return tuple(axis.name for axis in stage.axes)
    for stage in kernel.program.stages:
        for e in (stage.value, stage.reduction.where if stage.reduction else TRUE):
            for load in loads(e):
                names = tuple(i.name for i in load.index if isinstance(i, Var))
                if load.buffer == tensor and len(set(names)) == len(load.index):
                    return names
    return tuple(f"i{n}" for n in range(count))


def _replaced(s: Stmt, old: For, new: Stmt) -> Stmt:
    return rewrite_stmt(s, lambda x: new if isinstance(x, For) and x.var == old.var else x)


def _refuse_copy(
    d: CacheRead | CacheWrite, field: str, message: str, label: str, help: str | None = None
) -> NoReturn:
    raise ScheduleError(error("copy-refused", message, span_of(d, field), label, help=help))


def refuse_storage(d: Directive, field: str, message: str, label: str, help: str | None = None) -> NoReturn:
    raise ScheduleError(error("storage-refused", message, span_of(d, field), label, help=help))
