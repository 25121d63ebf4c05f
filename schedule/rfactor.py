"""`rfactor`: a reduction in two stages, with a partial result for each trip of one of its loops.

    for i: for ko: for ki: C[i] sum= X[i, 8*ko + ki]
->
    for i: for ko: for ki: P[ko, i] sum= X[i, 8*ko + ki]     # `ko` is a data loop of P
    for i: for ko:         C[i] sum= P[ko, i]

The nest of C becomes that of P, with all that lines have done to it; C gets a plain new one.
P is a stage of the program like any other, with a definition of its own: that of C, where the
loop is an axis and the reduction axes are what the loops make of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import count
from typing import NoReturn

from te.diagnostics import ScheduleError, Span, error
from te.ir.bounds import Facts, prove
from te.ir.expr import TRUE, Expr, Load, Select, Var, both, compare, conjuncts, integer, sub
from te.ir.loop import (
    Accumulate,
    Alloc,
    Buffer,
    Completed,
    For,
    If,
    Kernel,
    Let,
    Stmt,
    Store,
    bodies,
    direct_exprs,
    rewrite_stmt,
    seq,
    substitute_stmt,
    walk_stmt,
    with_bodies,
)
from te.ir.simplify import simplify
from te.ir.tensor import Axis, Program, Reduction, Stage, Tensor, identity
from te.ir.visit import children, loads, substitute, variables, with_children
from te.schedule.context import program_facts
from te.schedule.directives import Rfactor
from te.schedule.finalize.guards import tainted
from te.schedule.forms import span_of
from te.schedule.loops import Role, role
from te.schedule.names import Path, all_loops, find_loop, find_stage, index_of, new_stage_name, require_serial
from te.schedule.nest import nest_stage


def rfactor(kernel: Kernel, d: Rfactor) -> Kernel:
    stage = find_stage(kernel, d.of, span_of(d, "of"))
    step, path = _step_of(kernel, stage, d)
    loop, _ = find_loop(kernel, _full_name(kernel, stage, d.loop), span_of(d, "loop"))
    require_serial(loop, "rfactor", span_of(d, "loop"))
    if loop.var not in step.over:
        of_sum = ", ".join(f"`{name}`" for name in sorted(step.over))
        reason = f"`{loop.var}` is no loop of its {step.reducer}"
        _refuse(d, stage, reason, span_of(d, "loop"), f"the loops of its {step.reducer}: {of_sum}")
    name = new_stage_name(kernel, d.as_ or f"{stage.name}_part", span_of(d, "as_"))
    nest = next(s for s in path if isinstance(s, For))
    _check_alone(nest, stage, path, d)

    part = _partial_stage(kernel.program, stage, name, loop, step, path, d)
    whole = _whole_stage(stage, part)
    partial_nest = _partial_nest(nest, stage, part, loop, step, path, kernel.program)
    new_nest = nest_stage(whole)
    body = rewrite_stmt(kernel.body, lambda s: seq(partial_nest, new_nest) if s is nest else s)
    buffer = Buffer(name, part.tensor.dtype, part.tensor.shape, "global")
    stages = [x for s in kernel.program.stages for x in ((part, whole) if s is stage else (s,))]
    return replace(
        kernel,
        program=replace(kernel.program, stages=tuple(stages)),
        body=Alloc(buffer, body),
        touched=kernel.touched - {stage.name} | {name},
    )


def _refuse(d: Rfactor, stage: Stage, reason: str, span: Span | None, help: str | None = None) -> NoReturn:
    raise ScheduleError(
        error(
            "rfactor-refused",
            f"`{stage.name}` cannot be reduced in parts: {reason}",
            span,
            help=help or "`rfactor` takes a reduction loop of a stage that has a nest of its own",
        )
    )


# ---------------------------------------------------------------- what may be factored


def _full_name(kernel: Kernel, stage: Stage, name: str) -> str:
    """`C.ko` for `ko`, where `C` has such a loop."""
    full = f"{stage.name}.{name}"
    return full if any(loop.var == full for loop, _ in all_loops(kernel)) else name


def _step_of(kernel: Kernel, stage: Stage, d: Rfactor) -> tuple[Accumulate, Path]:
    """The one statement that computes the stage, and what stands around it."""
    writes = [(s, path) for s, path in walk_stmt(kernel.body) if _writes(s, stage.name)]
    if stage.reduction is None:
        _refuse(d, stage, "it is no reduction", span_of(d, "of"))
    match writes:
        case [(Accumulate(start=start) as step, path)] if start == identity(step.reducer, stage.tensor.dtype):
            foreign = [s.var for s in path if isinstance(s, For) and role(s, step) is Role.REPETITION]
            if not foreign:
                return step, path
            _refuse(
                d,
                stage,
                f"it is computed in the loop `{foreign[0]}` of another stage",
                span_of(d, "of"),
                f"write this line before that one, or `compute_root {stage.name}` first",
            )
    _refuse(d, stage, "it is not computed by one statement from its start on", span_of(d, "of"))


def _writes(s: Stmt, buffer: str) -> bool:
    return isinstance(s, Store | Accumulate) and s.buffer == buffer


def _check_alone(nest: For, stage: Stage, around: Path, d: Rfactor) -> None:
    """Refuse a nest whose loops other stages share, or that reads the unfinished results."""
    loops = {s.var for s in around if isinstance(s, For)}
    for s, path in walk_stmt(nest):
        if isinstance(s, Completed):
            _refuse(d, stage, "an epilogue waits for it in its loops", span_of(d, "of"))
        if any(load.buffer == stage.name for e in direct_exprs(s) for load in loads(e)):
            _refuse(d, stage, "it is read in its own loops", span_of(d, "of"))
        if isinstance(s, Store | Accumulate) and s.stage != stage.name:
            own = [x.var for x in path if isinstance(x, For) and role(x, s) is not Role.REPETITION]
            shared = [name for name in own if name in loops]
            if shared:
                _refuse(d, stage, f"`{s.stage}` shares its loop `{shared[0]}`", span_of(d, "of"))


# ---------------------------------------------------------------- the stages


def _partial_stage(
    program: Program, stage: Stage, name: str, loop: For, step: Accumulate, path: Path, d: Rfactor
) -> Stage:
    """The definition of the partial results: that of the stage, over what the loops make of its axes."""
    assert stage.reduction is not None
    loops = [s for s in path if isinstance(s, For) and s.var in step.over]
    names = _axis_names(program, stage, loops)
    sizes = {*program.sizes}
    if any(variables(s.extent) - sizes for s in loops):
        _refuse(d, stage, "the extent of one of its loops depends on another loop", span_of(d, "loop"))
    facts = program_facts(program)
    for s in loops:
        facts = facts.with_range(names[s.var], integer(0), sub(s.extent, integer(1)))

    terms = _terms(stage, step, path, loops, d)
    values = {axis: substitute(e, {v: Var(n) for v, n in names.items()}) for axis, e in terms.items()}
    where = _in_range(stage, values, facts)
    for guard in _tail_guards(step, path):
        here = simplify(substitute(guard, {v: Var(n) for v, n in names.items()}), facts)
        if not prove(here, facts.with_assumption(where)):
            where = both(where, here)
    where = both(where, substitute(stage.reduction.where, values))
    value = substitute(stage.value, values)
    axes = (Axis(names[loop.var], loop.extent), *stage.axes)
    rest = tuple(Axis(names[s.var], s.extent) for s in loops if s is not loop)
    shape = (loop.extent, *stage.tensor.shape)
    tensor = Tensor(name, stage.tensor.dtype, shape)
    if rest:
        return Stage(tensor, axes, value, Reduction(stage.reduction.reducer, rest, where), stage.span)
    zero = identity(stage.reduction.reducer, stage.tensor.dtype)
    return Stage(tensor, axes, value if where == TRUE else Select(where, value, zero), None, stage.span)


def _axis_names(program: Program, stage: Stage, loops: Sequence[For]) -> dict[str, str]:
    """A name of an axis for each loop."""
    taken = {*program.sizes, *(axis.name for axis in stage.axes)}
    names: dict[str, str] = {}
    for s in loops:
        numbered = (f"{index_of(s.var)}{n if n > 1 else ''}" for n in count(1))
        names[s.var] = next(n for n in numbered if n not in taken)
        taken.add(names[s.var])
    return names


def _terms(stage: Stage, step: Accumulate, path: Path, loops: Sequence[For], d: Rfactor) -> dict[str, Expr]:
    """What the loops make of each reduction axis: an expression of the loops' variables."""
    assert stage.reduction is not None
    axes = {axis.name for axis in (*stage.axes, *stage.reduction.axes)}
    found: dict[str, Expr] = {}
    lets: dict[str, Expr] = {}
    for s in path:
        if isinstance(s, Let):
            lets[s.var] = substitute(s.value, lets)
    if not _unify(stage.value, step.value, axes, found):
        _refuse(d, stage, "its term is not what its definition says", span_of(d, "of"))
    for axis in stage.reduction.axes:
        whole = [s for s in loops if index_of(s.var) == axis.name and s.extent == axis.extent]
        if axis.name not in found and whole:
            found[axis.name] = Var(whole[0].var)
    for condition in conjuncts(stage.reduction.where):
        for part in (c for s in path if isinstance(s, If) and s.of_terms for c in conjuncts(s.condition)):
            attempt = dict(found)
            if _unify(condition, part, axes, attempt):
                found = attempt
                break
    for axis in stage.reduction.axes:
        if axis.name not in found:
            _refuse(d, stage, f"nothing in its term tells which `{axis.name}` a trip adds", span_of(d, "of"))
    return {axis.name: substitute(found[axis.name], lets) for axis in stage.reduction.axes}


