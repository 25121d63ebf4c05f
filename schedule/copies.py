"""Rewrites that read and write copies: `cache_read`, `cache_write`.

A copy is a stage like any other, with loops of its own, which later lines split, vectorise and
make parallel. It keeps the tensor's indices, so that to read the copy is to read another name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import replace
from math import isfinite
from typing import NoReturn

from te.diagnostics import ScheduleError, error
from te.ir.bounds import Facts, prove
from te.ir.expr import TRUE, Const, Expr, Load, Select, Var, add, both, compare, integer, sub
from te.ir.floats import nearest
from te.ir.loop import (
    Accumulate,
    Alloc,
    Buffer,
    Completed,
    For,
    If,
    Kernel,
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
from te.ir.print import print_expr
from te.ir.simplify import simplify
from te.ir.tensor import Axis, Stage, Tensor, identity
from te.ir.types import DType, integer_limits
from te.ir.visit import loads, rewrite, substitute, variables
from te.schedule.buffers import axes_of, buffer_of, find_source, find_tensor, new_buffer
from te.schedule.compute_at import as_data_loops, reads_directly, refuse_scope, replaced
from te.schedule.context import facts_at, facts_inside, follows_from_loops
from te.schedule.directives import CacheRead, CacheWrite
from te.schedule.every import Every, steps_of
from te.schedule.forms import Scope, span_of
from te.schedule.layouts import checked_layout
from te.schedule.methods import copied_by
from te.schedule.names import Path, find_loop
from te.schedule.nest import guarded_copy, guards_of_box, nest_part
from te.schedule.regions import Box, box_of, exact_box, inside_names, reads_in, waits_for_loops, writes_in

# ---------------------------------------------------------------- copies that are read


def cache_read(kernel: Kernel, d: CacheRead) -> Kernel:
    """Read a copy of the part of a tensor that a loop's body needs."""
    tensor = find_source(kernel, d.tensor.name, span_of(d, "tensor"))
    name = new_buffer(kernel, d.as_ or f"{tensor.name}_copy", span_of(d, "as_"))
    region, path, where = _region(kernel, d)
    copy = _Copy(kernel, d, tensor, name)
    if not reads_in(region, tensor.name):
        _refuse_copy(d, "tensor", f"nothing {where} reads `{tensor.name}`", "no read to replace")
    _refuse_early_reads(d, region, tensor.name)
    if waits_for_loops(reads_in(region, tensor.name), {s.var for s in path if isinstance(s, For)}):
        _refuse_copy(
            d,
            "at",
            f"an epilogue reads `{tensor.name}`, which is computed even where that loop has no trip",
            "inside of a reduction",
            help="name a loop outside the reduction, or of the epilogue",
        )
    new = copy.around(region, facts_at(path, kernel.program, trust_lets=False))
    if d.at is None:
        return copied_by(replace(kernel, body=new, touched=kernel.touched | copy.readers(region)), d, name)
    loop = path[-1]
    assert isinstance(loop, For)
    owners = {s.stage for s in path if isinstance(s, For)}
    body = replaced(kernel.body, loop, replace(loop, body=new))
    return copied_by(
        replace(kernel, body=body, touched=kernel.touched | owners | copy.readers(region)), d, name
    )


