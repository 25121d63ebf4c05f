"""The dependence analysis, on kernels built by hand: more than today's directives can make."""

from __future__ import annotations

import pytest

from te.ir.bounds import Facts
from te.ir.expr import Const, Expr, Load, Op, Var, add, compare, floor_div, floor_mod, integer, mul, sub
from te.ir.loop import Accumulate, Alloc, Buffer, For, If, Let, Stmt, Store, seq
from te.ir.types import F32
from te.schedule.legality import Order, carried, example_of, explain, repetition_error, reversed_dependence

N, T = Var("N"), Var("T")
ZERO = Const(0.0, F32)
NOTHING = Facts()


def load(buffer: str, *index: Expr) -> Load:
    return Load(buffer, index, F32)


def plus_one(e: Expr) -> Expr:
    return Op("+", (e, Const(1.0, F32)), F32)


def loop(name: str, extent: Expr | int, body: Stmt, **options: bool) -> For:
    return For(name, integer(extent) if isinstance(extent, int) else extent, body, **options)


def store(stage: str, index: list[Expr], value: Expr) -> Store:
    return Store(stage, tuple(index), value, stage)


def summed(stage: str, index: list[Expr], value: Expr, *over: str, start: Expr | None = ZERO) -> Accumulate:
    return Accumulate(stage, tuple(index), "sum", value, frozenset(over), start, stage)


def orders(of: Stmt) -> list[Order]:
    assert isinstance(of, For)
    return [d.order for d in carried(of, NOTHING)]


# ---------------------------------------------------------------- one stage


def test_data_loops_are_independent_and_reduction_loops_are_steps() -> None:
    i, j, k = Var("C.i"), Var("C.j"), Var("C.k")
    step = summed("C", [i, j], Op("*", (load("A", i, k), load("B", k, j)), F32), "C.k")
    nest = loop("C.i", N, loop("C.j", N, loop("C.k", T, step, is_reduction=True)))
    assert orders(nest) == []
    assert orders(nest.body) == []
    reduction = nest.body.body  # type: ignore[union-attr]  # two loops down
    assert orders(reduction) == [Order.REDUCTION]
    chain = [nest, nest.body, reduction]
    assert reversed_dependence(chain, ["C.k", "C.j", "C.i"], NOTHING) is None  # type: ignore[arg-type]


def tiles(outer: Expr, inner: Expr, *, split: bool = False) -> For:
    """C[4 * o + ii] is written and P[4 * o + i] reads it, of a loop that names its parts."""
    ii, i, o, j = Var("C.ii"), Var("P.i"), Var("o"), Var("j")
    write = loop("C.ii", 4, store("C", [add(mul(integer(4), o), ii), j], ZERO))
    read = loop(
        "P.i", 4, store("P", [add(mul(integer(4), o), i), j], load("C", add(mul(integer(4), o), i), j))
    )
    body = Let("o", outer, T, Let("j", inner, N, seq(write, read)))
    return loop("C.f", T, loop("C.g", 2, body)) if split else loop("C.f", mul(T, N), body)


def test_later_trips_of_a_fused_loop_have_other_tiles() -> None:
    f = Var("C.f")
    assert [o for o in orders(tiles(floor_div(f, N), floor_mod(f, N))) if o is Order.FIXED] == []


def test_a_part_alone_says_nothing_of_a_fused_loop() -> None:
    f = Var("C.f")
    assert Order.FIXED in orders(tiles(floor_div(f, N), integer(0)))
    assert Order.FIXED in orders(tiles(integer(0), floor_mod(f, N)))
    assert Order.FIXED in orders(tiles(floor_div(f, N), floor_mod(f, add(N, integer(1)))))


def test_tiles_of_a_loop_that_was_split_after_it_was_fused() -> None:
    trip = add(mul(integer(2), Var("C.f")), Var("C.g"))
    nest = tiles(floor_div(trip, N), floor_mod(trip, N), split=True)
    assert [o for o in orders(nest) if o is Order.FIXED] == []


def recurrence(step: Expr) -> For:
    """h[t + 1, i] = h[t, step] + 1"""
    t, i = Var("h.t"), Var("h.i")
    return loop("h.t", T, loop("h.i", N, store("h", [add(t, integer(1)), i], plus_one(load("h", t, step)))))


def test_a_recurrence_is_carried_by_its_own_loop_only() -> None:
    nest = recurrence(Var("h.i"))
    assert orders(nest) == [Order.FIXED]
    assert orders(nest.body) == []
    assert reversed_dependence([nest, nest.body], ["h.i", "h.t"], NOTHING) is None  # type: ignore[list-item]


