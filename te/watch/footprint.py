"""What each statement of a loop program costs: how often it runs, what it computes, what it touches.

Meaning
-------
A statement's `Work` is that of one run of it, with everything inside it.

- `runs`: how often the statement runs in a call.
- `operations`: scalar arithmetic on elements. A function, such as `exp`, counts as one operation, a
  fused multiply-add as two, a step of a reduction as one; arithmetic on indices and what a reduction
  starts from count as none. Of the two sides of a choice the dearer one counts.
- `touches`: for each buffer that lives outside the statement, the box of elements that one run reads
  or writes. Its bytes are those that the run needs at hand: where they fit into a cache, the run
  reads each element from beyond it once.
- `moved`: the bytes that cross the border of the statement in a whole call, if one run has room for
  all it touches and nothing stays from one run to the next. What is read and written crosses twice.

All are expressions of the sizes, for sizes with which the statement runs. Guards of tails are counted
exactly: `if 8*io + ii < M` lets M points pass. Where a count is not exact (conditions on data,
triangles), it is an upper limit and `is_exact` is False. Boxes are hulls: a read of `X[2*i]` touches
all between.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from itertools import product as product_of

from te.ir.bounds import Facts, bounds, prove
from te.ir.context import context_of
from te.ir.evaluate import NotAnIndex, evaluate
from te.ir.expr import (
    Cast,
    Const,
    Expr,
    Load,
    Op,
    Select,
    Var,
    add,
    compare,
    conjuncts,
    floor_div,
    integer,
    maximum,
    minimum,
    mul,
    sub,
)
from te.ir.linear import Linear, variables_of
from te.ir.loop import (
    Accumulate,
    Alloc,
    Buffer,
    Completed,
    For,
    If,
    Kernel,
    Let,
    Stmt,
    Store,
    bodies,
    direct_exprs,
)
from te.ir.normal import linear_of
from te.ir.print import print_expr
from te.ir.readable import to_expr
from te.ir.simplify import simplify
from te.ir.visit import children, loads, variables
from te.schedule.context import facts_inside, program_facts

__all__ = ["Touch", "Work", "operations_of", "own_operations", "value_of", "works"]

ZERO: Expr = integer(0)
ONE: Expr = integer(1)


@dataclass(frozen=True, slots=True)
class Touch:
    """The elements of a buffer that one run reads or writes: a box with these extents."""

    buffer: Buffer
    region: tuple[Expr, ...]
    is_read: bool
    is_written: bool

    @property
    def bytes(self) -> Expr:
        return simplify(mul(integer(self.buffer.dtype.bytes), product(self.region)))


@dataclass(frozen=True, slots=True)
class Work:
    """What one run of a statement does; see the module."""

    runs: Expr
    operations: Expr
    touches: tuple[Touch, ...]
    is_exact: bool

    @property
    def bytes(self) -> Expr:
        """All that one run touches."""
        return total(touch.bytes for touch in self.touches)

    @property
    def moved(self) -> Expr:
        crossing = total(
            mul(integer(touch.is_read + touch.is_written), touch.bytes) for touch in self.touches
        )
        return simplify(mul(self.runs, crossing))


def works(kernel: Kernel) -> list[Work]:
    """The work of every statement, in the order of `walk_stmt`: a statement before those inside it."""
    return _Counter(kernel).all_works()


def value_of(e: Expr, sizes: Mapping[str, int]) -> int | None:
    """The number that an expression of sizes is, where the sizes that it needs are known."""
    try:
        return int(evaluate(e, sizes))
    except (KeyError, NotAnIndex):
        return None


def product(factors: Sequence[Expr]) -> Expr:
    return simplify(reduce(mul, factors, ONE))


def total(terms: Iterator[Expr]) -> Expr:
    return simplify(reduce(add, terms, ZERO))


# ---------------------------------------------------------------- operations of one statement


def operations_of(e: Expr) -> int:
    """How many operations on elements the evaluation of an expression takes.

    >>> from te.ir.types import F32
    >>> x = Load("X", (add(Var("i"), integer(1)),), F32)
    >>> operations_of(add(x, mul(x, x)))
    2
    """
    match e:
        case Load() | Const() | Var():
            return 0
        case Cast():
            return operations_of(e.value)
        case Select():
            sides = operations_of(e.then), operations_of(e.otherwise)
            return operations_of(e.condition) + max(sides)
        case Op() if _is_on_elements(e):
            own = {"fma": 2, "neg": 0, "and": 0, "or": 0, "not": 0}.get(e.op, 1)
            return own + sum(map(operations_of, e.args))
        case _:
            return sum(map(operations_of, children(e)))


def _is_on_elements(e: Expr) -> bool:
    """Whether the value of an expression depends on data, or is no index."""
    match e:
        case Load():
            return True
        case Var():
            return False
        case Const() | Cast():
            return e.dtype.is_float or any(map(_is_on_elements, children(e)))
    return any(map(_is_on_elements, children(e)))


def own_operations(s: Stmt) -> int:
    """The operations of one run of a statement that has no others inside it."""
    match s:
        case Store():
            return sum(map(operations_of, direct_exprs(s)))
        case Accumulate():  # its start is computed for the first step alone
            return 1 + sum(map(operations_of, (*s.index, s.value)))
    return 0


# ---------------------------------------------------------------- the whole kernel


@dataclass(frozen=True, slots=True)
class _Access:
    buffer: Buffer
    index: tuple[Expr, ...]
    is_read: bool
    is_written: bool
    over: frozenset[str] = frozenset()  # of an accumulation: it is read by runs after the first


@dataclass(frozen=True, slots=True)
class _Place:
    """A statement that does something itself, with all that is around it."""

    path: tuple[int, ...]  # the numbers of the statements around it, itself the last
    facts: Facts
    operations: int
    accesses: tuple[_Access, ...]


class _Counter:
    """One kernel's statements, numbered in the order of `walk_stmt`."""

    def __init__(self, kernel: Kernel):
        self._root = program_facts(kernel.program)
        self._statements: list[Stmt] = []
        self._facts: list[Facts] = []  # what holds around each statement
        self._paths: list[tuple[int, ...]] = []
        self._places: list[_Place] = []
        self._counts: dict[tuple[int, ...], tuple[Expr, bool]] = {}
        self._visit(kernel.body, (), self._root, {b.name: b for b in kernel.arguments})

    def _visit(self, s: Stmt, path: tuple[int, ...], facts: Facts, buffers: Mapping[str, Buffer]) -> None:
        path = (*path, len(self._statements))
        self._statements.append(s)
        self._facts.append(facts)
        self._paths.append(path)
        accesses = tuple(_accesses_of(s, buffers))
        if accesses or not bodies(s):
            self._places.append(_Place(path, facts, own_operations(s), accesses))
        if isinstance(s, Alloc):
            buffers = {**buffers, s.buffer.name: s.buffer}
        for body in bodies(s):
            self._visit(body, path, facts_inside(s, body, facts), buffers)

    def all_works(self) -> list[Work]:
        inside: list[list[_Place]] = [[] for _ in self._statements]
        for place in self._places:
            for number in place.path:
                inside[number].append(place)
        return [self._work(number, places) for number, places in enumerate(inside)]

    def _work(self, number: int, places: Sequence[_Place]) -> Work:
        runs, is_exact = self._count(self._paths[number][:-1])
        operations: list[Expr] = []
        for place in places:
            if place.operations:
                times, is_sure = self._count(self._within(place, number))
                operations.append(mul(integer(place.operations), times))
                is_exact = is_exact and is_sure
        return Work(runs, total(iter(operations)), self._touches(number, places), is_exact)

    def _within(self, place: _Place, number: int) -> tuple[int, ...]:
        return place.path[place.path.index(number) : -1]

    def _count(self, path: tuple[int, ...]) -> tuple[Expr, bool]:
        """How often what stands inside all these nested statements runs in one run of the first."""
        if path not in self._counts:
            around = [self._statements[n] for n in path]
            facts = self._facts[path[-1]] if path else self._root
            if path and isinstance(around[-1], For | If | Let):
                facts = facts_inside(around[-1], bodies(around[-1])[0], facts)
            self._counts[path] = count_points(
                around, facts, self._variables(self._paths[path[-1]] if path else ())
            )
        return self._counts[path]

    def _variables(self, path: Sequence[int]) -> list[str]:
        return [s.var for n in path if isinstance(s := self._statements[n], For | Let)]

    def _touches(self, number: int, places: Sequence[_Place]) -> tuple[Touch, ...]:
        """What one run touches of the buffers that live outside the statement."""
        grouped: dict[str, list[tuple[_Place, _Access]]] = {}
        for place in places:
            within = self._within(place, number)
            own = {s.buffer.name for n in within if isinstance(s := self._statements[n], Alloc)}
            for access in place.accesses:
                if access.buffer.name not in own:
                    grouped.setdefault(access.buffer.name, []).append((place, access))
        around = [self._statements[n] for n in self._paths[number][:-1]]
        outside = {s.var for s in around if isinstance(s, For)}
        return tuple(self._touch(number, outside, found) for found in grouped.values())

    def _touch(self, number: int, outside: set[str], found: Sequence[tuple[_Place, _Access]]) -> Touch:
        buffer = found[0][1].buffer
        region = tuple(self._extent(number, dimension, found) for dimension in range(len(buffer.shape)))
        is_read = any(access.is_read or access.over & outside for _, access in found)
        return Touch(buffer, region, is_read, any(access.is_written for _, access in found))

    def _extent(self, number: int, dimension: int, found: Sequence[tuple[_Place, _Access]]) -> Expr:
        """How far the indices of a dimension spread in one run; at most the dimension."""
        hidden = list(dict.fromkeys(name for place, _ in found for name in self._variables(place.path)))
        whole = _largest(found[0][1].buffer.shape[dimension], found[0][0].facts, hidden)
        places = dict.fromkeys(place.path for place, _ in found)
        facts = found[0][0].facts if len(places) == 1 else self._facts[number]
        lows: dict[Expr, None] = {}
        highs: dict[Expr, None] = {}
        for place, access in dict.fromkeys(found):
            varying = list(_varying([self._statements[n] for n in self._within(place, number)]))
            low, high = bounds(access.index[dimension], place.facts, varying)
            if low is None or high is None or any(loads(access.index[dimension])):
                return whole
            lows[low] = highs[high] = None
        spreads = {_spread(low, high, facts, hidden) for low, high in product_of(lows, highs)}
        spread = reduce(lambda a, b: _greatest(a, b, facts), sorted(spreads, key=print_expr))
        if variables(spread) & set(hidden) or prove(compare("<=", whole, spread), facts):
            return whole
        return _least(spread, whole, facts)


