"""`const` items of a file: tables, and scalars with a name."""

from __future__ import annotations

from math import isfinite, prod

from te.diagnostics import CompileError, error
from te.elaborate.constants import Value, constant_value
from te.elaborate.scope import Failed, Scope
from te.grammar import tree
from te.ir.expr import Const, integer
from te.ir.floats import nearest
from te.ir.tensor import Table, Tensor
from te.ir.types import BOOL, DTYPES, DType, integer_limits

MAX_VALUES = 1 << 16


def find_table(scope: Scope, name: str) -> Table | None:
    """The table of that name in the op's file; the op's program will hold it."""
    if name in scope.tables:
        return scope.tables[name]
    item = scope.module.tables.get(name)
    if item is None:
        return None
    try:
        table = read_table(item)
    except CompileError as wrong:
        for diagnostic in wrong.diagnostics:
            scope.diagnostics.add(diagnostic)
        raise Failed from None
    scope.tables[name] = table
    scope.tensors[name] = table.tensor
    return table


def scalar_constant(table: Table) -> Const:
    """A `const` without dimensions, as a literal of its type."""
    return Const(table.values[0], table.tensor.dtype)


def read_table(item: tree.ConstTable) -> Table:
    """The values of a `const` item, checked against its type. Raises `CompileError`."""
    dtype = DTYPES.get(item.type.name)
    if dtype is None:
        raise CompileError(
            error(
                "table-type", f"there is no type `{item.type.name}`", item.type.span, help="as in `f32[2, 3]`"
            )
        )
    extents = [_extent(dim) for dim in item.type.dims or ()]
    if prod(extents) > MAX_VALUES:
        raise CompileError(
            error(
                "table-too-large",
                f"a table of more than {MAX_VALUES} values",
                item.type.span,
                help="make it an input",
            )
        )
    values: list[Value] = []
    _collect(item.value, extents, dtype, values)
    tensor = Tensor(item.name, dtype, tuple(integer(n) for n in extents), item.span)
    return Table(tensor, tuple(values))


def _extent(dim: tree.Axis) -> int:
    value = None if isinstance(dim, tree.Range | tree.Pack) else constant_value(None, dim)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise CompileError(
            error(
                "table-extent", "a table's dimensions are whole numbers", dim.span, help="as in `f32[2, 3]`"
            )
        )
    return value


def _collect(e: tree.Expr, extents: list[int], dtype: DType, values: list[Value]) -> None:
    if not extents:
        values.append(_value(e, dtype))
        return
    found = len(e.items) if isinstance(e, tree.Table) else None
    if not isinstance(e, tree.Table) or found != extents[0]:
        has = "a single value" if found is None else f"{found} of them"
        raise CompileError(error("table-shape", f"expected a list of {extents[0]} here, found {has}", e.span))
    for part in e.items:
        _collect(part, extents[1:], dtype, values)


def _value(e: tree.Expr, dtype: DType) -> Value:
    value = None if isinstance(e, tree.Table) else constant_value(None, e)
    if dtype == BOOL:
        fits = isinstance(value, bool)
    elif dtype.is_float:
        fits = isinstance(value, int | float) and not isinstance(value, bool)
    else:
        fits = isinstance(value, int) and not isinstance(value, bool)
        low, high = integer_limits(dtype)
        fits = fits and low <= value <= high  # type: ignore[operator]  # `fits` says it is an int
    if value is None or not fits:
        raise CompileError(
            error("table-value", f"this is no constant of type {dtype}", e.span, help="write a literal")
        )
    if not dtype.is_float:
        return value
    rounded = nearest(value, dtype)
    if isfinite(value) and not isfinite(rounded):
        raise CompileError(
            error("table-value", f"{value} does not fit {dtype}", e.span, help="take a wider type")
        )
    return rounded
