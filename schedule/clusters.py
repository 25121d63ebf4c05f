"""Clusters: neighbouring blocks that a GPU starts together, on multiprocessors near each other (from sm_90 on).

A loop bound to `cluster.x` holds the loop over the blocks of a cluster and nothing else of the grid's first axis. (CUDA
C++ Programming Guide, "Thread Block Clusters".)
"""

from __future__ import annotations

from te.ir.expr import Const
from te.ir.loop import BLOCKS, Alloc, For, Let, walk_stmt

CLUSTER, ALONG = "cluster.x", "block.x"
MOST_BLOCKS = 8  # of a cluster, on every GPU that has some


def why_no_cluster(loop: For) -> str | None:
    """Why a loop cannot be one over clusters, if it cannot."""
    blocks = blocks_of(loop)
    if blocks is None:
        return f"it holds no loop bound to {ALONG}, or more than that"
    if blocks.order:
        return f"the blocks of `{blocks.var}` have an order of their own"
    if not isinstance(blocks.extent, Const) or not 1 <= int(blocks.extent.value) <= MOST_BLOCKS:
        return f"the trips of `{blocks.var}`, which are the blocks of a cluster, are not 1 to {MOST_BLOCKS}"
    return None


def blocks_of(loop: For) -> For | None:
    """The loop over the blocks of a cluster, if nothing but names and other loops over blocks stands around it."""
    s = loop.body
    while isinstance(s, Let | Alloc) or (isinstance(s, For) and s.kind in BLOCKS - {ALONG}):
        s = s.body
    if not isinstance(s, For) or s.kind != ALONG:
        return None
    return None if any(isinstance(x, For) and x.kind == ALONG for x, _ in walk_stmt(s.body)) else s
