"""`compensate`: a sum of products of bytes without their zero points, and what makes up for these.

    C[i, j] = sum[k]((i32(A[i, k]) - a) * (i32(B[k, j]) - b))        # A and B in i8
->
    C_left[i, k]    = u8(A[i, k]) ^ 128                              # A + 128, in u8
    C_right_sum[j]  = sum[k](i32(B[k, j]))
    C_left_sum[i]   = sum[k](i32(C_left[i, k]))
    C_product[i, j] = sum[k](i32(C_left[i, k]) * i32(B[k, j]))
    C[i, j] = C_product[i, j] - (a + 128)*C_right_sum[j] - b*C_left_sum[i] + K*((a + 128)*b)

What remains of K³ operations is the product of u8 and i8, for which CPUs have instructions. Integers wrap
around, so both sides are the same number, whatever they hold. Jacob et al., "Quantization and Training of
Neural Networks for Efficient Integer-Arithmetic-Only Inference" (2018), section 2.3.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NoReturn

from te.diagnostics import ScheduleError, Span, error
from te.ir.expr import TRUE, Cast, Const, Expr, Load, Op, Var, integer, mul
from te.ir.loop import Alloc, Buffer, Kernel, seq
from te.ir.tensor import Axis, Program, Reduction, Stage, Tensor
from te.ir.types import I8, I32, U8
from te.ir.visit import variables
from te.schedule.directives import Compensate
from te.schedule.forms import span_of
from te.schedule.names import TooLate, find_stage, new_stage_name
from te.schedule.nest import nest_stage
from te.schedule.placement import replace_nests

SHIFT = 128  # between i8 and the u8 of the same order


def compensate(kernel: Kernel, d: Compensate) -> Kernel:
    span = span_of(d, "stage")
    stage = find_stage(kernel, d.stage, span)
    found = product_of_bytes(stage)
    if isinstance(found, str):
        _refuse(stage, found, span)
    if any(stage.name in r.stages for r in kernel.program.recurrences):
        _refuse(stage, "it is part of a recurrence", span)
    if stage.name in kernel.touched:
        raise _too_late(stage, span)
    stages = list(_stages(stage, found, kernel.program))
    for new in stages[:-1]:
        new_stage_name(
            kernel, new.name, span, "that is what the line calls a stage that it makes: rename yours"
        )
    nests = seq(*[nest_stage(s) for s in stages])
    body = replace_nests(kernel.body, {frozenset({stage.name}): nests})
    for new in stages[:-1]:
        body = Alloc(Buffer(new.name, new.tensor.dtype, new.tensor.shape, "global"), body)
    after = [x for s in kernel.program.stages for x in (stages if s is stage else (s,))]
    return replace(kernel, program=replace(kernel.program, stages=tuple(after)), body=body)


def _refuse(stage: Stage, reason: str, span: Span | None) -> NoReturn:
    raise ScheduleError(
        error(
            "compensate-refused",
            f"nothing can be taken out of `{stage.name}`: {reason}",
            span,
            help="`compensate` takes a sum of `(i32(A[..]) - a) * (i32(B[..]) - b)`, with A and B in u8 or i8",
        )
    )


def _too_late(stage: Stage, span: Span | None) -> TooLate:
    name = stage.name
    return TooLate(
        error(
            "stage-touched",
            f"the loops of `{name}` have been changed already",
            span,
            "too late to compensate it",
            help=f"write this line before the first one that changes a loop of `{name}`",
        ),
        lambda kernel: name in kernel.touched,
    )


# ---------------------------------------------------------------- what it is


@dataclass(frozen=True, slots=True)
class Factor:
    """`i32(read) - zero`."""

    read: Load
    zero: Expr | None


@dataclass(frozen=True, slots=True)
class ProductOfBytes:
    """A sum of `(i32(A[..]) - a) * (i32(B[..]) - b)`. Where both have the same dtype, `left` gets another."""

    left: Factor
    right: Factor

    @property
    def shift(self) -> int:
        """What is added to `left`, so that one factor is u8 and the other i8."""
        if self.left.read.dtype != self.right.read.dtype:
            return 0
        return SHIFT if self.left.read.dtype == I8 else -SHIFT


def product_of_bytes(stage: Stage) -> ProductOfBytes | str:
    """What `compensate` takes of a stage, or why that is nothing."""
    factors = factors_of_bytes(stage)
    if isinstance(factors, str):
        return factors
    left, right = factors
    if stage.axes and stage.axes[-1].name in variables(left.read):
        left, right = right, left  # the other one is read in vectors, and a copy of it would be packed again
    found = ProductOfBytes(left, right)
    if not found.shift and left.zero is None and right.zero is None:
        return "it is a product of u8 and i8 without zero points already"
    return found


def factors_of_bytes(stage: Stage) -> tuple[Factor, Factor] | str:
    """The factors of the terms of a stage in the order in which they are written, or why it is no sum of such."""
    reduction, value = stage.reduction, stage.value
    if reduction is None or reduction.reducer != "sum" or reduction.where != TRUE:
        return "it is no sum without a condition"
    if not isinstance(value, Op) or value.op != "*" or value.dtype != I32:
        return "its terms are no products in i32"
    terms = {axis.name for axis in reduction.axes}
    first, second = (_factor(side, terms) for side in value.args)
    if first is None or second is None:
        return "a factor is no byte less a zero point that is the same for all terms"
    return first, second


def _factor(e: Expr, terms: set[str]) -> Factor | None:
    match e:
        case Cast(value=Load() as read, dtype=dtype) if dtype == I32 and read.dtype in (U8, I8):
            return Factor(read, None)
        case Op(op="-", args=(minuend, zero)) if not variables(zero) & terms:
            factor = _factor(minuend, terms)
            return Factor(factor.read, zero) if factor and factor.zero is None else None
    return None


# ---------------------------------------------------------------- what becomes of it


def _stages(stage: Stage, found: ProductOfBytes, program: Program) -> Iterator[Stage]:
    """The new stages, and last the stage itself, which is a sum no more."""
    assert stage.reduction is not None
    name, axes = stage.name, stage.axes
    left, right = found.left.read, found.right.read
    if found.shift:
        shifted = _shifted(f"{name}_left", program.tensor(left.buffer))
        yield shifted
        left = Load(shifted.name, left.index, shifted.tensor.dtype)
    product = _sum(f"{name}_product", stage, axes, _times(_wide(left), _wide(right)))
    value: Expr = _read(product)
    zero_left = _plus(found.left.zero, found.shift)
    zero_right = found.right.zero
    if zero_left is not None:
        sums = _sum(f"{name}_right_sum", stage, _axes_of(right, stage), _wide(right))
        yield sums
        value = _minus(value, _times(zero_left, _read(sums)))
    if zero_right is not None:
        sums = _sum(f"{name}_left_sum", stage, _axes_of(left, stage), _wide(left))
        yield sums
        value = _minus(value, _times(zero_right, _read(sums)))
    if zero_left is not None and zero_right is not None:
        terms: Expr = integer(1)
        for axis in stage.reduction.axes:
            terms = mul(terms, axis.extent)
        value = Op("+", (value, _times(Cast(terms, I32), _times(zero_left, zero_right))), I32)
    yield product
    yield replace(stage, value=value, reduction=None)


def _shifted(name: str, tensor: Tensor) -> Stage:
    """A copy of a tensor in the other dtype, with its numbers in the same order."""
    axes = tuple(Axis(f"d{n}", extent) for n, extent in enumerate(tensor.shape))
    read: Expr = Load(tensor.name, tuple(Var(axis.name) for axis in axes), tensor.dtype)
    if tensor.dtype == I8:
        return _stage(name, axes, Op("^", (Cast(read, U8), Const(SHIFT, U8)), U8))
    return _stage(name, axes, Cast(Op("^", (read, Const(SHIFT, U8)), U8), I8))


def _sum(name: str, of: Stage, axes: tuple[Axis, ...], value: Expr) -> Stage:
    assert of.reduction is not None
    return replace(_stage(name, axes, value), reduction=Reduction("sum", of.reduction.axes))


def _stage(name: str, axes: tuple[Axis, ...], value: Expr) -> Stage:
    return Stage(Tensor(name, value.dtype, tuple(axis.extent for axis in axes)), axes, value)


def _axes_of(read: Load, stage: Stage) -> tuple[Axis, ...]:
    return tuple(axis for axis in stage.axes if axis.name in variables(read))


def _read(stage: Stage) -> Load:
    return Load(stage.name, tuple(Var(axis.name) for axis in stage.axes), stage.tensor.dtype)


def _wide(e: Expr) -> Expr:
    return Cast(e, I32)


def _times(a: Expr, b: Expr) -> Expr:
    return Op("*", (a, b), I32)


def _minus(a: Expr, b: Expr) -> Expr:
    return Op("-", (a, b), I32)


def _plus(zero: Expr | None, shift: int) -> Expr | None:
    if not shift:
        return zero
    return Const(shift, I32) if zero is None else Op("+", (zero, Const(shift, I32)), I32)
