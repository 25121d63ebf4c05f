"""`te.build`: from text to a callable kernel, out of the cache on disk or through `te.pipeline`.

The compiler is imported when it is needed: a kernel out of the cache does not wait for it.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from te.collector import paused_collector
from te.diagnostics import Source, did_you_mean
from te.elaborate.files import UsedFiles
from te.runtime.cache import Cache, Request
from te.runtime.generic import Choice, GenericKernel
from te.runtime.kernel import Compilation, Kernel
from te.runtime.stored import Generic, Stored
from te.sources import is_text, read_source
from te.target import EMULATED, parse_target

if TYPE_CHECKING:
    from te.module import Constant, Module, Op, Options
    from te.pipeline import Given
    from te.schedule.knobs import Knob
    from te.schedule.schedule import Schedule

__all__ = ["build", "knobs", "read_schedule_argument"]


def build(
    expr: str | os.PathLike[str] | Op | Module,
    schedule: str | os.PathLike[str] | Schedule | None = None,
    target: str = "llvm",
    *,
    op: str | None = None,
    sizes: Mapping[str, int] | None = None,
    consts: Mapping[str, Constant] | None = None,
    dtypes: Mapping[str, str] | None = None,
    knobs: Mapping[str, Constant] | None = None,
    math: str = "strict",
    debug: bool = False,
) -> Kernel | GenericKernel:
    """Compile an op.

    `expr` is `.te` text (a string with a newline or `{`), a path, an op or a module; of several
    ops, `op` names one. `schedule` is text (lines of directives, or whole `schedule` items), the
    path of a `.te` file, a `te.Schedule`, `"auto"` or `"none"`; None takes the first in the op's own
    file whose target and condition hold, else the automatic one. `sizes`, `consts` and `dtypes` fix
    sizes, `const`s and dtype variables; `knobs` gives values to the knobs of the schedules. A size
    that is not fixed is a run-time value: one compilation serves all. Dtype variables that are not
    fixed, and packs, are for each call to decide.

    `math="fast"` admits schedules with instructions that do more than sum in another order (`te help
    tensorize` names them), and takes shorter code for some functions of f32, with larger errors. Where no
    schedule is written or given, and the sizes are fixed and make it pay, it computes convolutions of
    3 × 3 with stride 1 by transforms (`te.std.winograd`). docs/accuracy.md has the errors of both. It
    changes nothing else.

    `debug` makes a slower kernel that checks every index of every access, runs on one thread and
    shows gdb the `.te` lines; a wrong index raises IndexError (docs/debugging.md).

    A kernel that this machine has compiled before is taken from the cache on disk (docs/cache.md).

    Raises `te.CompileError` (`te.ScheduleError` for a refused directive) with all that is wrong
    with the text, or for a knob that there is not; OSError for a file that cannot be read;
    ValueError and TypeError for the other arguments.

    >>> import numpy as np, te
    >>> kernel = te.build('''
    ... op scale(X: f32[N], const by: int = 2) -> Y: f32[N] { Y[i] = by * X[i] }
    ... schedule scale on llvm { vectorize i by 8 }
    ... ''', consts={"by": 3})
    >>> kernel(np.array([1, 2], np.float32))
    array([3., 6.], dtype=float32)
    """
    _check_math(math)
    chosen = None if isinstance(expr, str | os.PathLike) else _select_op(expr, op)
    request = Request(
        source=chosen.module.file.source if chosen else _read_program(expr),
        op=chosen.name if chosen else op,
        schedule=read_schedule_argument(schedule),
        target=parse_target(target),
        sizes=sizes or {},
        consts=consts or {},
        dtypes=dtypes or {},
        knobs=knobs or {},
        math=math,
        debug=debug,
        has_lines=debug or os.environ.get("TE_DEBUG_INFO") == "1",
    )
    return _Build(request, chosen).run()


def knobs(
    expr: str | os.PathLike[str] | Op | Module,
    schedule: str | os.PathLike[str] | Schedule | None = None,
    target: str = "llvm",
    *,
    op: str | None = None,
    sizes: Mapping[str, int] | None = None,
    consts: Mapping[str, Constant] | None = None,
    dtypes: Mapping[str, str] | None = None,
) -> dict[str, Knob]:
    """The knobs that `build` with the same arguments may set: what a tuner has to choose from.

    Each has its default as `value`, and its `choices`, which are empty where any value of that kind
    will do. They are those of the op's schedules for the target, and of those that these `use`; one
    of several schedules offers what all of them do. Raises what `build` raises.

    >>> import te
    >>> text = '''
    ... op double(X: f32[N]) -> Y: f32[N] { Y[i] = 2 * X[i] }
    ... schedule double on llvm (W in {4, 8, 16} = 8) { vectorize i by W }
    ... '''
    >>> te.knobs(text)
    {'W': Knob(name='W', value=8, choices=(4, 8, 16))}
    >>> print(te.build(text, knobs={"W": 16}).schedule)
    schedule double on llvm {
        vectorize i by 16
    }
    """
    from te.pipeline import knobs_of_build, parse_schedule

    chosen = _select_op(expr, op)
    options = chosen.options(sizes, consts, dtypes)
    return knobs_of_build(
        chosen, options, parse_schedule(read_schedule_argument(schedule)), parse_target(target)
    )


class _Build:
    """One call of `build`. The op is parsed when there is something to compile."""

    def __init__(self, request: Request, op: Op | None):
        self._request = request
        self._cache = Cache(request)
        if op is not None:
            self._op = op

    def run(self) -> Kernel | GenericKernel:
        with paused_collector():
            return self._run()

    def _run(self) -> Kernel | GenericKernel:
        found = self._cache.find(None)
        if isinstance(found, Stored):
            return self._restored(None, found)
        if found is None:
            found = self._generic()
        return (
            self._compiled(None) if found is None else GenericKernel(found.name, found.inputs, self._kernel)
        )

    def _generic(self) -> Generic | None:
        """What the calls decide of the op, where they decide anything."""
        from te.pipeline import generic_inputs

        inputs = generic_inputs(self._op, self._options)
        _ = self._given  # if it is wrong, nothing is stored
        if not inputs:
            return None
        generic = Generic(self._op.name, tuple(inputs))
        self._cache.store(None, generic)
        return generic

    def _kernel(self, choices: Mapping[str, Choice]) -> Kernel:
        """The kernel for the dtypes and ranks that a call has chosen."""
        with paused_collector():  # also at a call
            found = self._cache.find(choices)
            return self._restored(choices, found) if isinstance(found, Stored) else self._compiled(choices)

    def _compiled(self, choices: Mapping[str, Choice] | None) -> Kernel:
        from te.pipeline import interface_of

        compilation, files = self._compile(choices or {})
        interface = interface_of(self._op, compilation)
        if self._request.target.is_gpu:
            from te.runtime.gpu_kernel import GpuKernel

            return GpuKernel(interface, lambda: compilation)
        if not self._request.target.is_native:
            return Kernel(interface, None, lambda: compilation)
        if self._request.target.name == EMULATED:
            from te.runtime.emulated import load_emulated

            emulated = load_emulated(compilation.artifact)
            return Kernel(interface, emulated, lambda: compilation)
        executable = _backend(self._request).load(compilation.artifact)
        if self._cache.is_on:
            self._cache.store(choices, Stored(interface, compilation.artifact.code, files))
        return Kernel(interface, executable, lambda: compilation)

    def _restored(self, choices: Mapping[str, Choice] | None, stored: Stored) -> Kernel:
        """A kernel out of the cache. Its levels are made again when somebody wants to read them."""

        def compilation() -> Compilation:
            made, files = self._compile(choices or {})
            if files != stored.files:
                raise RuntimeError(
                    f"{stored.interface.name}: a file that it uses has changed since it was compiled: build it again"
                )
            return made

        return Kernel(stored.interface, _backend(self._request).load(stored.code), compilation)

    def _compile(self, choices: Mapping[str, Choice]) -> tuple[Compilation, UsedFiles]:
        from te.elaborate.modules import Library
        from te.pipeline import compile_op

        library = Library()
        request = self._request
        compilation = compile_op(
            self._op,
            self._options,
            choices,
            self._given,
            request.target,
            library,
            knobs=request.knobs,
            math=request.math,
            debug=request.debug,
            has_lines=request.has_lines,
        )
        return compilation, library.files

    # What the compiler takes, in the order in which mistakes are reported.

    @cached_property
    def _op(self) -> Op:
        from te.grammar.parser import parse_file
        from te.module import Module

        return Module(parse_file(self._request.source)).only(self._request.op)

    @cached_property
    def _options(self) -> Options:
        return self._op.options(self._request.sizes, self._request.consts, self._request.dtypes)

    @cached_property
    def _given(self) -> Given:
        from te.pipeline import parse_schedule

        return parse_schedule(self._request.schedule)


# ---------------------------------------------------------------- what is given


def _select_op(expr: Any, name: str | None) -> Op:
    from te.module import select_op

    return select_op(expr, name)


def _read_program(expr: Any) -> Source:
    return Source("<text>", expr) if isinstance(expr, str) and is_text(expr) else read_source(expr)


def read_schedule_argument(
    given: str | os.PathLike[str] | Schedule | None,
) -> Source | str | Schedule | None:
    """The `schedule` argument: its text, or what is none.

    What ends in `.te` is a path; other strings are text, which has a space, as every directive does.
    """
    if given is None or given in ("auto", "none"):
        return given
    if not isinstance(given, str | os.PathLike):
        from te.schedule.schedule import Schedule

        if isinstance(given, Schedule):
            return given
        raise TypeError(f"a schedule is given as text, path or te.Schedule, not {type(given).__name__}")
    if not isinstance(given, str) or (given.endswith(".te") and "\n" not in given):
        return read_source(given)
    if len(given.split()) == 1:
        hint = did_you_mean(given, ("auto", "none"))
        raise ValueError(
            f"schedule={given!r} is no text of directives, no path that ends in `.te`, "
            "and neither 'auto' nor 'none'" + (f" ({hint})" if hint else "")
        )
    return Source("<schedule>", given)


def _check_math(math: str) -> None:
    if math not in ("strict", "fast"):
        hint = did_you_mean(str(math), ("strict", "fast"))
        raise ValueError(f'math must be "strict" or "fast", found {math!r}' + (f" ({hint})" if hint else ""))


def _backend(request: Request) -> Any:
    return importlib.import_module(f"te.backends.{request.target.backend}")
