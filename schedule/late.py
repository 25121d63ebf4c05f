"""Refusals that only the whole schedule shows: `finalize` says what they are about, and that is at some line.

    cache_read B at io as Bs in shared
                          ^^ does not fit

Lines that Python calls have made have no place, and the refusal has none then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, replace

from te.diagnostics import Diagnostic, ScheduleError, Span
from te.ir.loop import Kernel
from te.schedule.directives import Bind, CacheRead, CacheWrite
from te.schedule.forms import Directive, Kind, TensorAxes, Values, span_of
from te.schedule.names import find_loop, stage_of


class LateRefusal(ScheduleError):
    """A schedule that is refused once all of its lines are there.

    `about` are names of loops, buffers and stages, the most telling one first, and `label` is what to say where a line
    names one; `at` is the clause of such a line to point at, if it is not the name.
    """

    def __init__(self, diagnostic: Diagnostic, about: Sequence[str], label: str, at: str | None = None):
        super().__init__(diagnostic)
        self.about, self.label, self.at = about, label, at

    def at_line(self, lines: Sequence[tuple[Directive, Kernel]]) -> ScheduleError:
        """The refusal at the last line that says something of what it is about, if there is one that was written.

        Each line comes with the kernel that it was applied to.
        """
        written = [(d, kernel) for d, kernel in lines if d.place]
        for name in self.about:
            for names in (_names_it(name), _binds_its_loops(name)):
                for d, kernel in reversed(written):
                    place = next((where for found, where in _mentions(d, kernel) if names(d, found)), None)
                    if place is not None:
                        return self._at(d, *place)
        return self

    def _at(self, d: Directive, clause: str, position: int) -> ScheduleError:
        (found,) = self.diagnostics
        span: Span | None = span_of(d, self.at) if self.at else span_of(d, clause, position)
        return ScheduleError(replace(found, span=span, label=self.label))


def _names_it(name: str) -> Callable[[Directive, str], bool]:
    return lambda _, found: found == name


def _binds_its_loops(stage: str) -> Callable[[Directive, str], bool]:
    return lambda d, found: isinstance(d, Bind) and "." in found and stage_of(found) == stage


def _mentions(d: Directive, kernel: Kernel) -> Iterator[tuple[str, tuple[str, int]]]:
    """The names in a line for `kernel`, those of loops with their stages, each with the clause and the place in it."""
    for field in fields(d):
        value = getattr(d, field.name)
        takes = field.metadata.get("takes")
        for position, one in enumerate(value if isinstance(value, tuple) else (value,)):
            name = one.name if isinstance(one, TensorAxes) else one
            if not isinstance(name, str):
                continue
            if isinstance(takes, Values) and takes.kind is Kind.LOOP:
                name = _full(name, kernel)
            yield name, (field.name, position)
    if isinstance(d, CacheRead | CacheWrite) and d.as_ is None:
        yield f"{d.tensor.name}_{'copy' if isinstance(d, CacheRead) else 'tile'}", ("tensor", 0)


def _full(loop: str, kernel: Kernel) -> str:
    return find_loop(kernel, loop, None)[0].var
