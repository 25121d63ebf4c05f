"""Contractions: a sum of products of two tensors.

    C[b, i, j] = sum[k](A[b, i, k] * B[b, k, j])

Axes of both tensors and the result are *batches* (b), of one of them *rows* (i) and *columns* (j), and
those that are summed over *terms* (k). The last axis of the result is a column, along which vectors
run. A factor may be computed from its tensor, with tensors of fewer axes: `f32(B[k, j]) * scale[j]`.

Here stands which axis is which, and which kinds of sizes there are; `panels.py` has the schedules.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass
from enum import Enum
from math import prod

from te.ir.bounds import NO_FACTS
from te.ir.expr import FALSE, TRUE, Const, Expr, Load, Op, Var, both, compare, integer, mul
from te.ir.simplify import simplify
from te.ir.tensor import Axis, Program, Stage
from te.ir.visit import loads, variables
from te.schedule.auto.tiles import size_of
from te.schedule.intrinsics import DEVIATIONS, Meaning, match_term, shipped
from te.schedule.nest import loop_name
from te.target import Target

PACKED_ELEMENTS = 1 << 20  # of B from which on packing pays; smaller ones stay in the second-level cache
PACKED_ROWS = 256  # of A, below which a panel of B is not used often enough
FEW_ROWS = 32  # of A, up to which B is read once, and each element of it used too rarely to fetch it in tiles
STREAMED_ELEMENTS = 1 << 16  # of B, below which it stays in the caches whatever the order


class Regime(Enum):
    """Kinds of sizes that ask for different schedules."""

    FEW = "few rows: the speed is that of reading B"
    LARGE = "B does not stay in the caches, and is used often"
    OTHER = "any others"


@dataclass(frozen=True, slots=True)
class Contraction:
    """A stage that sums products of two tensors, with its axes by their roles."""

    stage: Stage
    left: Load
    right: Load  # of the two, what moves along the vectors
    batches: tuple[Axis, ...]
    rows: tuple[Axis, ...]
    columns: tuple[Axis, ...]
    terms: tuple[Axis, ...]

    def loop(self, axis: Axis, part: str = "") -> str:
        """The loop of an axis, or a part of it."""
        return loop_name(self.stage.name, axis.name + part)

    @property
    def is_turned(self) -> bool:
        """Whether neighbours in a vector are no neighbours in memory."""
        return self.right.index[-1] != Var(self.columns[-1].name)

    def may_ask(self, program: Program) -> bool:
        """Whether how B is best read is a question of sizes, which a condition can ask."""
        extents = [axis.extent for axis in (*self.rows, *self.columns, *self.terms)]
        is_asked = all(isinstance(extent, Const | Var) for extent in extents)
        return bool(self.rows) and is_asked and not self.is_turned and self.right.buffer not in program.params

    def condition(self, regime: Regime) -> Expr:
        """For which sizes it is of a regime."""
        rows = _product(self.rows)
        elements = _product((*self.columns, *self.terms))
        match regime:
            case Regime.FEW if self.batches:
                return FALSE
            case Regime.FEW:
                asked = both(
                    compare("<=", rows, integer(FEW_ROWS)),
                    compare(">=", elements, integer(STREAMED_ELEMENTS)),
                )
            case Regime.LARGE:
                asked = both(
                    compare(">=", elements, integer(PACKED_ELEMENTS)),
                    compare(">=", rows, integer(PACKED_ROWS)),
                )
            case Regime.OTHER:
                return TRUE
        return simplify(asked, NO_FACTS)

    def is_of(self, regime: Regime, asked: Regime) -> bool:
        """Whether it is of a regime; where the sizes do not tell, whether that is the one asked for."""
        decided = self.condition(regime)
        return bool(decided.value) if isinstance(decided, Const) else regime is asked


def contraction_of(stage: Stage, shared: Set[str] = frozenset()) -> Contraction | None:
    """The roles of a stage's axes, if it is a contraction with columns and terms.

    The axes `shared` with stages that it recurs with stay outside (`shared_axes`): there it is one
    contraction for each of their points.
    """
    reduction = stage.reduction
    if reduction is None or reduction.reducer != "sum" or reduction.where != TRUE or not stage.axes:
        return None
    factors = _factors(stage.value, shared)
    if factors is None:
        return None
    names = [{i.name for i in load.index if isinstance(i, Var)} - shared for load in factors]
    last = stage.axes[-1].name
    if (last in names[0]) == (last in names[1]):
        return None
    at = 0 if last in names[0] else 1
    left, right, in_right, in_left = factors[1 - at], factors[at], names[at], names[1 - at]
    terms = tuple(reduction.axes)
    if not all(axis.name in in_left & in_right for axis in terms):
        return None
    roles: dict[tuple[bool, bool], list[Axis]] = {(x, y): [] for x in (False, True) for y in (False, True)}
    for axis in [axis for axis in stage.axes if axis.name not in shared]:
        roles[axis.name in in_left, axis.name in in_right].append(axis)
    batches, rows, columns = (tuple(roles[key]) for key in ((True, True), (True, False), (False, True)))
    found = Contraction(stage, left, right, batches, rows, columns, terms)
    if roles[False, False] or len(in_right) < len(right.index):
        return None
    if not rows and (batches or found.is_turned):
        return None  # without rows, B is read once: dot products are rows of their own (`loops.py`)
    return found


def shared_axes(program: Program, stage: Stage) -> frozenset[str]:
    """The axes along which a stage recurs together with others, or with itself."""
    found = (r for r in program.recurrences if stage.name in r.stages)
    return frozenset(axis.name for recurrence in found for axis in recurrence.axes)


def _factors(e: Expr, shared: Set[str]) -> tuple[Load, Load] | None:
    """The two tensors of whose elements a product is, each with an index of different names."""
    if not (isinstance(e, Op) and e.op == "*" and e.dtype.kind in ("float", "int", "uint")):
        return None
    found = [_main_load(factor, shared) for factor in e.args]
    first, second = found
    return None if first is None or second is None else (first, second)


def _main_load(factor: Expr, shared: Set[str]) -> Load | None:
    """Of the tensors that a factor reads, that with the axes of all of them; any index may be `shared`."""
    reads = list(loads(factor))
    if not reads:
        return None
    main = max(reads, key=lambda load: len(load.index))
    index = [i for i in main.index if not variables(i) <= shared or isinstance(i, Const)]
    names = set(index)
    if not all(isinstance(i, Var) for i in index) or len(names) < len(index):
        return None
    others = variables(factor) <= variables(main)
    return main if others and all(load is main or set(load.index) < names for load in reads) else None


def instruction_for(c: Contraction, target: Target, fast_math: bool) -> Meaning | None:
    """The instruction of the target that sums up several terms at once, if it computes these."""
    if c.left.dtype.bits >= c.stage.tensor.dtype.bits or c.left.index[-1] != Var(c.terms[-1].name):
        return None  # its operands are narrower than the sum, and neighbours in memory
    if not c.rows:
        return None
    for meaning in shipped().values():
        if not target.satisfies(meaning.target) or (meaning.name in DEVIATIONS and not fast_math):
            continue
        if meaning.accumulator.dtype == c.stage.value.dtype and not match_term(
            meaning.term, c.stage.value, {}
        ):
            return meaning
    return None


def known_product(axes: Sequence[Axis]) -> int | None:
    """The number of points of axes, where it is known."""
    sizes = [size_of(axis) for axis in axes]
    return None if None in sizes else prod(n for n in sizes if n is not None)


def _product(axes: Sequence[Axis]) -> Expr:
    found: Expr = integer(1)
    for axis in axes:
        found = mul(found, axis.extent)
    return found
