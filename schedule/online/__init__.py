"""The rewrite `online`: dependent reductions in one pass over blocks of their axis.

    m[i]    = max[j](S[i, j])                    for jo:
    l[i]    = sum[j](exp(S[i, j] - m[i]))          m_old = m;  m = the maximum with this block
    A[i, e] = sum[j](exp(S[i, j] - m[i])           l = l * exp(m_old - m) + sum of this block
                     * V[j, e])                    A = A * exp(m_old - m) + sum of this block

This file finds out whether that is allowed at the place; `following.py` and `algebra.py`
whether the reductions allow it, and `online_nest.py` makes the loops.

What must hold:

- The reductions run over axes of the same extent, and no line has changed their loops.
- One that reads none of the others is computed as it is. One that reads a maximum or minimum
  among them is a sum whose terms can be rescaled, over the same elements (`where`) as that
  running value. Nothing else that they read depends on any of them.
- Pointwise stages between them, such as `p[i, j] = exp(S[i, j] - m[i])`, hold values for a
  running `m` while the loop runs: nothing else reads them.
- Whatever else reads the reductions stands in the loop `at`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

from te.diagnostics import Note, ScheduleError, Span, error
from te.ir.bounds import prove
from te.ir.expr import compare
from te.ir.loop import PARALLEL, SERIAL, Accumulate, For, Kernel, Store, direct_exprs, walk_stmt
from te.ir.tensor import Axis, Stage
from te.ir.visit import loads
from te.schedule.compute_at import operands
from te.schedule.context import program_facts
from te.schedule.directives import Online
from te.schedule.forms import span_of
from te.schedule.loops import FACTOR_LIMIT
from te.schedule.names import Path, TooLate, find_loop, find_stage, index_of, new_loop_name, stage_of
from te.schedule.online.algebra import NotRescalable
from te.schedule.online.following import Member, dependents, followers
from te.schedule.online.nest import Plan, build
from te.schedule.placement import readers_of


def online(kernel: Kernel, d: Online) -> Kernel:
    """Run dependent reductions over one shared loop, rescaling partial results."""
    if not 1 <= d.by <= FACTOR_LIMIT:
        _refuse(
            f"`by` must lie between 1 and {FACTOR_LIMIT}, and is {d.by}", span_of(d, "by"), "out of range"
        )
    members = _members(kernel, d)
    loop, path = find_loop(kernel, d.at, span_of(d, "at"))
    _check_place(members, loop, path, d)
    shared, inner = _loop_names(kernel, members, d)
    members = _followers(kernel, members)
    between = _between(kernel, members, d)
    _check_readers(kernel, {member.name for member in members} | between, loop, d)
    return build(Plan(kernel, loop, path, tuple(members), frozenset(between), shared, inner, d.by))


def _refuse(
    message: str,
    span: Span | None,
    label: str = "",
    help_text: str | None = None,
    stages: Sequence[Stage] = (),
) -> NoReturn:
    notes = [Note(stage.span, f"`{stage.name}`") for stage in stages if stage.span]
    raise ScheduleError(error("online-refused", message, span, label, help=help_text, notes=notes))


# ---------------------------------------------------------------- what the names mean


def _members(kernel: Kernel, d: Online) -> list[Member]:
    """The reductions in the order of the program, each with its axis."""
    found: dict[str, Member] = {}
    for position, name in enumerate(d.of):
        span = span_of(d, "of", position)
        stage = find_stage(kernel, name, span)
        if name in found:
            raise ScheduleError(error("repeated-stage", f"the stage `{name}` is named twice", span))
        if stage.reduction is None:
            _refuse(f"`{name}` is no reduction", span, stages=(stage,))
        _check_stage(kernel, stage, span)
        found[name] = Member(stage, _axis(stage, d, span), span)
    ordered = [found[stage.name] for stage in kernel.program.stages if stage.name in found]
    facts = program_facts(kernel.program)
    first = ordered[0]
    for member in ordered[1:]:
        if not prove(compare("==", member.axis.extent, first.axis.extent), facts):
            _refuse(
                f"nothing proves that `{member.name}.{member.axis.name}` is as long as "
                f"`{first.name}.{first.axis.name}`",
                member.span,
                "another axis",
                stages=(first.stage, member.stage),
            )
    return ordered


def _check_stage(kernel: Kernel, stage: Stage, span: Span | None) -> None:
    """Refuse what cannot be computed elsewhere."""
    name = stage.name
    if name in kernel.program.outputs:
        _refuse(f"`{name}` is a result, and must be stored whole", span, stages=(stage,))
    if any(name in r.stages for r in kernel.program.recurrences):
        _refuse(f"`{name}` recurs together with other stages", span, stages=(stage,))
    if name in kernel.touched:
        raise TooLate(
            error(
                "stage-touched",
                f"the loops of `{name}` have been changed already",
                span,
                "too late to run it online",
                help=f"write this line before the first one that changes a loop of `{name}`",
            ),
            lambda kernel: name in kernel.touched,
        )


def _axis(stage: Stage, d: Online, span: Span | None) -> Axis:
    """The reduction axis of a stage that the directive names: `m.j`, or `j` for all that have it."""
    assert stage.reduction is not None
    axes = {axis.name: axis for axis in stage.reduction.axes}
    own = [name for name in d.axes if "." in name and stage_of(name) == stage.name]
    for name in own or [name for name in d.axes if "." not in name]:
        if index_of(name) in axes:
            return axes[index_of(name)]
    _refuse(
        f"`{stage.name}` does not run over {' or '.join(f'`{name}`' for name in own or d.axes)}",
        span,
        "no such axis",
        f"it runs over {' and '.join(f'`{name}`' for name in axes)}; axes of other names are listed in front: "
        f"`online {d.axes[0]}, {stage.name}.{min(axes)} of ...`",
        (stage,),
    )


def _check_place(members: Sequence[Member], loop: For, path: Path, d: Online) -> None:
    around = [s for s in (*path, loop) if isinstance(s, For)]
    if any(s.stage == member.name for s in around for member in members):
        _refuse(
            f"`{loop.var}` is a loop of the reductions themselves",
            span_of(d, "at"),
            "not here",
            "`at` takes a loop that holds all that reads their results",
        )
    special = next((s for s in around if s.kind not in (SERIAL, PARALLEL)), None)
    if special:
        _refuse(
            f"`{special.var}` is {special.kind} already",
            span_of(d, "at"),
            "too late",
            "place stages before setting the kinds of loops",
        )


def _loop_names(kernel: Kernel, members: Sequence[Member], d: Online) -> tuple[str, str]:
    """The loop over blocks, with its stage, and the index in a block: by default, `j` gives `jo` and `ji`."""
    axis = members[0].axis.name
    outer, inner = d.into or (f"{axis}o", f"{axis}i")
    shared = new_loop_name(kernel, members[0].name, outer, span_of(d, "into", 0))
    for member in members:
        taken = {axis.name for axis in (*member.stage.axes, *member.reduction.axes)} | {outer}
        if inner in taken - {member.axis.name}:
            raise ScheduleError(
                error(
                    "loop-name",
                    f"`{member.name}` has a loop or index `{inner}` already",
                    span_of(d, "into", 1),
                    help="choose other names with `into`",
                )
            )
    return shared, inner


# ---------------------------------------------------------------- what depends on what


def _followers(kernel: Kernel, members: Sequence[Member]) -> list[Member]:
    try:
        return followers(kernel.program, members)
    except NotRescalable as refused:
        member = next(member for member in members if member.name == refused.stage)
        notes = (Note(member.stage.span, "this reduction"),) if member.stage.span else ()
        raise ScheduleError(
            error(
                "online-algebra",
                f"`{member.name}` cannot be computed online: {refused.reason}",
                member.span,
                "cannot be rescaled",
                help=refused.help,
                notes=notes,
            )
        ) from None


def _between(kernel: Kernel, members: Sequence[Member], d: Online) -> set[str]:
    """The stages that depend on a reduction of the group, and that the group reads. They are pointwise."""
    names = {member.name for member in members}
    late = dependents(kernel.program, names)
    found: set[str] = set()
    for stage in reversed(kernel.program.stages):
        readers = [reader.name for reader in readers_of(kernel.program, stage.name)]
        if stage.name not in late or not {*readers} & (names | found):
            continue
        other = next((reader for reader in readers if reader not in names | found), None)
        if other is not None:
            source = next(name for name in operands(stage) if name in names | late)
            _refuse(
                f"`{other}` reads `{stage.name}` too, which changes with `{source}` while the loop runs",
                span_of(d),
                help_text=f"`inline {stage.name}` before this line: then each reader computes its own",
                stages=(stage,),
            )
        _check_stage(kernel, stage, span_of(d))
        found.add(stage.name)
    return found


def _check_readers(kernel: Kernel, names: set[str], loop: For, d: Online) -> None:
    """Nothing outside of the loop may read what is computed in it; something in it does."""
    inside = {id(s) for s, _ in walk_stmt(loop.body)}
    read = set()
    for s, path in walk_stmt(kernel.body):
        used = {load.buffer for e in direct_exprs(s) for load in loads(e)} & names
        if id(s) in inside:
            read |= used
        elif used and not _belongs_to(s, names, path):
            reader = next(
                (p.stage for p in (s, *reversed(path)) if isinstance(p, For | Store | Accumulate)), ""
            )
            name = min(used)
            _refuse(
                f"`{reader}` reads `{name}` outside of `{loop.var}`",
                span_of(d, "at"),
                f"`{name}` would be known only here",
                f"bring `{reader}` into that loop first, by `compute_at` or `inline`",
            )
    if not read:
        _refuse(
            f"nothing in `{loop.var}` reads {' or '.join(f'`{name}`' for name in d.of)}",
            span_of(d, "at"),
            "not here",
            "`at` takes a loop of the stage that reads their results",
        )


def _belongs_to(s: object, names: set[str], path: Path) -> bool:
    """Whether a statement is part of the nest of one of these stages."""
    return any(isinstance(p, For | Store | Accumulate) and p.stage in names for p in (s, *path))
