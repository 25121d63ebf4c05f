"""Random index expressions and facts, and an evaluator of its own to judge them by."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product

from hypothesis import strategies as st

from te.ir.expr import BOOL, Cast, Const, Expr, Load, Op, Select, Var, integer
from te.ir.facts import NO_FACTS, Facts
from te.ir.types import I64
from te.ir.visit import variables

SIZES = ("N", "M")
INDICES = ("i", "j", "k")
COMPARISONS = ("<", "<=", ">", ">=", "==", "!=")

# Data that tries to make arithmetic wrap.
DATA = (0, 1, -1, 5, 2**63 - 1, -(2**63), 2**62, -(2**63) + 1, 7, -8)


def op(name: str, *args: Expr) -> Expr:
    return Op(name, args, BOOL if name in COMPARISONS or name in ("and", "or", "not") else I64)


def leaves(names: tuple[str, ...]) -> st.SearchStrategy[Expr]:
    return st.one_of(st.sampled_from(names).map(Var), st.integers(-9, 9).map(integer))


def extended(inner: st.SearchStrategy[Expr]) -> st.SearchStrategy[Expr]:
    """Every operator of index arithmetic over the inner expressions."""
    divisors = st.one_of(st.sampled_from((1, 2, 3, 4, 8, -2, 0)).map(integer), inner)
    return st.one_of(
        st.builds(op, st.sampled_from(("+", "-", "*", "min", "max")), inner, inner),
        st.builds(op, st.just("*"), st.integers(-4, 8).map(integer), inner),
        st.builds(op, st.sampled_from(("//", "%")), inner, divisors),
        st.builds(op, st.sampled_from(("neg", "abs")), inner),
        st.builds(Select, comparisons(inner), inner, inner),
    )


def comparisons(inner: st.SearchStrategy[Expr]) -> st.SearchStrategy[Expr]:
    return st.builds(op, st.sampled_from(COMPARISONS), inner, inner)


def conditions(inner: st.SearchStrategy[Expr]) -> st.SearchStrategy[Expr]:
    return st.recursive(
        comparisons(inner),
        lambda c: st.one_of(
            st.builds(op, st.sampled_from(("and", "or")), c, c), st.builds(op, st.just("not"), c)
        ),
        max_leaves=3,
    )


def index_expressions(
    names: tuple[str, ...] = SIZES + INDICES, max_leaves: int = 6
) -> st.SearchStrategy[Expr]:
    return st.recursive(leaves(names), extended, max_leaves=max_leaves)


def data_expressions() -> st.SearchStrategy[Expr]:
    """Index arithmetic mixed with elements of an i64 buffer, which wrap."""
    inner = index_expressions(max_leaves=2)
    load = inner.map(lambda e: Load("ids", (e,), I64))
    cast = inner.map(lambda e: Cast(Cast(e, I64), I64))
    return st.recursive(st.one_of(load, inner, cast), extended, max_leaves=4)


@st.composite
def ends(draw: st.DrawFn, before: tuple[str, ...]) -> tuple[Expr, Expr]:
    """The ends of a range as loops have them, or any."""
    size: Expr = Var(draw(st.sampled_from(SIZES)))
    c = integer(draw(st.integers(1, 4)))
    outer: Expr = Var(draw(st.sampled_from(before)))
    zero, one = integer(0), integer(1)
    return draw(
        st.sampled_from(
            (
                (zero, op("-", size, one)),
                (zero, op("-", c, one)),
                (zero, op("-", op("//", size, c), one)),
                (zero, op("//", op("-", size, one), c)),
                (zero, outer),
                (outer, op("-", size, one)),
                (zero, op("-", op("min", c, op("-", size, op("*", c, outer))), one)),
                (op("-", outer, c), op("+", outer, c)),
                (outer, outer),
            )
        )
    )


@st.composite
def facts(draw: st.DrawFn) -> Facts:
    told = NO_FACTS
    before = SIZES
    for name in INDICES:
        low, high = draw(ends(before))
        told = told.with_range(name, low, high)
        before = (*before, name)
    size, index, other = (Var(draw(st.sampled_from(names))) for names in (SIZES, INDICES, before))
    c = integer(draw(st.integers(0, 4)))
    some = (
        op("==", op("%", size, c), integer(0)),
        op(">=", size, c),
        op("<", op("+", op("*", c, index), other), size),
        op("==", index, other),
        op("!=", index, other),
        op("==", Var("N"), op("+", Var("M"), c)),
        op("==", op("%", op("+", size, c), integer(3)), integer(0)),
        op("==", op("%", index, integer(2)), integer(0)),
        op("and", op("<=", c, index), op("<=", index, size)),
    )
    for assumption in draw(
        st.lists(st.one_of(st.sampled_from(some), conditions(index_expressions(max_leaves=2))), max_size=2)
    ):
        told = told.with_assumption(assumption)
    return told


# ---------------------------------------------------------------- the judge


def compiled(e: Expr) -> Callable[[dict[str, int]], int]:
    """The value of an expression for values of its variables, with i64 wrapping, by Python source."""
    code = compile(f"lambda v: {_source(e)}", "<expression>", "eval")
    return eval(code, {"wrap": _wrap, "div": _div, "mod": _mod, "data": lambda x: DATA[x % len(DATA)]})


def _wrap(x: int) -> int:
    return (x + 2**63) % 2**64 - 2**63


def _div(a: int, b: int) -> int:
    return a // b if b else 0


def _mod(a: int, b: int) -> int:
    return a - b * (a // b) if b else 0


def _source(e: Expr) -> str:
    match e:
        case Var(name):
            return f"v[{name!r}]"
        case Const(value, _):
            return f"({value!r})"
        case Load(_, (index,), _):
            return f"data({_source(index)})"
        case Cast(value, _):
            return _source(value)
        case Select(c, a, b):
            return f"({_source(a)} if {_source(c)} else {_source(b)})"
        case Op("//" | "%" as name, (a, b), _):
            return f"wrap({'div' if name == '//' else 'mod'}({_source(a)}, {_source(b)}))"
        case Op("min" | "max" as name, (a, b), _):
            return f"{name}({_source(a)}, {_source(b)})"
        case Op("abs", (a,), _):
            return f"wrap(abs({_source(a)}))"
        case Op("neg", (a,), _):
            return f"wrap(-{_source(a)})"
        case Op("not", (a,), _):
            return f"(not {_source(a)})"
        case Op(("+" | "-" | "*") as name, (a, b), _):
            return f"wrap({_source(a)} {name} {_source(b)})"
        case Op(name, (a, b), _):
            return f"({_source(a)} {name} {_source(b)})"
    raise AssertionError(e)


def assignments(told: Facts, largest: int = 4) -> Iterator[dict[str, int]]:
    """All values of sizes up to `largest`, and of the ranged variables, that satisfy the facts."""
    steps = [(name, compiled(low), compiled(high)) for name, low, high in told.ranges]
    needs = [(variables(a), compiled(a)) for a in told.assumptions]
    early = [check for used, check in needs if used <= set(SIZES)]
    late = [check for used, check in needs if not used <= set(SIZES)]

    def extend(values: dict[str, int], position: int) -> Iterator[dict[str, int]]:
        if position == len(steps):
            if all(check(values) for check in late):
                yield dict(values)
            return
        name, low, high = steps[position]
        for value in range(low(values), high(values) + 1):
            values[name] = value
            yield from extend(values, position + 1)
        values.pop(name, None)

    for sizes in product(range(largest + 1), repeat=len(SIZES)):
        values = dict(zip(SIZES, sizes, strict=True))
        if all(check(values) for check in early):
            yield from extend(values, 0)
