"""Applying directives, and `Schedule`: the directives for one op, in order.

`apply(kernel, directive)` is pure: it gives another kernel that computes the same, or
raises `ScheduleError` and leaves everything as it was.

A `Schedule` is made from text (`read_schedule`) or in Python, where each verb is a
method. Made for a name, it records the lines, and the build applies them; made for a
`Program`, it applies each line at once. It prints as `.te` text that reads back.

>>> s = Schedule("matmul")
>>> s = s.tile("i", "j", by=(8, 32), into=("io", "jo", "ii", "ji")).vectorize("ji").parallel("io")
>>> print(s)
schedule matmul on llvm {
    tile i, j by 8, 32 into io, jo, ii, ji
    vectorize ji
    parallel io
}
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from te.diagnostics import Note, ScheduleError
from te.grammar import tree
from te.ir.loop import Kernel
from te.ir.tensor import Program
from te.schedule.compute_at import compute_at, compute_root
from te.schedule.directives import (
    VERBS,
    Align,
    CacheRead,
    CacheWrite,
    ComputeAt,
    ComputeRoot,
    Fission,
    Fuse,
    Inline,
    Merge,
    Parallel,
    Reorder,
    Rfactor,
    SetLayout,
    SetScope,
    Split,
    Tile,
    Unroll,
    Vectorize,
)
from te.schedule.forms import Directive, Kind
from te.schedule.kinds import parallel, unroll, vectorize
from te.schedule.loops import fuse, reorder, split, tile
from te.schedule.memory import align, cache_read, cache_write, set_layout, set_scope
from te.schedule.names import TooLate
from te.schedule.neighbours import fission, merge
from te.schedule.nest import nest
from te.schedule.placement import inline
from te.schedule.rfactor import rfactor
from te.schedule.text import names_in, read_directives, value_in_python
from te.schedule.vocabulary import Value, field_of, make, shape_of


def apply(kernel: Kernel, directive: Directive) -> Kernel:
    """The kernel that a directive makes of another; the same object where nothing changes.

    Raises `ScheduleError` where the directive is not legal, or makes no sense for this kernel.
    With TE_VERIFY=1 in the environment, the verifier checks what comes out.
    """
    try:
        changed = _rewrite(kernel, directive)
    except ScheduleError as refused:
        raise _with_line(refused, directive) from None
    if changed is not kernel and os.environ.get("TE_VERIFY") == "1":
        from te.ir.verify import verify_kernel

        verify_kernel(changed)
    return changed


def _rewrite(kernel: Kernel, directive: Directive) -> Kernel:
    match directive:
        case Split():
            return split(kernel, directive)
        case Tile():
            return tile(kernel, directive)
        case Fuse():
            return fuse(kernel, directive)
        case Reorder():
            return reorder(kernel, directive)
        case Unroll():
            return unroll(kernel, directive)
        case Vectorize():
            return vectorize(kernel, directive)
        case Parallel():
            return parallel(kernel, directive)
        case Inline():
            return inline(kernel, directive)
        case ComputeAt():
            return compute_at(kernel, directive)
        case ComputeRoot():
            return compute_root(kernel, directive)
        case Fission():
            return fission(kernel, directive)
        case Merge():
            return merge(kernel, directive)
        case Rfactor():
            return rfactor(kernel, directive)
        case CacheRead():
            return cache_read(kernel, directive)
        case CacheWrite():
            return cache_write(kernel, directive)
        case SetScope():
            return set_scope(kernel, directive)
        case SetLayout():
            return set_layout(kernel, directive)
        case Align():
            return align(kernel, directive)
    raise TypeError(f"no rewrite for {directive!r}")


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
        steps.append(_next_step(steps, directive))
    return steps


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


class Schedule:
    """The directives for one op on one target, in order.

    Each verb is a method, with the clauses as keywords, and returns the schedule itself.
    A `Schedule` of a `Program` applies each line at once: a refused line raises
    `ScheduleError` and leaves the schedule as it was, and `steps` holds the kernel after
    each line. A `Schedule` of a name is checked when it is built.
    """

    def __init__(self, op: str | Program, target: str = "llvm", directives: Iterable[Directive] = ()):
        self.op = op if isinstance(op, str) else op.name
        self.target = target
        self._directives: list[Directive] = []
        self._steps: list[Step] | None = None if isinstance(op, str) else [Step(None, nest(op))]
        for directive in directives:
            self.add(directive)

    @property
    def directives(self) -> tuple[Directive, ...]:
        return tuple(self._directives)

    def add(self, directive: Directive) -> Schedule:
        """Append a directive."""
        if self._steps is not None:
            self._steps.append(_next_step(self._steps, directive))
        self._directives.append(directive)
        return self

    def apply(self, kernel: Kernel) -> Kernel:
        """The kernel after all directives."""
        return apply_all(kernel, self._directives)[-1].kernel

    def steps(self, kernel: Kernel | None = None) -> list[Step]:
        """The kernel after each line, the unscheduled one first.

        `kernel` may be left out where the schedule was made for a `Program`.
        """
        if kernel is not None:
            return apply_all(kernel, self._directives)
        if self._steps is None:
            raise ValueError(
                f"this schedule of `{self.op}` has no program: pass a kernel, or make it of a Program"
            )
        return list(self._steps)

    def __str__(self) -> str:
        lines = [f"    {directive}\n" for directive in self._directives]
        return f"schedule {self.op} on {self.target} {{\n{''.join(lines)}}}"

    def __repr__(self) -> str:
        return f"<Schedule of {self.op} on {self.target}: {len(self._directives)} directives>"

    # The verbs. Their documentation is that of the directives.

    def split(
        self,
        loop: str,
        *,
        by: int | None = None,
        parts: int | None = None,
        into: Sequence[str] | None = None,
        tail: str | None = None,
    ) -> Schedule:
        return self._line("split", [loop], by=by, parts=parts, into=into, tail=tail)

    def tile(
        self, *loops: str, by: Sequence[int], into: Sequence[str] | None = None, tail: str | None = None
    ) -> Schedule:
        return self._line("tile", loops, by=by, into=into, tail=tail)

    def fuse(self, *loops: str, into: str) -> Schedule:
        return self._line("fuse", loops, into=into)

    def reorder(self, *loops: str) -> Schedule:
        return self._line("reorder", loops)

    def unroll(self, *loops: str, by: int | None = None) -> Schedule:
        return self._line("unroll", loops, by=by)

    def vectorize(self, *loops: str, by: int | None = None) -> Schedule:
        return self._line("vectorize", loops, by=by)

    def parallel(self, *loops: str) -> Schedule:
        return self._line("parallel", loops)

    def inline(self, *stages: str) -> Schedule:
        return self._line("inline", stages)

    def compute_at(self, *stages: str, at: str, in_: str | None = None, keep: str | None = None) -> Schedule:
        return self._line("compute_at", stages, at=at, in_=in_, keep=keep)

    def compute_root(self, *stages: str) -> Schedule:
        return self._line("compute_root", stages)

    def fission(self, loop: str, *, at: int) -> Schedule:
        return self._line("fission", [loop], at=at)

    def merge(self, *loops: str) -> Schedule:
        return self._line("merge", loops)

    def rfactor(self, loop: str, *, of: str, as_: str | None = None) -> Schedule:
        return self._line("rfactor", [loop], of=of, as_=as_)

    def cache_read(
        self,
        tensor: str,
        *,
        at: str | None = None,
        as_: str | None = None,
        in_: str | None = None,
        layout: str | None = None,
        fill: float | None = None,
    ) -> Schedule:
        return self._line("cache_read", [tensor], at=at, as_=as_, in_=in_, layout=layout, fill=fill)

    def cache_write(
        self, tensor: str, *, at: str, as_: str | None = None, in_: str | None = None
    ) -> Schedule:
        return self._line("cache_write", [tensor], at=at, as_=as_, in_=in_)

    def set_scope(self, tensor: str, *, in_: str) -> Schedule:
        return self._line("set_scope", [tensor], in_=in_)

    def layout(self, tensor: str, *, as_: str) -> Schedule:
        return self._line("layout", [tensor], as_=as_)

    def align(self, tensor: str, *, axis: int, by: int) -> Schedule:
        return self._line("align", [tensor], axis=axis, by=by)

    def _line(self, verb: str, operands: Sequence[str], **clauses: object) -> Schedule:
        shape = shape_of(verb)
        given = {
            name: _values(takes.kind, clauses[field_of(name)])
            for name, takes in shape.clauses.items()
            if clauses.get(field_of(name)) is not None
        }
        return self.add(make(verb, _values(shape.operand_takes.kind, list(operands)), given))


for _verb, _directive in VERBS.items():
    getattr(Schedule, _verb).__doc__ = _directive.__doc__


def _values(kind: Kind, value: object) -> list[Value]:
    """The values of a clause given in Python: one, or a sequence."""
    many = value if isinstance(value, list | tuple) else [value]
    return [value_in_python(kind, _plain(v)) for v in many]


def _plain(value: object) -> object:
    """Integers of NumPy and others as Python's own."""
    is_index = hasattr(value, "__index__") and not isinstance(value, bool)
    return int(value) if is_index else value  # type: ignore[call-overload]  # it has `__index__`


def read_schedule(written: tree.Schedule, program: Program, file: tree.File | None = None) -> Schedule:
    """The schedule that a text gives for a program. `file` is the file that holds the op."""
    names = names_in(written, program, file)
    return Schedule(written.op, written.target, read_directives(written.directives, names))
