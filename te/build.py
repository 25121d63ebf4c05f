"""`te.build`: from text to a callable kernel. The whole compiler, in the order in which it runs."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import ModuleType
from typing import TypeAlias

from te.diagnostics import CompileError, Source, did_you_mean, error
from te.elaborate.elaborate import elaborate
from te.grammar import tree
from te.grammar.parser import is_file, parse_directives, parse_file
from te.ir import loop
from te.ir.expr import TRUE, Expr
from te.ir.print import print_expr
from te.ir.tensor import Program, Requirement
from te.module import Constant, Module, Op, Options, read_source, select_op
from te.runtime.arguments import Signature
from te.runtime.generic import Choice, GenericInput, GenericKernel
from te.runtime.kernel import Kernel, Variant
from te.runtime.laws import broken_laws
from te.schedule.auto import auto_schedule
from te.schedule.finalize import finalize
from te.schedule.nest import nest
from te.schedule.schedule import Schedule, read_schedule
from te.schedule.text import check_headers, names_in, read_directives, schedules_for
from te.target import Target, parse_target

__all__ = ["build"]


def build(
    expr: str | os.PathLike[str] | Op | Module,
    schedule: str | os.PathLike[str] | Schedule | None = None,
    target: str = "llvm",
    *,
    op: str | None = None,
    sizes: Mapping[str, int] | None = None,
    consts: Mapping[str, Constant] | None = None,
    dtypes: Mapping[str, str] | None = None,
    math: str = "strict",
) -> Kernel | GenericKernel:
    """Compile an op.

    `expr` is `.te` text (a string with a newline or `{`), a path, an op or a module; of several
    ops, `op` names one. `schedule` is text (lines of directives, or whole `schedule` items), the
    path of a `.te` file, a `te.Schedule`, `"auto"` or `"none"`; None takes the first in the op's own
    file whose target and condition hold, else the automatic one. `sizes`, `consts` and `dtypes` fix
    sizes, `const`s and dtype variables. A size that is not fixed is a run-time value: one
    compilation serves all. Dtype variables that are not fixed, and packs, are for each call to decide.

    Raises `te.CompileError` (`te.ScheduleError` for a refused directive) with all that is wrong
    with the text; OSError for a file that cannot be read; ValueError and TypeError for the other
    arguments.

    >>> import numpy as np, te
    >>> kernel = te.build('''
    ... op scale(X: f32[N], const by: int = 2) -> Y: f32[N] { Y[i] = by * X[i] }
    ... schedule scale on llvm { vectorize i by 8 }
    ... ''', consts={"by": 3})
    >>> kernel(np.array([1, 2], np.float32))
    array([3., 6.], dtype=float32)
    """
    _check_math(math)
    machine = parse_target(target)
    chosen = select_op(expr, op)
    options = chosen.options(sizes, consts, dtypes)
    given = _read_schedule(schedule)

    def compiled(choices: Mapping[str, Choice]) -> Kernel:
        ranks = {name: int(choice) for name, choice in choices.items() if name in chosen.packs}
        dtypes = {name: str(choice) for name, choice in choices.items() if name not in ranks}
        with _reporting_bugs(chosen):
            return _compile(
                chosen, replace(options, dtypes={**options.dtypes, **dtypes}), ranks, given, machine
            )

    open_variables = [name for name in chosen.dtype_variables if name not in options.dtypes]
    if open_variables or chosen.packs:
        return GenericKernel(chosen.name, _generic_inputs(chosen, open_variables), compiled)
    return compiled({})


def _compile(op: Op, options: Options, ranks: Mapping[str, int], given: Given, target: Target) -> Kernel:
    """Every level of the compiler, one after the other."""
    backend = _backend(target)
    program = elaborate(
        op.module.file,
        op.name,
        sizes=options.sizes,
        consts=options.consts,
        dtypes=options.dtypes,
        ranks=ranks,
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
    artifact = backend.emit([variant.final for variant in variants], target)
    executable = backend.load(artifact) if target.is_native else None
    return Kernel(Signature(program, op.dimension_texts()), variants, artifact, executable)


# ---------------------------------------------------------------- schedules

AUTO, NONE = "auto", "none"
Directives: TypeAlias = tuple[tree.Directive, ...]
Given: TypeAlias = str | Schedule | tree.File | Directives | None  # the string is AUTO or NONE


def _read_schedule(given: str | os.PathLike[str] | Schedule | None) -> Given:
    """The `schedule` argument of a build, read but not yet applied to an op."""
    match given:
        case None | Schedule() | "auto" | "none":
            return given
        case str() | os.PathLike():
            source = _schedule_source(given)
            return parse_file(source) if is_file(source) else parse_directives(source)
    raise TypeError(f"a schedule is given as text, path or te.Schedule, not {type(given).__name__}")


def _schedule_source(given: str | os.PathLike[str]) -> Source:
    """What ends in `.te` is a path; other strings are text, which has a space, as every directive does."""
    if not isinstance(given, str) or (given.endswith(".te") and "\n" not in given):
        return read_source(given)
    if len(given.split()) == 1:
        hint = did_you_mean(given, (AUTO, NONE))
        raise ValueError(
            f"schedule={given!r} is no text of directives, no path that ends in `.te`, "
            "and neither 'auto' nor 'none'" + (f" ({hint})" if hint else "")
        )
    return Source("<schedule>", given)


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


def _check_math(math: str) -> None:
    if math == "fast":
        raise ValueError('math="fast" is not supported by this version of te: use "strict", the default')
    if math != "strict":
        raise ValueError(f'math must be "strict", found {math!r}')


def _backend(target: Target) -> ModuleType:
    return importlib.import_module(f"te.backends.{target.backend}")


def _generic_inputs(op: Op, variables: list[str]) -> list[GenericInput]:
    """What each input decides of the open dtype variables and the packs."""
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
