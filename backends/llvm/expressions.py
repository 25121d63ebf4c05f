"""Expressions to values.

An expression that does not depend on the lane stays scalar inside a vector loop, and becomes a
vector where it meets one. `where`, `and` and `or` are lazy: a side with a read is evaluated behind a
branch, or with a guarded address, or, where the condition differs between lanes, under a mask.
Sides without reads are evaluated both: nothing can go wrong in them.
"""

from __future__ import annotations

from dataclasses import replace

from te.backends.llvm import arithmetic, math, memory, registers
from te.backends.llvm.casts import cast
from te.backends.llvm.context import Context, Memory
from te.backends.llvm.index import LANE, ZERO, Index, add, integer, multiply
from te.backends.llvm.values import Value, constant, lane_numbers
from te.ir.expr import COMPARISONS, Cast, Const, Expr, Load, Op, Select, Var
from te.ir.loop import Store
from te.ir.overflow import reads_data
from te.ir.types import BOOL, I32, I64

LARGE = 1 << 40  # no index is larger; constants of data may be


def expression(ctx: Context, e: Expr) -> Value:
    """The value of an expression; a vector if it depends on the lane."""
    value = _expression(ctx, e)
    if value.is_nonnegative and reads_data(e):
        # Only of what does not wrap are sums and products known to stay at or above 0.
        return replace(value, is_nonnegative=False)
    return value


def _expression(ctx: Context, e: Expr) -> Value:
    match e:
        case Const():
            return constant(e.value, e.dtype)
        case Var():
            return ctx.indices.value(ctx.env[e.name], ctx.lanes)
        case Load():
            return load(ctx, e)
        case Cast():
            return cast(ctx.emit, expression(ctx, e.value), e.dtype)
        case Select():
            return _select(ctx, e)
        case Op(op="and" | "or"):
            return _logical(ctx, e)
        case Op(op="+" | "-" | "*" | "neg") if e.dtype == I64:
            return ctx.indices.value(index_of(ctx, e), ctx.lanes)
        case Op() if e.op in COMPARISONS and e.args[0].dtype == I64:
            return _compare_indices(ctx, e.op, index_of(ctx, e.args[0]), index_of(ctx, e.args[1]))
        case Op():
            args = ctx.emit.unify(*[expression(ctx, a) for a in e.args])
            return _apply(ctx, e.op, args)


def _apply(ctx: Context, op: str, args: list[Value]) -> Value:
    match op:
        case "+" | "-" | "*" | "/" | "&" | "|" | "^" | "<<" | ">>":
            return arithmetic.binary(ctx.emit, op, *args)
        case "//" | "%":
            return arithmetic.divide(ctx.emit, op, *args)
        case "neg":
            return arithmetic.negate(ctx.emit, *args)
        case "~" | "not":
            return arithmetic.invert(ctx.emit, *args)
        case _ if op in COMPARISONS:
            return arithmetic.compare(ctx.emit, op, *args)
        case _:
            return math.function(ctx.emit, op, args)


# ---------------------------------------------------------------- indices


def index_of(ctx: Context, e: Expr) -> Index:
    """An i64 expression as a polynomial: constants and lanes stay visible."""
    match e:
        case Const():
            return integer(int(e.value))
        case Var():
            return ctx.env[e.name]
        case Op(op="+" | "-"):
            return add(index_of(ctx, e.args[0]), index_of(ctx, e.args[1]), 1 if e.op == "+" else -1)
        case Op(op="neg"):
            return add(ZERO, index_of(ctx, e.args[0]), -1)
        case Op(op="*"):
            return _product(ctx, index_of(ctx, e.args[0]), index_of(ctx, e.args[1]))
        case _:
            return ctx.indices.of_value(expression(ctx, e))


def _product(ctx: Context, a: Index, b: Index) -> Index:
    product = multiply(a, b)
    if product is None:
        # Too long written out: multiply the values.
        whole = ctx.indices.of_value(ctx.indices.value(b, ctx.lanes))
        product = multiply(a, whole)
    if product is None:
        product = multiply(ctx.indices.of_value(ctx.indices.value(a, ctx.lanes)), whole)
    assert product is not None
    return product


