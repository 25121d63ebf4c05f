"""What the machine code of hot loops looks like: full vectors, no checks, no spills, nothing contracted."""

from __future__ import annotations

import platform
import re

import llvmlite.binding as binding
import pytest

import te
from te.backends import llvm
from te.ir.expr import Const, Expr, Op, Var, add, compare, floor_div, integer, mul
from te.ir.loop import Alloc, If, Kernel, Stmt, seq
from te.ir.types import F32, I64
from te.target import Target, parse_target
from tests.backends.llvm_support import accumulate, argument, kernel, load, loop, registers, store
from tests.backends.test_llvm_registers import matmul

pytestmark = pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="reads x86 assembly")

# The instruction set, its widest register, and the lanes of f32 in one.
WIDTHS = [("llvm.avx512", "zmm", 16), ("llvm.avx2", "ymm", 8)]

lane = Var("v")


def hottest_loop(asm: str) -> list[str]:
    """The instructions of the innermost loop with the most arithmetic: from a label to a jump back to it."""
    lines = [line.strip() for line in asm.splitlines() if line.strip()]
    loops = []
    for end, line in enumerate(lines):
        jump = re.fullmatch(r"(?:j\w+|b\.\w+)\s+(\.LBB\w+)", line)
        start = lines.index(f"{jump[1]}:") if jump and f"{jump[1]}:" in lines else end
        if start < end:
            inside = lines[start + 1 : end + 1]
            if not any(line.startswith(".LBB") for line in inside):
                loops.append(inside)
    return max(loops, key=lambda inside: sum(line.startswith(("v", "fmla")) for line in inside))


def assembly(k: Kernel, target: str) -> tuple[list[str], str]:
    artifact = llvm.emit([k], parse_target(target))
    return hottest_loop(artifact.asm()), artifact.text


def relu(lanes: int) -> Kernel:
    x, y = argument("X", F32, "N"), argument("Y", F32, "N")
    i = add(mul(Var("o"), integer(lanes)), lane)
    value = Op("max", (load(x, i), Const(0.0, F32)), F32)
    body = loop("o", floor_div(Var("N"), integer(lanes)), loop("v", lanes, store(y, [i], value), "vector"))
    return kernel([x, y], ["Y"], body, ["N"])


def row_sum(lanes: int) -> Kernel:
    x, y = argument("X", F32, "M", "N"), argument("Y", F32, "M")
    tile = registers("T", F32, lanes)
    j = add(mul(Var("o"), integer(lanes)), lane)
    body: Stmt = seq(
        loop("v", lanes, store(tile, [lane], Const(0.0, F32)), "vector"),
        loop(
            "o",
            floor_div(Var("N"), integer(lanes)),
            loop("v", lanes, accumulate(tile, [lane], "sum", load(x, "i", j)), "vector"),
        ),
        store(y, ["i"], load(tile, 0)),
        loop("u", lanes - 1, accumulate(y, ["i"], "sum", load(tile, add(Var("u"), integer(1)))), "unrolled"),
    )
    return kernel([x, y], ["Y"], loop("i", "M", Alloc(tile, body)), ["M", "N"])


@pytest.mark.parametrize(("target", "register", "lanes"), WIDTHS)
def test_matmul(target: str, register: str, lanes: int) -> None:
    rows, vectors = (8, 2) if register == "zmm" else (5, 2)
    loop, _ = assembly(matmul(rows, vectors, lanes), target)
    fused = [line for line in loop if line.startswith("vfmadd")]
    broadcasts = [line for line in loop if line.startswith("vbroadcastss") and "(" in line]
    loads = [line for line in loop if re.match(r"vmovups\s+.*\(.*%" + register, line)]
    assert len(fused) == rows * vectors
    assert all(line.count(f"%{register}") >= 2 for line in fused)
    assert len(broadcasts) + sum("1to" in line for line in fused) == rows
    assert len(loads) + sum("(" in line and "1to" not in line for line in fused) == vectors
    assert not any("(%rsp" in line for line in loop), "spills"
    assert sum(line.startswith(("cmp", "test", "dec", "j")) for line in loop) <= 2, "checks"
    assert len(loop) <= rows * vectors + rows + vectors + 20


