"""The automatic schedule: a few rules, whose result is an ordinary schedule.

1. Inline pointwise stages, unless that would repeat work that is not cheap.
2. Vectorise one loop of every stage: the last data axis, which the stage writes
   contiguously; for a reduction that reads less contiguously along it than along its last
   reduction axis, that one instead (a sum over rows).
3. Make the outermost data loop parallel where a stage has enough work, or an unknown amount.

A line that the rewrites refuse is left out.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod

from te.diagnostics import ScheduleError
from te.ir.expr import COMPARISONS, LOGICAL, Cast, Const, Expr, Load, Op, Select, Var, integer, sub
from te.ir.simplify import simplify
from te.ir.tensor import Axis, Program, Stage
from te.ir.visit import substitute, variables, walk
from te.schedule.directives import Inline, Parallel, Vectorize
from te.schedule.forms import Directive
from te.schedule.nest import loop_name
from te.schedule.placement import inline_obstacle, inlined, node_count, readers_of, reads_of
from te.schedule.schedule import Schedule
from te.target import Target

CHEAP = 6  # cost of a stage that may be computed again at every read
INLINED_NODES = 400  # no stage grows beyond this by inlining
PARALLEL_WORK = 1 << 15  # operations below which threads do not pay; a guess until it is measured

# Rough costs, in multiplications. What is not listed here and takes a float is a function such as `exp`.
FUNCTION_COST = 12
DIVISION_COST = 5
SIMPLE = {
    "min",
    "max",
    "abs",
    "neg",
    "fma",
    "floor",
    "ceil",
    "round",
    "trunc",
    "+",
    "-",
    "*",
    *COMPARISONS,
    *LOGICAL,
}


def auto_schedule(program: Program, target: Target) -> Schedule:
    """The automatic schedule of a program. Print it to see its lines."""
    schedule = Schedule(program, target.name)
    stages_to_inline = _stages_to_inline(program)
    if stages_to_inline:
        _try(schedule, Inline(tuple(stages_to_inline)))
    for stage in schedule.steps()[-1].kernel.program.stages:
        axis = _vector_axis(stage)
        vector = axis and _vectorize(stage, axis, target)
        if vector:
            _try(schedule, vector)
        outermost = _parallel_loop(stage, axis if vector and vector.by else None)
        if outermost:
            _try(schedule, Parallel((outermost,)))
    return Schedule(program.name, target.name, schedule.directives)


def _try(schedule: Schedule, line: Directive) -> None:
    try:
        schedule.add(line)
    except ScheduleError:
        return  # the schedule is as it was


# ---------------------------------------------------------------- inlining


def _stages_to_inline(program: Program) -> list[str]:
    """Pointwise stages that are better computed where they are read, in order."""
    stages = {stage.name: stage for stage in program.stages}
    chosen: list[str] = []
    for name in [stage.name for stage in program.stages]:
        current = _with_stages(program, stages)
        stage = stages[name]
        if inline_obstacle(current, stage) or not _is_worth_inlining(current, stage):
            continue
        for reader in readers_of(current, name):
            stages[reader.name] = inlined(reader, stage)
        del stages[name]
        chosen.append(name)
    return chosen


def _with_stages(program: Program, stages: dict[str, Stage]) -> Program:
    return replace(program, stages=tuple(stages.values()))


def _is_worth_inlining(program: Program, stage: Stage) -> bool:
    readers = readers_of(program, stage.name)
    if any(node_count(reader) + node_count(stage) > INLINED_NODES for reader in readers):
        return False
    if cost(stage.value) <= CHEAP:
        return True
    reads = [(reader, load) for reader in readers for load in reads_of(reader) if load.buffer == stage.name]
    return len(reads) == 1 and _reads_each_once(*reads[0])


def _reads_each_once(reader: Stage, load: Load) -> bool:
    """Whether every loop around a read moves it to another element."""
    moving = {name for i in load.index for name in variables(i)}
    return all(axis.name in moving for axis in _axes(reader))


def cost(e: Expr) -> int:
    """How much work an expression is, roughly, in multiplications."""
    total = 0
    for node in walk(e):
        match node:
            case Op(op="/" | "//" | "%" | "sqrt", args=(_, *_)) if node.dtype.is_float:
                total += DIVISION_COST
            case Op(op=op) if node.dtype.is_float and op not in SIMPLE:
                total += FUNCTION_COST
            case Op() | Select() | Cast():
                total += 1
    return total


# ---------------------------------------------------------------- vectors


def _vector_axis(stage: Stage) -> Axis | None:
    """The axis along which a stage is vectorised."""
    data = [axis for axis in stage.axes if axis.extent != integer(1)]
    steps = [axis for axis in stage.reduction.axes if axis.extent != integer(1)] if stage.reduction else []
    candidates = [*data[-1:], *steps[-1:]]
    return min(candidates, key=lambda axis: _scattered_reads(stage, axis), default=None)


def _scattered_reads(stage: Stage, axis: Axis) -> int:
    """How many reads of a stage would gather elements that are not neighbours, in lanes along an axis."""
    scattered = 0
    for load in reads_of(stage):
        moving = [position for position, i in enumerate(load.index) if axis.name in variables(i)]
        if moving and (moving != [len(load.index) - 1] or not _has_unit_step(load.index[-1], axis.name)):
            scattered += 1
    return scattered


def _has_unit_step(e: Expr, name: str) -> bool:
    """Whether an index grows by 1 with a variable."""
    following = substitute(e, {name: Op("+", (Var(name), integer(1)), integer(1).dtype)})
    return simplify(sub(following, e)) == integer(1)


def _vectorize(stage: Stage, axis: Axis, target: Target) -> Vectorize:
    lanes = max(2, target.vector_bits // _widest(stage))
    loop = (loop_name(stage.name, axis.name),)
    if isinstance(axis.extent, Const) and 1 < axis.extent.value <= lanes:
        return Vectorize(loop)
    return Vectorize(loop, by=lanes)


def _widest(stage: Stage) -> int:
    """The bits of the widest element that a stage computes with, apart from indices."""
    bits = [8, stage.tensor.dtype.bits]
    pending: list[Expr] = [stage.value]
    while pending:
        match pending.pop():
            case Load(dtype=dtype):
                bits.append(dtype.bits)
            case Op(args=args, dtype=dtype):
                bits.append(dtype.bits)
                pending += args
            case Cast(value=value, dtype=dtype):
                bits.append(dtype.bits)
                pending.append(value)
            case Select(then=then, otherwise=otherwise):
                pending += (then, otherwise)
    return max(bits)


# ---------------------------------------------------------------- threads


def _parallel_loop(stage: Stage, split: Axis | None) -> str | None:
    """The outermost data loop, if there is work for threads. `split`: the axis that was split for vectors."""
    extents = [axis.extent for axis in _axes(stage)]
    if all(isinstance(extent, Const) for extent in extents):
        trips = prod(int(extent.value) for extent in extents if isinstance(extent, Const))
        if trips * (1 + cost(stage.value)) < PARALLEL_WORK:
            return None
    for axis in stage.axes:
        if axis.extent != integer(1):
            return loop_name(stage.name, axis.name + ("o" if axis is split else ""))
    return None


def _axes(stage: Stage) -> tuple[Axis, ...]:
    return (*stage.axes, *(stage.reduction.axes if stage.reduction else ()))