def _compare_indices(ctx: Context, op: str, a: Index, b: Index) -> Value:
    """A comparison of i64 values; decided here where the difference is known, or its sign."""
    if _is_exact(ctx, a) and _is_exact(ctx, b):
        difference = add(a, b, -1)
        if difference.constant is not None:
            return constant(_holds(op, difference.constant), BOOL)
        if op in ("<", ">=") and ctx.indices.is_nonnegative(difference):
            return constant(op == ">=", BOOL)
        if op in (">", "<=") and ctx.indices.is_nonnegative(add(ZERO, difference, -1)):
            return constant(op == "<=", BOOL)
        form = ctx.indices.split(difference, ctx.lanes)
        stride = form.stride.constant
        if form.offsets is None and stride and abs(stride) * ctx.lanes < 1 << 31:
            return _compare_lanes(ctx, op, form.uniform, stride)
    args = ctx.emit.unify(ctx.indices.value(a, ctx.lanes), ctx.indices.value(b, ctx.lanes))
    return arithmetic.compare(ctx.emit, op, *args)


def _is_exact(ctx: Context, index: Index) -> bool:
    """Whether it is index arithmetic, which does not wrap. Data may: its factors are not known to be >= 0."""
    return all(
        abs(coefficient) < LARGE
        and all(name == LANE or ctx.indices.values[name].is_nonnegative for name in product)
        for product, coefficient in index.terms.items()
    )


def _holds(op: str, difference: int) -> bool:
    return {
        "<": difference < 0,
        "<=": difference <= 0,
        ">": difference > 0,
        ">=": difference >= 0,
        "==": difference == 0,
        "!=": difference != 0,
    }[op]


def _compare_lanes(ctx: Context, op: str, uniform: Index, stride: int) -> Value:
    """`uniform + stride * lane OP 0` in each lane, in 32 bits: beyond the lanes' range `uniform` may be clamped."""
    emit, lanes = ctx.emit, ctx.lanes
    limit = abs(stride) * lanes
    value = arithmetic.extreme(emit, "max", ctx.indices.value(uniform, 1), constant(-limit, I64))
    value = arithmetic.extreme(emit, "min", value, constant(limit, I64))
    left = emit.splat(cast(emit, value, I32), lanes)
    return arithmetic.compare(emit, op, left, lane_numbers(lanes, 0, -stride, I32))


# ---------------------------------------------------------------- reads


def load(ctx: Context, e: Load, *, guard: Value | None = None, otherwise: Value | None = None) -> Value:
    vectors = ctx.blocks.of(ctx, e) if ctx.blocks else None
    if ctx.blocks and vectors is not None:
        return vectors[ctx.trip(ctx.blocks.loop)]
    index = [index_of(ctx, i) for i in e.index]
    buffer = ctx.buffers[e.buffer]
    if isinstance(buffer, Memory):
        return memory.load(ctx, buffer, position(ctx, buffer, index), guard=guard, otherwise=otherwise)
    return registers.load(ctx, buffer, index)


def position(ctx: Context, buffer: Memory, index: list[Index]) -> Index:
    """The place of an element in its buffer, in elements."""
    strides = buffer.strides
    if strides is None:
        strides = memory.strides_of(ctx, [index_of(ctx, extent) for extent in buffer.shape])
        if all(ctx.indices.is_everywhere(stride) for stride in strides):
            buffer.strides = strides
    return memory.flat_index(ctx, strides, index)


