"""`te bench`: how long an op takes with one schedule and another, or after each line of one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from te.build import build
from te.cli.failures import Usage, WrongData
from te.cli.options import Watched
from te.cli.watch import read_history, report
from te.ir.expr import TRUE
from te.ir.print import print_expr
from te.module import load
from te.runtime.generic import GenericKernel
from te.runtime.kernel import Kernel, duration
from te.schedule.schedule import Schedule
from te.watch.footprint import value_of, works
from te.watch.history import History
from te.watch.timing import medians, random_inputs


@dataclass(frozen=True, slots=True)
class _Row:
    """A line of the table: what is measured, and the schedule that it is built with, if not the one that is given."""

    name: str
    schedule: Any = None

    @property
    def options(self) -> dict[str, Any]:
        """What the build takes in place of what the command gives; the knobs are the given schedule's."""
        return {} if self.schedule is None else {"schedule": self.schedule, "knobs": {}}


def bench_steps(watched: Watched, repeat: int) -> int:
    """Measure the op after each line of its schedule. Gives 1 if a line is refused; those before are measured."""
    found = read_history(watched)
    rows = [_Row(_name(found, count), _first_lines(found, count)) for count in range(len(found.steps))]
    _measure(watched, found, rows, repeat, is_sequence=True)
    return report(found)


def bench(watched: Watched, repeat: int) -> int:
    """Measure the op plain, with the automatic schedule, and with the one that is written, if there is one."""
    rows = [_Row("none: the plain nest", "none"), _Row("auto: the schedule that te chooses", "auto")]
    given = watched.build["schedule"]
    found = read_history(watched)
    if given not in ("auto", "none") and str(found.schedule) != _automatic(watched):
        rows.append(_Row("written"))
    _measure(watched, found, rows, repeat, is_sequence=False)
    return report(found)


def _automatic(watched: Watched) -> str:
    automatic = Watched(
        watched.file, watched.op, {**watched.build, "schedule": "auto", "knobs": {}}, watched.sizes
    )
    return str(read_history(automatic).schedule)


def _name(found: History, count: int) -> str:
    return str(found.steps[count].directive or "the plain nest")


def _first_lines(found: History, count: int) -> Schedule | str:
    """The schedule up to a line, as `te.build` takes it."""
    applied = [step.directive for step in found.steps[: count + 1] if step.directive]
    lines = Schedule(found.schedule.op, found.schedule.target, applied)
    if found.condition == TRUE:
        return lines
    return str(lines).replace(" {", f" when {print_expr(found.condition)} {{", 1)


# ---------------------------------------------------------------- measuring


def _measure(
    watched: Watched, found: History, rows: Sequence[_Row], repeat: int, *, is_sequence: bool
) -> None:
    if repeat < 1:
        raise Usage(f"--repeat must be at least 1, found {repeat}")
    missing = [name for name in found.program.sizes if name not in found.sizes]
    if missing:
        raise Usage(
            f"te bench needs the sizes of the inputs: --sizes {','.join(f'{n}=...' for n in missing)}"
        )
    op = load(watched.file).only(watched.op)
    kernels = [_kernel(build(op, **{**watched.build, **row.options})) for row in rows]
    try:
        inputs = random_inputs(found.program, found.sizes)
        stopwatches = [kernel.stopwatch(**inputs) for kernel in kernels]
    except (ValueError, IndexError, TypeError) as wrong:
        raise WrongData(str(wrong)) from None
    seconds = medians(stopwatches, repeat)
    for line in _table(found, rows, seconds, is_sequence):
        print(line)


def _kernel(built: Kernel | GenericKernel) -> Kernel:
    """The kernel of which the history is: the first, where the call decides dtypes and ranks."""
    return built.specialized() if isinstance(built, GenericKernel) else built


def _table(found: History, rows: Sequence[_Row], seconds: Sequence[float], is_sequence: bool) -> list[str]:
    sizes = ", ".join(f"{name} = {value}" for name, value in found.sizes.items())
    work = _operations(found)
    columns = [("", [row.name for row in rows]), ("time", [duration(time) for time in seconds])]
    columns.append(("against plain", [_times(seconds[0], time) for time in seconds]))
    if is_sequence:
        ratios = [_times(before, after) for before, after in pairwise(seconds)]
        columns.append(("against the line before", ["", *ratios]))
    if work is not None:
        columns.append(("Gop/s", [f"{work / time / 1e9:.3g}" for time in seconds]))
    return [f"{found.program.name}{' with ' if sizes else ''}{sizes}", "", *_aligned(columns)]


def _aligned(columns: Sequence[tuple[str, Sequence[str]]]) -> Iterator[str]:
    """The lines of a table: the first column to the left, the others to the right."""
    widths = [max(map(len, (head, *cells))) for head, cells in columns]
    for line in ([head for head, _ in columns], *zip(*(cells for _, cells in columns), strict=True)):
        cells = [f"{cell:>{width}}" for cell, width in zip(line, widths, strict=True)]
        yield "  ".join([line[0].ljust(widths[0]), *cells[1:]]).rstrip()


def _operations(found: History) -> int | None:
    """The operations on elements of one call of the plain nest."""
    return value_of(works(found.steps[0].kernel)[0].operations, found.sizes)


def _times(before: float, after: float) -> str:
    return f"{before / after:.3g}×"
