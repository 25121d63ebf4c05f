"""The automatic schedule: a few rules, whose result is an ordinary schedule.

1. Inline pointwise stages, unless that would repeat work that is not cheap (`inlining.py`).
2. Attention, two contractions with weights from a running maximum between them: tiles of queries, by
   `online` over blocks of keys (`attention.py`).
3. A contraction, a sum of products of two tensors: tiles in registers, packed operands, and what
   reads it computed tile by tile (`contraction.py`, `panels.py`).
4. A convolution: tiles of pixels and channels in registers, filters in panels, a padded copy of
   what they are moved over (`convolution.py`).
5. Other reductions of windows, such as pooling: some rows at a time in registers (`windows.py`).
6. Reductions over the last axis and what is computed from them: a row at a time (`rows.py`).
7. Transposes and permutations: tiles that are transposed in registers (`transposes.py`).
8. Reductions over another axis than the last (`columns.py`), or of all (`totals.py`): in vectors, several
   partial results at once, in chunks for threads.
9. Recurrences along the last axis: several rows at once (`scans.py`).
10. Any other stage (`loops.py`): vectorise one loop, the last data axis, which the stage writes
   contiguously; for a reduction that reads less contiguously along it than along its last
   reduction axis, that one instead (a sum over rows). Make the outermost data loop parallel where
   a stage has enough work, or an unknown amount.
11. Results that no cache holds are stored past the caches, and rows that other elements name, as in
   `X[ids[i], j]`, are fetched one ahead (`streams.py`).

A line that the rewrites refuse is left out. GPUs have rules of their own (`gpu/`).
"""

from __future__ import annotations

from collections.abc import Sequence

from te.ir.expr import TRUE, Const, Expr, both
from te.ir.print import print_expr
from te.ir.tensor import Program, Stage
from te.schedule.auto import attention, convolution, windows, winograd
from te.schedule.auto.adding import add_if_legal
from te.schedule.auto.ahead import stages_of_params
from te.schedule.auto.columns import lines_for_columns
from te.schedule.auto.compensation import (
    byte_operands,
    is_worth_it,
    lines_for_column_sum,
    may_compensate,
)
from te.schedule.auto.contraction import Contraction, Regime, contraction_of, shared_axes
from te.schedule.auto.gpu import gpu_cases
from te.schedule.auto.inlining import stages_to_inline
from te.schedule.auto.loops import parallel_loop, vector_axis, vectorize
from te.schedule.auto.panels import lines_for
from te.schedule.auto.rows import lines_for_rows, rows_of
from te.schedule.auto.scans import lines_for_scan
from te.schedule.auto.streams import fetches_of, fetches_of_lookups, stream_of
from te.schedule.auto.totals import lines_for_total
from te.schedule.auto.transposes import lines_for_transpose
from te.schedule.directives import Compensate, Inline, Parallel, Precompute, Specialize, Tensorize
from te.schedule.forms import Directive
from te.schedule.schedule import ChosenCase, Schedule
from te.schedule.written import assuming
from te.target import Target, is_gpu

KINDS = (lines_for_transpose, lines_for_columns, lines_for_total, lines_for_scan)  # tried in this order
MOST_CONDITIONS = 4  # of contractions that have a case of their own together


def auto_schedule(program: Program, target: Target, *, fast_math: bool = False) -> Schedule:
    """The automatic schedule of a program. Print it to see its lines.

    With `fast_math` it may use instructions that strict arithmetic does not allow. Where a size that
    the call decides makes a difference, it begins with a line `specialize`.
    """
    *special, general = auto_cases(program, target, fast_math=fast_math)
    blocks = [Specialize(print_expr(case.condition), case.schedule.directives) for case in special]
    return Schedule(program.name, target.schedule_name, (*blocks, *general.schedule.directives))


