"""The automatic schedule on GPUs: a few rules, whose result is an ordinary schedule.

1. Inline pointwise stages, as on CPUs (`te.schedule.auto.inlining`).
2. Attention: queries in tiles, in one pass over the keys; on tensor cores where these have the dtypes
   (`attention_tensor_cores.py`), or else by threads (`attention.py`).
3. Contractions: on tensor cores, where these have their dtypes (`tensor_cores.py`), or in tiles in shared memory and
   the registers of threads (`tiles.py`). Blocks share the terms where sizes make few tiles and many terms
   (`parts.py`). Convolutions likewise (`convolution.py`, `channels_last.py`).
4. Reductions over the last axis and what is computed from them (`rows.py`): in one launch, whose blocks or warps each
   have a row, and keep it in registers where its length is known. Where it is not, short rows have a case of their own.
5. Reductions over another axis than the last (`columns.py`), or of all (`totals.py`): partial results of blocks in one
   launch, and their reduction in a second.
6. Transposes and other permutations (`transposes.py`): tiles in shared memory.
7. Any other stage (`points.py`): its elements on blocks and threads, 16 bytes a thread where neighbours in memory
   are read and written; where those depend on each other, a loop that is independent.

A line that the rewrites refuse is left out. Sizes may be symbolic: the emitted code asks what it needs, and products
have a case of their own for large ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import reduce
from itertools import chain
from typing import TypeAlias

from te.diagnostics import ScheduleError
from te.ir.expr import TRUE, Expr, both
from te.ir.tensor import Program, Stage
from te.schedule.auto import attention as attentions
from te.schedule.auto.adding import add_if_legal
from te.schedule.auto.gpu import attention
from te.schedule.auto.gpu.attention_tensor_cores import flash_attention
from te.schedule.auto.gpu.channels_last import plans_for_channels_last
from te.schedule.auto.gpu.columns import plans_for_columns
from te.schedule.auto.gpu.convolution import plans_for_convolution
from te.schedule.auto.gpu.convolution_cores import plans_for_convolution_cores
from te.schedule.auto.gpu.parts import plans_for_parts
from te.schedule.auto.gpu.points import lines_for_points
from te.schedule.auto.gpu.rows import lines_for_rows, rows_at, short_rows
from te.schedule.auto.gpu.tensor_cores import plans_for_tensor_cores
from te.schedule.auto.gpu.tiles import are_large, plans_for_tiles
from te.schedule.auto.gpu.totals import lines_for_total
from te.schedule.auto.gpu.transposes import lines_for_transpose
from te.schedule.auto.inlining import stages_to_inline
from te.schedule.auto.tiles import Plan
from te.schedule.directives import Inline
from te.schedule.finalize.gpu.fragments import spread_fragments
from te.schedule.finalize.gpu.reach import hold_overhang
from te.schedule.forms import Directive
from te.schedule.matrices import matrix_results
from te.schedule.schedule import ChosenCase, Schedule
from te.schedule.written import assuming
from te.target import Target

Rule: TypeAlias = Callable[[Stage, Program, Target], Iterator[list[Directive]]]

KINDS: tuple[Rule, ...] = (
    lines_for_transpose,
    lines_for_total,
    lines_for_points,
)  # tried in this order
MOST_CONDITIONS = 4  # of rows that have a case of their own together


def gpu_cases(program: Program, target: Target, *, fast_math: bool = False) -> list[ChosenCase]:
    """The cases of the automatic schedule for a GPU.

    Large products and short rows have their own where the call decides on that.
    """
    general, short = _case(program, target, fast_math)
    cases: list[ChosenCase] = []
    inlined = [line for line in general.directives if isinstance(line, Inline)]
    late = Schedule(program, directives=inlined).steps()[-1].kernel.program
    tiled = {name for a in attentions.attentions_of(late) for name in a.roles}
    condition = are_large([stage for stage in late.stages if stage.name not in tiled], target)
    if condition is not None:
        large, _ = _case(assuming(program, condition), target, fast_math, is_large=True)
        cases.append(ChosenCase(large, condition))
    if 0 < len(short) <= MOST_CONDITIONS:
        condition = reduce(both, short)
        special, _ = _case(assuming(program, condition), target, fast_math)
        cases.append(ChosenCase(special, condition))
    return [*cases, ChosenCase(general, TRUE)]


def _case(
    program: Program, target: Target, fast_math: bool, *, is_large: bool = False
) -> tuple[Schedule, list[Expr]]:
    """The lines for all sizes that the program allows, and the conditions under which all its rows are short."""
    schedule = Schedule(program, target.schedule_name)
    found = attentions.attentions_of(program)
    inline = stages_to_inline(program, {name for a in found for name in a.roles})
    inline += [name for a in found for name in attentions.stages_to_inline(a, program)]
    if inline:
        add_if_legal(schedule, [Inline(tuple(inline))])
    done: set[str] = set()
    short: list[Expr] = []
    for a in attentions.attentions_of(schedule.steps()[-1].kernel.program):
        if not _scheduled_on_tensor_cores(schedule, a, target, done, fast_math):
            _scheduled_as_attention(schedule, a, done)
    for name in _names(schedule):
        if name not in done:
            _scheduled_as_tiles(schedule, name, target, done, fast_math, is_large=is_large)
    for name in reversed(_names(schedule)):
        if name not in done:
            short += _scheduled_as_rows(schedule, name, target, done)
    for name in _names(schedule):
        if name not in done:
            _scheduled_as_columns(schedule, name, target, done)
    _scheduled_by(KINDS, schedule, target, done)
    return schedule, list(dict.fromkeys(short))


def _names(schedule: Schedule) -> list[str]:
    return [stage.name for stage in schedule.steps()[-1].kernel.program.stages]


def _scheduled_on_tensor_cores(
    schedule: Schedule, a: attentions.Attention, target: Target, done: set[str], fast_math: bool
) -> bool:
    """Schedule an attention whose products are instructions, if they can be; its stages are `done` then."""
    before = len(schedule.directives)
    flash = flash_attention(a, schedule.steps()[-1].kernel.program, target, fast_math)
    if flash is None or not add_if_legal(schedule, flash.placing()):
        return False
    if not add_if_legal(schedule, flash.within(schedule.steps()[-1].kernel)) or not _can_be_spread(schedule):
        schedule.undo(len(schedule.directives) - before)
        return False
    done.update(a.roles, flash.stages_in_tile(schedule.steps()[-1].kernel))
    return True


def _can_be_spread(schedule: Schedule) -> bool:
    """Whether what is in registers can be spread over lanes: an op may use it in ways that no line refuses."""
    try:
        kernel = schedule.steps()[-1].kernel
        spread_fragments(hold_overhang(kernel, matrix_results(kernel)))
    except ScheduleError:
        return False
    return True


def _scheduled_as_attention(schedule: Schedule, a: attentions.Attention, done: set[str]) -> None:
    """Schedule an attention, whose stages are `done` then."""
    before = len(schedule.directives)
    if not add_if_legal(schedule, attention.placing(a)):
        return
    for lines in (attention.moving, attention.within):
        if not add_if_legal(schedule, lines(a, schedule.steps()[-1].kernel)):
            schedule.undo(len(schedule.directives) - before)
            return
    done.update(a.roles, attention.stages_in_tile(a, schedule.steps()[-1].kernel))


def _scheduled_as_tiles(
    schedule: Schedule, name: str, target: Target, done: set[str], fast_math: bool, *, is_large: bool
) -> None:
    """Schedule a contraction or convolution and the stages computed from its registers, which are `done` then."""
    program = schedule.steps()[-1].kernel.program
    stage = program.stage(name)
    plans = chain(
        plans_for_parts(stage, target, fast_math),
        plans_for_tensor_cores(stage, program, target, fast_math, is_large=is_large),
        plans_for_tiles(stage, program, target, is_large=is_large),
        plans_for_convolution_cores(stage, program, target, fast_math, is_large=is_large),
        plans_for_convolution(stage, program, target),
        plans_for_channels_last(stage, program, target),
    )
    _add_one_of(plans, schedule, done)


def _scheduled_as_columns(schedule: Schedule, name: str, target: Target, done: set[str]) -> None:
    """Schedule a reduction over another axis than the last with what reads it, which are `done` then."""
    program = schedule.steps()[-1].kernel.program
    _add_one_of(plans_for_columns(program.stage(name), program, target), schedule, done)


def _add_one_of(plans: Iterable[Plan], schedule: Schedule, done: set[str]) -> None:
    """Add the lines of the first plan that is legal, whose stages are `done` then."""
    for plan in plans:
        if done.isdisjoint(plan.stages) and add_if_legal(schedule, plan.lines):
            done.update(plan.stages)
            return


def _scheduled_by(rules: Sequence[Rule], schedule: Schedule, target: Target, done: set[str]) -> None:
    """Schedule each stage by the first rule for its kind whose lines are legal; they are `done` then."""
    for name in _names(schedule):
        program = schedule.steps()[-1].kernel.program
        plans = (lines for rule in rules for lines in rule(program.stage(name), program, target))
        if name not in done and any(add_if_legal(schedule, lines) for lines in plans):
            done.add(name)


def _scheduled_as_rows(schedule: Schedule, last: str, target: Target, done: set[str]) -> list[Expr]:
    """Schedule a stage with those that it needs a row of at a time, if there are some; they are `done` then.

    The conditions under which the rows are short, where the call decides that.
    """
    program = schedule.steps()[-1].kernel.program
    if not any(stage.name == last for stage in program.stages):
        return []
    rows = rows_at(program, program.stage(last), done)
    if not rows or not any(add_if_legal(schedule, lines) for lines in lines_for_rows(rows, program, target)):
        return []
    done.update(stage.name for stage in (*rows.members, rows.last))
    return short_rows(rows)
