"""Reductions of a whole tensor to one number: partial results for chunks of it, in parallel.

y = sum[i, j](X[i, j])
"""

from __future__ import annotations

from collections.abc import Iterator

from te.ir.expr import Const
from te.ir.tensor import Program, Stage
from te.schedule.auto.loops import SUMS, lanes_of, parallel_work
from te.schedule.directives import Fuse, Parallel, Reorder, Rfactor, Split, Vectorize
from te.schedule.forms import Directive
from te.schedule.nest import loop_name
from te.target import Target

CHUNK = 8192  # elements along the last axis
CHUNK_ROWS = 32  # of which a chunk has as many, where there are axes before it


def lines_for_total(stage: Stage, program: Program, target: Target) -> Iterator[list[Directive]]:
    """Lines for a reduction to one number, in chunks where there is work for threads."""
    if stage.axes or stage.reduction is None or not stage.reduction.axes:
        return
    last = stage.reduction.axes[-1]
    width = SUMS * lanes_of(stage, target)
    if isinstance(last.extent, Const) and last.extent.value < width:
        return
    if parallel_work(stage):
        yield _in_chunks(stage, width)
    yield [Vectorize((loop_name(stage.name, last.name),), by=width)]


def _in_chunks(stage: Stage, width: int) -> list[Directive]:
    assert stage.reduction is not None
    first, last = stage.reduction.axes[0].name, stage.reduction.axes[-1].name
    between = [axis.name for axis in stage.reduction.axes[1:-1]]
    part = f"{stage.name}_part"

    def loop(name: str, of: str = stage.name) -> str:
        return loop_name(of, name)

    lines: list[Directive] = [Split(loop(last), by=CHUNK)]
    chunk = loop(last + "o")
    if first != last:
        lines.append(Split(loop(first), by=CHUNK_ROWS))
        order = [first + "o", last + "o", first + "i", *between, last + "i"]
        lines.append(Reorder(tuple(map(loop, order))))
        lines.append(Fuse((loop(first + "o"), loop(last + "o")), "chunk"))
        chunk = loop("chunk")
    name = chunk.rsplit(".", 1)[1]
    return [
        *lines,
        Vectorize((loop(last + "i"),), by=width),
        Rfactor(chunk, of=stage.name, as_=part),
        Parallel((loop(name, part),)),
        Vectorize((loop(name),), by=width),
    ]
