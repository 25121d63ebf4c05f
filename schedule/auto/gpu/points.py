"""Any stage: its elements on blocks and threads.

Threads that are neighbours compute neighbours in memory, and each as many as 16 bytes hold where what
they read are neighbours, too. Rows that are long, or of unknown length, take a grid of two dimensions: dividing an
index by a size that the call decides takes as long as a dozen additions. Short rows are fused.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from te.ir.expr import Const, integer
from te.ir.tensor import Axis, Program, Stage
from te.schedule.auto.loops import as_in_memory, lanes_of, scattered_reads
from te.schedule.auto.tiles import size_of
from te.schedule.directives import Bind, Fuse, Reorder, Split, Vectorize
from te.schedule.forms import Directive
from te.schedule.nest import loop_name
from te.target import Target

THREADS = 256  # of a block: eight warps, of which a multiprocessor holds eight blocks
WARP = 32


def lines_for_points(stage: Stage, program: Program, target: Target) -> Iterator[list[Directive]]:
    """Lines for a stage: for all its data loops at once, or else for the first one that may be bound."""
    wide = [position for position, axis in enumerate(stage.axes) if axis.extent != integer(1)]
    if not wide:
        return
    axes = stage.axes[wide[0] : wide[-1] + 1]
    lanes = _lanes(as_in_memory(stage, program), axes[-1], target)
    for vector in dict.fromkeys((lanes, 1)):
        yield lines_for_elements(stage, axes, vector)
    for axis in reversed(axes):
        yield _on_threads(stage, axis.name)


def _lanes(stage: Stage, axis: Axis, target: Target) -> int:
    """How many neighbours a thread computes: as many as one access of memory moves."""
    lanes = lanes_of(stage, target)
    size = size_of(axis)
    is_even = size is None or size % lanes == 0 or len(stage.axes) == 1
    return lanes if is_even and scattered_reads(stage, axis) == 0 else 1


def lines_for_elements(stage: Stage, axes: Sequence[Axis], lanes: int) -> list[Directive]:
    """Lines that put the nested loops of `axes` on blocks and threads, with so many elements a thread."""

    def loop(name: str) -> str:
        return loop_name(stage.name, name)

    *outer, last = (axis.name for axis in axes)
    lines: list[Directive] = []
    if lanes > 1:
        lines += [Split(loop(last), by=lanes, into=("group", "lane")), Vectorize((loop("lane"),))]
        last = "group"
    width = _row_threads(axes, lanes)
    if width is None:
        lines += fused(stage, [*outer, last], "element")
        return [*lines, *_on_threads(stage, "element" if outer else last)]
    blocks, threads, binds = [loop("block_x")], [loop("thread_x")], bound(stage, "x")
    lines.append(Split(loop(last), by=width, into=("block_x", "thread_x")))
    if outer:
        lines.append(Split(loop(outer[-1]), by=THREADS // width, into=("block_y", "thread_y")))
        blocks, threads = [loop("block_y"), *blocks], [loop("thread_y"), *threads]
        binds = bound(stage, "y") + binds
        lines.append(Reorder((*blocks, *threads)))
    return [*lines, *planes_on_blocks(stage.name, outer[:-1]), *binds]


def _row_threads(axes: Sequence[Axis], lanes: int) -> int | None:
    """How many threads of a block share a row; None where rows are better fused."""
    if len(axes) == 1:
        return THREADS
    size, rows = size_of(axes[-1]), axes[-2].extent
    if size is not None and size < THREADS * lanes:
        return None
    width = WARP
    while width < THREADS and isinstance(rows, Const) and int(rows.value) * width < THREADS:
        width *= 2
    return width


def fused(stage: Stage, names: Sequence[str], into: str) -> list[Directive]:
    """Lines that make one loop of several, called `into`; none of one loop."""
    return fused_loops(stage.name, names, into)


def fused_loops(stage: str, names: Sequence[str], into: str) -> list[Directive]:
    lines: list[Directive] = []
    first = names[0]
    for position, name in enumerate(names[1:], 2):
        both = into if position == len(names) else f"{into}{position}"
        lines.append(Fuse((loop_name(stage, first), loop_name(stage, name)), both))
        first = both
    return lines


def planes_on_blocks(stage: str, loops: Sequence[str], level: str = "block.z") -> list[Directive]:
    """Lines that tell blocks apart by these loops together, if there are any."""
    if not loops:
        return []
    plane = loop_name(stage, "plane" if loops[1:] else loops[0])
    return [*fused_loops(stage, loops, "plane"), Bind(plane, level)]


def _on_threads(stage: Stage, name: str) -> list[Directive]:
    """Lines that cut a loop in blocks of threads."""
    cut = Split(loop_name(stage.name, name), by=THREADS, into=("block_x", "thread_x"))
    return [cut, *bound(stage, "x")]


def bound(stage: Stage, dimension: str) -> list[Directive]:
    return [
        Bind(loop_name(stage.name, f"{level}_{dimension}"), f"{level}.{dimension}")
        for level in ("block", "thread")
    ]
