"""Reads and stores at all kinds of places, next to pages that nobody may touch; the workspace."""

from __future__ import annotations

import faulthandler
import os
from typing import Any

import numpy as np
import pytest

from te.backends import llvm
from te.ir.expr import (
    Cast,
    Const,
    Expr,
    Op,
    Select,
    Var,
    add,
    both,
    compare,
    floor_mod,
    integer,
    maximum,
    minimum,
    mul,
    sub,
)
from te.ir.loop import Alloc, Buffer, If, Let, Stmt, seq
from te.ir.types import BOOL, F32, I32, I64, DType, numpy_dtype
from tests.backends.llvm_support import (
    DTYPES,
    Fence,
    accumulate,
    argument,
    evaluate,
    host,
    kernel,
    load,
    loop,
    run,
    store,
)

LANES = [2, 4, 7, 16, 33]
STRIDES = [0, 1, 2, 3, 4, 5, 17, -1, -2, -3, -5]
lane = Var("v")


def numbers(count: int, dtype: DType = F32) -> np.ndarray[Any, Any]:
    return (np.arange(1, count + 1) % (2 if dtype == BOOL else 127)).astype(numpy_dtype(dtype))


def span(stride: int, lanes: int) -> tuple[int, int]:
    """The elements that lanes at that stride reach, and the first lane's."""
    reach = abs(stride) * (lanes - 1)
    return reach + 1, reach if stride < 0 else 0


def below(count: int) -> Expr:
    """Only the first lanes: not known when the code is made."""
    return compare("<", lane, sub(Var("C"), integer(1))) if count else Const(False, BOOL)


