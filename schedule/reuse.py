"""The lines of another op's schedule in the terms of a program that calls the op.

Tensors and stages are renamed as the call renamed them (`te.ir.tensor.Call`). A loop that is
named by its index alone is looked up among the stages of the call; what a line makes is the
call's too, so that the lines after it find it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from te.diagnostics import ScheduleError, error
from te.ir.loop import Alloc, Kernel, walk_stmt
from te.schedule.directives import Use
from te.schedule.forms import Directive, Kind, TensorAxes, span_of
from te.schedule.names import all_loops, index_of, stage_of
from te.schedule.vocabulary import field_of, shape_of, verb_of
from te.schedule.written import find_call


@dataclass(frozen=True, slots=True)
class Translation:
    """What the names in the lines of an op's schedule mean in a program.

    `stages` are the op's own, as the program calls them; `prefix` is for new ones.
    """

    names: Mapping[str, str]
    stages: frozenset[str]
    indices: Mapping[str, str]
    prefix: str

    def line(self, d: Directive, kernel: Kernel) -> Directive:
        """A line as it applies to the kernel."""
        shape = shape_of(verb_of(d))
        fields: dict[str, Any] = {}
        for name, takes in ((shape.operand, shape.operand_takes), *shape.clauses.items()):
            value = getattr(d, field_of(name))
            if value is not None:
                fields[field_of(name)] = self._values(name, takes.kind, value, kernel)
        return replace(d, **fields)

    def after(self, line: Directive, before: Kernel, after: Kernel) -> Translation:
        """With the stages that a line of the op's schedule has made."""
        names = dict(self.names)
        new = _stages(after) - _stages(before)
        made_as = shape_of(verb_of(line)).clauses.get("as")
        if made_as and made_as.kind is Kind.NAME and (name := getattr(line, "as_", None)):
            names[name] = f"{self.prefix}{name}"
        for made in sorted(new - set(names.values())):
            names[self._name_in_op(made)] = made
        return replace(self, names=names, stages=self.stages | new)

    def _values(self, field: str, kind: Kind, value: object, kernel: Kernel) -> object:
        if isinstance(value, tuple):
            return tuple(self._value(field, kind, v, kernel) for v in value)
        return self._value(field, kind, value, kernel)

    def _value(self, field: str, kind: Kind, value: object, kernel: Kernel) -> object:
        match kind, value:
            case Kind.LOOP, str():
                return self._loop(value, kernel)
            case Kind.STAGE, str():
                return self.names.get(value, value)
            case Kind.TENSOR, TensorAxes(name=name):
                return replace(value, name=self.names.get(name, name))
            case Kind.NAME, str() if field == "as":
                return f"{self.prefix}{value}"
        return value

    def _loop(self, name: str, kernel: Kernel) -> str:
        index = self.indices.get(index_of(name), index_of(name))
        if "." in name:
            stage = stage_of(name)
            return f"{self.names.get(stage, stage)}.{index}"
        loops = [loop.var for loop, _ in all_loops(kernel)]
        found = [var for var in loops if index_of(var) == index and stage_of(var) in self.stages]
        return found[0] if len(found) == 1 else index

    def _name_in_op(self, made: str) -> str:
        """What the op's schedule calls a new stage: `A_copy`, where `X_copy` was made and `A` is `X` here."""
        origins = [(name, given) for name, given in self.names.items() if made.startswith(f"{given}_")]
        name, given = max(origins, key=lambda pair: len(pair[1]), default=("", ""))
        return f"{name}{made.removeprefix(given)}"


def _stages(kernel: Kernel) -> set[str]:
    """What the kernel computes: stages, copies, parts of reductions."""
    buffers = {s.buffer.name for s, _ in walk_stmt(kernel.body) if isinstance(s, Alloc)}
    return buffers | {stage_of(loop.var) for loop, _ in all_loops(kernel)}


def translation(kernel: Kernel, use: Use) -> Translation:
    """For the lines of a `use` line."""
    call = find_call(kernel.program, use)
    if call is None:
        own = [t.name for t in kernel.program.inputs] + [s.name for s in kernel.program.stages]
        return Translation({name: name for name in own}, frozenset(_stages(kernel)), {}, "")
    stages = frozenset(given for name, given in call.names if name not in call.inputs)
    return Translation(dict(call.names), stages, dict(call.indices), f"{call.results[0]}_")


def lines_of(use: Use) -> tuple[Directive, ...]:
    """The lines that stand in the place of a `use` line."""
    if use.lines is not None:
        return use.lines
    raise ScheduleError(
        error(
            "use-schedule",
            f"nothing says here what the schedule of `{use.op}` is",
            span_of(use, "op"),
            help="in Python: `s.use(schedule, of=...)` with a te.Schedule, "
            "or give the schedule to `te.build`, which looks in the op's file",
        )
    )
