"""Whether a program obeys the rules of its IR. Passes are checked with it, users' mistakes are not.

`verify_program` and `verify_kernel` raise `InvalidIR` at the first rule that is broken:
a pass made something that no pass may make. Reads and writes must lie inside their
buffers. Where that depends on the sizes and loops alone, it is refuted by a concrete
counterexample: what is neither proved nor refuted passes (the elaborator and the
directives must prove; this is a second look). Indices that depend on data pass too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace

from te.ir.bounds import counterexample, prove
from te.ir.expr import Const, Expr, Op, Var, compare, integer, negation, sub
from te.ir.facts import NO_FACTS, Facts
from te.ir.loop import (
    ASYNC,
    BINDINGS,
    CONCURRENT,
    FINAL,
    SCHEDULED,
    SERIAL,
    TENSORIZED,
    THREADS,
    UNROLLED,
    VECTOR,
    Accumulate,
    Alloc,
    Barrier,
    Buffer,
    Combine,
    Commit,
    Completed,
    For,
    If,
    Kernel,
    Let,
    Prefetch,
    Seq,
    Stmt,
    Store,
    Wait,
    copied,
    direct_exprs,
    walk_stmt,
)
from te.ir.print import print_expr, print_kernel, print_program, print_stmt
from te.ir.tensor import REDUCERS, Axis, Program, Stage, Tensor
from te.ir.types import BOOL, I64
from te.ir.visit import loads, variables
from te.ir.wellformed import Buffers, Shape, assuming, guarded_loads, problem_in, problem_of_index

__all__ = ["InvalidIR", "verify_kernel", "verify_program"]

SCOPES = ("argument", "global", "shared", "local", "stack", "thread", "register")


class InvalidIR(RuntimeError):
    """A pass made a program that breaks a rule of the IR: te has a bug, not its user."""

    def __init__(self, what: str, text: str):
        super().__init__(
            f"internal error: {what}\n"
            "This is a bug in te. Please report it with this text and the .te file that shows it.\n\n"
            f"{text}"
        )


class _Broken(Exception):
    """A broken rule, before the program is printed with it."""


def verify_program(program: Program) -> None:
    """Raise `InvalidIR` unless the program obeys the rules of the tensor IR."""
    try:
        _check_program(program)
    except _Broken as broken:
        raise InvalidIR(f"invalid tensor IR: {broken}", _printed(program)) from None


def verify_kernel(kernel: Kernel) -> None:
    """Raise `InvalidIR` unless the kernel obeys the rules of the loop IR at its level."""
    try:
        _check_kernel(kernel)
    except _Broken as broken:
        raise InvalidIR(f"invalid loop IR: {broken}", _printed(kernel)) from None


def _printed(p: Program | Kernel) -> str:
    try:
        return print_program(p) if isinstance(p, Program) else print_kernel(p)
    except Exception:  # what is broken may well be unprintable
        return repr(p)


def _require(holds: object, what: str) -> None:
    if not holds:
        raise _Broken(what)


# ---------------------------------------------------------------- expressions


def _check_expr(e: Expr, scope: frozenset[str], buffers: Buffers, place: str) -> None:
    problem = problem_in(e, scope, buffers)
    _require(problem is None, f"{problem} ({place})")


def _check_extent(e: Expr, scope: frozenset[str], place: str) -> None:
    _check_expr(e, scope, {}, place)
    _require(e.dtype == I64, f"an extent is {e.dtype} ({place})")


def _check_reads(e: Expr, facts: Facts, buffers: Buffers, place: str) -> None:
    for load, known in guarded_loads(e, facts):
        _check_inside(load.buffer, load.index, known, buffers, place)


def _check_inside(buffer: str, index: tuple[Expr, ...], facts: Facts, buffers: Buffers, place: str) -> None:
    """An index that depends on no data lies inside the buffer, wherever the facts hold."""
    shape = buffers[buffer]
    for axis, (i, extent) in enumerate(zip(index, shape.extents, strict=True)):
        if any(loads(i)) or i.dtype != I64:
            continue
        if shape.origin:
            i = sub(i, shape.origin[axis])
        for inside in (compare("<=", integer(0), i), compare("<", i, extent)):
            found = None if prove(inside, facts) else counterexample(inside, facts)
            if found is not None:
                values = ", ".join(f"{name} = {value}" for name, value in found.items())
                raise _Broken(
                    f"index `{print_expr(i)}` lies outside axis {axis} of `{buffer}`, "
                    f"of extent {print_expr(extent)}, for {values} ({place})"
                )


# ---------------------------------------------------------------- tensor IR


def _check_program(p: Program) -> None:
    names = Counter([*p.sizes, *(t.name for t in p.inputs), *(s.name for s in p.stages)])
    names.update(t.tensor.name for t in p.tables)
    _require(max(names.values(), default=0) <= 1, f"two things are called {names.most_common(1)}")
    sizes = frozenset(p.sizes)
    buffers: dict[str, Shape] = {}
    for t in (*p.inputs, *(table.tensor for table in p.tables)):
        _check_tensor(t, sizes)
        buffers[t.name] = Shape(t.dtype, t.shape)
    for requirement in p.requirements:
        _check_expr(requirement.condition, sizes, {}, "a requirement")
        _require(requirement.condition.dtype == BOOL, "a requirement is no condition")
    facts = _facts_of(p)
    for recurrence, stages in p.groups():
        for stage in stages:
            _check_tensor(stage.tensor, sizes)
        shapes = {s.name: Shape(s.tensor.dtype, s.tensor.shape) for s in stages}
        for stage in stages:
            # Stages that recur together read each other; others read what stands before them.
            _check_stage(stage, sizes, {**buffers, **shapes} if recurrence else buffers, facts)
        buffers |= shapes
    _require(sum(len(stages) for _, stages in p.groups()) == len(p.stages), "a recurrence is torn apart")
    defined = {s.name for s in p.stages}
    _require(p.results, "there is no result")
    for name in p.outputs:
        _require(name in defined, f"no stage defines the result `{name}`")


def _facts_of(p: Program) -> Facts:
    facts = NO_FACTS
    for requirement in p.requirements:
        facts = facts.with_assumption(requirement.condition)
    return facts


def _check_tensor(t: Tensor, sizes: frozenset[str]) -> None:
    for extent in t.shape:
        _check_extent(extent, sizes, f"the shape of {t.name}")


def _check_stage(s: Stage, sizes: frozenset[str], buffers: Buffers, facts: Facts) -> None:
    place = f"stage {s.name}"
    axes = (*s.axes, *(s.reduction.axes if s.reduction else ()))
    names = [a.name for a in axes]
    _require(len({*names}) == len(names), f"an index occurs twice ({place})")
    _require(not sizes & {*names}, f"an index hides a size ({place})")
    _require(len(s.axes) == len(s.tensor.shape), f"the axes do not fit the shape ({place})")
    for axis, extent in zip(s.axes, s.tensor.shape, strict=True):
        same = axis.extent == extent or prove(compare("==", axis.extent, extent), facts)
        found = None if same else counterexample(compare("==", axis.extent, extent), facts)
        _require(found is None, f"axis `{axis.name}` does not span its part of the shape ({place})")
    for axis in axes:
        _check_extent(axis.extent, sizes, place)
        facts = _inside_axis(axis, facts)
    scope = sizes | {*names}
    if s.reduction:
        reducer, where = s.reduction.reducer, s.reduction.where
        _check_reducer(reducer, s.value, place)
        _check_expr(where, scope, buffers, place)
        _require(where.dtype == BOOL, f"`where` is no condition ({place})")
        _check_reads(where, facts, buffers, place)
        facts = assuming(facts, where)
    _check_expr(s.value, scope, buffers, place)
    _require(s.value.dtype == s.tensor.dtype, f"{s.tensor.dtype} is given a {s.value.dtype} ({place})")
    _check_reads(s.value, facts, buffers, place)


def _inside_axis(axis: Axis, facts: Facts) -> Facts:
    return facts.with_range(axis.name, integer(0), sub(axis.extent, integer(1)))


def _check_reducer(reducer: str, value: Expr, place: str) -> None:
    _require(reducer in REDUCERS, f"there is no reducer `{reducer}` ({place})")
    logical = reducer in ("any", "all")
    fits = logical == (value.dtype == BOOL) and not value.dtype.is_narrow
    _require(fits, f"`{reducer}` takes no {value.dtype} ({place})")


# ---------------------------------------------------------------- loop IR


@dataclass(frozen=True, slots=True)
class _Place:
    """What holds where a statement stands. `path` is what stands around it, outermost first."""

    kernel: Kernel
    scope: frozenset[str]
    buffers: Buffers
    facts: Facts
    path: tuple[Stmt, ...] = ()

    def inside(self, s: Stmt, *variables: str, facts: Facts | None = None) -> _Place:
        return replace(self, scope=self.scope | {*variables}, facts=facts or self.facts, path=(*self.path, s))

    @property
    def loops(self) -> list[For]:
        return [s for s in self.path if isinstance(s, For)]


def _check_kernel(k: Kernel) -> None:
    _require(k.level in (SCHEDULED, FINAL), f"there is no level `{k.level}`")
    p = k.program
    tensors = [*p.inputs, *(p.tensor(name) for name in p.outputs), *(t.tensor for t in p.tables)]
    _require([b.name for b in k.arguments] == [t.name for t in tensors], "the arguments are not the op's")
    for b, t in zip(k.arguments, tensors, strict=True):
        _require(b.dtype == t.dtype, f"argument `{b.name}` is {b.dtype}, not {t.dtype}")
        _check_buffer(b, frozenset(p.sizes))
    _check_names(k)
    buffers = {b.name: Shape(b.dtype, b.shape) for b in k.arguments}
    _check_stmt(k.body, _Place(k, frozenset(p.sizes), buffers, _facts_of(p)))
    _check_writes(k)


def _check_names(k: Kernel) -> None:
    """Names are unique; those of loops only on each path at the final level, where bodies were copied."""
    buffers = [b.name for b in k.arguments]
    loops: list[str] = []
    for s, path in walk_stmt(k.body):
        if isinstance(s, Alloc):
            buffers.append(s.buffer.name)
        if isinstance(s, For | Let):
            loops.append(s.var)
            around = {a.var for a in path if isinstance(a, For | Let)} | {*k.program.sizes}
            _require(s.var not in around, f"`{s.var}` hides a variable of that name")
    for what, names in (("buffers", buffers), ("loops", loops)):
        twice = [name for name, count in Counter(names).items() if count > 1]
        if what == "buffers" or k.level == SCHEDULED:
            _require(not twice, f"two {what} are called {twice}")


def _check_writes(k: Kernel) -> None:
    """Every result is written, no input is, and what is read was written before or is in a common loop."""
    given = {t.name for t in (*k.program.inputs, *(t.tensor for t in k.program.tables))}
    written: set[str] = set(given)
    for s, path in walk_stmt(k.body):
        for e in direct_exprs(s):
            for load in loads(e):
                again = {w.buffer for around in path if isinstance(around, For) for w in _writes(around)}
                _require(load.buffer in written | again, f"`{load.buffer}` is read before anything writes it")
        if isinstance(s, Store | Accumulate):
            _require(s.buffer not in given, f"the input `{s.buffer}` is written")
            written.add(s.buffer)
    for name in k.program.outputs:
        is_empty = any(d == integer(0) for d in k.program.tensor(name).shape)
        _require(name in written or is_empty, f"nothing writes the result `{name}`")


def _writes(s: Stmt) -> Iterable[Store | Accumulate]:
    return (w for w, _ in walk_stmt(s) if isinstance(w, Store | Accumulate))


def _check_buffer(b: Buffer, scope: frozenset[str]) -> None:
    place = f"buffer {b.name}"
    _require(b.scope in SCOPES, f"there is no scope `{b.scope}` ({place})")
    _require(len(b.origin) in (0, len(b.shape)), f"the origin does not fit the shape ({place})")
    for e in b.exprs:
        _check_extent(e, scope, place)
    for extent in b.shape:
        _require(
            b.scope != "register" or isinstance(extent, Const), f"registers need constant shapes ({place})"
        )


def _check_distribution(b: Buffer, at: _Place) -> None:
    """A buffer is spread over threads like one of its form that is there."""
    if not b.like:
        return
    around = next((s.buffer for s in at.path if isinstance(s, Alloc) and s.buffer.name == b.like), None)
    place = f"buffer {b.name} like {b.like}"
    _require(around is not None, f"no such buffer is around it ({place})")
    if around is not None:
        _require(b.scope == around.scope == "register", f"they are not in registers ({place})")
        _require(at.kernel.level == FINAL or b.shape == around.shape, f"their shapes differ ({place})")


def _check_stmt(s: Stmt, at: _Place) -> None:
    match s:
        case Seq():
            for item in s.items:
                _check_stmt(item, at)
        case For():
            _check_loop(s, at)
            within = at.facts.with_range(s.var, integer(0), sub(s.extent, integer(1)))
            for fetched in s.prefetches:
                _check_prefetch(fetched, at.inside(s, s.var, facts=within), s)
            _check_stmt(s.body, at.inside(s, s.var, facts=within))
        case Let():
            _check_extent(s.value, at.scope, f"`let {s.var}`")
            _check_extent(s.extent, at.scope, f"`let {s.var}`")
            # Its range holds where the body has effects, which is where facts are asked for.
            within = at.facts.with_range(s.var, integer(0), sub(s.extent, integer(1)))
            within = within.with_assumption(compare("==", Var(s.var), s.value))
            _check_stmt(s.body, at.inside(s, s.var, facts=within))
        case If():
            place = f"`if {print_expr(s.condition)}`"
            _check_expr(s.condition, at.scope, at.buffers, place)
            _require(s.condition.dtype == BOOL, f"a guard is {s.condition.dtype} ({place})")
            _check_accesses(s.condition, at, place)
            _check_stmt(s.body, at.inside(s, facts=assuming(at.facts, s.condition)))
            if s.otherwise is not None:
                _check_stmt(s.otherwise, at.inside(s, facts=assuming(at.facts, negation(s.condition))))
        case Alloc():
            _check_buffer(s.buffer, at.scope)
            _check_distribution(s.buffer, at)
            if at.kernel.level == FINAL:
                moved = s.buffer.scope == "global" and at.loops
                _require(not moved, f"`{s.buffer.name}` is allocated inside a loop")
                sizes = frozenset(at.kernel.program.sizes)
                known = all(variables(extent) <= sizes for extent in s.buffer.shape)
                _require(
                    s.buffer.scope != "thread" or known, f"`{s.buffer.name}` has another size in each trip"
                )
                plain = not s.buffer.origin and s.buffer.layout is None and s.buffer.fold is None
                _require(plain, f"the storage of `{s.buffer.name}` is not laid out")
            shape = Shape(s.buffer.dtype, s.buffer.shape, s.buffer.origin)
            _check_stmt(s.body, replace(at.inside(s), buffers={**at.buffers, s.buffer.name: shape}))
        case Completed():
            _require(at.kernel.level == SCHEDULED, "a `Completed` is left")
            loops = {loop.var for loop in at.loops if loop.is_reduction}
            _require(s.over and s.over <= loops, f"{sorted(s.over - loops)} are no reduction loops around it")
            _check_stmt(s.body, at.inside(s))
        case Barrier():
            inside = [loop.kind for loop in at.loops if loop.kind in BINDINGS]
            plain = at.kernel.level == FINAL and not set(inside) & THREADS
            _require(plain, "a barrier stands where not all threads of a block come by")
        case Commit() | Wait():
            _require(at.kernel.level == FINAL, "copies are waited for before their time")
            _require(not isinstance(s, Wait) or s.pending >= 0, f"a wait for all but {s}")
        case Combine():
            _check_combine(s, at)
        case Store() | Accumulate():
            _check_effect(s, at)


def _check_accesses(e: Expr, at: _Place, place: str) -> None:
    if at.kernel.level == SCHEDULED:
        _check_reads(e, at.facts, at.buffers, place)


def _check_loop(s: For, at: _Place) -> None:
    place = f"loop {s.var}"
    _check_extent(s.extent, at.scope, place)
    kinds = {SERIAL, UNROLLED, VECTOR, TENSORIZED, *CONCURRENT}
    _require(s.kind in kinds, f"there is no kind `{s.kind}` ({place})")
    if s.kind in (UNROLLED, VECTOR, TENSORIZED):
        _require(
            isinstance(s.extent, Const), f"the extent of an unrolled or vector loop is not constant ({place})"
        )
    _require((s.kind == TENSORIZED) == (s.intrinsic is not None), f"no loop for an instruction ({place})")
    if s.kind == TENSORIZED:
        _check_tensorized(s, at.kernel.level, place)
    if s.kind == VECTOR:
        _require(all(a.kind != VECTOR for a in at.loops), f"a vector loop in a vector loop ({place})")
        if at.kernel.level == FINAL:
            inner = s.body.body if isinstance(s.body, If) and s.body.otherwise is None else s.body
            _require(
                isinstance(inner, Store | Accumulate), f"a vector loop holds more than a statement ({place})"
            )
    if s.kind in CONCURRENT and not (s.kind in THREADS and at.kernel.level == SCHEDULED):
        own = {a.buffer.name for a in at.path if isinstance(a, Alloc) and a.buffer.scope == "register"}
        own = own if s.kind in THREADS else set()  # each thread has a partial result
        reductions = [
            w for w in _writes(s) if isinstance(w, Accumulate) and s.var in w.over and w.buffer not in own
        ]
        _require(not reductions, f"trips of a reduction run at the same time ({place})")


def _check_combine(s: Combine, at: _Place) -> None:
    place = f"`{print_stmt(s, at.scope)}`"
    held = next((a.buffer for a in at.path if isinstance(a, Alloc) and a.buffer.name == s.buffer), None)
    _require(
        at.kernel.level == FINAL and held is not None and held.scope == "register", f"no registers ({place})"
    )
    _require(s.reducer in REDUCERS and s.level in THREADS, f"no reducer, or no level of threads ({place})")
    _require(all(loop.kind != s.level for loop in at.loops), f"it stands in a loop of one thread ({place})")
    _require(s.width > 0 and s.width & (s.width - 1) == 0, f"its width is no power of two ({place})")


def _check_prefetch(p: Prefetch, at: _Place, loop: For) -> None:
    place = f"a prefetch in loop {loop.var}"
    _require(p.buffer in at.buffers, f"no buffer `{p.buffer}` is in scope ({place})")
    for i in p.index:
        _check_expr(i, at.scope, at.buffers, place)
        _require(i.dtype == I64, f"an index is {i.dtype} ({place})")
        _check_reads(i, at.facts, at.buffers, place)
    empty = [compare("<", integer(0), extent) for extent in at.buffers[p.buffer].extents]
    facts = at.facts  # the elements of an empty buffer are nowhere, and never fetched
    for condition in empty:
        facts = facts.with_assumption(condition)
    _check_inside(p.buffer, p.index, facts, at.buffers, place)


def _check_tensorized(s: For, level: str, place: str) -> None:
    """A reduction loop around a vector loop around one step of a sum; at the final level, nothing else."""
    inner: Stmt = s.body
    around: list[Stmt] = []
    while isinstance(inner, For | Let | If):
        around.append(inner)
        inner = inner.body
    loops = [a for a in around if isinstance(a, For)]
    if level == SCHEDULED and [(a.kind, a.intrinsic) for a in loops] in (
        [(TENSORIZED, s.intrinsic)] * n for n in range(3)
    ):
        return
    _require(len(loops) == 1 and loops[0].kind == VECTOR, f"a tensorized loop without its lanes ({place})")
    _require(isinstance(inner, Accumulate), f"a tensorized loop holds more than a step of a sum ({place})")
    if isinstance(inner, Accumulate):
        _require(s.var in inner.over, f"a tensorized data loop ({place})")
    _require(level == SCHEDULED or len(around) == 1, f"a guard in a tensorized loop ({place})")


def _check_effect(s: Store | Accumulate, at: _Place) -> None:
    place = f"`{print_stmt(s, at.scope)}`"
    _require(s.buffer in at.buffers, f"no buffer `{s.buffer}` is in scope ({place})")
    shape = at.buffers[s.buffer]
    problem = problem_of_index(s.buffer, s.index, shape)
    _require(problem is None, f"{problem} ({place})")
    for e in direct_exprs(s):
        _check_expr(e, at.scope, at.buffers, place)
        _check_accesses(e, at, place)
    _require(s.value.dtype == shape.dtype, f"{shape.dtype} is given a {s.value.dtype} ({place})")
    if at.kernel.level == SCHEDULED:
        _check_inside(s.buffer, s.index, at.facts, at.buffers, place)
    else:
        _check_registers(s, at, place)
        if isinstance(s, Store) and s.method == ASYNC:
            _check_copy(s, at, place)
    if isinstance(s, Accumulate):
        _check_accumulate(s, at, place)


def _check_copy(s: Store, at: _Place, place: str) -> None:
    """An asynchronous store copies from global to shared memory, or fills with zeros."""
    scopes = {a.buffer.name: a.buffer.scope for a in at.path if isinstance(a, Alloc)}
    load = copied(s.value)
    _require(load is not None, f"no plain copy ({place})")
    if load is not None:
        source = scopes.get(load.buffer, "global")
        _require(scopes.get(s.buffer) == "shared" and source == "global", f"not between these ({place})")


def _check_accumulate(s: Accumulate, at: _Place, place: str) -> None:
    _check_reducer(s.reducer, s.value, place)
    if at.kernel.level == FINAL:
        _require(s.start is None, f"a start is left ({place})")
        return
    _require(s.start is None or s.start.dtype == s.value.dtype, f"the start has another type ({place})")
    over = {loop.var: loop for loop in at.loops if loop.var in s.over}
    _require(over.keys() == s.over, f"{sorted(s.over - over.keys())} are not around the statement ({place})")
    _require(all(loop.is_reduction for loop in over.values()), f"it reduces over a data loop ({place})")
    of_terms = set(s.over)
    for around in at.path:
        if isinstance(around, Let) and variables(around.value) & of_terms:
            of_terms.add(around.var)
        if isinstance(around, Alloc) and around.buffer.name == s.buffer and s.start is not None:
            inside = {a.var for a in at.path[: at.path.index(around)] if isinstance(a, For)}
            _require(not inside & s.over, f"its buffer does not outlive a trip of the reduction ({place})")
    used = {name for i in s.index for name in variables(i)}
    _require(not used & of_terms, f"which element it is depends on its reduction loops ({place})")


def _check_registers(s: Store | Accumulate, at: _Place, place: str) -> None:
    """Registers have no addresses: after unrolling and vectorising, every index is a constant."""
    registers = {a.buffer.name for a in at.path if isinstance(a, Alloc) and a.buffer.scope == "register"}
    lanes = {loop.var for loop in at.loops if loop.kind == VECTOR}
    constant = {loop.var for loop in at.loops if loop.kind == UNROLLED}
    for around in at.path:
        if isinstance(around, Let) and variables(around.value) <= constant:
            constant.add(around.var)
    places = set() if at.kernel.target.partition(".")[0] == "llvm" else constant
    accesses = [(load.buffer, load.index) for e in direct_exprs(s) for load in loads(e)]
    for buffer, index in ((s.buffer, s.index), *accesses):
        if buffer not in registers:
            continue
        used = {name for i in index for name in variables(i)}
        last = _lane_of(index[-1], places) & lanes if index else set()
        _require(used <= constant | last, f"a register of `{buffer}` is chosen by a variable ({place})")
        _require(
            not any(any(loads(i)) for i in index), f"a register of `{buffer}` is chosen by data ({place})"
        )


def _lane_of(index: Expr, constant: set[str]) -> set[str]:
    """The variable that an index is, or that it adds a constant to: of the upper half of a register, say.

    Registers of GPUs hold an element each, of any place among those in `constant`.
    """
    match index:
        case Op(op="+", args=(places, Var(name=name))) if constant and variables(places) <= constant:
            return {name}
        case Var(name=name) | Op(op="+", args=(Var(name=name), Const())):
            return {name}
    return set()