# ---------------------------------------------------------------- reads


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("lanes", LANES)
@pytest.mark.parametrize("stride", STRIDES)
def test_strided_reads(stride: int, lanes: int, masked: bool) -> None:
    """The array holds what the lanes reach and nothing more, or, masked, what the lanes that take part reach."""
    active = max(1, lanes // 2) if masked else lanes
    size, first = span(stride, active)
    x, y = argument("X", F32, size), argument("Y", F32, lanes)
    read = load(x, add(integer(first), mul(integer(stride), lane)))
    value: Expr = Select(below(active), read, Const(-1.0, F32)) if masked else read
    k = kernel([x, y], ["Y"], loop("v", lanes, store(y, [lane], value), "vector"), ["C"])
    for at_end in (True, False):
        fence = Fence()
        arrays = {"X": fence.array(numbers(size), at_end=at_end), "Y": np.zeros(lanes, np.float32)}
        run(k, arrays, {"C": active + 1})
        expected = [arrays["X"][first + stride * v] if v < active else -1 for v in range(lanes)]
        np.testing.assert_array_equal(arrays["Y"], np.array(expected, np.float32))


@pytest.mark.parametrize("lanes", [4, 16])
@pytest.mark.parametrize("dtype", DTYPES.values(), ids=str)
def test_columns_and_diagonals(dtype: DType, lanes: int) -> None:
    """Strides that are sizes, known at the call."""
    x, y, z = argument("X", dtype, "M", "N"), argument("Y", dtype, "M"), argument("Z", dtype, "M")
    body = loop(
        "v",
        lanes,
        seq(store(y, [lane], load(x, lane, integer(2))), store(z, [lane], load(x, lane, lane))),
        "vector",
    )
    fence = Fence()
    source = fence.array(numbers(lanes * lanes, dtype).reshape(lanes, lanes))
    arrays = {"X": source, "Y": np.zeros(lanes, source.dtype), "Z": np.zeros(lanes, source.dtype)}
    run(kernel([x, y, z], ["Y", "Z"], body, ["M", "N"]), arrays, {"M": lanes, "N": lanes})
    np.testing.assert_array_equal(arrays["Y"], source[:, 2])
    np.testing.assert_array_equal(arrays["Z"], np.diag(source))


@pytest.mark.parametrize("lanes", [1, 4, 7, 16])
@pytest.mark.parametrize("dtype", DTYPES.values(), ids=str)
def test_gathers(dtype: DType, lanes: int) -> None:
    """An index from data, which only a condition keeps inside."""
    x, ids, y = argument("X", dtype, "N"), argument("I", I32, "M"), argument("Y", dtype, "M")
    i = Cast(load(ids, lane), I64)
    inside = both(compare(">=", i, integer(0)), compare("<", i, Var("N")))
    value = Select(inside, load(x, i), Const(1, dtype))
    body = (
        loop("v", lanes, store(y, [lane], value), "vector")
        if lanes > 1
        else loop("v", "M", store(y, [lane], value))
    )
    fence = Fence()
    indices = np.array(
        [5, -1, 0, 9, 10, 2**31 - 1, -(2**31), 3, 3, 7, 8, 1, 2, -7, 4, 6][: max(lanes, 8)], np.int32
    )
    arrays = {
        "X": fence.array(numbers(10, dtype)),
        "I": fence.array(indices),
        "Y": np.zeros(len(indices), numpy_dtype(dtype)),
    }
    run(kernel([x, ids, y], ["Y"], body, ["M", "N"]), arrays, {"M": len(indices), "N": 10})
    expected = [arrays["X"][n] if 0 <= n < 10 else numpy_dtype(dtype).type(1) for n in indices]
    if lanes > 1:
        expected[lanes:] = [numpy_dtype(dtype).type(0)] * (len(indices) - lanes)
    np.testing.assert_array_equal(arrays["Y"], np.array(expected))


@pytest.mark.parametrize("lanes", [1, 8])
def test_lazy_and_or(lanes: int) -> None:
    """The right side is read only where the left one does not decide."""
    x, y, z = argument("X", BOOL, "N"), argument("Y", BOOL, "M"), argument("Z", BOOL, "M")
    inside = compare("<", lane, Var("N"))
    conjunction = Op("and", (inside, load(x, lane)), BOOL)
    disjunction = Op("or", (Op("not", (inside,), BOOL), load(x, lane)), BOOL)
    body = seq(store(y, [lane], conjunction), store(z, [lane], disjunction))
    k = kernel([x, y, z], ["Y", "Z"], loop("v", 8, body, "vector" if lanes > 1 else "serial"), ["M", "N"])
    fence = Fence()
    arrays = {
        "X": fence.array(np.array([True, False, True])),
        "Y": np.zeros(8, np.bool_),
        "Z": np.zeros(8, np.bool_),
    }
    run(k, arrays, {"M": 8, "N": 3})
    assert arrays["Y"].tolist() == [True, False, True] + [False] * 5
    assert arrays["Z"].tolist() == [True, False, True] + [True] * 5


@pytest.mark.parametrize("lanes", [1, 8])
def test_reads_that_are_equal_in_all_lanes(lanes: int) -> None:
    """A read without the lane, where the condition holds for some lanes, or for none."""
    x, y = argument("X", F32, "N"), argument("Y", F32, 8)
    last = sub(Var("N"), integer(1))
    value = Select(
        both(compare("<", lane, Var("C")), compare(">", Var("N"), integer(0))), load(x, last), Const(9.0, F32)
    )
    masked = If(compare(">=", lane, Var("D")), store(y, [lane], load(x, add(last, integer(1)))))
    body = seq(store(y, [lane], value), masked)
    k = kernel([x, y], ["Y"], loop("v", 8, body, "vector" if lanes > 1 else "serial"), ["N", "C", "D"])
    for n, c in [(3, 5), (3, 0), (0, 5)]:
        fence = Fence()
        arrays = {"X": fence.array(numbers(n)), "Y": np.zeros(8, np.float32)}
        run(k, arrays, {"N": n, "C": c, "D": 8})
        assert arrays["Y"].tolist() == [float(n) if v < c and n else 9.0 for v in range(8)]


def test_a_loop_of_no_trips_reads_nothing() -> None:
    """Reads go before a loop, but not before the question whether it has a trip."""
    x, y = argument("X", F32, "M"), argument("Y", F32, "N")
    body = loop("i", "N", store(y, ["i"], load(x, 0)))
    fence = Fence()
    arrays = {"X": fence.array(numbers(0)), "Y": np.zeros(0, np.float32)}
    run(kernel([x, y], ["Y"], body, ["M", "N"]), arrays, {"M": 0, "N": 0})


def test_reads_after_stores_in_a_loop() -> None:
    """`Y[0]` changes from trip to trip, so it cannot be read before the loop; nor can `Y[1]` be read once."""
    x, y, z = argument("X", F32, "N"), argument("Y", F32, 2), argument("Z", F32, "N")
    one = Const(1.0, F32)
    body = seq(
        store(y, [0], Const(0.0, F32)),
        store(y, [1], Const(0.0, F32)),
        loop(
            "i",
            "N",
            seq(
                store(z, ["i"], Op("+", (load(y, 0), load(y, 1)), F32)),
                store(y, [0], Op("+", (load(y, 0), load(x, "i")), F32)),
                If(compare(">", Var("i"), integer(1)), store(y, [1], Op("+", (load(y, 1), one), F32))),
            ),
        ),
    )
    arrays = {"X": numbers(6), "Y": np.zeros(2, np.float32), "Z": np.zeros(6, np.float32)}
    run(kernel([x, y, z], ["Y", "Z"], body, ["N"]), arrays, {"N": 6})
    assert arrays["Z"].tolist() == [0, 1, 3, 6 + 1, 10 + 2, 15 + 3]
    assert arrays["Y"].tolist() == [21, 4]


# ---------------------------------------------------------------- stores


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("lanes", LANES)
@pytest.mark.parametrize("stride", [s for s in STRIDES if s])
def test_strided_stores(stride: int, lanes: int, masked: bool) -> None:
    active = max(1, lanes // 2) if masked else lanes
    size, first = span(stride, active)
    x, y = argument("X", F32, lanes), argument("Y", F32, size)
    place = add(integer(first), mul(integer(stride), lane))
    stores: Stmt = seq(store(y, [place], load(x, lane)), accumulate(y, [place], "sum", Const(0.5, F32)))
    if masked:
        stores = If(below(active), stores)
    k = kernel([x, y], ["Y"], loop("v", lanes, stores, "vector"), ["C"])
    for at_end in (True, False):
        fence = Fence()
        arrays = {"X": numbers(lanes), "Y": fence.array(np.zeros(size, np.float32), at_end=at_end)}
        run(k, arrays, {"C": active + 1})
        expected = np.zeros(size, np.float32)
        for v in range(active):
            expected[first + stride * v] = v + 1.5
        np.testing.assert_array_equal(arrays["Y"], expected)


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=str)
def test_masked_stores_of_all_types(dtype: DType) -> None:
    x, y = argument("X", dtype, "N"), argument("Y", dtype, "N")
    i = add(mul(Var("o"), integer(16)), lane)
    body = loop("o", 3, loop("v", 16, If(compare("<", i, Var("N")), store(y, [i], load(x, i))), "vector"))
    for n in (1, 15, 16, 17, 33, 47, 48):
        fence = Fence()
        arrays = {"X": fence.array(numbers(n, dtype)), "Y": fence.array(np.zeros(n, numpy_dtype(dtype)))}
        run(kernel([x, y], ["Y"], body, ["N"]), arrays, {"N": n})
        np.testing.assert_array_equal(arrays["Y"], arrays["X"])


@pytest.mark.parametrize("lanes", [1, 8])
def test_scatters(lanes: int) -> None:
    """Where lanes share an element, the last one's store counts, and sums take all of them."""
    ids, y, z = argument("I", I32, 8), argument("Y", F32, 4), argument("Z", F32, 4)
    place = Cast(load(ids, lane), I64)
    value = Op("+", (Cast(lane, F32), Const(1.0, F32)), F32)
    body = seq(store(y, [place], value), accumulate(z, [place], "sum", value))
    k = kernel([ids, y, z], ["Y", "Z"], loop("v", 8, body, "vector" if lanes > 1 else "serial"))
    arrays = {
        "I": np.array([0, 1, 1, 3, 0, 3, 3, 1], np.int32),
        "Y": np.zeros(4, np.float32),
        "Z": np.zeros(4, np.float32),
    }
    run(k, arrays)
    assert arrays["Y"].tolist() == [5, 8, 0, 7]
    assert arrays["Z"].tolist() == [1 + 5, 2 + 3 + 8, 0, 4 + 6 + 7]


def test_sum_of_all_lanes_into_one_element() -> None:
    x, y = argument("X", F32, 8), argument("Y", F32)
    total = If(compare("!=", lane, integer(3)), accumulate(y, [], "sum", load(x, lane)))
    arrays = {"X": numbers(8), "Y": np.zeros((), np.float32)}
    run(kernel([x, y], ["Y"], loop("v", 8, total, "vector")), arrays)
    assert arrays["Y"] == 36 - 4


# ---------------------------------------------------------------- names and guards


def test_names_keep_the_lane() -> None:
    """A `Let` of the lane is an address of neighbours still: no gather."""
    x, y = argument("X", F32, "N"), argument("Y", F32, "N")
    inner = Let("i", add(mul(Var("o"), integer(16)), lane), Var("N"), store(y, ["i"], load(x, "i")))
    k = kernel([x, y], ["Y"], loop("o", 2, loop("v", 16, inner, "vector")), ["N"])
    assert "gather" not in llvm.emit([k], host()).text
    arrays = {"X": numbers(32), "Y": np.zeros(32, np.float32)}
    run(k, arrays, {"N": 32})
    np.testing.assert_array_equal(arrays["Y"], arrays["X"])


def test_otherwise_under_a_mask() -> None:
    x, y = argument("X", F32, 8), argument("Y", F32, 8)
    even = compare("==", floor_mod(lane, integer(2)), integer(0))
    body = If(even, store(y, [lane], load(x, lane)), store(y, [lane], Const(-1.0, F32)))
    arrays = {"X": numbers(8), "Y": np.zeros(8, np.float32)}
    run(kernel([x, y], ["Y"], loop("v", 8, body, "vector")), arrays)
    assert arrays["Y"].tolist() == [1, -1, 3, -1, 5, -1, 7, -1]


def test_loops_inside_a_masked_vector_loop() -> None:
    x, y = argument("X", F32, "M", "N"), argument("Y", F32, "N")
    k = loop("k", "M", accumulate(y, [lane], "sum", load(x, "k", lane)))
    body = loop("v", 16, If(compare("<", lane, Var("N")), k), "vector")
    for n in (0, 1, 9, 16):
        fence = Fence()
        arrays = {"X": fence.array(numbers(3 * n).reshape(3, n)), "Y": fence.array(np.zeros(n, np.float32))}
        run(kernel([x, y], ["Y"], body, ["M", "N"]), arrays, {"M": 3, "N": n})
        np.testing.assert_array_equal(arrays["Y"], arrays["X"].sum(axis=0))


def test_clamped_reads() -> None:
    x, y = argument("X", F32, "N"), argument("Y", F32, "N")
    i = add(mul(Var("o"), integer(8)), lane)
    left = maximum(sub(i, integer(1)), integer(0))
    right = minimum(add(i, integer(1)), sub(Var("N"), integer(1)))
    value = Op("-", (load(x, right), load(x, left)), F32)
    k = kernel([x, y], ["Y"], loop("o", 2, loop("v", 8, store(y, [i], value), "vector")), ["N"])
    fence = Fence()
    arrays = {"X": fence.array(numbers(16) ** 2), "Y": fence.array(np.zeros(16, np.float32))}
    run(k, arrays, {"N": 16})
    padded = np.pad(arrays["X"], 1, mode="edge")
    np.testing.assert_array_equal(arrays["Y"], padded[2:] - padded[:-2])


# ---------------------------------------------------------------- the workspace


def test_workspace() -> None:
    """Buffers that live at once are apart, those that do not share memory; all are aligned to 64 bytes."""
    x, y = argument("X", F32, "N"), argument("Y", F32, "N")
    a, b, c = (Buffer(name, F32, (Var("N"),), "global") for name in "ABC")

    def copy(source: Buffer, target: Buffer) -> Stmt:
        step = Op("+", (load(source, "i"), Const(1.0, F32)), F32)
        return loop("i", "N", store(target, ["i"], step))

    first = Alloc(a, Alloc(b, seq(copy(x, a), copy(a, b), copy(b, y))))
    second = Alloc(c, seq(copy(y, c), copy(c, y)))
    k = kernel([x, y], ["Y"], seq(first, second), ["N"])
    entry = llvm.emit([k], host()).entries[0]
    for n in (0, 1, 16, 17, 100):
        assert evaluate(entry.workspace, {"N": n}) == 2 * (-(-4 * n // 64) * 64)
        arrays = {"X": numbers(n), "Y": np.zeros(n, np.float32)}
        run(k, arrays, {"N": n})
        np.testing.assert_array_equal(arrays["Y"], arrays["X"] + 5)


def test_a_kernel_without_workspace_needs_none() -> None:
    y = argument("Y", F32, 4)
    entry = llvm.emit([kernel([y], ["Y"], loop("i", 4, store(y, ["i"], Const(1.0, F32))))], host()).entries[0]
    assert entry.workspace == integer(0)
    assert entry.arguments == ("Y",)


def test_the_fence_stands() -> None:
    """A kernel that reads beyond the array is stopped: so the tests above would notice."""
    x, y = argument("X", F32, 9), argument("Y", F32, 9)
    k = kernel([x, y], ["Y"], loop("i", 9, store(y, ["i"], load(x, "i"))))
    child = os.fork()
    if child == 0:
        faulthandler.disable()
        arrays = {"X": Fence().array(numbers(8)), "Y": np.zeros(9, np.float32)}
        run(k, arrays)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status)
