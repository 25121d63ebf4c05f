"""Random final kernels: compiled code and the interpreter agree to the bit.

The kernels are not what a scheduler would make; they mix everything that the level allows: loops of
all kinds, guards that differ between lanes, names, registers, reads that only a condition makes
legal, strided, reversed and gathered accesses, all dtypes. The arrays lie between pages that nobody may
touch, so a lane that reads or writes without leave ends the process.
"""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from te.backends.interp.loop import run_kernel
from te.ir.expr import (
    Cast,
    Const,
    Expr,
    Load,
    Op,
    Select,
    Var,
    add,
    both,
    compare,
    floor_div,
    floor_mod,
    integer,
    maximum,
    minimum,
    mul,
    sub,
)
from te.ir.loop import Accumulate, Alloc, Buffer, For, If, Kernel, Let, Stmt, Store, seq, walk_stmt
from te.ir.print import print_kernel
from te.ir.types import BOOL, F32, I64, DType, integer_limits, numpy_dtype
from te.target import parse_target
from tests.backends.llvm_support import COMPUTED, DTYPES, Fence, argument, kernel, run
from tests.fences import in_child, note
from tests.machines import DISTINCT, HERE

INPUTS = [argument(f"X_{t.name}", t, "M", "N") for t in DTYPES.values()]
SIZES = ("M", "N")


