"""Dependences: which orders of a loop's trips compute the same thing.

Two accesses depend on each other where they may touch the same element and one of them
writes it. Every verb that changes an order asks here, and nowhere else:

- `carried(loop)`: the dependences between different trips of a loop;
- `reversed_dependence(chain, order)`: one that a new order of nested loops would reverse;
- `overtaking_dependence(loop, first, second)`: one from a part of a loop's body to an earlier
  part, in a later trip, which keeps the parts from having loops of their own, or from sharing one;
- `repetition_error(loop)`: why a trip cannot run twice with the same result.

Two facts of the loop IR answer most questions without arithmetic. Data loops of a stage
define different elements in different trips (unless one of them `overlaps`), and the
steps of one `Accumulate` for one element, which differ in its `over` loops alone, may
run in any order but not at the same time. A loop that is neither for a statement (another
stage's, around it) repeats it, and answers nothing. Everything else is index arithmetic, as in
Banerjee's test: the accesses are independent if, with both iterations' loop variables in
their ranges and in the order asked about, the indices of some axis are proved to differ. A later trip
of a fused loop is one of two cases: a larger `f // n`, or the same one and a larger `f % n`.
What is not proved independent counts as dependent.

Buffers that the region allocates are its own in every trip, and carry no dependence out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from itertools import combinations_with_replacement

from te.ir.bounds import Facts, counterexample, evaluate, prove
from te.ir.expr import TRUE, Const, Expr, Load, Op, Var, both, compare, integer, negation, sub
from te.ir.loop import Accumulate, Alloc, Completed, For, If, Let, Stmt, Store, direct_exprs, walk_stmt
from te.ir.print import print_expr
from te.ir.types import I64
from te.ir.visit import loads, substitute, variables, walk
from te.schedule.names import Path, index_of

# How the trip of the second access lies to the trip of the first, for one loop.
SAME, LATER, EARLIER, ANY = "=", "<", ">", "*"
Directions = Mapping[str, str]

SEARCH_LIMIT = 64  # examples with larger sizes explain little


@dataclass(frozen=True, slots=True)
class Access:
    """One touch of a buffer. `path` is what stands around the statement inside the region."""

    buffer: str
    index: tuple[Expr, ...]
    writes: bool
    statement: Stmt
    path: Path
    position: int  # in the order of the text
    before: frozenset[str] = frozenset()  # loops around the statement before which it happens, once for all


class Order(Enum):
    """What a dependence leaves free."""

    FIXED = "nothing: the order must stay"
    RECOMPUTED = "a whole reduction is run again: any order, but neither at the same time nor in lockstep"
    REDUCTION = "steps of a reduction: any order, but one at a time"
    REPEATED = "the same value is stored again: any order, even at the same time"


@dataclass(frozen=True, slots=True)
class Dependence:
    """`second` may touch the element that `first` touched, in a later iteration.

    `directions` and `facts` are those of the question; `example_of` finds iterations that meet.
    """

    order: Order
    first: Access
    second: Access
    directions: Directions = field(repr=False)
    facts: Facts = field(repr=False)


# ---------------------------------------------------------------- questions


def carried(loop: For, facts: Facts) -> list[Dependence]:
    """The dependences between different trips of a loop, of any `Order`. `facts` hold around it."""
    found = []
    for first, second in _pairs(accesses(loop)):
        dependence = depends(first, second, {loop.var: LATER}, facts)
        if dependence:
            found.append(dependence)
    return found


@dataclass(frozen=True, slots=True)
class Reversal:
    """A dependence that a new order of loops breaks: `inner` would overtake `outer`."""

    outer: str
    inner: str
    dependence: Dependence


def reversed_dependence(chain: Sequence[For], order: Sequence[str], facts: Facts) -> Reversal | None:
    """A dependence that the nested loops of `chain` would break in the new order.

    A reversed dependence leads in the old order with some loop `a` (its second trip is
    later) and in the new one with another, `b` (earlier). So `b` overtook `a`, and the
    loops outside `a` in the old order and outside `b` in the new one are in the same trip.
    """
    old = [loop.var for loop in chain]
    touches = accesses(chain[0])
    for place, a in enumerate(old):
        for b in old[place + 1 :]:
            if order.index(b) > order.index(a):
                continue
            same = {*old[:place], *order[: order.index(b)]}
            directions = {**dict.fromkeys(same, SAME), a: LATER, b: EARLIER}
            for first, second in _pairs(touches):
                dependence = depends(first, second, directions, facts)
                if dependence and dependence.order is Order.FIXED:
                    return Reversal(a, b, dependence)
    return None


def overtaking_dependence(
    loop: For, first: Sequence[Stmt], second: Sequence[Stmt], facts: Facts
) -> Dependence | None:
    """A dependence of a later trip's `first` on an earlier trip's `second`; both are parts of the body.

    Without one, all trips of `first` may as well run before all trips of `second`.
    """
    touches = accesses(loop)
    before, after = ([a for a in touches if _is_in(a, part)] for part in (first, second))
    for earlier in after:
        for later in before:
            dependence = depends(earlier, later, {loop.var: LATER}, facts)
            if dependence:
                return dependence
    return None


def _is_in(access: Access, part: Sequence[Stmt]) -> bool:
    return any(s is item for s in (*access.path, access.statement) for item in part)


def repetition_error(loop: For, facts: Facts) -> str | None:
    """Why running a trip of `loop` a second time, after others, could change a result."""
    touches = accesses(loop)
    for access in touches:
        unfinished = _unfinished(access, loop)
        if unfinished:
            return unfinished
    for dependence in carried(loop, facts):
        if dependence.order not in (Order.REPEATED, Order.RECOMPUTED):
            return explain(dependence, loop.var)
    for read in touches:
        for write in touches:
            if read.writes or not write.writes or read.buffer != write.buffer:
                continue
            written_before = write.position < read.position and not _common_loops(read, write, but=loop.var)
            if not written_before and depends(read, write, {loop.var: SAME}, facts):
                return (
                    f"{shown(read)} is read before `{loop.var}` writes it: a second run reads another value"
                )
    return None


def _unfinished(access: Access, loop: For) -> str | None:
    """Whether a second run would go on with a sum instead of starting it again."""
    statement = access.statement
    if not (access.writes and isinstance(statement, Accumulate)):
        return None
    if loop.var in statement.over:
        return f"the {statement.reducer} in {shown(access)} runs over it, and would take some terms twice"
    inside = {s.var for s in access.path if isinstance(s, For)}
    outside = sorted(statement.over - inside)
    if outside:
        over = ", ".join(f"`{name}`" for name in outside)
        return (
            f"one trip of `{loop.var}` does not finish the {statement.reducer} in {shown(access)}: "
            f"it runs over {over}, outside"
        )
    if statement.start is None:
        return f"{shown(access)} goes on with the value it has: a second run would add to it again"
    return None


# ---------------------------------------------------------------- accesses


def accesses(region: Stmt) -> list[Access]:
    """What a region reads and writes, in the order of its text, its own buffers left out."""
    own = {s.buffer.name for s, _ in walk_stmt(region) if isinstance(s, Alloc)}
    found: dict[tuple[object, ...], Access] = {}
    for statement, path in walk_stmt(region):
        for touch in _touched(statement, path):
            key = (id(statement), touch.buffer, touch.index, touch.writes, touch.before)
            if touch.buffer not in own and key not in found:
                found[key] = replace(touch, position=len(found))
    return list(found.values())


def _touched(s: Stmt, path: Path) -> Iterator[Access]:
    """What one statement itself reads, then what it writes.

    What a reduction starts from is read before its outermost loop, where that is inside the region.
    """
    start = s.start if isinstance(s, Accumulate) else None
    if isinstance(s, Accumulate) and start is not None:
        inside = {x.var for x in path[1:] if isinstance(x, For)}
        for load in loads(start) if s.over <= inside else ():
            yield Access(load.buffer, load.index, False, s, _around_start(s, path), 0, s.over)
    for e in direct_exprs(s):
        if e is not start:
            for load in loads(e):
                yield Access(load.buffer, load.index, False, s, path, 0)
    if isinstance(s, Store | Accumulate):
        yield Access(s.buffer, s.index, True, s, path, 0)


def _pairs(touches: list[Access]) -> Iterator[tuple[Access, Access]]:
    """All pairs that could depend, each in both orders."""
    for a, b in combinations_with_replacement(touches, 2):
        if a.buffer == b.buffer and (a.writes or b.writes):
            yield a, b
            if a is not b:
                yield b, a


def _common_loops(a: Access, b: Access, but: str = "") -> set[str]:
    around_a = {s.var for s in a.path if isinstance(s, For)}
    return {s.var for s in b.path if isinstance(s, For) and s.var in around_a} - {but}


# ---------------------------------------------------------------- the test


def depends(first: Access, second: Access, directions: Directions, facts: Facts) -> Dependence | None:
    """The dependence between two accesses whose trips lie as `directions` say, if there may be one.

    `directions` maps loops around both to SAME, LATER (the second access is in a later
    trip) or EARLIER; loops that it leaves out may be in any trips.
    """
    if first.buffer != second.buffer or not (first.writes or second.writes):
        return None
    moving = {name for name, direction in directions.items() if direction in (LATER, EARLIER)}
    if moving and (moving <= first.before or moving <= second.before):
        return None
    order = Order.FIXED
    pair = _Pair(first, second, directions)
    if first.statement is second.statement:
        if first.writes and second.writes:
            if _apart_by_construction(first, directions):
                return None
            order = _order_with_itself(first, directions)
    elif _apart_by_one_index(first, second, directions):
        return None
    else:
        pair = _Pair(_from_its_start(first), _from_its_start(second), directions)
    if _are_apart(pair, pair.facts(facts), pair.fused_loops()):
        return None
    return Dependence(order, first, second, directions, facts)


def _from_its_start(access: Access) -> Access:
    """A write of an unfinished reduction, as wide as it is with the store of its start.

    That store happens before the first trip of its loops, even if there is none, and whatever the
    conditions on its terms say.
    """
    statement = access.statement
    if not (access.writes and isinstance(statement, Accumulate) and statement.start is not None):
        return access
    return replace(access, path=_around_start(statement, access.path))


def _around_start(s: Accumulate, path: Path) -> Path:
    """What stands around the start of a reduction: no loop, name or condition of its terms."""
    of_terms = set(s.over)
    kept: list[Stmt] = []
    for around in path:
        if isinstance(around, Let) and variables(around.value) & of_terms:
            of_terms.add(around.var)
        elif not isinstance(around, If) and not (isinstance(around, For) and around.var in of_terms):
            kept.append(around)
    return tuple(kept)


def side_by_side(
    first: Access, second: Access, directions: Directions, facts: Facts
) -> tuple[tuple[Expr, ...], tuple[Expr, ...], Facts]:
    """The indices of two accesses whose trips lie as `directions` say, and what is known of their variables."""
    pair = _Pair(_from_its_start(first), _from_its_start(second), directions)
    return first.index, tuple(pair.second_index()), pair.facts(facts)


def _moving(access: Access, directions: Directions) -> list[For]:
    """The loops around an access that may be in different trips."""
    return [s for s in access.path if isinstance(s, For) and directions.get(s.var, ANY) != SAME]


def _apart_by_construction(access: Access, directions: Directions) -> bool:
    """Whether a statement writes different elements because a data loop is in different trips.

    What waits for the last trip of some loops runs once, and not in different trips of them.
    """
    once = {name for s in access.path if isinstance(s, Completed) for name in s.over}
    moving = [loop for loop in _moving(access, directions) if loop.var not in once]
    own = all(_is_own(loop, access) and not loop.overlaps for loop in moving)
    return own and any(
        loop.is_data_loop_of(_stage(access)) and directions.get(loop.var, ANY) in (LATER, EARLIER)
        for loop in moving
    )


def _apart_by_one_index(first: Access, second: Access, directions: Directions) -> bool:
    """Whether two statements touch different elements because one index, over loops of both, says which.

    It says of one of them, a write, that other trips of its data loops define other elements.
    """
    indices = []
    for access in (first, second):
        lets = _definitions(access)
        indices.append([substitute(i, lets) for i in access.index])
    if indices[0] != indices[1] or any(any(loads(i)) for i in indices[0]):
        return False
    shared = {s.var for s in first.path if isinstance(s, For) and any(s is other for other in second.path)}
    bound = {s.var for access in (first, second) for s in access.path if isinstance(s, For)}
    used = {name for i in indices[0] for name in variables(i)}
    if used & bound - shared:
        return False
    return any(_apart_by_construction(a, directions) for a in (first, second) if a.writes)


def _is_own(loop: For, access: Access) -> bool:
    """Whether a loop says which element or which step it is; not if it merely repeats the statement."""
    step = isinstance(access.statement, Accumulate) and loop.var in access.statement.over
    return step or loop.is_data_loop_of(_stage(access))


def _order_with_itself(access: Access, directions: Directions) -> Order:
    """What is free between two runs of one statement that write the same element."""
    moving = _moving(access, directions)
    if not all(_is_own(loop, access) for loop in moving):
        return Order.FIXED
    match access.statement:
        case Store():
            return Order.REPEATED
        case Accumulate(over=over, start=start):
            # Data loops in different trips that do not overlap would give different elements.
            data = [loop for loop in moving if loop.var not in over]
            if not any(loop.overlaps for loop in data):
                return Order.REDUCTION
            depth = [loop.var in over for loop in moving]
            is_whole = depth == sorted(depth) and not any(directions.get(name, ANY) != ANY for name in over)
            inside = {loop.var for loop in moving}
            if start is not None and over <= inside and is_whole:
                return Order.RECOMPUTED
    return Order.FIXED


def _stage(access: Access) -> str:
    return access.statement.stage if isinstance(access.statement, Store | Accumulate) else ""


def _are_apart(pair: _Pair, scene: Facts, fused: Sequence[_Fused]) -> bool:
    """Whether the indices of some axis differ, in each case that the parts of fused loops leave.

    Of a later trip of a fused loop, the first part is larger, or it is the same and the second one
    is larger.
    """
    if any(_differ(a, b, scene) for a, b in zip(pair.first.index, pair.second_index(), strict=True)):
        return True
    for n, loop in enumerate(fused):
        trips = (loop.trip, substitute(loop.trip, pair.primes))
        for order in ("<", ">"):
            if prove(compare(order, *trips), scene):
                outer, inner = ((Var(part), pair.primes[part]) for part in (loop.outer, loop.inner))
                cases = [[compare(order, *outer)], [compare("==", *outer), compare(order, *inner)]]
                rest = fused[n + 1 :]
                return all(_are_apart(pair, _assume(scene, case), rest) for case in cases)
    return False


def _differ(a: Expr, b: Expr, facts: Facts) -> bool:
    return a != b and prove(compare("!=", a, b), facts)


@dataclass(frozen=True, slots=True)
class _Fused:
    """Two names for the parts of a fused loop: `trip // n` and `trip % n`."""

    outer: str
    inner: str
    trip: Expr


class _Pair:
    """Two accesses side by side: the second one's variables get a prime where they may differ."""

    def __init__(self, first: Access, second: Access, directions: Directions):
        self.first = first
        self.second = second
        self.primes: dict[str, Expr] = {}
        for s in second.path:
            moves = isinstance(s, For) and directions.get(s.var, ANY) != SAME
            if moves or (isinstance(s, Let) and variables(s.value) & self.primes.keys()):
                self.primes[s.var] = Var(s.var + "'")  # type: ignore[union-attr]  # a For or a Let
        self.apart = [
            compare(direction, Var(name), self.primes[name])
            for name, direction in directions.items()
            if direction in (LATER, EARLIER) and name in self.primes
        ]

    def fused_loops(self) -> list[_Fused]:
        """The parts of fused loops that both accesses have and that may differ, outer loops first."""
        lets = [s for s in self.first.path if isinstance(s, Let) and s.var in self.primes]
        parts = [(s.var, s.value) for s in lets if isinstance(s.value, Op)]
        return [
            _Fused(outer, inner, div.args[0])
            for outer, div in parts
            for inner, mod in parts
            if (div.op, mod.op) == ("//", "%") and div.args == mod.args
            if substitute(div.args[1], self.primes) == div.args[1]
        ]

    def second_index(self) -> list[Expr]:
        return [substitute(i, self.primes) for i in self.second.index]

    def facts(self, around: Facts) -> Facts:
        """All that is known about the variables of both accesses."""
        facts = _surroundings(around, _Side(self.first, {}, {}), _Side(self.second, {}, self.primes))
        return _assume(facts, self.apart)

    def example(self, around: Facts) -> dict[str, int] | None:
        """Values of all variables for which the accesses meet, if a search finds some.

        Here the names of `Let` are expanded: as free variables they would give examples
        that no iteration has.
        """
        first = _Side(self.first, _definitions(self.first), {})
        second = _Side(self.second, _definitions(self.second), self.primes)
        pairs = [
            (first.here(a), second.here(b)) for a, b in zip(self.first.index, self.second.index, strict=True)
        ]
        # `j` and `j'` meet where they are equal: nothing to search for.
        equal = {
            b.name: a
            for a, b in pairs
            if isinstance(a, Var) and isinstance(b, Var) and b.name == a.name + "'"
        }
        pairs = [(substitute(a, equal), substitute(b, equal)) for a, b in pairs]
        meet = [compare("==", a, b) for a, b in pairs if a != b]
        facts = _assume(_surroundings(around, first, second), meet)
        facts = _assume(facts, [compare("==", Var(name), value) for name, value in equal.items()])
        wanted: Expr = TRUE
        for condition in (*self.apart, *meet):
            wanted = both(wanted, condition)
        return _satisfied(wanted, facts)