def stream_of(ctx: Context, s: Store, *, in_lines: bool = False) -> memory.Stream | None:
    """How a store goes past the caches, if it is to. `in_lines`: only where it fills whole lines."""
    buffer = ctx.buffers[s.buffer]
    if not s.stream or not isinstance(buffer, Memory):
        return None
    if not s.stream_above:
        return memory.Stream(None, in_lines)
    size = integer(s.stream_above // buffer.dtype.bytes)
    elements = integer(1)
    for extent in buffer.shape:
        elements = _product(ctx, elements, index_of(ctx, extent))
    is_large = _compare_indices(ctx, ">=", elements, size)
    if len(buffer.shape) > 1 and is_large.constant is not False:
        is_large = memory.both(
            ctx, is_large, memory.is_whole_lines(ctx, index_of(ctx, buffer.shape[-1]), buffer)
        )
    return memory.Stream(is_large, in_lines)


# ---------------------------------------------------------------- lazy operators


def _select(ctx: Context, e: Select) -> Value:
    condition = expression(ctx, e.condition)
    if condition.constant is not None:
        return expression(ctx, e.then if condition.constant else e.otherwise)
    if not (ctx.reads_memory(e.then) or ctx.reads_memory(e.otherwise)):
        return ctx.emit.select(condition, expression(ctx, e.then), expression(ctx, e.otherwise))
    if condition.lanes > 1:
        return _select_lanes(ctx, e, condition)
    if _is_plain_read(ctx, e.then) and not ctx.reads_memory(e.otherwise):
        value = _guarded_read(ctx, e.then, condition)
        if value is not None:
            is_zero = e.otherwise == Const(0, e.dtype) or e.otherwise == Const(0.0, e.dtype)
            return value if is_zero else ctx.emit.select(condition, value, expression(ctx, e.otherwise))
    return ctx.emit.branch_value(
        condition, lambda: expression(ctx, e.then), lambda: expression(ctx, e.otherwise)
    )


def _select_lanes(ctx: Context, e: Select, condition: Value) -> Value:
    """Both sides, each under the mask of the lanes that take it."""
    if isinstance(e.then, Load) and not ctx.reads_memory(e.otherwise):
        otherwise = ctx.emit.splat(expression(ctx, e.otherwise), ctx.lanes)
        with ctx.masked(condition):
            value = (
                load(ctx, e.then, otherwise=otherwise)
                if _is_plain_read(ctx, e.then)
                else expression(ctx, e.then)
            )
        return ctx.emit.select(condition, value, otherwise)
    with ctx.masked(condition):
        then = expression(ctx, e.then)
    with ctx.masked(arithmetic.invert(ctx.emit, condition)):
        otherwise = expression(ctx, e.otherwise)
    return ctx.emit.select(condition, then, otherwise)


def _is_plain_read(ctx: Context, e: Expr) -> bool:
    """Whether it is a read at an index that reads nothing itself."""
    return isinstance(e, Load) and not any(ctx.reads_memory(i) for i in e.index)


def _guarded_read(ctx: Context, e: Expr, condition: Value) -> Value | None:
    """The read with an address that is safe where the condition does not hold, without a branch."""
    assert isinstance(e, Load)
    buffer = ctx.buffers[e.buffer]
    if not isinstance(buffer, Memory):
        return None
    flat = position(ctx, buffer, [index_of(ctx, i) for i in e.index])
    if not memory.can_guard(ctx, flat):
        return None
    return memory.load(ctx, buffer, flat, guard=condition)


def _logical(ctx: Context, e: Op) -> Value:
    """`and`, `or`: the right side where the left one does not decide."""
    combine = arithmetic.both if e.op == "and" else arithmetic.either
    decides = e.op == "or"  # the value of the left side that is the result
    left = expression(ctx, e.args[0])
    if left.constant is not None:
        return left if left.constant == decides else expression(ctx, e.args[1])
    if not ctx.reads_memory(e.args[1]):
        return combine(ctx.emit, left, expression(ctx, e.args[1]))
    if left.lanes > 1:
        with ctx.masked(left if e.op == "and" else arithmetic.invert(ctx.emit, left)):
            right = expression(ctx, e.args[1])
        return combine(ctx.emit, left, right)
    short = constant(decides, BOOL)
    if e.op == "and":
        return ctx.emit.branch_value(left, lambda: expression(ctx, e.args[1]), lambda: short)
    return ctx.emit.branch_value(left, lambda: short, lambda: expression(ctx, e.args[1]))