@pytest.mark.parametrize(("target", "register", "lanes"), WIDTHS)
def test_relu(target: str, register: str, lanes: int) -> None:
    loop, _ = assembly(relu(lanes), target)
    assert any(line.startswith("vmaxps") and register in line for line in loop)
    assert any(re.match(r"vmovups\s+%" + register + r"\d+, .*\(", line) for line in loop)
    assert sum(line.startswith("j") for line in loop) == 1
    assert len(loop) <= 12


@pytest.mark.parametrize(("target", "register", "lanes"), WIDTHS)
def test_row_sum(target: str, register: str, lanes: int) -> None:
    loop, _ = assembly(row_sum(lanes), target)
    assert sum(line.startswith("vaddps") and register in line for line in loop) == 1
    assert sum(line.startswith("j") for line in loop) == 1
    assert len(loop) <= 6


def test_several_vectors_in_one_loop() -> None:
    """Lanes beyond the machine's: four registers for each vector of 64."""
    loop, _ = assembly(relu(64), "llvm.avx512")
    assert sum(line.startswith("vmaxps") and "zmm" in line for line in loop) == 4


def test_no_vectors_without_a_vector_loop() -> None:
    """LLVM's own vectorisers are off: what is fast is what the schedule says."""
    x, y = argument("X", F32, "N"), argument("Y", F32, "N")
    k = kernel(
        [x, y], ["Y"], loop("i", "N", store(y, ["i"], Op("+", (load(x, "i"), load(x, "i")), F32))), ["N"]
    )
    asm = llvm.emit([k], parse_target("llvm")).asm()
    assert "vaddss" in asm
    assert "vaddps" not in asm


def test_sums_of_other_terms_are_not_fused() -> None:
    """`a + b * c` written as such rounds twice; only a sum's product, and `fma`, round once."""
    x, y = argument("X", F32, "N"), argument("Y", F32, "N")
    i = add(mul(Var("o"), integer(16)), lane)
    product = Op("*", (load(x, i), load(x, i)), F32)
    separate = kernel(
        [x, y],
        ["Y"],
        loop("o", "N", loop("v", 16, store(y, [i], Op("+", (load(y, i), product), F32)), "vector")),
        ["N"],
    )
    assert "vfmadd" not in llvm.emit([separate], parse_target("llvm.avx512")).asm()
    fused = kernel(
        [x, y], ["Y"], loop("o", "N", loop("v", 16, accumulate(y, [i], "sum", product), "vector")), ["N"]
    )
    assert "vfmadd" in llvm.emit([fused], parse_target("llvm.avx512")).asm()


@pytest.mark.parametrize("k", [matmul(4, 1, 16), relu(16), row_sum(16)], ids=["matmul", "relu", "row_sum"])
def test_no_licence_for_llvm(k: Kernel) -> None:
    """No flag lets LLVM reorder, contract or assume anything about floats."""
    text = llvm.emit([k], parse_target("llvm")).text
    flags = r"\b(fast|contract|reassoc|nnan|ninf|nsz|arcp|afn)\b"
    assert not re.search(flags, text)
    assert "unsafe" not in text
    assert "no-nans" not in text


def test_addresses_leave_the_loop() -> None:
    """What a loop does not change is not computed in it: no multiplication, no division."""
    x, y = argument("X", F32, "M", "N", 3), argument("Y", F32, "M", "N")
    row = floor_div(Var("i"), integer(3))
    value: Expr = load(x, row, "j", 1)
    k = kernel([x, y], ["Y"], loop("i", "M", loop("j", "N", store(y, ["i", "j"], value))), ["M", "N"])
    inside, _ = assembly(k, "llvm")
    assert not any(line.startswith(("imul", "mul", "shr", "div", "idiv")) for line in inside)
    assert len(inside) <= 7