@dataclass(frozen=True, slots=True)
class _Side:
    """One of two accesses, with the names in `lets` expanded and the variables in `primes` renamed."""

    access: Access
    lets: Mapping[str, Expr]
    primes: Mapping[str, Expr]

    def here(self, e: Expr) -> Expr:
        return substitute(substitute(e, self.lets), self.primes)

    def links(self) -> list[tuple[_Side, Stmt, Stmt]]:
        """Each statement around the access with the one that it directly holds."""
        path = self.access.path
        return [(self, s, child) for s, child in zip(path, (*path[1:], self.access.statement), strict=True)]


def _surroundings(facts: Facts, first: _Side, second: _Side) -> Facts:
    """`facts` with the ranges and conditions around both accesses."""
    left, right = first.links(), second.links()
    # In pairs: a search for an example then decides both trips of an outer loop first.
    shared = min(len(left), len(right))
    pairs = [link for pair in zip(left[:shared], right[:shared], strict=True) for link in pair]
    for side, s, child in (*pairs, *left[shared:], *right[shared:]):
        facts = _known_inside(facts, side, s, child)
    return facts


def _satisfied(wanted: Expr, facts: Facts) -> dict[str, int] | None:
    """Small values that satisfy a condition and the facts, if a search finds some.

    A tile of 8 shows itself in loops of 9 trips: sizes just above the constants come first.
    """
    ranged = {name for name, _, _ in facts.ranges}
    ends = [end for _, low, high in facts.ranges for end in (low, high)]
    sizes = {name for e in (wanted, *ends) for name in variables(e)} - ranged
    constants = {int(n.value) for n in walk(wanted) if isinstance(n, Const) and n.dtype == I64}
    for size in sorted({2, *[c + 1 for c in constants if 1 < c < SEARCH_LIMIT]}):
        fixed = _assume(facts, [compare("==", Var(name), integer(size)) for name in sorted(sizes)])
        found = counterexample(negation(wanted), fixed)
        if found is not None:
            return found
    return counterexample(negation(wanted), facts)


