"""The algebra of online: which terms follow a running value, by which factor, and that it is one."""

from __future__ import annotations

import pytest

from te.ir.expr import Load, Op, Var
from te.ir.print import print_expr
from te.ir.types import F64
from te.schedule.online.algebra import NotRescalable
from te.schedule.online.following import Follows, Member, followers
from te.schedule.online.polynomials import ZERO, as_expr, polynomial
from tests.schedule.scheduling import program


def following(term: str, own: str = "X[i, j]", extreme: str = "max", where: str = "") -> Follows:
    """How a sum of a term follows `m`, the extreme of `own`; a partner `u` sums `exp(own - m)`."""
    over = f"[j < N where {where}]" if where else "[j < N]"
    text = f"""
    op f(X: f64[M, N], B: f64[M, N], t: f64[M], r: f64, V: f64[N, E]) -> Y: f64[M] {{
        m[i < M] = {extreme}{over}({own})
        u[i < M] = sum{over}(exp(({own}) - m[i]))
        l[i < M] = sum{over}({term})
        Y[i]     = l[i] + u[i]
    }}
    """
    p = program(text)
    members = []
    for name in ("m", "u", "l"):
        stage = p.stage(name)
        assert stage.reduction is not None
        members.append(Member(stage, stage.reduction.axes[0]))
    found = followers(p, members)[2].follows
    assert found is not None
    return found


def shown(follows: Follows) -> str:
    old, new = (Load(name, (Var("i"),), F64) for name in ("old", "m"))
    return " * ".join(print_expr(f.between(old, new)) for f in follows.rescaling.factors)


@pytest.mark.parametrize(
    ("term", "factor"),
    [
        ("exp(X[i, j] - m[i])", "exp(old[i] - m[i])"),
        ("exp(-(m[i] - X[i, j]))", "exp(old[i] - m[i])"),
        ("2.0 / exp(m[i] - X[i, j])", "exp(old[i] - m[i])"),
        ("exp(X[i, j] - m[i]) * B[i, j] * exp(B[i, j])", "exp(old[i] - m[i])"),
        ("exp(X[i, j] - m[i]) / (1.0 + B[i, j] * B[i, j])", "exp(old[i] - m[i])"),
        ("-exp(X[i, j] - m[i])", "exp(old[i] - m[i])"),
        ("B[i, j] * (exp(X[i, j] - m[i]) + t[i] * exp(X[i, j] - m[i]))", "exp(old[i] - m[i])"),
        ("where(B[i, j] > 0.0, exp(X[i, j] - m[i]), 2.0 * exp(X[i, j] - m[i]))", "exp(old[i] - m[i])"),
        ("exp2(X[i, j] - m[i])", "exp2(old[i] - m[i])"),
        ("exp(0.5 * X[i, j] - m[i] / 2.0)", "exp(0.5 * (old[i] - m[i]))"),
        ("exp((X[i, j] - m[i]) / t[i])", "exp(1.0 / t[i] * (old[i] - m[i]))"),
        ("exp((X[i, j] - m[i]) * (t[i] + r))", "exp((t[i] + r) * (old[i] - m[i]))"),
        ("exp(X[i, j] - m[i]) * exp(X[i, j] - m[i])", "exp(2.0 * (old[i] - m[i]))"),
        ("exp(X[i, j] - m[i]) * exp2(X[i, j] - m[i])", "exp(old[i] - m[i]) * exp2(old[i] - m[i])"),
        ("exp(X[i, j] - m[i]) / exp(X[i, j] - m[i])", ""),
        ("f64(f16(exp(X[i, j] - m[i])))", "exp(old[i] - m[i])"),
    ],
)
def test_factor(term: str, factor: str) -> None:
    assert shown(following(term)) == factor


def test_a_minimum_is_followed_from_below() -> None:
    assert shown(following("exp(m[i] - X[i, j])", extreme="min")) == "exp(m[i] - old[i])"


def test_exponents_are_compared_with_what_the_maximum_is_taken_of() -> None:
    own = "5.0 * tanh(X[i, j] * t[i] + B[i, j])"
    assert shown(following(f"exp(({own} - m[i]) / r) * X[i, j]", own)) == "exp(1.0 / r * (old[i] - m[i]))"
    assert shown(following("exp(B[i, j] - m[i] + X[i, j])", "X[i, j] + B[i, j]")) == "exp(old[i] - m[i])"


def test_a_linear_factor_moves_with_the_sum_without_it() -> None:
    follows = following("3.0 * exp(X[i, j] - m[i]) * (X[i, j] - m[i])")
    assert shown(follows) == "exp(old[i] - m[i])"
    assert follows.partner == Load("u", (Var("i"),), F64)
    assert follows.rescaling.linear is not None
    assert print_expr(follows.rescaling.linear.slope) == "-3.0"


