"""Tensor IR: what an op computes, with nothing said about how.

Meaning
-------
A `Program` is a list of stages in dependence order. A `Stage` defines every
element of one tensor: for each point of the box `axes` (every index starts at
0), `tensor[axes] = value`. With a `Reduction`, the element is the reducer's
combination of `value` over the box of the reduction axes, trimmed to the points
where `where` holds, in ascending order of those axes (the last one fastest),
starting from the reducer's identity. A schedule may change that order.

A floating-point `sum` whose term is a product, `a * b`, accumulates it with one
rounding, `fma(a, b, total)`; every other reducer and term rounds as written.

A `Recurrence` names stages that read each other. Its axes are shared loops: for each
of their points, in lexicographic order, its stages run in the order of the program,
each over its other axes (a stage with a shorter extent sits out the points beyond it).
A read of such a stage is of an earlier point, or of an earlier stage at the same one.

Reads lie inside their tensors wherever they are evaluated: the elaborator proved
it. Sizes are run-time values unless they were fixed; they are at least 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from te.diagnostics import Span
from te.ir.expr import TRUE, Const, Expr, Op, integer
from te.ir.types import DType, integer_limits

REDUCERS = ("sum", "prod", "max", "min", "any", "all")


@dataclass(frozen=True, slots=True)
class Axis:
    """An index and how many values it takes, from 0."""

    name: str
    extent: Expr


@dataclass(frozen=True, slots=True)
class Tensor:
    name: str
    dtype: DType
    shape: tuple[Expr, ...]
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Reduction:
    reducer: str
    axes: tuple[Axis, ...]
    where: Expr = TRUE


@dataclass(frozen=True, slots=True)
class Stage:
    """One tensor's definition. The stage and the tensor share their name."""

    tensor: Tensor
    axes: tuple[Axis, ...]
    value: Expr
    reduction: Reduction | None = None
    span: Span | None = field(default=None, compare=False, repr=False)

    @property
    def name(self) -> str:
        return self.tensor.name


@dataclass(frozen=True, slots=True)
class Recurrence:
    """Stages that recur together over shared axes. They are neighbours in the program."""

    axes: tuple[Axis, ...]  # outermost first
    stages: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Requirement:
    """A precondition on the sizes, checked once per call."""

    condition: Expr
    text: str
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Table:
    """A constant tensor, its values in row-major order."""

    tensor: Tensor
    values: tuple[int | float | bool, ...]


@dataclass(frozen=True, slots=True)
class Call:
    """A call of an op whose stages were put in: what the op's names are called in this program.

    `file` and `op` say which op it is. `names` has all of the op's tensors, `inputs` says which of
    them were given; `indices` has only those that were renamed. `sizes` are in terms of this program's.
    """

    file: str
    op: str
    results: tuple[str, ...]  # as this program calls them
    names: tuple[tuple[str, str], ...]
    inputs: tuple[str, ...]  # as the op calls them
    indices: tuple[tuple[str, str], ...]
    sizes: tuple[tuple[str, Expr], ...]
    consts: tuple[tuple[str, int | float | bool], ...]
    dtypes: tuple[tuple[str, DType], ...]


@dataclass(frozen=True, slots=True)
class Check:
    """A read whose index depends on data: where it may lie outside, the call fails.

    `stage` names a scalar of type i64: the smallest position at which the index lies
    outside, or `NOWHERE`. A position counts the points of the box `axes` in row-major
    order. The read itself gives 0 there, and the results are discarded.
    """

    stage: str
    read: str  # as written
    tensor: str
    axis: int
    extent: Expr
    axes: tuple[Axis, ...]
    span: Span | None = field(default=None, compare=False, repr=False)


NOWHERE = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class Program:
    """An op, ready to be scheduled.

    `sizes` are the run-time sizes, in order of first appearance; `fixed` those
    that the build fixed, with their values (they occur in no expression).
    `results` names tensors that stages define. `params` are the inputs that are bound once
    and used by many calls. `dtypes` says what the op's dtype variables stand for, `calls`
    which ops' stages were put in; nothing that is computed depends on either.
    """

    name: str
    doc: str
    sizes: tuple[str, ...]
    fixed: tuple[tuple[str, int], ...]
    consts: tuple[tuple[str, int | float | bool], ...]
    inputs: tuple[Tensor, ...]
    results: tuple[str, ...]
    stages: tuple[Stage, ...]
    requirements: tuple[Requirement, ...]
    recurrences: tuple[Recurrence, ...] = ()
    tables: tuple[Table, ...] = ()
    checks: tuple[Check, ...] = ()
    params: tuple[str, ...] = ()
    dtypes: tuple[tuple[str, DType], ...] = field(default=(), compare=False, repr=False)
    calls: tuple[Call, ...] = field(default=(), compare=False, repr=False)
    span: Span | None = field(default=None, compare=False, repr=False)

    @property
    def outputs(self) -> tuple[str, ...]:
        """The stages whose tensors leave the program: the results, then the checks."""
        return (*self.results, *(c.stage for c in self.checks))

    def stage(self, name: str) -> Stage:
        return next(s for s in self.stages if s.name == name)

    def groups(self) -> list[tuple[Recurrence | None, tuple[Stage, ...]]]:
        """The stages in order: each alone, or with those that it recurs with."""
        member = {name: r for r in self.recurrences for name in r.stages}
        found: list[tuple[Recurrence | None, tuple[Stage, ...]]] = []
        for stage in self.stages:
            recurrence = member.get(stage.name)
            if recurrence is None:
                found.append((None, (stage,)))
            elif stage.name == recurrence.stages[0]:
                found.append((recurrence, tuple(self.stage(n) for n in recurrence.stages)))
        return found

    def tensor(self, name: str) -> Tensor:
        """The input, table or defined tensor of that name."""
        for tensor in (*self.inputs, *(t.tensor for t in self.tables)):
            if tensor.name == name:
                return tensor
        return self.stage(name).tensor


def rank_in_memory(shape: Sequence[Expr]) -> int:
    """How many axes say where an element lies: all but those at the end that are known to have one index."""
    rank = len(shape)
    while rank and shape[rank - 1] == integer(1):
        rank -= 1
    return rank


def identity(reducer: str, dtype: DType) -> Const:
    """What a reducer gives over no elements."""
    match reducer:
        case "sum":
            return Const(0.0 if dtype.is_float else 0, dtype)
        case "prod":
            return Const(1.0 if dtype.is_float else 1, dtype)
        case "any":
            return Const(False, dtype)
        case "all":
            return Const(True, dtype)
        case "max":
            return Const(-float("inf") if dtype.is_float else integer_limits(dtype)[0], dtype)
        case "min":
            return Const(float("inf") if dtype.is_float else integer_limits(dtype)[1], dtype)
    raise ValueError(f"no reducer is called {reducer!r}")


def fused_factors(reducer: str, term: Expr) -> tuple[Expr, Expr] | None:
    """The factors of a term that a float `sum` accumulates as `fma(a, b, total)`, else None."""
    if reducer == "sum" and isinstance(term, Op) and term.op == "*" and term.dtype.is_float:
        return term.args[0], term.args[1]
    return None
