"""From text to code: the whole compiler, in the order in which it runs. `te.build` calls it."""

from __future__ import annotations

import hashlib
import importlib
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from types import ModuleType
from typing import TypeAlias

from te import __version__
from te.backends.base import Entry
from te.diagnostics import CompileError, ScheduleError, Source, did_you_mean, error
from te.elaborate.elaborate import CHECKED_RANK, elaborate
from te.elaborate.modules import Library as OpLibrary
from te.elaborate.modules import Module, read_module
from te.grammar import tree
from te.grammar.parser import is_file, parse_directives, parse_file
from te.ir import loop
from te.ir.accesses import check_accesses
from te.ir.expr import TRUE, Expr
from te.ir.print import print_kernel
from te.ir.tensor import Program, Tensor
from te.ir.visit import loads
from te.module import Op, Options
from te.runtime.generic import Choice, GenericInput
from te.runtime.interface import Interface, Prepared, Way, interface
from te.runtime.kernel import Compilation, Variant
from te.runtime.laws import broken_laws
from te.runtime.limits import SizeLimit
from te.schedule.auto import auto_cases
from te.schedule.auto.winograd import with_winograd
from te.schedule.block_order import check_block_orders
from te.schedule.cases import cases_of
from te.schedule.context import shared_facts
from te.schedule.finalize import finalize
from te.schedule.finalize.gpu.threads import without_threads
from te.schedule.forms import Directive
from te.schedule.intrinsics import wrong_intrinsics
from te.schedule.knobs import Knob
from te.schedule.late import LateRefusal
from te.schedule.nest import nest
from te.schedule.precompute import Ahead, separated
from te.schedule.schedule import ChosenCase, Schedule, read_schedule
from te.schedule.tensorize import check_instructions
from te.schedule.text import names_in, read_directives
from te.schedule.written import (
    Library,
    Setting,
    assuming,
    check_headers,
    is_for,
    knobs_for,
    own_definition,
    resolved,
    schedules_for,
)
from te.target import Target, is_gpu

__all__ = [
    "Candidate",
    "Given",
    "candidates",
    "compile_op",
    "generic_inputs",
    "interface_of",
    "knobs_of_build",
    "parse_schedule",
    "reporting_bugs",
]


def compile_op(
    op: Op,
    options: Options,
    choices: Mapping[str, Choice],
    given: Given,
    target: Target,
    library: OpLibrary,
    *,
    knobs: Mapping[str, object] | None = None,
    math: str = "strict",
    debug: bool = False,
    has_lines: bool = False,
) -> Compilation:
    """Compile an op. `choices` are the dtypes and ranks that the build leaves to the call.

    `library` takes up the files that the op uses; `knobs` are for its schedules. With "fast" `math`,
    an instruction may do more than round otherwise, and a function be less accurate. With `debug`,
    every index is checked; with `has_lines`, the code tells debuggers the lines that it comes from.
    """
    ranks = {name: int(choice) for name, choice in choices.items() if name in op.packs}
    dtypes = {name: str(choice) for name, choice in choices.items() if name not in ranks}
    options = replace(options, dtypes={**options.dtypes, **dtypes})
    with reporting_bugs(op), shared_facts():
        program, variants = _schedule(op, options, ranks, given, knobs or {}, target, library, math, debug)
        variants = [_checked(v) if debug else _ahead_of_calls(v) for v in variants]
        finals = [variant.final for variant in variants]
        finals += [part.kernel for variant in variants for part in variant.ahead]
        artifact = _backend(target).emit(finals, target, has_lines=has_lines, has_fast_math=math == "fast")
        return Compilation(program, tuple(variants), artifact)


def _schedule(
    op: Op,
    options: Options,
    ranks: Mapping[str, int],
    given: Given,
    knobs: Mapping[str, object],
    target: Target,
    library: OpLibrary,
    math: str,
    debug: bool,
) -> tuple[Program, list[Variant]]:
    """Every level of the compiler up to the final loop IR, one after the other."""
    program, possible = candidates(op, options, ranks, given, knobs, target, library, math)
    variants = []
    for candidate in possible:
        steps = candidate.schedule.steps(candidate.plain)  # verifies each one
        lines = [step.directive for step in steps if step.directive]  # without `use`: they say it all
        scheduled = steps[-1].kernel
        check_block_orders(scheduled, lines)
        check_instructions(scheduled, lines, target, fast_math=math == "fast")
        # A fault is the first one where nothing runs at the same time.
        applied = [(step.directive, before.kernel) for before, step in pairwise(steps) if step.directive]
        final = _finalized(
            without_threads(scheduled) if debug and is_gpu(scheduled.target) else scheduled, applied
        )
        _verify(candidate.plain, final)
        schedule = Schedule(program.name, candidate.schedule.target, lines)
        variants.append(Variant(candidate.condition, schedule, scheduled, final))
    return program, variants


def _finalized(scheduled: loop.Kernel, applied: Sequence[tuple[Directive, loop.Kernel]]) -> loop.Kernel:
    try:
        return finalize(scheduled)
    except LateRefusal as refused:
        raise refused.at_line(applied) from None


