"""`precompute`: stages of `param`s alone, computed once for many calls.

To the rewrites a kernel with precomputed stages is a kernel like any other, which computes them at
each call. What runs ahead is decided where the code is made: `separated` takes it apart into the
kernels that run once, and the one that runs at each call. Both are final kernels, and together they
compute what the whole one does.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from te.diagnostics import ScheduleError, Span, error
from te.ir.loop import Accumulate, Alloc, Buffer, For, Kernel, Seq, Stmt, Store, direct_exprs, seq, walk_stmt
from te.ir.visit import loads, variables
from te.schedule.directives import Precompute
from te.schedule.forms import Directive, span_of


def precompute(kernel: Kernel, d: Precompute) -> Kernel:
    """Compute stages of `param`s alone when these are bound."""
    for position, name in enumerate(d.stages):
        _require_buffer(kernel, name, span_of(d, "stages", position))
    return replace(kernel, precomputed=tuple(dict.fromkeys((*kernel.precomputed, *d.stages))))


def _require_buffer(kernel: Kernel, name: str, span: Span | None) -> None:
    allocated = [s.buffer.name for s, _ in walk_stmt(kernel.body) if isinstance(s, Alloc)]
    if name in allocated:
        return
    if name in [b.name for b in kernel.arguments]:
        is_result = name in kernel.program.results
        reason = "a result, which each call computes" if is_result else "given, not computed"
        raise ScheduleError(
            error("precompute-refused", f"`{name}` is {reason}", span, "nothing to compute ahead")
        )
    there_are = f"the intermediates are {', '.join(f'`{a}`' for a in allocated)}"
    raise ScheduleError(
        error(
            "precompute-refused",
            f"there is no intermediate `{name}`",
            span,
            "no such stage",
            help=there_are if allocated else "this program has no intermediates",
        )
    )


# ---------------------------------------------------------------- what runs ahead


@dataclass(frozen=True, slots=True)
class Group:
    """Statements that run ahead together, and the buffers of theirs that calls read."""

    items: tuple[Stmt, ...]
    params: tuple[str, ...]
    kept: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Parts:
    """A kernel's outermost statements, taken apart."""

    ahead: tuple[Group, ...]
    each_call: tuple[Stmt, ...]


def check_precomputed(kernel: Kernel, line: Directive) -> None:
    """Refuse the line after which what is to be precomputed cannot run alone."""
    if not kernel.precomputed:
        return
    span = span_of(line)
    around = {s.buffer.name: path for s, path in walk_stmt(kernel.body) if isinstance(s, Alloc)}
    for name in kernel.precomputed:
        if name not in around:
            _refuse(
                f"`{name}` is to be precomputed, and this line leaves nothing of it",
                span,
                f"`{name}` is gone",
                f"leave it, or leave out `precompute {name}`",
            )
        loop = next((outer for outer in around[name] if isinstance(outer, For)), None)
        if loop is not None:
            _refuse(
                f"`{name}` cannot be precomputed: it is computed in `{loop.var}`",
                span,
                "what is precomputed has loops of its own",
                f"leave it where it was, or write `compute_root {name}` first",
            )
    _take_apart(kernel, span)


def _take_apart(kernel: Kernel, span: Span | None = None) -> Parts:
    items = _outermost(kernel.body)
    given = {b.name for b in kernel.arguments}
    written = [_written(item) for item in items]
    needed, chosen = set(kernel.precomputed), set[int]()
    while new := [i for i, names in enumerate(written) if i not in chosen and names & needed]:
        for i in new:
            chosen.add(i)
            needed |= written[i] | (_read(items[i]) - given)
    ahead = [items[i] for i in sorted(chosen)]
    for item in ahead:
        _check_alone(kernel, item, given, span)
    each_call = [s for i, s in enumerate(items) if i not in chosen]
    read_later = set().union(*map(_read, each_call))
    groups = [_group(kernel, group, needed & read_later) for group in _connected(ahead, given)]
    return Parts(tuple(groups), tuple(each_call))


def _outermost(s: Stmt) -> list[Stmt]:
    match s:
        case Alloc():
            return _outermost(s.body)
        case Seq(items=items):
            return [inner for item in items for inner in _outermost(item)]
    return [s]


def _written(s: Stmt) -> set[str]:
    """The buffers that a statement writes, apart from its own."""
    return {n.buffer for n, _ in walk_stmt(s) if isinstance(n, Store | Accumulate)} - _own(s)


def _read(s: Stmt) -> set[str]:
    found = {load.buffer for n, _ in walk_stmt(s) for e in direct_exprs(n) for load in loads(e)}
    return found - _own(s)


def _own(s: Stmt) -> set[str]:
    return {n.buffer.name for n, _ in walk_stmt(s) if isinstance(n, Alloc)}