@pytest.mark.parametrize(
    ("term", "reason"),
    [
        ("m[i]", "other than through an exponential"),
        ("(X[i, j] - m[i]) * (X[i, j] - m[i])", "other than through an exponential"),
        ("exp(X[i, j] - m[i]) * (X[i, j] - m[i]) * (X[i, j] - m[i])", "other than through an exponential"),
        ("exp(X[i, j] - m[i]) * B[i, j] * (X[i, j] - m[i])", "not in the group"),
        ("exp(X[i, j] - m[i]) + exp2(X[i, j] - m[i])", "different factors"),
        ("exp(X[i, j] - m[i]) - m[i]", "other than through an exponential"),
        ("exp(exp(X[i, j] - m[i]))", "not linear"),
        ("max(exp(X[i, j] - m[i]), 0.5)", "does not change by a factor"),
        ("where(m[i] > 0.0, exp(X[i, j] - m[i]), 2.0 * exp(X[i, j] - m[i]))", "does not change by a factor"),
        ("exp(X[i, j]) * exp(0.0 - m[i])", "could overflow"),
        ("exp(m[i] - m[i])", "not linear"),
        ("exp((X[i, j] - m[i]) * X[i, j])", "differs along `j`"),
        ("exp((X[i, j] + 1e30) - (m[i] + 1e30))", "not linear"),
        ("f64(f32(9.0 * exp(X[i, j] - m[i])))", "rounds to f32"),
    ],
)
def test_what_does_not_follow(term: str, reason: str) -> None:
    with pytest.raises(NotRescalable, match=reason):
        following(term)


MASKED = "where(B[i, j] > 0.0, exp(X[i, j] - m[i]), 0.0)"


def masked(term: str, where: str = "", leader: str = "B[i, j] > 0.0") -> Follows | None:
    """How a sum of a term over the elements `where` follows the maximum over those of `leader`."""
    over = f"[j < N where {where}]" if where else "[j < N]"
    p = program(f"""
    op f(X: f64[M, N], B: f64[M, N]) -> l: f64[M] {{
        m[i < M] = max[j < N where {leader}](X[i, j])
        l[i < M] = sum{over}({term})
    }}
    """)
    stages = [s for s in (p.stage("m"), p.stage("l")) if s.reduction is not None]
    return followers(p, [Member(s, s.reduction.axes[0]) for s in stages if s.reduction])[1].follows


@pytest.mark.parametrize(
    ("term", "where", "leader"),
    [
        (MASKED, "", "B[i, j] > 0.0"),
        (f"{MASKED} * B[i, j]", "", "B[i, j] > 0.0"),
        (f"B[i, j] * ({MASKED} / 2.0)", "", "B[i, j] > 0.0"),
        (MASKED, "B[i, j] > 0.0", "B[i, j] > 0.0"),
        (MASKED, "j <= i", "j <= i and B[i, j] > 0.0"),
        (f"where(j <= i, {MASKED}, 0.0)", "", "B[i, j] > 0.0 and j <= i"),
        ("where(j <= i, B[i, j], 0.0) * exp(X[i, j] - m[i])", "B[i, j] > 0.0", "B[i, j] > 0.0"),
    ],
)
def test_a_term_that_is_0_where_the_maximum_does_not_look_follows_it(
    term: str, where: str, leader: str
) -> None:
    follows = masked(term, where, leader)
    assert follows is not None
    assert shown(follows) == "exp(old[i] - m[i])"


@pytest.mark.parametrize(
    ("term", "where", "leader", "reason"),
    [
        # A NaN or an infinity that only the maximum sees would spoil the factor and not the plain sum.
        (MASKED, "", "j <= i", "conditions differ"),
        (MASKED, "", "j <= i or B[i, j] > 0.0", "conditions differ"),
        (f"where(j <= i, {MASKED}, 0.0)", "", "B[i, j] > 0.0", "conditions differ"),
        (f"{MASKED} + 0.0", "", "B[i, j] > 0.0", "conditions differ"),
        (f"{MASKED} + exp(X[i, j] - m[i])", "B[i, j] > 0.0", "B[i, j] > 0.0", "different factors"),
        (
            "where(B[i, j] > 0.0, exp(X[i, j] - m[i]), 1.0)",
            "B[i, j] > 0.0",
            "B[i, j] > 0.0",
            "different factors",
        ),
        (f"1.0 / {MASKED}", "B[i, j] > 0.0", "B[i, j] > 0.0", "different factors"),
    ],
)
def test_a_term_that_is_0_elsewhere_does_not(term: str, where: str, leader: str, reason: str) -> None:
    with pytest.raises(NotRescalable, match=reason):
        masked(term, where, leader)


def test_polynomials_do_not_cancel() -> None:
    x, y = Load("x", (), F64), Load("y", (), F64)
    zero = Op("-", (x, x), F64)
    assert polynomial(zero) == {frozenset({(zero, 1)}): 1}
    assert polynomial(Op("*", (Op("/", (x, y), F64), y), F64)) == polynomial(x)
    assert print_expr(as_expr(polynomial(Op("neg", (Op("/", (x, y), F64),), F64)), F64)) == "-(x / y)"
    assert print_expr(as_expr(ZERO, F64)) == "0.0"