def _refuse_early_reads(d: CacheRead, region: Stmt, tensor: str) -> None:
    """Refuse a place inside a reduction that starts from the tensor: that is read before its loops."""
    inside = {s.var for s, _ in walk_stmt(region) if isinstance(s, For)}
    for s, _ in walk_stmt(region):
        start = s.start if isinstance(s, Accumulate) and not s.over <= inside else None
        if isinstance(s, Accumulate) and start and any(load.buffer == tensor for load in loads(start)):
            _refuse_copy(
                d,
                "at",
                f"`{s.buffer}` starts from `{tensor}`, which is read before that loop",
                "inside of the reduction",
                help="name a loop outside of it",
            )


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
        self.source = buffer_of(kernel, tensor.name)  # which may hold a part of the tensor
        self.filling = self.source.filling if d.fill is None else _filling(d, tensor.dtype)
        self._require_one_filling()
        self.every: Every | None = None  # which elements of the part are read, where they are not all
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
        source, sizes, is_padded = self.source, self.kernel.program.sizes, self.filling is not None
        box = box_of(
            uses, source.shape, facts, sizes, whole=not is_padded, origin=source.origin, scope=self.d.in_
        )
        self._require_source(box, facts)
        if self.d.in_ is Scope.SHARED and self.d.fill is not None:
            self.every = Every(box.low, steps_of(uses, box, facts))
            box = self.every.box(box)
        nest = self._nest(box, facts)
        scope = self.d.in_ or Scope.GLOBAL
        refuse_scope(self.name, box.extents, scope, span_of(self.d, "in_"))
        origin = () if all(i == integer(0) for i in box.low) else box.low
        layout = None
        if self.d.layout is not None:
            layout = checked_layout(self.d, self.axes(), self.d.layout, box.extents)
        holds_all = is_padded and not isinstance(nest, If)
        buffer = Buffer(
            self.name,
            self.tensor.dtype,
            box.extents,
            scope.value,
            origin,
            layout,
            filled=holds_all,
            filling=self.filling,
        )
        readers = [self._reading_copy(item, box, facts) for item in items[at:]]
        return Alloc(buffer, seq(*items[:at], nest, *readers))

    def _is_unfinished(self) -> bool:
        """Whether the tensor is computed part by part, in loops that are around the place."""
        path = _region(self.kernel, self.d)[1]
        # In loops around its allocation, each trip has one of its own.
        inside = [n for n, s in enumerate(path) if isinstance(s, Alloc) and s.buffer.name == self.tensor.name]
        path = path[inside[-1] :] if inside else path
        return any(isinstance(s, For) and writes_in(s, self.tensor.name) for s in path)

    def _require_source(self, box: Box, facts: Facts) -> None:
        """Refuse a box of which not all that the tensor has is, provably, in the part that the source holds.

        One that is filled is filled around that part, too.
        """
        if self.source.filling is not None:
            return
        held = zip(self._origin(), self.source.shape, self.tensor.shape, strict=True)
        for low, extent, (first, count, whole) in zip(box.low, box.extents, held, strict=True):
            end = add(first, count)
            begins = any(prove(compare("<=", first, i), facts) for i in (low, integer(0)))
            ends = any(prove(compare("<=", i, end), facts) for i in (add(low, extent), whole))
            if not (begins and ends):
                _refuse_copy(
                    self.d,
                    "at",
                    f"`{self.tensor.name}` holds a part of a tensor, and the copy is not proved to lie in it",
                    "not in that part",
                )

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
        return given or axes_of(self.kernel, self.tensor.name, count)

    def _nest(self, box: Box, facts: Facts) -> Stmt:
        """The loops that copy a box."""
        axes = tuple(Axis(name, d) for name, d in zip(self.axes(), self.tensor.shape, strict=True))
        element = Load(self.tensor.name, tuple(Var(a.name) for a in axes), self.tensor.dtype)
        if self.every is not None:
            axes = self.every.axes(axes, box)
            element = replace(element, index=self.every.in_tensor(element.index))
        shape = tuple(axis.extent for axis in axes)
        stage = Stage(Tensor(self.name, self.tensor.dtype, shape), axes, element)
        nest = nest_part(stage, box.low, box.extents, facts)
        if self.every is not None:
            nest = self.every.guarded(nest, self.tensor.shape, facts)
        if self.source.filling is not None:  # it also has what overhangs the tensor
            nest = guarded_copy(rewrite_stmt(nest, _without_guards), facts, self._inside_source)
        if self.filling is None:
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

    def _inside_source(self, index: Sequence[Expr], facts: Facts) -> Expr:
        """What says that the source holds an element, less what is proved."""
        own = [simplify(sub(i, first), facts) for i, first in zip(index, self._origin(), strict=True)]
        return guards_of_box(own, self.source.shape, facts)

    def _origin(self) -> Sequence[Expr]:
        """Where the source begins."""
        return self.source.origin or (integer(0),) * len(self.source.shape)

    def _filled(self, s: Stmt) -> Stmt:
        """Guards of what overhangs become a choice of the value there."""
        if isinstance(s, If) and isinstance(s.body, Store) and self.filling is not None:
            return replace(s.body, value=Select(s.condition, s.body.value, self.filling))
        return s

    def _require_one_filling(self) -> None:
        """Refuse to fill a copy of a filled copy with another number, which readers do not expect there."""
        filling = self.source.filling
        if filling is not None and filling != self.filling:
            held = print_expr(filling)
            _refuse_copy(
                self.d,
                "fill",
                f"`{self.tensor.name}` is filled with {held}, and so are the copies of it",
                "another number",
                help="leave out `fill`",
            )

    def _reading_copy(self, s: Stmt, box: Box, facts: Facts) -> Stmt:
        """`s` with the copy in the place of the tensor; what the copy is filled with needs no choice."""

        def read(e: Expr, known: Facts, names: Mapping[str, Expr]) -> Expr:
            def unfilled(e: Expr) -> Expr:
                match e:
                    case Select(then=Load(buffer=self.tensor.name)) if self._chooses_fill(e, box, known):
                        return e.then
                return e

            def one(e: Expr) -> Expr:
                if not (isinstance(e, Load) and e.buffer == self.tensor.name):
                    return e
                index = self.every.in_copy(e.index, names, known) if self.every is not None else e.index
                return replace(e, buffer=self.name, index=index)

            return rewrite(rewrite(e, unfilled), one)

        def walk_down(s: Stmt, known: Facts, names: Mapping[str, Expr]) -> Stmt:
            fetched = s.prefetches if isinstance(s, For) else ()
            s = _with_direct_exprs(s, lambda e: read(e, known, names))
            if isinstance(s, For):  # what is fetched ahead may be at indices that lie outside of the copy
                s = replace(s, prefetches=fetched)
            if isinstance(s, Let):
                names = {**names, s.var: substitute(s.value, names)}
            inner = tuple([walk_down(b, facts_inside(s, b, known), names) for b in bodies(s)])
            return with_bodies(s, inner)

        return walk_down(s, facts, {})

    def _chooses_fill(self, e: Select, box: Box, facts: Facts) -> bool:
        """Whether a choice gives what the copy holds: the element inside the tensor, the filling outside.

        Where an index may lie outside of the copy, too, the choice stays. So does one that a filled source has left.
        """
        if self.d.fill is None or self.source.filling is not None:
            return False
        if not isinstance(e.then, Load) or e.otherwise != self.filling:
            return False
        inside: Expr = TRUE
        for axis, (i, extent) in enumerate(zip(e.then.index, self.tensor.shape, strict=True)):
            guard = guards_of_box((i,), (extent,), facts)
            if guard != TRUE and axis not in box.held:
                return False
            inside = both(inside, guard)
        return prove(e.condition, facts.with_assumption(inside))


