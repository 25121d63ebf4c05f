"""What is proved holds, bounds hold all values, counterexamples are ones: by trying all small values."""

from __future__ import annotations

from itertools import islice

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from te.ir.bounds import bounds, counterexample, evaluate, magnitude_limit, prove
from te.ir.expr import Expr, Var, integer
from te.ir.facts import Facts
from te.ir.simplify import simplify
from te.ir.visit import variables, walk
from tests.properties.index_expressions import (
    INDICES,
    SIZES,
    assignments,
    compiled,
    conditions,
    facts,
    index_expressions,
    op,
)

MOST = 2000  # assignments looked at


@given(conditions(index_expressions(max_leaves=4)), facts())
def test_what_is_proved_holds(condition: Expr, told: Facts) -> None:
    if prove(condition, told):
        value = compiled(condition)
        for values in assignments(told, largest=6):
            assert value(values), values


@settings(suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
@given(index_expressions(max_leaves=5), facts(), st.data())
def test_nothing_is_proved_that_some_values_refute(e: Expr, told: Facts, data: st.DataObject) -> None:
    """Conditions at the edge: one beyond the least and the greatest value that occur."""
    value = compiled(e)
    found = [value(values) for values in islice(assignments(told), MOST)]
    assume(found)
    least, greatest = min(found), max(found)
    assert not prove(op(">=", e, integer(least + 1)), told)
    assert not prove(op("<", e, integer(greatest)), told)
    assert not prove(op("!=", e, integer(data.draw(st.sampled_from(found)))), told)
    assert not prove(op("==", op("%", e, integer(2)), integer(1 - least % 2)), told)


@given(index_expressions(max_leaves=5), facts(), st.sets(st.sampled_from(INDICES + SIZES)))
def test_bounds_hold_all_values(e: Expr, told: Facts, over: set[str]) -> None:
    low, high = bounds(e, told, over)
    value = compiled(e)
    for end, sign in ((low, 1), (high, -1)):
        if end is None:
            continue
        assert variables(end).isdisjoint(over)
        edge = compiled(end)
        for values in islice(assignments(told), MOST):
            assert sign * (value(values) - edge(values)) >= 0, values


@given(conditions(index_expressions(max_leaves=3)), facts())
def test_counterexamples_are_counterexamples(condition: Expr, told: Facts) -> None:
    found = counterexample(condition, told, ["extra"])
    if found is None:
        return
    assert found.keys() >= {"extra", *variables(condition)}
    assert not compiled(condition)(found)
    assert all(compiled(assumption)(found) for assumption in told.assumptions)
    for name, low, high in told.ranges:
        assert compiled(low)(found) <= found[name] <= compiled(high)(found)


@given(conditions(index_expressions()), st.tuples(*[st.integers(-20, 20)] * 5))
def test_evaluate_agrees_with_python(e: Expr, row: tuple[int, ...]) -> None:
    values = dict(zip(SIZES + INDICES, row, strict=True))
    assert evaluate(e, values) == compiled(e)(values)


@given(index_expressions(), st.randoms())
def test_nothing_exceeds_the_magnitude_limit(e: Expr, random) -> None:
    n = Var("N")
    told = Facts().with_range("i", integer(-1), op("-", op("*", integer(3), n), integer(1)))
    told = told.with_range("j", integer(0), n).with_range("k", op("neg", n), integer(5))
    limit = magnitude_limit([e], told)
    assert 0 <= limit <= 2**62
    size = random.choice([limit, limit, random.randint(0, limit)])
    other = random.choice([limit, 0, random.randint(0, limit)])
    i = random.choice([-1, 3 * size - 1, random.randint(-1, max(-1, 3 * size - 1))])
    values = {"N": size, "M": other, "i": i, "j": random.choice([0, size]), "k": random.choice([-size, 5])}
    for part in walk(e):
        assert abs(int(evaluate(part, values))) <= 2**62


@given(facts(), index_expressions(max_leaves=3))
def test_step_by_step_or_at_once(told: Facts, e: Expr) -> None:
    """Facts that were built in one go lead to no contradiction with those built step by step."""
    at_once = Facts(told.ranges, told.assumptions)
    value, other = compiled(simplify(e, told)), compiled(simplify(e, at_once))
    for values in islice(assignments(told), MOST):
        assert value(values) == other(values)
