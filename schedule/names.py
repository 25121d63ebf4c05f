"""What the names in a directive mean: loops, stages, and new names.

A loop is called `stage.index`. The stage may be left out where one stage alone has a
loop of that index. A name means what it means at its line: a loop that was split is gone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from te.diagnostics import Diagnostic, ScheduleError, Span, did_you_mean, error
from te.ir.loop import SERIAL, Alloc, For, Kernel, Let, Stmt, walk_stmt
from te.ir.tensor import Stage

Path = tuple[Stmt, ...]


class TooLate(ScheduleError):
    """A refusal because of an earlier line: the first one after which the kernel is `blocked`.

    `Schedule` knows the lines and points at that one. Its help becomes to move this line
    before it, unless `moves` is False.
    """

    def __init__(self, diagnostic: Diagnostic, blocked: Callable[[Kernel], bool], moves: bool = True):
        super().__init__(diagnostic)
        self.blocked = blocked
        self.moves = moves


def index_of(loop: str) -> str:
    """A loop's name without its stage."""
    return loop.rsplit(".", 1)[-1]


def stage_of(loop: str) -> str:
    return loop.rsplit(".", 1)[0]


def made_name(loop: str) -> str:
    """A name like that of a loop of a stage which no loop of a schedule has: for one that finalize makes."""
    return f"{stage_of(loop)}'.{index_of(loop)}"


def all_loops(kernel: Kernel) -> list[tuple[For, Path]]:
    """Every loop with the statements around it, outermost first."""
    return [(s, path) for s, path in walk_stmt(kernel.body) if isinstance(s, For)]


def find_loop(kernel: Kernel, name: str, span: Span | None) -> tuple[For, Path]:
    """The loop that a name means, with the statements around it, outermost first."""
    loops = all_loops(kernel)
    found = [(loop, path) for loop, path in loops if name in (loop.var, index_of(loop.var))]
    exact = [(loop, path) for loop, path in found if loop.var == name]
    if len(exact) == 1 or len(found) == 1:
        return (exact or found)[0]
    if found:
        candidates = _listed([loop.var for loop, _ in found])
        raise ScheduleError(
            error(
                "ambiguous-loop",
                f"`{name}` could be any of the loops {candidates}",
                span,
                "which one?",
                help="write the stage too, as in " + f"`{found[0][0].var}`",
            )
        )
    raise TooLate(
        _unknown_loop(kernel, name, [loop.var for loop, _ in loops], span), _lacks(name), moves=False
    )


def _lacks(name: str) -> Callable[[Kernel], bool]:
    """Whether a kernel has no loop of that name."""
    return lambda kernel: not any(name in (loop.var, index_of(loop.var)) for loop, _ in all_loops(kernel))


def find_loops(kernel: Kernel, names: Sequence[str], spans: Sequence[Span | None]) -> list[tuple[For, Path]]:
    """The loops of several names, which must be different loops."""
    found: list[tuple[For, Path]] = []
    for name, span in zip(names, spans, strict=True):
        loop, path = find_loop(kernel, name, span)
        if any(loop.var == other.var for other, _ in found):
            raise ScheduleError(
                error("repeated-loop", f"the loop `{loop.var}` is named twice", span, "named before")
            )
        found.append((loop, path))
    return found


def _unknown_loop(kernel: Kernel, name: str, loops: list[str], span: Span | None) -> Diagnostic:
    there_are = f"the loops are {_listed(loops)}" if loops else "the program has no loops"
    # A misspelt bare name is close to an index, a misspelt full one to a whole name.
    known = loops if "." in name else [index_of(v) for v in loops]
    suggestion = did_you_mean(name, known)
    help_text = f"{suggestion}\n{there_are}" if suggestion else there_are
    return error("unknown-loop", f"there is no loop `{name}`", span, "no such loop", help=help_text)


def find_stage(kernel: Kernel, name: str, span: Span | None) -> Stage:
    """The stage of that name."""
    stages = {stage.name: stage for stage in kernel.program.stages}
    if name in stages:
        return stages[name]
    if name in {tensor.name for tensor in kernel.program.inputs}:
        reason = f"`{name}` is an input, and no stage computes it"
    else:
        reason = f"there is no stage `{name}`"
    suggestion = did_you_mean(name, stages)
    there_are = f"the stages are {_listed(list(stages))}"
    raise ScheduleError(
        error(
            "unknown-stage",
            reason,
            span,
            "no such stage",
            help=f"{suggestion}\n{there_are}" if suggestion else there_are,
        )
    )


def new_loop_name(kernel: Kernel, stage: str, index: str, span: Span | None, but: str = "") -> str:
    """The full name of a new loop of a stage. `but`: a loop that is about to go."""
    name = f"{stage}.{index}"
    taken = {s.var for s, _ in walk_stmt(kernel.body) if isinstance(s, For | Let)} - {but}
    if name in taken:
        raise ScheduleError(
            error(
                "loop-name",
                f"`{stage}` has a loop or index `{index}` already",
                span,
                f"`{name}` exists",
                help="choose other names with `into`",
            )
        )
    return name


def require_serial(loop: For, verb: str, span: Span | None) -> None:
    """Refuse a loop whose kind was set, or that prefetches: its shape can no longer change."""
    if loop.prefetches:
        raise TooLate(
            error(
                "loop-kind",
                f"`{loop.var}` has a prefetch in it already",
                span,
                f"too late to {verb} it",
                help=f"write this line before the `prefetch` at `{loop.var}`",
            ),
            lambda kernel: any(x.var == loop.var and x.prefetches for x, _ in all_loops(kernel)),
        )
    if loop.pipeline:
        raise TooLate(
            error(
                "loop-kind",
                f"`{loop.var}` is pipelined already",
                span,
                f"too late to {verb} it",
                help=f"write this line before the `pipeline` of `{loop.var}`",
            ),
            lambda kernel: any(x.var == loop.var and x.pipeline for x, _ in all_loops(kernel)),
        )
    if loop.kind == SERIAL:
        return
    verbs = {"unrolled": "unroll", "vector": "vectorize", "parallel": "parallel", "tensorized": "tensorize"}
    kind_verb = verbs.get(loop.kind, "bind")
    article = "an" if loop.kind == "unrolled" else "a"
    raise TooLate(
        error(
            "loop-kind",
            f"`{loop.var}` is {article} {loop.kind} loop already",
            span,
            f"too late to {verb} it" if verb != kind_verb else "a second time",
            help=f"write this line before the `{kind_verb}` of `{loop.var}`",
        ),
        lambda kernel: any(x.var == loop.var and x.kind != SERIAL for x, _ in all_loops(kernel)),
    )


def _listed(names: Sequence[str]) -> str:
    quoted = [f"`{name}`" for name in names]
    return " and ".join([", ".join(quoted[:-1]), quoted[-1]]) if len(quoted) > 1 else "".join(quoted)


def new_stage_name(
    kernel: Kernel, name: str, span: Span | None, help: str = "choose another name with `as`"
) -> str:
    """The name, if nothing is called so; `help` says what to do if something is."""
    p = kernel.program
    taken = {*p.sizes, *(t.name for t in p.inputs), *(s.name for s in p.stages)}
    taken |= {t.tensor.name for t in p.tables}
    taken |= {x.buffer.name for x, _ in walk_stmt(kernel.body) if isinstance(x, Alloc)}
    taken |= {stage_of(loop.var) for loop, _ in all_loops(kernel)}
    if name in taken:
        raise ScheduleError(
            error(
                "stage-name",
                f"there is a `{name}` already",
                span,
                "not new",
                help=help,
            )
        )
    return name