def auto_cases(program: Program, target: Target, *, fast_math: bool = False) -> list[ChosenCase]:
    """The cases of the automatic schedule, each applied to the program where its condition holds."""
    if is_gpu(target.name):
        return gpu_cases(program, target, fast_math=fast_math)
    general = case_for(program, target, Regime.OTHER, fast_math=fast_math)
    cases: list[ChosenCase] = []
    asked = _asked(program, general.directives)
    for regime in (Regime.LARGE, Regime.FEW):
        condition = _common_condition(asked, regime)
        if condition is not None:
            special = case_for(assuming(program, condition), target, regime, fast_math=fast_math)
            cases.append(ChosenCase(special, condition))
    return [*cases, ChosenCase(general, TRUE)]


def _asked(program: Program, general: Sequence[Directive]) -> list[Contraction]:
    """The contractions whose schedules depend on sizes that a condition can ask."""
    lines = [line for line in general if isinstance(line, Inline | Compensate)]
    kernel = Schedule(program, directives=lines).steps()[-1].kernel
    used = {name for a in attention.attentions_of(kernel.program) for name in a.roles}
    used |= {line.loops[0].split(".")[0] for line in general if isinstance(line, Tensorize)}
    stages = [stage for stage in kernel.program.stages if stage.name not in used]
    found = [contraction_of(stage, shared_axes(kernel.program, stage)) for stage in stages]
    return [c for c in found if c is not None and c.may_ask(program)]


def _common_condition(contractions: Sequence[Contraction], regime: Regime) -> Expr | None:
    """For which sizes contractions are all of a regime, where the call decides that."""
    conditions = [c.condition(regime) for c in contractions]
    undecided = list(dict.fromkeys(condition for condition in conditions if not isinstance(condition, Const)))
    if not 0 < len(undecided) <= MOST_CONDITIONS:
        return None
    condition: Expr = TRUE
    for part in undecided:
        condition = both(condition, part)
    return condition


def case_for(program: Program, target: Target, regime: Regime, *, fast_math: bool = False) -> Schedule:
    """The lines for sizes of a regime, as far as the sizes themselves do not tell."""
    schedule = Schedule(program, target.schedule_name)
    attentions = attention.attentions_of(program)
    kept = {name for a in attentions for name in a.roles} | byte_operands(program)
    inline = stages_to_inline(program, kept)
    inline += [name for a in attentions for name in attention.stages_to_inline(a, program)]
    if inline:
        add_if_legal(schedule, [Inline(tuple(inline))])
    done: set[str] = set()
    for found in attention.attentions_of(schedule.steps()[-1].kernel.program):
        _scheduled_as_attention(schedule, found, target, done)
    _scheduled_as_winograd(schedule, target, done)
    _compensated(schedule, target, regime, done, fast_math)
    stages = schedule.steps()[-1].kernel.program.stages
    for stage in reversed(stages):
        if stage.name not in done and not contraction_of(stage):
            _scheduled_as_rows(schedule, stage, target, done)
    for stage in stages:
        if stage.name in done or _scheduled_as_contraction(schedule, stage, target, regime, done, fast_math):
            continue
        if _scheduled_as_convolution(schedule, stage, target, done):
            continue
        if _scheduled_by_kind(schedule, stage, target):
            continue
        axis = vector_axis(stage)
        vector = axis and vectorize(stage, axis, target)
        if vector and add_if_legal(schedule, [vector]):
            for fetch in fetches_of_lookups(stage, program, target):
                add_if_legal(schedule, [fetch])
        outermost = parallel_loop(stage, axis if vector and vector.by else None)
        if outermost:
            add_if_legal(schedule, [Parallel((outermost,))])
    program = schedule.steps()[-1].kernel.program
    for name in stages_of_params(program):
        add_if_legal(schedule, [Precompute((name,))])
    for stage in program.stages:
        stream = stream_of(stage, program, target)
        if stream:
            add_if_legal(schedule, [stream])
    return schedule


