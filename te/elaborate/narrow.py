"""Narrow floats: what is written in f16, bf16 and f8 is computed in f32 and rounded when it is stored.

While an op is elaborated, an expression on f16 has the dtype f16, so that types are checked as they
are written. `compute_in_f32` then says what that means, once for all stages: reads are cast to f32,
operators work on f32, and what a tensor holds, a written cast gives or a function takes is cast back.
A reduction accumulates in f32. One that was lifted stays unrounded, as part of an expression; one
that defines a tensor becomes two stages, `Y_sum` in f32 and `Y`.

A value that nothing has computed with (read, chosen by `where`, a literal that the type has) is moved
as it is: a transpose in f16 converts nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

from te.diagnostics import Span, error
from te.elaborate.scope import Scope
from te.ir.expr import Cast, Const, Expr, Load, Op, Select, Var
from te.ir.floats import is_value_of, nearest
from te.ir.tensor import Stage, Tensor
from te.ir.types import F32, DType
from te.ir.visit import variables


def compute_in_f32(scope: Scope) -> None:
    """Rewrite the stages of an elaborated op so that no operator has narrow operands."""
    lifted = {
        s.name
        for s in scope.stages
        if s.tensor.dtype.is_narrow and s.reduction is not None and s.name not in scope.tensors
    }
    meaning = _Meaning(lifted)
    scope.stages[:] = [new for s in scope.stages for new in _stages(scope, meaning, s)]
    scope.requirements[:] = [replace(r, condition=meaning.wide(r.condition)) for r in scope.requirements]


def refuse_overflow(scope: Scope, value: Expr, dtype: DType, span: Span) -> None:
    """A literal alone must fit the narrow type that is to hold it; what is computed may overflow."""
    if not dtype.is_narrow or not isinstance(value, Const):
        return
    if math.isfinite(value.value) and not math.isfinite(nearest(value.value, dtype)):
        or_infinity = ", or write `inf`" if math.isinf(nearest(math.inf, dtype)) else ""
        scope.fail(
            error(
                "literal-out-of-range",
                f"{value.value:g} does not fit {dtype}",
                span,
                help=f"compute in `f32`{or_infinity}",
            )
        )


def _stages(scope: Scope, meaning: _Meaning, s: Stage) -> Iterator[Stage]:
    reduction = s.reduction
    if reduction is not None:
        reduction = replace(reduction, where=meaning.wide(reduction.where))
    if not s.tensor.dtype.is_narrow:
        yield replace(s, value=meaning.wide(_kept(s)), reduction=reduction)
    elif reduction is None:
        yield replace(s, value=meaning.stored(s.value, s.tensor.dtype))
    elif s.name in meaning.lifted:
        yield replace(s, tensor=_in_f32(s.tensor), value=meaning.wide(s.value), reduction=reduction)
    else:
        total = _total(scope, replace(s, value=meaning.wide(s.value), reduction=reduction))
        yield total
        rounded = Cast(Load(total.name, tuple(Var(a.name) for a in total.axes), F32), s.tensor.dtype)
        yield replace(s, value=rounded, reduction=None)


def _kept(s: Stage) -> Expr:
    """The value of a stage without a cast to f32 around it, which is what it is computed in."""
    match s.value:
        case Cast(value=value, dtype=dtype) if dtype == F32 and value.dtype.is_narrow and not s.reduction:
            return value
    return s.value


def _in_f32(tensor: Tensor) -> Tensor:
    return replace(tensor, dtype=F32)


def _total(scope: Scope, s: Stage) -> Stage:
    """A stage of its own for the reduction that defines a tensor, over the indices that it uses."""
    assert s.reduction is not None
    name = scope.fresh_name(f"{s.name}_{s.reduction.reducer}")
    if s.span is not None:
        scope.places[name] = s.span
    axes = s.axes
    recurrence = next((r for r in scope.recurrences if s.name in r.stages), None)
    if recurrence is None:
        used = variables(s.value) | variables(s.reduction.where)
        axes = tuple(a for a in axes if a.name in used)
    else:  # it runs in the shared loops, right before the tensor
        at = recurrence.stages.index(s.name)
        stages = (*recurrence.stages[:at], name, *recurrence.stages[at:])
        scope.recurrences[scope.recurrences.index(recurrence)] = replace(recurrence, stages=stages)
    tensor = Tensor(name, F32, tuple(a.extent for a in axes), s.tensor.span)
    return replace(s, tensor=tensor, axes=axes)


class _Meaning:
    """What expressions with narrow dtypes mean. Leaves what has that form already as it is."""

    def __init__(self, lifted: set[str]):
        """`lifted`: reductions of narrow floats whose results stand in f32."""
        self.lifted = lifted
        # By identity: the stages keep their expressions alive. Without these, nests take exponential time.
        self._wide: dict[int, Expr] = {}
        self._exact: dict[int, Expr | None] = {}

    def stored(self, e: Expr, dtype: DType) -> Expr:
        """A value as a tensor of a narrow type holds it."""
        exact = self.exact(e)
        return Cast(self.wide(e), dtype) if exact is None else exact

    def wide(self, e: Expr) -> Expr:
        """The value, in f32 where its dtype is narrow."""
        if id(e) not in self._wide:
            exact = self.exact(e) if e.dtype.is_narrow else None
            if exact is None:
                self._wide[id(e)] = self._computed(e)
            elif isinstance(exact, Const):
                self._wide[id(e)] = Const(exact.value, F32)
            else:
                self._wide[id(e)] = Cast(exact, F32)
        return self._wide[id(e)]

    def _computed(self, e: Expr) -> Expr:
        dtype = F32 if e.dtype.is_narrow else e.dtype
        match e:
            case Var():
                return e
            case Const(value=value):
                return Const(value, dtype)
            case Load(buffer=buffer, index=index):
                return Load(buffer, tuple(map(self.wide, index)), dtype)
            case Op(op=op, args=args):
                return Op(op, tuple(map(self.wide, args)), dtype)
            case Select(condition=c, then=a, otherwise=b):
                return Select(self.wide(c), self.wide(a), self.wide(b))
            case Cast(value=value):
                return Cast(self._operand(value), dtype)

    def exact(self, e: Expr) -> Expr | None:
        """A value of a narrow dtype as one of that very type; None for an f32 that was not rounded."""
        if id(e) not in self._exact:
            self._exact[id(e)] = self._as_it_is(e)
        return self._exact[id(e)]

    def _as_it_is(self, e: Expr) -> Expr | None:
        match e:
            case Const(value=value):
                return e if is_value_of(value, e.dtype) else None
            case Load(buffer=buffer, index=index):
                return None if buffer in self.lifted else Load(buffer, tuple(map(self.wide, index)), e.dtype)
            case Select(condition=c, then=then, otherwise=otherwise):
                a, b = self.exact(then), self.exact(otherwise)
                return None if a is None or b is None else Select(self.wide(c), a, b)
            case Cast(value=value, dtype=dtype):
                operand = self._operand(value)
                return operand if operand.dtype == dtype else Cast(operand, dtype)
        return None

    def _operand(self, e: Expr) -> Expr:
        """What a cast converts: nothing is converted to f32 first that need not be."""
        exact = self.exact(e) if e.dtype.is_narrow else None
        return self.wide(e) if exact is None else exact
