"""From text to code: the whole compiler, in the order in which it runs. `te.build` calls it."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import ModuleType
from typing import TypeAlias

from te.diagnostics import CompileError, Source, error
from te.elaborate.elaborate import elaborate
from te.elaborate.modules import Library
from te.grammar import tree
from te.grammar.parser import is_file, parse_directives, parse_file
from te.ir import loop
from te.ir.accesses import check_accesses
from te.ir.expr import TRUE, Expr
from te.ir.print import print_expr
from te.ir.tensor import Program, Requirement
from te.module import Op, Options
from te.runtime.generic import Choice, GenericInput
from te.runtime.interface import Interface, Way, interface
from te.runtime.kernel import Compilation, Variant
from te.runtime.laws import broken_laws
from te.runtime.limits import SizeLimit
from te.schedule.auto import auto_schedule
from te.schedule.finalize import finalize
from te.schedule.nest import nest
from te.schedule.schedule import Schedule, read_schedule
from te.schedule.text import check_headers, names_in, read_directives, schedules_for
from te.target import Target

__all__ = ["Given", "compile_op", "generic_inputs", "interface_of", "parse_schedule"]


def compile_op(
    op: Op,
    options: Options,
    choices: Mapping[str, Choice],
    given: Given,
    target: Target,
    library: Library,
    *,
    debug: bool = False,
    has_lines: bool = False,
) -> Compilation:
    """Compile an op. `choices` are the dtypes and ranks that the build leaves to the call.

    `library` takes up the files that the op uses. With `debug`, every index is checked; with
    `has_lines`, the code tells debuggers the lines that it comes from.
    """
    ranks = {name: int(choice) for name, choice in choices.items() if name in op.packs}
    dtypes = {name: str(choice) for name, choice in choices.items() if name not in ranks}
    options = replace(options, dtypes={**options.dtypes, **dtypes})
    with _reporting_bugs(op):
        program, variants = _schedule(op, options, ranks, given, target, library)
        if debug:
            variants = [_checked(variant) for variant in variants]
        finals = [variant.final for variant in variants]
        artifact = _backend(target).emit(finals, target, has_lines=has_lines)
        return Compilation(program, tuple(variants), artifact)


def _schedule(
    op: Op, options: Options, ranks: Mapping[str, int], given: Given, target: Target, library: Library
) -> tuple[Program, list[Variant]]:
    """Every level of the compiler up to the final loop IR, one after the other."""
    program = elaborate(
        op.module.file,
        op.name,
        sizes=options.sizes,
        consts=options.consts,
        dtypes=options.dtypes,
        ranks=ranks,
        library=library,
    )
    _verify(program)
    if wrong := broken_laws(op.module.file):
        raise CompileError(wrong)
    variants = []
    for choice in _choose_schedules(given, program, op, target):
        plain = nest(_assuming(program, choice.condition))
        scheduled = choice.schedule.apply(plain)  # verifies each step
        final = finalize(scheduled)
        _verify(plain, final)
        variants.append(Variant(choice.condition, choice.schedule, scheduled, final))
    return program, variants


def _checked(variant: Variant) -> Variant:
    final, accesses = check_accesses(variant.final)
    return replace(variant, final=final, accesses=accesses)


def interface_of(op: Op, compilation: Compilation) -> Interface:
    """What a caller needs to know of a compiled op."""
    ways = [
        Way(variant.condition, str(variant), SizeLimit(variant.final).limit or -1, entry, variant.accesses)
        for variant, entry in zip(compilation.variants, compilation.artifact.entries, strict=True)
    ]
    return interface(compilation.program, op.dimension_texts(), ways)


# ---------------------------------------------------------------- schedules

AUTO, NONE = "auto", "none"
Directives: TypeAlias = tuple[tree.Directive, ...]
Given: TypeAlias = str | Schedule | tree.File | Directives | None  # the string is AUTO or NONE


def parse_schedule(given: Source | str | Schedule | None) -> Given:
    """The `schedule` argument of a build, read but not yet applied to an op."""
    if not isinstance(given, Source):
        return given
    return parse_file(given) if is_file(given) else parse_directives(given)


@dataclass(frozen=True, slots=True)
class _Choice:
    """A schedule, and for which run-time sizes it is used."""

    schedule: Schedule
    condition: Expr


def _choose_schedules(given: Given, program: Program, op: Op, target: Target) -> list[_Choice]:
    """The schedules that serve a build, to be tried in order at each call. The last one always holds."""
    match given:
        case None:
            return _written_schedules((), program, op, target)
        case tree.File():
            items = tuple(i for i in given.items if isinstance(i, tree.Schedule))
            _check_items(items, op, target)
            return _written_schedules(items, program, op, target)
        case Schedule():
            _check_op(op, given.op, None)
            return [_Choice(given, TRUE)]
        case tuple():
            lines = read_directives(given, names_in(None, program, op.module.file))
            return [_Choice(Schedule(op.name, target.name, lines), TRUE)]
    return [
        _Choice(auto_schedule(program, target) if given == AUTO else Schedule(op.name, target.name), TRUE)
    ]


def _written_schedules(
    given: tuple[tree.Schedule, ...], program: Program, op: Op, target: Target
) -> list[_Choice]:
    """Those that fit among the given ones and then the file's; where all are conditional, the automatic one."""
    file = op.module.file
    diagnostics = check_headers(file, [o.name for o in op.module])
    if diagnostics:
        raise CompileError(diagnostics)
    file = tree.File((*given, *file.items), file.source)
    choices = [
        _Choice(read_schedule(choice.schedule, program, file), choice.condition)
        for choice in schedules_for(file, program, target)
    ]
    if not choices or choices[-1].condition != TRUE:
        choices.append(_Choice(auto_schedule(program, target), TRUE))
    return choices


def _check_items(items: tuple[tree.Schedule, ...], op: Op, target: Target) -> None:
    """Refuse given schedules of which none can be meant for this build."""
    mine = [item for item in items if item.op == op.name]
    if not mine:
        _check_op(op, items[0].op if items else "no op", items[0] if items else None)
    if not any(target.satisfies(item.target) for item in mine):
        raise CompileError(
            error(
                "schedule-other-target",
                f"the given schedule of `{op.name}` is for {mine[0].target}, and the build for {target.name}",
                mine[0].span,
                help="give one for this target, or leave `schedule` out",
            )
        )


def _check_op(op: Op, scheduled: str, item: tree.Schedule | None) -> None:
    if scheduled != op.name:
        raise CompileError(
            error(
                "schedule-other-op",
                f"the given schedule is for `{scheduled}`, and the op to build is `{op.name}`",
                item.span if item else None,
                help=f"write `schedule {op.name} on ...`",
            )
        )


def _assuming(program: Program, condition: Expr) -> Program:
    """A schedule's `when` holds wherever it is used, which is a fact for its directives."""
    if condition == TRUE:
        return program
    requirement = Requirement(condition, print_expr(condition))
    return replace(program, requirements=(*program.requirements, requirement))


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
def _reporting_bugs(op: Op) -> Iterator[None]:
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