def _filling(d: CacheRead, dtype: DType) -> Const:
    """The number that a copy is filled with, as one of the tensor's type."""
    value = d.fill
    assert value is not None
    if dtype.is_float:
        number = nearest(value, dtype)
        if isfinite(value) and not isfinite(number):
            _refuse_copy(d, "fill", f"{value} is too large for {dtype}", "not representable")
        return Const(number, dtype)
    low, high = integer_limits(dtype) if dtype.is_integer else (0, 1)
    if not isfinite(value) or value != int(value) or not low <= value <= high:
        _refuse_copy(d, "fill", f"{value} is no value of type {dtype}", "not representable")
    return Const(bool(value) if not dtype.is_integer else int(value), dtype)


def _without_guards(s: Stmt) -> Stmt:
    return s.body if isinstance(s, If) and isinstance(s.body, Store) else s


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
    tensor = find_tensor(kernel, name, span_of(d, "tensor"))
    copy = new_buffer(kernel, d.as_ or f"{name}_tile", span_of(d, "as_"))
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
        items = s.items if isinstance(s, Seq) else (s,)
        for n, item in enumerate(items):  # what waits for loops around is written back when it has waited
            if isinstance(item, Completed) and item.over & around and writes_in(item, name):
                return seq(*items[:n], Completed(item.over, cached(item.body, facts)), *items[n + 1 :])
        _refuse_later_writes(d, s, around)
        box = exact_box(s, name, tensor.shape, facts, kernel.program.sizes)
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
        s = _with_terms_marked(s, name, set(outside))
        return Alloc(buffer, seq(rewrite_stmt(s, lambda x: _redirected(x, name, copy, outside)), nest))

    body = inside_names(loop.body, facts_at((*path, loop), kernel.program, trust_lets=False), cached)
    owners = {s.stage for s in (*path, loop) if isinstance(s, For)}
    new = replaced(kernel.body, loop, replace(loop, body=body))
    # What the trips of a data loop computed are different elements; now these are what they write back.
    new = as_data_loops(new, around, {write.stage}, copy)
    return copied_by(replace(kernel, body=new, touched=kernel.touched | owners | {write.stage}), d, copy)


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


def _refuse_later_writes(d: CacheWrite, region: Stmt, around: Set[str]) -> None:
    """Refuse a part that in most trips is not written, since it waits for the last one of loops around."""
    if waits_for_loops(writes_in(region, d.tensor.name), around):
        _refuse_copy(
            d,
            "at",
            f"`{d.tensor.name}` is computed there in the last trip of a reduction only",
            "not in each trip",
            help="name a loop inside of it, or outside the reduction",
        )


def _with_terms_marked(s: Stmt, tensor: str, steps: set[str]) -> Stmt:
    """`s`, whose guards of a tensor leave terms out where they are of reduction loops outside.

    The part of a trip is there all the same. Guards of other tensors still say which elements there are.
    """
    if not writes_in(s, tensor):
        return s
    match s:
        case Let() if variables(s.value) & steps:
            steps = steps | {s.var}
        case If() if variables(s.condition) & steps:
            s = replace(s, of_terms=True)
    return (
        with_bodies(s, tuple([_with_terms_marked(b, tensor, steps) for b in bodies(s)])) if bodies(s) else s
    )


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
    names = d.tensor.axes or axes_of(kernel, tensor.name, len(tensor.shape))
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


# ---------------------------------------------------------------- tools


def _refuse_copy(
    d: CacheRead | CacheWrite, field: str, message: str, label: str, help: str | None = None
) -> NoReturn:
    raise ScheduleError(error("copy-refused", message, span_of(d, field), label, help=help))
