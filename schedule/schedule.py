"""`Schedule`: the directives for one op, in order.

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

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from te.ir.expr import TRUE, Expr, both
from te.ir.loop import Kernel
from te.ir.tensor import Program
from te.schedule.apply import Step, apply_all, next_steps
from te.schedule.block_order import check_block_orders
from te.schedule.cases import cases_of
from te.schedule.directives import (
    VERBS,
    Specialize,
    Use,
)
from te.schedule.forms import Directive, Kind
from te.schedule.nest import nest
from te.schedule.text import value_in_python
from te.schedule.vocabulary import Value, field_of, make, print_lines, shape_of
from te.schedule.written import Setting, Written, assuming, condition_for, read_lines
from te.target import is_gpu, levels_of


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
        self._steps: list[Step] | None = (
            None if isinstance(op, str) else [Step(None, self._for_target(nest(op)))]
        )
        for directive in directives:
            self.add(directive)

    @property
    def directives(self) -> tuple[Directive, ...]:
        return tuple(self._directives)

    def add(self, directive: Directive) -> Schedule:
        """Append a directive."""
        if self._steps is None:
            self._directives.append(directive)
            return self
        new = list(next_steps(self._steps, directive))
        self._steps += new
        self._directives += [step.directive for step in new if step.directive]
        return self

    def undo(self, count: int = 1) -> Schedule:
        """Take back the last lines, so many of `directives`."""
        if not 0 <= count <= len(self._directives):
            raise ValueError(f"there are {len(self._directives)} lines, and {count} are to be taken back")
        if count:
            del self._directives[-count:]
            if self._steps is not None:
                del self._steps[-count:]
        return self

    def apply(self, kernel: Kernel) -> Kernel:
        """The kernel after all directives."""
        return self.steps(kernel)[-1].kernel

    def steps(self, kernel: Kernel | None = None) -> list[Step]:
        """The kernel after each line, the unscheduled one first.

        `kernel` may be left out where the schedule was made for a `Program`.
        """
        if kernel is not None:
            kernel = self._for_target(kernel)
            if self._steps is None or self._steps[0].kernel != kernel:
                return apply_all(kernel, self._directives)
        if self._steps is None:
            raise ValueError(
                f"this schedule of `{self.op}` has no program: pass a kernel, or make it of a Program"
            )
        return list(self._steps)

    def _for_target(self, kernel: Kernel) -> Kernel:
        """The kernel for this schedule's target, unless it is for one that the schedule serves already."""
        is_served = is_gpu(kernel.target) and self.target in levels_of(kernel.target)
        return kernel if is_served else replace(kernel, target=self.target)

    def __str__(self) -> str:
        used = [use for use in _uses(self._directives) if use.lines is not None]
        items = [*((use.op, use.lines or ()) for use in used), (self.op, self._directives)]
        texts = [f"schedule {op} on {self.target} {{\n{print_lines(lines)}}}" for op, lines in items]
        return "\n\n".join(dict.fromkeys(texts))

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

    def prefetch(self, tensor: str, *, at: str, ahead: int = 1, of: str | None = None) -> Schedule:
        return self._line("prefetch", [tensor], at=at, ahead=ahead, of=of)

    def stream(self, *stages: str, of: int | None = None) -> Schedule:
        return self._line("stream", stages, of=of)

    def bind(self, loop: str, *, to: str, order: str | None = None) -> Schedule:
        return self._line("bind", [loop], to=to, order=order)

    def fold(self, stage: str, *, by: int) -> Schedule:
        return self._line("fold", [stage], by=by)

    def pipeline(
        self, loop: str, *, depth: int, producer: int | None = None, registers: Sequence[int] | None = None
    ) -> Schedule:
        return self._line("pipeline", [loop], depth=depth, producer=producer, registers=registers)

    def cache_read(
        self,
        tensor: str,
        *,
        at: str | None = None,
        as_: str | None = None,
        in_: str | None = None,
        layout: str | None = None,
        fill: float | None = None,
        by: str | None = None,
    ) -> Schedule:
        return self._line("cache_read", [tensor], at=at, as_=as_, in_=in_, layout=layout, fill=fill, by=by)

    def cache_write(
        self,
        tensor: str,
        *,
        at: str,
        as_: str | None = None,
        in_: str | None = None,
        by: str | None = None,
    ) -> Schedule:
        return self._line("cache_write", [tensor], at=at, as_=as_, in_=in_, by=by)

    def set_scope(self, tensor: str, *, in_: str) -> Schedule:
        return self._line("set_scope", [tensor], in_=in_)

    def layout(self, tensor: str, *, as_: str) -> Schedule:
        return self._line("layout", [tensor], as_=as_)

    def align(self, tensor: str, *, axis: int, by: int) -> Schedule:
        return self._line("align", [tensor], axis=axis, by=by)

    def swizzle(self, tensor: str, *, by: int | None = None) -> Schedule:
        return self._line("swizzle", [tensor], by=by)

    def distribute(self, buffer: str, *, like: str) -> Schedule:
        return self._line("distribute", [buffer], like=like)

    def use(self, schedule: str | Schedule, *, of: str) -> Schedule:
        if isinstance(schedule, str):
            return self._line("use", [schedule], of=of)
        if not isinstance(schedule, Schedule):
            raise TypeError(f"`use` takes an op's name or a te.Schedule, not {type(schedule).__name__}")
        (op,), (of_,) = _values(Kind.OP, schedule.op), _values(Kind.STAGE, of)
        return self.add(make("use", [op], {"of": [of_]}, lines=schedule.directives))

    def specialize(self, condition: str, block: Schedule | Callable[[Schedule], object]) -> Schedule:
        lines = block.directives if isinstance(block, Schedule) else _lines_by(block, self)
        return self.add(make("specialize", _values(Kind.CONDITION, condition), {}, block=lines))

    def online(
        self, *axes: str, of: Sequence[str], at: str, by: int, into: Sequence[str] | None = None
    ) -> Schedule:
        return self._line("online", axes, of=of, at=at, by=by, into=into)

    def tensorize(self, *loops: str, as_: str) -> Schedule:
        return self._line("tensorize", loops, as_=as_)

    def compensate(self, stage: str) -> Schedule:
        return self._line("compensate", [stage])

    def precompute(self, *stages: str) -> Schedule:
        return self._line("precompute", stages)

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


