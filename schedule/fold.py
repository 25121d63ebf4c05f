"""`fold`: a buffer keeps the last values along an axis only.

Element `i` of the axis lies in slot `i % by`, from where the next element of that slot drives it
out. That is right while no statement needs an element that is gone, which is a fact about the
order of loops; so it is proved where a buffer is folded, and again after every later line.

For a write `U` and an access `V` that may run behind it: `U`'s element lies less than `by` behind
`V`'s (or before it). If `V` reads, what it reads has not been driven out by `U`. If `V` writes, it
drives out an older element, never a newer one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from te.diagnostics import ScheduleError, Span, error
from te.ir.bounds import Facts, prove
from te.ir.expr import compare, integer, sub
from te.ir.loop import SERIAL, UNROLLED, Accumulate, Alloc, For, Kernel, rewrite_stmt, walk_stmt
from te.schedule.context import facts_at
from te.schedule.directives import Fold
from te.schedule.forms import Directive, span_of
from te.schedule.legality import EARLIER, LATER, SAME, Access, Directions, accesses, shown, side_by_side
from te.schedule.names import Path, find_stage


def fold(kernel: Kernel, d: Fold) -> Kernel:
    span = span_of(d, "stage")
    stage = find_stage(kernel, d.stage, span)
    if d.by < 1:
        raise _refused(d.stage, f"`by` counts the elements that are kept, and is {d.by}", span_of(d, "by"))
    if stage.name in kernel.program.outputs:
        raise _refused(stage.name, "it is a result, and must be stored whole", span)
    found = [
        (s, path)
        for s, path in walk_stmt(kernel.body)
        if isinstance(s, Alloc) and s.buffer.name == stage.name
    ]
    if not found:
        raise _refused(stage.name, "it has no buffer of its own", span)
    (alloc, path), *_ = found
    obstacles = []
    for axis in range(len(alloc.buffer.shape)):
        folded = replace(alloc, buffer=replace(alloc.buffer, fold=(axis, d.by)))
        obstacle = _obstacle(folded, path, kernel)
        if obstacle is None:
            return _with_alloc(kernel, alloc, folded, stage.name)
        obstacles.append(obstacle)
    reason = obstacles[0] if obstacles else "it has one element"
    raise _refused(stage.name, reason, span)


def check_folds(kernel: Kernel, line: Directive) -> None:
    """Refuse a line after which a folded buffer would lose an element before it is read."""
    for s, path in walk_stmt(kernel.body):
        if isinstance(s, Alloc) and s.buffer.fold:
            obstacle = _obstacle(s, path, kernel)
            if obstacle:
                name = s.buffer.name
                raise _refused(
                    name, f"after this line, {obstacle}", span_of(line), f"`{name}` is folded, and "
                )


def _refused(name: str, reason: str, span: Span | None, because: str | None = None) -> ScheduleError:
    return ScheduleError(
        error(
            "fold-refused",
            (because or f"`{name}` cannot be folded: ") + reason,
            span,
            help="`fold h by 2` takes a stage of which a loop writes one element after the other, and reads "
            "at most the last two",
        )
    )


def _with_alloc(kernel: Kernel, old: Alloc, new: Alloc, stage: str) -> Kernel:
    if old.buffer == new.buffer:
        return kernel
    body = rewrite_stmt(
        kernel.body,
        lambda s: replace(s, buffer=new.buffer) if isinstance(s, Alloc) and s.buffer == old.buffer else s,
    )
    return replace(kernel, body=body, touched=kernel.touched | {stage})


# ---------------------------------------------------------------- the proof


def _obstacle(alloc: Alloc, path: Path, kernel: Kernel) -> str | None:
    """Why an element might be driven out before it is read, or None where it is proved that none is."""
    assert alloc.buffer.fold is not None
    axis, by = alloc.buffer.fold
    facts = facts_at((*path, alloc), kernel.program)
    touches = [a for a in accesses(alloc.body) if a.buffer == alloc.buffer.name]
    for first in touches:
        if not first.writes:
            continue
        for second in touches:
            if not all(_keeps(first, second, axis, by, way, facts) for way in _ways_before(first, second)):
                if second.writes:
                    return f"nothing proves that {shown(second)} is never written behind {shown(first)}, which is newer"
                return f"nothing proves that {shown(second)} is read before {shown(first)} takes its place"
    return None


def _keeps(first: Access, second: Access, axis: int, by: int, directions: Directions, facts: Facts) -> bool:
    """Whether the first access, in iterations before the second, lies less than `by` elements behind it."""
    index, later_index, known = side_by_side(first, second, directions, facts)
    return prove(compare("<=", sub(index[axis], later_index[axis]), integer(by - 1)), known)


def _ways_before(first: Access, second: Access) -> Iterator[Directions]:
    """How trips of the common loops may lie where the first access may run before the second."""
    common = [s for s in first.path if isinstance(s, For) and any(s is other for other in second.path)]
    same: dict[str, str] = {}
    for loop in common:
        yield {**same, loop.var: LATER}
        if loop.kind not in (SERIAL, UNROLLED):  # at the same time, or in lockstep
            yield {**same, loop.var: EARLIER}
        same[loop.var] = SAME
    if first.position < second.position or _starts_early(first):
        yield same


def _starts_early(access: Access) -> bool:
    """Whether it writes its element before its own place in the text: a reduction stores its start."""
    return isinstance(access.statement, Accumulate) and access.statement.start is not None
