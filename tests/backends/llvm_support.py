"""What the tests of the LLVM backend share: kernels by hand, and a call of compiled code."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from te.backends import llvm
from te.backends.base import Entry
from te.backends.llvm.threads import num_threads
from te.ir import types
from te.ir.expr import Const, Expr, Load, Op, Var, add, integer, mul
from te.ir.loop import FINAL, Accumulate, Alloc, Buffer, For, Kernel, Stmt, Store
from te.ir.tensor import Program, Tensor
from te.ir.types import DType, numpy_dtype
from te.target import Target, parse_target
from tests.fences import Fence

i64 = integer
DTYPES = types.DTYPES
COMPUTED = {name: t for name, t in DTYPES.items() if not t.is_narrow}  # those that operators take


_default = "llvm"


def host() -> Target:
    return parse_target(_default)


@contextmanager
def running_on(target: str) -> Iterator[None]:
    """What is run without a target is compiled for this one: `llvm.sse2` is this machine as if it had no more."""
    global _default
    before, _default = _default, target
    try:
        yield
    finally:
        _default = before


def argument(name: str, dtype: DType, *shape: int | str | Expr) -> Buffer:
    return Buffer(name, dtype, tuple(_extent(n) for n in shape), "argument")


def registers(name: str, dtype: DType, *shape: int) -> Buffer:
    return Buffer(name, dtype, tuple(map(integer, shape)), "register")


def _extent(n: int | str | Expr) -> Expr:
    return integer(n) if isinstance(n, int) else Var(n) if isinstance(n, str) else n


def loop(var: str, extent: int | str | Expr, body: Stmt, kind: str = "serial") -> For:
    return For(var, _extent(extent), body, kind)


def load(buffer: Buffer, *index: Expr | str | int) -> Load:
    return Load(buffer.name, tuple(_extent(i) for i in index), buffer.dtype)


def store(buffer: Buffer, index: Sequence[Expr | str | int], value: Expr) -> Store:
    return Store(buffer.name, tuple(_extent(i) for i in index), value, buffer.name)


def accumulate(buffer: Buffer, index: Sequence[Expr | str | int], reducer: str, value: Expr) -> Accumulate:
    return Accumulate(
        buffer.name, tuple(_extent(i) for i in index), reducer, value, frozenset(), None, buffer.name
    )


def kernel(
    arguments: Sequence[Buffer],
    results: Sequence[str],
    body: Stmt,
    sizes: Sequence[str] = (),
    name: str = "test",
) -> Kernel:
    inputs = tuple(Tensor(b.name, b.dtype, b.shape) for b in arguments if b.name not in results)
    program = Program(name, "", tuple(sizes), (), (), inputs, tuple(results), (), ())
    return Kernel(program, tuple(arguments), body, FINAL)


def evaluate(e: Expr, sizes: Mapping[str, int]) -> int:
    """An index expression of sizes."""
    match e:
        case Const():
            return int(e.value)
        case Var():
            return sizes[e.name]
        case Op():
            a, b = (evaluate(arg, sizes) for arg in e.args)
            return {
                "+": a + b,
                "-": a - b,
                "*": a * b,
                "//": a // max(b, 1),
                "max": max(a, b),
                "min": min(a, b),
            }[e.op]
    raise AssertionError(e)


class Block:
    """An argument block, and what it points to."""

    def __init__(
        self,
        entry: Entry,
        parallel_for: int,
        arrays: Mapping[str, np.ndarray[Any, Any]],
        sizes: Mapping[str, int],
    ):
        count = num_threads()
        bytes = evaluate(entry.workspace, sizes) + count * evaluate(entry.thread_workspace, sizes)
        # The workspace ends at a page that nobody may touch.
        self.memory = Fence().empty(bytes + 63, np.uint8)
        workspace = -(-self.memory.ctypes.data // 64) * 64
        pointers = [arrays[name].ctypes.data for name in entry.arguments]
        numbers = [*pointers, workspace, *(sizes[name] for name in entry.sizes), count, parallel_for]
        self.words = (ctypes.c_int64 * len(numbers))(*numbers)

    @property
    def address(self) -> int:
        return ctypes.addressof(self.words)


def run(
    k: Kernel,
    arrays: Mapping[str, np.ndarray[Any, Any]],
    sizes: Mapping[str, int] | None = None,
    target: Target | None = None,
) -> None:
    """Compile a kernel and call it once; results are written into the arrays."""
    executable = llvm.load(llvm.emit([k], target or host()))
    block = Block(executable.artifact.entries[0], executable.parallel_for, arrays, sizes or {})
    executable(block.address)


def map_kernel(
    op: Any, inputs: Sequence[DType], output: DType, count: int, kind: str, lanes: int = 1
) -> Kernel:
    """`Y[i] = op(X0[i], X1[i], ...)` over `count` elements: scalar, or in a vector loop of `lanes`."""
    xs = [argument(f"X{n}", dtype, count) for n, dtype in enumerate(inputs)]
    y = argument("Y", output, count)
    if kind == "scalar":
        body: Stmt = loop("Y.i", count, store(y, ["Y.i"], op(*[load(x, "Y.i") for x in xs])))
    else:
        assert count % lanes == 0
        i = add(mul(Var("Y.io"), integer(lanes)), Var("Y.ii"))
        inner = loop("Y.ii", lanes, store(y, [i], op(*[load(x, i) for x in xs])), "vector")
        body = loop("Y.io", count // lanes, inner)
    return kernel([*xs, y], ["Y"], body)


def map_arrays(
    op: Any, arrays: Sequence[np.ndarray[Any, Any]], dtypes: Sequence[DType], output: DType, lanes: int
) -> np.ndarray[Any, Any]:
    """`op` on the elements of arrays, by compiled code; `lanes` 1 for scalar code."""
    count = len(arrays[0])
    padded = -(-count // lanes) * lanes
    columns = {
        f"X{n}": np.resize(a, padded).astype(numpy_dtype(t), copy=False)
        for n, (a, t) in enumerate(zip(arrays, dtypes, strict=True))
    }
    result = np.zeros(padded, numpy_dtype(output))
    k = map_kernel(op, dtypes, output, padded, "scalar" if lanes == 1 else "vector", lanes)
    run(k, {**columns, "Y": result})
    return result[:count]


__all__ = [
    "COMPUTED",
    "DTYPES",
    "Alloc",
    "Block",
    "Fence",
    "accumulate",
    "argument",
    "evaluate",
    "host",
    "i64",
    "kernel",
    "load",
    "loop",
    "map_arrays",
    "map_kernel",
    "registers",
    "run",
    "running_on",
    "store",
]
