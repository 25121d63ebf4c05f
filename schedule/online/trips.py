"""How many blocks there are: up to the last element that the reductions' conditions take.

sum[j where j <= i](...)  over rows i < 8 * io + 8, in blocks of 64:  (8 * io + 71) // 64
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

from te.ir.bounds import Facts, bounds, prove
from te.ir.expr import Expr, add, compare, conjuncts, floor_div, integer, maximum, minimum, sub
from te.ir.simplify import simplify
from te.ir.tensor import Axis
from te.ir.visit import substitute
from te.schedule.finalize.guards import coefficient, slack
from te.schedule.loops import ceil_div
from te.schedule.online.following import Member
from te.schedule.regions import Box


def count_blocks(members: Sequence[Member], boxes: Sequence[Box], by: int, facts: Facts) -> Expr:
    """The trips of the loop over blocks that hold all elements, for all rows of the members' boxes."""
    extent = members[0].axis.extent
    ends = [_end(member, box, facts) for member, box in zip(members, boxes, strict=True)]
    known = list(dict.fromkeys(end for end in ends if end is not None))
    end = extent
    if len(known) == len(dict.fromkeys(ends)):
        end = reduce(maximum, known)
        end = end if prove(compare("<=", end, extent), facts) else minimum(end, extent)
    trips = ceil_div(end, integer(by))
    if not prove(compare("<=", integer(0), trips), facts):
        trips = maximum(integer(0), trips)
    return simplify(trips, facts)


def inside_axes(axes: Sequence[Axis], box: Box, facts: Facts) -> Facts:
    """What holds for the indices of a stage in a box of its elements."""
    for axis, low, extent in zip(axes, box.low, box.extents, strict=True):
        last = sub(add(low, extent), integer(1))
        facts = facts.with_range(axis.name, low, minimum(last, sub(axis.extent, integer(1))))
    return facts


def _end(member: Member, box: Box, facts: Facts) -> Expr | None:
    """Behind the last place on the axis that the `where` may take; None if it says nothing of that."""
    name = member.axis.name
    others = [axis for axis in member.reduction.axes if axis != member.axis]
    facts = inside_axes(member.stage.axes, box, facts)
    for axis in others:
        facts = facts.with_range(axis.name, integer(0), sub(axis.extent, integer(1)))
    hidden = [axis.name for axis in (*member.stage.axes, *others)]
    ends: list[Expr] = []
    for part in conjuncts(member.reduction.where):
        distance = slack(part)
        step = None if distance is None else coefficient(distance, name)
        if distance is None or step is None or step >= 0:
            continue
        _, most = bounds(substitute(distance, {name: integer(0)}), facts, hidden)
        if most is not None:
            ends.append(add(floor_div(most, integer(-step)), integer(1)))
    return simplify(reduce(minimum, ends), facts) if ends else None