def _lines_by(block: Callable[[Schedule], object], schedule: Schedule) -> tuple[Directive, ...]:
    """The lines that a function adds to a schedule."""
    inner = Schedule(schedule.op, schedule.target)
    block(inner)
    return inner.directives


def _uses(lines: Iterable[Directive]) -> Iterator[Use]:
    """The lines `use` among lines, the innermost first."""
    for line in lines:
        match line:
            case Use():
                yield from _uses(line.lines or ())
                yield line
            case Specialize():
                yield from _uses(line.block)


def _values(kind: Kind, value: object) -> list[Value]:
    """The values of a clause given in Python: one, or a sequence."""
    many = value if isinstance(value, list | tuple) else [value]
    return [value_in_python(kind, _plain(v)) for v in many]


def _plain(value: object) -> object:
    """Integers of NumPy and others as Python's own."""
    is_index = hasattr(value, "__index__") and not isinstance(value, bool)
    return int(value) if is_index else value  # type: ignore[call-overload]  # it has `__index__`


# ---------------------------------------------------------------- written schedules


@dataclass(frozen=True, slots=True)
class ChosenCase:
    """A schedule of plain directives, and the run-time sizes for which it is used."""

    schedule: Schedule
    condition: Expr


def read_schedule(written: Written, setting: Setting, condition: Expr = TRUE) -> list[ChosenCase]:
    """The cases of a schedule for a program, in the order in which they are tried, where `condition` holds."""
    here = setting.assuming(condition)
    return [
        ChosenCase(
            Schedule(here.program.name, written.item.target, case.lines), both(condition, case.condition)
        )
        for case in cases_of(read_lines(written, here), here.program)
    ]


def check_schedule(written: Written, setting: Setting) -> None:
    """Apply every case of a schedule. Raises `ScheduleError` for what is wrong with it."""
    condition = condition_for(written, setting)
    for case in read_schedule(written, setting, condition):
        kernel = case.schedule.apply(nest(assuming(setting.program, case.condition)))
        check_block_orders(kernel, case.schedule.directives)