def test_a_recurrence_that_moves_against_the_new_order_is_found() -> None:
    forward = recurrence(add(Var("h.i"), integer(1)))
    backward = recurrence(sub(Var("h.i"), integer(1)))
    for nest, is_reversed in ((forward, True), (backward, False)):
        reversal = reversed_dependence([nest, nest.body], ["h.i", "h.t"], NOTHING)  # type: ignore[list-item]
        assert (reversal is not None) == is_reversed
        assert orders(nest) == [Order.FIXED]


def test_the_explanation_names_both_accesses_and_two_trips() -> None:
    (dependence,) = carried(recurrence(Var("h.i")), NOTHING)
    assert explain(dependence, "h.t") == (
        "a trip of `h.t` writes `h[t + 1, i]`, which a later one reads as `h[t, i]`: "
        "trips 0 and 1 meet at `h[1, 0]` (with T = 2)"
    )


@pytest.mark.parametrize(
    ("read", "expected"),
    [
        (Var("Y.i"), []),
        (add(Var("Y.i"), integer(1)), [Order.FIXED]),
        (sub(sub(N, integer(1)), Var("Y.i")), [Order.FIXED, Order.FIXED]),
    ],
    ids=["same element", "next element", "mirrored"],
)
def test_results_in_place_are_a_question_of_arithmetic(read: Expr, expected: list[Order]) -> None:
    nest = loop("Y.i", N, store("Y", [Var("Y.i")], plus_one(load("Y", read))))
    assert orders(nest) == expected


def test_even_and_odd_elements_never_meet() -> None:
    i = Var("Y.i")
    even, odd = mul(integer(2), i), add(mul(integer(2), i), integer(1))
    assert orders(loop("Y.i", N, store("Y", [even], load("Y", odd)))) == []


def test_a_guard_can_keep_accesses_apart() -> None:
    i = Var("Y.i")
    low = If(compare("<", i, integer(4)), store("Y", [i], ZERO))
    high = If(compare(">=", i, integer(4)), Store("Z", (i,), load("Y", i), "Z"))
    assert orders(loop("Y.i", N, seq(low, high))) == []
    everywhere = Store("Z", (i,), load("Y", sub(N, i)), "Z")
    assert Order.FIXED in orders(loop("Y.i", N, seq(low, everywhere)))


# ---------------------------------------------------------------- overlapping loops


def shifted(body_loops: str) -> For:
    """A sum with its data loop split by 8, the last tile moved back; `body_loops` from the outside in."""
    io, ii, k = Var("C.io"), Var("C.ii"), Var("C.k")
    base = Op("min", (mul(integer(8), io), sub(N, integer(8))), integer(0).dtype)
    s: Stmt = summed("C", [add(base, ii)], load("A", add(base, ii), k), "C.k")
    tiles = floor_div(add(N, integer(7)), integer(8))
    for name in reversed(body_loops.split()):
        match name:
            case "io":
                s = loop("C.io", tiles, s, overlaps=True)
            case "ii":
                s = loop("C.ii", 8, s)
            case "k":
                s = loop("C.k", T, s, is_reduction=True)
    assert isinstance(s, For)
    return s


def test_overlapping_trips_of_a_sum_depend_on_each_other() -> None:
    facts = NOTHING.with_assumption(compare(">=", N, integer(8)))
    nest = shifted("io ii k")
    (dependence,) = carried(nest, facts)
    assert dependence.order is Order.RECOMPUTED
    assert example_of(dependence) is not None
    assert carried(nest.body, facts) == []  # type: ignore[arg-type]


def test_a_sum_may_not_be_interrupted_by_overlapping_trips() -> None:
    facts = NOTHING.with_assumption(compare(">=", N, integer(8)))
    nest = shifted("io ii k")
    chain = [nest, nest.body, nest.body.body]  # type: ignore[union-attr]
    reversal = reversed_dependence(chain, ["C.k", "C.io", "C.ii"], facts)  # type: ignore[arg-type]
    assert reversal is not None
    assert (reversal.outer, reversal.inner) == ("C.io", "C.k")
    assert reversed_dependence(chain, ["C.io", "C.k", "C.ii"], facts) is None  # type: ignore[arg-type]
    assert reversed_dependence(chain, ["C.ii", "C.io", "C.k"], facts) is None  # type: ignore[arg-type]
    (inside,) = carried(shifted("k io ii").body, facts)  # type: ignore[arg-type]
    assert inside.order is Order.FIXED


def test_overlapping_trips_of_a_store_write_the_same_value() -> None:
    io, ii = Var("Y.io"), Var("Y.ii")
    base = Op("min", (mul(integer(8), io), sub(N, integer(8))), integer(0).dtype)
    body = loop("Y.ii", 8, store("Y", [add(base, ii)], load("X", add(base, ii))))
    nest = loop("Y.io", floor_div(add(N, integer(7)), integer(8)), body, overlaps=True)
    assert orders(nest) == [Order.REPEATED]


