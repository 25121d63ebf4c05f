"""`compensate`: products of bytes of any signs and zero points, by those of u8 and i8; exact, and wrapping."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import te
from te.backends.interp.loop import run_kernel
from te.ir.print import print_kernel
from te.schedule.nest import nest
from tests.schedule.scheduling import program, refused, scheduled

OP = """
op f(A: {a}[M, K], B: {b}[K, N], za: i32[M], zb: i32[N]) -> C: i32[M, N] {{
    C[i, j] = sum[k]({left} * {right})
}}
"""
FACTORS = {
    (False, False): ("i32(A[i, k])", "i32(B[k, j])"),
    (True, False): ("(i32(A[i, k]) - za[i])", "i32(B[k, j])"),
    (False, True): ("i32(A[i, k])", "(i32(B[k, j]) - zb[j])"),
    (True, True): ("(i32(A[i, k]) - za[i])", "(i32(B[k, j]) - zb[j])"),
}
KINDS = [
    (a, b, zeros) for a in ("u8", "i8") for b in ("u8", "i8") for zeros in FACTORS if a == b or any(zeros)
]


def text_of(a: str, b: str, zeros: tuple[bool, bool], *, swapped: bool = False) -> str:
    left, right = FACTORS[zeros][:: -1 if swapped else 1]
    return OP.format(a=a, b=b, left=left, right=right)


@pytest.mark.parametrize(("a", "b", "zeros"), KINDS)
@given(st.data())
def test_the_same_numbers_whatever_they_are(
    a: str, b: str, zeros: tuple[bool, bool], data: st.DataObject
) -> None:
    draw = data.draw
    before = nest(program(text_of(a, b, zeros, swapped=draw(st.booleans()))))
    after = scheduled(before, "compensate C")
    sizes = {size: draw(st.integers(0, 5), size) for size in "MKN"}
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    extreme = draw(st.booleans(), "extreme")
    inputs = {}
    for tensor in before.program.inputs:
        shape = tuple(sizes[str(extent.name)] for extent in tensor.shape)  # type: ignore[attr-defined]  # variables
        limits = np.iinfo(
            str(tensor.dtype).replace("u", "uint").replace("i", "int", 1).replace("uintnt", "uint")
        )
        low, high = (limits.min, limits.max) if extreme else (max(-9, limits.min), 9)
        inputs[tensor.name] = rng.integers(low, high, shape, dtype=limits.dtype, endpoint=True)
    expected = run_kernel(before, inputs, sizes)["C"]
    np.testing.assert_array_equal(run_kernel(after, inputs, sizes)["C"], expected)


def test_what_becomes_of_two_signed_factors() -> None:
    text = print_kernel(scheduled(text_of("i8", "i8", (False, False)), "compensate C"))
    assert "C_left[d0, d1] = u8(A[d0, d1]) ^ 128" in text
    assert "C_right_sum[j] sum= i32(B[k, j])" in text
    assert "C_product[i, j] sum= i32(C_left[i, k]) * i32(B[k, j])" in text
    assert "C[i, j] = C_product[i, j] - 128 * C_right_sum[j]" in text
    assert "C_left_sum" not in text


def test_factors_of_both_signs_are_not_copied() -> None:
    text = print_kernel(scheduled(text_of("u8", "i8", (True, False)), "compensate C"))
    assert "C_left[" not in text
    assert "C[i, j] = C_product[i, j] - za[i] * C_right_sum[j]" in text


@pytest.mark.parametrize(
    "value",
    [
        "i32(A[i, k]) + i32(B[k, j])",
        "i64(A[i, k]) * i64(B[k, j])",
        "(i32(A[i, k]) - i32(B[k, 0])) * i32(B[k, j])",
        "i32(A[i, k]) * za[i]",
    ],
)
def test_other_sums_are_refused(value: str) -> None:
    result = "i64" if "i64" in value else "i32"
    text = (
        OP.replace("C: i32", f"C: {result}")
        .format(a="i8", b="i8", left="", right="")
        .replace("( * )", f"({value})")
    )
    assert refused(text, "compensate C").code == "compensate-refused"


def test_recurrences_are_refused() -> None:
    text = """
    op f(A: i8[M, K], W: i8[M, K]) -> h: i32[M, M] {
        c[t, i] = sum[k]((i32(A[t, k]) - (h[t - 1, i] else 0)) * i32(W[i, k]))
        h[t, i] = c[t, i]
    }
    """
    found = refused(text, "compensate c")
    assert (found.code, "part of a recurrence" in found.message) == ("compensate-refused", True)


def test_a_schedule_in_python() -> None:
    s = te.Schedule("f")
    s.compensate("C")
    assert str(s.directives[0]) == "compensate C"
