"""Contractions with few rows and columns, and many terms: blocks share the terms, and a second launch adds the parts.

    C_part[p, i, j] = sum[k](A[i, 512 * p + k] * B[512 * p + k, j])    k < 512
    C[i, j]         = sum[p](C_part[p, i, j])

Where the tiles of a result are at most half as many as the multiprocessors, most of these would have nothing to do.
The parts are tiles of a product with one more axis (`tiles.py`), and their sums those of columns (`columns.py`).
CUTLASS calls it "split-K".
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from te.ir.expr import Expr, Load, Var, add, integer, mul
from te.ir.tensor import Axis, Reduction, Stage
from te.ir.visit import loads, substitute
from te.schedule.auto.contraction import Contraction, contraction_of
from te.schedule.auto.gpu.enough import MULTIPROCESSORS, fills, tiles_of
from te.schedule.auto.gpu.tiles import Product, Tile, row_of, sizes_of_tiles
from te.schedule.auto.tiles import Plan, size_of
from te.schedule.directives import Rfactor, Split
from te.schedule.forms import Directive
from te.schedule.nest import loop_name

CHUNK, INSIDE = "chunk", "inside"  # loops over the parts, and over the terms of one
LEAST_TERMS = 256  # of a part: with fewer, its result is written and read about as often as its operands


def plans_for_parts(stage: Stage) -> Iterator[Plan]:
    """Plans for the parts of a contraction of known sizes that has too few tiles; the stage itself is left as it is."""
    c = contraction_of(stage)
    if c is None or not c.rows or len({x.buffer for x in loads(stage.value)}) < len(set(loads(stage.value))):
        return
    sharing = _sharing(c)
    if sharing is None:
        return
    tile, size = sharing
    part = f"{stage.name}_part"
    terms = loop_name(stage.name, c.terms[-1].name)
    lines: list[Directive] = [
        Split(terms, by=size, into=(CHUNK, INSIDE)),
        Rfactor(loop_name(stage.name, CHUNK), of=stage.name, as_=part),
    ]
    product = Product(_of_parts(c, part, size), row_of(c), tile).plan([])
    yield Plan((*lines, *product.lines), product.stages)


def _sharing(c: Contraction) -> tuple[Tile, int] | None:
    """The tile of a block and how many terms it has; None where blocks need not share them."""
    terms = size_of(c.terms[-1])

    def parts(tile: Tile) -> int:
        tiles = tiles_of(c.stage, row_of(c), c.columns[-1], tile)
        return 0 if tiles is None else MULTIPROCESSORS // tiles

    if terms is None:
        return None

    *_, larger, smallest = sizes_of_tiles(c)
    most = terms // LEAST_TERMS
    if min(parts(smallest), most) < 2:
        return None
    fits = fills(row_of(c), c.columns[-1], larger)
    tile = larger if fits and parts(larger) <= most else smallest
    each = -(-terms // min(parts(tile), most))
    return tile, -(-each // tile.terms) * tile.terms


def _of_parts(c: Contraction, name: str, size: int) -> Contraction:
    """The contraction of parts with so many terms each."""
    stage, (*others, last) = c.stage, c.terms
    assert stage.reduction is not None
    values: dict[str, Expr] = {last.name: add(mul(integer(size), Var(CHUNK)), Var(INSIDE))}
    count = -(-(size_of(last) or 0) // size)
    axes = (Axis(CHUNK, integer(count)), *stage.axes)
    terms = (*others, Axis(INSIDE, integer(size)))
    tensor = replace(stage.tensor, name=name, shape=(integer(count), *stage.tensor.shape))
    reduction = Reduction(stage.reduction.reducer, terms, stage.reduction.where)
    new = Stage(tensor, axes, substitute(stage.value, values), reduction, stage.span)
    left, right = (substitute(load, values) for load in (c.left, c.right))
    assert isinstance(left, Load)
    assert isinstance(right, Load)
    return replace(c, stage=new, left=left, right=right, batches=(axes[0], *c.batches), terms=terms)