@dataclass(frozen=True, slots=True)
class Candidate:
    """A schedule that may serve a call, the condition under which it does, and the loops that it starts from."""

    condition: Expr
    schedule: Schedule
    plain: loop.Kernel


def candidates(
    op: Op,
    options: Options,
    ranks: Mapping[str, int],
    given: Given,
    knobs: Mapping[str, object],
    target: Target,
    library: OpLibrary,
    math: str = "strict",
) -> tuple[Program, list[Candidate]]:
    """The op's program, and the schedules that are tried in order at each call; nothing is applied yet."""
    setting = _setting(op, options, ranks, given, knobs, target, library)
    if math == "fast" and _is_automatic(given, setting):
        setting = replace(setting, program=with_winograd(setting.program, library))
    program = setting.program
    _verify(program)
    if wrong := [*broken_laws(op.module.file), *wrong_intrinsics(op.module.file)]:
        raise CompileError(wrong)
    return program, [
        Candidate(choice.condition, choice.schedule, _plain(assuming(program, choice.condition), target))
        for choice in _choose_schedules(given, setting, target, fast_math=math == "fast")
    ]


def _plain(program: Program, target: Target) -> loop.Kernel:
    """The op as it is written, for a target: a schedule `on cuda` may ask for what the older GPUs lack."""
    kernel = nest(program)
    return replace(kernel, target=target.schedule_name) if target.backend == "cuda" else kernel


def _setting(
    op: Op,
    options: Options,
    ranks: Mapping[str, int],
    given: Given,
    knobs: Mapping[str, object],
    target: Target,
    library: OpLibrary,
) -> Setting:
    """The elaborated op, and where its schedules are."""
    program = elaborate(
        op.module.file,
        op.name,
        sizes=options.sizes,
        consts=options.consts,
        dtypes=options.dtypes,
        ranks=ranks,
        library=library,
    )
    own = read_module(op.module.file, library)
    given_file = read_module(given, library) if isinstance(given, tree.File) else None
    return Setting(program, target.schedule_name, target.levels, own, given_file, knobs)


def knobs_of_build(op: Op, options: Options, given: Given, target: Target) -> dict[str, Knob]:
    """The knobs that a build may set. Packs stand for as many axes as where a file is checked."""
    if given is not None and not isinstance(given, tree.File):
        return {}
    ranks = dict.fromkeys(op.packs, CHECKED_RANK)
    return knobs_for(_setting(op, options, ranks, given, {}, target, OpLibrary()))


def _checked(variant: Variant) -> Variant:
    final, accesses = check_accesses(variant.final)
    return replace(variant, final=final, accesses=accesses)


def _ahead_of_calls(variant: Variant) -> Variant:
    """With what is to be precomputed taken out of the code for each call."""
    final, ahead = separated(variant.final)
    return replace(variant, final=final, ahead=ahead)


def interface_of(op: Op, compilation: Compilation) -> Interface:
    """What a caller needs to know of a compiled op."""
    entries = compilation.artifact.entries
    ahead = iter(entries[len(compilation.variants) :])
    ways = []
    for variant, entry in zip(compilation.variants, entries, strict=False):
        prepared = tuple(
            _prepared(part, next(ahead), variant.final, compilation.program) for part in variant.ahead
        )
        kernels = [variant.final, *(part.kernel for part in variant.ahead)]
        limit = min(SizeLimit(kernel).limit or -1 for kernel in kernels)
        ways.append(Way(variant.condition, str(variant), limit, entry, variant.accesses, prepared))
    return interface(compilation.program, op.dimension_texts(), ways)


def _prepared(part: Ahead, entry: Entry, final: loop.Kernel, program: Program) -> Prepared:
    kept = tuple(Tensor(b.name, b.dtype, b.shape) for b in part.kept)
    names = {t.name for t in kept}
    is_index = any(
        load.buffer in names
        for s, _ in loop.walk_stmt(final.body)
        for e in loop.direct_exprs(s)
        for read in loads(e)
        for index in read.index
        for load in loads(index)
    )
    computed = f"{__version__}\n{print_kernel(part.kernel)}\n{program.tables}"
    digest = "" if is_index else hashlib.sha256(computed.encode()).hexdigest()
    return Prepared(entry, part.params, part.sizes, kept, digest)


# ---------------------------------------------------------------- schedules

AUTO, NONE = "auto", "none"
Directives: TypeAlias = tuple[tree.Directive, ...]
Given: TypeAlias = str | Schedule | tree.File | Directives | None  # the string is AUTO or NONE


def parse_schedule(given: Source | str | Schedule | None) -> Given:
    """The `schedule` argument of a build, read but not yet applied to an op."""
    if not isinstance(given, Source):
        return given
    return parse_file(given) if is_file(given) else parse_directives(given)


def _is_automatic(given: Given, setting: Setting) -> bool:
    """Whether no schedule is written, which would be for the stages as they are written."""
    return given == AUTO or (given is None and not schedules_for(setting))