def _assume(facts: Facts, conditions: Sequence[Expr]) -> Facts:
    for condition in conditions:
        facts = facts.with_assumption(condition)
    return facts


def _known_inside(facts: Facts, side: _Side, s: Stmt, child: Stmt) -> Facts:
    """What `s` tells about `child`."""
    match s:
        case For() | Let():
            value, top = side.here(Var(s.var)), sub(side.here(s.extent), integer(1))
            if not isinstance(value, Var):
                return _assume(facts, [compare(">=", value, integer(0)), compare("<=", value, top)])
            if value.name not in {name for name, _, _ in facts.ranges}:
                return facts.with_range(value.name, integer(0), top)
        case If() if s.body is not s.otherwise:
            condition = side.here(s.condition if child is s.body else negation(s.condition))
            if not any(True for _ in loads(condition)):
                return facts.with_assumption(condition)
    return facts


def _definitions(access: Access) -> dict[str, Expr]:
    """The values of the `Let`s around an access, over loop variables alone."""
    values: dict[str, Expr] = {}
    for s in access.path:
        if isinstance(s, Let):
            values[s.var] = substitute(s.value, values)
    return values


# ---------------------------------------------------------------- explaining


def example_of(d: Dependence) -> dict[str, int] | None:
    """Sizes and loop variables for which the accesses meet, if a search finds some.

    The variables of the second access carry a prime.
    """
    return _Pair(d.first, d.second, d.directions).example(d.facts)