def _accesses_of(s: Stmt, buffers: Mapping[str, Buffer]) -> Iterator[_Access]:
    for e in direct_exprs(s):
        for load in loads(e):
            if load.buffer in buffers:
                yield _Access(buffers[load.buffer], load.index, True, False)
    if isinstance(s, Store | Accumulate) and s.buffer in buffers:
        over = s.over if isinstance(s, Accumulate) else frozenset()
        yield _Access(buffers[s.buffer], s.index, False, True, over)


def _spread(low: Expr, high: Expr, facts: Facts, hidden: Sequence[str]) -> Expr:
    """The number of indices from `low` to `high`, whatever the hidden variables are."""
    # `min(8*io + 7, M - 1) - 8*io`: each part of a `min` is subtracted from by itself, while `io` cancels.
    spreads = [
        _largest(simplify(add(sub(top, bottom), ONE), facts), facts, hidden)
        for top, bottom in product_of(_parts(high, "min"), _parts(low, "max"))
    ]
    return reduce(lambda a, b: _least(a, b, facts), spreads)


def _parts(e: Expr, op: str) -> list[Expr]:
    """`a`, `b` and `c` of `min(a, min(b, c))`."""
    if isinstance(e, Op) and e.op == op:
        return [part for argument in e.args for part in _parts(argument, op)]
    return [e]


