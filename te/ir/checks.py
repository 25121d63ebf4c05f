"""What a failed check says: which read lies outside, and for which indices first."""

from __future__ import annotations

from collections.abc import Mapping

from te.ir.evaluate import evaluate
from te.ir.tensor import Check


def failure(op: str, check: Check, position: int, sizes: Mapping[str, int]) -> str:
    """The text of the `IndexError` for the point number `position` of the check's axes."""
    extents = [int(evaluate(axis.extent, sizes)) for axis in check.axes]
    indices: list[str] = []
    for axis, extent in zip(reversed(check.axes), reversed(extents), strict=True):
        position, index = divmod(position, extent)
        indices.append(f"{axis.name} = {index}")
    where = f" at {', '.join(reversed(indices))}" if indices else ""
    last = int(evaluate(check.extent, sizes)) - 1
    spans = f"0 .. {last}" if last >= 0 else "nothing"
    place = f" (line {check.span.line})" if check.span else ""
    return (
        f"{op}: `{check.read}` reads outside axis {check.axis} of `{check.tensor}`, "
        f"which spans {spans},{where}{place}"
    )