def _unify(pattern: Expr, e: Expr, axes: set[str], found: dict[str, Expr]) -> bool:
    """Whether `e` is `pattern` with expressions in the place of the axes, which go to `found`."""
    if isinstance(pattern, Var) and pattern.name in axes:
        return found.setdefault(pattern.name, e) == e
    inner = children(e)
    if type(pattern) is not type(e) or len(children(pattern)) != len(inner):
        return False
    if (with_children(pattern, inner) if inner else pattern) != e:
        return False
    return all(_unify(a, b, axes, found) for a, b in zip(children(pattern), inner, strict=True))


def _in_range(stage: Stage, values: Mapping[str, Expr], facts: Facts) -> Expr:
    """Where the loops overhang a reduction axis, they add nothing."""
    assert stage.reduction is not None
    where: Expr = TRUE
    for axis in stage.reduction.axes:
        inside = simplify(compare("<", values[axis.name], axis.extent), facts)
        if not prove(inside, facts):
            where = both(where, inside)
    return where


def _tail_guards(step: Accumulate, path: Path) -> list[Expr]:
    """What keeps the loops of a sum from taking a term twice: the tail of a split of a split.

    `8*ko + 3*ki + kii < K` alone does not, where `3*ki + kii < 8` overhangs into the next `ko`.
    """
    found: list[Expr] = []
    of_terms, lets = set(step.over), dict[str, Expr]()
    for s in path:
        if isinstance(s, Let):
            lets[s.var] = substitute(s.value, lets)
            if variables(s.value) & of_terms:
                of_terms.add(s.var)
        elif isinstance(s, If) and not s.of_terms:
            parts = [c for c in conjuncts(s.condition) if variables(c) & of_terms]
            found += [substitute(part, lets) for part in parts]
    return found