def _choose_schedules(given: Given, setting: Setting, target: Target, *, fast_math: bool) -> list[ChosenCase]:
    """The schedules that serve a build, to be tried in order at each call. The last one always holds."""
    op = setting.program.name
    match given:
        case None | tree.File():
            return _written_schedules(setting, target, fast_math=fast_math)
        case Schedule():
            _check_op(op, given.op, None)
            lines = resolved(given.directives, Library(None, setting))
        case tuple():
            lines = read_directives(given, names_in(setting.program), Library(None, setting))
        case _:
            lines = ()
    _refuse_unknown_knobs(setting, ())
    if given == AUTO:
        return auto_cases(setting.program, target, fast_math=fast_math)
    return _cases(lines, setting, target)


def _written_schedules(setting: Setting, target: Target, *, fast_math: bool) -> list[ChosenCase]:
    """Those that fit among the given ones and then the file's; where all are conditional, the automatic one."""
    if setting.given:
        _check_items(setting.given, setting)
    if wrong := check_headers(setting.own):
        raise CompileError(wrong)
    _refuse_unknown_knobs(setting, knobs_for(setting) if setting.knobs else ())
    choices: list[ChosenCase] = []
    for choice in schedules_for(setting):
        choices += read_schedule(choice.schedule, setting, choice.condition)
    if not choices or choices[-1].condition != TRUE:
        choices += auto_cases(setting.program, target, fast_math=fast_math)
    return choices


def _cases(lines: Sequence[Directive], setting: Setting, target: Target) -> list[ChosenCase]:
    cases = cases_of(lines, setting.program)
    return [
        ChosenCase(Schedule(setting.program.name, target.schedule_name, c.lines), c.condition) for c in cases
    ]


def _refuse_unknown_knobs(setting: Setting, known: Collection[str]) -> None:
    for name in setting.knobs:
        if name not in known:
            listed = ", ".join(f"`{knob}`" for knob in known)
            there_are = f"they have {listed}" if known else "they have none"
            hint = did_you_mean(name, known)
            raise ScheduleError(
                error(
                    "unknown-knob",
                    f"the schedules of `{setting.program.name}` for {setting.target} have no knob `{name}`",
                    None,
                    help=f"{hint}\n{there_are}" if hint else there_are,
                )
            )


def _check_items(given: Module, setting: Setting) -> None:
    """Refuse given schedules of which none can be meant for this build."""
    op = own_definition(setting)
    items = [item for item in given.file.items if isinstance(item, tree.Schedule)]
    mine = [item for item in items if is_for(item, given, op, by_name=True)]
    if not mine:
        _check_op(setting.program.name, items[0].op if items else "no op", items[0] if items else None)
    if mine and not any(item.target in setting.levels for item in mine):
        raise CompileError(
            error(
                "schedule-other-target",
                f"the given schedule of `{setting.program.name}` is for {mine[0].target}, "
                f"and the build for {setting.target}",
                mine[0].span,
                help="give one for this target, or leave `schedule` out",
            )
        )


def _check_op(op: str, scheduled: str, item: tree.Schedule | None) -> None:
    if scheduled != op:
        raise CompileError(
            error(
                "schedule-other-op",
                f"the given schedule is for `{scheduled}`, and the op to build is `{op}`",
                item.span if item else None,
                help=f"write `schedule {op} on ...`",
            )
        )


# ---------------------------------------------------------------- the rest


def _backend(target: Target) -> ModuleType:
    return importlib.import_module(f"te.backends.{target.backend}")


def generic_inputs(op: Op, options: Options) -> list[GenericInput]:
    """What each input decides of the dtype variables left open and the packs; none where all is decided."""
    variables = [name for name in op.dtype_variables if name not in options.dtypes]
    if not variables and not op.packs:
        return []
    for variable in variables:
        if variable not in [p.type.name for p in op.inputs]:
            raise ValueError(
                f"{op.name}: no input decides the dtype variable `{variable}`; "
                f"give it to the build: dtypes={{{variable!r}: 'f32'}}"
            )
    found = []
    for param in op.inputs:
        dims = param.type.dims or ()
        pack = next((d.name for d in dims if isinstance(d, tree.Pack)), None)
        variable_of_input = param.type.name if param.type.name in variables else None
        found.append(GenericInput(param.name, variable_of_input, pack, len(dims) - 1 if pack else len(dims)))
    return found


def _verify(*made: Program | loop.Kernel) -> None:
    """With TE_VERIFY=1 in the environment, check what a pass made."""
    if os.environ.get("TE_VERIFY") == "1":
        from te.ir.verify import verify_kernel, verify_program

        for program in made:
            if isinstance(program, Program):
                verify_program(program)
            else:
                verify_kernel(program)


@contextmanager
def reporting_bugs(op: Op) -> Iterator[None]:
    """What is not the program's fault is te's, and says so, with the program that caused it."""
    try:
        yield
    except (CompileError, MemoryError):
        raise
    except Exception as bug:
        bug.add_note(
            "This is a bug in te. Please report it, with this traceback and the program:\n\n"
            + op.module.file.source.text
        )
        raise
