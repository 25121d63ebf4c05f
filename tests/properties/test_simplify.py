"""`simplify` never changes a value, and what it returns is in simplest form."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from te.ir.expr import Const, Expr, Op, Var, add, integer, mul
from te.ir.facts import NO_FACTS, Facts
from te.ir.simplify import simplify
from te.ir.types import I64
from tests.properties.index_expressions import (
    DATA,
    INDICES,
    SIZES,
    assignments,
    compiled,
    conditions,
    data_expressions,
    facts,
    index_expressions,
    op,
)


def assert_equal_values(e: Expr, told: Facts) -> None:
    before, after = compiled(e), compiled(simplify(e, told))
    for values in assignments(told):
        assert before(values) == after(values), values


@given(index_expressions(), facts())
def test_an_index_keeps_its_value(e: Expr, told: Facts) -> None:
    assert_equal_values(e, told)


@given(conditions(index_expressions(max_leaves=4)), facts())
def test_a_condition_keeps_its_value(e: Expr, told: Facts) -> None:
    assert_equal_values(e, told)


@given(data_expressions(), facts())
def test_data_wraps_as_before(e: Expr, told: Facts) -> None:
    assert_equal_values(e, told)


@given(index_expressions(), st.lists(st.tuples(*[st.integers(-30, 30)] * 5), min_size=20, max_size=20))
def test_without_facts_sizes_are_natural_and_that_is_all(e: Expr, rows: list[tuple[int, ...]]) -> None:
    before, after = compiled(e), compiled(simplify(e))
    for row in rows:
        values = dict(zip(SIZES + INDICES, map(abs, row), strict=True))
        assert before(values) == after(values), values


@given(st.one_of(index_expressions(), conditions(index_expressions(max_leaves=3))), facts())
def test_simplifying_twice_changes_nothing(e: Expr, told: Facts) -> None:
    once = simplify(e, told)
    assert simplify(once, told) == once


@given(
    st.lists(st.tuples(st.integers(-5, 5), st.lists(st.sampled_from("abcd"), max_size=3)), max_size=6),
    st.randoms(),
)
def test_equal_polynomials_become_equal_expressions(terms: list[tuple[int, list[str]]], random) -> None:
    def build() -> Expr:
        e: Expr = integer(0)
        for coefficient, names in terms:
            factors: list[Expr] = [integer(coefficient), *map(Var, names)]
            random.shuffle(factors)
            product = factors[0]
            for factor in factors[1:]:
                product = mul(product, factor)
            e = add(e, product) if random.random() < 0.5 else op("-", e, Op("neg", (product,), I64))
        return e

    first = build()
    random.shuffle(terms)
    assert simplify(first) == simplify(build())


@given(
    st.sampled_from(("+", "-", "*", "//", "%", "min", "max")), st.sampled_from(DATA), st.sampled_from(DATA)
)
def test_constants_fold(name: str, a: int, b: int) -> None:
    # As index arithmetic such constants would be refused; within 64 bits they fold exactly.
    e = op(name, integer(a), integer(b))
    value = compiled(e)({})
    folded = simplify(e)
    assert isinstance(folded, Const)
    assert folded.value == value or abs(folded.value) >= 2**63


def test_deep_expressions_are_no_problem() -> None:
    total: Expr = Var("N")
    nested: Expr = Var("N")
    chosen: Expr = Var("N")
    for depth in range(200):
        total = add(total, mul(integer(depth), Var("i")))
    for depth in range(100):
        nested = op("//", add(nested, Var("M")), integer(2 + depth % 3))
        chosen = op("min", add(chosen, Var(f"x{depth}")), Var("M"))
    assert simplify(total, NO_FACTS) == add(mul(integer(19900), Var("i")), Var("N"))
    for e in (nested, chosen):
        assert simplify(e) != e
        assert simplify(simplify(e)) == simplify(e)


def test_large_sums_and_products_are_no_problem() -> None:
    total: Expr = integer(0)
    power: Expr = integer(1)
    for number in range(100):
        total = add(total, Var(f"x{number}"))
        power = mul(power, add(Var(f"x{number % 7}"), Var(f"y{number % 5}")))
    repeated: Expr = Var("N")
    remainders: Expr = Var("N")
    for number in range(40):
        repeated = op("//", mul(integer(9), repeated), integer(8))
        remainders = op("%", add(mul(remainders, Var("M")), Var(f"x{number}")), integer(number + 2))
    for e in (total, power, repeated, remainders):
        told = NO_FACTS.with_assumption(op("==", e, Var("N"))).with_range("i", integer(0), e)
        told = told.with_assumption(op("!=", e, Var("M"))).with_assumption(
            op("==", op("%", e, integer(8)), integer(0))
        )
        for asked in (op("<", e, Var("M")), op("<", op("*", e, e), Var("i")), op("//", Var("N"), e)):
            simplify(asked, told)
            simplify(
                op("and", asked, asked) if asked.dtype != I64 else asked, Facts(told.ranges, told.assumptions)
            )


def test_a_bound_of_a_remainder_is_not_one_of_its_variable() -> None:
    told = NO_FACTS.with_range("i", integer(-3), integer(3))
    told = told.with_assumption(op("==", op("%", op("max", Var("i"), integer(0)), integer(2)), integer(0)))
    assert simplify(op("%", Var("i"), integer(2)), told) != integer(0)
