"""A vector times a matrix on several threads: each reads some rows of the matrix, and has a result of its own.

    y[j] = sum[k](x[k] * B[k, j])

Time is that of reading B. Where each thread has some columns, it reads pieces of rows that lie apart, and two threads
were slower than one; where each has rows, what it reads lies together. The parts are added up at the end.
"""

from __future__ import annotations

from collections.abc import Iterator

from te.schedule.auto.contraction import Contraction, known_product
from te.schedule.auto.loops import lanes_of
from te.schedule.auto.tiles import Plan
from te.schedule.directives import Parallel, Reorder, Rfactor, Split, Unroll, Vectorize
from te.schedule.forms import Directive
from te.schedule.nest import loop_name
from te.target import Target

LEAST_BYTES = 1 << 20  # of B, below which it comes from caches, in which the order matters little
SIDE_BY_SIDE = 8  # rows of B that are read at a time


def lines_by_parts(c: Contraction, target: Target, columns: int) -> Iterator[Plan]:
    """The lines for a product of a single row whose sizes are known, if it is work for several threads.

    `columns` of the result are in registers at a time.
    """
    terms, width = known_product(c.terms), known_product(c.columns)
    if target.cores < 2 or terms is None or width is None or len(c.terms) != 1 or c.batches:
        return
    if terms * width * c.right.dtype.bytes < LEAST_BYTES or terms < 2 * SIDE_BY_SIDE * target.cores:
        return
    name, term, column = c.stage.name, c.terms[0].name, c.columns[-1].name
    part = f"{name}_part"

    def loop(index: str) -> str:
        return loop_name(part, index)

    rows = [loop(axis.name) for axis in c.rows]
    others = [loop(axis.name) for axis in c.columns[:-1]]
    inside = [loop(f"{term}ri"), *rows, loop(f"{column}i")]
    lines: list[Directive] = [
        Split(c.loop(c.terms[0]), by=-(-terms // target.cores), into=(f"{term}c", f"{term}r")),
        Rfactor(c.loop(c.terms[0], "c"), of=name, as_=part),
        Split(loop(f"{term}r"), by=SIDE_BY_SIDE),
        Split(loop(column), by=columns),
        Reorder((loop(f"{term}c"), loop(f"{term}ro"), *others, loop(f"{column}o"), *inside)),
        *([Unroll(tuple(rows))] if rows else []),
        Vectorize((loop(f"{column}i"),)),
        Parallel((loop(f"{term}c"),)),
        Vectorize((loop_name(name, column),), by=lanes_of(c.stage, target)),
    ]
    yield Plan(tuple(lines), (name, part))
