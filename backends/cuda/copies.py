"""Asynchronous copies from global to shared memory, of 4, 8 or 16 bytes at once.

    vector for j < 4:
      As[4*i + j] = A[4*i + j]   # by cp_async   ->   te_copy_async<16>(&As[4 * i], &A[4 * i]);

What a condition leaves out is filled with zeros, and the source is not read there. A copy must begin at a multiple
of its size; where that depends on sizes it is asked at run time, and elements of less than 4 bytes, which no such
copy takes alone, are then stored by way of registers.
"""

from __future__ import annotations

from math import gcd

from te.backends.cuda.expressions import element, value
from te.backends.cuda.indices import CHOICE, Index, number
from te.backends.cuda.scope import Scope
from te.backends.cuda.vectors import ACCESS_BYTES, is_contiguous, multiple_of, sizes_for
from te.ir.expr import Const, Expr, Load, Op, Select, conjuncts, integer, sub
from te.ir.loop import ASYNC, For, Store, copied
from te.ir.visit import loads, substitute, variables
from te.schedule.finalize.guards import coefficient

LEAST_BYTES = 4


def is_copy(s: Store) -> bool:
    """Whether a store can be an asynchronous copy by itself."""
    return s.method == ASYNC and s.value.dtype.bytes >= LEAST_BYTES


def copy_loop(scope: Scope, loop: For, leaf: Store) -> tuple[str, int] | None:
    """How many lanes of a vector loop are copied at once, and where sizes allow it; None for each by itself."""
    source = copied(leaf.value)
    assert source is not None
    assert isinstance(loop.extent, Const)
    accesses = (source, Load(leaf.buffer, leaf.index, source.dtype))
    conditions = conjuncts(leaf.value.condition) if isinstance(leaf.value, Select) else []
    if not all(is_contiguous(scope, access, loop.var) for access in accesses):
        return None
    lanes = gcd(int(loop.extent.value), ACCESS_BYTES // source.dtype.bytes)
    while lanes > 1 and lanes * source.dtype.bytes >= LEAST_BYTES:
        needed = [sizes_for(scope, access, loop.var, lanes) for access in accesses]
        needed += [_sizes_for_all(scope, c, loop.var, lanes) for c in conditions]
        if all(sizes is not None for sizes in needed):
            sizes = sorted({size for found in needed for size in found or ()})
            asked = [f"{scope.variables[size].code} % {lanes} == 0" for size in sizes]
            return " && ".join(asked), lanes
        lanes //= 2
    return None


def _sizes_for_all(scope: Scope, condition: Expr, lane: str, lanes: int) -> set[str] | None:
    """The sizes that must be multiples of `lanes` for a condition to hold for all lanes if it does for the first.

    So it is with `c + lane < 0` and `0 <= c + lane`, if c is a multiple of `lanes`.
    """
    if lane not in variables(condition):
        return set()
    if not isinstance(condition, Op) or (condition.op not in ("<", "<=") or any(loads(condition))):
        return None
    distance = sub(*condition.args)
    sizes = variables(distance) & set(scope.sizes)
    known = scope.multiples | dict.fromkeys(sizes, lanes)
    first = multiple_of(substitute(distance, {lane: integer(0)}), known)
    is_even = coefficient(distance, lane) == (1 if condition.op == "<" else -1) and first % lanes == 0
    return sizes if is_even else None


def write_copies(scope: Scope, loop: For, leaf: Store, lanes: int) -> None:
    """The lanes of a vector loop, so many at once."""
    assert isinstance(loop.extent, Const)
    extent = int(loop.extent.value)
    if extent == lanes:
        with scope.bind(loop.var, number(0)):
            write_copy(scope, leaf, lanes)
        return
    name = scope.names.index(f"{loop.var}_first")
    scope.writer.line("#pragma unroll")
    with (
        scope.writer.block(f"for (te_i32 {name} = 0; {name} < {extent}; {name} += {lanes})"),
        scope.bind(loop.var, Index(name, low=0, high=extent - lanes)),
    ):
        write_copy(scope, leaf, lanes)
    scope.names.release(name)


def write_copy(scope: Scope, s: Store, lanes: int) -> None:
    """One copy, of so many neighbours."""
    source = copied(s.value)
    assert source is not None
    size = lanes * source.dtype.bytes
    places = [(s.buffer, s.index), (source.buffer, source.index)]
    arguments = [f"&{element(scope, scope.buffers[buffer], index)}" for buffer, index in places]
    if isinstance(s.value, Select):
        arguments.append(f"{value(scope, s.value.condition).within(CHOICE + 1)} ? {size} : 0")
    scope.writer.line(f"te_copy_async<{size}>({', '.join(arguments)});")
