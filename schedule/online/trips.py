"""Which blocks there are: from the first to the last element that the reductions' conditions take.

sum[j where j <= i](...)  over rows i < 8 * io + 8, in blocks of 64:  (8 * io + 71) // 64 of them
sum[j where j > i - W](...)  over the same:  from max(8 * io - W + 1, 0) // 64 on
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class Blocks:
    """The blocks that hold all elements which some row takes: `count` of them, from `first` on."""

    first: Expr
    count: Expr


def blocks_of(members: Sequence[Member], boxes: Sequence[Box], by: int, facts: Facts) -> Blocks:
    """The trips of the loop over blocks, for all rows of the members' boxes."""
    extent = members[0].axis.extent
    limits = [_limits(member, box, facts) for member, box in zip(members, boxes, strict=True)]
    begin: Expr = integer(0)
    begins = [low for low, _ in limits if low is not None]
    if len(begins) == len(members):
        begin = reduce(minimum, dict.fromkeys(begins))
        begin = begin if prove(compare(">=", begin, integer(0)), facts) else maximum(begin, integer(0))
    end = extent
    ends = [high for _, high in limits if high is not None]
    if len(ends) == len(members):
        end = reduce(maximum, dict.fromkeys(ends))
        end = end if prove(compare("<=", end, extent), facts) else minimum(end, extent)
    first = simplify(floor_div(begin, integer(by)), facts)
    count = sub(ceil_div(end, integer(by)), first)
    if not prove(compare("<=", integer(0), count), facts):
        count = maximum(integer(0), count)
    return Blocks(first, simplify(count, facts))


def inside_axes(axes: Sequence[Axis], box: Box, facts: Facts) -> Facts:
    """What holds for the indices of a stage in a box of its elements."""
    for axis, low, extent in zip(axes, box.low, box.extents, strict=True):
        last = sub(add(low, extent), integer(1))
        facts = facts.with_range(axis.name, low, minimum(last, sub(axis.extent, integer(1))))
    return facts


def _limits(member: Member, box: Box, facts: Facts) -> tuple[Expr | None, Expr | None]:
    """The first place on the axis that the `where` may take, and the one behind the last; None if it is open."""
    name = member.axis.name
    others = [axis for axis in member.reduction.axes if axis != member.axis]
    facts = inside_axes(member.stage.axes, box, facts)
    for axis in others:
        facts = facts.with_range(axis.name, integer(0), sub(axis.extent, integer(1)))
    hidden = [axis.name for axis in (*member.stage.axes, *others)]
    begins: list[Expr] = []
    ends: list[Expr] = []
    for part in conjuncts(member.reduction.where):
        distance = slack(part)  # not negative where the part holds
        step = None if distance is None else coefficient(distance, name)
        if distance is None or not step:
            continue
        _, most = bounds(substitute(distance, {name: integer(0)}), facts, hidden)
        if most is not None and step < 0:
            ends.append(add(floor_div(most, integer(-step)), integer(1)))
        elif most is not None:
            begins.append(sub(integer(0), floor_div(most, integer(step))))
    begin = simplify(reduce(maximum, begins), facts) if begins else None
    return begin, simplify(reduce(minimum, ends), facts) if ends else None
