"""The stages of an op as a picture: boxes in layers, and which tensor is made of which.

A layered drawing in three steps, after Sugiyama, Tagawa and Toda, "Methods for visual understanding of
hierarchical system structures" (1981): each node stands one layer after the last of those it reads;
within a layer, nodes move towards the mean place of their neighbours; edges that pass layers get a
place of their own there, and bend around the boxes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

__all__ = ["Drawing", "Edge", "Node", "Place", "draw"]

CHARACTER, PADDING, HEIGHT, BEND = 7.4, 26.0, 56.0, 14.0  # of a box; BEND is the room that an edge takes
GAP_ACROSS, GAP_ALONG, MARGIN = 64.0, 18.0, 10.0
LANE = 22.0  # of an edge that turns back, below everything
SWEEPS = 6


@dataclass(frozen=True, slots=True)
class Node:
    name: str
    text: str  # the longest text in the box

    @property
    def width(self) -> float:
        return PADDING + CHARACTER * len(self.text)


@dataclass(frozen=True, slots=True)
class Edge:
    source: str
    target: str


@dataclass(frozen=True, slots=True)
class Place:
    """Where a box is: its upper left corner and its extent."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Drawing:
    """Boxes by name, and for each edge the points that it passes, from the right of a box to the left of one.

    An edge in `turning` goes back, where stages read each other: from below a box to below an earlier
    one, through a point between.
    """

    width: float
    height: float
    places: Mapping[str, Place]
    paths: Mapping[Edge, tuple[tuple[float, float], ...]]
    turning: frozenset[Edge]


def draw(nodes: Sequence[Node], edges: Sequence[Edge]) -> Drawing:
    """Draw a graph. Nodes come in an order in which most read earlier ones; the edges of others turn back.

    >>> drawing = draw([Node("X", "X"), Node("Y", "Y")], [Edge("X", "Y")])
    >>> drawing.places["X"].x < drawing.places["Y"].x
    True
    """
    if not nodes:
        return Drawing(0, 0, {}, {}, frozenset())
    rank = {node.name: number for number, node in enumerate(nodes)}
    forward = [edge for edge in edges if rank[edge.source] < rank[edge.target]]
    layer = _layers(nodes, forward)
    columns, chains = _columns(nodes, forward, layer)
    _order(columns, chains)
    return _place(nodes, edges, columns, chains)


Slot = str | tuple[Edge, int]  # a node, or where an edge passes a layer
Chain = tuple[Slot, ...]


def _layers(nodes: Sequence[Node], forward: Sequence[Edge]) -> dict[str, int]:
    """The longest way to each node; a node that reads nothing stands right before its first reader."""
    layer: dict[str, int] = {}
    for node in nodes:
        before = [layer[e.source] for e in forward if e.target == node.name]
        layer[node.name] = 1 + max(before, default=-1)
    for node in nodes:
        after = [layer[e.target] for e in forward if e.source == node.name]
        if after and not any(e.target == node.name for e in forward):
            layer[node.name] = min(after) - 1
    return layer


def _columns(
    nodes: Sequence[Node], forward: Sequence[Edge], layer: Mapping[str, int]
) -> tuple[list[list[Slot]], dict[Edge, Chain]]:
    """What stands in each layer, and what each edge passes."""
    columns: list[list[Slot]] = [[] for _ in range(1 + max(layer.values()))]
    for node in nodes:
        columns[layer[node.name]].append(node.name)
    chains: dict[Edge, Chain] = {}
    for edge in forward:
        passed = range(layer[edge.source] + 1, layer[edge.target])
        for number in passed:
            columns[number].append((edge, number))
        chains[edge] = (edge.source, *((edge, number) for number in passed), edge.target)
    return columns, chains


def _order(columns: list[list[Slot]], chains: Mapping[Edge, Chain]) -> None:
    """Move each slot towards the mean of its neighbours, layer by layer, forth and back."""
    before: dict[Slot, list[Slot]] = {}
    after: dict[Slot, list[Slot]] = {}
    for chain in chains.values():
        for a, b in pairwise(chain):
            after.setdefault(a, []).append(b)
            before.setdefault(b, []).append(a)
    for sweep in range(SWEEPS):
        neighbours = after if sweep % 2 else before
        for column in reversed(columns) if sweep % 2 else columns:
            place = {slot: (i + 0.5) / len(c) for c in columns for i, slot in enumerate(c)}

            def mean(
                slot: Slot, place: dict[Slot, float] = place, near: dict[Slot, list[Slot]] = neighbours
            ) -> float:
                found = [place[n] for n in near.get(slot, [])]
                return sum(found) / len(found) if found else place[slot]

            column.sort(key=mean)


def _place(
    nodes: Sequence[Node],
    edges: Sequence[Edge],
    columns: Sequence[Sequence[Slot]],
    chains: Mapping[Edge, Chain],
) -> Drawing:
    by_name = {node.name: node for node in nodes}

    def height_of(slot: Slot) -> float:
        return HEIGHT if isinstance(slot, str) else BEND

    heights = [sum(map(height_of, c)) + GAP_ALONG * (len(c) - 1) for c in columns]
    places: dict[str, Place] = {}
    points: dict[Slot, tuple[tuple[float, float], ...]] = {}  # where a chain enters and leaves
    x = MARGIN
    for column, height in zip(columns, heights, strict=True):
        width = max((by_name[s].width for s in column if isinstance(s, str)), default=0.0)
        y = MARGIN + (max(heights) - height) / 2
        for slot in column:
            middle = y + height_of(slot) / 2
            if isinstance(slot, str):
                own = by_name[slot].width
                left = x + (width - own) / 2
                places[slot] = Place(left, y, own, HEIGHT)
                points[slot] = ((left, middle), (left + own, middle))
            else:
                points[slot] = ((x, middle), (x + width, middle))
            y += height_of(slot) + GAP_ALONG
        x += width + GAP_ACROSS
    turning = [edge for edge in edges if edge not in chains]
    bottom = MARGIN + max(heights)
    paths = {}
    for edge, chain in chains.items():
        passed = tuple(point for slot in chain[1:-1] for point in points[slot])
        paths[edge] = (points[chain[0]][1], *passed, points[chain[-1]][0])
    for number, edge in enumerate(turning, 1):
        (x0, y0), (x1, y1) = (_below(places[name]) for name in (edge.source, edge.target))
        paths[edge] = ((x0, y0), ((x0 + x1) / 2, bottom + LANE * number), (x1, y1))
    height = bottom + MARGIN + LANE * len(turning)
    return Drawing(x - GAP_ACROSS + MARGIN, height, places, paths, frozenset(turning))


def _below(place: Place) -> tuple[float, float]:
    return place.x + place.width / 2, place.y + place.height
