"""What must come before what: strongly connected components, dependences first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

Node = TypeVar("Node")


def components(nodes: Sequence[Node], needs: Mapping[Node, Sequence[Node]]) -> list[list[Node]]:
    """The nodes grouped into cycles, every group after those that it needs (Tarjan 1972).

    Without recursion: a program may be one long chain. Within a group, and between
    groups that do not need each other, the order of `nodes` is kept.
    """
    position = {node: n for n, node in enumerate(nodes)}
    index: dict[Node, int] = {}
    low: dict[Node, int] = {}
    path: list[Node] = []
    on_path: set[Node] = set()
    found: list[list[Node]] = []
    for root in nodes:
        if root in index:
            continue
        work = [(root, iter(needs[root]))]
        index[root] = low[root] = len(index)
        path.append(root)
        on_path.add(root)
        while work:
            node, rest = work[-1]
            for needed in rest:
                if needed not in index:
                    index[needed] = low[needed] = len(index)
                    path.append(needed)
                    on_path.add(needed)
                    work.append((needed, iter(needs[needed])))
                    break
                if needed in on_path:
                    low[node] = min(low[node], index[needed])
            else:
                work.pop()
                if work:
                    parent = work[-1][0]
                    low[parent] = min(low[parent], low[node])
                if low[node] == index[node]:
                    group: list[Node] = []
                    while not group or group[-1] != node:
                        group.append(path.pop())
                        on_path.discard(group[-1])
                    found.append(sorted(group, key=position.__getitem__))
    return found
