"""Whether a result has enough tiles for all multiprocessors of a GPU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

from te.ir.tensor import Axis, Stage
from te.schedule.auto.contraction import known_product
from te.schedule.auto.tiles import size_of
from te.target import Target, multiprocessor_of


class Sides(Protocol):
    """What a tile has: rows and columns."""

    @property
    def height(self) -> int: ...
    @property
    def width(self) -> int: ...


AnyTile = TypeVar("AnyTile", bound=Sides)


def multiprocessors_of(target: Target) -> int:
    """How many multiprocessors should have a block at least."""
    return multiprocessor_of(target.name).count


def tiles_of(stage: Stage, row: Axis, column: Axis, tile: Sides) -> int | None:
    """How many tiles cover a stage along two of its axes, and all places of the others; None of unknown sizes."""
    rows, columns = size_of(row), size_of(column)
    planes = known_product([axis for axis in stage.axes if axis not in (row, column)])
    if rows is None or columns is None or planes is None:
        return None
    return planes * -(-rows // tile.height) * -(-columns // tile.width)


def fills(row: Axis, column: Axis, tile: Sides) -> bool:
    """Whether more than half of a tile's rows and columns are used; false of unknown sizes."""
    return 2 * (size_of(row) or 0) > tile.height and 2 * (size_of(column) or 0) > tile.width


def _is_empty(row: Axis, column: Axis, tile: Sides) -> bool:
    """Whether what is known of the sizes leaves half of a tile's rows or columns without use."""
    sides = ((size_of(row), tile.height), (size_of(column), tile.width))
    return any(size is not None and 2 * size <= side for size, side in sides)


def largest_tile(
    tiles: Sequence[AnyTile], stage: Stage, row: Axis, column: Axis, target: Target, is_large: bool
) -> AnyTile:
    """The largest tile of which there are enough, or the smallest; `is_large` is what to assume of unknown sizes.

    `tiles` are three, the largest first.
    """
    for tile in tiles[:-1]:
        blocks = tiles_of(stage, row, column, tile)
        if blocks is None:
            return next(
                (t for t in tiles[0 if is_large else 1 :] if not _is_empty(row, column, t)), tiles[-1]
            )
        if blocks >= multiprocessors_of(target) and fills(row, column, tile):
            return tile
    return tiles[-1]
