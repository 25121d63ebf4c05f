"""The windows of convolutions on GPUs: which axes move them, and how a tile of pixels covers a picture."""

from __future__ import annotations

from collections.abc import Sequence

from te.ir.expr import Var
from te.ir.tensor import Axis
from te.ir.visit import variables
from te.schedule.auto.convolution import Convolution
from te.schedule.auto.tiles import size_of


def window_axes(c: Convolution) -> tuple[Axis, ...]:
    """The places that a tile is a rectangle of: the last two that move windows, or one."""
    alone = {i.name for i in c.image.index if isinstance(i, Var)}
    return tuple(axis for axis in c.places if axis.name not in alone)[-2:]


def channels_of_image(c: Convolution) -> Axis | None:
    """The term that is no place of a window: the channels of the picture, or of a group; None where none is alone."""
    places = {axis.name for axis in c.places}
    alone = {name for i in c.image.index if not variables(i) & places for name in variables(i)}
    found = [axis for axis in c.terms if axis.name in alone]
    return found[0] if len(found) == 1 else None


def covered(windows: Sequence[Axis], tile: tuple[int, int]) -> tuple[int, int]:
    """How many pixels the tiles of that height and width have that cover a picture, and how long a tile is."""
    elements = 1
    for axis, extent in zip(windows, tile, strict=True):
        size = size_of(axis)
        elements *= extent if size is None else -(-size // extent) * extent
    return elements, abs(tile[0] - tile[1])
