"""Register buffers: tiles, lanes and parts of vectors, buffers that belong to a lane, masks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from te.backends import llvm
from te.ir.expr import Const, Expr, Op, Var, add, compare, floor_mod, integer, mul
from te.ir.loop import Alloc, If, Kernel, Stmt, seq
from te.ir.types import BOOL, F32, DType, numpy_dtype
from tests.backends.llvm_support import (
    COMPUTED,
    DTYPES,
    accumulate,
    argument,
    host,
    kernel,
    load,
    loop,
    registers,
    run,
    store,
)

lane = Var("v")


def matmul(rows: int, vectors: int, lanes: int, dtype: DType = F32) -> Kernel:
    """C = A B for shapes that the tile `rows` × (`vectors` × `lanes`) divides."""
    a, b, c = argument("A", dtype, "M", "K"), argument("B", dtype, "K", "N"), argument("C", dtype, "M", "N")
    tile = registers("T", dtype, rows, vectors, lanes)
    i = add(mul(Var("io"), integer(rows)), Var("ii"))
    j = add(add(mul(Var("jo"), integer(vectors * lanes)), mul(Var("jv"), integer(lanes))), lane)
    place: list[Expr | str | int] = ["ii", "jv", "v"]

    def each(body: Stmt) -> Stmt:
        return loop("ii", rows, loop("jv", vectors, loop("v", lanes, body, "vector"), "unrolled"), "unrolled")

    product = Op("*", (load(a, i, "k"), load(b, "k", j)), dtype)
    body = seq(
        each(store(tile, place, Const(0, dtype))),
        loop("k", "K", each(accumulate(tile, place, "sum", product))),
        each(store(c, [i, j], load(tile, *place))),
    )
    io = Op("//", (Var("M"), integer(rows)), integer(0).dtype)
    jo = Op("//", (Var("N"), integer(vectors * lanes)), integer(0).dtype)
    return kernel(
        [a, b, c], ["C"], loop("io", io, loop("jo", jo, Alloc(tile, body))), ["M", "N", "K"], name="matmul"
    )


@pytest.mark.parametrize("tile", [(8, 2, 16), (4, 1, 64), (3, 2, 7), (1, 1, 256)], ids=str)
@pytest.mark.parametrize("dtype", [t for t in COMPUTED.values() if t != BOOL], ids=str)
def test_matmul(tile: tuple[int, int, int], dtype: DType) -> None:
    m, n, k = tile[0] * 2, tile[1] * tile[2] * 2, 19
    rng = np.random.default_rng(0)
    kind = numpy_dtype(dtype)
    arrays = {"A": rng.integers(0, 9, (m, k)).astype(kind), "B": rng.integers(0, 9, (k, n)).astype(kind)}
    arrays["C"] = np.zeros((m, n), kind)
    run(matmul(*tile, dtype), arrays, {"M": m, "N": n, "K": k})
    np.testing.assert_array_equal(arrays["C"], arrays["A"] @ arrays["B"])


def test_registers_leave_no_memory_behind() -> None:
    """`sroa` takes all of them: no vector goes to the stack."""
    artifact = llvm.emit([matmul(8, 2, 16)], host())
    assert artifact.text.count("alloca <16 x float>") == 16
    body = artifact.asm().partition(".body:")[2].partition(".Lfunc_end")[0]
    assert "mm" in body
    assert not [line for line in body.splitlines() if "mm" in line and "(%rsp" in line]


def sum_of_halves(lanes: int, dtype: DType) -> Kernel:
    """The sum over lanes, by halves: 16 + 16 lanes, 8 + 8, ..."""
    x, y = argument("X", dtype, lanes), argument("Y", dtype)
    tile = registers("T", dtype, lanes)
    steps: list[Stmt] = [loop("v", lanes, store(tile, [lane], load(x, lane)), "vector")]
    half = lanes // 2
    while half >= 1:
        step = accumulate(tile, [lane], "sum", load(tile, add(lane, integer(half))))
        steps.append(loop("v", half, step, "vector"))
        half //= 2
    return kernel([x, y], ["Y"], Alloc(tile, seq(*steps, store(y, [], load(tile, 0)))))


@pytest.mark.parametrize("lanes", [2, 8, 32, 256])
@pytest.mark.parametrize("dtype", [t for t in COMPUTED.values() if t != BOOL], ids=str)
def test_parts_of_vectors(dtype: DType, lanes: int) -> None:
    arrays = {"X": np.arange(lanes).astype(numpy_dtype(dtype)), "Y": np.zeros((), numpy_dtype(dtype))}
    run(sum_of_halves(lanes, dtype), arrays)
    assert arrays["Y"] == np.arange(lanes).astype(numpy_dtype(dtype)).sum(dtype=numpy_dtype(dtype))


@pytest.mark.parametrize("start", [0, 3, 12])
def test_a_part_may_start_anywhere(start: int) -> None:
    x, y = argument("X", F32, 16), argument("Y", F32, 16)
    tile = registers("T", F32, 16)
    shifted = add(lane, integer(start))
    body = seq(
        loop("v", 16, store(tile, [lane], load(x, lane)), "vector"),
        loop("v", 4, store(tile, [shifted], Op("*", (load(tile, shifted), load(tile, lane)), F32)), "vector"),
        loop("v", 16, store(y, [lane], load(tile, lane)), "vector"),
    )
    arrays = {"X": np.arange(16, dtype=np.float32), "Y": np.zeros(16, np.float32)}
    run(kernel([x, y], ["Y"], Alloc(tile, body)), arrays)
    expected = arrays["X"].copy()
    expected[start : start + 4] *= arrays["X"][:4]
    np.testing.assert_array_equal(arrays["Y"], expected)


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=str)
def test_single_lanes(dtype: DType) -> None:
    """A constant index reads and writes one lane of a vector."""
    x, y = argument("X", dtype, 8), argument("Y", dtype, 8)
    tile = registers("T", dtype, 8)
    body = seq(
        loop("v", 8, store(tile, [lane], load(x, lane)), "vector"),
        loop("u", 3, store(tile, ["u"], load(tile, add(integer(7), mul(Var("u"), integer(-1))))), "unrolled"),
        loop("v", 8, store(y, [lane], load(tile, lane)), "vector"),
    )
    source = (
        np.arange(8).astype(numpy_dtype(dtype))
        if dtype != BOOL
        else np.array([1, 1, 0, 0, 1, 0, 0, 1], np.bool_)
    )
    arrays = {"X": source, "Y": np.zeros(8, source.dtype)}
    run(kernel([x, y], ["Y"], Alloc(tile, body)), arrays)
    expected = source.copy()
    expected[:3] = source[[7, 6, 5]]
    np.testing.assert_array_equal(arrays["Y"], expected)


@pytest.mark.parametrize("lanes", [1, 7, 16])
@pytest.mark.parametrize("reducer", ["sum", "prod", "max", "min"])
def test_a_register_of_each_lane(reducer: str, lanes: int) -> None:
    """Allocated inside the vector loop, a scalar is one for each lane; conditions are masks."""
    x, y = argument("X", F32, "K", 16), argument("Y", F32, 16)
    scalar = registers("s", F32)
    condition = compare("!=", floor_mod(add(lane, Var("k")), integer(3)), integer(0))
    start = {"sum": 0.0, "prod": 1.0, "max": -np.inf, "min": np.inf}[reducer]
    body = Alloc(
        scalar,
        seq(
            store(scalar, [], Const(start, F32)),
            loop("k", "K", If(condition, accumulate(scalar, [], reducer, load(x, "k", lane)))),
            store(y, [lane], load(scalar)),
        ),
    )
    k = kernel(
        [x, y], ["Y"], loop("v", lanes if lanes > 1 else 16, body, "vector" if lanes > 1 else "serial"), ["K"]
    )
    source = np.random.default_rng(0).integers(-3, 4, (6, 16)).astype(np.float32)
    arrays = {"X": source, "Y": np.zeros(16, np.float32)}
    run(k, arrays, {"K": 6})
    taken = (np.arange(16) + np.arange(6)[:, None]) % 3 != 0
    function: Any = {"sum": np.sum, "prod": np.prod, "max": np.max, "min": np.min}[reducer]
    expected = function(np.where(taken, source, np.float32(start)), axis=0)
    count = lanes if lanes > 1 else 16
    np.testing.assert_array_equal(arrays["Y"][:count], expected[:count])
    assert not arrays["Y"][count:].any()


def test_masked_tiles_keep_what_they_hold() -> None:
    y = argument("Y", F32, 16)
    tile = registers("T", F32, 16)
    body = seq(
        loop("v", 16, store(tile, [lane], Const(1.0, F32)), "vector"),
        loop(
            "v",
            16,
            If(compare("<", lane, Var("N")), accumulate(tile, [lane], "sum", Const(1.0, F32))),
            "vector",
        ),
        loop("v", 16, store(y, [lane], load(tile, lane)), "vector"),
    )
    for n in (0, 5, 16, 99):
        arrays = {"Y": np.zeros(16, np.float32)}
        run(kernel([y], ["Y"], Alloc(tile, body), ["N"]), arrays, {"N": n})
        assert arrays["Y"].tolist() == [2.0 if v < n else 1.0 for v in range(16)]


@pytest.mark.parametrize("reducer", ["any", "all"])
def test_bools_in_registers(reducer: str) -> None:
    x, y = argument("X", BOOL, "K", 16), argument("Y", BOOL, 16)
    tile = registers("T", BOOL, 16)
    body = seq(
        loop("v", 16, store(tile, [lane], Const(reducer == "all", BOOL)), "vector"),
        loop("k", "K", loop("v", 16, accumulate(tile, [lane], reducer, load(x, "k", lane)), "vector")),
        loop("v", 16, store(y, [lane], load(tile, lane)), "vector"),
    )
    source = np.random.default_rng(0).random((2, 16)) < 0.5
    arrays = {"X": source, "Y": np.zeros(16, np.bool_)}
    run(kernel([x, y], ["Y"], Alloc(tile, body), ["K"]), arrays, {"K": 2})
    np.testing.assert_array_equal(arrays["Y"], getattr(source, reducer)(axis=0))


def test_an_index_that_is_no_constant_is_refused() -> None:
    y, tile = argument("Y", F32, 4), registers("T", F32, 4)
    body = seq(
        loop("i", 4, store(tile, ["i"], Const(0.0, F32))), loop("i", 4, store(y, ["i"], load(tile, "i")))
    )
    with pytest.raises(ValueError, match="axis 0 is indexed by a variable"):
        llvm.emit([kernel([y], ["Y"], Alloc(tile, body))], host())