def _least(a: Expr, b: Expr, facts: Facts) -> Expr:
    if prove(compare("<=", a, b), facts):
        return simplify(a, facts)
    return simplify(b if prove(compare("<=", b, a), facts) else minimum(a, b), facts)


def _greatest(a: Expr, b: Expr, facts: Facts) -> Expr:
    if prove(compare(">=", a, b), facts):
        return a
    return b if prove(compare(">=", b, a), facts) else simplify(maximum(a, b), facts)


def _largest(e: Expr, facts: Facts, over: Sequence[str]) -> Expr:
    """The highest value of `e` over the ranges of some variables, `e` itself where it mentions none."""
    if not variables(e) & set(over):
        return e
    high = bounds(e, facts, over)[1]
    return e if high is None else high


# ---------------------------------------------------------------- how often


def count_points(around: Sequence[Stmt], facts: Facts, hidden: Sequence[str] = ()) -> tuple[Expr, bool]:
    """How many points of nested loops pass all the guards between them, and whether that is exact.

    `facts` hold at the innermost place. Of the `hidden` variables of loops outside, those values count
    that let most points pass.

    >>> from te.ir.loop import seq
    >>> io, ii, m = Var("io"), Var("ii"), Var("M")
    >>> guard = If(compare("<", add(mul(integer(8), io), ii), m), seq())
    >>> loops = [For("io", simplify(Op("//", (add(m, integer(7)), integer(8)), m.dtype)), seq()),
    ...          For("ii", integer(8), seq()), guard]
    >>> count_points(loops, Facts())
    (Var(name='M'), True)
    """
    extents: dict[str, Expr] = {}
    guards: list[Expr] = []
    for s in around:
        match s:
            case For():
                extents[s.var] = s.extent
            case Let():
                _take_apart(s, extents)
            case If():
                guards += conjuncts(s.condition)
            case Completed():  # in their last trip alone, which their guards do not decide
                extents = {name: extent for name, extent in extents.items() if name not in s.over}
                guards = [guard for guard in guards if not variables(guard) & s.over]
    inner = _varying(around)
    count: Expr = ONE
    is_exact = True
    for guard in _needed(guards, around, facts):
        passed = _passing(guard, extents, inner, facts, hidden) if variables(guard) & inner else None
        if passed is None:
            is_exact = is_exact and not variables(guard) & inner
        else:
            used, number = passed
            count = mul(count, number)
            extents = {name: extent for name, extent in extents.items() if name not in used}
    for extent in extents.values():
        is_exact = is_exact and not variables(extent) & inner
        count = mul(count, _largest(extent, facts, [*hidden, *inner]))
    return simplify(count), is_exact