def explain(d: Dependence, *loops: str) -> str:
    """The two accesses, and iterations of `loops` in which they meet where an example is known."""
    first, second = shown(d.first), shown(d.second)
    of = " and ".join(f"`{loop}`" for loop in loops)
    if d.first.writes and d.second.writes:
        verb = "accumulate into" if isinstance(d.first.statement, Accumulate) else "write"
        both_shown = first if d.first.index == d.second.index else f"{first} and {second}"
        what = f"different trips of {of} {verb} {both_shown}"
    elif d.first.writes:
        what = f"a trip of {of} writes {first}, which a later one reads as {second}"
    else:
        what = f"a trip of {of} reads {first}, which a later one writes as {second}"
    values = example_of(d)
    if values is None or not all(loop in values for loop in loops):
        return f"{what}, and nothing proves that these are different elements"
    trips = [{loop: values.get(loop + prime, values[loop]) for loop in loops} for prime in ("", "'")]
    if len(loops) == 1:
        iterations = f"trips {trips[0][loops[0]]} and {trips[1][loops[0]]}"
    else:
        trips_shown = ["(" + ", ".join(f"{index_of(n)} = {v}" for n, v in t.items()) + ")" for t in trips]
        iterations = f"iterations {trips_shown[0]} and {trips_shown[1]}"
    return f"{what}: {iterations} meet at {_element(d, values, loops)}"


def _element(d: Dependence, values: Mapping[str, int], loops: Sequence[str]) -> str:
    """The element that both touch, with the sizes that decide it."""
    lets = _definitions(d.first)
    exprs = [substitute(i, lets) for i in d.first.index]
    try:
        index = [str(evaluate(i, values)) for i in exprs]
    except (KeyError, ValueError):  # an index that depends on data
        return shown(d.first)
    exprs += [s.extent for s in d.first.path if isinstance(s, For) and s.var in loops]
    sizes = {name for e in exprs for name in variables(e) if name in values and "." not in name}
    given = ", ".join(f"{name} = {values[name]}" for name in sorted(sizes))
    return f"`{d.first.buffer}[{', '.join(index)}]`" + (f" (with {given})" if given else "")


def shown(access: Access) -> str:
    """An access as messages quote it: loops by their index, where that is no other one's too."""
    names = {name for i in access.index for name in variables(i)}
    count = Counter(index_of(name) for name in names)

    def name_of(loop: str) -> str:
        return index_of(loop) if count[index_of(loop)] == 1 else loop

    return f"`{print_expr(Load(access.buffer, access.index, I64), name_of)}`"