def _check_alone(kernel: Kernel, item: Stmt, given: set[str], span: Span | None) -> None:
    """What runs ahead may read `param`s and tables, and writes nothing that a caller gets."""
    program = kernel.program
    name = next((n for n in kernel.precomputed if n in _written(item)), kernel.precomputed[0])
    allowed = {*program.params, *(table.tensor.name for table in program.tables)}
    wrong = sorted(_written(item) & given)
    if wrong:
        loop = next((f" in `{n.var}`" for n, _ in walk_stmt(item) if isinstance(n, For)), "")
        _refuse(
            f"`{name}` cannot be precomputed: it is computed together with `{wrong[0]}`{loop}",
            span,
            "what is precomputed has loops of its own",
            f"leave `{name}` out of loops of other stages",
        )
    for read in sorted(_read(item) & given - allowed):
        reader = _reader(item, read)
        through = "" if reader == name else f", through `{reader}`"
        depends = f"it depends on `{read}`{through}"
        if name in _written(item) and reader != name:
            depends = f"it is computed together with `{reader}`, which depends on `{read}`"
        _refuse(
            f"`{name}` cannot be precomputed: {depends}",
            span,
            f"`{read}` is no `param`",
            f"an input that is bound once is declared so: `param {read}`"
            if read in {t.name for t in program.inputs}
            else None,
        )


def _reader(item: Stmt, name: str) -> str:
    """The buffer whose statement reads another one directly; of several, the first."""
    for s, _ in walk_stmt(item):
        if isinstance(s, Store | Accumulate) and name in _read(s):
            return s.buffer
    return min(_written(item))  # a guard or an extent reads it


def _refuse(message: str, span: Span | None, label: str, help: str | None) -> None:
    raise ScheduleError(error("precompute-refused", message, span, label, help=help))


def _connected(items: Sequence[Stmt], given: set[str]) -> list[list[Stmt]]:
    """The statements in groups that share no buffer of the kernel, each in order."""
    groups: list[tuple[set[str], list[Stmt]]] = []
    for item in items:
        touched = (_written(item) | _read(item)) - given
        joined = [group for group in groups if group[0] & touched]
        groups = [group for group in groups if group not in joined]
        statements = [s for _, others in joined for s in others] + [item]
        groups.append((touched.union(*(names for names, _ in joined)), statements))
    return [sorted(group, key=lambda s: [i is s for i in items].index(True)) for _, group in groups]


def _group(kernel: Kernel, items: Iterable[Stmt], kept: set[str]) -> Group:
    items = tuple(items)
    read = set().union(*map(_read, items))
    written = set().union(*map(_written, items))
    params = tuple(t.name for t in kernel.program.inputs if t.name in read)
    return Group(items, params, tuple(sorted(written & kept)))


# ---------------------------------------------------------------- as kernels


@dataclass(frozen=True, slots=True)
class Ahead:
    """A final kernel that runs once where its `params` are bound, and what calls then take over.

    Its arguments are the op's inputs, its tables, and then the `kept` buffers. `sizes` are those
    that it depends on.
    """

    kernel: Kernel
    params: tuple[str, ...]
    sizes: tuple[str, ...]
    kept: tuple[Buffer, ...]


def separated(final: Kernel) -> tuple[Kernel, tuple[Ahead, ...]]:
    """The final kernel for each call, with all that it takes over as its last arguments; what runs ahead."""
    if not final.precomputed:
        return final, ()
    parts = _take_apart(final)
    buffers = {s.buffer.name: s.buffer for s, _ in walk_stmt(final.body) if isinstance(s, Alloc)}
    ahead = tuple(_ahead(final, group, buffers, n) for n, group in enumerate(parts.ahead))
    kept = [buffer for part in ahead for buffer in part.kept]
    body = _allocating(parts.each_call, buffers, {b.name for b in kept})
    arguments = (*final.arguments, *kept)
    return replace(final, arguments=arguments, body=body, precomputed=()), ahead


def _ahead(final: Kernel, group: Group, buffers: dict[str, Buffer], number: int) -> Ahead:
    program = final.program
    kept = tuple(replace(buffers[name], scope="argument") for name in group.kept)
    body = _allocating(group.items, buffers, set(group.kept))
    used = {v for s, _ in walk_stmt(body) for e in direct_exprs(s) for v in variables(e)}
    used |= {v for b in kept for d in b.shape for v in variables(d)}
    inputs = final.arguments[: len(program.inputs)]
    tables = final.arguments[len(program.inputs) + len(program.outputs) :]
    kernel = replace(
        final,
        program=replace(program, name=f"{program.name}.ahead{number or ''}"),
        arguments=(*inputs, *tables, *kept),
        body=body,
        precomputed=(),
    )
    return Ahead(kernel, group.params, tuple(s for s in program.sizes if s in used), kept)


def _allocating(items: Iterable[Stmt], buffers: dict[str, Buffer], but: set[str]) -> Stmt:
    """Statements with the buffers that they use, except those that are given."""
    items = tuple(items)
    used = set().union(*(_written(s) | _read(s) for s in items)) - but
    body = seq(*items)
    for name, buffer in buffers.items():
        if name in used:
            body = Alloc(buffer, body)
    return body
