"""Products of bytes of any signs, with zero points: made into those that an instruction computes (`compensate`).

The line is tried, and stays where the product that it leaves is one of an instruction of the target.
"""

from __future__ import annotations

from te.ir.expr import Var
from te.ir.tensor import Program, Stage
from te.ir.visit import loads
from te.schedule.auto.contraction import Contraction, contraction_of, instruction_for, known_product
from te.schedule.compensate import factors_of_bytes, product_of_bytes
from te.schedule.directives import Parallel, Reorder, Split, Vectorize
from te.schedule.forms import Directive
from te.schedule.nest import loop_name
from te.target import Target

FEWEST_ROWS = 4  # below, summing up a matrix that is not bound takes as long as the product itself


def byte_operands(program: Program) -> set[str]:
    """The tensors of bytes that are factors of sums: an instruction reads them in memory, so they stay stages."""
    found = [factors_of_bytes(stage) for stage in program.stages]
    return {factor.read.buffer for factors in found if not isinstance(factors, str) for factor in factors}


def may_compensate(stage: Stage) -> bool:
    return not isinstance(product_of_bytes(stage), str)


def is_worth_it(product: Stage, program: Program, target: Target, *, fast_math: bool) -> bool:
    """Whether the product that `compensate` left is one of an instruction, and large enough."""
    c = contraction_of(product)
    return c is not None and instruction_for(c, target, fast_math) is not None and _pays(c, program)


def _pays(c: Contraction, program: Program) -> bool:
    rows = known_product(c.rows)
    return rows is None or rows >= FEWEST_ROWS or c.right.buffer in program.params


def lines_for_column_sum(sums: Stage, target: Target) -> list[Directive]:
    """One line of the caches at a time down a matrix of bytes: short, for it is little work beside the product's.

    No lines where neighbours in a vector are no neighbours in memory: there a row is summed up.
    """
    (read,) = loads(sums.value)
    if not sums.axes or sums.reduction is None or read.index[-1] != Var(sums.axes[-1].name):
        return []
    column = loop_name(sums.name, sums.axes[-1].name)
    others = [loop_name(sums.name, axis.name) for axis in sums.axes[:-1]]
    terms = [loop_name(sums.name, axis.name) for axis in sums.reduction.axes]
    return [
        Split(column, by=target.vector_bits // 8),
        Reorder((*others, f"{column}o", *terms, f"{column}i")),
        Vectorize((f"{column}i",)),
        Parallel((others[0] if others else f"{column}o",)),
    ]
