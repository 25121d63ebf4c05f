"""Reductions of a whole tensor to one number, in two launches.

    y = sum[i, j](X[i, j])

Each block of the first one reduces a chunk to a partial result, and the one block of the second reduces these. What is
known to be short takes the second alone.
"""

from __future__ import annotations

from collections.abc import Iterator

from te.ir.tensor import Axis, Program, Stage
from te.schedule.auto.gpu.points import THREADS, WARP, fused
from te.schedule.auto.loops import as_in_memory, lanes_of, scattered_reads
from te.schedule.auto.tiles import size_of
from te.schedule.directives import Bind, Fuse, Reorder, Rfactor, Split, Vectorize
from te.schedule.forms import Directive
from te.schedule.nest import loop_name
from te.target import Target

TRIPS = 4  # accesses of a thread along the last axis
ROWS = THREADS // WARP  # of threads, where a chunk is one of two axes
CHUNK_ROWS = 8 * ROWS


def lines_for_total(stage: Stage, program: Program, target: Target) -> Iterator[list[Directive]]:
    """Lines for a reduction to one number, the best ones first."""
    if stage.axes or stage.reduction is None or not stage.reduction.axes:
        return
    axes = stage.reduction.axes
    lanes = _lanes(as_in_memory(stage, program), axes[-1], target)
    for each in dict.fromkeys((lanes, 1)):
        if not _is_short(stage, each):
            yield _in_chunks(stage, each)
    for each in dict.fromkeys((lanes, 1)):
        yield _on_threads(stage.name, axes[-1].name, each)


def _lanes(stage: Stage, axis: Axis, target: Target) -> int:
    """How many neighbours a thread takes at once: as many as one access of memory moves."""
    lanes, size = lanes_of(stage, target), size_of(axis)
    if scattered_reads(stage, axis) > 0:
        return 1
    assert stage.reduction is not None
    while size is not None and size % lanes and lanes > 1 and len(stage.reduction.axes) > 1:
        lanes //= 2
    return lanes


def _is_short(stage: Stage, lanes: int) -> bool:
    """Whether the threads of one block have few accesses each."""
    elements = 1
    assert stage.reduction is not None
    for axis in stage.reduction.axes:
        size = size_of(axis)
        if size is None:
            return False
        elements *= size
    return elements <= THREADS * TRIPS * lanes


def _in_chunks(stage: Stage, lanes: int) -> list[Directive]:
    """Partial results for chunks of the last axis and of the one before, and then their reduction."""
    assert stage.reduction is not None
    names = [axis.name for axis in stage.reduction.axes]
    size = size_of(stage.reduction.axes[-1])
    part = f"{stage.name}_part"
    lines: list[Directive] = []
    if names[1:] and size is not None and size < WARP * lanes:
        lines, names, lanes = fused(stage, names, "element"), ["element"], 1
    elif names[2:]:
        lines, names = fused(stage, names[:-1], "row"), ["row", names[-1]]

    def loop(name: str, of: str = stage.name) -> str:
        return loop_name(of, name)

    if not names[1:]:
        lines.append(Split(loop(names[0]), by=THREADS * TRIPS * lanes, into=("chunk", "inside")))
        lines.append(Rfactor(loop("chunk"), of=stage.name, as_=part))
        lines += _on_threads(part, "inside", lanes)
    else:
        lines.append(Split(loop(names[0]), by=CHUNK_ROWS, into=("chunk_y", "inside_y")))
        lines.append(Split(loop(names[1]), by=WARP * TRIPS * lanes, into=("chunk_x", "inside")))
        lines.append(Reorder(tuple(map(loop, ("chunk_y", "chunk_x", "inside_y", "inside")))))
        lines.append(Fuse((loop("chunk_y"), loop("chunk_x")), "chunk"))
        lines.append(Rfactor(loop("chunk"), of=stage.name, as_=part))
        lines.append(Split(loop("inside_y", part), by=ROWS, into=("trip_y", "thread_y")))
        *splits, bind = _on_threads(part, "inside", lanes, WARP)
        order = ("trip_y", "trip", "thread_y", "thread")  # so that loops with an end of their own are outside
        lines += [*splits, Reorder(tuple(loop(name, part) for name in order)), bind]
        lines.append(Bind(loop("thread_y", part), "thread.y"))
    return [*lines, Bind(loop("chunk", part), "block.x"), *_on_threads(stage.name, "chunk", 1)]


def _on_threads(stage: str, name: str, lanes: int, threads: int = THREADS) -> list[Directive]:
    """Lines that give each thread every so-many-th access along a loop."""
    lines: list[Directive] = []
    if lanes > 1:
        lines.append(Split(loop_name(stage, name), by=lanes, into=("group", "lane")))
        name = "group"
    lines.append(Split(loop_name(stage, name), by=threads, into=("trip", "thread")))
    if lanes > 1:
        lines.append(Vectorize((loop_name(stage, "lane"),)))
    return [*lines, Bind(loop_name(stage, "thread"), "thread.x")]
