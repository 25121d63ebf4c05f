"""Contractions with few rows and columns, and many terms: blocks share the terms, and a second launch adds the parts.

    C_part[p, i, j] = sum[k](A[i, 512 * p + k] * B[512 * p + k, j])    k < 512
    C[i, j]         = sum[p](C_part[p, i, j])

Where the tiles of a result are at most half as many as the multiprocessors, most of these would have nothing to do.
The parts are tiles of a product with one more axis (`tiles.py`), and their sums those of columns (`columns.py`).
CUTLASS calls it "split-K".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Generic

from te.ir.expr import Expr, Load, Var, add, integer, mul
from te.ir.tensor import Axis, Reduction, Stage
from te.ir.visit import loads, substitute
from te.schedule.auto.contraction import Contraction, contraction_of
from te.schedule.auto.gpu.enough import AnyTile, fills, multiprocessors_of, tiles_of
from te.schedule.auto.gpu.tensor_cores import MatrixProduct, instruction_for, terms_of_slice, tiles_for
from te.schedule.auto.gpu.tiles import Product, row_of, sizes_of_tiles
from te.schedule.auto.tiles import Plan, size_of
from te.schedule.directives import Rfactor, Split
from te.schedule.forms import Directive
from te.schedule.nest import loop_name
from te.target import Target

CHUNK, INSIDE = "chunk", "inside"  # loops over the parts, and over the terms of one
LEAST_TERMS = 256  # of a part: with fewer, its result is written and read about as often as its operands


def plans_for_parts(stage: Stage, target: Target, fast_math: bool) -> Iterator[Plan]:
    """Plans for the parts of a contraction of known sizes that has too few tiles; the stage itself is left as it is.

    They are tiles on tensor cores where there is an instruction for them.
    """
    c = contraction_of(stage)
    if c is None or not c.rows or len({x.buffer for x in loads(stage.value)}) < len(set(loads(stage.value))):
        return
    meaning, count = instruction_for(c, target, fast_math), multiprocessors_of(target)
    if meaning is not None:
        matrices = _sharing(c, c.rows[-1], tiles_for(c)[1:], lambda _: terms_of_slice(c), count)
        if matrices is not None:
            part = _of_parts(c, matrices.terms)
            yield _plan(c, part, matrices.terms, MatrixProduct(part, meaning, matrices.tile).plan([]))
        return
    scalars = _sharing(c, row_of(c), sizes_of_tiles(c)[-2:], lambda tile: tile.terms, count)
    if scalars is not None:
        part = _of_parts(c, scalars.terms)
        yield _plan(c, part, scalars.terms, Product(part, row_of(part), scalars.tile).plan([]))


def _plan(c: Contraction, part: Contraction, terms: int, product: Plan) -> Plan:
    """The lines that make the parts, of so many terms, and those of their products."""
    name = c.stage.name
    lines: list[Directive] = [
        Split(loop_name(name, c.terms[-1].name), by=terms, into=(CHUNK, INSIDE)),
        Rfactor(loop_name(name, CHUNK), of=name, as_=part.stage.name),
    ]
    return Plan((*lines, *product.lines), product.stages)


@dataclass(frozen=True, slots=True)
class _Sharing(Generic[AnyTile]):
    """The tile of a block, and how many terms it adds."""

    tile: AnyTile
    terms: int


def _sharing(
    c: Contraction,
    row: Axis,
    tiles: Sequence[AnyTile],
    slice_of: Callable[[AnyTile], int],
    multiprocessors: int,
) -> _Sharing[AnyTile] | None:
    """How the blocks of so many multiprocessors share the terms, by one of two tiles; None where they need not."""
    terms, column = size_of(c.terms[-1]), c.columns[-1]

    def parts(tile: AnyTile) -> int:
        count = tiles_of(c.stage, row, column, tile)
        return 0 if count is None else multiprocessors // count

    if terms is None:
        return None
    larger, smallest = tiles
    most = terms // LEAST_TERMS
    if min(parts(smallest), most) < 2:
        return None
    tile = larger if fills(row, column, larger) and parts(larger) <= most else smallest
    each, of_slice = -(-terms // min(parts(tile), most)), slice_of(tile)
    return _Sharing(tile, -(-each // of_slice) * of_slice)


def _of_parts(c: Contraction, size: int) -> Contraction:
    """The contraction of parts with so many terms each."""
    stage, (*others, last) = c.stage, c.terms
    assert stage.reduction is not None
    values: dict[str, Expr] = {last.name: add(mul(integer(size), Var(CHUNK)), Var(INSIDE))}
    count = -(-(size_of(last) or 0) // size)
    axes = (Axis(CHUNK, integer(count)), *stage.axes)
    terms = (*others, Axis(INSIDE, integer(size)))
    tensor = replace(stage.tensor, name=f"{stage.name}_part", shape=(integer(count), *stage.tensor.shape))
    reduction = Reduction(stage.reduction.reducer, terms, stage.reduction.where)
    new = Stage(tensor, axes, substitute(stage.value, values), reduction, stage.span)
    left, right = (substitute(load, values) for load in (c.left, c.right))
    assert isinstance(left, Load)
    assert isinstance(right, Load)
    return replace(c, stage=new, left=left, right=right, batches=(axes[0], *c.batches), terms=terms)
