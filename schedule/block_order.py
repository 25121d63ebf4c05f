"""In which order a GPU starts the blocks of a launch: what a whole schedule must say for `order` to mean something.

`grouped` and `hilbert` change how blocks follow each other in a plane, so both `block.x` and `block.y` must be there. A
line does not know what later ones bind: it is asked behind the last one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from te.diagnostics import Diagnostic, ScheduleError, error
from te.ir.loop import BLOCKS, For, Kernel, walk_stmt
from te.schedule.clusters import CLUSTER
from te.schedule.directives import Bind
from te.schedule.forms import BlockOrder, Directive, span_of
from te.schedule.names import index_of

PLANE = ("block.x", "block.y")
OF_PLANES = (BlockOrder.GROUPED, BlockOrder.HILBERT)


def check_block_orders(kernel: Kernel, lines: Sequence[Directive]) -> None:
    """Refuse orders of blocks that would change nothing, or that two loops of a launch ask for differently."""
    for loop, path in walk_stmt(kernel.body):
        if isinstance(loop, For) and loop.order and any(s.kind == CLUSTER for s in _loops_beside(loop, path)):
            raise ScheduleError(_in_clusters(loop, lines))
        if isinstance(loop, For) and loop.order in OF_PLANES:
            blocks = {s.kind: s for s in _beside(loop, path)}
            other = next(kind for kind in PLANE if kind != loop.kind)
            if other not in blocks:
                raise ScheduleError(_alone(loop, other, lines))
            orders = {s.order for s in blocks.values() if s.order}
            if len(orders) > 1 and BlockOrder.HILBERT in orders:
                raise ScheduleError(_several(loop, sorted(orders), lines))


def _beside(loop: For, path: Sequence[object]) -> Iterator[For]:
    """The loops over blocks of the launch, or launches, of one of them."""
    return (s for s in _loops_beside(loop, path) if s.kind in BLOCKS)


def _loops_beside(loop: For, path: Sequence[object]) -> Iterator[For]:
    for s in (*path, *(inner for inner, _ in walk_stmt(loop))):
        if isinstance(s, For):
            yield s


def _alone(loop: For, other: str, lines: Sequence[Directive]) -> Diagnostic:
    d = _line_of(loop, lines)
    return error(
        "block-order",
        f"`order {loop.order}` of `{loop.var}` changes nothing: no loop beside it is bound to {other}",
        span_of(d, "order") if d else None,
        "of one axis of blocks",
        help=f"bind a second loop to {other}, or leave `order {loop.order}` out",
    )


def _several(loop: For, orders: Sequence[str], lines: Sequence[Directive]) -> Diagnostic:
    d = _line_of(loop, lines)
    words = " and ".join(f"`order {order}`" for order in orders)
    return error(
        "block-order",
        f"{words} are asked for the blocks of one launch, that of `{loop.var}`",
        span_of(d, "order") if d else None,
        "not both",
        help="`order grouped` beside `order persistent` gives each block the tiles of groups of rows",
    )


def _in_clusters(loop: For, lines: Sequence[Directive]) -> Diagnostic:
    d = _line_of(loop, lines)
    return error(
        "block-order",
        f"`order {loop.order}` of `{loop.var}` would take the blocks of clusters apart",
        span_of(d, "order") if d else None,
        "beside a loop bound to cluster.x",
        help=f"leave `order {loop.order}` or the line that binds to cluster.x out",
    )


def _line_of(loop: For, lines: Sequence[Directive]) -> Bind | None:
    """The line that has bound a loop."""
    binds = [d for d in lines if isinstance(d, Bind) and (d.to, d.order) == (loop.kind, loop.order)]
    return next((d for d in binds if d.loop in (loop.var, index_of(loop.var))), None)