# ---------------------------------------------------------------- several stages in one loop


def blurred(step: int, width: int, private: bool) -> For:
    """p computed inside Y.i, at step*i + 0 .. width - 1, and read there."""
    i, r = Var("Y.i"), Var("p.r")
    at = add(mul(integer(step), i), r)
    producer = loop("p.r", width, store("p", [at], load("X", at)))
    consumer = store("Y", [i], load("p", mul(integer(step), i)))
    body: Stmt = seq(producer, consumer)
    if private:
        body = Alloc(Buffer("p", F32, (mul(integer(step), N),), "global"), body)
    return loop("Y.i", N, body)


def test_a_producer_in_a_loop_is_shared_unless_its_tiles_are_apart() -> None:
    assert Order.FIXED in orders(blurred(step=1, width=3, private=False))
    assert orders(blurred(step=4, width=4, private=False)) == []
    assert Order.FIXED in orders(blurred(step=4, width=5, private=False))


def test_a_private_buffer_carries_nothing() -> None:
    assert orders(blurred(step=1, width=3, private=True)) == []


def test_a_sum_repeated_by_another_stages_loop_is_no_step_of_one_sum() -> None:
    k = Var("p.k")
    producer = loop("p.k", T, summed("p", [integer(0)], load("X", k), "p.k"), is_reduction=True)
    nest = loop("Y.i", N, producer)
    assert orders(nest) == [Order.FIXED]
    assert reversed_dependence([nest, producer], ["p.k", "Y.i"], NOTHING) is not None


def test_a_running_value_is_not_read_by_steps_in_any_order() -> None:
    k = Var("m.k")
    step = Accumulate("m", (), "max", load("X", k), frozenset({"m.k"}), ZERO, "m")
    nest = loop("m.k", T, seq(step, Store("Z", (k,), load("m"), "Z")), is_reduction=True)
    assert Order.REDUCTION in orders(nest)
    assert Order.FIXED in orders(nest)


def test_fused_loops_keep_what_construction_gives() -> None:
    f, i, j = Var("Y.f"), Var("Y.i"), Var("Y.j")
    body = Let("Y.i", floor_div(f, N), T, Let("Y.j", floor_mod(f, N), N, store("Y", [i, j], load("X", i, j))))
    assert orders(loop("Y.f", mul(T, N), body)) == []
    reads_row = Let(
        "Y.i",
        floor_div(f, N),
        T,
        Let("Y.j", floor_mod(f, N), N, store("Y", [i, j], load("Y", i, integer(0)))),
    )
    (dependence,) = [d for d in carried(loop("Y.f", mul(T, N), reads_row), NOTHING) if d.first.writes]
    example = example_of(dependence)
    assert example is not None
    first, second = example["Y.f"], example["Y.f'"]
    assert first < second
    assert divmod(first, example["N"]) == (second // example["N"], 0)


# ---------------------------------------------------------------- running a trip twice


def test_a_trip_that_stores_can_run_twice() -> None:
    assert repetition_error(recurrence(Var("h.i")).body, NOTHING) is None  # type: ignore[arg-type]


def test_a_trip_that_finishes_its_sum_can_run_twice() -> None:
    i, k = Var("Y.i"), Var("Y.k")
    whole = loop("Y.k", T, summed("Y", [i], load("X", i, k), "Y.k"), is_reduction=True)
    assert repetition_error(loop("Y.i", N, whole), NOTHING) is None
    part = loop("Y.i", N, summed("Y", [i], load("X", i, k), "Y.k"))
    assert "outside" in (repetition_error(part, NOTHING) or "")
    resumed = loop("Y.k", T, summed("Y", [i], load("X", i, k), "Y.k", start=None), is_reduction=True)
    assert "goes on" in (repetition_error(loop("Y.i", N, resumed), NOTHING) or "")


def test_a_trip_that_reads_what_it_then_changes_cannot_run_twice() -> None:
    i = Var("Y.i")
    in_place = loop("Y.i", N, store("Y", [i], plus_one(load("Y", i))))
    assert "second run" in (repetition_error(in_place, NOTHING) or "")
    through = seq(Store("Z", (i,), load("Y", i), "Z"), store("Y", [i], ZERO))
    assert "second run" in (repetition_error(loop("Y.i", N, through), NOTHING) or "")
    produced = seq(store("Y", [i], ZERO), Store("Z", (i,), load("Y", i), "Z"))
    assert repetition_error(loop("Y.i", N, produced), NOTHING) is None