def _whole_stage(stage: Stage, part: Stage) -> Stage:
    """The stage as the reduction of its partial results."""
    assert stage.reduction is not None
    axis = part.axes[0]
    value = Load(part.name, (Var(axis.name), *(Var(a.name) for a in stage.axes)), stage.tensor.dtype)
    return replace(stage, value=value, reduction=Reduction(stage.reduction.reducer, (axis,), TRUE))


# ---------------------------------------------------------------- the nest of the parts


def _partial_nest(
    nest: For, stage: Stage, part: Stage, loop: For, step: Accumulate, path: Path, program: Program
) -> Stmt:
    """The stage's nest, computing its partial results."""
    new = _partial_step(stage, part, loop, step, path, program)
    for condition in reversed(_data_guards(step, path)):
        new = If(condition, new)
    body = _with_step(nest, step, new, tainted(path, set(step.over)))
    names = {s.var: f"{part.name}.{index_of(s.var)}" for s in path if isinstance(s, For | Let)}

    def renamed(s: Stmt) -> Stmt:
        match s:
            case For() if s.var in names:
                is_reduction = s.is_reduction and s.var != loop.var
                return replace(s, var=names[s.var], is_reduction=is_reduction, data_of=frozenset())
            case Let() if s.var in names:
                return replace(s, var=names[s.var])
            case Accumulate() if s.over & names.keys():
                return replace(s, over=frozenset(names.get(v, v) for v in s.over))
        return s

    return rewrite_stmt(substitute_stmt(body, {old: Var(new) for old, new in names.items()}), renamed)


def _partial_step(
    stage: Stage, part: Stage, loop: For, step: Accumulate, path: Path, program: Program
) -> Stmt:
    """The statement of the parts under the conditions on its terms, over the loops of the stage's nest."""
    loops = [s for s in path if isinstance(s, For) and s.var in step.over]
    names = _axis_names(program, stage, loops)
    values: dict[str, Expr] = {n: Var(v) for v, n in names.items()}
    values |= {axis.name: i for axis, i in zip(stage.axes, step.index, strict=True)}
    index = (Var(loop.var), *step.index)
    value = substitute(part.value, values)
    if part.reduction is None:
        return Store(part.name, index, value, part.name)
    over = step.over - {loop.var}
    s: Stmt = Accumulate(part.name, index, step.reducer, value, over, step.start, part.name)
    for condition in reversed(conjuncts(substitute(part.reduction.where, values))):
        s = If(condition, s, of_terms=True) if condition != TRUE else s
    return s


def _data_guards(step: Accumulate, path: Path) -> list[Expr]:
    """The conditions around a step that say which elements there are, and nothing about terms."""
    of_terms = tainted(path, set(step.over))
    parts = [c for s in path if isinstance(s, If) and not s.of_terms for c in conjuncts(s.condition)]
    return [c for c in parts if not variables(c) & of_terms]


def _with_step(s: Stmt, step: Accumulate, new: Stmt, of_terms: set[str], around: tuple[If, ...] = ()) -> Stmt:
    """`s` with another statement in the place of `step`, without the conditions around that.

    Other statements, of stages computed at its loops, keep them. What names a part of a term's index
    goes, too: it lies in its range only under those conditions.
    """
    if s is step:
        return new
    if all(x is not step for x, _ in walk_stmt(s)):
        for guard in reversed(around):
            s = replace(guard, body=s)
        return s
    match s:
        case If():
            return _with_step(s.body, step, new, of_terms, (*around, s))
        case Let() if s.var in of_terms:
            return substitute_stmt(_with_step(s.body, step, new, of_terms, around), {s.var: s.value})
    return with_bodies(s, tuple([_with_step(b, step, new, of_terms, around) for b in bodies(s)]))