class Generator:
    """Random kernels. Every choice comes from one seed."""

    def __init__(self, seed: int):
        self.random = random.Random(seed)
        self.names = 0
        self.vector_var: str | None = None
        self.stride, self.first = 1, 0  # of what the lanes write
        self.parallel = False
        self.buffers = {b.name: b for b in INPUTS}
        self.readable = [b.name for b in INPUTS]
        self.results: list[Buffer] = []

    def chance(self, p: float) -> bool:
        return self.random.random() < p

    def fresh(self, prefix: str) -> str:
        self.names += 1
        return f"S.{prefix}{self.names}"

    # ------------------------------------------------------------ expressions

    def index(self, variables: list[str], depth: int = 2) -> Expr:
        """Any integer expression of the variables."""
        r = self.random
        if depth == 0 or self.chance(0.3):
            return Var(r.choice(variables)) if variables and self.chance(0.8) else integer(r.randint(-3, 9))
        a, b = self.index(variables, depth - 1), self.index(variables, depth - 1)
        match r.randint(0, 8):
            case 0 | 1 | 2:
                return add(a, b)
            case 3:
                return sub(a, b)
            case 4:
                return mul(a, integer(r.choice([-2, -1, 2, 3, 5])))
            case 5:
                return floor_div(a, integer(r.choice([2, 3, 4, -3])))
            case 6:
                return floor_mod(a, integer(r.choice([2, 5, 8])))
            case 7:
                return minimum(a, b)
            case _:
                return maximum(a, b)

    def inside(self, e: Expr, extent: Expr) -> Expr:
        """The expression, brought into 0 .. extent - 1."""
        if self.chance(0.5):
            return floor_mod(e, extent)
        return maximum(minimum(e, sub(extent, integer(1))), integer(0))

    def in_range(self, e: Expr, extent: Expr) -> Expr:
        return both(compare(">=", e, integer(0)), compare("<", e, extent))

    def place(self, buffer: Buffer, variables: list[str]) -> tuple[Expr, ...]:
        return tuple(self.inside(self.index(variables), extent) for extent in buffer.shape)

    def read(self, dtype: DType, variables: list[str], depth: int) -> Expr:
        """A read: always in range, or only where a condition around it holds."""
        names = [n for n in self.readable if self.buffers[n].dtype == dtype]
        if not names:
            return self.constant(dtype)
        buffer = self.buffers[self.random.choice(names)]
        if self.chance(0.5):
            return Load(buffer.name, self.place(buffer, variables), dtype)
        index = [self.index(variables) for _ in buffer.shape]
        if index and self.chance(0.2) and depth > 0:
            index[-1] = Cast(self.value(self.random.choice([DTYPES["i32"], DTYPES["u8"]]), variables, 0), I64)
        condition: Expr = Const(True, BOOL)
        for e, extent in zip(index, buffer.shape, strict=True):
            condition = both(condition, self.in_range(e, extent))
        access = Load(buffer.name, tuple(index), dtype)
        then = access if self.chance(0.6) or depth == 0 else self.combine(dtype, access, variables, depth - 1)
        other = self.constant(dtype) if self.chance(0.6) else self.value(dtype, variables, 0)
        if dtype == BOOL and self.chance(0.3):
            return Op("and", (condition, access), BOOL)
        if dtype == BOOL and self.chance(0.3):
            return Op("or", (Op("not", (condition,), BOOL), access), BOOL)
        return Select(condition, then, other)

    def constant(self, dtype: DType) -> Const:
        if dtype == BOOL:
            return Const(self.chance(0.5), BOOL)
        if dtype.is_float:
            return Const(self.random.choice([0.0, -0.0, 1.0, 0.5, -2.0, 3.0]), dtype)
        low, high = integer_limits(dtype)
        return Const(self.random.choice([0, 1, 2, 3, 7, high, low, -1 if low < 0 else 5]), dtype)

    def combine(self, dtype: DType, a: Expr, variables: list[str], depth: int) -> Expr:
        b = self.value(dtype, variables, depth)
        if dtype.is_narrow:
            return Select(self.value(BOOL, variables, 0), a, b)
        if dtype == BOOL:
            return Op(self.random.choice(["and", "or", "==", "!="]), (a, b), BOOL)
        common = ["+", "-", "*", "min", "max"]
        extra = ["/"] if dtype.is_float else ["//", "%", "&", "|", "^", "<<", ">>"]
        return Op(self.random.choice(common + extra), (a, b), dtype)

    def value(self, dtype: DType, variables: list[str], depth: int = 2) -> Expr:
        r = self.random
        if depth <= 0:
            return self.read(dtype, variables, 0) if self.chance(0.7) else self.constant(dtype)
        match r.randint(0, 7):
            case 0 | 1 | 2:
                return self.read(dtype, variables, depth)
            case 3 if dtype == BOOL:
                other = r.choice([t for t in COMPUTED.values() if t != BOOL])
                op = r.choice(["<", "<=", ">", ">=", "==", "!="])
                return compare(
                    op, self.value(other, variables, depth - 1), self.value(other, variables, depth - 1)
                )
            case 3:
                return Cast(self.value(r.choice(list(DTYPES.values())), variables, depth - 1), dtype)
            case 4:
                condition = self.value(BOOL, variables, depth - 1)
                if self.chance(0.4):
                    condition = compare(
                        r.choice(["<", ">=", "==", "!="]), self.index(variables), self.index(variables)
                    )
                return Select(
                    condition,
                    self.value(dtype, variables, depth - 1),
                    self.value(dtype, variables, depth - 1),
                )
            case 5 if dtype == I64 and variables:
                return self.index(variables)
            case 6 if dtype.is_float and not dtype.is_narrow:
                args = tuple(self.value(dtype, variables, depth - 1) for _ in range(3))
                return Op("fma", args, dtype)
            case _:
                return self.combine(dtype, self.value(dtype, variables, depth - 1), variables, depth - 1)

    # ------------------------------------------------------------ statements

    def nest(self, buffer: Buffer) -> Stmt:
        """Give every element of a buffer a value, then change some."""
        axes = [self.fresh("i") for _ in buffer.shape]
        fill: Stmt = Store(buffer.name, tuple(map(Var, axes)), self.value(buffer.dtype, axes, 1), "S")
        for axis, extent in zip(reversed(axes), reversed(buffer.shape), strict=True):
            fill = For(axis, extent, fill)
        self.readable.append(buffer.name)
        return seq(fill, *[self.statement(buffer, [], 3) for _ in range(self.random.randint(1, 3))])

    def statement(self, buffer: Buffer, variables: list[str], depth: int) -> Stmt:
        """Loops, guards and names around stores to `buffer`."""
        r = self.random
        if depth == 0:
            return self.leaf(buffer, variables)
        match r.randint(0, 9):
            case 0 | 1:
                return self.loop(buffer, variables, "serial", depth)
            case 2:
                return self.loop(buffer, variables, "unrolled", depth)
            case 3 | 4 | 5 if self.vector_var is None:
                return self.loop(buffer, variables, "vector", depth)
            case 6:
                condition = compare(
                    r.choice(["<", "<=", ">=", "!="]), self.index(variables), self.index(variables)
                )
                if self.chance(0.3):
                    condition = self.value(BOOL, variables, 1)
                other = self.statement(buffer, variables, depth - 1) if self.chance(0.3) else None
                return If(condition, self.statement(buffer, variables, depth - 1), other)
            case 7:
                name = self.fresh("let")
                value = self.inside(self.index(variables), Var("N"))
                return Let(name, value, Var("N"), self.statement(buffer, [*variables, name], depth - 1))
            case 8:
                return seq(*[self.statement(buffer, variables, depth - 1) for _ in range(2)])
            case _ if buffer.dtype.is_narrow:
                return self.leaf(buffer, variables)
            case _:
                return self.register_sum(buffer, variables)

    def loop(self, buffer: Buffer, variables: list[str], kind: str, depth: int) -> Stmt:
        name = self.fresh("l")
        if kind == "serial":
            extent: Expr = self.random.choice(
                [Var("M"), Var("N"), integer(3), floor_div(add(Var("N"), integer(3)), integer(4))]
            )
            varying = self.vector_var
            if self.chance(0.3):
                uniform = [v for v in variables if v not in self.lane_names(varying)]
                extent = minimum(Var("N"), maximum(self.index(uniform, 1), integer(0)))
        else:
            extent = integer(
                self.random.choice([2, 3, 4])
                if kind == "unrolled"
                else self.random.choice([2, 4, 7, 8, 16, 17])
            )
        if kind == "vector":
            self.vector_var = name
            # Lanes do not depend on each other: each writes a column of its own, and reads none.
            self.stride, self.first = self.random.choice([1, 1, 1, -1, 2, 3, 5]), self.random.randint(0, 4)
            self.readable.remove(buffer.name)
        body = self.statement(buffer, [*variables, name], depth - 1)
        if kind == "vector":
            self.vector_var = None
            self.readable.append(buffer.name)
        return For(name, extent, body, kind)

    def lane_names(self, varying: str | None) -> set[str]:
        """Names that may differ between lanes: to be safe, all lets once a vector loop is open."""
        return set() if varying is None else {varying, *[f"S.let{n}" for n in range(self.names + 1)]}

    def leaf(self, buffer: Buffer, variables: list[str]) -> Stmt:
        depth = self.random.randint(0, 2)
        if self.vector_var is None:
            place = self.place(buffer, variables)
            if self.chance(0.4) and not buffer.dtype.is_narrow:
                reducer = self.reducer(buffer.dtype)
                return Accumulate(
                    buffer.name,
                    place,
                    reducer,
                    self.value(buffer.dtype, variables, depth),
                    frozenset(),
                    None,
                    "S",
                )
            return Store(buffer.name, place, self.value(buffer.dtype, variables, depth), "S")
        lanes = Var(self.vector_var)
        last = mul(integer(self.stride), lanes) if self.stride > 0 else sub(integer(16), lanes)
        column = add(integer(self.first), last)
        uniform = [v for v in variables if v not in self.lane_names(self.vector_var)]
        place = (*self.place(buffer, uniform)[:-1], column)
        value = self.value(buffer.dtype, variables, depth)
        statement: Stmt = Store(buffer.name, place, value, "S")
        if self.chance(0.4) and not buffer.dtype.is_narrow:
            statement = Accumulate(
                buffer.name, place, self.reducer(buffer.dtype), value, frozenset(), None, "S"
            )
        return If(self.in_range(column, buffer.shape[-1]), statement)

    def reducer(self, dtype: DType) -> str:
        return self.random.choice(["any", "all"] if dtype == BOOL else ["sum", "prod", "max", "min"])

    def register_sum(self, buffer: Buffer, variables: list[str]) -> Stmt:
        """A reduction in a register of its own, stored at the end."""
        name = f"r{self.fresh('')[2:]}"
        register = Buffer(name, buffer.dtype, (), "register")
        k = self.fresh("k")
        start = Store(name, (), self.constant(buffer.dtype), "S")
        step: Stmt = Accumulate(
            name,
            (),
            self.reducer(buffer.dtype),
            self.value(buffer.dtype, [*variables, k], 1),
            frozenset(),
            None,
            "S",
        )
        if self.chance(0.4):
            step = If(compare("<", self.index([*variables, k]), self.index(variables)), step)
        reduction = For(
            k,
            self.random.choice([Var("M"), integer(3)]),
            step,
            self.random.choice(["serial", "serial", "unrolled"]),
        )
        if not isinstance(reduction.extent, Const):
            reduction = For(k, reduction.extent, step)
        self.buffers[name] = register
        self.readable.append(name)
        end = self.leaf(buffer, variables)
        self.readable.remove(name)
        return Alloc(register, seq(start, reduction, end))

    def kernel(self) -> Kernel:
        items: list[Stmt] = []
        allocations: list[Buffer] = []
        for number in range(self.random.randint(1, 3)):
            dtype = self.random.choice(list(DTYPES.values()))
            scope = "global" if number == 0 and self.chance(0.5) else "argument"
            shape = self.random.choice([("M", "N"), ("N",)])
            buffer = Buffer(f"Y{number}", dtype, tuple(Var(n) for n in shape), scope)
            self.buffers[buffer.name] = buffer
            items.append(self.nest(buffer))
            if scope == "global":
                allocations.append(buffer)
            else:
                self.results.append(buffer)
        if not self.results:
            extra = Buffer("Z", F32, (Var("N"),), "argument")
            self.buffers["Z"] = extra
            items.append(self.nest(extra))
            self.results.append(extra)
        body = seq(*items)
        for buffer in allocations:
            body = Alloc(buffer, body)
        names = [b.name for b in self.results]
        return kernel([*INPUTS, *self.results], names, body, SIZES, name="random")