def _varying(around: Sequence[Stmt]) -> frozenset[str]:
    """The variables that change while these nested statements run once."""
    found: set[str] = set()
    for s in around:
        if isinstance(s, For) or (isinstance(s, Let) and variables(s.value) & found):
            found.add(s.var)
    return frozenset(found)


def _take_apart(s: Let, extents: dict[str, Expr]) -> None:
    """`let i = f // N: let j = f % N` walks over i and j as two loops would, where f did."""
    match s.value:
        case Op(op="//", args=(Var(name=name), inner)) if name in extents:
            if simplify(mul(s.extent, inner)) == simplify(extents[name]):
                extents[name] = inner
                extents[s.var] = s.extent
        case Op(op="%", args=(Var(name=name), inner)) if name in extents and extents[name] == inner:
            del extents[name]
            extents[s.var] = inner


def _needed(guards: Sequence[Expr], around: Sequence[Stmt], facts: Facts) -> list[Expr]:
    """The guards without those that follow from the ones kept, the finest first."""
    ranges = replace(facts, assumptions=())
    kept: list[Expr] = []
    for guard in sorted(dict.fromkeys(guards), key=lambda g: -len(variables(g))):
        known = reduce(lambda known, other: known.with_assumption(other), kept, ranges)
        if any(loads(guard)) or not prove(guard, known):
            kept.append(guard)
    return kept


def _passing(
    guard: Expr, extents: Mapping[str, Expr], inner: frozenset[str], facts: Facts, hidden: Sequence[str]
) -> tuple[set[str], Expr] | None:
    """The loops that a guard counts through and how many of their points it lets pass.

    It must be `c * (v0 + n1*v1 + ...) < limit` where each factor is the number of points of the loops
    before it, so that the sum takes every value from 0 just once.
    """
    if not (isinstance(guard, Op) and guard.op in ("<", "<=") and guard.args[0].dtype.is_integer):
        return None
    if any(loads(guard)):
        return None
    facts = replace(facts, assumptions=tuple(a for a in facts.assumptions if a not in conjuncts(guard)))
    form = linear_of(sub(guard.args[0], guard.args[1]), context_of(facts))
    steps: dict[str, int] = {}
    rest = Linear({}, form.constant)
    for factors, coefficient in form.terms.items():
        named = [atom for atom in factors if not atom.variables.isdisjoint(inner)]
        if not named:
            rest = Linear({**rest.terms, factors: coefficient}, rest.constant)
        elif len(factors) == 1 and factors[0].kind == "var" and coefficient > 0:
            steps[next(iter(factors[0].variables))] = coefficient
        else:
            return None
    if not steps or not steps.keys() <= extents.keys() or variables_of(rest) & inner:
        return None
    limit = simplify(sub(integer(1 if guard.op == "<=" else 0), to_expr(rest)))
    finest = min(steps.values())
    points: Expr = ONE
    for name, step in sorted(steps.items(), key=lambda item: item[1]):
        if simplify(mul(integer(finest), points)) != integer(step):
            return None
        points = mul(points, extents[name])
    if variables(points) & inner:
        return None
    below = floor_div(add(limit, integer(finest - 1)), integer(finest))
    names = [*hidden, *inner]
    passing, all_points = (_largest(simplify(e), facts, names) for e in (below, points))
    return set(steps), _least(passing, all_points, facts)
