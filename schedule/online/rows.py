"""A running value in the loop over blocks, and the values that one row of it needs there.

m_old    the running value before this block
m_scale  the factor by which sums that follow it are rescaled; 1 where `m_old` is -inf
m_safe   the value at which terms are taken: `m`, or 0 where `m` is -inf
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce

from te.ir.expr import Cast, Const, Expr, Load, Select, Var, compare, mul
from te.ir.tensor import Stage, Tensor, identity
from te.ir.types import DType
from te.schedule.online.algebra import Exponential

Index = tuple[Expr, ...]
Factors = tuple[Exponential, ...]


@dataclass(frozen=True, slots=True)
class Leader:
    """A running value. `scales` names a buffer for each product of factors that some sum is rescaled by."""

    stage: Stage
    old: str
    safe: str
    scales: Mapping[Factors, str]

    @property
    def name(self) -> str:
        return self.stage.name

    @property
    def dtype(self) -> DType:
        return self.stage.tensor.dtype

    @property
    def nothing(self) -> Const:
        """The value for no elements."""
        assert self.stage.reduction is not None
        return identity(self.stage.reduction.reducer, self.dtype)

    def now(self, row: Index) -> Expr:
        return Load(self.name, row, self.dtype)

    def before(self, row: Index) -> Expr:
        return Load(self.old, row, self.dtype)

    def is_nothing(self, value: Expr) -> Expr:
        return compare("==", value, self.nothing)

    def scale(self, factors: Factors, row: Index) -> Expr | None:
        """The factor from the value before this block to the one now; None if it is 1."""
        return Load(self.scales[factors], row, _dtype(factors)) if factors else None

    def before_rows(self) -> list[Stage]:
        """What is computed before the running value takes in a block."""
        return [row_stage(self.old, self.stage, self.now(_indices(self.stage)))]

    def after_rows(self) -> list[Stage]:
        """What is computed when the running value has taken in a block."""
        row = _indices(self.stage)
        made = [
            row_stage(name, self.stage, self._factor(factors, row)) for factors, name in self.scales.items()
        ]
        safe = Select(self.is_nothing(self.now(row)), Const(0.0, self.dtype), self.now(row))
        return [*made, row_stage(self.safe, self.stage, safe)]

    def _factor(self, factors: Factors, row: Index) -> Expr:
        dtype = _dtype(factors)
        product = reduce(mul, [cast(f.between(self.before(row), self.now(row)), dtype) for f in factors])
        return Select(self.is_nothing(self.before(row)), Const(1.0, dtype), product)


def row_stage(name: str, like: Stage, value: Expr) -> Stage:
    """A pointwise stage with the axes of another one."""
    return Stage(Tensor(name, value.dtype, like.tensor.shape), like.axes, value)


def cast(e: Expr, dtype: DType) -> Expr:
    return e if e.dtype == dtype else Cast(e, dtype)


def _indices(stage: Stage) -> Index:
    return tuple(Var(axis.name) for axis in stage.axes)


def _dtype(factors: Factors) -> DType:
    return factors[0].rate.dtype