def _compensated(schedule: Schedule, target: Target, regime: Regime, done: set[str], fast_math: bool) -> None:
    """Make products of bytes into those that an instruction computes, and schedule what that takes."""
    for stage in filter(may_compensate, schedule.steps()[-1].kernel.program.stages):
        if not add_if_legal(schedule, [Compensate(stage.name)]):
            continue
        program = schedule.steps()[-1].kernel.program
        product = program.stage(f"{stage.name}_product")
        if not is_worth_it(product, program, target, fast_math=fast_math):
            schedule.undo(1)
            continue
        # Before rows are looked for: what puts the result together belongs to the product's tiles.
        _scheduled_as_contraction(schedule, product, target, regime, done, fast_math)
        for sums in (s for s in program.stages if s.name == f"{stage.name}_right_sum"):
            lines = lines_for_column_sum(sums, target)
            if lines and add_if_legal(schedule, lines):
                done.add(sums.name)


def _scheduled_as_attention(
    schedule: Schedule, found: attention.Attention, target: Target, done: set[str]
) -> None:
    """Schedule an attention, whose stages are `done` then."""
    before = len(schedule.directives)
    if not add_if_legal(schedule, attention.placing(found, target)):
        return
    if add_if_legal(schedule, attention.within(found, schedule.steps()[-1].kernel, target)):
        done.update(found.roles)
    else:
        schedule.undo(len(schedule.directives) - before)


def _scheduled_by_kind(schedule: Schedule, stage: Stage, target: Target) -> bool:
    """Schedule a stage by the first rule for its kind whose lines are legal."""
    program = schedule.steps()[-1].kernel.program
    plans = (lines for rule in KINDS for lines in rule(stage, program, target))
    return any(add_if_legal(schedule, lines) for lines in plans)


def _scheduled_as_rows(schedule: Schedule, last: Stage, target: Target, done: set[str]) -> None:
    """Schedule a stage with those that it needs a row of at a time, if there are some; they are `done` then."""
    program = schedule.steps()[-1].kernel.program
    rows = rows_of(program, last, done)
    if rows and add_if_legal(schedule, lines_for_rows(rows, target)):
        done.update(stage.name for stage in (*rows.members, last))
        for fetch in fetches_of(rows, program, target):
            add_if_legal(schedule, [fetch])


def _scheduled_as_contraction(
    schedule: Schedule, stage: Stage, target: Target, regime: Regime, done: set[str], fast_math: bool
) -> bool:
    """Schedule a contraction and the stages computed with it, which are `done` then."""
    kernel = schedule.steps()[-1].kernel
    found = contraction_of(stage, shared_axes(kernel.program, stage))
    if found is None:
        return False
    for plan in lines_for(found, kernel.program, target, regime, fast_math):
        if add_if_legal(schedule, plan.lines):
            done.update(plan.stages)
            return True
    return False


def _scheduled_as_winograd(schedule: Schedule, target: Target, done: set[str]) -> None:
    """Schedule the steps of convolutions by transforms, which are `done` then."""
    program = schedule.steps()[-1].kernel.program
    for stage in program.stages if program.tables else ():
        steps = winograd.steps_of(stage, program)
        plan = winograd.lines_for(steps, target) if steps else None
        if plan and add_if_legal(schedule, plan.lines):
            done.update(plan.stages)


def _scheduled_as_convolution(schedule: Schedule, stage: Stage, target: Target, done: set[str]) -> bool:
    """Schedule a reduction of windows and the stages computed with it, which are `done` then."""
    program = schedule.steps()[-1].kernel.program
    filtered, moved = convolution.convolution_of(stage), windows.windows_of(stage)
    plan = convolution.lines_for(filtered, program, target) if filtered else None
    plan = plan or (windows.lines_for(moved, program, target) if moved else None)
    if not plan or not add_if_legal(schedule, plan.lines):
        return False
    done.update(plan.stages)
    return True
