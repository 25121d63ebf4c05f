"""Applying directives: a kernel and a line of a schedule give another kernel.

`apply(kernel, directive)` is pure: it gives another kernel that computes the same, or
raises `ScheduleError` and leaves everything as it was.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from te.diagnostics import Diagnostic, Note, ScheduleError
from te.ir.loop import Kernel
from te.schedule.caches import check_prefetches, prefetch, stream
from te.schedule.cases import cases_of
from te.schedule.compensate import compensate
from te.schedule.compute_at import compute_at, compute_root
from te.schedule.copies import cache_read, cache_write
from te.schedule.directives import (
    Align,
    Bind,
    CacheRead,
    CacheWrite,
    Compensate,
    ComputeAt,
    ComputeRoot,
    Distribute,
    Fission,
    Fold,
    Fuse,
    Inline,
    Merge,
    Online,
    Parallel,
    Pipeline,
    Precompute,
    Prefetch,
    Reorder,
    Rfactor,
    SetLayout,
    SetScope,
    Specialize,
    Split,
    Stream,
    Swizzle,
    Tensorize,
    Tile,
    Unroll,
    Use,
    Vectorize,
)
from te.schedule.distribute import check_distributed, distribute
from te.schedule.fold import check_folds, fold
from te.schedule.forms import Directive
from te.schedule.kinds import bind, parallel, unroll, vectorize
from te.schedule.loops import fuse, reorder, split, tile
from te.schedule.names import TooLate
from te.schedule.neighbours import fission, merge
from te.schedule.online import online
from te.schedule.pipeline import check_pipelines, pipeline
from te.schedule.placement import inline
from te.schedule.precompute import check_precomputed, precompute
from te.schedule.reuse import lines_of, translation
from te.schedule.rfactor import rfactor
from te.schedule.storage import align, set_layout, set_scope
from te.schedule.swizzle import check_swizzles, swizzle
from te.schedule.tensorize import keep_operands, tensorize
from te.schedule.written import assuming


def apply(kernel: Kernel, directive: Directive) -> Kernel:
    """The kernel that a directive makes of another; the same object where nothing changes.

    Raises `ScheduleError` where the directive is not legal, or makes no sense for this kernel.
    With TE_VERIFY=1 in the environment, the verifier checks what comes out.
    """
    try:
        changed = _rewrite(kernel, directive)
        if changed is not kernel:
            check_folds(changed, directive)
            check_pipelines(changed, directive)
            check_swizzles(changed, directive)
            check_distributed(changed, directive)
            check_prefetches(changed, directive)
        check_precomputed(changed, directive)
        keep_operands(changed, directive)
    except ScheduleError as refused:
        raise _with_line(refused, directive) from None
    if changed is not kernel and os.environ.get("TE_VERIFY") == "1":
        from te.ir.verify import verify_kernel

        verify_kernel(changed)
    return changed


# What each verb does. `Use` and `Specialize` stand for other lines.
REWRITES: dict[type[Directive], Callable[[Kernel, Any], Kernel]] = {
    Split: split,
    Tile: tile,
    Fuse: fuse,
    Reorder: reorder,
    Unroll: unroll,
    Vectorize: vectorize,
    Parallel: parallel,
    Inline: inline,
    ComputeAt: compute_at,
    ComputeRoot: compute_root,
    Fission: fission,
    Merge: merge,
    Rfactor: rfactor,
    Prefetch: prefetch,
    Stream: stream,
    Bind: bind,
    Fold: fold,
    Pipeline: pipeline,
    CacheRead: cache_read,
    CacheWrite: cache_write,
    SetScope: set_scope,
    SetLayout: set_layout,
    Align: align,
    Online: online,
    Tensorize: tensorize,
    Compensate: compensate,
    Precompute: precompute,
    Swizzle: swizzle,
    Distribute: distribute,
}


def _rewrite(kernel: Kernel, directive: Directive) -> Kernel:
    match directive:
        case Use():
            return apply_all(kernel, (directive,))[-1].kernel
        case Specialize():
            return _check_cases(kernel, directive)
    return REWRITES[type(directive)](kernel, directive)


def _check_cases(kernel: Kernel, line: Specialize) -> Kernel:
    """The lines of the block are legal where its condition holds; the code for the other case is as it was."""
    program = kernel.program
    for case in cases_of((line,), program):
        apply_all(replace(kernel, program=assuming(program, case.condition)), case.lines)
    return kernel


def _with_line(refused: ScheduleError, directive: Directive) -> ScheduleError:
    """The refusal of a directive that stands in no text says which one it was."""
    if directive.place is not None:
        return refused
    shown = [replace(d, message=f"`{directive}`: {d.message}") for d in refused.diagnostics]
    if isinstance(refused, TooLate):
        return TooLate(shown[0], refused.blocked, refused.moves)
    return ScheduleError(shown)


# ---------------------------------------------------------------- many directives


@dataclass(frozen=True, slots=True)
class Step:
    """A line of a schedule and the kernel after it. The first step has no line."""

    directive: Directive | None
    kernel: Kernel


def apply_all(kernel: Kernel, directives: Iterable[Directive]) -> list[Step]:
    """The kernel after each directive in turn."""
    steps = [Step(None, kernel)]
    for directive in directives:
        steps += list(next_steps(steps, directive))
    return steps


def next_steps(steps: Sequence[Step], directive: Directive) -> Iterator[Step]:
    """The step that a line makes; of a line `use`, one for each line of the schedule that it takes over.

    What is given before a refusal stays good.
    """
    if not isinstance(directive, Use):
        yield _next_step(steps, directive)
        return
    known = list(steps)
    names = translation(known[-1].kernel, directive)
    for line in lines_of(directive):
        before = known[-1].kernel
        try:
            for step in next_steps(known[:], names.line(line, before)):
                known.append(step)
                yield step
        except ScheduleError as refused:
            raise ScheduleError([_used_here(d, directive) for d in refused.diagnostics]) from None
        names = names.after(line, before, known[-1].kernel)


def _used_here(diagnostic: Diagnostic, use: Use) -> Diagnostic:
    if use.place is None:
        return diagnostic
    return replace(diagnostic, notes=(*diagnostic.notes, Note(use.place.span, "used here")))


def _next_step(steps: Sequence[Step], directive: Directive) -> Step:
    try:
        return Step(directive, apply(steps[-1].kernel, directive))
    except TooLate as refused:
        raise _naming_the_earlier_line(refused, steps) from None


def _naming_the_earlier_line(refused: TooLate, steps: Sequence[Step]) -> ScheduleError:
    diagnostic = refused.diagnostics[0]
    for step in steps:
        if refused.blocked(step.kernel):
            if step.directive is None:  # it never was possible
                break
            place = step.directive.place
            notes = (Note(place.span, "because of this line"),) if place else ()
            help_text = f"write it before `{step.directive}`" if refused.moves else diagnostic.help
            return ScheduleError(replace(diagnostic, notes=notes, help=help_text))
    return ScheduleError(diagnostic)
