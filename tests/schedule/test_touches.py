"""What barriers are placed by: how much is asked of the prover, and how copies under way are taken apart by age."""

from __future__ import annotations

from pathlib import Path

import pytest

import te
from te.ir.bounds import NO_FACTS, Facts
from te.ir.expr import Const, Load, Op, Var, compare, integer
from te.ir.loop import ASYNC, Alloc, Barrier, Buffer, Commit, For, Seq, Stmt, Store, Wait, seq
from te.ir.print import print_expr
from te.ir.types import F32, I64
from te.schedule.finalize.gpu import meeting
from te.schedule.finalize.gpu.barriers import place_barriers
from te.schedule.finalize.gpu.instances import meet_in
from te.schedule.finalize.gpu.touches import Age, Touch, committed, one_by_one, waited

TENSOR_CORES = Path(__file__).parents[1] / "backends" / "cuda" / "tensor_cores.te"
MOST_PROOFS = 60  # 40 at any depth; 10,000 at depth 16 where each age of a copy was compared by itself


@pytest.mark.parametrize("depth", [4, 16])
def test_proofs_do_not_grow_with_the_depth_of_a_pipeline(depth: int, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    are_apart = meeting._are_apart

    def counted(a: Touch, b: Touch, facts: Facts) -> bool:
        asked.append((a, b))
        return are_apart(a, b, facts)

    monkeypatch.setattr(meeting, "_are_apart", counted)
    program = TENSOR_CORES.read_text().rstrip().removesuffix("}").replace("-> C: bf16", "-> C: f32")
    program = program.replace("bf16(max(total[i, j], 0.0))", "max(total[i, j], 0.0)")
    text = te.build(f"{program}    pipeline total.ko depth {depth}\n}}", target="cuda.sm_80").ir("final")
    assert f"wait for all but {depth - 2}" in text
    assert text.count("barrier") == 1
    assert 0 < len(asked) <= MOST_PROOFS


def conditions(t: Touch) -> list[str]:
    return [print_expr(c) for c in t.conditions]


def test_a_wait_says_how_old_a_copy_is_and_only_a_proof_that_needs_it_sees_each_age() -> None:
    ago = Var("k ago")
    copy = Touch("S", (ago,), True, (), ((ago.name, Var("n")),), (), Age(1, ((ago, 1), (Var("k"), 2))))
    over, young = sorted(waited([copy], 3), key=lambda t: t.age is not None)
    assert (over.age, conditions(over)) == (None, ["3 < 2 * k + k ago + 1"])
    assert conditions(young) == ["2 * k + k ago + 1 <= 3"]
    assert young.age == Age(1, ((ago, 1), (Var("k"), 2)), 3)
    (later,) = committed([young])
    ones = list(one_by_one(later))
    assert [(print_expr(t.index[0]), t.age) for t in ones] == [
        ("0", Age(2)),
        ("0", Age(4)),
        ("1", Age(3)),
        ("2", Age(4)),
    ]
    assert [[c for c in conditions(t) if "k ==" in c] for t in ones] == [
        ["k == 0"],
        ["k == 1"],
        ["k == 0"],
        ["k == 0"],
    ]
    assert waited(ones, 1) == {Touch("S", t.index, True, (), (), t.conditions) for t in ones}
    assert waited([copy], 0) == {Touch("S", (ago,), True, (), copy.ranges)}


def touch(i: str, age: Age | None, *told: Op) -> Touch:
    return Touch("S", (Op("%", (Var(i), integer(7)), I64),), True, (Var(f"t {i}"),), (), told, age)


@pytest.mark.parametrize(("most", "is_met"), [(6, False), (7, True)])
def test_places_in_a_ring_meet_where_they_are_its_length_apart(most: int, is_met: bool) -> None:
    known = NO_FACTS.with_range("i", integer(0), Var("n"))
    known = known.with_range(
        "j", Op("+", (Var("i"), integer(1)), I64), Op("+", (Var("i"), integer(most)), I64)
    )
    first, second = touch("i", Age()), touch("j", None)
    found = meeting.meeting(frozenset([first]), frozenset([second]), known, {})
    assert found == (frozenset([first]) if is_met else frozenset())


def test_which_age_it_is_that_may_meet() -> None:
    """Copies of two ages are under way: one of them is of the same place, and that is closed."""
    ago = Var("k ago")
    place = Op("%", (Op("+", (ago, integer(1)), I64), integer(2)), I64)
    copy = Touch("S", (place,), True, (Var("t"),), ((ago.name, integer(9)),), (), Age(0, ((ago, 1),)))
    young = [t for t in waited([copy], 1) if t.age is not None]
    met = meeting.meeting(
        frozenset(young), frozenset([Touch("S", (integer(0),), False, (Var("u"),))]), Facts(), {}
    )
    assert [t.age for t in met] == [Age(1)]


def test_an_example_is_found_among_swizzled_rows() -> None:
    ranges = [("t", integer(32)), ("u", integer(32))]
    (first, second) = (
        ([Op("^", (Var(name), integer(5)), I64)], [Var(name)], [own], [compare("<", Var(name), integer(9))])
        for name, own in zip("tu", ranges, strict=True)
    )
    assert meet_in(first, second, NO_FACTS, by_others=False)
    assert not meet_in(first, second, NO_FACTS, by_others=True)


@pytest.mark.parametrize("name", ["k", "v"])
def test_a_later_loop_of_the_same_name_is_another(name: str) -> None:
    """All elements of a copy are under way behind it, not those of its last trip alone."""

    def threads(loop: str, body: Stmt) -> For:
        return For(loop, integer(32), body, "thread.x")

    t, u, v, w = (Var(x) for x in "tuvw")
    copy = threads("t", Store("S", (v, t), Load("A", (v, t), F32), "S", method=ASYNC))
    other = threads("u", Store("T", (u,), Const(0.0, F32), "T"))
    turned = Op("-", (integer(31), w), I64)
    read = threads("w", Store("Y", (w,), Load("S", (integer(3), turned), F32), "Y"))
    loops = seq(For("v", integer(4), copy), For(name, integer(2), seq(Commit(), other)), read)
    first = Buffer("S", F32, (integer(4), integer(32)), "shared")
    second = Buffer("T", F32, (integer(32),), "shared", place=512)
    placed = place_barriers(Alloc(first, Alloc(second, loops)), NO_FACTS)
    assert isinstance(placed, Alloc)
    assert isinstance(placed.body, Alloc)
    assert isinstance(placed.body.body, Seq)
    assert [type(s) for s in placed.body.body.items] == [For, For, Wait, Barrier, For]
