"""Registers of tiles on GPUs: indices as digits, no gaps, and what overhangs."""

from __future__ import annotations

from typing import TypeAlias

import pytest

import te
from te.ir.bounds import NO_FACTS
from te.ir.expr import Const, Expr, Load, Var, add, compare, floor_div, floor_mod, integer, mul
from te.ir.loop import Alloc, Buffer, For, If, Stmt, Store, seq, walk_stmt
from te.ir.print import print_expr
from te.ir.types import F32, I64
from te.schedule.finalize.gpu.digits import Digit, digits_of, reach_of, same_digits, same_variables
from te.schedule.finalize.gpu.instances import meet_in
from te.schedule.finalize.gpu.overhang import compute_overhang
from te.schedule.finalize.guards import conjunction

EXTENTS: dict[str, Expr] = {
    "h": integer(2),
    "t": integer(8),
    "o": integer(4),
    "one": integer(1),
    "n": Var("N"),
}


def index(**weights: int) -> Expr:
    found: Expr = integer(0)
    for name, weight in weights.items():
        found = add(found, mul(integer(weight), Var(name)))
    return found


def test_digits_are_those_of_a_number() -> None:
    expected = (Digit(1, 4, "o"), Digit(4, 8, "t"), Digit(32, 2, "h"))
    assert digits_of(index(h=32, t=4, o=1, one=7), EXTENTS, NO_FACTS) == expected
    assert reach_of(index(h=32, t=4, o=1), EXTENTS, NO_FACTS) == 63


@pytest.mark.parametrize(
    "e",
    [
        index(t=3, o=1),
        index(h=1, t=1),
        index(n=1),
        index(t=-1),
        add(index(o=1), integer(1)),
        index(unknown=1),
    ],
)
def test_other_numbers_have_no_digits(e: Expr) -> None:
    assert digits_of(e, EXTENTS, NO_FACTS) is None


def test_the_same_places_are_needed() -> None:
    a = digits_of(index(t=4, o=1), EXTENTS, NO_FACTS)
    b = digits_of(index(h=4, o=1), EXTENTS, NO_FACTS)
    c = digits_of(index(h=8, o=1), EXTENTS, NO_FACTS)
    assert a is not None
    assert b is not None
    assert c is not None
    assert same_digits(a, a) == {"t": "t", "o": "o"}
    assert same_digits(a, b) == {"t": "h", "o": "o"}  # h has fewer values than t
    assert same_digits(a, c) is None


def test_a_variable_may_be_in_two_parts() -> None:
    def element(thread: str, lane: str) -> tuple[Expr, Expr]:
        part = add(mul(integer(4), floor_mod(Var(thread), integer(4))), Var(lane))
        return floor_div(Var(thread), integer(4)), part

    extents: dict[str, Expr] = {"t": integer(8), "o": integer(4), "t'": integer(8), "o'": integer(4)}
    assert same_variables(element("t", "o"), element("t'", "o'"), extents, NO_FACTS) == {
        ("t", "t'"),
        ("o", "o'"),
    }
    halves = [part[1:] for part in (element("t", "o"), element("t'", "o'"))]
    assert same_variables(*halves, extents, NO_FACTS) == {("o", "o'")}


Access: TypeAlias = tuple[list[Expr], list[Expr], list[tuple[str, Expr]], list[Expr]]


def access(place: Expr, *conditions: Expr) -> Access:
    return [place], [Var("t")], [("t", integer(8))], list(conditions)


def test_accesses_that_meet_are_found() -> None:
    own, next_one = access(Var("t")), access(add(Var("t"), integer(1)))
    assert meet_in(own, next_one, NO_FACTS, by_others=True)
    assert not meet_in(own, own, NO_FACTS, by_others=True)
    assert meet_in(own, own, NO_FACTS, by_others=False)
    assert not meet_in(own, access(add(Var("t"), integer(8))), NO_FACTS, by_others=False)


def test_accesses_meet_only_under_their_conditions_and_the_facts() -> None:
    first, last = compare("<", Var("N"), integer(10)), compare(">=", Var("N"), integer(10))
    assert meet_in(access(Var("t"), first), access(Var("t"), first), NO_FACTS, by_others=False)
    assert not meet_in(access(Var("t"), first), access(Var("t"), last), NO_FACTS, by_others=False)
    assert not meet_in(*[access(Var("t"), first)] * 2, NO_FACTS.with_assumption(last), by_others=False)


def test_accesses_meet_where_the_facts_ask_for_large_sizes() -> None:
    many = compare(">=", mul(Var("M"), Var("N")), integer(1 << 21))
    facts = NO_FACTS.with_assumption(many).with_assumption(compare(">=", Var("M"), integer(65)))
    assert meet_in(access(Var("t")), access(Var("t")), facts, by_others=False)
    never = compare("<", Var("M"), integer(65))
    assert not meet_in(access(Var("t")), access(Var("t")), facts.with_assumption(never), by_others=False)


def test_what_data_decide_is_not_tried() -> None:
    data = access(Load("X", (Var("t"),), I64))
    assert not meet_in(data, data, NO_FACTS, by_others=False)


TILED = """
op f(A: f32[M, K], B: f32[K, N]) -> C: f32[M, N] {
    C[i, j] = sum[k](A[i, k] * B[k, j])
}
schedule f on cuda {
    split i by 16 into block_y, in_y
    split in_y by 2 into thread_y, own_y
    split j by 32 into block_x, in_x
    split in_x by 16 into group, in_group
    split in_group by 2 into thread_x, own_x
    split k by 8 into slice, term
    reorder block_y, block_x, slice, thread_y, thread_x, term, own_y, group, own_x
    cache_write C[y, x] at block_x as tile in register
    split tile.y by 2 into thread_y, own_y
    split tile.x by 16 into group, in_group
    split tile.in_group by 2 into thread_x, own_x
    reorder tile.thread_y, tile.thread_x, tile.own_y, tile.group, tile.own_x
    bind tile.thread_y to thread.y
    bind tile.thread_x to thread.x
    bind block_y to block.y
    bind block_x to block.x
    bind C.thread_y to thread.y
    bind C.thread_x to thread.x
    cache_read A at slice as left in shared FILL
    cache_read B at slice as right in shared FILL
}
"""


