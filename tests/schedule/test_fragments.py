"""Which lane holds which element of a tile: the formulas of the PTX ISA, written again."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import pytest

from te.ir.evaluate import evaluate
from te.ir.expr import Var, integer
from te.schedule.fragments import Fragment, fragment_of
from te.schedule.intrinsics import find_intrinsic

# "Matrix Fragments for mma.m16n8k16 with floating point type", "... mma.m16n8k32", "... mma.m16n8k8": row and
# column of the element `i` of a lane, with group = lane / 4 and member = lane % 4.
Formula = Callable[[int, int, int], tuple[int, int]]
FORMULAS: dict[str, dict[str, Formula]] = {
    "mma_m16n8k16_bf16": {
        "A": lambda g, m, i: (
            g if i in (0, 1, 4, 5) else g + 8,
            m * 2 + (i & 1) if i < 4 else m * 2 + (i & 1) + 8,
        ),
        "B": lambda g, m, i: (m * 2 + (i & 1) if i < 2 else m * 2 + (i & 1) + 8, g),
        "C": lambda g, m, i: (g if i < 2 else g + 8, m * 2 + (i & 1)),
    },
    "mma_m16n8k32_i8": {
        "A": lambda g, m, i: (
            g if i < 4 or 8 <= i < 12 else g + 8,
            m * 4 + (i & 3) if i < 8 else m * 4 + (i & 3) + 16,
        ),
        "B": lambda g, m, i: (m * 4 + (i & 3) if i < 4 else m * 4 + (i & 3) + 16, g),
        "C": lambda g, m, i: (g if i < 2 else g + 8, m * 2 + (i & 1)),
    },
    "mma_m16n8k8_tf32": {
        "A": lambda g, m, i: (g if i in (0, 2) else g + 8, m if i in (0, 1) else m + 4),
        "B": lambda g, m, i: (m if i == 0 else m + 4, g),
        "C": lambda g, m, i: (g if i < 2 else g + 8, m * 2 + (i & 1)),
    },
}


def elements(fragment: Fragment) -> dict[tuple[int, int], tuple[int, ...]]:
    """For each lane and element of it, its place in the tile."""
    names = [f"s{n}" for n in range(len(fragment.slots))]
    index = fragment.index(Var("lane"), [Var(name) for name in names])
    found = {}
    for lane in range(32):
        for number, slots in enumerate(product(*map(range, fragment.slots))):
            values = {"lane": lane, **dict(zip(names, slots, strict=True))}
            found[lane, number] = tuple(int(evaluate(i, values)) for i in index)
    return found


@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize("operand", ["A", "B", "C"])
def test_as_ptx_says(name: str, operand: str) -> None:
    meaning = find_intrinsic(name, None)
    tensor = next(t for t in meaning.program.inputs if t.name == operand)
    expected = {
        (lane, i): FORMULAS[name][operand](lane // 4, lane % 4, i)
        for lane, i in elements(fragment_of(meaning, tensor))
    }
    assert elements(fragment_of(meaning, tensor)) == expected


@pytest.mark.parametrize("name", FORMULAS)
def test_every_element_has_one_place(name: str) -> None:
    meaning = find_intrinsic(name, None)
    for tensor in meaning.program.inputs:
        fragment = fragment_of(meaning, tensor)
        for (lane, number), at in elements(fragment).items():
            place = [int(evaluate(e, {})) for e in fragment.place([integer(i) for i in at])]
            flat = 0
            for slot, count in zip(place[1:], fragment.slots, strict=True):
                flat = flat * count + slot
            assert (place[0], flat) == (lane, number)
