"""Contractions: tiles of the result for blocks, through shared memory, and tiles in the registers of threads.

    C[i, j] = sum[k](A[i, k] * B[k, j])

A block of 16 by 16 threads computes a tile, a slice of the terms at a time: it copies the slice's part of both
tensors to shared memory, and each thread adds the products of some rows and columns to its registers.
"""

from __future__ import annotations

from collections.abc import Iterator

from te.ir.expr import Expr, Load, Var
from te.ir.tensor import Program, Stage
from te.schedule.auto.contraction import Contraction, contraction_of
from te.schedule.auto.gpu.points import bound, fused
from te.schedule.directives import Bind, CacheRead, CacheWrite, Fuse, Reorder, Split, Vectorize
from te.schedule.forms import Directive, Scope, TensorAxes
from te.schedule.nest import loop_name
from te.target import Target

SIDE = 16  # threads of a block along rows and along columns
SLICE = 16  # terms
EACH = 4  # rows and columns of a thread


def lines_for_tiles(stage: Stage, program: Program, target: Target) -> Iterator[list[Directive]]:
    """Lines for a contraction with rows."""
    c = contraction_of(stage)
    if c is None or not c.rows or c.left.buffer == c.right.buffer:
        return
    yield [*_tiles(c), *_copies(c, c.left, "left", target), *_copies(c, c.right, "right", target)]


def _tiles(c: Contraction) -> list[Directive]:
    """Lines for the loops of the contraction, and for its result's way to memory."""
    stage, row, column = c.stage, c.rows[-1], c.columns[-1]

    def loop(name: str) -> str:
        return loop_name(stage.name, name)

    planes = [axis.name for axis in stage.axes if axis not in (row, column)]
    lines: list[Directive] = []
    for axis, dimension in ((row, "y"), (column, "x")):
        into = (f"block_{dimension}", f"in_{dimension}")
        lines.append(Split(loop(axis.name), by=SIDE * EACH, into=into))
        lines.append(Split(loop(into[1]), by=EACH, into=(f"thread_{dimension}", f"own_{dimension}")))
    lines.append(Split(loop(c.terms[-1].name), by=SLICE, into=("slice", "term")))
    order = [*planes, "block_y", "block_x", *(axis.name for axis in c.terms[:-1]), "slice"]
    order += ["thread_y", "thread_x", "term", "own_y", "own_x"]
    lines.append(Reorder(tuple(map(loop, order))))
    if planes:
        lines += fused(stage, planes, "plane")
        lines.append(Bind(loop("plane" if planes[1:] else planes[0]), "block.z"))
    tile = f"{stage.name}_tile"
    names = tuple(f"to_{axis.name}" for axis in stage.axes)
    lines.append(CacheWrite(TensorAxes(stage.name, names), loop("block_x"), as_=tile, in_=Scope.REGISTER))
    for axis, dimension in ((row, "y"), (column, "x")):
        parts = (f"thread_{dimension}", f"own_{dimension}")
        lines.append(Split(loop_name(tile, f"to_{axis.name}"), by=EACH, into=parts))
    inner = ("thread_y", "thread_x", "own_y", "own_x")
    lines.append(Reorder(tuple(loop_name(tile, name) for name in inner)))
    lines.append(Vectorize((loop_name(tile, "own_x"),)))
    lines += [Bind(loop_name(tile, f"thread_{d}"), f"thread.{d}") for d in "yx"]
    return [*lines, *bound(stage, "y"), *bound(stage, "x")]


def _copies(c: Contraction, load: Load, role: str, target: Target) -> list[Directive]:
    """Lines that copy a slice of an operand to shared memory, all threads of the block together."""
    copy = f"{c.stage.name}_{role}"
    names = tuple(f"of_{position}" for position in range(len(load.index)))
    at = loop_name(c.stage.name, "slice")
    lines: list[Directive] = [CacheRead(TensorAxes(load.buffer, names), at, as_=copy, in_=Scope.SHARED)]
    moving = [name for name, index in zip(names, load.index, strict=True) if _is_cut(c, index)]
    row, last = (loop_name(copy, name) for name in moving)
    lanes = min(SLICE // 2, target.vector_bits // load.dtype.bits)
    lines.append(Split(last, by=lanes, into=("group", "lane")))
    lines.append(Fuse((row, loop_name(copy, "group")), "element"))
    lines.append(Split(loop_name(copy, "element"), by=SIDE * SIDE, into=("trip", "at")))
    lines.append(Split(loop_name(copy, "at"), by=SIDE, into=("thread_y", "thread_x")))
    lines.append(Vectorize((loop_name(copy, "lane"),)))
    return [*lines, *(Bind(loop_name(copy, f"thread_{d}"), f"thread.{d}") for d in "yx")]


def _is_cut(c: Contraction, index: Expr) -> bool:
    return isinstance(index, Var) and index.name in {a.name for a in (c.rows[-1], c.columns[-1], c.terms[-1])}