def test_conditions_leave_the_loop() -> None:
    """A mask that a loop does not change is made once."""
    x, y = argument("X", F32, "M", "N"), argument("Y", F32, "N")
    tile = registers("T", F32, 16)
    inside = compare("<", lane, Var("N"))
    body = seq(
        loop("v", 16, store(tile, [lane], Const(0.0, F32)), "vector"),
        loop(
            "k", "M", loop("v", 16, If(inside, accumulate(tile, [lane], "sum", load(x, "k", lane))), "vector")
        ),
        loop("v", 16, If(inside, store(y, [lane], load(tile, lane))), "vector"),
    )
    hot, _ = assembly(kernel([x, y], ["Y"], Alloc(tile, body), ["M", "N"]), "llvm.avx512")
    assert not any("cmp" in line and line.startswith("v") for line in hot)
    assert any(line.startswith("vaddps") and "{%k" in line for line in hot)


def test_divisions_that_cannot_trap_are_cheap() -> None:
    """An index is not negative: its division by a constant is a shift or a multiplication."""
    y = argument("Y", I64, "N")
    value = Op("+", (floor_div(Var("i"), integer(8)), floor_div(Var("i"), integer(3))), I64)
    asm = llvm.emit(
        [kernel([y], ["Y"], loop("i", "N", store(y, ["i"], value)), ["N"])], parse_target("llvm")
    ).asm()
    assert "div" not in asm


def test_targets_decide_the_registers() -> None:
    k = relu(16)
    wide: Target = parse_target("llvm.avx512")
    assert "zmm" in llvm.emit([k], wide).asm()
    assert "zmm" not in llvm.emit([k], parse_target("llvm.avx2")).asm()
    assert "ymm" not in llvm.emit([k], parse_target("llvm.sse4")).asm()


def test_extents_that_are_divided_in_one_branch_are_not_used_in_another() -> None:
    """A division stays in its branch, and so do the strides that it is a part of."""
    columns = floor_div(Var("N"), Var("M"))
    y = argument("Y", F32, "K", columns)

    def where(bound: int) -> Stmt:
        return If(compare("<", Var("K"), integer(bound)), store(y, ["i", "j"], Const(1.0, F32)))

    body = loop("i", "K", loop("j", "K", seq(where(5), where(9))))
    text = llvm.emit([kernel([y], ["Y"], body, ["M", "N", "K"])], parse_target("llvm")).text
    binding.parse_assembly(text).verify()


@pytest.mark.parametrize(
    ("target", "fused", "stack"),
    [("llvm.avx512", "vfmadd", "%rsp"), ("llvm.avx2", "vfmadd", "%rsp"), ("llvm.neon", "fmla", "[sp")],
)
def test_the_automatic_schedule_keeps_its_tile_in_registers(target: str, fused: str, stack: str) -> None:
    """Half of the hot loop multiplies and adds, 12 vectors or more, so that none waits for another."""
    text = "op f(A: f32[M, K], B: f32[K, N]) -> C: f32[M, N] { C[i, j] = sum[k](A[i, k] * B[k, j]) }"
    kernel = te.build(text, "auto", target, sizes={"M": 240, "K": 240, "N": 256})
    loop = hottest_loop(kernel.ir("asm"))
    products = [line for line in loop if line.startswith(fused)]
    assert len(products) >= 12
    assert len(products) >= len(loop) / 2
    assert not [line for line in loop if stack in line or line.startswith(("call", "bl\t"))]


@pytest.mark.parametrize(("target", "fused"), [("llvm.avx512", "vfmadd"), ("llvm.avx2", "vfmadd")])
def test_tiles_at_the_borders_keep_their_registers_apart(target: str, fused: str) -> None:
    """Neither the whole tiles' loop nor that of the rest has sums on the stack, though each is made of zeros."""
    text = "op f(A: f32[M, K], B: f32[K, N]) -> C: f32[M, N] { C[i, j] = sum[k](A[i, k] * B[k, j]) }"
    loop = hottest_loop(te.build(text, "auto", target, sizes={"M": 1201, "K": 239, "N": 21}).ir("asm"))
    assert len([line for line in loop if line.startswith(fused)]) >= 12
    assert not [line for line in loop if line.endswith("(%rsp)")]  # AVX2 reads a mask from there