def test_groups_of_columns_leave_no_gaps_in_registers() -> None:
    assert "float tile[2][4];" in te.build(TILED.replace("FILL", "fill 0"), target="cuda").ir("cuda")


def test_what_overhangs_is_computed_from_filled_copies_alone() -> None:
    filled = te.build(TILED.replace("FILL", "fill 0"), target="cuda").ir("cuda")
    plain = te.build(TILED.replace("FILL", ""), target="cuda").ir("cuda")
    assert filled.count("te_fma_f32(") == 2  # the function, and one step
    assert plain.count("te_fma_f32(") > 2  # where the tile lies inside, and where it overhangs


def overhanging(value: Expr, *conditions: Expr, buffer: str = "tile") -> Stmt:
    """Eight elements of a thread, of which there are those that a condition says."""
    body: Stmt = Store(buffer, (Var("own"),), value, buffer)
    return For("own", integer(8), If(conjunction(conditions), body))


def guards(s: Stmt) -> list[str]:
    return [print_expr(x.condition) for x, _ in walk_stmt(s) if isinstance(x, If)]


EXISTS = compare("<", add(mul(integer(8), Var("t")), Var("own")), Var("M"))
HAS_SIZE = compare("<", integer(0), Var("S"))


def test_guards_over_sizes_stay() -> None:
    """They say of no element whether it exists: what is read may not be there at all."""
    tile, copy = (Buffer(name, F32, (integer(8),), "register") for name in ("tile", "copy"))
    one = Const(1.0, F32)
    assert guards(compute_overhang(Alloc(tile, overhanging(one, EXISTS)), NO_FACTS)) == []
    kept = compute_overhang(Alloc(tile, overhanging(one, EXISTS, HAS_SIZE)), NO_FACTS)
    assert guards(kept) == ["0 < S"]
    # Where nothing was written, nothing is read either.
    reading = overhanging(Load("tile", (Var("own"),), F32), EXISTS, buffer="copy")
    for conditions, expected in (((EXISTS,), []), ((EXISTS, HAS_SIZE), ["0 < S", print_expr(EXISTS)])):
        both = Alloc(tile, Alloc(copy, seq(overhanging(one, *conditions), reading)))
        assert guards(compute_overhang(both, NO_FACTS)) == expected


def test_registers_start_before_the_loops() -> None:
    text = te.build(TILED.replace("FILL", "fill 0"), target="cuda").ir("cuda")
    assert text.index("= 0.0f;") < text.index("for (te_i64 slice")


CHAINED = """
op f(A: f32[M, K], w: f32[N]) -> Z: f32[M, N] {
    p[i, j] = sum[k](A[i, k] * w[j])
    q[i, j] = exp(p[i, j])
    Z[i, j] = q[i, j] + q[i, j]
}
schedule f on cuda {
    tile Z.i, Z.j by 16, 32 into block_y, block_x, in_y, in_x
    compute_at p, q at Z.block_x in shared
    set_scope p in register
    tile p.i, p.j by 2, 4 into thread_y, thread_x, own_y, own_x
    split p.k by 8 into slice, term
    reorder p.slice, p.thread_y, p.thread_x, p.term, p.own_y, p.own_x
    tile q.i, q.j by 2, 4 into thread_y, thread_x, own_y, own_x
    split Z.in_y by 2 into thread_y, own_y
    bind p.thread_y to thread.y
    bind p.thread_x to thread.x
    bind q.thread_y to thread.y
    bind q.thread_x to thread.x
    bind Z.thread_y to thread.y
    bind Z.block_y to block.y
    bind Z.block_x to block.x
    cache_read A at p.slice as left in shared FILL
    cache_read w at Z.block_x as right in shared fill 0
}
"""


def test_what_is_computed_from_whole_tiles_is_whole() -> None:
    """`q` has a value for each element of the tile, since `p` has: no guard of theirs is left."""
    whole = te.build(CHAINED.replace("FILL", "fill 0"), target="cuda").ir("cuda")
    assert whole.count("= te_exp_f32(") == 1
    plain = te.build(CHAINED.replace("FILL", ""), target="cuda").ir("cuda")
    assert plain.count("= te_exp_f32(") > 1


ONE_THREAD_COPIES = """
op f(X: f32[M, N]) -> Y: f32[M] {
    Y[i] = max[j where j <= i and i < j + 4](X[i, j])
}
schedule f on cuda {
    split i by 8 into block, in_block
    bind block to block.x
    bind in_block to lane
    split j by 2
    split jo by 2
    split joo by 3
    cache_read X[r, c] at joi as P in register
    split P.c by 4
    bind P.ci to thread.x
}
"""


def test_registers_that_one_thread_copies_are_known_at_compile_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread of an axis cannot stand in a lane: each lane does all of `P.ci`, whose trips choose registers."""
    monkeypatch.setenv("TE_VERIFY", "1")
    text = te.build(ONE_THREAD_COPIES, target="cuda").ir("cuda")
    assert "P[0][ci] = X[" in text
    lines = text.splitlines()
    loops = [n for n, line in enumerate(lines) if "ci = 0; ci < 4;" in line]
    assert loops
    assert all("#pragma unroll" in lines[n - 1] for n in loops)