def random_inputs(seed: int, sizes: dict[str, int]) -> dict[str, np.ndarray[Any, Any]]:
    rng = np.random.default_rng(seed)
    shape = (sizes["M"], sizes["N"])
    inputs = {}
    for b in INPUTS:
        if b.dtype.is_float:
            values = rng.choice(
                [0.0, -0.0, 1.0, -1.5, 2.0, 0.1, 1e30, -1e-30, np.inf, -np.inf, np.nan, 7.0], shape
            )
        else:
            values = rng.integers(
                0 if b.dtype.kind in ("uint", "bool") else -6, 2 if b.dtype == BOOL else 12, shape
            )
        with np.errstate(over="ignore"):
            inputs[b.name] = values.astype(numpy_dtype(b.dtype))
    return inputs


def check(seed: int, target: str = "llvm") -> None:
    generator = Generator(seed)
    k = generator.kernel()
    sizes = {"M": generator.random.choice([1, 2, 5]), "N": generator.random.choice([1, 3, 8, 20])}
    inputs = random_inputs(seed, sizes)
    with np.errstate(all="ignore"):
        expected = run_kernel(k, inputs, sizes)
    fence = Fence()
    at_end = generator.chance(0.7)
    arrays = {name: fence.array(array, at_end=at_end) for name, array in inputs.items()}
    for b in generator.results:
        shape = tuple(sizes[d.name] for d in b.shape if isinstance(d, Var))
        arrays[b.name] = fence.array(np.zeros(shape, numpy_dtype(b.dtype)), at_end=at_end)
    note(f"seed {seed}, {sizes}, {target}\n{print_kernel(k)}")
    run(k, arrays, sizes, parse_target(target))
    for name in expected:
        array, found = plain(expected[name]), plain(arrays[name])
        np.testing.assert_array_equal(
            found, array, err_msg=f"seed {seed}, {name}, {sizes}\n{print_kernel(k)}"
        )
        if array.dtype.kind == "f":
            np.testing.assert_array_equal(
                np.signbit(found) | np.isnan(array), np.signbit(array) | np.isnan(array)
            )


def plain(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The same numbers in a type that `assert_array_equal` knows, which takes NaNs of ml_dtypes for unequal."""
    return array.astype(np.float64) if array.dtype.kind in "fV" else array


def has_vector_loop(k: Kernel) -> bool:
    return any(isinstance(s, For) and s.kind == "vector" for s, _ in walk_stmt(k.body))


@pytest.mark.parametrize("seed", range(60))
def test_random_kernels(seed: int) -> None:
    in_child(lambda: check(seed))


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("target", [name for name in DISTINCT if name != HERE])
def test_random_kernels_on_narrower_machines(target: str, seed: int) -> None:
    in_child(lambda: check(1000 + seed, target))


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_many_random_kernels() -> None:
    def checks() -> None:
        for seed in range(2000, 2600):
            check(seed, DISTINCT[seed % len(DISTINCT)])

    in_child(checks)
